//! How good a prediction is, leaving one seed out: every curve is predicted by what was fitted to the
//! curves of *other* seeds.
//!   error(t) = |predicted ΔT − true ΔT|, as a function of the steps that are truly left
//! Evaluations of one run are not independent, so the seed is the unit: errors are averaged within a
//! seed first, then over seeds, and intervals come from resampling seeds.
//!   R² pooled  = 1 − Σ (ΔT − fitted)² / Σ (ΔT − mean ΔT)²    fitted to the same curves, as in the paper
//!   R² left out: the same with each curve predicted by the others; below 0 is worse than a constant

use super::curve::Curve;
use super::predictor::{Fitted, Predictor};
use crate::stats::{Bootstrap, Estimate, mean};
use std::ops::Range;

/// Edges, in steps left, between which errors are averaged; the last bin is open.
pub const BINS: [u64; 7] = [1, 250, 500, 1000, 2000, 4000, 8000];

/// One prediction at one evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Which curve, in the order given.
    pub curve: usize,
    /// Updates done.
    pub step: u64,
    /// T_grok − step: the truth.
    pub remaining: f64,
    /// What was said.
    pub predicted: f64,
}

/// The prediction at every waiting evaluation of every curve that groks, each by the fit to the curves
/// of all other seeds. Curves whose others determine no fit, and evaluations without a reading, are
/// left out.
pub fn predict_left_out(curves: &[Curve], predictor: Predictor) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for (i, curve) in curves.iter().enumerate() {
        let others: Vec<&Curve> = curves.iter().filter(|other| other.seed != curve.seed).collect();
        if let Some(fitted) = predictor.fit(&others) {
            predictions.extend(predict(&fitted, curve, i));
        }
    }
    predictions
}

fn predict<'a>(
    fitted: &'a Fitted,
    curve: &'a Curve,
    number: usize,
) -> impl Iterator<Item = Prediction> + 'a {
    let t_grok = curve.milestones().t_grok;
    let waiting = t_grok.map_or(0..0, |_| curve.waiting());
    waiting.filter_map(move |i| {
        let step = curve.step[i];
        let remaining = (t_grok? - step) as f64;
        Some(Prediction { curve: number, step, remaining, predicted: fitted.remaining(curve, i)? })
    })
}

/// The mean error over seeds between two numbers of steps left.
#[derive(Clone, Debug, PartialEq)]
pub struct BinError {
    /// Steps left; the end of the last bin is `u64::MAX`.
    pub remaining: Range<u64>,
    /// Seeds with an evaluation here.
    pub seeds: usize,
    /// Mean |error| in steps, by seed first; `None` without a seed.
    pub error: Option<Estimate>,
}

/// Errors by steps left, between ascending `edges` and from the last on.
pub fn errors_by_remaining(
    predictions: &[Prediction],
    edges: &[u64],
    bootstrap: &Bootstrap,
) -> Vec<BinError> {
    let ends = edges.iter().skip(1).copied().chain([u64::MAX]);
    let bin = |(&from, to): (&u64, u64)| {
        let within = |p: &&Prediction| (from..to).contains(&(p.remaining as u64));
        let inside: Vec<Prediction> = predictions.iter().filter(within).copied().collect();
        let by_seed: Vec<f64> = inside
            .chunk_by(|a, b| a.curve == b.curve)
            .filter_map(|run| mean(&run.iter().map(error).collect::<Vec<_>>()))
            .collect();
        let error = bootstrap.percentile(&by_seed, mean);
        BinError { remaining: from..to, seeds: by_seed.len(), error }
    };
    edges.iter().zip(ends).map(bin).collect()
}

fn error(p: &Prediction) -> f64 {
    (p.predicted - p.remaining).abs()
}

/// The paper's figure: |predicted T_grok − T_grok| / T_grok at the last evaluation before T_grok, its
/// mean over seeds. It is near 0 for everyone who says "soon".
pub fn error_at_last(predictions: &[Prediction], bootstrap: &Bootstrap) -> Option<Estimate> {
    let last: Vec<f64> = predictions
        .chunk_by(|a, b| a.curve == b.curve)
        .filter_map(|run| run.last())
        .map(|p| error(p) / (p.step as f64 + p.remaining))
        .collect();
    bootstrap.percentile(&last, mean)
}

/// R² of the fit to the very curves that it is judged on, with an interval from refitting resampled
/// seeds.
pub fn r_squared_pooled(
    curves: &[Curve],
    predictor: Predictor,
    bootstrap: &Bootstrap,
) -> Option<Estimate> {
    let curves: Vec<&Curve> = curves.iter().collect();
    bootstrap.percentile(&curves, |curves| {
        let fitted = predictor.fit(curves)?;
        let all = curves.iter().enumerate().flat_map(|(i, curve)| predict(&fitted, curve, i));
        r_squared(&all.collect::<Vec<_>>())
    })
}

/// R² of predictions, such as those of [`predict_left_out`], with an interval from resampling seeds.
pub fn r_squared_left_out(predictions: &[Prediction], bootstrap: &Bootstrap) -> Option<Estimate> {
    let runs: Vec<&[Prediction]> = predictions.chunk_by(|a, b| a.curve == b.curve).collect();
    bootstrap.percentile(&runs, |runs| r_squared(&runs.concat()))
}

fn r_squared(predictions: &[Prediction]) -> Option<f64> {
    let truth: Vec<f64> = predictions.iter().map(|p| p.remaining).collect();
    let centre = mean(&truth)?;
    let spread: f64 = truth.iter().map(|t| (t - centre).powi(2)).sum();
    let missed: f64 = predictions.iter().map(|p| error(p).powi(2)).sum();
    (spread > 0.0).then(|| 1.0 - missed / spread)
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::{control, lawful};
    use super::super::predictor::Feature;
    use super::*;
    use crate::seed::Seed;

    const FEW: Bootstrap = Bootstrap { resamples: 40, level: 0.95, seed: Seed(0) };
    const LAW: Predictor = Predictor::PowerLaw(Feature::Entropy);

    fn curves() -> Vec<Curve> {
        (0..5).map(|seed| lawful(seed, 3000 + 700 * seed)).collect()
    }

    #[test]
    fn what_is_said_of_a_seed_never_comes_from_that_seed() {
        let curves = curves();
        for predictor in Predictor::CONTEST {
            let before = predict_left_out(&curves, predictor);
            let mut changed = curves.clone();
            // Other readings for seed 2, its T_grok kept, so that only the fits could tell.
            let other = &mut changed[2];
            for i in 0..other.len() {
                other.entropy[i] = 0.55 + 0.3 * other.entropy[i];
                other.norm[i] = 200.0 - other.norm[i];
                other.test_loss[i] = 3.0 + 1.0 / other.test_loss[i];
                other.train_loss[i] *= 1.0 + i as f64;
            }
            let after = predict_left_out(&changed, predictor);
            let fitted = predictor.fit(&[&curves[0], &curves[1], &curves[3], &curves[4]]);
            let expected: Vec<Prediction> =
                fitted.iter().flat_map(|fitted| predict(fitted, &changed[2], 2)).collect();
            let of = |all: &[Prediction], i| -> Vec<Prediction> {
                all.iter().filter(|p| p.curve == i).copied().collect()
            };
            assert_eq!(of(&after, 2), expected, "{predictor:?}: from the others, unchanged");
            let learns = !matches!(predictor, Predictor::Now | Predictor::MeanTime);
            let others = |all: &[Prediction]| [0, 1, 3, 4].map(|i| of(all, i));
            assert_eq!(others(&before) != others(&after), learns, "{predictor:?}: they do learn");
        }
    }

    #[test]
    fn two_runs_of_one_seed_are_left_out_together() {
        let mut curves = curves();
        curves[1].seed = 0;
        let found = predict_left_out(&curves, Predictor::MeanTime);
        let first = found.iter().find(|p| p.curve == 0).unwrap();
        assert_eq!(first.predicted + first.step as f64, (4400.0 + 5100.0 + 5800.0) / 3.0);
    }

    #[test]
    fn the_law_that_made_the_curves_errs_by_nothing_where_it_holds() {
        let predictions = predict_left_out(&curves(), LAW);
        let bins = errors_by_remaining(&predictions, &BINS, &FEW);
        assert_eq!(bins.iter().map(|bin| bin.seeds).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 3, 0]);
        assert_eq!(bins[6], BinError { remaining: 8000..u64::MAX, seeds: 0, error: None });
        let now = errors_by_remaining(&predict_left_out(&curves(), Predictor::Now), &BINS, &FEW);
        // Left are 100 and 200, so "now" errs by 150, for every seed.
        let exact = Estimate { value: 150.0, interval: Some([150.0, 150.0]) };
        assert_eq!(now[0].error, Some(exact));
    }

    #[test]
    fn a_seed_counts_once_however_many_evaluations_it_has() {
        let say = |curve, predicted| Prediction { curve, step: 100, remaining: 10.0, predicted };
        let predictions = [say(0, 10.0), say(0, 14.0), say(0, 10.0), say(0, 10.0), say(1, 31.0)];
        let bins = errors_by_remaining(&predictions, &[0], &FEW);
        assert_eq!(bins[0].error.unwrap().value, (1.0 + 21.0) / 2.0);
        let last = error_at_last(&predictions, &FEW).unwrap();
        assert!((last.value - 21.0 / 110.0 / 2.0).abs() < 1e-15);
    }

    #[test]
    fn r_squared_is_one_for_the_truth_and_nothing_for_the_mean() {
        let say = |remaining, predicted| Prediction { curve: 0, step: 0, remaining, predicted };
        assert_eq!(r_squared(&[say(1.0, 1.0), say(3.0, 3.0)]), Some(1.0));
        assert_eq!(r_squared(&[say(1.0, 2.0), say(3.0, 2.0)]), Some(0.0));
        assert_eq!(r_squared(&[say(1.0, 9.0)]), None);
        assert_eq!(r_squared(&[]), None);
        let pooled =
            r_squared_pooled(&curves(), Predictor::Linear(Feature::Entropy), &FEW).unwrap();
        let r = |x: &[(f64, f64)]| {
            let (x, y): (Vec<f64>, Vec<f64>) = x.iter().copied().unzip();
            crate::stats::pearson(&x, &y).unwrap()
        };
        let curves = curves();
        let all: Vec<&Curve> = curves.iter().collect();
        let points = super::super::predictor::points(&all, |c, i| Feature::Entropy.at(c, i));
        assert!(
            (pooled.value - r(&points).powi(2)).abs() < 0.02,
            "R² of a line is r², but for what it says below 0"
        );
        let left_out = r_squared_left_out(&predict_left_out(&curves, LAW), &FEW).unwrap();
        let [lo, hi] = left_out.interval.unwrap();
        assert!(lo <= left_out.value && left_out.value <= hi && hi <= 1.0);
    }

    #[test]
    fn nothing_to_learn_from_is_no_prediction() {
        assert_eq!(predict_left_out(&[], LAW), []);
        assert_eq!(predict_left_out(&[lawful(0, 4000)], LAW), [], "no other seed");
        assert_eq!(predict_left_out(&[lawful(0, 4000), control(1, 0.7)], LAW), []);
        assert_eq!(r_squared_pooled(&[], LAW, &FEW), None);
        assert_eq!(error_at_last(&[], &FEW), None);
    }
}
