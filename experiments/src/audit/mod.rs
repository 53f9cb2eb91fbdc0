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
mod table;

use crate::bench::Spread;
use crate::cli::{say, trainer};
use crate::config::{Config, ModelConfig};
use crate::pool;
use crate::run::meta::Meta;
use crate::run::write_whole;
use crate::train::Trainer;
use anyhow::{Result, bail};
use autograd::gradcheck::OpCheck;
use autograd::{Op, Tape, Var};
use check::Checks;
use measure::{Bandwidth, Times};
use serde::Serialize;
use std::path::PathBuf;

/// Errors above these are an error of the audit. In f32 a value has some 1e-7; a gradient loses digits
/// where large terms cancel.
const TOLERANCE: Worst =
    Worst { value_error: 1e-4, gradient_error: 1e-4, gradient_check: 1e-5, optimiser_error: 1e-5 };

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
    /// Writes inputs, parameters, every activation and gradient, and AdamW's moments before and after,
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

/// One thing that a step does.
#[derive(Debug, Serialize)]
struct Row {
    /// The number of the op on the tape; null for what is not one.
    op: Option<usize>,
    pass: Pass,
    kind: String,
    /// The result's name.
    name: String,
    formula: String,
    files: Vec<String>,
    inputs: Vec<Matrix>,
    outputs: Vec<Matrix>,
    flops: u64,
    bytes: u64,
    /// The mean over the quietest quarter of the repeats.
    ms: f64,
    gflops: f64,
    /// No less time than this: the larger of flops / peak and bytes / bandwidth.
    floor_ms: f64,
    /// floor_ms / ms.
    roof_share: f64,
    /// What is held until the step is over: results and what the backward needs; of a backward the
    /// gradients of the results; of AdamW parameters, gradients, moments.
    kept_bytes: u64,
    /// Against the f64 reference; null where nothing is rounded.
    error: Option<f64>,
    /// Of a backward, against central differences.
    gradient_check: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pass {
    Batch,
    Forward,
    Loss,
    Backward,
    Optimiser,
    Observer,
}

#[derive(Clone, Debug, Serialize)]
struct Matrix {
    name: String,
    shape: [usize; 2],
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

#[derive(Clone, Copy, Debug, Serialize)]
struct Worst {
    value_error: f64,
    gradient_error: f64,
    gradient_check: f64,
    optimiser_error: f64,
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
    let (config, mut trainer, step) = trainer(&args.experiment, &args.set, args.step)?;
    let checks = check::check(&mut trainer, &config, step, args.dump.as_deref())?;
    let times = measure::times(&mut trainer, step, args.threads)?;
    let ledger = ledger(args, &config, &mut trainer, step, &checks, &times);
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
    let (worst, most) = (ledger.worst, TOLERANCE);
    for (what, error, most) in [
        ("the value of an op", worst.value_error, most.value_error),
        ("the gradients of an op", worst.gradient_error, most.gradient_error),
        ("a gradient of an f64 reference", worst.gradient_check, most.gradient_check),
        ("AdamW's update", worst.optimiser_error, most.optimiser_error),
    ] {
        if error > most || error.is_nan() {
            bail!("{what} is off by {error:.1e}, more than {most:.0e}");
        }
    }
    Ok(())
}

/// What is known of a row before it is timed.
struct Entry {
    op: Option<usize>,
    pass: Pass,
    kind: &'static str,
    name: String,
    formula: String,
    files: &'static [&'static str],
    inputs: Vec<Matrix>,
    outputs: Vec<Matrix>,
    flops: u64,
    bytes: u64,
    kept_bytes: u64,
    error: Option<f64>,
    gradient_check: Option<f64>,
}

impl Entry {
    /// With its time; `peak` in GFLOP/s.
    fn timed(self, ms: f64, peak: f64, bandwidth: &[Bandwidth]) -> Row {
        let compute = self.flops as f64 / peak / 1e6;
        let memory = self.bytes as f64 / measure::of_size(bandwidth, self.bytes) / 1e6;
        let floor_ms = compute.max(memory);
        Row {
            op: self.op,
            pass: self.pass,
            kind: self.kind.to_string(),
            name: self.name,
            formula: self.formula,
            files: self.files.iter().map(|file| file.to_string()).collect(),
            inputs: self.inputs,
            outputs: self.outputs,
            flops: self.flops,
            bytes: self.bytes,
            ms,
            gflops: self.flops as f64 / ms / 1e6,
            floor_ms,
            roof_share: floor_ms / ms,
            kept_bytes: self.kept_bytes,
            error: self.error,
            gradient_check: self.gradient_check,
        }
    }
}

/// Length of the model's input.
fn n_ctx(config: &Config) -> usize {
    match &config.model {
        ModelConfig::OneLayer(model) => model.tokens.n_ctx(),
        ModelConfig::Mlp(model) => model.tokens.n_ctx(),
    }
}

fn matrices(tape: &Tape, values: &[Var]) -> Vec<Matrix> {
    let matrix = |&x: &Var| Matrix { name: tape.label(x), shape: tape.shape(x).into() };
    values.iter().map(matrix).collect()
}

fn bytes_of_grads(tape: &Tape, values: &[Var]) -> u64 {
    values.iter().map(|&x| 4 * tape.grad(x).len() as u64).sum()
}

fn forward_entry(tape: &Tape, i: usize, op: &dyn Op, check: &OpCheck) -> Entry {
    let (inputs, outputs) = (op.inputs(), op.outputs());
    let [formula, _] = op.formula();
    Entry {
        op: Some(i),
        pass: Pass::Forward,
        kind: op.name(),
        name: tape.label(outputs[0]),
        formula,
        files: op.files(),
        inputs: matrices(tape, &inputs),
        outputs: matrices(tape, &outputs),
        flops: op.flops(tape.store()).0,
        bytes: op.bytes(tape.store()).0,
        kept_bytes: tape.store().bytes(&outputs),
        error: Some(check.value_error),
        gradient_check: None,
    }
}

/// Inputs and outputs are those of the forward: the gradients have their shapes.
fn backward_entry(tape: &Tape, i: usize, op: &dyn Op, check: &OpCheck) -> Entry {
    let outputs = op.outputs();
    let [_, formula] = op.formula();
    let (_, flops) = op.flops(tape.store());
    let (_, bytes) = op.bytes(tape.store());
    let forward = forward_entry(tape, i, op, check);
    Entry {
        pass: Pass::Backward,
        formula,
        flops,
        bytes,
        kept_bytes: bytes_of_grads(tape, &outputs),
        error: check.gradient_error,
        gradient_check: check.difference_error,
        ..forward
    }
}

fn ledger(
    args: &AuditArgs,
    config: &Config,
    trainer: &mut Trainer,
    step: u64,
    checks: &Checks,
    times: &Times,
) -> Ledger {
    let (batch, parameters) = (trainer.batch(), trainer.model().parameter_count());
    let peak = times.peak_gflops;
    let step_formula = "lr of step t as the config says; p −= lr·λ·p + lr/(1 − β₁ᵗ)·m/(√(v/(1 − β₂ᵗ)) + ε), \
                        m = β₁·m + (1 − β₁)·g, v = β₂·v + (1 − β₂)·g²";
    let model = trainer.model();
    let tape = &model.tape;
    let params = tape.params();
    let batch_bytes = 4 * batch as u64;
    let other = |pass, kind, name: &str, formula: &str, files, flops, bytes| Entry {
        op: None,
        pass,
        kind,
        name: name.to_string(),
        formula: formula.to_string(),
        files,
        inputs: Vec::new(),
        outputs: Vec::new(),
        flops,
        bytes,
        kept_bytes: 0,
        error: None,
        gradient_check: None,
    };
    let mut rows = Vec::new();
    let mut add = |entry: Entry, ms: f64| rows.push(entry.timed(ms, peak, &times.bandwidth));

    let files: &'static [&'static str] = &["experiments/src/batches.rs", "experiments/src/seed.rs"];
    let formula = "rows of the table of pairs, from the stream (seed, \"batch\", step)";
    add(other(Pass::Batch, "draw", "rows", formula, files, 0, batch_bytes), times.draw);
    let files: &'static [&'static str] = &["models/src/recorded.rs"];
    let formula =
        "index lists: at each position the row of its token in the table of unique rows; labels";
    // Each position's row in the whole table and in its own part of it; labels.
    let loaded = (2 * n_ctx(config) as u64 + 1) * batch_bytes;
    // The rows and, of each, a pair and its answer are read.
    let bytes = 4 * batch_bytes + loaded;
    add(
        Entry {
            kept_bytes: loaded,
            ..other(Pass::Batch, "load", "index lists", formula, files, 0, bytes)
        },
        times.load,
    );

    for (i, op) in tape.ops().enumerate() {
        add(forward_entry(tape, i, op, &checks.ops[i]), times.forward[i]);
    }
    let files: &'static [&'static str] = &["autograd/src/ops/cross_entropy.rs"];
    let formula = "Σ loss and Σ hit over the rows, in f64";
    let read = other(
        Pass::Loss,
        "sum",
        "loss, accuracy",
        formula,
        files,
        2 * batch as u64,
        2 * batch_bytes,
    );
    add(read, times.loss);
    for (i, op) in tape.ops().enumerate().collect::<Vec<_>>().into_iter().rev() {
        if checks.ops[i].gradient_error.is_some() {
            add(backward_entry(tape, i, op, &checks.ops[i]), times.backward[i]);
        }
    }
    let files: &'static [&'static str] = &["autograd/src/optim.rs", "kernels/src/adamw.rs"];
    let n = parameters as u64;
    // p, g, m, v are read; p, m, v written.
    let adamw =
        other(Pass::Optimiser, "adamw", "every parameter", step_formula, files, 16 * n, 28 * n);
    let shapes = matrices(tape, params);
    let adamw = Entry {
        inputs: shapes.clone(),
        outputs: shapes,
        kept_bytes: 16 * n,
        error: Some(checks.optimiser_error),
        ..adamw
    };
    add(adamw, times.optimiser);

    let hook = &config.spectral.at[0];
    let d = tape.find(hook).map_or(0, |x| tape.shape(x).1) as u64;
    let formula =
        "H̃ = −Σ p ln p / ln d, p = λ/Σλ, λ the eigenvalues of the covariance of the rows, in f64";
    let files: &'static [&'static str] = &[
        "experiments/src/observe/spectra.rs",
        "kernels/src/covariance.rs",
        "kernels/src/spectrum.rs",
        "kernels/src/tridiagonal.rs",
    ];
    // The covariance's upper triangle, and Householder's reflections.
    let flops = batch as u64 * d * (d + 1) + 4 * d * d * d / 3;
    let bytes = batch_bytes * d + 8 * d * d;
    let entropy = other(Pass::Observer, "entropy", hook, formula, files, flops, bytes);
    let entropy = Entry {
        inputs: vec![Matrix { name: hook.clone(), shape: [batch, d as usize] }],
        error: Some(checks.entropy_error),
        ..entropy
    };
    // An f64 lane takes the place of two f32 lanes.
    let on_top = entropy.timed(times.entropy, peak / 2.0, &times.bandwidth);

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
    // f64::max passes over a NaN, which is to be seen.
    let largest = |of: &dyn Fn(&OpCheck) -> f64| {
        checks.ops.iter().map(of).fold(0.0, |most, x| if x <= most { most } else { x })
    };
    let worst = Worst {
        value_error: largest(&|c| c.value_error),
        gradient_error: largest(&|c| c.gradient_error.unwrap_or(0.0)),
        gradient_check: largest(&|c| c.difference_error.unwrap_or(0.0)),
        optimiser_error: checks.optimiser_error,
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
        batch,
        parameters,
        machine,
        peak_gflops: peak,
        bandwidth: times.bandwidth.clone(),
        rows,
        on_top,
        totals,
        worst,
        tolerance: TOLERANCE,
        config: config.to_toml(),
    }
}
