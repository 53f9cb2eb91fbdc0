//! Is the collapse a cause? E5 and E6: what delays it, what only looks like it, and the norm.

use super::phases::sentence;
use crate::record::{Evaluation, Record};
use crate::stats::{Estimate, MannWhitney, Method, cohens_d, mann_whitney};
use crate::study::draw::{STEPS, across, curves, dots, over_steps};
use crate::study::grade::{Evidence, Figure, Finding, Verdict, above, mean_of, show};

/// The paper's budget.
const BUDGET: f64 = 50_000.0;
/// With fewer seeds no outcome has p < .05 after Holm's correction for three.
const FEWEST: usize = 5;

/// A group against its baseline, of the seeds that both have.
struct Delay {
    test: MannWhitney,
    cohens_d: Option<f64>,
    /// Whether every run grokked; if not, delays are of the steps made.
    whole: bool,
    delays: Vec<(u64, f64)>, // (seed, steps later than the baseline)
    grokked: usize,
    /// Baselines that grokked.
    baselines: usize,
    mean: Option<Estimate>,
    /// H̃ at the baseline's T_grok, above the baseline's.
    entropy: Option<Estimate>,
}

fn pairs<'a>(runs: &'a [&Record], baselines: &'a [&Record]) -> Vec<(&'a Record, &'a Record)> {
    let one = |run: &&'a Record| {
        let base = baselines.iter().find(|base| base.row.seed == run.row.seed)?;
        Some((*run, *base))
    };
    runs.iter().filter_map(one).collect()
}

/// T_grok, or the steps made by a run that never grokked: at least so long.
fn capped(record: &Record) -> f64 {
    record.t_grok().min(record.row.steps as f64)
}

fn delay(runs: &[&Record], baselines: &[&Record]) -> Option<Delay> {
    let pairs = pairs(runs, baselines);
    if pairs.len() < FEWEST {
        return None;
    }
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(r, b)| (r.t_grok(), b.t_grok())).unzip();
    let (cx, cy): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(r, b)| (capped(r), capped(b))).unzip();
    let whole = x.iter().chain(&y).all(|t| t.is_finite());
    let delays: Vec<(u64, f64)> =
        pairs.iter().map(|(r, b)| (r.row.seed, capped(r) - capped(b))).collect();
    let above_base = |(run, base): &(&Record, &Record)| {
        let step = base.row.t_grok?;
        Some(run.at(step)?.entropy? - base.at(step)?.entropy?)
    };
    Some(Delay {
        test: mann_whitney(&x, &y)?,
        cohens_d: cohens_d(&cx, &cy).filter(|_| whole),
        whole,
        grokked: x.iter().filter(|t| t.is_finite()).count(),
        baselines: y.iter().filter(|t| t.is_finite()).count(),
        mean: mean_of(&delays.iter().map(|d| d.1).collect::<Vec<_>>()),
        entropy: mean_of(&pairs.iter().filter_map(above_base).collect::<Vec<_>>()),
        delays,
    })
}

impl Delay {
    fn words(&self) -> String {
        self.words_with(self.test.p)
    }

    /// The same with a corrected p.
    fn words_with(&self, p: f64) -> String {
        format!(
            "{}{} steps, p {}{}, {} of {} grok{}",
            if self.whole { "" } else { "by steps made " },
            signed(self.mean),
            p_value(p),
            self.cohens_d.map_or(String::new(), |d| format!(", d {d:.2}").replace('-', "−")),
            self.grokked,
            self.delays.len(),
            match self.baselines {
                all if all == self.delays.len() => String::new(),
                n => format!(" and {n} of their baselines"),
            }
        )
    }

    /// How its p came about.
    fn method(&self) -> &'static str {
        match self.test.method {
            Method::Exact => "exact",
            Method::Normal => "by the normal approximation, as steps of evaluations are shared",
        }
    }

    fn later(&self) -> bool {
        self.mean.is_some_and(|m| m.value > 0.0)
    }
}

/// The steps made by a run that never grokked.
fn never(record: &Record) -> Option<f64> {
    record.row.t_grok.is_none().then_some(record.row.steps as f64)
}

fn signed(estimate: Option<Estimate>) -> String {
    let plus = if estimate.is_some_and(|e| e.value > 0.0) { "+" } else { "" };
    format!("{plus}{}", show(estimate, 0))
}

fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.0e}") } else { format!("{p:.3}") }
}

/// Holm's correction: each p times the number of those not smaller, never below one before it.
pub(super) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max(((p.len() - rank) as f64 * p[i]).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

/// E5.
pub(super) fn mixing(evidence: &Evidence) -> Finding {
    const STRENGTHS: [&str; 3] = ["0.1", "0.3", "0.5"];
    struct At {
        alpha: &'static str,
        mixed: Delay,
        sham: Option<Delay>,
        over_sham: Option<Estimate>,
    }
    let base = evidence.groups(&["add"]);
    let at = |alpha: &'static str| {
        let group = |kind: &str| evidence.groups(&[&format!("{kind}-{alpha}")]);
        let mixed = delay(&group("mixing"), &base)?;
        let sham = delay(&group("sham"), &base);
        let over = |sham: &Delay| {
            let seed = |&(seed, d): &(u64, f64)| {
                Some(d - sham.delays.iter().find(|other| other.0 == seed)?.1)
            };
            mean_of(&mixed.delays.iter().filter_map(seed).collect::<Vec<_>>())
        };
        let over_sham = sham.as_ref().and_then(over);
        Some(At { alpha, mixed, sham, over_sham })
    };
    let found: Vec<At> = STRENGTHS.into_iter().filter_map(at).collect();
    if found.is_empty() {
        return Finding::not_testable("needs five seeds with and without mixing");
    }
    let mut p: Vec<f64> = found.iter().map(|at| at.mixed.test.p).collect();
    p.resize(STRENGTHS.len(), 1.0); // a strength that was not run proves nothing
    let adjusted = holm(&p);
    let significant: Vec<&At> = found
        .iter()
        .zip(&adjusted)
        .filter(|(at, p)| **p < 0.05 && at.mixed.later())
        .map(|(at, _)| at)
        .collect();
    let higher = |at: &At| above(at.mixed.entropy, 0.0);
    let specific = |at: &At| above(at.over_sham, 0.0);
    let verdict = match () {
        () if significant.iter().any(|at| higher(at) && specific(at)) => Verdict::Reproduced,
        () if !significant.is_empty() => Verdict::Partly,
        () if found.len() < STRENGTHS.len() => Verdict::NotTestable,
        () => Verdict::NotReproduced,
    };
    let shown = significant.iter().find(|at| higher(at) && specific(at)).or(significant.last());
    let shown = shown.copied().unwrap_or(&found[found.len() / 2]);
    let words = |(at, p): (&At, &f64)| format!("α {}: {}", at.alpha, at.mixed.words_with(*p));
    let sham_words = |at: &At| {
        let sham = at.sham.as_ref().map_or("not run".into(), Delay::words);
        format!("α {}: {sham}, mixing minus noise {}", at.alpha, signed(at.over_sham))
    };
    let list = |words: Vec<String>| words.join("; ");
    let mut times = Figure {
        title: "T_grok by strength, a dot a seed".into(),
        axes: ["strength α", "T_grok (steps)"],
        log: [false, false],
        places: vec![(0.0, "0"), (0.1, ".1"), (0.3, ".3"), (0.5, ".5")],
        series: dots("unmixed", &base, 0.0, |r| r.row.t_grok.map(|t| t as f64)),
        lines: vec![],
    };
    let mut entropies = over_steps(
        "Normalised entropy under mixing and under noise, α = .3",
        "normalised entropy",
        curves(&base, "unmixed", |e| e.entropy),
    );
    for alpha in STRENGTHS {
        for (kind, off) in [("mixing", -0.01), ("sham", 0.01)] {
            let runs = evidence.groups(&[&format!("{kind}-{alpha}")]);
            let x = alpha.parse::<f64>().unwrap_or(0.0) + off;
            times.series.extend(dots(kind, &runs, x, |r| r.row.t_grok.map(|t| t as f64)));
            times.series.extend(dots(&format!("{kind}, never: steps made"), &runs, x, never));
            if alpha == "0.3" {
                entropies.series.extend(curves(&runs, kind, |e| e.entropy));
            }
        }
    }
    Finding {
        measured: list(found.iter().zip(&adjusted).map(words).collect()),
        estimate: shown.mixed.mean,
        seeds: found.iter().map(|at| at.mixed.delays.len()).max().unwrap_or(0),
        controls: format!(
            "noise of the same norm: {}; p are Mann–Whitney's, {}, those of mixing after Holm's correction",
            list(found.iter().map(sham_words).collect()),
            shown.mixed.method()
        ),
        verdict,
        why: match verdict {
            Verdict::Reproduced => format!(
                "At α = {} mixing keeps H̃ up and delays grokking, and noise of the same norm delays it less.",
                shown.alpha
            ),
            Verdict::Partly => {
                let mut faults = vec!["grokking is delayed"];
                if !significant.iter().any(|at| higher(at)) {
                    faults.push("H̃ is not kept up at the baseline's T_grok");
                }
                if !significant.iter().any(|at| specific(at)) {
                    faults.push(
                        "noise of the same norm, which carries no other example, does as much",
                    );
                }
                sentence(&faults)
            }
            Verdict::NotTestable => {
                format!("{} of {} strengths have been run.", found.len(), STRENGTHS.len())
            }
            Verdict::NotReproduced => "No strength delays grokking by more than chance.".into(),
        },
        figures: vec![times, entropies],
        note: String::new(),
    }
}

/// E6.
pub(super) fn norm_matched(evidence: &Evidence) -> Finding {
    let template =
        delay(&evidence.groups(&["norm-matched"]), &evidence.groups(&["add", "add-more"]));
    let twin = delay(&evidence.groups(&["twin-matched"]), &evidence.groups(&["twin"]));
    let (Some(template), Some(twin)) = (template, twin) else {
        return Finding::not_testable(
            "needs five seeds, mixed and norm-matched, of the template and of the twin without LayerNorm",
        );
    };
    let mixed_twin = delay(&evidence.groups(&["twin-mixing"]), &evidence.groups(&["twin"]));
    let holds = |d: &Delay| d.later() && d.test.p < 0.05;
    let verdict = match (holds(&template), holds(&twin)) {
        (true, true) => Verdict::Reproduced,
        (false, false) => Verdict::NotReproduced,
        _ => Verdict::Partly,
    };
    // How far the norm is ever from the baseline's, as a share of it.
    let follow = |matched: &str, bases: &[&str]| {
        let off = |(run, base): (&Record, &Record)| {
            let gap = |e: &Evaluation| Some((e.norm? / base.at(e.step)?.norm? - 1.0).abs());
            run.curves.iter().filter_map(gap).reduce(f64::max)
        };
        let (runs, bases) = (evidence.groups(&[matched]), evidence.groups(bases));
        pairs(&runs, &bases).into_iter().filter_map(off).fold(0.0, f64::max)
    };
    let follow = [follow("norm-matched", &["add", "add-more"]), follow("twin-matched", &["twin"])];
    let mut times = Figure {
        title: "T_grok, a dot a seed".into(),
        axes: ["", "T_grok (steps)"],
        log: [false, false],
        places: vec![(1.0, "template"), (2.0, "without LayerNorm")],
        series: vec![],
        lines: vec![across(BUDGET, "the paper's budget")],
    };
    let t = |r: &Record| r.row.t_grok.map(|t| t as f64);
    for (name, groups, x) in [
        ("baseline", vec!["add", "add-more"], 0.9),
        ("mixing", vec!["mixing-0.3"], 1.0),
        ("mixing, norm of the baseline", vec!["norm-matched"], 1.1),
        ("baseline", vec!["twin"], 1.9),
        ("mixing", vec!["twin-mixing"], 2.0),
        ("mixing, norm of the baseline", vec!["twin-matched"], 2.1),
    ] {
        let runs = evidence.groups(&groups);
        times.series.extend(dots(name, &runs, x, t));
        times.series.extend(dots(&format!("{name}, never: steps made"), &runs, x, never));
    }
    let norms = |groups: &[&str], name: &str| curves(&evidence.groups(groups), name, |e| e.norm);
    let mut norm = Figure {
        title: "The norm without LayerNorm".into(),
        axes: [STEPS, "norm"],
        log: [false, true],
        places: vec![],
        series: norms(&["twin"], "baseline"),
        lines: vec![],
    };
    norm.series.extend(norms(&["twin-mixing"], "mixing"));
    norm.series.extend(norms(&["twin-matched"], "mixing, norm of the baseline"));
    Finding {
        measured: format!("template: {}; without LayerNorm: {}", template.words(), twin.words()),
        estimate: template.mean,
        seeds: template.delays.len() + twin.delays.len(),
        controls: format!(
            "mixing alone without LayerNorm: {}; the norm follows the baseline's within {:.1e} and {:.1e}",
            mixed_twin.as_ref().map_or("not run".into(), Delay::words),
            follow[0],
            follow[1]
        ),
        verdict,
        why: match (holds(&template), holds(&twin)) {
            (true, true) => "The delay stays when the norm is the baseline's, with and without LayerNorm.",
            (true, false) => {
                "The delay stays on the template, whose LayerNorm makes the norm inert; without LayerNorm it \
                 does not."
            }
            (false, true) => "The delay stays only where the norm matters.",
            _ if template.mean.is_some_and(|m| m.value < 0.0) && template.test.p < 0.05 => {
                "With the norm of the baseline mixed runs of the template grok earlier than the baseline, not \
                 later; without LayerNorm no delay beyond chance is shown."
            }
            (false, false) => "With the norm of the baseline no delay beyond chance is shown.",
        }
        .into(),
        figures: vec![times, norm],
        note: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holms_correction_is_that_of_r() {
        // p.adjust(c(.01, .04, .03, .005), "holm")
        let expected = [0.03, 0.06, 0.06, 0.02];
        for (found, expected) in holm(&[0.01, 0.04, 0.03, 0.005]).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
    }
}
