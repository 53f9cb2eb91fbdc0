//! Other operations, other groups, other architectures, other readings: E4, E9, E10, E11, E15.

use super::claims::CONTROLS;
use super::phases::{at_grok, collapse};
use crate::record::{Evaluation, Record};
use crate::stats::{mean, pearson};
use crate::study::cost::Cost;
use crate::study::draw::{STEPS, across, curves, dots, over_steps, paths, seed};
use crate::study::grade::{
    Evidence, FEWEST, Figure, Finding, Verdict, above, below, count, mean_of, meets, most, show,
};

fn times_of(records: &[&Record]) -> Vec<f64> {
    records.iter().map(|r| r.t_grok()).filter(|t| t.is_finite()).collect()
}

/// E4.
pub(super) fn times(evidence: &Evidence) -> Finding {
    let of = |group: &str| mean_of(&times_of(&evidence.groups(&[group])));
    let found = ["add", "mul", "sub"].map(of);
    if ["add", "mul", "sub"].iter().any(|g| evidence.grokked(g).len() < FEWEST) {
        return Finding::not_testable("needs three runs of each operation that grokked");
    }
    let agree = [
        meets(found[0], [12_140.0, 17_100.0]),
        meets(found[1], [21_560.0; 2]),
        meets(found[2], [21_560.0; 2]),
    ];
    let agreeing = agree.iter().filter(|a| **a).count();
    let grokked = |g: &str| count(evidence.grokked(g).len(), evidence.group(g).len());
    let mut figure = Figure {
        title: "T_grok, a dot a seed".into(),
        axes: ["operation", "T_grok (steps)"],
        log: [false, false],
        places: vec![(1.0, "add"), (2.0, "mul"), (3.0, "sub")],
        series: vec![],
        lines: vec![
            across(14_040.0, "paper, add 14,040"),
            across(21_560.0, "paper, mul and sub 21,560"),
        ],
    };
    for (x, op) in ["add", "mul", "sub"].iter().enumerate() {
        let runs = evidence.groups(&[op]);
        figure.series.extend(dots(op, &runs, (x + 1) as f64, |r| r.row.t_grok.map(|t| t as f64)));
    }
    Finding {
        measured: format!(
            "add {} ({} grok), mul {} ({}), sub {} ({})",
            show(found[0], 0),
            grokked("add"),
            show(found[1], 0),
            grokked("mul"),
            show(found[2], 0),
            grokked("sub")
        ),
        estimate: found[0],
        seeds: evidence.groups(&["add", "mul", "sub"]).len(),
        controls: controls_that_grok(evidence),
        verdict: match agreeing {
            3 => Verdict::Reproduced,
            0 => Verdict::NotReproduced,
            _ => Verdict::Partly,
        },
        why: match agreeing {
            3 => "All three agree.".into(),
            0 => "None of the three agrees with the printed settings' figures.".into(),
            n => format!("{n} of the three agree."),
        },
        figures: vec![figure],
        note: String::new(),
    }
}

/// How many of the controls have a time to grok at all.
fn controls_that_grok(evidence: &Evidence) -> String {
    let controls = evidence.groups(&CONTROLS);
    let grokked = controls.iter().filter(|record| record.row.t_grok.is_some()).count();
    format!("of addition's runs that cannot generalise {} grok", count(grokked, controls.len()))
}

/// E9.
pub(super) fn permutations(evidence: &Evidence) -> Finding {
    let ten = evidence.groups(&["s5-10"]);
    if ten.len() < FEWEST {
        return Finding::not_testable("needs three runs of S5 at 10 %");
    }
    let words = |group: &str| {
        let grokked = evidence.grokked(group);
        let first =
            grokked.iter().filter(|r| collapse(r).is_some_and(|t| (t as f64) < r.t_grok())).count();
        let best = evidence
            .group(group)
            .iter()
            .filter_map(|r| r.curves.iter().filter_map(|e| e.test_acc).reduce(f64::max))
            .reduce(f64::max);
        format!(
            "{} grok, T_grok {}, H̃* {}, collapse first in {first} of {}, best test accuracy {:.2}",
            count(grokked.len(), evidence.group(group).len()),
            show(mean_of(&times_of(&grokked)), 0),
            show(mean_of(&at_grok(&grokked)), 3),
            grokked.len(),
            best.unwrap_or(f64::NAN)
        )
    };
    let grokked = evidence.grokked("s5-10");
    let time = mean_of(&times_of(&grokked));
    let star = mean(&at_grok(&grokked));
    let grok = most(grokked.len(), ten.len());
    let near = star.is_some_and(|h| (h - 0.655).abs() <= 0.03);
    let verdict = match grok {
        Some(true) if meets(time, [3820.0, 5040.0]) && near => Verdict::Reproduced,
        Some(false) => Verdict::NotReproduced,
        _ => Verdict::Partly,
    };
    let mut figures = Vec::new();
    for (title, entropy) in [("Test accuracy", false), ("Normalised entropy", true)] {
        let reading = |e: &Evaluation| if entropy { e.entropy } else { e.test_acc };
        let mut series = curves(&ten, "10 %", reading);
        series.extend(curves(&evidence.groups(&["s5-40"]), "40 %", reading));
        let lines = if entropy { vec![across(0.655, "paper's H̃* .655")] } else { vec![] };
        figures.push(Figure {
            lines,
            ..over_steps(
                format!("{title}, composition in S5"),
                if entropy { "normalised entropy" } else { "test accuracy" },
                series,
            )
        });
    }
    Finding {
        measured: format!("10 %: {}; 40 %: {}", words("s5-10"), words("s5-40")),
        estimate: time,
        seeds: ten.len() + evidence.group("s5-40").len(),
        controls: format!("none in S5; {}", controls_that_grok(evidence)),
        verdict,
        why: match verdict {
            Verdict::Reproduced => {
                "It groks from a tenth of the table, when and where they say.".into()
            }
            Verdict::Partly if grok.is_none() => {
                "Whether most seeds grok within the budget is undecided.".into()
            }
            Verdict::Partly => {
                "It groks from a tenth of the table, but not when or where they say.".into()
            }
            _ => "Most seeds do not grok from a tenth of the table within the budget.".into(),
        },
        figures,
        note: String::new(),
    }
}

/// E10.
pub(super) fn mlps(evidence: &Evidence) -> Finding {
    let still = evidence.groups(&["mlp-p41"]);
    if still.len() < FEWEST {
        return Finding::not_testable("needs three runs of the MLP at p = 41");
    }
    struct Fall {
        fall: f64, // from its highest value to the last evaluation
        best: f64, // test accuracy, ever
    }
    let fall = |r: &&Record| {
        let entropies: Vec<f64> = r.curves.iter().filter_map(|e| e.entropy).collect();
        let highest = entropies.iter().copied().reduce(f64::max)?;
        let best = r.curves.iter().filter_map(|e| e.test_acc).reduce(f64::max)?;
        Some(Fall { fall: highest - entropies.last()?, best })
    };
    let falls: Vec<Fall> = still.iter().filter_map(fall).collect();
    let silent = falls.iter().filter(|f| f.best < 0.1).count();
    let deep = falls.iter().filter(|f| f.fall > 0.3 && f.best < 0.1).count();
    let some = falls.iter().filter(|f| f.fall > 0.05 && f.best < 0.1).count();
    let grokking = evidence.grokked("mlp");
    let collapsing = grokking.iter().filter(|r| collapse(r).is_some()).count();
    let verdict = match () {
        () if deep == falls.len() => Verdict::Reproduced,
        () if some > 0 => Verdict::Partly,
        () => Verdict::NotReproduced,
    };
    let depth = mean_of(&falls.iter().map(|f| f.fall).collect::<Vec<_>>());
    let figure = |title: &str, reading: fn(&Evaluation) -> Option<f64>| {
        let mut series = curves(&still, "MLP, p = 41", reading);
        series.extend(curves(&evidence.groups(&["mlp"]), "MLP that groks", reading));
        Figure {
            title: title.into(),
            axes: [
                STEPS,
                if title.starts_with("Test") { "test accuracy" } else { "normalised entropy" },
            ],
            log: [false, false],
            places: vec![],
            series,
            lines: vec![],
        }
    };
    Finding {
        measured: format!(
            "p = 41: H̃ falls by {} from its highest value; test accuracy stays below .10 in {}",
            show(depth, 3),
            count(silent, falls.len())
        ),
        estimate: depth,
        seeds: falls.len(),
        controls: format!(
            "an MLP known to grok: {} of {} grok, {collapsing} of them with a collapse",
            grokking.len(),
            evidence.group("mlp").len()
        ),
        verdict,
        why: match verdict {
            Verdict::Reproduced => {
                "H̃ collapses and nothing is learnt beyond the training pairs.".into()
            }
            Verdict::Partly => format!(
                "Without grokking H̃ falls by more than .05 in {some} of {}, by more than .3 in {deep}.",
                falls.len()
            ),
            _ if silent < falls.len() => "This MLP does learn something, at p = 41.".into(),
            _ => "Without grokking H̃ does not collapse.".into(),
        },
        figures: vec![
            figure("Normalised entropy of MLPs", |e| e.entropy),
            figure("Test accuracy of MLPs", |e| e.test_acc),
        ],
        note: String::new(),
    }
}

/// E11.
pub(super) fn fourier(evidence: &Evidence) -> Finding {
    const AFTER: f64 = 1000.0;
    let points = |r: &Record| -> Vec<[f64; 2]> {
        let from = r.row.t_memorise.map_or(f64::INFINITY, |t| t as f64);
        let inside = |e: &&Evaluation| {
            let step = e.step as f64;
            step >= from && step <= r.t_grok() + AFTER
        };
        r.curves.iter().filter(inside).filter_map(|e| Some([e.fourier?, e.entropy?])).collect()
    };
    let correlation = |r: &&Record| {
        let (a, h): (Vec<f64>, Vec<f64>) = points(r).iter().map(|p| (p[0], p[1])).unzip();
        pearson(&a, &h)
    };
    let add = evidence.grokked("add");
    let each: Vec<f64> = add.iter().filter_map(correlation).collect();
    if each.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let controls: Vec<f64> = evidence.groups(&CONTROLS).iter().filter_map(correlation).collect();
    let (ours, theirs) = (mean_of(&each), mean_of(&controls));
    let verdict = match () {
        () if below(ours, -0.7) && above(theirs, -0.5) => Verdict::Reproduced,
        () if below(ours, 0.0) => Verdict::Partly,
        () => Verdict::NotReproduced,
    };
    Finding {
        measured: format!(
            "r {} (seeds {:.2} to {:.2})",
            show(ours, 2),
            each.iter().copied().fold(f64::INFINITY, f64::min),
            each.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        )
        .replace('-', "−"),
        estimate: ours,
        seeds: each.len(),
        controls: format!("r in runs that cannot generalise {}", show(theirs, 2)),
        verdict,
        why: match verdict {
            Verdict::Reproduced => "Alignment rises as H̃ falls, and only where there is a rule to find.".into(),
            Verdict::Partly if !below(ours, -0.7) => {
                "Alignment rises as H̃ falls, but less closely than printed.".into()
            }
            Verdict::Partly if controls.is_empty() => "Alignment rises as H̃ falls; no control was run.".into(),
            Verdict::Partly => {
                "Alignment rises as H̃ falls; that it does not where nothing can be learnt is not shown.".into()
            }
            _ if above(ours, 0.0) => "Alignment falls with H̃.".into(),
            _ => "A negative correlation is not shown.".into(),
        },
        figures: vec![
            over_steps("Fourier alignment", "alignment", {
                    let mut all = curves(&evidence.groups(&["add"]), "add", |e| e.fourier);
                    for control in CONTROLS {
                        all.extend(curves(&evidence.groups(&[control]), control, |e| e.fourier));
                    }
                    all
                }),
            Figure {
                title: "Alignment against normalised entropy, from memorising to past grokking".into(),
                axes: ["alignment", "normalised entropy"],
                log: [false, false],
                places: vec![],
                series: paths(&add, seed, points),
                lines: vec![],
            },
        ],
        note: String::new(),
    }
}

/// E15.
pub(super) fn cost(evidence: &Evidence) -> Finding {
    let rounds = evidence.cost();
    if rounds.len() < FEWEST {
        return Finding::not_testable("needs cost.csv, which a whole study measures at its end");
    }
    let share = |f: &dyn Fn(&Cost) -> f64| {
        mean_of(&rounds.iter().map(|c| 100.0 * f(c) / c.step_ms).collect::<Vec<_>>())
    };
    // The paper's reading needs a forward pass of its probe, as large as a batch.
    let reading = |c: &Cost| (c.forward_ms + c.entropy_ms) / 100.0;
    let (rare, always) = (share(&reading), share(&|c| c.entropy_ms));
    let worst = rounds.iter().map(|c| reading(c) / c.step_ms).fold(0.0, f64::max);
    let verdict = match worst {
        _ if worst < 0.01 => Verdict::Reproduced,
        _ if rare.is_some_and(|r| r.value < 5.0) => Verdict::Partly,
        _ => Verdict::NotReproduced,
    };
    let ms = |f: fn(&Cost) -> f64| mean_of(&rounds.iter().map(f).collect::<Vec<_>>());
    Finding {
        measured: format!(
            "a probe's forward pass and H̃ every 100 steps {} % of the steps' time; H̃ of the batch at every \
             step {} % (H̃ {} ms, step {} ms)",
            show(rare, 2),
            show(always, 1),
            show(ms(|c| c.entropy_ms), 3),
            show(ms(|c| c.step_ms), 2)
        ),
        estimate: rare,
        seeds: 1,
        controls: format!("{} rounds on one thread, {}", rounds.len(), rounds[0].cpu),
        verdict,
        why: match verdict {
            Verdict::Reproduced => {
                "At the paper's spacing it costs next to nothing, on a CPU.".into()
            }
            _ => "It costs more than they say.".into(),
        },
        figures: vec![],
        note: String::new(),
    }
}
