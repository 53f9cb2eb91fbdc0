//! The forecast of a run from runs of the same kind that have grokked.
//!
//! ```text
//! no sign    H̃ has not been below the plateau of every reference for three evaluations in a row
//! forecast   T_grok = t + C₁ (H̃ − H̃*)^γ + C₂, fitted to the references (power_law.rs)
//! grokked    test accuracy has reached .99
//! ```
//! H̃ of the law is the median of the last three evaluations here: a spike of the loss takes H̃ down for one.
//!
//! **The plateau** of a curve at step t is its H̃ at t, but of a reference not later than halfway from
//! T_memorise to T_grok, and of a control (a run that never grokked) not later than its end. The halfway
//! mark, and not T_collapse, is where the plateau ends: the detector of the collapse answers to a fast
//! fall, while H̃ has long been falling slowly.
//!
//! **The interval** comes from what the law missed when each reference was predicted by the *others*,
//! at evaluations where its H̃ was within .01 of the present one (or the nearest, without such): its
//! ends leave out a tenth of the seeds' weight on either side, counted as (n + 1)/10 of n seeds, so that
//! the interval holds 8 of 10 new seeds. Fewer than nine references cannot promise as much: at best
//! (n − 1) of n + 1.

use super::alarm::STABLE;
use super::curve::Curve;
use super::power_law::PowerLaw;
use super::predictor::points;
use crate::stats::{mean, median};

/// Fewest references: fewer have no spread to speak of.
pub const FEWEST: usize = 3;
/// References from which on the interval can hold 8 of 10 new runs.
pub const ENOUGH: usize = 9;
/// H̃ within which evaluations are alike.
const ALIKE: f64 = 0.01;
/// Share of seeds left out at either end of the interval.
const TAIL: f64 = 0.1;

/// What there is to say of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Forecast {
    /// H̃ has not begun to fall further than it does on a plateau.
    NoSign,
    /// It will grok, about then.
    Expected {
        /// The law's step.
        t_grok: u64,
        /// Holds 8 of 10 runs, with nine references or more.
        interval: [u64; 2],
    },
    /// It has grokked at this step.
    Grokked(u64),
}

/// Runs that have grokked, and what they teach.
#[derive(Clone, Debug)]
pub struct Reference {
    law: PowerLaw,
    plateaus: Vec<Plateau>,
    missed: Vec<Vec<(f64, f64)>>, // seed by seed, left out: (H̃, true − predicted ΔT)
    seeds: Vec<u64>,
}

/// The law of arXiv:2604.13123 in the steady H̃.
fn law(curves: &[&Curve]) -> Option<PowerLaw> {
    let star: Option<Vec<f64>> = curves.iter().map(|curve| curve.at_grok(steady)).collect();
    PowerLaw::fit(&points(curves, steady), mean(&star?)?)
}

/// The median H̃ of the last three evaluations; `None` if one of them has none.
fn steady(curve: &Curve, i: usize) -> Option<f64> {
    median(&curve.entropy[(i + 1).checked_sub(STABLE)?..=i])
}

/// H̃ of one curve while nothing happens.
#[derive(Clone, Debug)]
struct Plateau {
    step: Vec<u64>,
    entropy: Vec<f64>,
}

impl Plateau {
    fn of(curve: &Curve) -> Plateau {
        let wait = curve.waiting();
        let end = match curve.milestones().t_grok {
            Some(_) => (wait.start + wait.end).div_ceil(2),
            None => curve.len(),
        };
        let kept = |i: &usize| curve.entropy[*i].is_finite();
        let (step, entropy) =
            (0..end).filter(kept).map(|i| (curve.step[i], curve.entropy[i])).unzip();
        Plateau { step, entropy }
    }

    fn at(&self, step: u64) -> Option<f64> {
        let last = self.step.partition_point(|&s| s <= step).checked_sub(1)?;
        Some(self.entropy[last])
    }
}

impl Reference {
    /// Learns from curves that grokked, and from controls, which may be none. `None` if fewer than
    /// [`FEWEST`] of them grokked, or their H̃ determines no law.
    pub fn fit(curves: &[Curve], controls: &[Curve]) -> Option<Reference> {
        let grokked = |curve: &&Curve| curve.milestones().t_grok.is_some();
        let curves: Vec<&Curve> = curves.iter().filter(grokked).collect();
        if curves.len() < FEWEST {
            return None;
        }
        let mut missed = Vec::new();
        for curve in &curves {
            let others: Vec<&Curve> =
                curves.iter().copied().filter(|other| other.seed != curve.seed).collect();
            let fitted = law(&others)?;
            let t_grok = curve.milestones().t_grok?;
            let of = |i: usize| {
                let left = (t_grok - curve.step[i]) as f64;
                let entropy = steady(curve, i)?;
                Some((entropy, left - fitted.remaining(entropy)))
            };
            missed.push(curve.waiting().filter_map(of).collect());
        }
        let plateaus = curves.iter().copied().chain(controls).map(Plateau::of).collect();
        let seeds = curves.iter().map(|curve| curve.seed).collect();
        Some(Reference { law: law(&curves)?, plateaus, missed, seeds })
    }

    /// Seeds of the runs that it rests on.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// What there is to say of a run, seen up to its last evaluation.
    pub fn forecast(&self, run: &Curve) -> Forecast {
        if let Some(step) = run.milestones().t_grok {
            return Forecast::Grokked(step);
        }
        let waiting = run.waiting();
        let last = waiting.end.saturating_sub(STABLE)..waiting.end;
        if last.len() < STABLE
            || last.start < waiting.start
            || !last.clone().all(|i| self.falls(run, i))
        {
            return Forecast::NoSign;
        }
        let now = last.end - 1;
        let Some(entropy) = steady(run, now) else { return Forecast::NoSign };
        let left = self.law.remaining(entropy);
        let [lo, hi] = self.spread(entropy);
        let step = |left: f64| run.step[now] + left.max(0.0).round() as u64;
        let interval = [step(left + lo.min(0.0)), step(left + hi.max(0.0))];
        Forecast::Expected { t_grok: step(left), interval }
    }

    /// Whether H̃ is below every plateau at evaluation `i`.
    fn falls(&self, run: &Curve, i: usize) -> bool {
        let plateaus = || self.plateaus.iter().filter_map(|plateau| plateau.at(run.step[i]));
        plateaus().next().is_some() && plateaus().all(|h| run.entropy[i] < h)
    }

    /// What the law misses by at this H̃, from the lower to the upper end.
    fn spread(&self, entropy: f64) -> [f64; 2] {
        let mut weighted: Vec<(f64, f64)> = Vec::new(); // (missed, weight); a seed weighs 1
        for run in &self.missed {
            let distance = |(h, _): &(f64, f64)| (h - entropy).abs();
            let alike: Vec<f64> =
                run.iter().filter(|p| distance(p) <= ALIKE).map(|p| p.1).collect();
            if alike.is_empty() {
                let nearest = run.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
                weighted.extend(nearest.map(|p| (p.1, 1.0)));
            }
            weighted.extend(alike.iter().map(|&missed| (missed, 1.0 / alike.len() as f64)));
        }
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let tail = TAIL * (self.missed.len() + 1) as f64 - 1e-9;
        let end = |values: &mut dyn Iterator<Item = &(f64, f64)>| {
            let mut weight = 0.0;
            for &(missed, more) in values {
                weight += more;
                if weight >= tail {
                    return missed;
                }
            }
            0.0 // no reference has a reading
        };
        [end(&mut weighted.iter()), end(&mut weighted.iter().rev())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::{control, entropy_before, lawful, until};
    use super::*;

    /// Ten references whose H̃ follows the law, but for a factor of the time left that differs by seed.
    fn references() -> Vec<Curve> {
        let factor = |seed: u64| 0.9 + 0.2 * seed as f64 / 9.0;
        (0..10).map(|seed| slanted(seed, 7000 + 300 * seed, factor(seed))).collect()
    }

    fn slanted(seed: u64, t_grok: u64, factor: f64) -> Curve {
        let mut curve = lawful(seed, t_grok);
        for i in 0..curve.len() {
            if curve.step[i] <= t_grok {
                let left = (t_grok - curve.step[i]) as f64;
                curve.entropy[i] = entropy_before(factor * left);
            }
        }
        curve
    }

    #[test]
    fn a_plateau_is_no_sign_a_fall_a_forecast_and_the_end_a_fact() {
        let reference = Reference::fit(&references(), &[control(20, 0.75)]).unwrap();
        let run = lawful(30, 9000);
        assert_eq!(reference.forecast(&until(&run, 0)), Forecast::NoSign);
        assert_eq!(reference.forecast(&until(&run, 200)), Forecast::NoSign, "not memorised");
        assert_eq!(reference.forecast(&until(&run, 1500)), Forecast::NoSign, "on the plateau");
        assert_eq!(reference.forecast(&until(&run, 9000)), Forecast::Grokked(9000));
        assert_eq!(reference.forecast(&until(&run, 10_000)), Forecast::Grokked(9000));
        let said = reference.forecast(&until(&run, 7500));
        let Forecast::Expected { t_grok, interval: [lo, hi] } = said else { panic!("{said:?}") };
        assert!(t_grok.abs_diff(9000) < 200, "{said:?}");
        assert!(lo < 9000 && 9000 < hi && hi - lo < 1000, "{said:?}");
        assert_eq!(reference.seeds(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_interval_holds_eight_of_ten_new_runs_and_is_not_much_wider() {
        // ΔT of a given H̃ is spread evenly over ± 10 %, so eight of ten lie within 16 % of it.
        let reference = Reference::fit(&references(), &[]).unwrap();
        let (mut held, mut said, mut widths) = (0, 0, 0.0);
        for i in 0..100 {
            let t_grok = 7000 + 100 * (i % 30);
            let run = slanted(100 + i, t_grok, 0.9 + 0.2 * i as f64 / 99.0);
            let forecast = reference.forecast(&until(&run, t_grok - 2000));
            if let Forecast::Expected { interval: [lo, hi], .. } = forecast {
                said += 1;
                held += u64::from(lo <= t_grok && t_grok <= hi);
                widths += (hi - lo) as f64 / 2000.0;
            }
        }
        let (share, width) = (held as f64 / said as f64, widths / said as f64);
        assert!(said > 90 && share >= 0.75, "{said} {share}");
        assert!((0.1..0.4).contains(&width), "{width}");
    }

    #[test]
    fn a_control_as_low_takes_the_sign_away_and_a_high_one_does_not() {
        let run = until(&lawful(30, 9000), 7500); // H̃ .654
        let with =
            |controls: &[Curve]| Reference::fit(&references(), controls).unwrap().forecast(&run);
        assert!(matches!(with(&[]), Forecast::Expected { .. }));
        let mut low = control(21, 0.66);
        low.entropy.fill(0.66);
        assert!(matches!(with(&[control(20, 0.7), low.clone()]), Forecast::Expected { .. }));
        low.entropy.fill(0.64); // an entropy that collapses without grokking, as in the paper's MLPs
        assert_eq!(with(&[control(20, 0.7), low.clone()]), Forecast::NoSign);
        assert_eq!(with(&[until(&low, 1000)]), Forecast::NoSign, "beyond its end it stays");
    }

    #[test]
    fn a_reference_is_on_its_plateau_until_halfway() {
        let plateau = Plateau::of(&lawful(0, 5100)); // memorised at 300: halfway is 2,700
        assert_eq!(plateau.at(1000), Some(entropy_before(4100.0)));
        for step in [2600, 3500, 90_000] {
            assert_eq!(plateau.at(step), Some(entropy_before(2500.0)), "{step}");
        }
        assert_eq!(Plateau::of(&Curve::new(0)).at(100), None);
    }

    #[test]
    fn a_spike_is_no_sign() {
        let reference = Reference::fit(&references(), &[]).unwrap();
        let mut run = until(&lawful(30, 9000), 1500);
        let n = run.len();
        run.entropy[n - 2..].fill(0.5);
        assert_eq!(reference.forecast(&run), Forecast::NoSign);
        run.entropy[n - 3] = 0.5;
        assert!(matches!(reference.forecast(&run), Forecast::Expected { .. }));
        let run = until(&lawful(30, 9000), 7500);
        let mut spiked = run.clone();
        *spiked.entropy.last_mut().unwrap() = 0.61; // at grokking, would the law say
        let t_grok = |run: &Curve| match reference.forecast(run) {
            Forecast::Expected { t_grok, .. } => t_grok,
            other => panic!("{other:?}"),
        };
        assert!(t_grok(&spiked).abs_diff(t_grok(&run)) < 150, "one evaluation moves it little");
    }

    #[test]
    fn two_references_are_too_few() {
        let few = references();
        assert!(Reference::fit(&few[..3], &[]).is_some());
        assert!(Reference::fit(&few[..2], &[]).is_none());
        assert!(
            Reference::fit(&few[..2], &[control(20, 0.7)]).is_none(),
            "a control has not grokked"
        );
        assert!(Reference::fit(&[], &[]).is_none());
    }

    #[test]
    fn a_run_without_readings_of_entropy_has_no_sign() {
        let reference = Reference::fit(&references(), &[]).unwrap();
        let mut run = until(&lawful(30, 9000), 7500);
        run.entropy.fill(f64::NAN);
        assert_eq!(reference.forecast(&run), Forecast::NoSign);
        assert_eq!(reference.forecast(&Curve::new(0)), Forecast::NoSign);
    }
}
