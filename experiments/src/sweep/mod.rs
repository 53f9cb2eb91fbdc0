//! `plateau sweep`: many runs of one experiment, on one machine or many.
//!
//! ```text
//! plan     FILE.toml with [sweep]  →  plan.jsonl, one run a line
//! (an engine with an array index carries out `plateau run --plan plan.jsonl --index I`)
//! status   plan.jsonl, run folders →  how far each run is
//! collect  plan.jsonl, run folders →  a table, one row a complete run
//! ```
//!
//! Nothing is kept but the plan and the run folders, so a line can be carried out twice or go on anywhere.

pub mod expand;
pub mod line;

use crate::cli::{say, tell};
use crate::record::table::Columns;
use crate::record::{Record, Row, SUMMARY};
use crate::run::checkpoint;
use crate::run::meta::Meta;
use anyhow::{Context, Result};
use clap::Subcommand;
use line::Line;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What is done with a sweep.
#[derive(Subcommand)]
pub enum SweepCommand {
    /// Prints the plan of an experiment file with a `[sweep]` table: one run a line.
    Plan {
        /// The experiment file.
        file: String,
    },
    /// Says how far each run of a plan is.
    Status {
        /// The plan.
        plan: PathBuf,
        /// The folder that run folders are made in.
        #[arg(long, default_value = "runs")]
        out: PathBuf,
        /// Prints the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a table (CSV) of the complete runs of a plan: the swept fields, and what they came to.
    Collect {
        /// The plan.
        plan: PathBuf,
        /// The folder that run folders are made in.
        #[arg(long, default_value = "runs")]
        out: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// If a file cannot be read, or is not what it should be.
pub fn run(command: &SweepCommand) -> Result<()> {
    match command {
        SweepCommand::Plan { file } => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            say(&line::write(&expand::expand(&text, file)?))
        }
        SweepCommand::Status { plan, out, json } => {
            let lines = line::read(plan)?;
            let states = lines.iter().map(|line| Progress::of(line, out));
            let states = states.collect::<Result<Vec<Progress>>>()?;
            let totals = Totals::of(&states);
            match json {
                true => {
                    let all = Report { runs: states, totals };
                    say(&(serde_json::to_string_pretty(&all)? + "\n"))
                }
                false => say(&describe(&states, &totals)),
            }
        }
        SweepCommand::Collect { plan, out } => collect(&line::read(plan)?, out),
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State {
    Complete,
    Incomplete {
        /// That of the newest checkpoint.
        step: u64,
    },
    NotBegun,
    Failed {
        sentence: String,
    },
}

#[derive(Serialize)]
struct Progress {
    index: usize,
    run: String,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize)]
struct Totals {
    runs: usize,
    complete: usize,
    incomplete: usize,
    not_begun: usize,
    failed: usize,
}

#[derive(Serialize)]
struct Report {
    runs: Vec<Progress>,
    totals: Totals,
}

impl Progress {
    /// Looks at the run's folder without locking it: a run may be about to begin.
    fn of(line: &Line, out: &Path) -> Result<Progress> {
        let dir = line.folder(out);
        let checkpoints = dir.join("checkpoints");
        let state = match Meta::read(&dir)? {
            None if !checkpoints.exists() => State::NotBegun,
            Some(meta) if meta.finished => State::Complete,
            Some(Meta { failed: Some(sentence), .. }) => State::Failed { sentence },
            _ => {
                let newest = checkpoint::list(&checkpoints)?.pop();
                State::Incomplete { step: newest.map_or(0, |(step, _)| step) }
            }
        };
        Ok(Progress { index: line.index, run: dir.display().to_string(), state })
    }
}

impl Totals {
    fn of(states: &[Progress]) -> Totals {
        let count = |is: fn(&State) -> bool| states.iter().filter(|p| is(&p.state)).count();
        Totals {
            runs: states.len(),
            complete: count(|state| *state == State::Complete),
            incomplete: count(|state| matches!(state, State::Incomplete { .. })),
            not_begun: count(|state| *state == State::NotBegun),
            failed: count(|state| matches!(state, State::Failed { .. })),
        }
    }
}

/// A line a run, and the totals.
fn describe(states: &[Progress], totals: &Totals) -> String {
    let line = |p: &Progress| {
        let state = match &p.state {
            State::Complete => "complete".to_owned(),
            State::Incomplete { step } => format!("incomplete at step {step}"),
            State::NotBegun => "not begun".to_owned(),
            State::Failed { sentence } => format!("failed: {sentence}"),
        };
        format!("{:>5}  {}  {state}\n", p.index, p.run)
    };
    let Totals { runs, complete, incomplete, not_begun, failed } = totals;
    states.iter().map(line).collect::<String>()
        + &format!(
            "{runs} runs: {complete} complete, {incomplete} incomplete, {not_begun} not begun, \
             {failed} failed\n"
        )
}

/// Prints the table of the complete runs.
fn collect(lines: &[Line], out: &Path) -> Result<()> {
    // The seed has a column of its own.
    let mut labels: Vec<&String> = Vec::new();
    for label in lines.iter().flat_map(|line| line.labels.keys()) {
        if label != "seed" && !labels.contains(&label) {
            labels.push(label);
        }
    }
    let names = labels.iter().map(|label| cell(label)).collect::<Vec<_>>();
    let header = ["index", "hash", "seed"].map(str::to_owned).into_iter().chain(names);
    let header: Vec<String> = header.chain(SUMMARY.iter().map(|name| name.to_string())).collect();
    let mut text = header.join(",") + "\n";
    let mut missing = 0;
    for line in lines {
        let dir = line.folder(out);
        if !Meta::read(&dir)?.is_some_and(|meta| meta.finished) {
            missing += 1;
            continue;
        }
        let record = Record::read(&dir, "", "")?.row.cells();
        let label = |label: &&String| line.labels.get(*label).map_or(String::new(), value);
        let mut row = vec![line.index.to_string(), line.hash.clone(), line.seed.to_string()];
        row.extend(labels.iter().map(label));
        let cells = Row::NAMES.iter().zip(&record);
        row.extend(SUMMARY.iter().map(|name| {
            let (_, cell) = cells.clone().find(|(known, _)| *known == name).expect("a column");
            cell.clone()
        }));
        text += &(row.join(",") + "\n");
    }
    if missing > 0 {
        tell(&format!("{missing} of {} runs are not complete; they have no row", lines.len()));
    }
    say(&text)
}

/// A label's value as a cell.
fn value(value: &Value) -> String {
    cell(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Text as a cell, quoted where CSV needs it.
fn cell(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
