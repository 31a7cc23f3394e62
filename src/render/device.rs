//! Devices.
use super::RenderError;
use tch::Device;

pub(super) fn select(_wanted: &str) -> Result<Device, RenderError> { Ok(Device::Cpu) }
pub(super) fn set_threads(_threads: usize) {}
pub(super) fn name(_device: Device) -> String { "cpu".into() }
