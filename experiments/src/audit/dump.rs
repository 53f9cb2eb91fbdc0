//! One training step as one safetensors file, for anyone who wants to compute it again.
//!
//! ```text
//! rows, tokens, labels           (b), (b, n_ctx), (b), u32: the batch of a task of pairs
//! rows, source, target, labels   (b), (s), (t), (t), u32: the batch of a task of sequences, packed: what the
//!                                encoder reads, what the decoder reads (BOS first), what it is to answer
//! source.lengths, target.lengths (b), (b), u32: tokens of each example
//! index/<result>                 the index list of the op that writes <result>, u32
//! intervene.noise, encoder.pos_embed.W_pos, encoder.hook_out
//!                                what an op reads that no op has written: an intervention's noise,
//!                                sinusoids, a frozen encoder's outputs
//! <parameter>                    before the update; in TransformerLens's axes, as in checkpoints
//! <activation>                   (rows, cols); unnamed ones as op07.gather, op07.layer_norm.stats
//! grad/<name>                    the loss's gradient of a parameter or activation; none of what is frozen
//! adam_m/<parameter>, adam_v/…   the moments before the update
//! after/<…>                      parameter and moments after it
//! metadata "plateau"             JSON: config, step, optimiser, parameters, ops, aliases (further names of
//!                                values that the ops call otherwise), norm (what the parameters were
//!                                rescaled to after the update, or null)
//! ```

use crate::config::Config;
use crate::data::Examples;
use crate::run::{RunError, write_whole};
use crate::train::Trainer;
use autograd::Tape;
use models::Param;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The tensors of a step, by name.
pub struct Dump {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    about: Value,
}

impl Dump {
    /// What is there before the update: after a whole backward.
    pub fn before(trainer: &mut Trainer, config: &Config, step: u64) -> Dump {
        let mut dump = Dump { tensors: BTreeMap::new(), about: Value::Null };
        dump.batch(trainer, config);

        let (model, optimiser) = trainer.parts();
        let tape = &model.tape;
        for (param, slot) in model.params().iter().zip(optimiser.slots()) {
            let name = &param.name;
            dump.param(name.clone(), param, tape.value(param.var));
            if tape.has_grad(param.var) {
                dump.param(format!("grad/{name}"), param, tape.grad(param.var));
            }
            dump.param(format!("adam_m/{name}"), param, &slot.m);
            dump.param(format!("adam_v/{name}"), param, &slot.v);
        }
        let mut aliases = BTreeMap::new();
        for op in tape.ops() {
            let outputs = op.outputs();
            for x in op.inputs() {
                // All others are parameters or results of ops before.
                let (name, (rows, cols)) = (tape.label(x), tape.shape(x));
                if !dump.tensors.contains_key(&name) {
                    dump.real(name, vec![rows, cols], tape.value(x));
                }
            }
            if let Some(index) = op.index() {
                let list = tape.store().entries(index);
                dump.whole(&format!("index/{}", tape.label(outputs[0])), vec![list.len()], list);
            }
            for y in outputs {
                let (rows, cols) = tape.shape(y);
                let names = tape.all_names(y).to_vec();
                let names = if names.is_empty() { vec![tape.label(y)] } else { names };
                for name in names {
                    if name != tape.label(y) {
                        aliases.insert(name.clone(), tape.label(y));
                    }
                    if tape.has_grad(y) {
                        dump.real(format!("grad/{name}"), vec![rows, cols], tape.grad(y));
                    }
                    dump.real(name, vec![rows, cols], tape.value(y));
                }
            }
        }
        let o = optimiser.config();
        let decayed = optimiser.slots().iter().filter(|slot| slot.weight_decay != 0.0);
        dump.about = json!({
            "config": config,
            "step": step,
            "optimiser": {
                "t": step + 1,
                "lr": o.lr_at(step),
                "betas": [o.betas.0, o.betas.1],
                "eps": o.eps,
                "weight_decay": o.weight_decay,
                "decayed": decayed.map(|slot| tape.name(slot.param)).collect::<Vec<_>>(),
            },
            "parameters": model.params().iter().map(|p| &p.name).collect::<Vec<_>>(),
            "ops": ops(tape),
            "aliases": aliases,
        });
        dump
    }

    /// The drawn rows, and what of them a model reads and should answer.
    fn batch(&mut self, trainer: &Trainer, config: &Config) {
        let (rows, b) = (trainer.rows(), trainer.rows().len());
        self.whole("rows", vec![b], rows);
        match &trainer.data().examples {
            Examples::Pairs(task) => {
                let equals =
                    (super::rows::n_ctx(config) == 3).then(|| config.task.symbols() as u32);
                let pairs = rows.iter().map(|&row| &task.pairs[row as usize]);
                let tokens: Vec<u32> =
                    pairs.flat_map(|ab| ab.iter().copied().chain(equals)).collect();
                let labels: Vec<u32> = rows.iter().map(|&row| task.labels[row as usize]).collect();
                self.whole("tokens", vec![b, tokens.len() / b], &tokens);
                self.whole("labels", vec![b], &labels);
            }
            Examples::Sequences(_, pairs) => {
                let bos = std::slice::from_ref(&pairs.bos);
                let source = rows.iter().map(|&row| pairs.source.row(row)).collect::<Vec<_>>();
                let labels = rows.iter().map(|&row| pairs.target.row(row)).collect::<Vec<_>>();
                let read = labels.iter().map(|row| [bos, &row[..row.len() - 1]].concat());
                let lengths = |of: &[&[u32]]| of.iter().map(|row| row.len() as u32).collect();
                let lengths: [Vec<u32>; 2] = [lengths(&source), lengths(&labels)];
                let (source, labels) = (source.concat(), labels.concat());
                self.whole("source", vec![source.len()], &source);
                self.whole("target", vec![labels.len()], &read.collect::<Vec<_>>().concat());
                self.whole("labels", vec![labels.len()], &labels);
                self.whole("source.lengths", vec![b], &lengths[0]);
                self.whole("target.lengths", vec![b], &lengths[1]);
            }
        }
    }

    /// What the update has made of parameters and moments, and the norm that they were given.
    pub fn after(&mut self, trainer: &mut Trainer, norm: Option<f64>) {
        self.about["norm"] = norm.into();
        let (model, optimiser) = trainer.parts();
        for (param, slot) in model.params().iter().zip(optimiser.slots()) {
            let name = &param.name;
            self.param(format!("after/{name}"), param, model.tape.value(param.var));
            self.param(format!("after/adam_m/{name}"), param, &slot.m);
            self.param(format!("after/adam_v/{name}"), param, &slot.v);
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor fits its shape"))
        });
        let broken = |e: safetensors::SafeTensorError| RunError::content(path, e.to_string());
        let metadata = HashMap::from([("plateau".to_string(), self.about.to_string())]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
        write_whole(path, &file)
    }

    fn real(&mut self, name: String, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.insert(name, (Dtype::F32, shape, bytes));
    }

    fn whole(&mut self, name: &str, shape: Vec<usize>, values: &[u32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.insert(name.to_string(), (Dtype::U32, shape, bytes));
    }

    fn param(&mut self, name: String, param: &Param, tape_order: &[f32]) {
        self.real(name, param.shape.clone(), &param.export(tape_order));
    }
}

/// Every op: what it reads, what it writes, its formulas.
fn ops(tape: &Tape) -> Vec<Value> {
    let labels = |values: Vec<autograd::Var>| -> Vec<String> {
        values.into_iter().map(|x| tape.label(x)).collect()
    };
    let op = |op: &dyn autograd::Op| {
        let [forward, backward] = op.formula();
        let outputs = labels(op.outputs());
        json!({
            "op": op.name(),
            "inputs": labels(op.inputs()),
            "index": op.index().map(|_| format!("index/{}", outputs[0])),
            "outputs": outputs,
            "forward": forward,
            "backward": backward,
        })
    };
    tape.ops().map(op).collect()
}
