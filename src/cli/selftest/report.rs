//! What the self-test found, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::load::{DREAMS, Load};
use reverie_dream::{digest, spec::Precision};
use reverie_engine::{
    Rendered,
    verify::{Check, Quantity},
};

const QUANTITIES: [(Quantity, &str); 3] =
    [(Quantity::Activation, "activation"), (Quantity::Gradient, "gradient"), (Quantity::Score, "score")];

/// The standard dream in one precision.
pub(super) struct Dream {
    precision: Precision,
    /// Seconds of rendering, the first time and at best afterwards.
    first: f64,
    best: f64,
    score: f64,
    /// Whether all renders gave the same bytes.
    same: bool,
    /// Passes that a GPU started as a whole, and the operations they consist of, for each gradient step.
    started: [f64; 2],
}

impl Dream {
    /// Of renders of the same dream.
    pub(super) fn of(precision: Precision, renders: &[Rendered], started: [f64; 2]) -> Self {
        let digests: Vec<String> = renders.iter().map(|rendered| digest::sha256(&rendered.image)).collect();
        let seconds = |rendered: &Rendered| rendered.render_seconds;
        Self {
            precision,
            first: renders.first().map_or(f64::NAN, seconds),
            best: renders.iter().skip(1).map(seconds).fold(f64::INFINITY, f64::min),
            score: renders.first().map_or(f64::NAN, |rendered| rendered.score),
            same: digests.windows(2).all(|pair| pair[0] == pair[1]),
            started,
        }
    }
}

/// Everything that was found.
pub(super) struct Report {
    pub(super) device: String,
    model: String,
    pub(super) checks: Vec<Check>,
    /// Whether a GPU has kernels of our own.
    pub(super) own_kernels: Option<bool>,
    /// Whether images went through pinned memory; none for a CPU.
    pub(super) pinned_memory: Option<bool>,
    pub(super) dreams: Vec<Dream>,
    /// Each load and the seconds that it took.
    pub(super) loads: Vec<(Load, f64)>,
    /// Bytes of the device's memory in use at the end, when nothing has been given back.
    pub(super) memory: Option<u64>,
    /// What is wrong, in words.
    pub(super) failures: Vec<String>,
}

impl Report {
    /// Without findings.
    pub(super) fn new(device: &str, model: &str) -> Self {
        Self {
            device: device.to_owned(),
            model: model.to_owned(),
            checks: vec![],
            own_kernels: None,
            pinned_memory: None,
            dreams: vec![],
            loads: vec![],
            memory: None,
            failures: vec![],
        }
    }

    /// The largest error of a kind.
    fn worst(&self, quantity: Quantity) -> Option<f64> {
        let checks = self.checks.iter().filter(|check| check.quantity == quantity);
        checks.map(|check| check.error).max_by(f64::total_cmp)
    }

    /// The score of a dream as a share of that in float32.
    fn share(&self, dream: &Dream) -> f64 {
        self.dreams.first().map_or(f64::NAN, |first| dream.score / first.score)
    }

    /// Decides what is wrong. Each precision has to reach `least_score` of the score of float32.
    pub(super) fn judge(&mut self, least_score: f64) {
        let mut failures: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.passed())
            .map(|check| {
                format!("{} is off by {:.1e}; {:.0e} is allowed", check.name, check.error, check.tolerance)
            })
            .collect();
        for dream in &self.dreams {
            let precision = dream.precision.as_str();
            if !dream.same {
                failures.push(format!("the same dream in {precision} gives different bytes"));
            }
            let share = self.share(dream);
            if share.is_nan() || share < least_score {
                failures.push(format!(
                    "the dream in {precision} reaches {share:.3} of the score of fp32; at least {least_score} is expected"
                ));
            }
        }
        self.failures = failures;
    }

    /// As one JSON object.
    pub(super) fn to_json(&self) -> Value {
        let errors = QUANTITIES.map(|(quantity, name)| (name.to_owned(), json!(self.worst(quantity))));
        let dreams = self.dreams.iter().map(|dream| {
            json!({
                "precision": dream.precision, "first_seconds": dream.first, "seconds": dream.best,
                "score": dream.score, "share_of_fp32": self.share(dream), "same_bytes": dream.same,
                "passes_per_step": dream.started[0], "operations_per_step": dream.started[1],
            })
        });
        let loads = self.loads.iter().map(|(load, seconds)| {
            json!({
                "load": load.to_string(), "dreams": DREAMS, "seconds": seconds,
                "dreams_per_second": DREAMS as f64 / seconds,
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"), "device": self.device, "model": self.model,
            "checks": self.checks.len(), "worst": errors.into_iter().collect::<serde_json::Map<_, _>>(),
            "dreams": dreams.collect::<Vec<_>>(), "loads": loads.collect::<Vec<_>>(),
            "own_kernels": self.own_kernels, "pinned_memory": self.pinned_memory, "device_memory_bytes": self.memory, "failures": self.failures,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.model, self.device)?;
        if self.own_kernels == Some(false) {
            writeln!(
                f,
                "without kernels of our own, which makes it slower: is torch's libcaffe2_nvrtc.so there?"
            )?;
        }
        if self.pinned_memory == Some(false) {
            writeln!(
                f,
                "without pinned memory, which makes it a little slower: does the system limit it (ulimit -l)?"
            )?;
        }
        write!(f, "{} comparisons; worst", self.checks.len())?;
        for (quantity, name) in QUANTITIES {
            if let Some(error) = self.worst(quantity) {
                write!(f, " {name} {error:.1e}")?;
            }
        }
        writeln!(f)?;
        writeln!(f, "\n{:<10} {:>10} {:>10} {:>8} {:>10}", "precision", "first", "then", "score", "bytes")?;
        for dream in &self.dreams {
            let (precision, share) = (dream.precision.as_str(), self.share(dream));
            let bytes = if dream.same { "equal" } else { "DIFFERENT" };
            writeln!(
                f,
                "{precision:<10} {:>8.3} s {:>8.3} s {share:>8.3} {bytes:>10}",
                dream.first, dream.best
            )?;
        }
        for Dream { precision, started: [passes, operations], .. } in &self.dreams {
            if *passes > 0.0 {
                let precision = precision.as_str();
                writeln!(
                    f,
                    "a step in {precision}: {operations:.0} operations, started in {passes:.1} recorded passes"
                )?;
            }
        }
        writeln!(f, "\n{:<32} {:>10} {:>14}", format!("{DREAMS} dreams of four sizes"), "time", "dreams")?;
        for (load, seconds) in &self.loads {
            writeln!(f, "{:<32} {seconds:>8.2} s {:>12.1}/s", load.to_string(), DREAMS as f64 / seconds)?;
        }
        if let Some(memory) = self.memory {
            writeln!(f, "\nmemory of the device in use: {:.1} GB", memory as f64 / 1e9)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(bytes: &[u8], score: f64) -> Rendered {
        Rendered {
            image: bytes.to_vec(),
            width: 1,
            height: 1,
            score,
            notes: vec![],
            render_seconds: 2.0,
            callback_seconds: 0.0,
            profile: None,
        }
    }

    /// What is wrong with dreams of these bytes and scores, in float32 and bfloat16.
    fn failures(bytes: &[u8], score: f64, error: f64) -> Vec<String> {
        let mut report = Report::new("cuda:0", "model");
        report.checks = vec![Check {
            name: "block3".into(),
            quantity: Quantity::Activation,
            error,
            tolerance: 1e-4,
            cosine: None,
            own: None,
        }];
        report.dreams = vec![
            Dream::of(Precision::Fp32, &[rendered(b"a", 100.0), rendered(b"a", 100.0)], [0.0; 2]),
            Dream::of(Precision::Bf16, &[rendered(b"b", score), rendered(bytes, score)], [1.0, 9.0]),
        ];
        report.judge(0.95);
        assert_eq!(report.to_json()["failures"].as_array().unwrap().len(), report.failures.len());
        report.failures
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert!(failures(b"b", 95.0, 1e-5).is_empty());
        let told = |failures: Vec<String>, words: &str| {
            assert!(matches!(&failures[..], [only] if only.contains(words)), "{failures:?}");
        };
        told(failures(b"c", 101.0, 1e-5), "bf16 gives different bytes");
        told(failures(b"b", 94.0, 1e-5), "0.940 of the score of fp32");
        told(failures(b"b", f64::NAN, 1e-5), "NaN of the score");
        told(failures(b"b", 101.0, 1e-3), "block3 is off by 1.0e-3; 1e-4 is allowed");
    }

    #[test]
    fn a_dream_is_as_fast_as_its_best_render_but_for_the_first() {
        let times =
            [9.0, 3.0, 2.0, 4.0].map(|render_seconds| Rendered { render_seconds, ..rendered(b"a", 1.0) });
        let dream = Dream::of(Precision::Fp32, &times, [0.0; 2]);
        assert_eq!((dream.first, dream.best, dream.same), (9.0, 2.0, true));
    }
}
