//! What the encoder knows, and what of it the decoder uses: C2, C14, C16.

use super::REGIMES;
use super::claims::{parts, verdict};
use super::plateau::joint;
use crate::record::{Evaluation, Record};
use crate::stats::Estimate;
use crate::study::draw::{across, curves, over_steps};
use crate::study::grade::{Evidence, FEWEST, Figure, Finding, above, mean_of, seeds_of, show};

/// A reading of an evaluation.
type Reading = fn(&Evaluation) -> Option<f64>;

/// What probes ask: name, on the encoder, on the embedding, without features.
const TARGETS: [(&str, Reading, Reading, Reading); 8] = [
    ("mod 2", |e| e.probe_mod2, |e| e.embed_mod2, |e| e.major_mod2),
    ("mod 4", |e| e.probe_mod4, |e| e.embed_mod4, |e| e.major_mod4),
    ("mod 8", |e| e.probe_mod8, |e| e.embed_mod8, |e| e.major_mod8),
    ("mod 16", |e| e.probe_mod16, |e| e.embed_mod16, |e| e.major_mod16),
    ("bit 2", |e| e.probe_bit2, |e| e.embed_bit2, |e| e.major_bit2),
    ("bit 3", |e| e.probe_bit3, |e| e.embed_bit3, |e| e.major_bit3),
    ("bit 4", |e| e.probe_bit4, |e| e.embed_bit4, |e| e.major_bit4),
    ("size", |e| e.probe_log2, |e| e.embed_log2, |e| e.major_log2),
];

/// The evaluations of a run at which probes were fitted.
fn probed(record: &Record) -> Vec<&Evaluation> {
    record.curves.iter().filter(|e| e.probe_mod2.is_some()).collect()
}

/// The mean over runs of a reading at each run's chosen evaluation.
fn mean_at(
    runs: &[&Record],
    at: fn(&Record) -> Option<&Evaluation>,
    reading: impl Fn(&Evaluation) -> Option<f64>,
) -> Option<Estimate> {
    mean_of(&runs.iter().filter_map(|run| reading(at(run)?)).collect::<Vec<_>>())
}

fn untrained(record: &Record) -> Option<&Evaluation> {
    probed(record).first().copied()
}

/// The first probes after training has begun.
fn early(record: &Record) -> Option<&Evaluation> {
    probed(record).get(1).copied()
}

fn late(record: &Record) -> Option<&Evaluation> {
    probed(record).last().copied()
}

/// C2.
pub(super) fn knows(evidence: &Evidence) -> Finding {
    let of = REGIMES.map(|regime| joint(evidence, &regime));
    if of.iter().any(|runs| runs.iter().filter(|run| early(run).is_some()).count() < FEWEST) {
        return Finding::not_testable("needs three probed joint runs in either regime");
    }
    let mut held = Vec::new();
    let (mut words, mut controls) = (Vec::new(), Vec::new());
    for (regime, runs) in REGIMES.iter().zip(&of) {
        let parity =
            |run: &&&Record| early(run).and_then(|e| e.probe_mod2).is_some_and(|p| p >= 0.99);
        let mut part = |name: &str, holds| held.push((format!("{}, {name}", regime.name), holds));
        part("parity is read in all seeds", runs.iter().filter(parity).count() == runs.len());
        // Before the output is right: below .90.
        let ahead =
            |run: &&&Record| early(run).and_then(|e| e.test_acc).is_some_and(|acc| acc < 0.90);
        part("before the output is right", runs.iter().filter(ahead).count() == runs.len());
        // More than an untrained encoder and the embedding let a probe read, of what one digit does not tell.
        let over = |control: fn(&Record) -> Option<&Evaluation>, reading: Reading| {
            let gain = |run: &&Record| Some(early(run)?.probe_mod16? - reading(control(run)?)?);
            mean_of(&runs.iter().filter_map(gain).collect::<Vec<_>>())
        };
        let gain = over(untrained, |e| e.probe_mod16);
        part("n mod 16 better than off an untrained encoder", above(gain, 0.0));
        part("better than off the embedding", above(over(early, |e| e.embed_mod16), 0.0));
        let row = |at: fn(&Record) -> Option<&Evaluation>, column: usize| {
            let each = TARGETS.iter().map(|target| {
                let reading = [target.1, target.2, target.3][column];
                let mean = mean_at(runs, at, reading);
                format!(
                    "{} {}",
                    target.0,
                    mean.map_or("–".to_owned(), |m| format!("{:.3}", m.value))
                )
            });
            each.collect::<Vec<_>>().join(", ")
        };
        let step = runs.first().and_then(|run| early(run)).map_or(0, |e| e.step);
        let test = mean_at(runs, early, |e| e.test_acc);
        words.push(format!(
            "{}, step {step}, test accuracy {}: {}; n mod 16 {} over an untrained encoder",
            regime.name,
            show(test, 3),
            row(early, 0),
            show(gain, 3)
        ));
        controls.push(format!(
            "{}: untrained encoder {}; embedding {}; without features {}",
            regime.name,
            row(untrained, 0),
            row(early, 1),
            row(early, 2)
        ));
    }
    let figures = REGIMES.iter().zip(&of).map(|(regime, runs)| {
        let mut series = Vec::new();
        for (name, reading) in [
            ("n mod 2", TARGETS[0].1),
            ("n mod 16", TARGETS[3].1),
            ("fourth bit", TARGETS[6].1),
            ("size", TARGETS[7].1),
            ("n mod 16, embedding", TARGETS[3].2),
        ] {
            series.extend(curves(runs, name, reading));
        }
        series.extend(curves(runs, "test accuracy", |e| e.test_acc));
        Figure {
            lines: vec![across(0.997, "paper, parity by step 2,000: .997")],
            ..over_steps(
                format!("What a linear probe reads off the encoder, {}", regime.name),
                "held-out accuracy",
                series,
            )
        }
    });
    let (verdict, why) = parts(&held);
    Finding {
        measured: words.join("; "),
        estimate: mean_at(&of[1], early, |e| e.probe_mod2),
        seeds: seeds_of(of.iter().flatten().copied()),
        controls: controls.join("; "),
        verdict,
        why,
        figures: figures.collect(),
        note: "In base 8, n mod 2, 4 and 8 stand in the last digit: that a probe reads them says that the encoder \
               hands its input on. The embedding, pooled, is a bag of digits without their places, and a weak control for \
               it; the untrained encoder, which ties digits to places, is the one that counts. An untrained encoder of six \
               layers may let a probe read less."
            .to_owned(),
    }
}

/// The probes at which nearest to half of the probed examples are answered, if it is within .20 of half.
fn halfway(record: &Record) -> Option<&Evaluation> {
    let off = |e: &&Evaluation| e.erase_none.map_or(f64::INFINITY, |acc| (acc - 0.5).abs());
    probed(record).into_iter().min_by(|a, b| off(a).total_cmp(&off(b))).filter(|e| off(e) <= 0.2)
}

/// C14.
pub(super) fn erasure(evidence: &Evidence) -> Finding {
    let of = REGIMES.map(|regime| joint(evidence, &regime));
    let enough = |runs: &Vec<&Record>| {
        runs.iter().filter(|run| halfway(run).and_then(|e| e.erase_mod2).is_some()).count()
            >= FEWEST
    };
    if !of.iter().any(enough) {
        return Finding::not_testable(
            "needs three joint runs of a regime with an erasure where half of the answers are right",
        );
    }
    let mut held = Vec::new();
    let (mut words, mut controls) = (Vec::new(), Vec::new());
    for (regime, runs) in REGIMES.iter().zip(&of).filter(|(_, runs)| enough(runs)) {
        let over_random =
            |e: &Evaluation| Some((e.random_mod2? - e.erase_mod2?, e.random_log2? - e.erase_log2?));
        let drop = |at| mean_at(runs, at, |e| over_random(e).map(|(parity, _)| parity));
        let size = |at| mean_at(runs, at, |e| over_random(e).map(|(_, size)| size));
        for (part, holds) in [
            ("parity costs more than random directions at half way", above(drop(halfway), 0.02)),
            ("and no more at the end", drop(late).is_some_and(|drop| drop.value.abs() <= 0.02)),
            ("the size costs more at the end", above(size(late), 0.2)),
        ] {
            held.push((format!("{}, {part}", regime.name), holds));
        }
        let right = mean_at(runs, halfway, |e| e.erase_none);
        words.push(format!(
            "{}: over random directions, parity costs {} of the answers at half way (where {} are right) and {} at the end; \
             the size of n {} and {}",
            regime.name,
            show(drop(halfway), 3),
            show(right, 2),
            show(drop(late), 3),
            show(size(halfway), 3),
            show(size(late), 3)
        ));
        controls.push(format!(
            "{}: as many random directions as parity has cost {} and {}, as the size has {} and {}",
            regime.name,
            show(mean_at(runs, halfway, |e| Some(e.erase_none? - e.random_mod2?)), 3),
            show(mean_at(runs, late, |e| Some(e.erase_none? - e.random_mod2?)), 3),
            show(mean_at(runs, halfway, |e| Some(e.erase_none? - e.random_log2?)), 3),
            show(mean_at(runs, late, |e| Some(e.erase_none? - e.random_log2?)), 3)
        ));
    }
    let figures = REGIMES.iter().zip(&of).map(|(regime, runs)| {
        let mut series = Vec::new();
        for (name, reading) in [
            ("nothing", (|e: &Evaluation| e.erase_none) as Reading),
            ("parity", |e| e.erase_mod2),
            ("a random direction", |e| e.random_mod2),
            ("size", |e| e.erase_log2),
            ("as many random directions", |e| e.random_log2),
        ] {
            series.extend(curves(runs, name, reading));
        }
        over_steps(
            format!("Answers that stay right when directions are erased, {}", regime.name),
            "exact match",
            series,
        )
    });
    let (verdict, why) = parts(&held);
    Finding {
        measured: words.join("; "),
        estimate: None,
        seeds: seeds_of(of.iter().flatten().copied()),
        controls: controls.join("; "),
        verdict,
        why,
        figures: figures.collect(),
        note: "Random directions are drawn as the pooled states vary. One layer, width 128: with more dimensions a state may \
               say parity in more than the direction that one probe finds."
            .to_owned(),
    }
}

/// C16.
pub(super) fn last_digit(evidence: &Evidence) -> Finding {
    let of = REGIMES.map(|regime| joint(evidence, &regime));
    let runs: Vec<&Record> = of.iter().flatten().copied().collect();
    let share = |run: &&Record| late(run)?.attention_last;
    let shares: Vec<f64> = runs.iter().filter_map(share).collect();
    let of_regime = of.each_ref().map(|runs| runs.iter().filter_map(share).collect::<Vec<_>>());
    if of_regime.iter().any(|shares| shares.len() < FEWEST) {
        return Finding::not_testable("needs three probed joint runs in either regime");
    }
    let in_words = REGIMES
        .iter()
        .zip(&of_regime)
        .map(|(regime, shares)| format!("{} {}", regime.name, show(mean_of(shares), 3)));
    let most = shares.iter().filter(|share| **share >= 0.9).count();
    let figure = Figure {
        lines: vec![across(0.97, "paper, up to .97")],
        ..over_steps(
            "The largest share of the last digit in what BOS attends to, over the heads",
            "share",
            REGIMES
                .iter()
                .zip(&of)
                .flat_map(|(regime, runs)| curves(runs, regime.name, |e| e.attention_last))
                .collect(),
        )
    };
    Finding {
        measured: format!(
            "at the end {} (largest {:.3}); at least .90 in {most} of {} runs",
            in_words.collect::<Vec<_>>().join(", "),
            shares.iter().copied().fold(0.0, f64::max),
            shares.len()
        ),
        estimate: mean_of(&of_regime[1]),
        seeds: seeds_of(runs.iter().copied()),
        controls: format!(
            "before the first step {}",
            show(mean_at(&of[1], untrained, |e| e.attention_last), 3)
        ),
        verdict: verdict(&[4 * most >= 3 * shares.len(), most > 0]),
        why: match most {
            0 => "No head attends to the last digit alone.".to_owned(),
            n => format!("A head attends to the last digit in {n} of {} runs.", shares.len()),
        },
        figures: vec![figure],
        note: "One block of four heads: of six blocks of eight one may do what none does here. The interval is that of the \
               regime with a plateau."
            .to_owned(),
    }
}
