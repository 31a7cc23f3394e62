//! Predicts how long dreams take here: one estimate for admission, for `eta_seconds` and for `Retry-After`.
//!
//! A [`Plan`](reverie_dream::plan::Plan) gives the duration on the reference machine. The ratio to this
//! machine depends on its processor, on its other load and on the network. So a factor is kept per model and
//! requested precision: measured at startup with a short render, and corrected with every job.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::jobs::WorkerReport;
use reverie_dream::spec::{DreamSpec, Precision};

/// Weight of the newest observation: the last few dominate, so a change shows soon.
const NEWEST: f64 = 0.25;

/// Limit for the ratio of an observation to its prediction. A job that was slow for its own reasons must not
/// make the next predictions hopeless.
const MAX_RATIO: f64 = 3.0;

/// Seconds besides the render: fetching the input, storing the dream and writing the end.
const OVERHEAD_SECONDS: f64 = 0.02;

/// Learned factors from reference seconds to seconds on this machine.
#[derive(Debug, Default)]
pub struct Throughput(Mutex<HashMap<(String, Precision), f64>>);

impl Throughput {
    /// Predicts seconds from claim to end.
    pub fn seconds(&self, spec: &DreamSpec, reference_seconds: f64) -> f64 {
        self.factor(&spec.model, spec.precision) * reference_seconds + OVERHEAD_SECONDS
    }

    /// Sets the factor measured by a short render.
    pub fn calibrate(&self, spec: &DreamSpec, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.factors().insert((spec.model.clone(), spec.precision), factor);
        }
    }

    /// Learns from a job that took `seconds` from claim to end.
    pub fn learn(&self, spec: &DreamSpec, reference_seconds: f64, seconds: f64) {
        let expected = self.factor(&spec.model, spec.precision);
        let found = (seconds - OVERHEAD_SECONDS).max(0.0) / reference_seconds;
        if !found.is_finite() {
            return;
        }
        let ratio = (found / expected).clamp(1.0 / MAX_RATIO, MAX_RATIO);
        let key = (spec.model.clone(), spec.precision);
        self.factors().insert(key, expected * ratio.powf(NEWEST));
    }

    /// All factors, for the reports to other processes.
    pub fn known(&self) -> Vec<(String, Precision, f64)> {
        let factors = self.factors();
        factors.iter().map(|((model, precision), factor)| (model.clone(), *precision, *factor)).collect()
    }

    /// Adopts the factors of other processes, if this process has no workers: the mean, weighted by workers.
    pub fn adopt(&self, reports: &[WorkerReport]) {
        let mut sums: HashMap<(String, Precision), (f64, f64)> = HashMap::new();
        for report in reports {
            let workers = report.workers as f64;
            for (model, precision, factor) in &report.throughput {
                let (sum, weight) = sums.entry((model.clone(), *precision)).or_default();
                *sum += factor * workers;
                *weight += workers;
            }
        }
        let means = sums.into_iter().map(|(key, (sum, weight))| (key, sum / weight));
        self.factors().extend(means.filter(|(_, factor)| factor.is_finite() && *factor > 0.0));
    }

    /// The factor of the model in this precision, else in `auto`, which is measured at startup.
    fn factor(&self, model: &str, precision: Precision) -> f64 {
        let factors = self.factors();
        let known = [precision, Precision::Auto]
            .map(|precision| factors.get(&(model.to_owned(), precision)).copied());
        known.into_iter().flatten().next().unwrap_or(1.0)
    }

    /// No code panics while it holds the lock.
    fn factors(&self) -> MutexGuard<'_, HashMap<(String, Precision), f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `Retry-After` for so many seconds of work, shared by `workers` workers: at least 1 second, at most an
/// hour.
pub fn retry_after(seconds: f64, workers: usize) -> u64 {
    (seconds / workers.max(1) as f64).ceil().clamp(1.0, 3600.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(model: &str, precision: Precision) -> DreamSpec {
        let spec = serde_json::json!({
            "model": model, "preset": "deepdream", "objectives": [], "octaves": 1, "octave_scale": 1.4,
            "octave_mode": "carry-detail", "iterations": 1, "step": 1.0, "normalization": "std",
            "laplacian_levels": 4, "tile_size": 512, "tiling": "even", "jitter": true, "seed": 0,
            "precision": precision, "format": "png",
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_is_measured_is_expected() {
        let throughput = Throughput::default();
        let (auto, half) = (spec("a", Precision::Auto), spec("a", Precision::Bf16));
        assert!((throughput.seconds(&auto, 2.0) - 2.0 - OVERHEAD_SECONDS).abs() < 1e-9);
        throughput.calibrate(&auto, 3.0);
        assert!((throughput.seconds(&auto, 2.0) - 6.0 - OVERHEAD_SECONDS).abs() < 1e-9);
        // Another precision starts with the factor of `auto`; another model is independent.
        assert_eq!(throughput.seconds(&half, 2.0), throughput.seconds(&auto, 2.0));
        assert!((throughput.seconds(&spec("b", Precision::Fp32), 2.0) - 2.0 - OVERHEAD_SECONDS).abs() < 1e-9);
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            throughput.calibrate(&auto, nonsense);
        }
        assert!((throughput.seconds(&auto, 2.0) - 6.0 - OVERHEAD_SECONDS).abs() < 1e-9);
    }

    #[test]
    fn jobs_correct_the_factor_and_a_single_one_does_little() {
        let throughput = Throughput::default();
        let spec = spec("a", Precision::Fp32);
        for _ in 0..30 {
            throughput.learn(&spec, 2.0, 8.0 + OVERHEAD_SECONDS);
        }
        assert!(
            (throughput.seconds(&spec, 1.0) - 4.0 - OVERHEAD_SECONDS).abs() < 0.01,
            "{}",
            throughput.seconds(&spec, 1.0)
        );
        // As if a laptop was closed for an hour.
        throughput.learn(&spec, 2.0, 3600.0);
        assert!(throughput.seconds(&spec, 1.0) < 4.0 * 1.4);
        throughput.learn(&spec, 0.0, 1.0);
        assert!(throughput.seconds(&spec, 1.0) < 4.0 * 1.4, "nothing is learned from a job without work");
    }

    #[test]
    fn a_process_without_workers_goes_by_what_the_others_know() {
        let (slow, fast, api) = (Throughput::default(), Throughput::default(), Throughput::default());
        let spec = spec("a", Precision::Fp32);
        slow.calibrate(&spec, 6.0);
        fast.calibrate(&spec, 2.0);
        let report = |workers, throughput: &Throughput| WorkerReport {
            workers,
            memory: 0,
            throughput: throughput.known(),
            devices: Vec::new(),
        };
        api.adopt(&[]);
        assert!((api.seconds(&spec, 1.0) - 1.0 - OVERHEAD_SECONDS).abs() < 1e-9);
        api.adopt(&[report(1, &slow), report(3, &fast), report(0, &Throughput::default())]);
        assert!((api.seconds(&spec, 1.0) - 3.0 - OVERHEAD_SECONDS).abs() < 1e-9);
    }

    #[test]
    fn waiting_grows_with_the_queue_and_stays_sane() {
        assert_eq!(retry_after(0.0, 1), 1);
        assert_eq!(retry_after(9.1, 1), 10);
        assert_eq!(retry_after(9.1, 4), 3);
        assert_eq!(retry_after(9.1, 0), 10);
        assert_eq!(retry_after(1e9, 1), 3600);
    }
}
