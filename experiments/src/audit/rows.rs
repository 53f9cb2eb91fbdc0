//! What a step consists of, row by row: the batch, every op forwards, the loss, every op backwards, AdamW.

use super::check::Checks;
use super::measure::{Bandwidth, Times, of_size};
use crate::config::{Config, ModelConfig};
use crate::data::Examples;
use crate::observe::spectra;
use crate::train::Trainer;
use autograd::gradcheck::{OpCheck, relative};
use autograd::{Op, Rows, Tape, Var};
use serde::Serialize;

/// One thing that a step does.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The number of the op on the tape; null for what is not one.
    pub op: Option<usize>,
    pub pass: Pass,
    pub kind: String,
    /// The result's name.
    pub name: String,
    pub formula: String,
    pub files: Vec<String>,
    pub inputs: Vec<Matrix>,
    pub outputs: Vec<Matrix>,
    pub flops: u64,
    pub bytes: u64,
    /// The mean over the quietest quarter of the repeats.
    pub ms: f64,
    pub gflops: f64,
    /// No less time than this: the larger of flops / peak and bytes / bandwidth.
    pub floor_ms: f64,
    /// floor_ms / ms.
    pub roof_share: f64,
    /// What is held until the step is over: results and what the backward needs; of a backward the
    /// gradients of the results; of AdamW parameters, gradients, moments.
    pub kept_bytes: u64,
    /// Against the f64 reference; null where nothing is rounded.
    pub error: Option<f64>,
    /// Of a backward, against central differences.
    pub gradient_check: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    Batch,
    Forward,
    Loss,
    Backward,
    Optimiser,
    Observer,
}

#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    pub name: String,
    pub shape: [usize; 2],
}

impl Row {
    /// A row that is no op's, before it is timed.
    fn other(pass: Pass, kind: &str, name: &str, formula: &str, files: &[&str]) -> Row {
        Row {
            op: None,
            pass,
            kind: kind.to_string(),
            name: name.to_string(),
            formula: formula.to_string(),
            files: files.iter().map(|file| file.to_string()).collect(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            flops: 0,
            bytes: 0,
            ms: 0.0,
            gflops: 0.0,
            floor_ms: 0.0,
            roof_share: 0.0,
            kept_bytes: 0,
            error: None,
            gradient_check: None,
        }
    }

    fn forward(tape: &Tape, i: usize, op: &dyn Op, check: &OpCheck) -> Row {
        let outputs = op.outputs();
        let [formula, _] = op.formula();
        Row {
            op: Some(i),
            inputs: matrices(tape, &op.inputs()),
            outputs: matrices(tape, &outputs),
            flops: op.flops(tape.store()).0,
            bytes: op.bytes(tape.store()).0,
            kept_bytes: tape.store().bytes(&outputs),
            error: Some(check.value_error),
            ..Row::other(Pass::Forward, op.name(), &tape.label(outputs[0]), &formula, op.files())
        }
    }

    /// Inputs and outputs are those of the forward: the gradients have their shapes.
    fn backward(tape: &Tape, i: usize, op: &dyn Op, check: &OpCheck) -> Row {
        let [_, formula] = op.formula();
        let grads = op.outputs().into_iter().map(|y| 4 * tape.grad(y).len() as u64);
        Row {
            pass: Pass::Backward,
            formula,
            flops: op.flops(tape.store()).1,
            bytes: op.bytes(tape.store()).1,
            kept_bytes: grads.sum(),
            error: check.gradient_error,
            gradient_check: check.difference_error,
            ..Row::forward(tape, i, op, check)
        }
    }

    /// With its time; `peak` in GFLOP/s.
    fn timed(self, ms: f64, peak: f64, bandwidth: &[Bandwidth]) -> Row {
        let compute = self.flops as f64 / peak / 1e6;
        let memory = self.bytes as f64 / of_size(bandwidth, self.bytes) / 1e6;
        let floor_ms = compute.max(memory);
        let gflops = self.flops as f64 / ms / 1e6;
        Row { ms, gflops, floor_ms, roof_share: floor_ms / ms, ..self }
    }
}

fn matrices(tape: &Tape, values: &[Var]) -> Vec<Matrix> {
    let matrix = |&x: &Var| Matrix { name: tape.label(x), shape: tape.shape(x).into() };
    values.iter().map(matrix).collect()
}

/// Length of the input of a model of pairs; 0 of any other.
pub fn n_ctx(config: &Config) -> usize {
    match &config.model {
        ModelConfig::OneLayer(model) => model.tokens.n_ctx(),
        ModelConfig::Mlp(model) => model.tokens.n_ctx(),
        ModelConfig::EncoderDecoder(_) => 0,
    }
}

/// Bytes of the index lists that loading a batch of sequences writes.
fn packed_lists(tape: &Tape) -> u64 {
    let mut lists = Vec::new();
    for list in tape.ops().filter_map(|op| op.index()) {
        if matches!(tape.index_rows(list), Rows::Packed(..)) && !lists.contains(&list) {
            lists.push(list);
        }
    }
    lists.iter().map(|&list| 4 * tape.entries(list).len() as u64).sum()
}

/// Every row of the step itself, in the order of computation.
pub fn step(config: &Config, trainer: &Trainer, checks: &Checks, times: &Times) -> Vec<Row> {
    let tape = &trainer.model().tape;
    let batch = trainer.batch() as u64;
    let mut rows = Vec::new();
    let mut add = |row: Row, ms: f64| rows.push(row.timed(ms, times.peak_gflops, &times.bandwidth));

    let draw = Row::other(
        Pass::Batch,
        "draw",
        "rows",
        "row numbers of the table of examples, from the stream (seed, \"batch\", step)",
        &["experiments/src/batches.rs", "experiments/src/seed.rs"],
    );
    add(Row { bytes: 4 * batch, kept_bytes: 4 * batch, ..draw }, times.draw);
    let labels = tape.shape(trainer.model().logits).0 as u64;
    let (formula, file, lists, read) = match &trainer.data().examples {
        Examples::Pairs(_) => (
            "for each position the row of its token, in the table of unique rows and in its position's part; labels",
            "models/src/recorded.rs",
            4 * batch * (2 * n_ctx(config) as u64 + 1),
            16 * batch, // the row number, and of that row the pair and the answer
        ),
        Examples::Sequences(_, pairs) => {
            let tokens = |&row: &u32| pairs.source.row(row).len() + pairs.target.row(row).len();
            let tokens: usize = trainer.rows().iter().map(tokens).sum();
            (
                "for each token its row in the table of unique rows, and which rows it attends to; labels",
                "models/src/sequences.rs",
                packed_lists(tape),
                20 * batch + 4 * tokens as u64, // the row number, of both sequences the ends and the tokens
            )
        }
    };
    let load = Row::other(Pass::Batch, "load", "index lists", formula, &[file]);
    add(Row { bytes: read + lists, kept_bytes: lists, ..load }, times.load);
    if let Some(mixing) = trainer.interventions().mixing().filter(|m| m.is_recorded()) {
        let mut files = vec![
            "experiments/src/intervene/mixing.rs",
            "experiments/src/intervene/derangement.rs",
            "experiments/src/seed.rs",
        ];
        let (mut formula, mut bytes) = (
            "π: a uniformly random derangement of the batch, from the stream (seed, \"derangement\", step)"
                .to_string(),
            4 * batch,
        );
        let noise = tape.find("intervene.noise").map(|u| tape.value(u).len() as u64);
        if let Some(values) = noise {
            formula += "; u: standard normal rows at length 1, from (seed, \"sham\", step)";
            files.push("kernels/src/norm.rs");
            bytes += 4 * values;
        }
        let draw = Row::other(Pass::Batch, "draw", mixing.site(), &formula, &files);
        // Of the noise: squares, their sum, the scaling.
        let flops = 3 * noise.unwrap_or(0);
        add(Row { flops, bytes, kept_bytes: bytes, ..draw }, times.disturb);
    }

    let ops: Vec<(usize, &dyn Op)> = tape.ops().enumerate().collect();
    for &(i, op) in &ops {
        add(Row::forward(tape, i, op, &checks.ops[i]), times.forward[i]);
    }
    let loss = Row::other(
        Pass::Loss,
        "sum",
        "loss, accuracy",
        "Σ loss and Σ hit over the rows, in f64",
        &["autograd/src/ops/cross_entropy.rs"],
    );
    add(Row { flops: 2 * labels, bytes: 8 * labels, ..loss }, times.loss);
    for &(i, op) in ops.iter().rev() {
        if checks.ops[i].gradient_error.is_some() {
            add(Row::backward(tape, i, op, &checks.ops[i]), times.backward[i]);
        }
    }
    let clip = config.optim.clip;
    let clipping =
        clip.map_or(String::new(), |clip| format!("g = g·min(1, {clip}/(‖g‖ + 10⁻⁶)), "));
    let adamw = Row::other(
        Pass::Optimiser,
        "adamw",
        "every parameter",
        &(clipping
            + "m = β₁·m + (1 − β₁)·g, v = β₂·v + (1 − β₂)·g², \
               p = p·(1 − lr·λ) − lr/(1 − β₁ᵗ)·m/(√v/√(1 − β₂ᵗ) + ε)"),
        &["autograd/src/optim.rs", "kernels/src/adamw.rs"],
    );
    let n = trainer.model().parameter_count() as u64;
    // Clipping reads each gradient once more for the norm.
    let (clip_flops, clip_bytes) = if clip.is_some() { (2 * n, 4 * n) } else { (0, 0) };
    let params = matrices(tape, tape.params());
    let adamw = Row {
        inputs: params.clone(),
        outputs: params,
        flops: 16 * n + clip_flops,
        bytes: 28 * n + clip_bytes, // p, g, m, v are read; p, m, v written
        kept_bytes: 16 * n,
        error: Some(checks.optimiser_error),
        ..adamw
    };
    add(adamw, times.optimiser);
    if let Some((target, reached)) = checks.norm {
        let rescale = Row::other(
            Pass::Optimiser,
            "rescale",
            "every parameter",
            &format!("p = p·(‖baseline‖/‖p‖), ‖baseline‖ = {target:.6} after this step"),
            &["experiments/src/intervene/norm.rs", "kernels/src/norm.rs"],
        );
        let params = matrices(tape, tape.params());
        let rescale = Row {
            inputs: params.clone(),
            outputs: params,
            flops: 3 * n,
            bytes: 8 * n,
            error: Some(relative([(reached, target)].into_iter())),
            ..rescale
        };
        add(rescale, times.rescale);
    }
    rows
}

/// H̃ of the batch, which a step takes on top.
pub fn entropy(config: &Config, trainer: &Trainer, checks: &Checks, times: &Times) -> Row {
    let tape = &trainer.model().tape;
    let hook = &config.spectral.at[0];
    let var = tape.find(hook).expect("the config's check knows the hooks");
    let (count, d) = (spectra::rows(tape, var).count(), tape.shape(var).1);
    let row = Row::other(
        Pass::Observer,
        "entropy",
        hook,
        "H̃ = −Σ p ln p / ln d, p = λ/Σλ, λ the eigenvalues of the covariance of the rows, in f64",
        &[
            "experiments/src/observe/spectra.rs",
            "kernels/src/covariance.rs",
            "kernels/src/spectrum.rs",
            "kernels/src/tridiagonal.rs",
        ],
    );
    let (n, m) = (count as u64, d as u64);
    let row = Row {
        inputs: vec![Matrix { name: hook.clone(), shape: [count, d] }],
        outputs: vec![Matrix { name: "H̃".to_string(), shape: [1, 1] }],
        // The covariance's upper triangle, and Householder's reflections.
        flops: n * m * (m + 1) + 4 * m * m * m / 3,
        bytes: 4 * n * m + 8 * m * m,
        error: Some(checks.entropy_error),
        ..row
    };
    // An f64 lane takes the place of two f32 lanes.
    row.timed(times.entropy, times.peak_gflops / 2.0, &times.bandwidth)
}
