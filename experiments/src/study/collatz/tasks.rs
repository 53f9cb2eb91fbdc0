//! Other bases, exposures, sizes, maps, another task, a decoder alone: C7 to C13 and C15.

use super::claims::{parts, verdict};
use super::plateau::stretch;
use super::{BASES, MAPS, SIZES};
use crate::record::Record;
use crate::stats::{BOOTSTRAP, Estimate, mean, spearman};
use crate::study::draw::{STEPS, curves, dots, over_steps};
use crate::study::grade::{
    Evidence, FEWEST, Figure, Finding, Mark, Series, above, below, mean_of, seeds_of, show,
};

/// Exact match at step 500,000 in each of [`BASES`], as the paper prints it.
const PAPER: [f64; 15] = [
    0.000, 0.458, 0.992, 0.997, 0.973, 0.921, 0.990, 0.994, 0.936, 0.996, 0.998, 0.924, 0.963,
    0.971, 0.937,
];

fn accuracies(runs: &[&Record], of: fn(&Record) -> Option<f64>) -> Vec<f64> {
    runs.iter().filter_map(|record| of(record)).collect()
}

fn last(runs: &[&Record]) -> Vec<f64> {
    accuracies(runs, |record| record.row.acc_final)
}

/// A difference of means with its interval; of single runs without one.
fn difference(x: &[f64], y: &[f64]) -> Option<Estimate> {
    BOOTSTRAP.difference(x, y, mean)
}

/// Test accuracy of groups over the steps.
fn accuracy(evidence: &Evidence, title: &str, groups: &[&str]) -> Figure {
    let series =
        groups.iter().flat_map(|name| curves(&evidence.groups(&[name]), name, |e| e.test_acc));
    over_steps(title, "test accuracy", series.collect())
}

/// The paper's figures, left of ours.
fn paper<const N: usize>(values: [f64; N], names: [&str; N]) -> Vec<Series> {
    let dot = |(i, (value, name)): (usize, (f64, &str))| Series {
        name: "paper".to_owned(),
        mark: Mark::Dots,
        points: vec![[i as f64 - 0.2, value]],
        ends: Vec::new(),
        label: format!("paper, {name}"),
    };
    values.into_iter().zip(names).enumerate().map(dot).collect()
}

/// C7.
pub(super) fn base(evidence: &Evidence) -> Finding {
    let of = |name: &str, base: u32| evidence.groups(&[&format!("{name}-{base}")]);
    let mean_last = |name: &str, base: u32| mean(&last(&of(name, base)));
    let ours: Vec<f64> = BASES.iter().filter_map(|&base| mean_last("base", base)).collect();
    if ours.len() < BASES.len() || BASES.iter().any(|&base| of("base", base).len() < 2) {
        return Finding::not_testable("needs two runs in each of the fifteen bases");
    }
    let ends = |values: &[f64]| {
        let of =
            |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        [of(f64::min), of(f64::max)]
    };
    let [low, high] = ends(&ours);
    // Bases are drawn again for the interval: fifteen say more than two seeds.
    let indices: Vec<usize> = (0..BASES.len()).collect();
    let rho = BOOTSTRAP.percentile(&indices, |chosen| {
        let x: Vec<f64> = chosen.iter().map(|&i| PAPER[i]).collect();
        let y: Vec<f64> = chosen.iter().map(|&i| ours[i]).collect();
        spearman(&x, &y)
    });
    let held = [high - low >= 0.1, rho.is_some_and(|rho| rho.value >= 0.7)];
    let words = |name: &str| {
        let each = BASES.iter().map(|&base| {
            format!(
                "{base}: {}",
                mean_last(name, base).map_or("–".to_owned(), |acc| format!("{acc:.3}"))
            )
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let mut series = Vec::new();
    for (shift, name, label) in
        [(0.0, "base", "most significant first"), (0.2, "reversed", "least significant first")]
    {
        for (i, &base) in BASES.iter().enumerate() {
            series.extend(dots(label, &of(name, base), i as f64 + shift, |r| r.row.acc_final));
        }
    }
    const NAMES: [&str; 15] =
        ["2", "3", "4", "6", "8", "9", "10", "12", "16", "18", "24", "27", "32", "36", "48"];
    series.extend(paper(PAPER, NAMES));
    Finding {
        measured: format!(
            "rank correlation with the paper's row {}; from {low:.3} to {high:.3}; {}",
            show(rho, 2),
            words("base")
        ),
        estimate: rho,
        seeds: seeds_of(BASES.iter().flat_map(|&base| of("base", base))),
        controls: format!("least significant digit first: {}", words("reversed")),
        verdict: verdict(&held),
        why: match held {
            [true, true] => "Accuracy hangs on the base, in the paper's order.".to_owned(),
            [true, false] => "Accuracy hangs on the base, but not in the paper's order.".to_owned(),
            _ => "At this budget all bases come within .1 of each other.".to_owned(),
        },
        figures: vec![Figure {
            title: "Test accuracy at the end, a dot a seed".into(),
            axes: ["base", "test accuracy"],
            log: [false, false],
            places: NAMES.iter().enumerate().map(|(i, name)| (i as f64, *name)).collect(),
            series,
            lines: vec![],
        }],
        note: "A run ends 500 steps after test accuracy .99, and after 4,000 steps at the latest; the paper's have \
               500,000, and 6+6 layers: an order of bases that shows late or in deep models only is not seen here."
            .to_owned(),
    }
}

/// C8.
pub(super) fn binary(evidence: &Evidence) -> Finding {
    let runs = evidence.groups(&["binary"]);
    if runs.len() < FEWEST {
        return Finding::not_testable("needs three runs in base 2");
    }
    let fell = |run: &&&Record| {
        let best = run.row.acc_best.unwrap_or(0.0);
        best >= 0.3 && run.row.acc_final.is_some_and(|acc| acc < 0.1)
    };
    let collapsed = runs.iter().filter(fell).count();
    let ratio = |run: &Record| {
        let peak = run.curves.iter().filter_map(|e| e.participation_ratio).reduce(f64::max)?;
        Some(run.curves.last()?.participation_ratio? / peak)
    };
    let mut ratios = accuracy(evidence, "Participation ratio of the decoder in base 2", &[]);
    ratios.axes = [STEPS, "participation ratio"];
    ratios.series = curves(&runs, "decoder", |e| e.participation_ratio);
    ratios.series.extend(curves(&runs, "encoder", |e| e.ratio_encoder));
    Finding {
        measured: format!(
            "best {}, at the end {}; fell from .30 to below .10 in {collapsed} of {}; participation ratio at the end {} of \
             its largest",
            show(mean_of(&accuracies(&runs, |r| r.row.acc_best)), 3),
            show(mean_of(&last(&runs)), 3),
            runs.len(),
            show(mean_of(&accuracies(&runs, ratio)), 2)
        ),
        estimate: mean_of(&last(&runs)),
        seeds: runs.len(),
        controls: format!(
            "base 8, of 4,000 steps at most: {}",
            show(mean_of(&last(&evidence.groups(&["base-8"]))), 3)
        ),
        verdict: verdict(&[collapsed == runs.len(), collapsed > 0]),
        why: match collapsed {
            0 => "No seed collapses.".to_owned(),
            n => format!("{n} of {} seeds collapse.", runs.len()),
        },
        figures: vec![accuracy(evidence, "Test accuracy in base 2", &["binary"]), ratios],
        note: "10,000 steps with 1+1 layers: the paper's peak is at step 16,000 of 6+6, and what falls later is not seen."
            .to_owned(),
    }
}

/// C9.
pub(super) fn cross_base(evidence: &Evidence) -> Finding {
    const READINGS: [(&str, &str, &str); 2] = [
        ("n in base 2, with base 24's blocks", "binary-from-24", "binary"),
        ("n in base 24, with its encoder", "read-24-from-24", "read-24"),
    ];
    let mut found = Vec::new();
    for (words, grafted, scratch) in READINGS {
        let (grafted, scratch) = (evidence.groups(&[grafted]), evidence.groups(&[scratch]));
        if grafted.is_empty() || scratch.is_empty() {
            return Finding::not_testable(
                "needs runs in base 2 with and without an encoder from base 24, in either reading",
            );
        }
        let odd = |runs: &[&Record]| accuracies(runs, |r| r.row.acc_odd);
        let all = difference(&last(&grafted), &last(&scratch));
        let words = format!(
            "{words}: {}, from scratch {}, difference {} (odd n {})",
            show(mean_of(&last(&grafted)), 3),
            show(mean_of(&last(&scratch)), 3),
            show(all, 3),
            show(difference(&odd(&grafted), &odd(&scratch)), 3)
        );
        found.push((words, all, grafted.len()));
    }
    let helps = [above(found[0].1, 0.0), above(found[1].1, 0.0)];
    Finding {
        measured: format!("{}; {}", found[0].0, found[1].0),
        estimate: found[0].1,
        seeds: found.iter().map(|(_, _, seeds)| *seeds).min().unwrap_or(0),
        controls: "the same budget from scratch, in either reading".to_owned(),
        verdict: verdict(&helps),
        why: match helps {
            [true, true] => "It helps in either reading.",
            [true, false] => {
                "It helps where n is in base 2, and not beyond chance where n is in base 24."
            }
            [false, true] => {
                "It helps where n is in base 24, and not beyond chance where n is in base 2."
            }
            [false, false] => "It helps in neither reading beyond chance.",
        }
        .to_owned(),
        figures: READINGS
            .map(|(words, grafted, scratch)| {
                accuracy(evidence, &format!("Test accuracy: {words}"), &[scratch, grafted])
            })
            .into(),
        note: "What is transplanted learns on. Two seeds against three from scratch, not paired; 10,000 steps with 1+1 layers, \
               where the paper has 300,000 with 6+6."
            .to_owned(),
    }
}

/// C10.
pub(super) fn exposure(evidence: &Evidence) -> Finding {
    let of = |sampler: &str| evidence.groups(&[&format!("sampler-{sampler}")]);
    let uniform = of("uniform");
    let (carry, short) = (of("carry-stratified"), of("short-carry"));
    if carry.is_empty() || short.is_empty() || uniform.is_empty() {
        return Finding::not_testable(
            "needs runs with carry-stratified, short-carry and uniform samples",
        );
    }
    let odd = |runs: &[&Record]| accuracies(runs, |r| r.row.acc_odd);
    let even = |runs: &[&Record]| accuracies(runs, |r| r.row.acc_even);
    let fewer = difference(&odd(&short), &odd(&uniform));
    let drop = |estimate: Option<Estimate>| {
        estimate.is_some_and(|e| e.value < -0.2) && (short.len() < 2 || below(estimate, -0.2))
    };
    let evens = mean(&even(&short)).is_some_and(|acc| acc >= 0.95);
    let stratified = difference(&odd(&carry), &even(&carry));
    let (verdict, why) = parts(&[
        ("short carries only, odd n fall by more than .2".to_owned(), drop(fewer)),
        ("short carries only, even n stay above .95".to_owned(), evens),
        (
            "carry-stratified samples favour odd n by more than .2".to_owned(),
            stratified.is_some_and(|e| e.value > 0.2),
        ),
    ]);
    let samplers = ["log-uniform", "residue-stratified", "carry-stratified", "short-carry"];
    let words = samplers.map(|sampler| {
        let runs = of(sampler);
        format!(
            "{sampler} odd {}, even {}",
            show(mean_of(&odd(&runs)), 3),
            show(mean_of(&even(&runs)), 3)
        )
    });
    Finding {
        measured: words.join("; "),
        estimate: mean_of(&odd(&short)),
        seeds: short.len(),
        controls: format!(
            "uniform odd {}, even {}",
            show(mean_of(&odd(&uniform)), 3),
            show(mean_of(&even(&uniform)), 3)
        ),
        verdict,
        why,
        figures: vec![accuracy(
            evidence,
            "Test accuracy by sampler",
            &["sampler-uniform", "sampler-log-uniform", "sampler-residue-stratified", "sampler-carry-stratified", "sampler-short-carry"],
        )],
        note: "Of the odd numbers .400 have at most two carries: a model that is right on what it has seen has odd .4. \
               Exposure is a property of the data; that 6+6 layers would carry further is not excluded."
            .to_owned(),
    }
}

/// C11.
pub(super) fn sizes(evidence: &Evidence) -> Finding {
    const PAPER: [f64; 9] = [0.968, 0.858, 0.863, 0.959, 0.853, 0.918, 0.938, 0.936, 0.967];
    let of = |(d, layers): (u32, u32)| evidence.groups(&[&format!("size-{d}-{layers}")]);
    let ours: Vec<f64> = SIZES.iter().filter_map(|&size| mean(&last(&of(size)))).collect();
    if ours.len() < SIZES.len() {
        return Finding::not_testable("needs a run of each of the nine sizes");
    }
    let low = ours.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ours.iter().copied().fold(0.0, f64::max);
    let runs: Vec<&Record> = SIZES.iter().flat_map(|&size| of(size)).collect();
    let waits = runs.iter().filter(|run| stretch(run).is_some_and(|s| s.jumps)).count();
    let each = SIZES
        .iter()
        .zip(&ours)
        .map(|((d, layers), acc)| format!("d {d}, {layers}+{layers}: {acc:.3}"));
    const NAMES: [&str; 9] =
        ["128, 1", "128, 2", "128, 3", "256, 1", "256, 2", "256, 3", "512, 1", "512, 2", "512, 3"];
    let mut series = Vec::new();
    for (i, &size) in SIZES.iter().enumerate() {
        series.extend(dots("here", &of(size), i as f64, |r| r.row.acc_final));
    }
    series.extend(paper(PAPER, NAMES));
    Finding {
        measured: format!(
            "{}; spread {:.3} (the paper's .115); {waits} of {} wait on a plateau and jump",
            each.collect::<Vec<_>>().join(", "),
            high - low,
            runs.len()
        ),
        estimate: None,
        seeds: seeds_of(runs.iter().copied()),
        controls: "each other: nine sizes from one seed".to_owned(),
        verdict: verdict(&[high - low <= 0.15, waits == runs.len()]),
        why: format!(
            "Sizes come within {:.2} of each other, of .15; {waits} of {} wait and jump.",
            high - low,
            runs.len()
        ),
        figures: vec![Figure {
            title: "Test accuracy at the end, by width and layers".into(),
            axes: ["width, layers of either stack", "test accuracy"],
            log: [false, false],
            places: NAMES.iter().enumerate().map(|(i, name)| (i as f64, *name)).collect(),
            series,
            lines: vec![],
        }],
        note: "Some 700 steps beyond the first renewal, where the paper's table is of step 200,000. The largest here is 3+3 \
               layers of width 512."
            .to_owned(),
    }
}

/// C12.
pub(super) fn maps(evidence: &Evidence) -> Finding {
    let of = |op: &str, base: u32| evidence.groups(&[&format!("op-{op}-{base}")]);
    if MAPS.iter().any(|(op, bases)| bases.iter().any(|&base| of(op, base).is_empty())) {
        return Finding::not_testable("needs a run of each map in each of its bases");
    }
    // Odd n alone: halving is the same for every map.
    let odd = |runs: &[&Record]| mean(&accuracies(runs, |r| r.row.acc_odd));
    let three = |divides: bool| {
        let runs: Vec<&Record> = BASES
            .iter()
            .filter(|&&base| base > 3 && base.is_multiple_of(3) == divides)
            .flat_map(|base| evidence.groups(&[&format!("base-{base}")]))
            .collect();
        odd(&runs)
    };
    let pairs = [
        ("3n+1", three(true), three(false)),
        ("5n+1", odd(&of("5n+1", 10)), odd(&of("5n+1", 8))),
        ("7n+1", odd(&of("7n+1", 14)), odd(&of("7n+1", 8))),
    ];
    let better: Option<Vec<bool>> =
        pairs.iter().map(|(_, divided, other)| Some((*divided)? > (*other)? + 0.005)).collect();
    let Some(better) = better else {
        return Finding::not_testable("needs a run of 3n+1 in bases that 3 divides and in others");
    };
    let show = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.3}"));
    let words = pairs.iter().map(|(op, divided, other)| {
        format!("{op}: {} where k divides the base, {} elsewhere", show(*divided), show(*other))
    });
    let others = [("1-n", 6), ("1-n", 8), ("3n-1", 6), ("3n-1", 8)]
        .map(|(op, base)| format!("{op} in base {base}: {}", show(mean(&last(&of(op, base))))));
    let names: Vec<String> = MAPS
        .iter()
        .flat_map(|(op, bases)| bases.iter().map(move |b| format!("op-{op}-{b}")))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["twice"]).collect();
    Finding {
        measured: format!(
            "odd n, {}; {}; T twice in base 8: {}",
            words.collect::<Vec<_>>().join("; "),
            others.join(", "),
            show(mean(&last(&evidence.groups(&["twice"]))))
        ),
        estimate: None,
        seeds: seeds_of(MAPS.iter().flat_map(|(op, bases)| bases.iter().flat_map(|&b| of(op, b)))),
        controls: "bases that k does not divide".to_owned(),
        verdict: verdict(&better),
        why: format!(
            "A base that k divides is better by more than .005 in {} of {} maps.",
            better.iter().filter(|b| **b).count(),
            better.len()
        ),
        figures: vec![accuracy(evidence, "Test accuracy of other maps", &names)],
        note: "k = −1 makes negative numbers, for which there is no sign: |1 − n| and 3n − 1 are both run. \
               Runs stop once they are past .99, so that a difference of .005 is small change; of 6+6 layers it says nothing."
            .to_owned(),
    }
}

/// C13.
pub(super) fn transfer(evidence: &Evidence) -> Finding {
    let of = |name: &str| evidence.groups(&[name]);
    let [gcd, to_gcd, from_gcd, joint] =
        ["gcd", "gcd-from-collatz", "collatz-from-gcd", "sampler-uniform"]
            .map(|name| last(&of(name)));
    if [&gcd, &to_gcd, &from_gcd, &joint].iter().any(|runs| runs.is_empty()) {
        return Finding::not_testable(
            "needs runs of either task from scratch and with the other's encoder",
        );
    }
    let there = difference(&to_gcd, &gcd);
    let back = difference(&from_gcd, &joint);
    let held = [there, back].map(|d| d.is_some_and(|d| d.value < -0.05));
    Finding {
        measured: format!(
            "GCD from scratch {}, with a Collatz encoder {} (difference {}); Collatz from scratch {}, with a GCD encoder {} \
             (difference {})",
            show(mean_of(&gcd), 3),
            show(mean_of(&to_gcd), 3),
            show(there, 3),
            show(mean_of(&joint), 3),
            show(mean_of(&from_gcd), 3),
            show(back, 3)
        ),
        estimate: back,
        seeds: from_gcd.len(),
        controls: "from scratch at the same budget".to_owned(),
        verdict: verdict(&held),
        why: match held {
            [true, true] => "Either encoder hurts the other task by more than .05.".to_owned(),
            [false, false] => "Neither encoder hurts the other task by more than .05.".to_owned(),
            [true, false] => "A Collatz encoder hurts GCD; the other way round nothing is lost.".to_owned(),
            [false, true] => "A GCD encoder hurts Collatz; the other way round nothing is lost.".to_owned(),
        },
        figures: vec![
            accuracy(evidence, "GCD", &["gcd", "gcd-from-collatz"]),
            accuracy(evidence, "Collatz", &["sampler-uniform", "collatz-from-gcd"]),
        ],
        note: "Transplanted encoders learn on with the rest; the paper does not say whether its were frozen. \
               With one layer there is little that could be at odds between the tasks."
            .to_owned(),
    }
}

/// C15.
pub(super) fn alone(evidence: &Evidence) -> Finding {
    let of = ["alone-2", "alone-12"].map(|name| evidence.groups(&[name]));
    if of.iter().any(Vec::is_empty) {
        return Finding::not_testable(
            "needs runs of a decoder alone with two and with twelve layers",
        );
    }
    let best = of.each_ref().map(|runs| mean_of(&accuracies(runs, |r| r.row.acc_best)));
    let fails = best.map(|best| best.is_some_and(|best| best.value < 0.1));
    Finding {
        measured: format!(
            "two layers: best {}; twelve layers: best {}",
            show(best[0], 3),
            show(best[1], 3)
        ),
        estimate: best[1],
        seeds: seeds_of(of.iter().flatten().copied()),
        controls: format!(
            "1+1 layers with an encoder: {}",
            show(mean_of(&last(&evidence.groups(&["sampler-uniform"]))), 3)
        ),
        verdict: verdict(&fails),
        why: match fails {
            [true, true] => "Neither comes to .10.".to_owned(),
            [false, false] => "Either learns the map: a decoder alone does not fail.".to_owned(),
            _ => "One of them does not come to .10.".to_owned(),
        },
        figures: vec![accuracy(evidence, "Test accuracy of a decoder alone", &["alone-2", "alone-12"])],
        note: "Greedy decoding of the whole answer behind the source and BOS; a token is right only where all before it \
               are."
            .to_owned(),
    }
}
