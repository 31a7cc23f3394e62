//! What the GPUs of this process are doing, as NVIDIA's management library (NVML) tells. Read at every scrape; without the
//! library, which comes with the driver, these metrics are missing.

use std::fmt;

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use tracing::warn;

/// One measure of a GPU: its name, its help, and how it is read. A value that the card does not tell is left out.
type Measure = (&'static str, &'static str, fn(&Device<'_>) -> Option<f64>);

const MEASURES: [Measure; 4] = [
    ("gpu_utilization_ratio", "Share of the time in which the GPU computed, for anybody: 0 to 1.", |gpu| {
        Some(f64::from(gpu.utilization_rates().ok()?.gpu) / 100.0)
    }),
    ("gpu_memory_used_bytes", "Memory of the GPU in use, by anybody.", |gpu| {
        Some(gpu.memory_info().ok()?.used as f64)
    }),
    ("gpu_memory_bytes", "Memory of the GPU.", |gpu| Some(gpu.memory_info().ok()?.total as f64)),
    ("gpu_temperature_celsius", "Temperature of the GPU.", |gpu| {
        Some(f64::from(gpu.temperature(TemperatureSensor::Gpu).ok()?))
    }),
];

/// The GPUs that workers of this process use.
pub(super) struct Gpus {
    nvml: Nvml,
    /// Name of the device, such as `cuda:0`, and its place on the bus.
    places: Vec<(String, String)>,
}

impl Gpus {
    /// Of the devices in use, `cpu` among them or not; none where there is nothing to tell.
    pub fn new(devices: &[&str]) -> Option<Self> {
        let mut places: Vec<(String, String)> = vec![];
        for device in devices.iter().filter(|device| device.starts_with("cuda")) {
            if places.iter().all(|(known, _)| known != device)
                && let Some(place) = reverie_engine::bus_address(device)
            {
                places.push(((*device).to_owned(), place));
            }
        }
        if places.is_empty() {
            return None;
        }
        match Nvml::init() {
            Ok(nvml) => Some(Self { nvml, places }),
            Err(error) => {
                warn!(%error, "NVML cannot be used; there are no metrics of the GPUs");
                None
            }
        }
    }
}

impl Collector for Gpus {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (name, help, read) in MEASURES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (device, place) in &self.places {
                let value = self.nvml.device_by_pci_bus_id(place.as_str()).ok().and_then(|gpu| read(&gpu));
                if let Some(value) = value {
                    ConstGauge::new(value).encode(family.encode_family(&[("device", device.as_str())])?)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("places", &self.places).finish_non_exhaustive()
    }
}
