//! What linear probes read off an encoder, what the model does without what they read, and where the decoder
//! looks: the `[probe]` section.
//!
//! ```text
//! probe/<hook>/<target>      share of held-out rows that a probe on this hook gets right, tokens pooled
//! probe/majority/<target>    the same without features: the label that most fitted rows have
//! erase/none                 share of the rows whose target the model writes exactly
//! erase/<target>             the same with the target's directions taken out of every token that the decoder
//!                            reads (erasure.rs): those of the probe on the encoder's output
//! erase/random/<target>      the mean over five draws of as many random directions, drawn as the pooled
//!                            output varies
//! attention/<block>/<head>/last    share of the first query's cross-attention, BOS's, on the last source
//!                                  token: the mean over the rows
//! ```
//! The rows are test examples. Where a model is fitted to them, it is a probe and no part of the run.
//!
//! **Controls.** An untrained encoder is the reading of step 0: the same rows, split and targets on the weights
//! as they are drawn. The input's embedding alone is the hook `encoder.blocks.0.hook_resid_pre`. A probe that
//! says more than these has read something that was learnt.
//!
//! Examples go through the model once, whatever is asked of them; a hook's pooled features are standardised
//! once for all targets but bits, which have other rows for each given value; and the probe that is tested on
//! the encoder's output is the one whose directions are erased. With teacher forcing one pass of the decoder
//! tells whether a target would be written (`Recorded::exact`).

use super::erasure::Erasure;
use super::evaluate::copy_params;
use super::probe::{Split, majority};
use crate::config::probe::{Pool, ProbeConfig, Target};
use crate::config::{Config, ModelConfig, TaskConfig};
use crate::data::{Data, Examples, Model, record};
use crate::seed::Seed;
use crate::tasks::collatz;
use autograd::{Tape, Var};
use models::{Positions, Purpose, Recorded, SequenceInputs, SequencePairs, decoder_of_memory};
use std::collections::BTreeMap;

/// Examples at once.
const CHUNK: usize = 512;
/// Draws of random directions.
const DRAWS: u64 = 5;

/// Forward-only copies of the model, whole and without its encoder, and what is read off them.
#[derive(Debug)]
pub struct Probes {
    config: ProbeConfig,
    base: u32, // of what the encoder reads
    seed: Seed,
    model: Model,
    hooks: Vec<Hook>, // those of the config, then the encoder's output if it is none of them
    output: usize,    // which of them that is
    heads: usize,
    patterns: Vec<(String, Var)>, // a block of the decoder and its cross-attention, (t, heads·keys)
    memory: Var,                  // (s, d)
    decoder: Recorded<SequenceInputs>,
}

/// An activation over source tokens: (s, dim).
#[derive(Debug)]
struct Hook {
    var: Var,
    dim: usize,
    features: Vec<f32>, // (rows, dim): pooled, of the last reading
}

impl Probes {
    /// What the config asks for, if it asks for anything.
    ///
    /// # Panics
    /// If the config has not passed `Config::validate`.
    pub fn new(config: &Config) -> Option<Probes> {
        let probe = config.probe.clone()?;
        let (ModelConfig::EncoderDecoder(model_config), Some(shape), TaskConfig::Collatz(task)) =
            (&config.model, config.task.shape(), &config.task)
        else {
            panic!("a probe of what does not read one number");
        };
        let capacity = probe.rows.min(CHUNK);
        let purpose = Purpose { capacity, training: false, positions: Positions::Last };
        let model = record(config, purpose, None);
        let decoder = decoder_of_memory(model_config, shape, capacity, false, None);
        let tape = &model.tape;
        let find = |name: &str| tape.find(name).unwrap_or_else(|| panic!("no hook {name}"));
        let memory = find("encoder.hook_out");
        let mut vars: Vec<Var> = probe.at.iter().map(|name| find(name)).collect();
        let output = vars.iter().position(|&var| var == memory).unwrap_or(vars.len());
        if output == vars.len() && !probe.erase.is_empty() {
            vars.push(memory);
        }
        let hook = |&var: &Var| Hook { var, dim: tape.shape(var).1, features: Vec::new() };
        let hooks = vars.iter().map(hook).collect();
        let blocks = (0..model_config.decoder_layers).map(|l| format!("decoder.blocks.{l}"));
        let pattern = |block: String| {
            let var = find(&format!("{block}.cross_attn.hook_pattern"));
            (block, var)
        };
        let patterns = blocks.map(pattern).collect();
        Some(Probes {
            base: task.numerals()[0].base(),
            seed: Seed(config.seed),
            hooks,
            output,
            heads: model_config.n_heads,
            patterns,
            memory,
            decoder,
            config: probe,
            model,
        })
    }

    /// Whether there is a reading at a step with an evaluation that is not the last.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.config.every)
    }

    /// Every reading of the trained tape, as (key, value).
    ///
    /// # Errors
    /// A sentence, if an activation is not finite or a probe cannot be fitted.
    ///
    /// # Panics
    /// If the data is of another task.
    pub fn read(&mut self, trained: &Tape, data: &Data) -> Result<Vec<(String, f64)>, String> {
        let Examples::Sequences(_, pairs) = &data.examples else { panic!("a task of pairs") };
        let rows = &data.split.test[..self.config.rows];
        let mut log = Vec::new();
        copy_params(&mut self.model.tape, trained, data);
        let (exact, memory) = self.activations(data, pairs, rows, &mut log);
        let erasures = self.probe(rows, &mut log)?;
        log.push(("erase/none".to_owned(), exact as f64 / rows.len() as f64));
        if !erasures.is_empty() {
            let copied = self.decoder.tape.copy_common_params_from(trained);
            assert_eq!(copied, self.decoder.params().len(), "tapes of different models");
            self.erase(&erasures, pairs, rows, &memory, &mut log);
        }
        Ok(log)
    }

    /// Takes the features of every hook from one pass, and logs where the decoder looks. Returns how many
    /// targets are written exactly, and the encoder's output, (source tokens of `rows`, d).
    fn activations(
        &mut self,
        data: &Data,
        pairs: &SequencePairs,
        rows: &[u32],
        log: &mut Vec<(String, f64)>,
    ) -> (usize, Vec<f32>) {
        self.hooks.iter_mut().for_each(|hook| hook.features.clear());
        let (mut exact, mut memory) = (0, Vec::new());
        let mut last = vec![0.0; self.patterns.len() * self.heads];
        for rows in rows.chunks(CHUNK) {
            data.load(&mut self.model, rows);
            self.model.tape.forward();
            exact += self.model.exact(rows, pairs).filter(|&exact| exact).count();
            let tape = &self.model.tape;
            if !self.config.erase.is_empty() {
                memory.extend_from_slice(tape.value(self.memory));
            }
            for Hook { var, dim, features } in &mut self.hooks {
                let mut rest = tape.value(*var);
                for &row in rows {
                    let (tokens, after) = rest.split_at(pairs.source.row(row).len() * *dim);
                    pool(self.config.pool, tokens, *dim, features);
                    rest = after;
                }
            }
            for ((_, var), last) in self.patterns.iter().zip(last.chunks_exact_mut(self.heads)) {
                let columns = tape.shape(*var).1;
                let mut rest = tape.value(*var);
                for &row in rows {
                    let (queries, after) = rest.split_at(pairs.target.row(row).len() * columns);
                    let heads = queries[..columns].chunks_exact(columns / self.heads);
                    let key = pairs.source.row(row).len() - 1;
                    last.iter_mut().zip(heads).for_each(|(sum, p)| *sum += f64::from(p[key]));
                    rest = after;
                }
            }
        }
        for ((block, _), last) in self.patterns.iter().zip(last.chunks_exact(self.heads)) {
            for (head, sum) in last.iter().enumerate() {
                log.push((format!("attention/{block}/{head}/last"), sum / rows.len() as f64));
            }
        }
        (exact, memory)
    }

    /// Fits and tests every probe. Returns what is to be erased.
    fn probe(
        &self,
        rows: &[u32],
        log: &mut Vec<(String, f64)>,
    ) -> Result<Vec<(Target, Erasure)>, String> {
        let number = |row: &u32| collatz::number(*row as usize);
        let labels = |target: &Target| -> Vec<u32> {
            rows.iter().map(|row| target.label(number(row), self.base)).collect()
        };
        let given = |target: &Target| -> Vec<u32> {
            rows.iter().map(|row| target.given(number(row))).collect()
        };
        let share = |share: crate::stats::Share| share.value().expect("a fifth is held out");
        let mut erasures = Vec::new();
        for (i, Hook { dim, features, .. }) in self.hooks.iter().enumerate() {
            let name = self.config.at.get(i);
            let nothing = vec![0; rows.len()];
            let split = Split::new(features, *dim, &nothing, self.seed)
                .map_err(|e| format!("{}: {e}", name.map_or("encoder.hook_out", |name| name)))?;
            for target in &self.config.targets {
                let erased = i == self.output && self.config.erase.contains(target);
                if name.is_none() && !erased {
                    continue;
                }
                let (hits, probes) = match target {
                    Target::Bit(_) => Split::new(features, *dim, &given(target), self.seed)?
                        .probe(&labels(target)),
                    _ => split.probe(&labels(target)),
                }?;
                log.extend(name.map(|name| (format!("probe/{name}/{target}"), share(hits))));
                if erased {
                    erasures.push((*target, Erasure::of(&probes[0])));
                }
            }
        }
        for target in &self.config.targets {
            let hits = majority(&labels(target), &given(target), self.seed);
            log.push((format!("probe/majority/{target}"), share(hits)));
        }
        Ok(erasures)
    }

    /// Runs the decoder without what is erased, and without as many random directions.
    fn erase(
        &mut self,
        erasures: &[(Target, Erasure)],
        pairs: &SequencePairs,
        rows: &[u32],
        memory: &[f32],
        log: &mut Vec<(String, f64)>,
    ) {
        let share = |exact: usize| exact as f64 / rows.len() as f64;
        let mut random = BTreeMap::new(); // by the number of directions
        for (target, erasure) in erasures {
            let exact = self.exact_without(erasure, pairs, rows, memory);
            log.push((format!("erase/{target}"), share(exact)));
            let k = erasure.rank();
            let of_random = *random.entry(k).or_insert_with(|| {
                let exact = (0..DRAWS).map(|draw| {
                    let rng = &mut self.seed.stream("probe/erase", draw);
                    let states = &self.hooks[self.output].features;
                    let erasure = Erasure::random(k, erasure.mean(), states, rng);
                    self.exact_without(&erasure, pairs, rows, memory)
                });
                share(exact.sum()) / DRAWS as f64
            });
            log.push((format!("erase/random/{target}"), of_random));
        }
    }

    /// How many targets the decoder writes exactly when it reads `memory` without these directions.
    fn exact_without(
        &mut self,
        erasure: &Erasure,
        pairs: &SequencePairs,
        rows: &[u32],
        memory: &[f32],
    ) -> usize {
        let var = self.decoder.memory().expect("a decoder of a memory");
        let (mut exact, mut rest) = (0, memory);
        for rows in rows.chunks(CHUNK) {
            self.decoder.load(rows, pairs);
            let to = self.decoder.tape.value_mut(var);
            let (here, after) = rest.split_at(to.len());
            erasure.apply(here, to);
            rest = after;
            self.decoder.tape.forward();
            exact += self.decoder.exact(rows, pairs).filter(|&exact| exact).count();
        }
        exact
    }
}

/// Appends the features of an example whose tokens are (tokens, dim). Sums are float64.
fn pool(pool: Pool, tokens: &[f32], dim: usize, to: &mut Vec<f32>) {
    match pool {
        Pool::First => to.extend_from_slice(&tokens[..dim]),
        Pool::Last => to.extend_from_slice(&tokens[tokens.len() - dim..]),
        Pool::Mean => {
            let count = (tokens.len() / dim) as f64;
            let sum =
                |i: usize| tokens[i..].iter().step_by(dim).map(|&x| f64::from(x)).sum::<f64>();
            to.extend((0..dim).map(|i| (sum(i) / count) as f32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;
    use crate::presets::preset;
    use crate::train::Trainer;

    #[test]
    fn digits_are_those_that_the_encoder_reads() {
        for (changes, expected) in [
            (&[("task.base", "24")][..], 24),
            (&[("task.base", "24"), ("task.source_base", "2")], 2),
            (&[("task.base", "2"), ("task.source_base", "24")], 24),
        ] {
            let probe = [
                ("probe.every", "100"),
                ("probe.rows", "50"),
                ("probe.pool", "mean"),
                ("probe.at", "[\"encoder.ln_final.hook_out\"]"),
                ("probe.targets", "[\"digits\"]"),
                ("probe.erase", "[]"),
                ("eval.every", "100"),
            ];
            let changes: Vec<_> =
                probe.iter().chain(changes).map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let config = preset("collatz-smoke").unwrap();
            let config = Config::from_toml_with(config, "t", &changes).unwrap();
            assert_eq!(Probes::new(&config).unwrap().base, expected, "{changes:?}");
        }
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -p plateau --lib -- --ignored --nocapture how_long_a_reading"]
    fn how_long_a_reading_takes() {
        const ALL: [&str; 9] =
            ["mod2", "mod4", "mod8", "mod16", "bit2", "bit3", "bit4", "digits", "log2"];
        let config = |targets: &[&str], erase: &[&str]| {
            let at = "[\"encoder.ln_final.hook_out\", \"encoder.blocks.0.hook_resid_pre\"]";
            let [targets, erase] = [targets, erase].map(|words| format!("{words:?}"));
            let changes = [
                ("probe.every", "500"),
                ("probe.rows", "2000"),
                ("probe.pool", "mean"),
                ("probe.at", at),
                ("probe.targets", &targets),
                ("probe.erase", &erase),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
            Config::from_toml_with(preset("collatz-1x1").unwrap(), "t", &changes).unwrap()
        };
        let measure = |trainer: &Trainer, targets: &[&str], erase: &[&str]| {
            let mut probes = Probes::new(&config(targets, erase)).unwrap();
            let begun = std::time::Instant::now();
            probes.read(&trainer.model().tape, trainer.data()).unwrap();
            begun.elapsed().as_secs_f64()
        };
        pool::install(1, || {
            let mut trainer = Trainer::new(&config(&ALL, &[]));
            let mut begin = 0;
            for end in [0, 100, 500, 1000] {
                for step in begin..end {
                    trainer.forward(step).unwrap();
                    trainer.update(step).unwrap();
                }
                begin = end;
                let one = measure(&trainer, &["mod2"], &[]);
                println!("step {end}: the model's pass and mod2 {one:.3} s");
                for target in &ALL[1..] {
                    let both = measure(&trainer, &["mod2", target], &[]);
                    println!("    {target} on two hooks: {:.3} s", both - one);
                }
                let [none, some] = [&[][..], &["mod2", "log2"]].map(|e| measure(&trainer, &ALL, e));
                println!("    everything: {some:.3} s, of which erasing {:.3} s", some - none);
            }
        })
        .unwrap();
    }
}
