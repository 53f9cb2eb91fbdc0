//! `plateau audit`: the ledger of one training step.
//!
//! Every op of the tape, forward and backward apart, with formula, source, shapes, work, time and
//! error; then everything else that a step does: drawing and loading the batch, AdamW. The times are
//! measured op by op and must add up to those of steps without any hook, taken in turns with them.
//!
//! ```text
//! floor = max(flops / FMA peak, bytes / bandwidth)        share of the roof = floor / time
//! error = ‖plateau − f64 reference‖ / ‖f64 reference‖     on the same inputs, the same upstream gradient
//! check   f64 reference's slope along a random direction against a central difference, for each input
//! ```
//! Bytes count each operand once; the bandwidth is that of a triad over a working set of that size
//! (`measure.rs`).

mod check;
mod dump;
mod measure;
mod page;
mod rows;
mod table;

pub use check::{Checks, check};

use crate::bench::Spread;
use crate::cli::{say, tell, trainer};
use crate::config::Config;
use crate::pool;
use crate::run::meta::Meta;
use crate::run::{check_writable, write_whole};
use crate::train::Trainer;
use anyhow::Result;
use check::{TOLERANCE, Worst};
use measure::{Bandwidth, Times};
use rows::Row;
use serde::Serialize;
use std::path::PathBuf;

/// `plateau audit`.
#[derive(clap::Args)]
pub struct AuditArgs {
    /// A preset, an experiment file (.toml), or a run folder (its newest checkpoint is audited).
    experiment: String,
    /// Changes a field by its path, as in `--set optim.batch=2822`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Audits the step after N updates: a preset is trained that far first, a run goes on from its
    /// newest checkpoint up to N. Default: 0, or a run's newest checkpoint.
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Threads of the kernels.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Writes the batch, parameters, every activation and gradient, and AdamW's moments before and after,
    /// so that anyone can compute them again (tests/audit/recompute.py does).
    #[arg(long, value_name = "FILE.safetensors")]
    dump: Option<PathBuf>,
    /// Writes the ledger as a page with pictures: a roofline, and where the time goes.
    #[arg(long, value_name = "FILE.html")]
    page: Option<PathBuf>,
    /// Prints the ledger as JSON.
    #[arg(long)]
    json: bool,
}

/// The ledger of one step: the JSON of `plateau audit`.
#[derive(Debug, Serialize)]
struct Ledger {
    preset: String,
    seed: u64,
    /// Updates behind the audited parameters.
    step: u64,
    threads: u16,
    batch: usize,
    parameters: usize,
    /// The build and the machine.
    machine: Machine,
    /// Fused multiply-adds on registers, measured in this run.
    peak_gflops: f64,
    /// Of a triad, by size of the working set, measured in this run.
    bandwidth: Vec<Bandwidth>,
    /// In the order of computation.
    rows: Vec<Row>,
    /// H̃ of the batch, which a step takes on top.
    on_top: Row,
    totals: Totals,
    /// The largest errors, and what they may be.
    worst: Worst,
    tolerance: Worst,
    #[serde(skip)]
    config: String,
}

#[derive(Debug, Serialize)]
struct Machine {
    version: String,
    commit: String,
    rustc: String,
    cpu: String,
    simd: String,
    date: String,
}

#[derive(Debug, Serialize)]
struct Totals {
    flops: u64,
    bytes: u64,
    kept_bytes: u64,
    /// The sum of the rows' times.
    ms: f64,
    /// Whole steps without hooks, taken in turns with the measured ones: the mean of the quietest
    /// quarter.
    step_ms: f64,
    /// All of them.
    steps_ms: Spread,
    /// ms / step_ms.
    reconciled: f64,
    /// The sum of the rows' floors.
    floor_ms: f64,
    /// step_ms / floor_ms.
    over_floor: f64,
    /// How often each row was timed.
    repeats: usize,
}

/// Audits a step and prints its ledger.
///
/// # Errors
/// If the experiment cannot be read or trained to that step, a file cannot be written, or an error is
/// above its tolerance.
pub fn run(args: &AuditArgs) -> Result<()> {
    pool::install(args.threads.into(), || audit(args))?
}

fn audit(args: &AuditArgs) -> Result<()> {
    for path in [&args.dump, &args.page].into_iter().flatten() {
        check_writable(path)?;
    }
    let (config, mut trainer, step) = trainer(&args.experiment, &args.set, args.step)?;
    let checks = check(&mut trainer, &config, step, args.dump.as_deref())?;
    let times = measure::times(&mut trainer, step, args.threads)?;
    // Of sequences every batch has another number of tokens: the ledger shows the audited one's.
    trainer.draw(step);
    trainer.load();
    let ledger = ledger(args, &config, &trainer, step, &checks, &times);
    if let Some(path) = &args.page {
        write_whole(path, page::html(&ledger).as_bytes())?;
    }
    if args.json {
        say(&(serde_json::to_string_pretty(&ledger)? + "\n"))?;
    } else {
        say(&table::text(&ledger))?;
        for (what, path) in [("dump", &args.dump), ("page", &args.page)] {
            path.iter().try_for_each(|path| say(&format!("{what}  {}\n", path.display())))?;
        }
    }
    let sum = ledger.totals.reconciled;
    if !(0.95..1.05).contains(&sum) {
        tell(&format!(
            "the ops' times add up to {:.0} % of a step, not to 95 to 105 %: others are at work here, \
             measure again",
            100.0 * sum
        ));
    }
    checks.passed()
}

fn ledger(
    args: &AuditArgs,
    config: &Config,
    trainer: &Trainer,
    step: u64,
    checks: &Checks,
    times: &Times,
) -> Ledger {
    let rows = rows::step(config, trainer, checks, times);
    let sum = |f: fn(&Row) -> f64| rows.iter().map(f).sum::<f64>();
    let (ms, floor_ms) = (sum(|r| r.ms), sum(|r| r.floor_ms));
    let totals = Totals {
        flops: rows.iter().map(|r| r.flops).sum(),
        bytes: rows.iter().map(|r| r.bytes).sum(),
        kept_bytes: rows.iter().map(|r| r.kept_bytes).sum(),
        ms,
        step_ms: times.step,
        steps_ms: times.steps,
        reconciled: ms / times.step,
        floor_ms,
        over_floor: times.step / floor_ms,
        repeats: times.repeats,
    };
    let meta = Meta::new(args.threads.into(), Vec::new());
    let machine = Machine {
        version: meta.version,
        commit: if meta.dirty { meta.commit + ", changed" } else { meta.commit },
        rustc: meta.rustc,
        cpu: meta.cpu,
        simd: meta.simd,
        date: meta.started,
    };
    Ledger {
        preset: config.name.clone(),
        seed: config.seed,
        step,
        threads: args.threads,
        batch: trainer.batch(),
        parameters: trainer.model().parameter_count(),
        machine,
        peak_gflops: times.peak_gflops,
        bandwidth: times.bandwidth.clone(),
        on_top: rows::entropy(config, trainer, checks, times),
        rows,
        totals,
        worst: checks.worst(),
        tolerance: TOLERANCE,
        config: config.to_toml(),
    }
}
