//! Resource usage of the process, under the names that every Prometheus client uses. Read from `/proc`;
//! without it (macOS), these metrics are missing.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::clock::Timestamp;

/// Ticks per second of the times in `/proc`: the same on every Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Reads the process at every scrape.
#[derive(Debug)]
pub(super) struct Process {
    start: Timestamp,
}

impl Process {
    pub fn new(start: Timestamp) -> Self {
        Self { start }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            }
            None => Ok(()),
        };
        let start = self.start.as_millis() as f64 / 1000.0;
        gauge("process_start_time_seconds", "When the process began, since 1970.", Some(start))?;
        gauge("process_resident_memory_bytes", "Memory in use.", status("VmRSS:").map(|kb| kb * 1024.0))?;
        gauge("process_threads", "Threads.", status("Threads:"))?;
        gauge("process_open_fds", "Open file descriptors.", open_files())?;
        gauge("process_max_fds", "Maximum number of open file descriptors.", max_files())?;
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let kind = counter.metric_type();
            let place =
                encoder.encode_descriptor("process_cpu_seconds", "Processor time spent.", None, kind)?;
            counter.encode(place)?;
        }
        Ok(())
    }
}

/// Peak memory of this process in bytes; `None` without `/proc`.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:").map(|kb| kb as u64 * 1024)
}

/// A number of `/proc/self/status`.
fn status(name: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_files() -> Option<f64> {
    // The listing itself holds one descriptor.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as f64 - 1.0).max(0.0))
}

/// `None` if there is no limit.
fn max_files() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name is the second field and may contain spaces; user and system time are fields 14 and
    // 15.
    let mut rest = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || rest.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}
