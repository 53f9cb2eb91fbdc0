//! What H̃ says about the future: E7, E8, E16.

use super::claims::CONTROLS;
use super::phases::{at_grok, thresholds};
use crate::forecast::contest::{
    BINS, Prediction, error_at_last, errors_by_remaining, predict_left_out, r_squared_left_out,
    r_squared_pooled,
};
use crate::forecast::curve::Curve;
use crate::forecast::predictor::{Feature, Fitted, Predictor};
use crate::forecast::reference::{Forecast, Reference};
use crate::record::Record;
use crate::stats::{BOOTSTRAP, Bootstrap, Estimate, mean};
use crate::study::draw::{across, over_steps};
use crate::study::grade::{
    Evidence, FEWEST, Figure, Finding, Mark, Series, Verdict, below, controls, count, mean_of,
    most, show,
};

/// Resamples where each of them is a fit.
const REFITS: Bootstrap = Bootstrap { resamples: 200, ..BOOTSTRAP };
/// Steps left at which a forecast would be of use.
const USEFUL: std::ops::Range<f64> = 1000.0..4000.0;

/// Runs as the forecaster sees them.
pub(super) fn forecast_curves(records: &[&Record]) -> Vec<Curve> {
    let of = |record: &&Record| Curve::from_evaluations(record.row.seed, &record.curves);
    records.iter().map(of).collect()
}

/// How often the forecaster, which has learnt from these runs and from controls of the *other* kinds, names
/// a date at some evaluation of a control that never groks.
fn dates_for_controls(evidence: &Evidence, curves: &[Curve]) -> String {
    let mut words = Vec::new();
    for kind in CONTROLS {
        let of = |kind: &str| -> Vec<Curve> {
            let never = evidence.group(kind).iter().filter(|r| r.row.t_grok.is_none());
            forecast_curves(&never.collect::<Vec<_>>())
        };
        let others: Vec<Curve> =
            CONTROLS.iter().filter(|other| **other != kind).flat_map(|other| of(other)).collect();
        let Some(reference) = Reference::fit(curves, &others) else { continue };
        let dated = |run: &Curve| {
            let seen = |n| reference.forecast(&run.first(n));
            (1..=run.len()).any(|n| matches!(seen(n), Forecast::Expected { .. }))
        };
        let runs = of(kind);
        if !runs.is_empty() {
            let count = runs.iter().filter(|run| dated(run)).count();
            words.push(format!("{kind} {count} of {}", runs.len()));
        }
    }
    if words.is_empty() { "no control was run".to_owned() } else { words.join(", ") }
}

/// Mean error within each seed where so many steps are left, by curve.
fn useful_error(predictions: &[Prediction], curves: usize) -> Vec<Option<f64>> {
    let of = |curve| {
        let inside =
            predictions.iter().filter(|p| p.curve == curve && USEFUL.contains(&p.remaining));
        mean(&inside.map(|p| (p.predicted - p.remaining).abs()).collect::<Vec<_>>())
    };
    (0..curves).map(of).collect()
}

/// E7.
pub(super) fn power_law(evidence: &Evidence) -> Finding {
    const LAW: Predictor = Predictor::PowerLaw(Feature::Entropy);
    let add = evidence.grokked("add");
    if add.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let curves = forecast_curves(&add);
    let constants = |of: fn(&crate::forecast::power_law::PowerLaw) -> f64| {
        let all: Vec<&Curve> = curves.iter().collect();
        REFITS.percentile(&all, |curves| match LAW.fit(curves)? {
            Fitted::PowerLaw(_, law) => Some(of(&law)),
            _ => None,
        })
    };
    let (gamma, c1, c2) =
        (constants(|law| law.gamma), constants(|law| law.c1), constants(|law| law.c2));
    let law = predict_left_out(&curves, LAW);
    if law.is_empty() {
        return Finding::not_testable("the curves determine no power law");
    }
    let error = |predictor| useful_error(&predict_left_out(&curves, predictor), curves.len());
    let (ours, now, mean_time) =
        (useful_error(&law, curves.len()), error(Predictor::Now), error(Predictor::MeanTime));
    let against = |other: &[Option<f64>]| {
        let pairs = ours.iter().zip(other).filter_map(|(a, b)| Some(((*a)?, (*b)?)));
        mean_of(&pairs.map(|(a, b)| a - b).collect::<Vec<_>>())
    };
    let (over_now, over_mean) = (against(&now), against(&mean_time));
    let theirs = gamma.and_then(|g| g.interval).is_some_and(|[lo, hi]| lo <= 1.65 && 1.65 <= hi);
    let beats = [below(over_now, 0.0), below(over_mean, 0.0)];
    let verdict = match beats {
        [true, true] if theirs => Verdict::Reproduced,
        [true, _] => Verdict::Partly,
        _ => Verdict::NotReproduced,
    };
    let percent = |e: Option<Estimate>| {
        e.map(|e| Estimate {
            value: 100.0 * e.value,
            interval: e.interval.map(|i| i.map(|x| 100.0 * x)),
        })
    };
    let mean_error =
        |errors: &[Option<f64>]| mean_of(&errors.iter().flatten().copied().collect::<Vec<_>>());
    let mut figure = Figure {
        title: "Error of the predicted T_grok, by the steps that are left".into(),
        axes: ["steps left", "mean error (steps)"],
        log: [true, true],
        places: vec![],
        series: vec![],
        lines: vec![],
    };
    for predictor in Predictor::CONTEST {
        let predictions = predict_left_out(&curves, predictor);
        let bins = errors_by_remaining(&predictions, &BINS, &REFITS);
        let mut series = Series {
            name: predictor.name(),
            mark: Mark::Line,
            points: vec![],
            ends: vec![],
            label: predictor.name(),
        };
        for bin in &bins {
            let Some(error) = bin.error else { continue };
            let end = if bin.remaining.end == u64::MAX {
                2 * bin.remaining.start
            } else {
                bin.remaining.end
            };
            series.points.push([(bin.remaining.start as f64 * end as f64).sqrt(), error.value]);
        }
        figure.series.push(series);
    }
    let mut predicted = Figure {
        title: "What the law says, fitted to the other seeds".into(),
        axes: ["steps left", "predicted steps left"],
        log: [false, false],
        places: vec![],
        series: vec![Series {
            name: "truth".into(),
            mark: Mark::Line,
            points: vec![[0.0, 0.0], [12_000.0, 12_000.0]],
            ends: vec![],
            label: "truth".into(),
        }],
        lines: vec![],
    };
    for (i, record) in add.iter().enumerate() {
        predicted.series.push(Series {
            name: "law in H̃".into(),
            mark: Mark::Line,
            points: law
                .iter()
                .filter(|p| p.curve == i)
                .map(|p| [p.remaining, p.predicted])
                .collect(),
            ends: vec![],
            label: format!("seed {}", record.row.seed),
        });
    }
    Finding {
        measured: format!(
            "γ {}, C₁ {}, C₂ {}, R² {} (left out {}); error at the last evaluation {} % of T_grok; with \
             1,000 to 4,000 steps left {} steps",
            show(gamma, 2),
            show(c1, 0),
            show(c2, 0),
            show(r_squared_pooled(&curves, LAW, &REFITS), 2),
            show(r_squared_left_out(&law, &REFITS), 2),
            show(percent(error_at_last(&law, &BOOTSTRAP)), 2),
            show(mean_error(&ours), 0)
        ),
        estimate: gamma,
        seeds: add.len(),
        controls: format!(
            "with 1,000 to 4,000 steps left: saying now errs by {}, the other seeds' mean T_grok by {}; the \
             law minus these {} and {}; at the last evaluation now errs by {} %; a date is named at some \
             evaluation of a run that never groks: {}",
            show(mean_error(&now), 0),
            show(mean_error(&mean_time), 0),
            show(over_now, 0),
            show(over_mean, 0),
            show(percent(error_at_last(&predict_left_out(&curves, Predictor::Now), &BOOTSTRAP)), 2),
            dates_for_controls(evidence, &curves),
        ),
        verdict,
        why: match (beats, theirs) {
            ([true, true], true) => {
                "It has their exponent and beats both simple guesses where it would help."
            }
            ([true, true], false) => {
                "It beats both simple guesses where it would help, with another exponent."
            }
            ([true, false], _) => {
                "It beats saying now, but not the mean T_grok of other seeds, where it would help."
            }
            _ => "Where a forecast would help it is no better than a guess.",
        }
        .into(),
        figures: vec![figure, predicted],
        note: String::new(),
    }
}

/// E8.
pub(super) fn best_predictor(evidence: &Evidence) -> Finding {
    const THEIRS: [Feature; 5] = [
        Feature::Norm,
        Feature::InverseNorm,
        Feature::TrainError,
        Feature::EntropySpeed,
        Feature::NormSpeed,
    ];
    let add = evidence.grokked("add");
    if add.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let curves = forecast_curves(&add);
    let r_squared = |curves: &[&Curve], feature| {
        let owned: Vec<Curve> = curves.iter().map(|c| (*c).clone()).collect();
        let one = Bootstrap { resamples: 0, ..BOOTSTRAP };
        // A law needs a reading that falls towards its value at T_grok; a line does not.
        [Predictor::PowerLaw(feature), Predictor::Linear(feature)]
            .into_iter()
            .filter_map(|predictor| r_squared_pooled(&owned, predictor, &one))
            .map(|e| e.value)
            .reduce(f64::max)
    };
    let all: Vec<&Curve> = curves.iter().collect();
    let here = |feature| REFITS.percentile(&all, |curves| r_squared(curves, feature));
    let entropy = here(Feature::Entropy);
    let others: Vec<(Feature, Option<Estimate>)> =
        THEIRS.into_iter().chain([Feature::LogTestLoss]).map(|f| (f, here(f))).collect();
    // One-sided: in 95 % of resamples of the seeds H̃ comes first of all seven.
    let few = Bootstrap { resamples: 200, level: 0.9, ..BOOTSTRAP };
    let wins = few.percentile(&all, |curves| {
        let ours = r_squared(curves, Feature::Entropy)?;
        let best =
            others.iter().filter_map(|(f, _)| r_squared(curves, *f)).fold(f64::MIN, f64::max);
        Some(ours - best)
    });
    let value = |e: &Option<Estimate>| e.map_or(f64::MIN, |e| e.value);
    let first_of_seven = others
        .iter()
        .filter(|(f, _)| *f != Feature::LogTestLoss)
        .all(|(_, r)| value(r) < value(&entropy));
    let clear = wins.and_then(|w| w.interval).is_some_and(|[lo, _]| lo > 0.0);
    let verdict = match (clear, first_of_seven) {
        (true, _) => Verdict::Reproduced,
        (false, true) => Verdict::Partly,
        _ => Verdict::NotReproduced,
    };
    let named: Vec<String> =
        others.iter().map(|(f, r)| format!("{} {}", f.name(), show(*r, 2))).collect();
    let best = others.iter().max_by(|a, b| value(&a.1).total_cmp(&value(&b.1)));
    let mut bars = vec![Series {
        name: "entropy gap".into(),
        mark: Mark::Interval,
        points: vec![[1.0, value(&entropy)]],
        ends: entropy.and_then(|e| e.interval).into_iter().collect(),
        label: "entropy gap".into(),
    }];
    for (i, (feature, r)) in others.iter().enumerate() {
        let Some(r) = r else { continue };
        bars.push(Series {
            name: feature.name().into(),
            mark: Mark::Interval,
            points: vec![[(i + 2) as f64, r.value]],
            ends: r.interval.into_iter().collect(),
            label: feature.name().into(),
        });
    }
    Finding {
        measured: format!(
            "R² of the entropy gap {} ({} with each run's own H̃(T_grok), which nobody knows beforehand); {}",
            show(entropy, 2),
            show(here(Feature::OwnGap), 2),
            named.join(", ")
        ),
        estimate: entropy,
        seeds: add.len(),
        controls: "none can be: a run that does not grok has no steps left to predict".into(),
        verdict,
        why: match (clear, first_of_seven, best) {
            (true, ..) => "It is ahead of all others in 95 % of resamples.".into(),
            (_, true, Some((f, _))) => {
                format!(
                    "It is ahead of the paper's other six, but not clearly of all ({}).",
                    f.name()
                )
            }
            (_, _, Some((f, r))) => {
                format!("The best is the {} with R² {}.", f.name(), show(*r, 2))
            }
            _ => "There is nothing to compare with.".into(),
        },
        figures: vec![Figure {
            title: "R² of one quantity, by a power law or a line, whichever is better".into(),
            axes: ["", "R²"],
            log: [false, false],
            places: vec![],
            series: bars,
            lines: vec![
                across(0.507, "paper, entropy gap .507"),
                across(0.38, "paper, all others below .38"),
            ],
        }],
        note: String::new(),
    }
}

/// E16.
pub(super) fn early_stopping(evidence: &Evidence) -> Finding {
    const BUDGET: f64 = 50_000.0;
    const SPARE: u64 = 1000;
    let add = evidence.grokked("add");
    if add.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    struct Stop {
        step: u64,
        accuracy: f64,
        later: f64,
        grok: f64,
    }
    let stops: Vec<Stop> = add
        .iter()
        .zip(thresholds(&add))
        .filter_map(|(r, threshold)| {
            let step = r.crosses(threshold?)?;
            let later = r.curves.iter().find(|e| e.step >= step + SPARE)?;
            Some(Stop {
                step,
                accuracy: r.at(step)?.test_acc?,
                later: later.test_acc?,
                grok: r.t_grok(),
            })
        })
        .collect();
    let good = stops.iter().filter(|s| s.accuracy >= 0.99).count();
    let spare = stops.iter().filter(|s| s.later >= 0.99).count();
    let saved =
        mean_of(&stops.iter().map(|s| 100.0 * (1.0 - s.step as f64 / BUDGET)).collect::<Vec<_>>());
    let by_test =
        mean_of(&stops.iter().map(|s| 100.0 * (1.0 - s.grok / BUDGET)).collect::<Vec<_>>());
    let over_test = mean_of(&stops.iter().map(|s| s.grok - s.step as f64).collect::<Vec<_>>());
    let accuracy = mean_of(&stops.iter().map(|s| s.accuracy).collect::<Vec<_>>());
    let star = mean(&at_grok(&add)).unwrap_or(f64::NAN);
    let (false_stops, _) = controls(evidence, &CONTROLS, |r| r.crosses(star).is_some());
    let much = saved.is_some_and(|s| s.value >= 80.0);
    let (at_once, later) = (most(good, add.len()), most(spare, add.len()));
    let verdict = match () {
        () if at_once == Some(true) && much => Verdict::Reproduced,
        () if later == Some(false) => Verdict::NotReproduced,
        () => Verdict::Partly,
    };
    let dots = |name: &str, x: fn(&Stop) -> f64, y: fn(&Stop) -> f64| Series {
        name: name.into(),
        mark: Mark::Dots,
        points: stops.iter().map(|s| [x(s), y(s)]).collect(),
        ends: vec![],
        label: name.into(),
    };
    Finding {
        measured: format!(
            "stops save {} % of 50,000 steps; test accuracy there {} (≥ .99 in {}), 1,000 steps later ≥ .99 in {}",
            show(saved, 1),
            show(accuracy, 3),
            count(good, add.len()),
            count(spare, add.len())
        ),
        estimate: saved,
        seeds: add.len(),
        controls: format!(
            "stopping at test accuracy .99 saves {} %; the entropy's stop comes {} steps before ({} \
             that are stopped); false stops: {}",
            show(by_test, 1),
            show(over_test, 0),
            stops.len(),
            if false_stops.is_empty() { "no control was run" } else { &false_stops },
        ),
        verdict,
        why: match verdict {
            Verdict::Reproduced => {
                "Against the full budget it saves what they say; against stopping at test accuracy, next to \
                 nothing."
            }
            Verdict::NotReproduced => "Most runs would be stopped before they have learnt the task.",
            _ if at_once == Some(true) => "It stops with the accuracy there, but saves less than they say.",
            _ if later == Some(true) => {
                "That the accuracy is there at the stop is not shown; a thousand steps later it is."
            }
            _ => "Whether the accuracy is there in most seeds, even a thousand steps later, is undecided.",
        }
        .into(),
        figures: vec![Figure { lines: vec![across(0.99, ".99")], ..over_steps("Where the entropy's rule stops, and the test accuracy there", "test accuracy", vec![
                dots("at the stop", |s| s.step as f64, |s| s.accuracy),
                dots("1,000 steps later", |s| (s.step + SPARE) as f64, |s| s.later),
            ]) }],
        note: String::new(),
    }
}
