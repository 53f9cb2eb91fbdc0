//! How claims are graded: what a rule is given, what it answers, and what is published.
//!
//! ```text
//! runs.csv, curves/  →  Evidence  →  one rule a claim: Finding  →  verdicts.json, report
//! ```
//! A rule reads nothing but the records, so whoever has them can grade again. Every rule was written
//! down before the runs that it grades were looked at; its sentence is published beside its verdict.

use super::cost::{self, Cost};
use crate::record::{Evaluation, Record, Results, Row};
use crate::run::write_whole;
use crate::stats::{BOOTSTRAP, Estimate, clopper_pearson, mean};
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Fewer seeds than this say nothing about a claim.
pub const FEWEST: usize = 3;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It holds here, its controls included, and where it names a figure ours agrees.
    #[serde(rename = "reproduced")]
    Reproduced,
    /// A part of it holds, or it holds and a control shows the same.
    #[serde(rename = "partly")]
    Partly,
    /// It does not hold here.
    #[serde(rename = "not reproduced")]
    NotReproduced,
    /// The runs that would decide it are not there.
    #[serde(rename = "not testable")]
    NotTestable,
}

impl Verdict {
    /// As in verdicts.json.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Reproduced => "reproduced",
            Verdict::Partly => "partly",
            Verdict::NotReproduced => "not reproduced",
            Verdict::NotTestable => "not testable",
        }
    }
}

/// A claim of a paper, and the rule by which it is graded.
#[derive(Clone, Copy)]
pub struct Claim {
    /// Its number in the study.
    pub id: &'static str,
    /// What the paper says.
    pub claim: &'static str,
    /// The paper's figures.
    pub paper: &'static str,
    /// What makes it reproduced, partly or not.
    pub rule: &'static str,
    /// The rule as a program.
    pub grade: fn(&Evidence) -> Finding,
}

/// What a rule found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Our figures, in words.
    pub measured: String,
    /// The figure that stands beside the paper's, with its interval over seeds.
    pub estimate: Option<Estimate>,
    /// Seeds behind it.
    pub seeds: usize,
    /// What the controls show.
    pub controls: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub why: String,
    /// Pictures, in the order in which they are shown.
    pub figures: Vec<Figure>,
    /// What else is worth knowing, below the pictures; mostly nothing. Lines that begin with a bar are a table, as in
    /// Markdown.
    pub note: String,
}

impl Finding {
    /// The runs that would decide are not there: `missing` says which.
    pub fn not_testable(missing: impl Into<String>) -> Finding {
        Finding {
            measured: String::new(),
            estimate: None,
            seeds: 0,
            controls: String::new(),
            verdict: Verdict::NotTestable,
            why: missing.into(),
            figures: Vec::new(),
            note: String::new(),
        }
    }
}

/// A picture of a claim, as data.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// The axes' names; the unit in brackets.
    pub axes: [&'static str; 2],
    /// Whether an axis is logarithmic.
    pub log: [bool; 2],
    /// Names of places on the x axis; none where numbers say it.
    pub places: Vec<(f64, &'static str)>,
    /// What is drawn, later ones on top.
    pub series: Vec<Series>,
    /// Values of the paper, or other lines across the picture.
    pub lines: Vec<Line>,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// The legend's name; series of one name share their entry and colour.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// (x, y) in the order in which they are joined.
    pub points: Vec<[f64; 2]>,
    /// For [`Mark::Interval`]: the ends of each point's interval along y.
    pub ends: Vec<[f64; 2]>,
    /// What a reader who points at it is told: the run, the group.
    pub label: String,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line through the points.
    Line,
    /// Dots.
    Dots,
    /// Dots with their intervals.
    Interval,
}

/// A line across a picture.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it says.
    pub label: String,
    /// Where it stands on the y axis (`horizontal`) or on the x axis.
    pub at: f64,
    /// Whether it is drawn across.
    pub horizontal: bool,
}

/// The records of a study, by group.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    groups: BTreeMap<String, Vec<Record>>,
    cost: Vec<Cost>,
}

impl Evidence {
    /// These records; a seed is one run of a group.
    pub fn of(records: impl IntoIterator<Item = Record>) -> Evidence {
        let mut groups: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in records {
            groups.entry(record.row.group.clone()).or_default().push(record);
        }
        for group in groups.values_mut() {
            group.sort_by_key(|record| record.row.seed);
        }
        Evidence { groups, cost: Vec::new() }
    }

    /// The records of a study's results that `wanted` picks.
    ///
    /// # Errors
    /// If runs.csv or a curves file cannot be read.
    pub fn read(results: &Results, wanted: impl Fn(&Row) -> bool) -> Result<Evidence> {
        let read = |row: Row| {
            let curves = results.curves(&row.hash, row.seed)?;
            anyhow::Ok(Record { row, curves })
        };
        let rows = results.rows()?.into_iter().filter(|row| wanted(row));
        let records = rows.map(read).collect::<Result<Vec<_>>>()?;
        Ok(Evidence::of(records).with_cost(cost::read(results)?))
    }

    /// The same with these measurements of what measuring costs.
    pub fn with_cost(self, cost: Vec<Cost>) -> Evidence {
        Evidence { cost, ..self }
    }

    /// What measuring costs, a round each; none if it was not measured.
    pub fn cost(&self) -> &[Cost] {
        &self.cost
    }

    /// The runs of a group, seeds ascending; none if it has not been run.
    pub fn group(&self, name: &str) -> &[Record] {
        self.groups.get(name).map_or(&[], Vec::as_slice)
    }

    /// The runs of several groups, one group after the other.
    pub fn groups(&self, names: &[&str]) -> Vec<&Record> {
        names.iter().flat_map(|name| self.group(name)).collect()
    }

    /// The runs of every group whose name begins so.
    pub fn beginning(&self, with: &str) -> Vec<&Record> {
        self.groups
            .iter()
            .filter(|(name, _)| name.starts_with(with))
            .flat_map(|(_, runs)| runs)
            .collect()
    }

    /// The runs of a group that grokked.
    pub fn grokked(&self, name: &str) -> Vec<&Record> {
        self.group(name).iter().filter(|record| record.row.t_grok.is_some()).collect()
    }
}

/// What rules ask of a run.
impl Record {
    /// T_grok, or ∞ for a run that never grokked: later than any that did, as late as its like.
    pub fn t_grok(&self) -> f64 {
        self.row.t_grok.map_or(f64::INFINITY, |step| step as f64)
    }

    /// The evaluation of a step.
    pub fn at(&self, step: u64) -> Option<&Evaluation> {
        self.curves.iter().find(|e| e.step == step)
    }

    /// A reading against the step, where it was taken.
    pub fn curve(&self, reading: impl Fn(&Evaluation) -> Option<f64>) -> Vec<[f64; 2]> {
        self.curves.iter().filter_map(|e| Some([e.step as f64, reading(e)?])).collect()
    }

    /// The evaluations from T_memorise on and before T_grok, or to the end where it never grokked;
    /// none where it never memorised.
    pub fn waiting(&self) -> &[Evaluation] {
        let place = |step: u64| self.curves.partition_point(|e| e.step < step);
        let Some(first) = self.row.t_memorise.map(place) else { return &[] };
        let end = self.row.t_grok.map_or(self.curves.len(), place);
        &self.curves[first.min(end)..end]
    }

    /// (step, H̃), each the median of three evaluations in a row, at the last of them: a spike of the loss
    /// takes H̃ down for one evaluation, and is no collapse.
    pub fn calm(&self) -> Vec<(u64, f64)> {
        let read: Vec<(u64, f64)> =
            self.curves.iter().filter_map(|e| Some((e.step, e.entropy?))).collect();
        let middle = |w: &[(u64, f64)]| {
            let mut three = [w[0].1, w[1].1, w[2].1];
            three.sort_by(f64::total_cmp);
            (w[2].0, three[1])
        };
        read.windows(3).map(middle).collect()
    }

    /// The first evaluation from T_memorise on at which the calm H̃ is at most `threshold`.
    pub fn crosses(&self, threshold: f64) -> Option<u64> {
        let memorised = self.row.t_memorise?;
        self.calm().into_iter().find(|&(s, h)| s >= memorised && h <= threshold).map(|(s, _)| s)
    }
}

/// Runs that cannot generalise, kind by kind: in how many `fires` holds, in words, and whether in each kind
/// it is fewer than half. Those that generalise all the same are left out; without any, nothing is quiet.
pub fn controls(
    evidence: &Evidence,
    kinds: &[&str],
    fires: impl Fn(&Record) -> bool,
) -> (String, bool) {
    let mut words = Vec::new();
    let mut quiet = true;
    for kind in kinds {
        let runs = evidence.group(kind).iter().filter(|r| r.row.t_grok.is_none());
        let fired: Vec<bool> = runs.map(&fires).collect();
        let count = fired.iter().filter(|f| **f).count();
        if !fired.is_empty() {
            words.push(format!("{kind} {count} of {}", fired.len()));
            quiet &= 2 * count < fired.len();
        }
    }
    (words.join(", "), quiet && !words.is_empty())
}

/// The mean with its bootstrap interval.
pub fn mean_of(values: &[f64]) -> Option<Estimate> {
    BOOTSTRAP.percentile(values, mean)
}

/// How many different seeds runs have.
pub fn seeds_of<'a>(runs: impl IntoIterator<Item = &'a Record>) -> usize {
    runs.into_iter().map(|record| record.row.seed).collect::<BTreeSet<_>>().len()
}

/// Whether an interval lies wholly above `x`; false without an interval.
pub fn above(estimate: Option<Estimate>, x: f64) -> bool {
    estimate.and_then(|e| e.interval).is_some_and(|[lo, _]| lo > x)
}

/// Whether an interval lies wholly below `x`; false without an interval.
pub fn below(estimate: Option<Estimate>, x: f64) -> bool {
    estimate.and_then(|e| e.interval).is_some_and(|[_, hi]| hi < x)
}

/// Whether an interval meets another; false without an interval.
pub fn meets(estimate: Option<Estimate>, [lo, hi]: [f64; 2]) -> bool {
    estimate.and_then(|e| e.interval).is_some_and(|[a, b]| a <= hi && b >= lo)
}

/// "9 of 10 [.55, 1.00]": a count with its Clopper–Pearson interval.
pub fn count(k: usize, n: usize) -> String {
    match clopper_pearson(k, n, 0.95) {
        Some([lo, hi]) => format!("{k} of {n} [{lo:.2}, {hi:.2}]"),
        None => format!("{k} of {n}"),
    }
}

/// Whether most seeds do so: yes where the lower end of Clopper–Pearson's interval lies above one half, no
/// where the upper end lies below it, else undecided.
pub fn most(k: usize, n: usize) -> Option<bool> {
    let [lo, hi] = clopper_pearson(k, n, 0.95)?;
    match () {
        () if lo > 0.5 => Some(true),
        () if hi < 0.5 => Some(false),
        () => None,
    }
}

/// "1,020 [890, 1,140]" with so many decimals.
pub fn show(estimate: Option<Estimate>, decimals: usize) -> String {
    let number = |x: f64| match decimals {
        0 if x.is_finite() => {
            let sign = if x < -0.5 { "−" } else { "" };
            format!("{sign}{}", crate::report::page::whole(x.abs().round() as u64))
        }
        _ if x.is_infinite() => "∞".to_owned(),
        _ => format!("{x:.decimals$}").replace('-', "−"),
    };
    match estimate {
        None => "none".to_owned(),
        Some(Estimate { value, interval: None }) => number(value),
        Some(Estimate { value, interval: Some([lo, hi]) }) => {
            format!("{} [{}, {}]", number(value), number(lo), number(hi))
        }
    }
}

/// A graded claim, as in verdicts.json.
#[derive(Clone, Debug, Serialize)]
pub struct Graded {
    /// Its number in the study.
    pub id: &'static str,
    /// What the paper says.
    pub claim: &'static str,
    /// The paper's figures.
    pub paper: &'static str,
    /// Our figures, in words.
    pub measured: String,
    /// The figure that stands beside the paper's; null without one.
    pub value: Option<f64>,
    /// Its interval over seeds, 95 %; null without one.
    pub interval: Option<[f64; 2]>,
    /// Seeds behind it.
    pub seeds: usize,
    /// What the controls show.
    pub controls: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub why: String,
    /// The rule.
    pub rule: &'static str,
    /// What else is worth knowing; mostly nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Pictures, for the report.
    #[serde(skip)]
    pub figures: Vec<Figure>,
}

/// Grades claims by their rules.
pub fn grade<'a>(claims: impl IntoIterator<Item = &'a Claim>, evidence: &Evidence) -> Vec<Graded> {
    let one = |claim: &Claim| {
        let found = (claim.grade)(evidence);
        Graded {
            id: claim.id,
            claim: claim.claim,
            paper: claim.paper,
            measured: found.measured,
            value: found.estimate.map(|e| e.value).filter(|x| x.is_finite()),
            interval: found
                .estimate
                .and_then(|e| e.interval)
                .filter(|i| i.iter().all(|x| x.is_finite())),
            seeds: found.seeds,
            controls: found.controls,
            verdict: found.verdict,
            why: found.why,
            rule: claim.rule,
            note: found.note,
            figures: found.figures,
        }
    };
    claims.into_iter().map(one).collect()
}

/// Writes verdicts.json beside runs.csv.
///
/// # Errors
/// If it cannot be written.
pub fn write_verdicts(results: &Results, graded: &[Graded]) -> Result<()> {
    let text = serde_json::to_string_pretty(graded)? + "\n";
    Ok(write_whole(&results.dir().join("verdicts.json"), text.as_bytes())?)
}
