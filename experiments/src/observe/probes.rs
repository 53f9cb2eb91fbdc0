//! What an encoder knows about the number that it reads, and whether the decoder uses it.
//!
//! ```text
//! probe/<hook>/<target>       held-out accuracy of a linear probe (probe.rs) on the hook's rows, pooled per example
//! probe/majority/<target>     the same without features
//! erase/none                  share of the probed examples that are written exactly
//! erase/<target>              the same where every token's encoder output h is h − U·Uᵀ·(h − μ): U an orthonormal basis
//!                             of the directions that a probe of the pooled output reads, μ the mean of what it was fitted to
//! erase/random/<target>       the same with as many random directions, the mean of five draws
//! attention/<block>/<head>/last   share of what the query at BOS sees in the source that is its last token, the mean
//! ```
//! The reading at step 0 is the untrained encoder's, and that of `encoder.blocks.0.hook_resid_pre` the input's
//! embedding alone: the controls without which a probe says little. In base 8, n mod 2, 4 and 8 stand in the last
//! digit. Examples are the first of the test set, in the split's order.

use super::evaluate::copy_params;
use super::probe::{Probe, Target, fitted, majority, orthonormal};
use crate::config::probe::{Pool, ProbeConfig};
use crate::config::{Config, ModelConfig};
use crate::data::{Data, Examples, Model, record};
use crate::seed::Seed;
use crate::tasks::collatz::number;
use autograd::{Tape, Var};
use models::{Positions, Purpose, Recorded, SequenceInputs, SequencePairs, decoder_of_memory};
use rand_distr::{Distribution, StandardNormal};

/// Draws of random directions.
const DRAWS: u64 = 5;

/// The observer of one run.
#[derive(Debug)]
pub struct Probes {
    config: ProbeConfig,
    seed: Seed,
    model: Model,
    decoder: Recorded<SequenceInputs>,
    memory: Var,                  // on the model's tape
    patterns: Vec<(String, Var)>, // of each block's cross-attention, on the model's tape
    heads: usize,
    chunk: usize,
}

/// What a forward pass over all probed examples leaves behind.
struct Seen {
    pooled: Vec<Vec<f32>>, // of each hook: (rows, d)
    memory: Vec<Vec<f32>>, // of each chunk: (source tokens, d)
    pooled_memory: Vec<f32>,
    exact: usize,
    last: Vec<f64>, // the sum over rows, of each block and head
}

impl Probes {
    /// Those of a config that asks for them.
    pub fn new(config: &Config) -> Option<Probes> {
        let probe = config.probe.clone()?;
        let ModelConfig::EncoderDecoder(c) = &config.model else { return None };
        let chunk = config.spectral.probe;
        let purpose = Purpose { capacity: chunk, training: false, positions: Positions::Last };
        let model = record(config, purpose, None);
        let decoder = decoder_of_memory(c, config.task.shape()?, chunk, false, None);
        let find = |name: &str| model.tape.find(name).expect("a hook of the model");
        let memory = find("encoder.hook_out");
        let blocks = (0..c.decoder_layers).map(|l| format!("decoder.blocks.{l}"));
        let pattern = |block: String| {
            let var = find(&format!("{block}.cross_attn.hook_pattern"));
            (block, var)
        };
        let patterns = blocks.map(pattern).collect();
        let (seed, heads) = (Seed(config.seed), c.n_heads);
        Some(Probes { config: probe, seed, model, decoder, memory, patterns, heads, chunk })
    }

    /// Whether an evaluation of this step is one with probes.
    pub fn due(&self, step: u64) -> bool {
        step.is_multiple_of(self.config.every)
    }

    /// Every reading, as (key, value).
    ///
    /// # Errors
    /// A sentence, if an activation is not finite or a probe cannot be fitted.
    pub fn observe(&mut self, trained: &Tape, data: &Data) -> Result<Vec<(String, f64)>, String> {
        copy_params(&mut self.model.tape, trained, data);
        self.decoder.tape.copy_common_params_from(&self.model.tape);
        let rows = &data.split.test[..self.config.rows];
        let Examples::Sequences(_, pairs) = &data.examples else {
            return Err("a task of pairs has no encoder to probe".to_owned());
        };
        let seen = self.forward(rows, data, pairs);
        let dim = self.model.tape.shape(self.memory).1;
        let numbers: Vec<u64> = rows.iter().map(|&row| number(row as usize)).collect();
        let share = |hits: usize| hits as f64 / rows.len() as f64;
        let mut log = Vec::new();
        let mut erased = vec![("erase/none".to_owned(), share(seen.exact))];
        for target in self.config.targets.clone() {
            let labels: Vec<u32> = numbers.iter().map(|&n| target.label(n)).collect();
            let given: Vec<u32> = numbers.iter().map(|&n| target.given(n)).collect();
            for (hook, features) in self.config.at.iter().zip(&seen.pooled) {
                let dim = features.len() / rows.len();
                let (held_out, _) = fitted(features, dim, &labels, &given, self.seed)
                    .map_err(|e| format!("{hook}, {target}: {e}"))?;
                log.push((format!("probe/{hook}/{target}"), held_out.value().unwrap_or(f64::NAN)));
            }
            let without = majority(&labels, &given, self.seed).value();
            log.push((format!("probe/majority/{target}"), without.unwrap_or(f64::NAN)));
            if self.config.erase.contains(&target) {
                let (_, probes) = fitted(&seen.pooled_memory, dim, &labels, &given, self.seed)
                    .map_err(|e| format!("the encoder's output, {target}: {e}"))?;
                let Some(probe) = probes.first() else { continue };
                self.erase(target, probe, rows, pairs, &seen.memory, &mut erased);
            }
        }
        log.append(&mut erased);
        let each =
            self.patterns.iter().flat_map(|(block, _)| (0..self.heads).map(move |h| (block, h)));
        for ((block, head), sum) in each.zip(&seen.last) {
            log.push((format!("attention/{block}/{head}/last"), sum / rows.len() as f64));
        }
        Ok(log)
    }

    /// Runs the model over all rows.
    fn forward(&mut self, rows: &[u32], data: &Data, pairs: &SequencePairs) -> Seen {
        let tape = &self.model.tape;
        let find = |name: &String| tape.find(name).expect("the check knows the hooks");
        let hooks: Vec<Var> = self.config.at.iter().map(find).collect();
        let mut seen = Seen {
            pooled: vec![Vec::new(); hooks.len()],
            memory: Vec::new(),
            pooled_memory: Vec::new(),
            exact: 0,
            last: vec![0.0; self.patterns.len() * self.heads],
        };
        for chunk in rows.chunks(self.chunk) {
            data.load(&mut self.model, chunk);
            self.model.tape.forward();
            let tape = &self.model.tape;
            let lengths: Vec<usize> =
                chunk.iter().map(|&row| pairs.source.row(row).len()).collect();
            for (&hook, to) in hooks.iter().zip(&mut seen.pooled) {
                pool(tape.value(hook), tape.shape(hook).1, &lengths, self.config.pool, to);
            }
            let memory = tape.value(self.memory);
            pool(memory, tape.shape(self.memory).1, &lengths, Pool::Mean, &mut seen.pooled_memory);
            seen.memory.push(memory.to_vec());
            seen.exact += self.model.exact(chunk, pairs).filter(|&exact| exact).count();
            for (block, (_, pattern)) in self.patterns.iter().enumerate() {
                let width = tape.shape(*pattern).1;
                let (keys, mut query) = (width / self.heads, 0);
                for (&row, length) in chunk.iter().zip(&lengths) {
                    let weights = &tape.value(*pattern)[query * width..(query + 1) * width];
                    for (head, weights) in weights.chunks_exact(keys).enumerate() {
                        seen.last[block * self.heads + head] += f64::from(weights[length - 1]);
                    }
                    query += pairs.target.row(row).len(); // BOS comes first
                }
            }
        }
        seen
    }

    /// What the decoder writes exactly without a probe's directions, and without as many random ones.
    fn erase(
        &mut self,
        target: Target,
        probe: &Probe,
        rows: &[u32],
        pairs: &SequencePairs,
        memory: &[Vec<f32>],
        log: &mut Vec<(String, f64)>,
    ) {
        let directions = probe.directions();
        let exact = self.exact_without(&directions, probe.mean(), rows, pairs, memory);
        log.push((format!("erase/{target}"), exact));
        let random =
            |draw: u64| random_directions(self.seed, draw, directions.len(), probe.mean().len());
        let drawn: Vec<_> = (0..DRAWS).map(random).collect();
        let exact = drawn.iter().map(|u| self.exact_without(u, probe.mean(), rows, pairs, memory));
        log.push((format!("erase/random/{target}"), exact.sum::<f64>() / DRAWS as f64));
    }

    /// The share of the rows that the decoder writes exactly where these directions are erased from what it is given.
    fn exact_without(
        &mut self,
        directions: &[Vec<f64>],
        mean: &[f64],
        rows: &[u32],
        pairs: &SequencePairs,
        memory: &[Vec<f32>],
    ) -> f64 {
        let mut exact = 0;
        for (chunk, memory) in rows.chunks(self.chunk).zip(memory) {
            self.decoder.load(chunk, pairs);
            let given = self.decoder.memory().expect("a decoder that is given a memory");
            let to = self.decoder.tape.value_mut(given);
            to.copy_from_slice(memory);
            to.chunks_exact_mut(mean.len()).for_each(|row| project_out(row, directions, mean));
            self.decoder.tape.forward();
            exact += self.decoder.exact(chunk, pairs).filter(|&exact| exact).count();
        }
        exact as f64 / rows.len() as f64
    }
}

/// Appends one row an example: of its tokens' rows their mean, the first or the last.
fn pool(values: &[f32], dim: usize, lengths: &[usize], pool: Pool, to: &mut Vec<f32>) {
    let mut rest = values;
    for &length in lengths {
        let (here, after) = rest.split_at(length * dim);
        rest = after;
        match pool {
            Pool::First => to.extend_from_slice(&here[..dim]),
            Pool::Last => to.extend_from_slice(&here[(length - 1) * dim..]),
            Pool::Mean => to.extend((0..dim).map(|j| {
                let sum: f64 = here.iter().skip(j).step_by(dim).map(|&x| f64::from(x)).sum();
                (sum / length as f64) as f32
            })),
        }
    }
}

/// h − U·Uᵀ·(h − μ) in place of h.
fn project_out(h: &mut [f32], directions: &[Vec<f64>], mean: &[f64]) {
    for unit in directions {
        let each = h.iter().zip(mean).zip(unit);
        let along: f64 = each.map(|((&h, mean), u)| (f64::from(h) - mean) * u).sum();
        h.iter_mut().zip(unit).for_each(|(h, u)| *h = (f64::from(*h) - along * u) as f32);
    }
}

/// So many orthonormal directions, uniformly distributed (stream "probe/erase").
fn random_directions(seed: Seed, draw: u64, count: usize, dim: usize) -> Vec<Vec<f64>> {
    let mut rng = seed.stream("probe/erase", draw);
    let mut next = || (0..dim).map(|_| StandardNormal.sample(&mut rng)).collect::<Vec<f64>>();
    orthonormal((0..count).map(|_| next()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Inputs;
    use crate::observe::probe::probe;
    use crate::presets::preset;
    use crate::train::Trainer;
    use models::Decoder;

    const AT: [&str; 2] = ["encoder.ln_final.hook_out", "encoder.blocks.0.hook_resid_pre"];

    fn config(changes: &[(&str, &str)]) -> Result<Config, String> {
        let base = [
            ("task.max", "300"),
            ("task.test", "120"),
            ("spectral.probe", "50"),
            ("probe.every", "20"),
            ("probe.rows", "100"),
            ("probe.at", "[\"encoder.ln_final.hook_out\", \"encoder.blocks.0.hook_resid_pre\"]"),
            ("probe.pool", "mean"),
            ("probe.targets", "[\"mod2\", \"mod8\", \"bit2\", \"log2\"]"),
            ("probe.erase", "[\"mod2\", \"log2\"]"),
        ];
        let changes: Vec<(String, String)> =
            base.iter().chain(changes).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Config::from_toml_with(preset("collatz-smoke").unwrap(), "t", &changes)
            .map_err(|e| e.to_string())
    }

    /// A model that gets some right.
    fn trained(config: &Config) -> Trainer {
        let mut trainer = Trainer::new(config);
        for step in 0..250 {
            trainer.forward(step).unwrap();
            trainer.update(step).unwrap();
        }
        trainer
    }

    #[test]
    fn readings_are_those_of_the_activations_themselves() {
        let config = config(&[]).unwrap();
        let mut trainer = trained(&config);
        let mut probes = Probes::new(&config).unwrap();
        let log = probes.observe(&trainer.model().tape, trainer.data()).unwrap();
        let get =
            |key: &str| log.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("{key}")).1;
        assert!(probes.due(0) && probes.due(40) && !probes.due(30));

        // One example at a time on the trainer's own tape: nothing of the observer's.
        let rows = trainer.data().split.test[..100].to_vec();
        let Examples::Sequences(_, pairs) = &trainer.data().examples else { panic!() };
        let pairs = pairs.clone();
        let mut pooled = [Vec::new(), Vec::new()];
        let (mut exact, mut last) = (0, 0.0);
        for &row in &rows {
            let model = trainer.parts().0;
            let Inputs::Sequences(inputs) = model.inputs.clone() else { panic!() };
            inputs.load(&mut model.tape, &[row], &pairs);
            model.tape.forward();
            for (name, to) in AT.iter().zip(&mut pooled) {
                let var = model.tape.find(name).unwrap();
                let (tokens, d) = model.tape.shape(var);
                for j in 0..d {
                    let column = (0..tokens).map(|i| f64::from(model.tape.value(var)[i * d + j]));
                    to.push((column.sum::<f64>() / tokens as f64) as f32);
                }
            }
            exact += usize::from(model.exact(&[row], &pairs).next().unwrap());
            let q = model.tape.find("decoder.blocks.0.cross_attn.hook_q").unwrap();
            let k = model.tape.find("decoder.blocks.0.cross_attn.hook_k").unwrap();
            let (q, k, tokens) = (model.tape.value(q), model.tape.value(k), model.tape.shape(k).0);
            // Head 1 of 4, 8 wide: softmax of q·k/√8 over the source.
            let score = |i: usize| -> f64 {
                (8..16).map(|j| f64::from(q[j]) * f64::from(k[i * 32 + j])).sum::<f64>()
                    / 8f64.sqrt()
            };
            let sum: f64 = (0..tokens).map(|i| score(i).exp()).sum();
            last += score(tokens - 1).exp() / sum;
        }
        let n: Vec<u64> = rows.iter().map(|&row| u64::from(row) + 1).collect();
        for (name, pooled) in AT.iter().zip(&pooled) {
            let (m8, zero): (Vec<u32>, Vec<u32>) = n.iter().map(|&n| ((n % 8) as u32, 0)).unzip();
            let share = probe(pooled, 32, &m8, &zero, Seed(0)).unwrap().value().unwrap();
            assert_eq!(get(&format!("probe/{name}/mod8")), share, "{name}");
        }
        assert!(exact > 0 && exact < 100, "{exact}");
        assert_eq!(get("erase/none"), exact as f64 / 100.0);
        assert!((get("attention/decoder.blocks.0/1/last") - last / 100.0).abs() < 1e-5);
        assert_eq!(log.iter().filter(|(key, _)| key.starts_with("attention/")).count(), 4);
        assert_eq!(log.len(), 4 * 3 + 5 + 4);
    }

    #[test]
    fn what_is_erased_is_what_greedy_decoding_cannot_see() {
        // The share that is exact under teacher forcing is the share that greedy decoding writes, from the same memory.
        let config = config(&[]).unwrap();
        let trainer = trained(&config);
        let mut probes = Probes::new(&config).unwrap();
        let (tape, data) = (&trainer.model().tape, trainer.data());
        let log = probes.observe(tape, data).unwrap();
        let ModelConfig::EncoderDecoder(c) = &config.model else { panic!() };
        let Examples::Sequences(table, pairs) = &data.examples else { panic!() };
        let mut decoder = Decoder::new(c, config.task.shape().unwrap(), 100);
        decoder.copy_params_from(tape);
        let rows = &data.split.test[..100];
        let written = decoder.greedy(rows, &pairs.source, pairs.bos, table.numerals.eos());
        let exact = written.iter().zip(rows).filter(|(said, row)| *said == pairs.target.row(**row));
        let none = log.iter().find(|(key, _)| key == "erase/none").unwrap().1;
        assert_eq!(none, exact.count() as f64 / 100.0);
        // Without any direction nothing changes; without all of them nothing but the mean is left.
        let seen = probes.forward(rows, data, pairs);
        let mean = vec![0.0; 32];
        assert_eq!(probes.exact_without(&[], &mean, rows, pairs, &seen.memory), none);
        let all = random_directions(Seed(1), 0, 32, 32);
        let nothing = probes.exact_without(&all, &mean, rows, pairs, &seen.memory);
        assert!(nothing < none, "{nothing} {none}");
    }

    #[test]
    fn a_direction_is_taken_out_and_no_other() {
        // Parity stands in coordinate 1 alone.
        let features: Vec<f32> = (0..200u32)
            .flat_map(|n| [(n * 7919 % 13) as f32, 3.0 + 2.0 * (n % 2) as f32, (n * 31 % 7) as f32])
            .collect();
        let labels: Vec<u32> = (0..200).map(|n| n % 2).collect();
        let probe = Probe::fit(&features, 3, &labels).unwrap();
        let directions = probe.directions();
        assert_eq!(directions.len(), 1);
        assert!(directions[0][1].abs() > 0.999, "{directions:?}");
        let mut h = [5.0, 5.0, 1.0];
        project_out(&mut h, &[vec![0.0, 1.0, 0.0]], probe.mean());
        assert_eq!((h[0], h[2]), (5.0, 1.0));
        assert!((f64::from(h[1]) - probe.mean()[1]).abs() < 1e-6);
    }

    #[test]
    fn directions_of_k_classes_are_k_less_1_and_random_ones_orthonormal() {
        let features: Vec<f32> =
            (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 4096.0).collect();
        let labels: Vec<u32> = (0..80).map(|n| n % 4).collect();
        let of_probe = Probe::fit(&features, 5, &labels).unwrap().directions();
        assert_eq!(of_probe.len(), 3);
        let random = random_directions(Seed(7), 2, 6, 10);
        assert_eq!(random, random_directions(Seed(7), 2, 6, 10));
        assert_ne!(random, random_directions(Seed(7), 3, 6, 10));
        for basis in [of_probe, random] {
            for (i, a) in basis.iter().enumerate() {
                for (j, b) in basis.iter().enumerate() {
                    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j} {dot}");
                }
            }
        }
    }

    #[test]
    fn pools_are_the_mean_the_first_and_the_last() {
        let (values, lengths) = ([1.0, 2.0, 3.0, 4.0, 5.0, 7.0], [2, 1]);
        for (pool, expected) in [
            (Pool::Mean, [2.0, 3.0, 5.0, 7.0]),
            (Pool::First, [1.0, 2.0, 5.0, 7.0]),
            (Pool::Last, [3.0, 4.0, 5.0, 7.0]),
        ] {
            let mut to = Vec::new();
            super::pool(&values, 2, &lengths, pool, &mut to);
            assert_eq!(to, expected, "{pool:?}");
        }
    }

    #[test]
    fn what_cannot_be_probed_is_refused_in_a_sentence() {
        for (key, value, sentence) in [
            ("probe.every", "30", "probe.every = 30: must be a multiple of eval.every = 20"),
            ("probe.rows", "121", "probe.rows = 121: must be 20 to 120"),
            (
                "probe.at",
                "[\"decoder.ln_final.hook_out\"]",
                "the encoder of this model has no \"decoder.ln_final",
            ),
            ("probe.at", "[]", "probe.at = []: name at least one"),
            (
                "probe.targets",
                "[\"prime\"]",
                "\"prime\" is nothing that a probe asks: expected \"mod2\"",
            ),
            ("probe.targets", "[\"mod2\", \"mod2\", \"log2\"]", "mod2 stands there twice"),
            ("probe.erase", "[\"mod4\"]", "probe.erase: mod4 must be one of probe.targets"),
            (
                "probe.erase",
                "[\"bit2\"]",
                "probe.erase: bit2 must be one of probe.targets, and no bit",
            ),
            ("probe.pool", "max", "unknown variant `max`, expected one of `mean`, `first`, `last`"),
        ] {
            let said = config(&[(key, value)]).unwrap_err();
            assert!(said.contains(sentence), "{said}");
        }
        let alone = [("model.encoder_layers", "0"), ("spectral.at", "[\"ln_final.hook_out\"]")];
        let said = config(&alone).unwrap_err();
        assert!(said.contains("[probe]: it asks an encoder about the number n"), "{said}");
    }
}
