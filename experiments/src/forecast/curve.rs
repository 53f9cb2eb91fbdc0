//! A run as a forecaster sees it: its evaluations, one column a reading, all of one length.
//!
//! ```text
//! curves/<hash>-s<seed>.csv   step,train_loss,train_acc,test_loss,test_acc,norm,entropy,…
//! metrics.jsonl               {"step":100,"train/acc":…,"spectral/train/<hook>/centred/…":…}
//! ```
//! A reading that was not taken is NaN.

use crate::config::Config;
use crate::observe::milestones::Milestones;
use crate::observe::spectra::key;
use crate::record::Evaluation;
use crate::report::history::History;
use kernels::spectrum::Centring;
use std::ops::Range;

/// The evaluations of one run, steps ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The run's seed: whatever is learnt for one seed is learnt from others.
    pub seed: u64,
    /// Updates done.
    pub step: Vec<u64>,
    /// H̃ of the train probe, centred, at the first hook.
    pub entropy: Vec<f64>,
    /// Accuracy on all training pairs.
    pub train_acc: Vec<f64>,
    /// Accuracy on all test pairs.
    pub test_acc: Vec<f64>,
    /// Loss on all training pairs.
    pub train_loss: Vec<f64>,
    /// Loss on all test pairs.
    pub test_loss: Vec<f64>,
    /// The L2 norm of all parameters.
    pub norm: Vec<f64>,
}

impl Curve {
    /// A curve without evaluations.
    pub fn new(seed: u64) -> Curve {
        Curve { seed, ..Curve::default() }
    }

    /// Number of evaluations.
    pub fn len(&self) -> usize {
        self.step.len()
    }

    /// Whether there is no evaluation.
    pub fn is_empty(&self) -> bool {
        self.step.is_empty()
    }

    /// Takes in an evaluation as the training loop logs it, `reading` giving NaN for a key that is
    /// not there. What a crash has left of this step or later ones is dropped, as in the metrics.
    pub fn push(&mut self, step: u64, entropy_key: &str, reading: impl Fn(&str) -> f64) {
        let kept = self.step.partition_point(|&s| s < step);
        self.step.truncate(kept);
        self.step.push(step);
        let keys = [entropy_key, "train/acc", "test/acc", "train/loss", "test/loss", "norm"];
        for (column, key) in self.columns_mut().into_iter().zip(keys) {
            column.truncate(kept);
            column.push(reading(key));
        }
    }

    fn columns_mut(&mut self) -> [&mut Vec<f64>; 6] {
        let Curve { entropy, train_acc, test_acc, train_loss, test_loss, norm, .. } = self;
        [entropy, train_acc, test_acc, train_loss, test_loss, norm]
    }

    /// The evaluations in the metrics of a run folder.
    pub fn from_history(history: &History, config: &Config) -> Curve {
        let entropy_key = entropy_key(config);
        let mut curve = Curve::new(config.seed);
        for &(step, _) in history.column("train/acc") {
            curve.push(step, &entropy_key, |key| history.at(key, step).unwrap_or(f64::NAN));
        }
        curve
    }

    /// The evaluations that a study keeps of a run.
    pub fn from_evaluations(seed: u64, evaluations: &[Evaluation]) -> Curve {
        let mut curve = Curve::new(seed);
        for e in evaluations {
            curve.step.push(e.step);
            let readings = [e.entropy, e.train_acc, e.test_acc, e.train_loss, e.test_loss, e.norm];
            for (column, reading) in curve.columns_mut().into_iter().zip(readings) {
                column.push(reading.unwrap_or(f64::NAN));
            }
        }
        curve
    }

    /// The first `n` evaluations: the run as it was seen then.
    pub fn first(&self, n: usize) -> Curve {
        let mut seen = self.clone();
        seen.step.truncate(n);
        seen.columns_mut().into_iter().for_each(|column| column.truncate(n));
        seen
    }

    /// T_memorise, T_collapse and T_grok.
    pub fn milestones(&self) -> Milestones {
        let mut seen = Milestones::default();
        for i in 0..self.len() {
            let entropy = Some(self.entropy[i]).filter(|h| h.is_finite());
            seen.observe(self.step[i], self.train_acc[i], self.test_acc[i], entropy);
        }
        seen
    }

    /// Number of evaluations before `step`.
    pub fn before(&self, step: u64) -> usize {
        self.step.partition_point(|&s| s < step)
    }

    /// The evaluations at which a forecast is of use: from T_memorise on, before T_grok. Empty if it
    /// never memorised.
    pub fn waiting(&self) -> Range<usize> {
        let seen = self.milestones();
        let Some(memorised) = seen.t_memorise else { return 0..0 };
        let end = seen.t_grok.map_or(self.len(), |step| self.before(step));
        self.before(memorised).min(end)..end
    }

    /// A reading at grokking, such as H̃(T_grok); `None` if it did not grok or the reading is missing.
    pub fn at_grok(&self, reading: impl Fn(&Curve, usize) -> Option<f64>) -> Option<f64> {
        let step = self.milestones().t_grok?;
        reading(self, self.before(step))
    }
}

/// The key of H̃ of the train probe, centred, at the first hook, in this config's metrics.
pub fn entropy_key(config: &Config) -> String {
    key("train", &config.spectral.at[0], Centring::Centred)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::{ENTROPY, table};
    use crate::run::tests::scratch;
    use std::path::Path;

    /// The H̃ of a curve whose time left follows 2.45e5 (H̃ − .609)^1.65 wherever it is below .78.
    pub(crate) fn entropy_before(left: f64) -> f64 {
        (0.609 + (left.max(0.0) / 2.45e5).powf(1.0 / 1.65)).min(0.78)
    }

    /// An evaluation every 100 steps up to 2,000 past T_grok; memorised at 300.
    pub(crate) fn lawful(seed: u64, t_grok: u64) -> Curve {
        let mut curve = Curve::new(seed);
        for step in (0..=t_grok + 2000).step_by(100) {
            let left = t_grok as f64 - step as f64;
            curve.push(step, "H", |key| match key {
                "H" if left < 0.0 => 0.5,
                "H" => entropy_before(left),
                "train/acc" => {
                    if step >= 300 {
                        1.0
                    } else {
                        0.4
                    }
                }
                "test/acc" => {
                    if left <= 0.0 {
                        1.0
                    } else {
                        0.05
                    }
                }
                "train/loss" => 1e-3,
                "test/loss" => {
                    if step == 0 {
                        4.6
                    } else {
                        1.0 + left.max(0.0) / 1000.0
                    }
                }
                "norm" => 18.0 + 99.0 * (-(step as f64) / 2000.0).exp(),
                _ => f64::NAN,
            });
        }
        curve
    }

    /// A run that memorises at 300 and never groks: H̃ stays at `floor` or above.
    pub(crate) fn control(seed: u64, floor: f64) -> Curve {
        let mut curve = lawful(seed, 20_000);
        for h in &mut curve.entropy {
            *h = h.max(floor);
        }
        curve.test_acc.fill(0.02);
        curve.test_loss.fill(9.0);
        curve
    }

    /// The evaluations up to `step`.
    pub(crate) fn until(curve: &Curve, step: u64) -> Curve {
        curve.first(curve.before(step + 1))
    }

    /// The file that a study keeps of such a run.
    pub(crate) fn write_csv(path: &Path, curve: &Curve) {
        let evaluation = |i: usize| Evaluation {
            step: curve.step[i],
            train_loss: Some(curve.train_loss[i]),
            train_acc: Some(curve.train_acc[i]),
            test_loss: Some(curve.test_loss[i]),
            test_acc: Some(curve.test_acc[i]),
            norm: Some(curve.norm[i]),
            entropy: Some(curve.entropy[i]),
            ..Evaluation::default()
        };
        let all: Vec<Evaluation> = (0..curve.len()).map(evaluation).collect();
        std::fs::write(path, table::write(&all, ENTROPY.curves)).unwrap();
    }

    #[test]
    fn a_curve_written_and_read_is_the_same() {
        let path = scratch("curve").join("a.csv");
        let curve = lawful(3, 5000);
        write_csv(&path, &curve);
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Evaluation> = table::read(&path, &text, ENTROPY.curves).unwrap();
        assert_eq!(Curve::from_evaluations(3, &read), curve);
    }

    #[test]
    fn an_empty_cell_is_no_reading() {
        let text = format!("{}\n0,1,1,1,.5,1{}\n", ENTROPY.curves.join(","), ",".repeat(9));
        let read: Vec<Evaluation> = table::read(Path::new("a.csv"), &text, ENTROPY.curves).unwrap();
        let curve = Curve::from_evaluations(0, &read);
        assert!(curve.entropy[0].is_nan());
        assert_eq!((curve.len(), curve.test_acc[0]), (1, 0.5));
    }

    #[test]
    fn a_wait_begins_at_memorising_and_ends_before_grokking() {
        let curve = lawful(0, 1000);
        assert_eq!(curve.waiting(), 3..10);
        assert_eq!(curve.at_grok(|curve, i| Some(curve.entropy[i])), Some(0.609));
        let mut never = control(0, 0.7);
        assert_eq!(never.waiting(), 3..never.len());
        assert_eq!(never.at_grok(|curve, i| Some(curve.entropy[i])), None);
        never.train_acc.fill(0.5);
        assert_eq!(never.waiting(), 0..0);
        assert_eq!(Curve::new(0).waiting(), 0..0);
    }

    #[test]
    fn evaluations_made_again_replace_those_that_a_crash_left() {
        let mut curve = lawful(0, 1000);
        let whole = curve.clone();
        curve.push(500, "H", |_| 0.25);
        assert_eq!((curve.len(), curve.entropy[5], curve.norm[5]), (6, 0.25, 0.25));
        assert_eq!(curve.step[..5], whole.step[..5]);
    }
}
