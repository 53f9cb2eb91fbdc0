//! Who says how long it will take: the power law in H̃, and everyone it has to beat.
//!   now                ΔT = 0
//!   mean time          ΔT = mean T_grok of the other seeds − t
//!   power law in z     ΔT = C₁ (z − z*)^γ + C₂,   z* = mean z(T_grok) of the other seeds
//!   line in z          ΔT = a + b z
//! All are fitted to the evaluations from T_memorise to before T_grok, pooled over seeds as in the
//! paper, and none answers below 0: the run has not grokked yet.

use super::curve::Curve;
use super::power_law::PowerLaw;
use crate::stats::mean;

/// A reading z that a prediction can rest on, at one evaluation, known then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// H̃.
    Entropy,
    /// ‖θ‖.
    Norm,
    /// 1 / ‖θ‖.
    InverseNorm,
    /// 1 − train accuracy.
    TrainError,
    /// |dH̃/dt| since the evaluation before.
    EntropySpeed,
    /// |d‖θ‖/dt| since the evaluation before.
    NormSpeed,
    /// ln of the loss on all training pairs.
    LogTrainLoss,
    /// ln of the loss on all test pairs.
    LogTestLoss,
    /// H̃ − H̃(T_grok) *of the same run*. It knows the answer in part, so it forecasts nothing: it is here
    /// to see how much of a published R² comes from that.
    OwnGap,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Feature; 9] = [
        Feature::Entropy,
        Feature::Norm,
        Feature::InverseNorm,
        Feature::TrainError,
        Feature::EntropySpeed,
        Feature::NormSpeed,
        Feature::LogTrainLoss,
        Feature::LogTestLoss,
        Feature::OwnGap,
    ];

    /// The reading at evaluation `i`; `None` where it is missing or not finite.
    pub fn at(self, curve: &Curve, i: usize) -> Option<f64> {
        let speed = |column: &[f64]| {
            let before = i.checked_sub(1)?;
            let steps = (curve.step[i] - curve.step[before]) as f64;
            Some((column[i] - column[before]).abs() / steps)
        };
        let z = match self {
            Feature::Entropy => curve.entropy[i],
            Feature::Norm => curve.norm[i],
            Feature::InverseNorm => 1.0 / curve.norm[i],
            Feature::TrainError => 1.0 - curve.train_acc[i],
            Feature::EntropySpeed => speed(&curve.entropy)?,
            Feature::NormSpeed => speed(&curve.norm)?,
            Feature::LogTrainLoss => curve.train_loss[i].ln(),
            Feature::LogTestLoss => curve.test_loss[i].ln(),
            Feature::OwnGap => {
                curve.entropy[i] - curve.at_grok(|curve, i| Feature::Entropy.at(curve, i))?
            }
        };
        z.is_finite().then_some(z)
    }

    /// How it is called in a table.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Entropy => "entropy",
            Feature::Norm => "norm",
            Feature::InverseNorm => "1 / norm",
            Feature::TrainError => "1 - train accuracy",
            Feature::EntropySpeed => "speed of entropy",
            Feature::NormSpeed => "speed of norm",
            Feature::LogTrainLoss => "log train loss",
            Feature::LogTestLoss => "log test loss",
            Feature::OwnGap => "entropy above its own at grokking",
        }
    }
}

/// A way to predict the steps that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// It groks now.
    Now,
    /// It groks when the others did, on average.
    MeanTime,
    /// The power law in a feature.
    PowerLaw(Feature),
    /// A straight line in a feature.
    Linear(Feature),
}

impl Predictor {
    /// The contest: the paper's law, what it must beat, and the same law in other readings.
    pub const CONTEST: [Predictor; 9] = [
        Predictor::PowerLaw(Feature::Entropy),
        Predictor::Now,
        Predictor::MeanTime,
        Predictor::PowerLaw(Feature::LogTestLoss),
        Predictor::PowerLaw(Feature::LogTrainLoss),
        Predictor::PowerLaw(Feature::Norm),
        Predictor::Linear(Feature::LogTestLoss),
        Predictor::Linear(Feature::LogTrainLoss),
        Predictor::Linear(Feature::Norm),
    ];

    /// How it is called in a table.
    pub fn name(self) -> String {
        match self {
            Predictor::Now => "now".to_string(),
            Predictor::MeanTime => "mean time of the other seeds".to_string(),
            Predictor::PowerLaw(feature) => format!("power law in {}", feature.name()),
            Predictor::Linear(feature) => format!("line in {}", feature.name()),
        }
    }

    /// Fits it to curves, of which those that did not grok say nothing. `None` where they do not
    /// determine it: none grokked, or their readings are missing or all alike.
    pub fn fit(self, curves: &[&Curve]) -> Option<Fitted> {
        Some(match self {
            Predictor::Now => Fitted::Now,
            Predictor::MeanTime => {
                let times = curves.iter().filter_map(|curve| curve.milestones().t_grok);
                Fitted::At(mean(&times.map(|t| t as f64).collect::<Vec<_>>())?)
            }
            Predictor::PowerLaw(feature) => {
                let star = curves.iter().filter_map(|c| c.at_grok(|c, i| feature.at(c, i)));
                let star = mean(&star.collect::<Vec<_>>())?;
                Fitted::PowerLaw(
                    feature,
                    PowerLaw::fit(&points(curves, |c, i| feature.at(c, i)), star)?,
                )
            }
            Predictor::Linear(feature) => {
                let (a, b) = line(&points(curves, |c, i| feature.at(c, i)))?;
                Fitted::Linear(feature, a, b)
            }
        })
    }
}

/// A predictor with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fitted {
    /// 0 steps are left.
    Now,
    /// T_grok itself.
    At(f64),
    /// The law in a feature.
    PowerLaw(Feature, PowerLaw),
    /// ΔT = a + b z.
    Linear(Feature, f64, f64),
}

impl Fitted {
    /// The predicted steps left at evaluation `i`; `None` where its reading is missing. Nothing after
    /// `i` is looked at (but see [`Feature::OwnGap`]).
    pub fn remaining(&self, curve: &Curve, i: usize) -> Option<f64> {
        let left = match *self {
            Fitted::Now => 0.0,
            Fitted::At(t_grok) => t_grok - curve.step[i] as f64,
            Fitted::PowerLaw(feature, law) => law.remaining(feature.at(curve, i)?),
            Fitted::Linear(feature, a, b) => a + b * feature.at(curve, i)?,
        };
        Some(left.max(0.0))
    }
}

/// (z, ΔT) at every waiting evaluation of every curve that groks.
pub(super) fn points(
    curves: &[&Curve],
    reading: impl Fn(&Curve, usize) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for curve in curves {
        let Some(t_grok) = curve.milestones().t_grok else { continue };
        points.extend(
            curve
                .waiting()
                .filter_map(|i| Some((reading(curve, i)?, (t_grok - curve.step[i]) as f64))),
        );
    }
    points
}

/// (a, b) of the least-squares line y = a + b x; `None` if all x are alike.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (cx, cy) = (mean(&x)?, mean(&y)?);
    if x.iter().all(|&v| v == x[0]) {
        return None;
    }
    let xx: f64 = x.iter().map(|x| (x - cx).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - cx) * (y - cy)).sum();
    Some((cy - xy / xx * cx, xy / xx))
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::{control, lawful};
    use super::*;

    #[test]
    fn the_law_behind_the_curves_is_recovered_from_them() {
        let mut curves: Vec<Curve> = (0..4).map(|seed| lawful(seed, 3000 + 500 * seed)).collect();
        for curve in &mut curves {
            for (i, h) in curve.entropy.iter_mut().enumerate() {
                // the plateau ends at a gap of .171: beyond, H̃ says nothing
                if curve.step[i] >= 300 && *h == 0.78 {
                    *h = f64::NAN;
                }
            }
        }
        let curves: Vec<&Curve> = curves.iter().collect();
        let found = Predictor::PowerLaw(Feature::Entropy).fit(&curves).unwrap();
        let Fitted::PowerLaw(_, law) = found else { panic!("{found:?}") };
        assert!((law.star - 0.609).abs() < 1e-12, "{law:?}");
        assert!((law.c1 / 2.45e5 - 1.0).abs() < 1e-4 && (law.gamma / 1.65 - 1.0).abs() < 1e-5);
        assert!(law.c2 < 0.1, "{law:?}");
    }

    #[test]
    fn runs_that_never_grok_teach_nothing() {
        let (a, b, c) = (lawful(0, 4000), lawful(1, 6000), control(2, 0.7));
        for predictor in Predictor::CONTEST {
            assert_eq!(predictor.fit(&[&a, &b]), predictor.fit(&[&a, &b, &c]), "{predictor:?}");
        }
        assert_eq!(Predictor::MeanTime.fit(&[&c]), None);
        assert_eq!(Predictor::PowerLaw(Feature::Entropy).fit(&[&c]), None);
    }

    #[test]
    fn baselines_are_what_they_say() {
        let (a, b) = (lawful(0, 4000), lawful(1, 6000));
        let at = |predictor: Predictor, i| predictor.fit(&[&a, &b]).unwrap().remaining(&a, i);
        assert_eq!(at(Predictor::Now, 10), Some(0.0));
        assert_eq!(at(Predictor::MeanTime, 10), Some(4000.0));
        assert_eq!(at(Predictor::MeanTime, 55), Some(0.0), "never below 0");
        for constant in [Predictor::PowerLaw, Predictor::Linear].map(|f| f(Feature::TrainError)) {
            assert_eq!(constant.fit(&[&a, &b]), None, "it is 0 throughout the wait");
        }
    }

    #[test]
    fn a_line_is_recovered_from_a_line() {
        let (a, b) = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).unwrap();
        assert!((a - 3.0).abs() < 1e-12 && (b - 2.0).abs() < 1e-12);
        assert_eq!(line(&[(1.0, 5.0), (1.0, 7.0)]), None);
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn features_look_back_and_never_ahead() {
        let whole = lawful(0, 5000);
        let mut cut = whole.clone();
        cut.push(2000, "H", |_| 0.7);
        for feature in Feature::ALL {
            if feature != Feature::OwnGap {
                assert_eq!(feature.at(&whole, 19), feature.at(&cut, 19), "{feature:?}");
            }
        }
        assert_eq!(Feature::EntropySpeed.at(&whole, 0), None);
        assert_eq!(Feature::OwnGap.at(&cut, 19), None, "it has not grokked, so nobody knows");
    }
}
