//! Series of a claim's pictures, from records.

use super::grade::{Figure, Line, Mark, Series};
use crate::record::{Evaluation, Record};

/// A path for each run, through points of its own.
pub(super) fn paths(
    records: &[&Record],
    name: impl Fn(&Record) -> String,
    points: impl Fn(&Record) -> Vec<[f64; 2]>,
) -> Vec<Series> {
    let path = |record: &&Record| Series {
        name: name(record),
        mark: Mark::Line,
        points: points(record),
        ends: Vec::new(),
        label: format!("{} seed {}", record.row.group, record.row.seed),
    };
    records.iter().map(path).collect()
}

/// The name of a path that stands for one seed.
pub(super) fn seed(record: &Record) -> String {
    format!("seed {}", record.row.seed)
}

/// A group's curves of one reading, a line a seed.
pub(super) fn curves(
    records: &[&Record],
    name: &str,
    reading: impl Fn(&Evaluation) -> Option<f64>,
) -> Vec<Series> {
    paths(records, |_| name.to_owned(), |record| record.curve(&reading))
}

/// Values of the seeds of one group, side by side at `x`.
pub(super) fn dots(
    name: &str,
    records: &[&Record],
    x: f64,
    value: impl Fn(&Record) -> Option<f64>,
) -> Vec<Series> {
    let dot = |record: &&Record| {
        Some(Series {
            name: name.to_owned(),
            mark: Mark::Dots,
            points: vec![[x, value(record)?]],
            ends: Vec::new(),
            label: format!("{} seed {}", record.row.group, record.row.seed),
        })
    };
    records.iter().filter_map(dot).collect()
}

/// A line across a picture.
pub(super) fn across(at: f64, label: impl Into<String>) -> Line {
    Line { label: label.into(), at, horizontal: true }
}

/// The name of the axis that most pictures share.
pub(super) const STEPS: &str = "steps";

/// A picture of a reading over the steps.
pub(super) fn over_steps(
    title: impl Into<String>,
    reading: &'static str,
    series: Vec<Series>,
) -> Figure {
    Figure {
        title: title.into(),
        axes: [STEPS, reading],
        log: [false, false],
        places: vec![],
        series,
        lines: vec![],
    }
}
