//! How early is the first *stable* warning, at an equal rate of false alarms?
//!
//! A detector is a reading and a threshold θ. It gives alarm at the first evaluation, from T_memorise on,
//! at which the reading has been below θ for three evaluations in a row: a spike of the loss is no
//! warning. What it can know then is all it uses.
//!   level  = min over evaluations of max(the last three readings)     alarm at all  ⇔  level < θ
//!   θ      = the (⌊rate · n⌋ + 1)-th smallest level of n controls     false alarms ≤ rate · n of n
//!   lead   = T_grok − first alarm                                     negative: it lags
//! Controls are runs that never grok. For a run of seed s, θ comes from the controls of other seeds, so
//! the rate is one that a new seed can expect; detectors are only compared at the same rate.

use super::curve::Curve;
use crate::observe::milestones::WINDOW;
use crate::stats::{Bootstrap, Estimate, mean};

/// Evaluations in a row that make a warning stable.
pub const STABLE: usize = 3;

/// A reading that warns when it is low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// H̃.
    EntropyBelow,
    /// Minus the fall of H̃ over a window of five evaluations: the paper's T_collapse has θ = −.05.
    EntropyFall,
    /// The loss on all test pairs.
    TestLossBelow,
    /// ‖θ‖.
    NormBelow,
    /// 1 − test accuracy.
    TestErrorBelow,
}

impl Detector {
    /// Every detector.
    pub const ALL: [Detector; 5] = [
        Detector::EntropyBelow,
        Detector::EntropyFall,
        Detector::TestLossBelow,
        Detector::NormBelow,
        Detector::TestErrorBelow,
    ];

    /// How it is called in a table.
    pub fn name(self) -> &'static str {
        match self {
            Detector::EntropyBelow => "entropy below",
            Detector::EntropyFall => "entropy falls by",
            Detector::TestLossBelow => "test loss below",
            Detector::NormBelow => "norm below",
            Detector::TestErrorBelow => "test error below",
        }
    }

    /// The reading at evaluation `i`; NaN where it is missing, which never warns.
    fn reading(self, curve: &Curve, i: usize) -> f64 {
        match self {
            Detector::EntropyBelow => curve.entropy[i],
            Detector::EntropyFall => match i.checked_sub(WINDOW - 1) {
                Some(before) => curve.entropy[i] - curve.entropy[before],
                None => f64::NAN,
            },
            Detector::TestLossBelow => curve.test_loss[i],
            Detector::NormBelow => curve.norm[i],
            Detector::TestErrorBelow => 1.0 - curve.test_acc[i],
        }
    }

    /// (step, the highest of the last three readings) from the third evaluation after T_memorise on.
    fn levels(self, curve: &Curve) -> Vec<(u64, f64)> {
        let Some(memorised) = curve.milestones().t_memorise else { return Vec::new() };
        let highest = |i: usize| {
            let last = (i + 1 - STABLE..=i).map(|i| self.reading(curve, i));
            // f64::max would pass over a NaN
            last.fold(f64::NEG_INFINITY, |a, b| if b.is_nan() || b > a { b } else { a })
        };
        let from = curve.before(memorised) + STABLE - 1;
        (from..curve.len()).map(|i| (curve.step[i], highest(i))).collect()
    }

    /// The step of the first stable alarm under `threshold`.
    pub fn alarm(self, curve: &Curve, threshold: f64) -> Option<u64> {
        self.levels(curve).into_iter().find(|&(_, level)| level < threshold).map(|(step, _)| step)
    }

    /// The largest threshold at which at most `rate` of the controls give alarm; ∞ if all may, `None`
    /// without controls. A control that never memorises never warns.
    pub fn threshold<'a>(
        self,
        controls: impl IntoIterator<Item = &'a Curve>,
        rate: f64,
    ) -> Option<f64> {
        let mut lowest: Vec<f64> = controls
            .into_iter()
            .map(|c| self.levels(c).iter().fold(f64::INFINITY, |a, &(_, b)| a.min(b)))
            .collect();
        lowest.sort_by(f64::total_cmp);
        // The slack makes a tenth of ten one, whatever the rounding.
        let allowed = (rate * lowest.len() as f64 + 1e-9) as usize;
        (!lowest.is_empty()).then(|| lowest.get(allowed).copied().unwrap_or(f64::INFINITY))
    }
}

/// The warning that one run got.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warning {
    /// The run's seed.
    pub seed: u64,
    /// From the controls of other seeds.
    pub threshold: f64,
    /// T_grok; `None` for a control.
    pub t_grok: Option<u64>,
    /// The first stable alarm.
    pub alarm: Option<u64>,
}

impl Warning {
    /// T_grok − alarm in steps, negative if the alarm came after.
    pub fn lead(&self) -> Option<i64> {
        Some(self.t_grok? as i64 - self.alarm? as i64)
    }
}

/// The warning of each of `curves` under the threshold that the controls of other seeds set; those
/// without such controls are left out. Given the controls themselves, it tells the false alarms that a
/// new seed would have had.
pub fn warnings(
    curves: &[Curve],
    controls: &[Curve],
    detector: Detector,
    rate: f64,
) -> Vec<Warning> {
    let of = |curve: &Curve| {
        let others = controls.iter().filter(|control| control.seed != curve.seed);
        let threshold = detector.threshold(others, rate)?;
        let t_grok = curve.milestones().t_grok;
        Some(Warning {
            seed: curve.seed,
            threshold,
            t_grok,
            alarm: detector.alarm(curve, threshold),
        })
    };
    curves.iter().filter_map(of).collect()
}

/// A detector's leads in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leads {
    /// Runs that grok.
    pub runs: usize,
    /// Of these, the ones that were warned before T_grok.
    pub warned: usize,
    /// The mean lead over the runs that got an alarm at any time; `None` without one.
    pub lead: Option<Estimate>,
}

/// Sums up the warnings of runs that grok.
pub fn leads(warnings: &[Warning], bootstrap: &Bootstrap) -> Leads {
    let all: Vec<f64> = warnings.iter().filter_map(Warning::lead).map(|lead| lead as f64).collect();
    Leads {
        runs: warnings.iter().filter(|warning| warning.t_grok.is_some()).count(),
        warned: all.iter().filter(|&&lead| lead > 0.0).count(),
        lead: bootstrap.percentile(&all, mean),
    }
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::{control, lawful};
    use super::*;
    use crate::stats::BOOTSTRAP;

    /// A memorised run with these readings of H̃, one every 100 steps.
    fn readings(seed: u64, entropy: &[f64]) -> Curve {
        let mut curve = Curve::new(seed);
        for (i, &h) in entropy.iter().enumerate() {
            curve.push(100 * i as u64, "H", |key| match key {
                "H" => h,
                "train/acc" => 1.0,
                _ => 0.0,
            });
        }
        curve
    }

    const BELOW: Detector = Detector::EntropyBelow;

    #[test]
    fn three_evaluations_in_a_row_are_a_warning_and_two_are_not() {
        let curve = readings(0, &[0.8, 0.6, 0.6, 0.8, 0.6, 0.6, 0.6, 0.5]);
        assert_eq!(BELOW.alarm(&curve, 0.7), Some(600));
        assert_eq!(BELOW.alarm(&curve, 0.6), None, "below, not at");
        assert_eq!(BELOW.alarm(&readings(0, &[0.1, 0.1, f64::NAN, 0.1, 0.1]), 0.7), None);
        assert_eq!(BELOW.alarm(&readings(0, &[0.1, 0.1]), 0.7), None);
        assert_eq!(BELOW.alarm(&readings(0, &[]), 0.7), None);
    }

    #[test]
    fn nothing_before_memorising_counts() {
        let mut curve = readings(0, &[0.5; 8]);
        curve.train_acc[..3].fill(0.2);
        assert_eq!(BELOW.alarm(&curve, 0.7), Some(500));
        curve.train_acc.fill(0.2);
        assert_eq!(BELOW.alarm(&curve, 0.7), None);
    }

    #[test]
    fn the_papers_collapse_is_a_threshold_on_the_fall() {
        let curve = readings(0, &[0.80, 0.79, 0.78, 0.77, 0.74, 0.71, 0.68, 0.65]);
        assert_eq!(curve.milestones().t_collapse, Some(400));
        assert_eq!(Detector::EntropyFall.alarm(&curve, -0.05), Some(600), "and two more");
    }

    #[test]
    fn the_threshold_is_the_largest_with_few_enough_false_alarms() {
        // Levels by hand, the lowest maximum of three: .72, .66, .75, .70.
        let controls = [
            readings(0, &[0.80, 0.72, 0.72, 0.71, 0.90]),
            readings(1, &[0.66, 0.65, 0.64]),
            readings(2, &[0.75, 0.75, 0.75, 0.75]),
            readings(3, &[0.10, 0.70, 0.70, 0.90]),
        ];
        let alarms =
            |theta: f64| controls.iter().filter(|c| BELOW.alarm(c, theta).is_some()).count();
        for (rate, theta, expected) in
            [(0.0, 0.66, 0), (0.24, 0.66, 0), (0.25, 0.70, 1), (0.5, 0.72, 2), (0.99, 0.75, 3)]
        {
            assert_eq!(BELOW.threshold(&controls, rate), Some(theta), "rate {rate}");
            assert_eq!(alarms(theta), expected);
            assert!(alarms(theta + 1e-9) > expected, "a larger one has more");
        }
        assert_eq!(BELOW.threshold(&controls, 1.0), Some(f64::INFINITY));
        assert_eq!(BELOW.threshold(&[], 0.1), None);
    }

    #[test]
    fn a_run_is_warned_by_the_controls_of_other_seeds() {
        let grokking = [lawful(0, 5000), lawful(7, 6000)];
        let controls = [control(0, 0.62), control(1, 0.70), control(2, 0.72)];
        let found = warnings(&grokking, &controls, BELOW, 0.0);
        assert_eq!(found.iter().map(|w| w.threshold).collect::<Vec<_>>(), [0.70, 0.62]);
        // By hand: H̃ < .70 at ΔT < 2.45e5 (.091)^1.65 = 4,697, so from 4,600 left on, warned two later.
        assert_eq!((found[0].alarm, found[0].lead()), (Some(600), Some(4400)));
        // H̃ < .62 at ΔT < 144: from 100 left on, so two later is 100 after grokking.
        assert_eq!((found[1].alarm, found[1].lead()), (Some(6100), Some(-100)));
        let sum = leads(&found, &BOOTSTRAP);
        assert_eq!((sum.runs, sum.warned, sum.lead.unwrap().value), (2, 1, 2150.0));
        let false_alarms = warnings(&controls, &controls, BELOW, 0.0);
        assert_eq!(
            false_alarms.iter().map(|w| w.alarm.is_some()).collect::<Vec<_>>(),
            [true, false, false],
            "only the lowest of the controls would have surprised the others"
        );
        assert_eq!(leads(&false_alarms, &BOOTSTRAP), Leads { runs: 0, warned: 0, lead: None });
        assert_eq!(
            warnings(&grokking, &[control(0, 0.6)], BELOW, 0.0).len(),
            1,
            "no other control"
        );
    }
}
