//! What a run does over time: E1, E2, E3, E12, E13, E14.

use super::claims::CONTROLS;
use super::warning::early_warning;
use crate::observe::milestones::{FALL, WINDOW};
use crate::record::Record;
use crate::stats::{BOOTSTRAP, leave_one_out, mean, median, pearson, variance};
use crate::study::draw::{STEPS, across, curves, dots, over_steps, paths, seed};
use crate::study::grade::{
    Evidence, FEWEST, Figure, Finding, Line, Verdict, above, below, controls, count, mean_of,
    meets, most, show,
};

/// H̃(T_grok) of each run; those without are left out.
pub(super) fn at_grok(records: &[&Record]) -> Vec<f64> {
    records.iter().filter_map(|record| record.row.entropy_at_grok).collect()
}

/// H̃* for each of the runs, from the others.
pub(super) fn thresholds(records: &[&Record]) -> Vec<Option<f64>> {
    leave_one_out(records, |_, others| {
        mean(&others.iter().filter_map(|r| r.row.entropy_at_grok).collect::<Vec<_>>())
    })
}

/// E1.
pub(super) fn two_phases(evidence: &Evidence) -> Finding {
    struct Phases {
        expansion: f64, // relative change of the norm up to the end of phase I
        fall: f64,      // of H̃ from there to T_grok
        drift: f64,     // relative change of the norm meanwhile
    }
    let phases = |record: &Record| {
        let init = record.curves.first()?.norm?;
        let end = record.curves.iter().find(|e| e.train_acc.is_some_and(|acc| acc >= 0.95))?;
        let grok = record.at(record.row.t_grok?)?;
        Some(Phases {
            expansion: end.norm? / init - 1.0,
            fall: end.entropy? - grok.entropy?,
            drift: grok.norm? / end.norm? - 1.0,
        })
    };
    let of = |group: &str| evidence.group(group).iter().filter_map(phases).collect::<Vec<_>>();
    let [template, nanda, twin] = ["add", "init-nanda", "twin"].map(of);
    if template.len() < FEWEST || nanda.len() < FEWEST {
        return Finding::not_testable("needs three runs that grokked from each initialisation");
    }
    let share = |runs: &[Phases], holds: fn(&Phases) -> bool| {
        (runs.iter().filter(|p| holds(p)).count(), runs.len())
    };
    let expands = |runs: &[Phases]| share(runs, |p| p.expansion > 0.0);
    let (here, there) = (expands(&template), expands(&nanda));
    let collapse = share(&template, |p| p.fall > FALL);
    let plateau = share(&template, |p| p.drift.abs() < 0.1);
    let holds = [here, there, collapse, plateau].map(|(k, n)| most(k, n));
    let [yes, no] = [Some(true), Some(false)];
    let verdict = match holds {
        _ if holds == [yes; 4] => Verdict::Reproduced,
        [a, b, c, _] if (a == no && b == no) || c == no => Verdict::NotReproduced,
        _ => Verdict::Partly,
    };
    let change = |runs: &[Phases], f: fn(&Phases) -> f64| {
        mean_of(&runs.iter().map(|p| 100.0 * f(p)).collect::<Vec<_>>())
    };
    let expansion = change(&template, |p| p.expansion);
    let words = |(k, n)| count(k, n);
    Finding {
        measured: format!(
            "norm in phase I {} % (expands in {}), from Nanda's initialisation {} % ({}); then H̃ falls by \
             more than .05 in {} while the norm moves by {} %",
            show(expansion, 1),
            words(here),
            show(change(&nanda, |p| p.expansion), 1),
            words(there),
            words(collapse),
            show(change(&template, |p| p.drift), 1),
        ),
        estimate: expansion,
        seeds: template.len() + nanda.len(),
        controls: match twin.len() {
            0 => String::new(),
            _ => format!(
                "without LayerNorm, from PyTorch's initialisation: phase I {} %, then {} %",
                show(change(&twin, |p| p.expansion), 1),
                show(change(&twin, |p| p.drift), 1)
            ),
        },
        verdict,
        why: {
            let said = |holds: Option<bool>, yes: &str, no: &str, open: &str| {
                holds.map_or(open, |h| if h { yes } else { no }).to_owned()
            };
            let expands = |at: usize, which: &str| {
                let open = "whether it expands is undecided";
                let word = said(holds[at], "the norm expands", "the norm falls", open);
                format!("from {which} initialisation {word} in phase I")
            };
            let parts = [
                expands(0, "PyTorch's"),
                expands(1, "Nanda's"),
                said(holds[2], "then H̃ falls", "H̃ does not fall", "whether H̃ falls is undecided"),
                said(
                    holds[3],
                    "while the norm rests",
                    "the norm does not rest meanwhile",
                    "whether the norm rests is undecided",
                ),
            ];
            sentence(&parts.each_ref().map(String::as_str))
        },
        figures: vec![
            norms(evidence, &["add", "init-nanda", "twin"]),
            over_steps(
                "Normalised entropy, the same runs",
                "normalised entropy",
                ["add", "init-nanda", "twin"]
                    .iter()
                    .flat_map(|g| curves(&evidence.groups(&[g]), g, |e| e.entropy))
                    .collect(),
            ),
        ],
        note: String::new(),
    }
}

fn norms(evidence: &Evidence, groups: &[&str]) -> Figure {
    Figure {
        title: "Norm of all parameters".into(),
        axes: [STEPS, "norm"],
        log: [false, true],
        places: vec![],
        series: groups.iter().flat_map(|g| curves(&evidence.groups(&[g]), g, |e| e.norm)).collect(),
        lines: vec![],
    }
}

/// E2.
pub(super) fn threshold(evidence: &Evidence) -> Finding {
    const SPREAD: f64 = 0.03;
    let add = evidence.grokked("add");
    if add.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let values = at_grok(&add);
    let star = mean_of(&values);
    let centre = mean(&values).unwrap_or(f64::NAN);
    let spread = variance(&values).unwrap_or(0.0).sqrt();
    let others: Vec<(&str, f64)> = ["mul", "sub"]
        .into_iter()
        .filter_map(|op| Some((op, mean(&at_grok(&evidence.grokked(op)))?)))
        .collect();
    let stable = spread <= SPREAD && others.iter().all(|(_, h)| (h - centre).abs() <= SPREAD);
    let all_three = others.len() == 2;
    let agrees = meets(star, [0.595, 0.624]);
    // How long before T_grok H̃ falls to what the other seeds had at theirs.
    let leads: Vec<f64> = add
        .iter()
        .zip(thresholds(&add))
        .filter_map(|(r, h)| Some(r.t_grok() - r.crosses(h?)? as f64))
        .collect();
    let ahead = leads.iter().filter(|&&lead| lead > 0.0).count();
    let early = most(ahead, add.len());
    let (controls, specific) = controls(evidence, &CONTROLS, |r| r.crosses(centre).is_some());
    let verdict = match (stable, agrees, early, specific) {
        (true, true, Some(true), true) if all_three => Verdict::Reproduced,
        (false, _, Some(false), _) => Verdict::NotReproduced,
        _ => Verdict::Partly,
    };
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &h| (a.min(h), b.max(h)));
    let mut figure = Figure {
        title: "Normalised entropy at T_grok, a dot a seed".into(),
        axes: ["operation", "normalised entropy at T_grok"],
        log: [false, false],
        places: vec![(1.0, "add"), (2.0, "mul"), (3.0, "sub")],
        series: vec![],
        lines: vec![across(0.609, "paper .609")],
    };
    for (x, op) in ["add", "mul", "sub"].iter().enumerate() {
        let runs = evidence.grokked(op);
        figure.series.extend(dots(op, &runs, (x + 1) as f64, |r| r.row.entropy_at_grok));
    }
    let mut over_time = curves(&evidence.groups(&["add"]), "add", |e| e.entropy);
    for control in CONTROLS {
        over_time.extend(curves(&evidence.groups(&[control]), control, |e| e.entropy));
    }
    Finding {
        measured: format!(
            "H̃* {} (standard deviation {spread:.3}, seeds {low:.3} to {high:.3}{}); H̃ falls to the other \
             seeds' H̃* before T_grok in {}, by {} steps ({} that cross)",
            show(star, 3),
            others.iter().map(|(op, h)| format!("; {op} {h:.3}")).collect::<String>(),
            count(ahead, add.len()),
            show(mean_of(&leads), 0),
            leads.len(),
        ),
        estimate: star,
        seeds: add.len(),
        controls: match controls.as_str() {
            "" => "no control was run".into(),
            controls => format!("runs that cannot generalise and fall to H̃*, too: {controls}"),
        },
        verdict,
        why: {
            let mut faults = Vec::new();
            if !stable {
                faults.push("it is not the same for all seeds and operations");
            } else if !all_three {
                faults.push("mul or sub was not run");
            }
            if !agrees {
                faults.push("its value is another here");
            }
            match early {
                Some(true) => {}
                Some(false) => faults.push("most seeds do not cross it before T_grok"),
                None => faults.push("whether most seeds cross it before T_grok is undecided"),
            }
            if !specific {
                faults.push(match controls.is_empty() {
                    true => "no control was run",
                    false => "not only runs that grok cross it",
                });
            }
            match faults.is_empty() {
                true => {
                    "It is stable, it is theirs, it is crossed early, and only by runs that grok."
                        .into()
                }
                false => sentence(&faults),
            }
        },
        figures: vec![
            figure,
            Figure {
                lines: vec![across(centre, format!("H̃* {centre:.3}"))],
                ..over_steps("Addition and the controls", "normalised entropy", over_time)
            },
        ],
        note: String::new(),
    }
}

/// Reasons, as one sentence.
pub(super) fn sentence(parts: &[&str]) -> String {
    let text = parts.join("; ");
    let mut letters = text.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().collect());
    format!("{first}{}.", letters.as_str())
}

/// The first evaluation, from T_memorise on, at which the calm H̃ is more than `FALL` below that of
/// `WINDOW` − 1 evaluations before. What H̃ does while the model memorises is no sign, nor is a spike.
pub(super) fn collapse(record: &Record) -> Option<u64> {
    let memorised = record.row.t_memorise?;
    let after: Vec<(u64, f64)> =
        record.calm().into_iter().filter(|&(step, _)| step >= memorised).collect();
    after.windows(WINDOW).find(|w| w[0].1 - w[WINDOW - 1].1 > FALL).map(|w| w[WINDOW - 1].0)
}

/// E3.
pub(super) fn lead(evidence: &Evidence) -> Finding {
    let add = evidence.grokked("add");
    if add.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let over = |milestone: fn(&Record) -> Option<u64>| -> Vec<f64> {
        let one = |r: &&Record| Some(milestone(r)? as f64 - collapse(r)? as f64);
        add.iter().filter_map(one).collect()
    };
    let grok = over(|r| r.row.t_grok);
    let [ten, half, ninety] =
        [over(|r| r.row.t_test_10), over(|r| r.row.t_test_50), over(|r| r.row.t_test_90)];
    let ahead = grok.iter().filter(|&&lead| lead > 0.0).count();
    let mean_lead = mean_of(&grok);
    let (controls, rare) = controls(evidence, &CONTROLS, |r| collapse(r).is_some());
    let first = most(ahead, add.len());
    let verdict = match first {
        Some(false) => Verdict::NotReproduced,
        Some(true) if meets(mean_lead, [890.0, 1140.0]) && above(mean_of(&half), 0.0) && rare => {
            Verdict::Reproduced
        }
        _ => Verdict::Partly,
    };
    // As the paper counts: over the whole run, memorising included.
    let printed =
        add.iter().filter(|r| r.row.t_collapse.is_some_and(|t| (t as f64) < r.t_grok())).count();
    let (picture, paragraph) = early_warning(evidence).unzip();
    let mut figure = Figure {
        title: "Steps by which the collapse comes before a test accuracy, a dot a seed".into(),
        axes: ["test accuracy reached", "lead (steps)"],
        log: [false, false],
        places: vec![(0.1, ".10"), (0.5, ".50"), (0.9, ".90"), (1.0, ".99")],
        series: vec![],
        lines: vec![across(0.0, "no lead"), across(1020.0, "paper 1,020")],
    };
    type Step = fn(&Record) -> Option<u64>;
    let milestones: [(&str, f64, Step); 4] = [
        (".10", 0.10, |r| r.row.t_test_10),
        (".50", 0.50, |r| r.row.t_test_50),
        (".90", 0.90, |r| r.row.t_test_90),
        (".99", 1.0, |r| r.row.t_grok),
    ];
    for (name, x, step) in milestones {
        let value = |r: &Record| Some(step(r)? as f64 - collapse(r)? as f64);
        figure.series.extend(dots(name, &add, x, value));
    }
    Finding {
        measured: format!(
            "first in {}, mean lead {} steps, median {} ({} that collapse); over test accuracy .10 {}, .50 {}, \
             .90 {} (H̃ as it is, counted over the whole run, as printed: first in {printed} of {})",
            count(ahead, add.len()),
            show(mean_lead, 0),
            show(BOOTSTRAP.percentile(&grok, median), 0),
            grok.len(),
            show(mean_of(&ten), 0),
            show(mean_of(&half), 0),
            show(mean_of(&ninety), 0),
            add.len()
        ),
        estimate: mean_lead,
        seeds: add.len(),
        controls: match controls.as_str() {
            "" => "no control was run".into(),
            controls => format!("false alarms: {controls}"),
        },
        verdict,
        why: {
            let mut faults = Vec::new();
            match first {
                Some(true) => {}
                Some(false) => faults.push("it does not come first in most seeds"),
                None => faults.push("whether it comes first in most seeds is undecided"),
            }
            if !meets(mean_lead, [890.0, 1140.0]) {
                faults.push("the lead is another");
            }
            if below(mean_of(&half), 0.0) {
                faults.push("test accuracy is half way up before the collapse is seen");
            } else if !above(mean_of(&half), 0.0) {
                faults.push("over test accuracy .50 there is no clear lead");
            }
            if !rare {
                faults.push(match controls.is_empty() {
                    true => "no control was run",
                    false => "runs that never generalise raise the alarm, too",
                });
            }
            match faults.is_empty() {
                true => "It leads, by as much as they say, and controls are quiet.".to_owned(),
                false => sentence(&faults),
            }
        },
        figures: [Some(figure), picture].into_iter().flatten().collect(),
        note: paragraph.unwrap_or_default(),
    }
}

/// E12.
pub(super) fn no_rebound(evidence: &Evidence) -> Finding {
    const LENGTH: u64 = 10_000;
    const REBOUND: f64 = 0.05;
    struct After {
        rebound: f64, // as read
        calm: f64,    // of the medians of three evaluations
        slope: f64,   // of the least-squares line, per step
    }
    let after = |record: &&Record| {
        let grok = record.row.t_grok?;
        let end = record.row.steps;
        if end < grok + LENGTH {
            return None;
        }
        let points: Vec<[f64; 2]> =
            record.curve(|e| e.entropy).into_iter().filter(|p| p[0] >= grok as f64).collect();
        let calm = record.calm().into_iter().filter(|&(step, _)| step >= grok);
        Some(After {
            rebound: rebound(points.iter().map(|p| p[1])),
            calm: rebound(calm.map(|(_, h)| h)),
            slope: slope(&points)?,
        })
    };
    let add = evidence.grokked("add");
    let found: Vec<After> = add.iter().filter_map(after).collect();
    if found.len() < FEWEST {
        return Finding::not_testable("needs three runs carried 10,000 steps past T_grok");
    }
    let quiet = found.iter().filter(|a| a.rebound <= REBOUND).count();
    let calm = found.iter().filter(|a| a.calm > REBOUND).count();
    let slope = mean_of(&found.iter().map(|a| 1e6 * a.slope).collect::<Vec<_>>());
    let largest = mean_of(&found.iter().map(|a| a.rebound).collect::<Vec<_>>());
    let falls = !above(slope, 0.0);
    let verdict = match (most(quiet, found.len()), falls) {
        (Some(true), true) => Verdict::Reproduced,
        (Some(false), _) => Verdict::NotReproduced,
        _ => Verdict::Partly,
    };
    Finding {
        measured: format!(
            "slope {}e-6 per step; the largest rise above the lowest value so far is {} on average, at most \
             .05 in {}; of medians of three evaluations at most .05 in {}",
            show(slope, 2),
            show(largest, 3),
            count(quiet, found.len()),
            count(found.len() - calm, found.len())
        ),
        estimate: slope.map(|e| crate::stats::Estimate {
            value: 1e-6 * e.value,
            interval: e.interval.map(|i| i.map(|x| 1e-6 * x)),
        }),
        seeds: found.len(),
        controls: {
            let rises = |record: &Record| {
                let memorised = record.row.t_memorise.unwrap_or(u64::MAX);
                let since = record.curves.iter().filter(|e| e.step >= memorised);
                rebound(since.filter_map(|e| e.entropy)) > REBOUND
            };
            format!("rises so from T_memorise on: {}", controls(evidence, &CONTROLS, rises).0)
        },
        verdict,
        why: match verdict {
            Verdict::Reproduced => "H̃ stays down for ten times as long as they looked.".into(),
            Verdict::NotReproduced => {
                "In most seeds H̃ comes back up by more than .05 later on.".into()
            }
            _ if !falls => "H̃ rises slowly after grokking.".into(),
            _ => format!(
                "{} of {} seeds rebound by more than .05{}.",
                found.len() - quiet,
                found.len(),
                match calm {
                    0 => ", each for a single reading, a spike or a dip: of medians of three none does, which would be reproduced"
                        .to_owned(),
                    n => format!(", {n} of them in medians of three evaluations, too"),
                }
            ),
        },
        figures: vec![Figure {
            title: "Normalised entropy, T_grok at 0".into(),
            axes: ["steps after T_grok", "normalised entropy"],
            log: [false, false],
            places: vec![],
            series: paths(
                &add,
                |_| "add".into(),
                |r| {
                    let curve = r.curve(|e| e.entropy).into_iter();
                    curve.map(|[s, h]| [s - r.t_grok(), h]).collect()
                },
            ),
            lines: vec![Line { label: "T_grok".into(), at: 0.0, horizontal: false }],
        }],
        note: String::new(),
    }
}

/// How far H̃ ever stands above its lowest value so far.
fn rebound(readings: impl Iterator<Item = f64>) -> f64 {
    let (mut lowest, mut most) = (f64::INFINITY, 0.0_f64);
    for h in readings {
        lowest = lowest.min(h);
        most = most.max(h - lowest);
    }
    most
}

/// Slope of the least-squares line.
fn slope(points: &[[f64; 2]]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().map(|p| (p[0], p[1])).unzip();
    let (cx, cy) = (mean(&x)?, mean(&y)?);
    let xx: f64 = x.iter().map(|x| (x - cx).powi(2)).sum();
    let xy: f64 = x.iter().zip(&y).map(|(x, y)| (x - cx) * (y - cy)).sum();
    (xx > 0.0).then(|| xy / xx)
}

/// E13.
pub(super) fn norm_and_entropy(evidence: &Evidence) -> Finding {
    let add = evidence.grokked("add");
    let before = |record: &Record| -> Vec<(f64, f64)> {
        let before = record.curves.iter().filter(|e| (e.step as f64) < record.t_grok());
        before.filter_map(|e| Some((e.norm?, e.entropy?))).collect()
    };
    let correlation = |points: &[(f64, f64)]| {
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        pearson(&x, &y)
    };
    let each: Vec<f64> = add.iter().filter_map(|r| correlation(&before(r))).collect();
    if each.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let pooled = BOOTSTRAP.percentile(&add, |runs: &[&Record]| {
        correlation(&runs.iter().flat_map(|r| before(r)).collect::<Vec<_>>())
    });
    let size = mean_of(&each.iter().map(|r| r.abs()).collect::<Vec<_>>());
    let verdict = match size {
        _ if below(size, 0.5) => Verdict::Reproduced,
        _ if above(size, 0.8) => Verdict::NotReproduced,
        _ => Verdict::Partly,
    };
    let controls: Vec<f64> =
        evidence.groups(&CONTROLS).iter().filter_map(|r| correlation(&before(r))).collect();
    Finding {
        measured: format!(
            "|r| within a seed {}, r {}; pooled over seeds {}",
            show(size, 2),
            show(mean_of(&each), 2),
            show(pooled, 2)
        ),
        estimate: size,
        seeds: each.len(),
        controls: format!("r within a control {}", show(mean_of(&controls), 2)),
        verdict,
        why: match verdict {
            Verdict::Reproduced => "Within a run the norm says little about H̃.".into(),
            Verdict::NotReproduced => {
                "Within a run, before T_grok, norm and H̃ go together so closely that either could stand for \
                 the other."
                    .into()
            }
            _ => "Within a run they go together more than pooling shows, but not wholly.".into(),
        },
        figures: vec![Figure {
            title: "Norm against normalised entropy before T_grok".into(),
            axes: ["norm", "normalised entropy"],
            log: [true, false],
            places: vec![],
            series: paths(&add, seed, |r| before(r).into_iter().map(|(n, h)| [n, h]).collect()),
            lines: vec![],
        }],
        note: String::new(),
    }
}

/// E14.
pub(super) fn probes(evidence: &Evidence) -> Finding {
    let add = evidence.grokked("add");
    let both = |record: &Record| -> (Vec<f64>, Vec<f64>) {
        record.curves.iter().filter_map(|e| Some((e.entropy?, e.entropy_test?))).unzip()
    };
    let each: Vec<f64> = add
        .iter()
        .filter_map(|r| {
            let (train, test) = both(r);
            pearson(&train, &test)
        })
        .collect();
    if each.len() < FEWEST {
        return Finding::not_testable("needs three runs of addition that grokked");
    }
    let gaps: Vec<f64> = add
        .iter()
        .filter_map(|r| {
            let at = r.at(r.row.t_grok?)?;
            Some(at.entropy_test? - at.entropy?)
        })
        .collect();
    let (r, gap) = (mean_of(&each), mean_of(&gaps));
    let near = gap.is_some_and(|g| g.value.abs() <= 0.015);
    let verdict = match () {
        () if above(r, 0.99) && near => Verdict::Reproduced,
        () if above(r, 0.95) => Verdict::Partly,
        () => Verdict::NotReproduced,
    };
    let controls: Vec<f64> = evidence
        .groups(&CONTROLS)
        .iter()
        .filter_map(|r| {
            let (train, test) = both(r);
            pearson(&train, &test)
        })
        .collect();
    Finding {
        measured: format!(
            "r {} within a seed; at T_grok the test probe reads {} higher",
            show(r, 4),
            show(gap, 4)
        ),
        estimate: r,
        seeds: each.len(),
        controls: format!("r in controls {}", show(mean_of(&controls), 3)),
        verdict,
        why: match verdict {
            Verdict::Reproduced => "Either probe tells the same story.".into(),
            Verdict::Partly if above(r, 0.99) => {
                "They go together, but one reads higher at T_grok.".into()
            }
            Verdict::Partly => "The two go together, but not as closely as printed.".into(),
            _ => "A correlation above .95 is not shown.".into(),
        },
        figures: vec![Figure {
            title: "Train probe against test probe, every evaluation".into(),
            axes: ["normalised entropy, train probe", "normalised entropy, test probe"],
            log: [false, false],
            places: vec![],
            series: paths(
                &add,
                |_| "add".into(),
                |r| r.curves.iter().filter_map(|e| Some([e.entropy?, e.entropy_test?])).collect(),
            ),
            lines: vec![],
        }],
        note: String::new(),
    }
}
