//! What is made of trained encoders and decoders: C3, C4, C5, C6.

use super::claims::{parts, verdict};
use super::plateau::{Course, course, joint, reaches};
use super::{REGIMES, Regime};
use crate::record::Record;
use crate::stats::Estimate;
use crate::study::draw::{curves, dots, over_steps};
use crate::study::grade::{Evidence, FEWEST, Figure, Finding, above, below, mean_of, show};

/// Runs of one seed in two groups, this regime's `what` and its joint runs.
fn paired<'a>(
    evidence: &'a Evidence,
    regime: &Regime,
    what: &str,
) -> Vec<(&'a Record, &'a Record)> {
    let joint = joint(evidence, regime);
    let of_seed = |seed| joint.iter().find(|record| record.row.seed == seed).copied();
    let runs = evidence.groups(&[&regime.group(what)]);
    runs.into_iter().filter_map(|run| Some((run, of_seed(run.row.seed)?))).collect()
}

/// The steps to an accuracy; of a run that never comes to it, all it made.
fn time(record: &Record, accuracy: f64) -> f64 {
    reaches(record, accuracy).unwrap_or(record.row.steps).max(1) as f64
}

/// How many times sooner than the joint run of their seed runs come to an accuracy. A run that never does counts
/// with all its steps.
fn speedup(pairs: &[(&Record, &Record)], accuracy: f64) -> Option<Estimate> {
    mean_of(
        &pairs
            .iter()
            .map(|(run, joint)| time(joint, accuracy) / time(run, accuracy))
            .collect::<Vec<_>>(),
    )
}

/// Final test accuracy over that of the joint run of their seed.
fn gain(pairs: &[(&Record, &Record)]) -> Option<Estimate> {
    let gain = |(run, joint): &(&Record, &Record)| Some(run.row.acc_final? - joint.row.acc_final?);
    mean_of(&pairs.iter().filter_map(gain).collect::<Vec<_>>())
}

fn last(runs: &[&Record]) -> Option<Estimate> {
    mean_of(&runs.iter().filter_map(|record| record.row.acc_final).collect::<Vec<_>>())
}

/// The runs of pairs, without the joint runs.
fn runs<'a>(pairs: &[(&'a Record, &'a Record)]) -> Vec<&'a Record> {
    pairs.iter().map(|(run, _)| *run).collect()
}

/// Test accuracy of several groups of a regime beside its joint runs.
fn accuracy(evidence: &Evidence, regime: &Regime, title: &str, groups: &[(&str, &str)]) -> Figure {
    let mut series = curves(&joint(evidence, regime), "joint", |e| e.test_acc);
    for (what, name) in groups {
        series.extend(curves(&evidence.groups(&[&regime.group(what)]), name, |e| e.test_acc));
    }
    over_steps(format!("{title}, {}", regime.name), "test accuracy", series)
}

/// What a trained encoder has over the joint run besides its training, and what the scale leaves open.
const SETS: &str = "Where the training set is renewed, a donor's encoder has learnt from the sets that the run itself is \
                    given later: a part of what it is faster by is more examples. No number that is tested is among them. \
                    One layer of either stack, 15,000 steps at most: how a decoder of six layers takes to another's encoder \
                    is not said.";

/// "open: …; plateau: …".
fn by_regime<T>(of: &[T; 2], words: impl Fn(&Regime, &T) -> String) -> String {
    let each =
        REGIMES.iter().zip(of).map(|(regime, x)| format!("{}: {}", regime.name, words(regime, x)));
    each.collect::<Vec<_>>().join("; ")
}

const THRESHOLDS: [f64; 3] = [0.5, 0.7, 0.9];

/// "×2.1 \[1.4, 3.0\] at .50, …", and how many arrive where not all do.
fn speeds(pairs: &[(&Record, &Record)]) -> String {
    let words = THRESHOLDS.map(|at| {
        let arrive = pairs.iter().filter(|(run, _)| reaches(run, at).is_some()).count();
        let some = match arrive {
            n if n == pairs.len() => String::new(),
            n => format!(" ({n} of {} arrive)", pairs.len()),
        };
        format!("×{} at {at:.2}{some}", show(speedup(pairs, at), 2))
    });
    words.join(", ")
}

/// C3.
pub(super) fn encoder(evidence: &Evidence) -> Finding {
    let of = REGIMES.map(|regime| paired(evidence, &regime, "encoder-again"));
    let own = REGIMES.map(|regime| paired(evidence, &regime, "encoder"));
    if of.iter().any(|pairs| pairs.len() < FEWEST) {
        return Finding::not_testable("needs three runs with a trained encoder in either regime");
    }
    let faster: Vec<bool> =
        of.iter().flat_map(|pairs| THRESHOLDS.map(|at| above(speedup(pairs, at), 1.0))).collect();
    let words = |of| {
        by_regime(of, |_, pairs: &Vec<_>| {
            format!("{}; final accuracy {} over scratch", speeds(pairs), show(gain(pairs), 3))
        })
    };
    Finding {
        measured: words(&of),
        estimate: speedup(&of[1], 0.7),
        seeds: of[1].len(),
        controls: format!(
            "scratch runs of the same seed; a trained encoder under the decoder that it grew up with, at its first weights: \
             {}",
            words(&own)
        ),
        verdict: verdict(&faster),
        why: format!(
            "It is faster beyond chance at {} of {} thresholds.",
            faster.iter().filter(|f| **f).count(),
            faster.len()
        ),
        figures: REGIMES
            .iter()
            .map(|r| {
                accuracy(
                    evidence,
                    r,
                    "A trained encoder under a fresh decoder",
                    &[
                        ("encoder-again", "trained encoder, another decoder"),
                        ("encoder", "trained encoder, its decoder's first weights"),
                    ],
                )
            })
            .collect(),
        note: SETS.to_owned(),
    }
}

/// C4.
pub(super) fn decoder(evidence: &Evidence) -> Finding {
    let of = REGIMES.map(|regime| paired(evidence, &regime, "decoder-again"));
    let own = REGIMES.map(|regime| paired(evidence, &regime, "decoder"));
    let frozen = REGIMES.map(|regime| paired(evidence, &regime, "decoder-frozen"));
    if of.iter().chain(&frozen).any(|pairs| pairs.len() < FEWEST) {
        return Finding::not_testable(
            "needs three runs with a trained decoder in either regime, and with one that is frozen untrained",
        );
    }
    let hurts: Vec<bool> = of.iter().map(|pairs| below(gain(pairs), -0.1)).collect();
    let words = |of| {
        by_regime(of, |_, pairs: &Vec<_>| {
            format!(
                "final accuracy {}, {} over scratch, {}",
                show(last(&runs(pairs)), 3),
                show(gain(pairs), 3),
                speeds(pairs)
            )
        })
    };
    Finding {
        measured: words(&of),
        estimate: gain(&of[1]),
        seeds: of[1].len(),
        controls: format!(
            "a trained decoder over the encoder that it grew up with, at its first weights: {}; an untrained decoder that \
             does not learn: {}",
            words(&own),
            words(&frozen)
        ),
        verdict: verdict(&hurts),
        why: match hurts.iter().filter(|hurts| **hurts).count() {
            2 => "In both regimes it ends more than .1 below scratch.".to_owned(),
            1 => "In one regime it ends more than .1 below scratch.".to_owned(),
            _ => "In neither regime does it end more than .1 below scratch.".to_owned(),
        },
        figures: REGIMES
            .iter()
            .map(|r| {
                let groups = [
                    ("decoder-again", "trained decoder, another encoder"),
                    ("decoder", "trained decoder, its encoder's first weights"),
                    ("decoder-frozen", "untrained, frozen decoder"),
                ];
                accuracy(evidence, r, "A trained decoder over a fresh encoder", &groups)
            })
            .collect(),
        note: "The decoder learns on. One layer: a decoder of six has more to unlearn, of which this says nothing.".to_owned(),
    }
}

/// C5.
pub(super) fn retrained(evidence: &Evidence) -> Finding {
    const KINDS: [(&str, &str); 3] = [
        ("rewound", "rewound decoder"),
        ("fresh", "decoder at its first weights"),
        ("fresh-again", "another decoder"),
    ];
    let of = REGIMES.map(|regime| KINDS.map(|(what, _)| paired(evidence, &regime, what)));
    if of.iter().flatten().any(|pairs| pairs.len() < FEWEST) {
        return Finding::not_testable("needs three runs of each kind of decoder in either regime");
    }
    // In the regime with a plateau: no run waits any more, and every kind is faster.
    let free = of[1]
        .iter()
        .flatten()
        .all(|(run, _)| !matches!(course(run), Course::Jump | Course::Creeps | Course::Never));
    let faster: Vec<bool> =
        of.iter().flatten().map(|pairs| above(speedup(pairs, 0.9), 1.0)).collect();
    let held = [vec![free], faster.clone()].concat();
    let measured = by_regime(&of, |_, kinds| {
        let kinds = KINDS.iter().zip(kinds).map(|((_, name), pairs)| {
            format!("{name} {}, final {}", speeds(pairs), show(last(&runs(pairs)), 3))
        });
        kinds.collect::<Vec<_>>().join("; ")
    });
    Finding {
        measured,
        estimate: speedup(&of[1][1], 0.9),
        seeds: of[1][1].len(),
        controls: "joint runs of the same seed".to_owned(),
        verdict: verdict(&held),
        why: format!(
            "{}; faster to .90 beyond chance in {} of {} groups.",
            if free { "No plateau remains" } else { "A plateau remains, or .90 is not reached" },
            faster.iter().filter(|f| **f).count(),
            faster.len()
        ),
        figures: REGIMES
            .iter()
            .map(|r| accuracy(evidence, r, "A frozen, trained encoder and another decoder", &KINDS))
            .collect(),
        note: SETS.to_owned(),
    }
}

/// C6.
pub(super) fn early(evidence: &Evidence) -> Finding {
    const KINDS: [&str; 5] = ["untrained", "early-0", "early-1", "early-2", "early-3"];
    let of = REGIMES.map(|regime| KINDS.map(|what| paired(evidence, &regime, what)));
    if of.iter().flatten().any(|pairs| pairs.len() < FEWEST) {
        return Finding::not_testable("needs three runs of every frozen encoder in either regime");
    }
    // The earliest encoder is enough for .65 and an untrained one is not; it falls short of the joint run, and beats an
    // untrained one.
    let held: Vec<(String, bool)> = REGIMES
        .iter()
        .zip(&of)
        .flat_map(|(regime, kinds)| {
            let beyond = |(run, _): &(&Record, &Record)| {
                let untrained =
                    kinds[0].iter().find(|(other, _)| other.row.seed == run.row.seed)?.0;
                Some(run.row.acc_final? - untrained.row.acc_final?)
            };
            let beyond = mean_of(&kinds[1].iter().filter_map(beyond).collect::<Vec<_>>());
            let [untrained, enough] =
                [0, 1].map(|i: usize| last(&runs(&kinds[i])).is_some_and(|acc| acc.value >= 0.65));
            [
                ("the first is enough for .65, an untrained one is not", enough && !untrained),
                ("short of the joint run", below(gain(&kinds[1]), 0.0)),
                ("better than an untrained one", above(beyond, 0.0)),
            ]
            .map(|(part, held)| (format!("{}, {part}", regime.name), held))
        })
        .collect();
    let (verdict, why) = parts(&held);
    let measured = by_regime(&of, |regime, kinds| {
        let kinds = KINDS
            .iter()
            .zip(kinds)
            .skip(1)
            .map(|(what, pairs)| format!("{what} {}", show(last(&runs(pairs)), 3)));
        let joint = joint(evidence, regime);
        format!("{}; joint {}", kinds.collect::<Vec<_>>().join(", "), show(last(&joint), 3))
    });
    let controls = by_regime(&of, |_, kinds| {
        format!("an untrained encoder that does not learn {}", show(last(&runs(&kinds[0])), 3))
    });
    let figures = REGIMES.iter().zip(&of).map(|(regime, kinds)| {
        let mut series = Vec::new();
        for (x, (what, pairs)) in KINDS.iter().zip(kinds).enumerate() {
            series.extend(dots(what, &runs(pairs), x as f64, |r| r.row.acc_final));
        }
        series.extend(dots("joint", &joint(evidence, regime), 5.0, |r| r.row.acc_final));
        Figure {
            title: format!(
                "Final accuracy of fresh decoders on encoders frozen early, {}",
                regime.name
            ),
            axes: ["encoder", "test accuracy"],
            log: [false, false],
            places: vec![
                (0.0, "untrained"),
                (1.0, "first"),
                (2.0, "second"),
                (3.0, "third"),
                (4.0, "fourth"),
                (5.0, "joint"),
            ],
            series,
            lines: vec![],
        }
    });
    Finding {
        measured,
        estimate: last(&runs(&of[1][1])),
        seeds: of[1][1].len(),
        controls,
        verdict,
        why,
        figures: figures.collect(),
        note: "One layer of either stack: what an untrained encoder of six layers leaves of the digits is not said."
            .to_owned(),
    }
}
