//! The shapes that the kernels meet, read off the tapes of the presets' models.

use autograd::Tape;
use experiments::config::{Config, ModelConfig};
use experiments::presets;
use experiments::train::Trainer;
use kernels::activation::Act;
use kernels::attention;
use kernels::matmul::Dims;

/// A preset with its changes, as the command line reads them.
///
/// # Panics
/// If there is no such preset, or a change is not valid.
pub fn config(preset: &str, changes: &[(&str, &str)]) -> Config {
    let changes: Vec<_> = changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let text = presets::preset(preset).expect("a preset");
    Config::from_toml_with(text, preset, &changes).expect("a valid experiment")
}

/// The model that every peer trains: Nanda et al. 2023 at p = 97 with biases in the MLP.
pub fn nanda(batch: &str) -> Config {
    let changes = [
        ("task.p", "97"),
        ("task.train_fraction", "0.5"),
        ("optim.batch", batch),
        ("model.mlp_bias", "true"),
    ];
    config("nanda", &changes)
}

/// The workloads by name: full and small batches without norms and with ReLU, post-LayerNorm with
/// GELU, the MLP; post-LayerNorm with its representations mixed, and with noise in place of that.
pub fn workloads() -> Vec<(String, Config)> {
    let mut all: Vec<_> =
        ["512", "2822", "4704"].map(|batch| (format!("nanda-{batch}"), nanda(batch))).into();
    for preset in ["entropy-paper-add", "mlp"] {
        all.push((preset.to_string(), config(preset, &[])));
    }
    for (name, sham) in [("mixing", "false"), ("sham", "true")] {
        let changes = [("intervene.mixing.sham", sham)];
        all.push((name.to_string(), config("entropy-mixing", &changes)));
    }
    all
}

/// The workloads on sequences, by their presets' names.
pub fn sequences() -> Vec<(String, Config)> {
    ["collatz-1x1", "collatz-2x2"].map(|preset| (preset.to_string(), config(preset, &[]))).into()
}

/// An operation of a training step: its name and the shapes (rows, cols) that it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// As in the registry of ops.
    pub op: &'static str,
    /// What it reads.
    pub inputs: Vec<(usize, usize)>,
    /// What it writes, the results first, then what it keeps for the backward.
    pub outputs: Vec<(usize, usize)>,
}

/// Every operation recorded on a tape.
pub fn met(tape: &Tape) -> Vec<Met> {
    let shapes = |vars: Vec<autograd::Var>| vars.into_iter().map(|x| tape.shape(x)).collect();
    let met = |op: &dyn autograd::Op| Met {
        op: op.name(),
        inputs: shapes(op.inputs()),
        outputs: shapes(op.outputs()),
    };
    tape.ops().map(met).collect()
}

/// The distinct shapes that `shape` finds in the workloads' operations, in order of appearance.
pub fn distinct<T: PartialEq>(shape: impl Fn(&Config, &Met) -> Option<T>) -> Vec<T> {
    distinct_of(workloads(), shape)
}

/// As [`distinct`], of other workloads. Sequences have the shapes of their first batch.
pub fn distinct_of<T: PartialEq>(
    workloads: Vec<(String, Config)>,
    shape: impl Fn(&Config, &Met) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    for (_, config) in workloads {
        let mut trainer = Trainer::new(&config);
        trainer.draw(0);
        trainer.load();
        for met in met(&trainer.model().tape) {
            if let Some(shape) = shape(&config, &met).filter(|shape| !found.contains(shape)) {
                found.push(shape);
            }
        }
    }
    found
}

/// The probes of the workloads: the rows of a set, and the columns of the hook that is read first.
pub fn probes() -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (_, config) in workloads() {
        let trainer = Trainer::new(&config);
        let tape = &trainer.model().tape;
        let hook = tape.find(&config.spectral.at[0]).expect("the config's check knows the hooks");
        let probe = (config.spectral.probe, tape.shape(hook).1);
        if !found.contains(&probe) {
            found.push(probe);
        }
    }
    found
}

/// The products of the workloads; those of a single row (the query of "=") are left out.
pub fn products() -> Vec<Dims> {
    distinct(|_, met| match met.op {
        "linear" | "linear_act" => {
            let ((m, k), (_, n)) = (met.inputs[0], met.inputs[1]);
            (m > 1).then_some(Dims { m, k, n })
        }
        _ => None,
    })
}

/// The workload's activation.
pub fn act(config: &Config) -> Act {
    let act = match &config.model {
        ModelConfig::OneLayer(model) => model.act,
        ModelConfig::Mlp(model) => model.act,
        ModelConfig::EncoderDecoder(model) => model.act,
    };
    match act {
        models::config::Act::Relu => Act::Relu,
        models::config::Act::Gelu => Act::Gelu,
        models::config::Act::GeluTanh => Act::GeluTanh,
    }
}

/// The workloads' attentions, each with its number of examples.
pub fn attentions() -> Vec<(usize, attention::Shape)> {
    distinct(|config, met| {
        let ModelConfig::OneLayer(model) = &config.model else { return None };
        let (h, e, causal) = (model.n_heads, model.d_model / model.n_heads, model.causal);
        (met.op == "attention").then(|| {
            let (queries, keys) = (met.inputs[0].0, met.inputs[1].0);
            let tk = met.outputs[1].1;
            let examples = keys / tk;
            (examples, attention::Shape { tq: queries / examples, tk, h, e, causal })
        })
    })
}
