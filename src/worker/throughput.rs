//! How long dreams take here: one estimate for admission, for `eta_seconds` and for `Retry-After`.
//!
//! A [`Plan`](reverie_dream::plan::Plan) says how long a dream would take on the machine that work was weighed on. How
//! this machine compares depends on its processor, on what else runs there and on the network, so the factor is
//! kept per model and precision, as specs name it: measured at the start with a short render, and corrected with every job.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::jobs::WorkerReport;
use reverie_dream::spec::{DreamSpec, Precision};

/// Weight of the newest observation: the last handful decides, so that a change shows soon.
const NEWEST: f64 = 0.25;

/// An observation counts as at most so many times more or less than expected: a job that was slow for a reason
/// of its own must not make the next ones look hopeless.
const MAX_RATIO: f64 = 3.0;

/// Seconds besides the work: fetching the input, storing the dream and writing its end.
const BESIDES: f64 = 0.02;

/// Learned factors between reference seconds and seconds here.
#[derive(Debug, Default)]
pub struct Throughput(Mutex<HashMap<(String, Precision), f64>>);

impl Throughput {
    /// Predicts seconds from claim to end.
    pub fn seconds(&self, spec: &DreamSpec, reference_seconds: f64) -> f64 {
        self.factor(&spec.model, spec.precision) * reference_seconds + BESIDES
    }

    /// Takes the measurement of a short render as it is.
    pub fn calibrate(&self, spec: &DreamSpec, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.factors().insert((spec.model.clone(), spec.precision), factor);
        }
    }

    /// Learns from a job that took `seconds` from claim to end.
    pub fn learn(&self, spec: &DreamSpec, reference_seconds: f64, seconds: f64) {
        let expected = self.factor(&spec.model, spec.precision);
        let found = (seconds - BESIDES).max(0.0) / reference_seconds;
        if !found.is_finite() {
            return;
        }
        let surprise = (found / expected).clamp(1.0 / MAX_RATIO, MAX_RATIO);
        let key = (spec.model.clone(), spec.precision);
        self.factors().insert(key, expected * surprise.powf(NEWEST));
    }

    /// Everything that is known, for others.
    pub fn known(&self) -> Vec<(String, Precision, f64)> {
        let factors = self.factors();
        factors.iter().map(|((model, precision), factor)| (model.clone(), *precision, *factor)).collect()
    }

    /// Takes what others know, for a process that has no worker of its own: the mean over all of their workers.
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

    /// What is known of the model in this precision, else in the usual one, which is measured at the start.
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

/// `Retry-After` for work of so many seconds that `workers` workers share: at least 1, at most an hour.
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
        assert!((throughput.seconds(&auto, 2.0) - 2.0 - BESIDES).abs() < 1e-9);
        throughput.calibrate(&auto, 3.0);
        assert!((throughput.seconds(&auto, 2.0) - 6.0 - BESIDES).abs() < 1e-9);
        // Another precision is at first as slow as the usual one; another model has nothing to do with it.
        assert_eq!(throughput.seconds(&half, 2.0), throughput.seconds(&auto, 2.0));
        assert!((throughput.seconds(&spec("b", Precision::Fp32), 2.0) - 2.0 - BESIDES).abs() < 1e-9);
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            throughput.calibrate(&auto, nonsense);
        }
        assert!((throughput.seconds(&auto, 2.0) - 6.0 - BESIDES).abs() < 1e-9);
    }

    #[test]
    fn jobs_correct_the_factor_and_a_single_one_does_little() {
        let throughput = Throughput::default();
        let spec = spec("a", Precision::Fp32);
        for _ in 0..30 {
            throughput.learn(&spec, 2.0, 8.0 + BESIDES);
        }
        assert!(
            (throughput.seconds(&spec, 1.0) - 4.0 - BESIDES).abs() < 0.01,
            "{}",
            throughput.seconds(&spec, 1.0)
        );
        // A laptop was closed for an hour.
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
        };
        api.adopt(&[]);
        assert!((api.seconds(&spec, 1.0) - 1.0 - BESIDES).abs() < 1e-9);
        api.adopt(&[report(1, &slow), report(3, &fast), report(0, &Throughput::default())]);
        assert!((api.seconds(&spec, 1.0) - 3.0 - BESIDES).abs() < 1e-9);
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
