//! The readings of `[probe]` against the same made again from raw activations: features pooled in plain loops,
//! directions from faer's singular vectors, exactness by writing token after token with an edited memory. And
//! what a run does with them: keys, steps, threads, a frozen encoder.

use experiments::config::Config;
use experiments::config::probe::Target;
use experiments::data::Examples;
use experiments::observe::erasure::Erasure;
use experiments::observe::probe::{Probe, majority, probe};
use experiments::observe::probes::Probes;
use experiments::presets::preset;
use experiments::seed::{Seed, shuffle};
use experiments::train::Trainer;
use faer::{Mat, MatRef};
use models::config::EncoderDecoderConfig;
use models::{Recorded, SequenceInputs, SequencePairs, SequenceShape};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use tests::{only_run, run_in, scratch, stderr};

const ROWS: usize = 110;
const HOOKS: [&str; 3] = [
    "encoder.ln_final.hook_out",
    "encoder.blocks.0.hook_resid_pre",
    "encoder.blocks.0.mlp.hook_post",
];
const TARGETS: [&str; 6] = ["mod2", "mod4", "bit2", "bit3", "digits", "log2"];
const ERASE: [&str; 3] = ["log2", "mod2", "mod4"];

/// A tiny model of 300 numbers in base 4, and these changes.
fn changes(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let quoted = |words: &[&str]| format!("{words:?}");
    let (at, targets, erase) = (quoted(&HOOKS), quoted(&TARGETS), quoted(&ERASE));
    let base = [
        ("task.base", "4"),
        ("task.max", "300"),
        ("task.test", "120"),
        ("model.d_model", "16"),
        ("model.n_heads", "2"),
        ("model.d_mlp", "24"),
        ("model.decoder_layers", "2"),
        ("optim.lr", "0.003"),
        ("spectral.probe", "50"),
        ("probe.every", "40"),
        ("probe.rows", "110"),
        ("probe.pool", "mean"),
        ("probe.at", &at),
        ("probe.targets", &targets),
        ("probe.erase", &erase),
    ];
    base.iter().chain(more).map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn config(more: &[(&str, &str)]) -> Config {
    let text = preset("collatz-smoke").unwrap();
    Config::from_toml_with(text, "collatz-smoke", &changes(more)).unwrap()
}

/// A trainer after so many steps.
fn trained(config: &Config, steps: u64) -> Trainer {
    let mut trainer = Trainer::new(config);
    for step in 0..steps {
        trainer.forward(step).unwrap();
        trainer.update(step).unwrap();
    }
    trainer
}

fn readings(config: &Config, trainer: &Trainer) -> BTreeMap<String, f64> {
    let log = Probes::new(config).unwrap().read(&trainer.model().tape, trainer.data()).unwrap();
    let count = log.len();
    let map: BTreeMap<String, f64> = log.into_iter().collect();
    assert_eq!(map.len(), count, "a key is logged once");
    map
}

/// What the test knows of a trained model: its own recordings of it, of all rows at once.
struct World {
    rows: Vec<u32>,
    pairs: SequencePairs,
    whole: Recorded<SequenceInputs>,
    decoder: Recorded<SequenceInputs>,
    shape: SequenceShape,
    eos: u32,
}

impl World {
    fn new(config: &Config, trainer: &Trainer) -> World {
        let Examples::Sequences(table, pairs) = &trainer.data().examples else { panic!() };
        let experiments::config::ModelConfig::EncoderDecoder(model) = &config.model else {
            panic!()
        };
        let model: &EncoderDecoderConfig = model;
        let shape = config.task.shape().unwrap();
        let mut whole = models::encoder_decoder(model, shape, ROWS, false, None);
        whole.tape.copy_params_from(&trainer.model().tape);
        let mut decoder = models::decoder_of_memory(model, shape, ROWS, false, None);
        decoder.tape.copy_common_params_from(&trainer.model().tape);
        let rows = trainer.data().split.test[..ROWS].to_vec();
        whole.load(&rows, pairs);
        whole.tape.forward();
        World { rows, pairs: pairs.clone(), whole, decoder, shape, eos: table.numerals.eos() }
    }

    /// n of each row: row 0 is 1.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|&row| u64::from(row) + 1)
    }

    /// (labels, given) of a target, from n in plain arithmetic.
    fn labels(&self, target: &str) -> (Vec<u32>, Vec<u32>) {
        let of = |n: u64| -> (u64, u64) {
            match target {
                "mod2" => (n % 2, 0),
                "mod4" => (n % 4, 0),
                "bit2" => (n / 2 % 2, n % 2),
                "bit3" => (n / 4 % 2, n % 4),
                "digits" => ((1..).find(|&d| 4u64.pow(d) > n).unwrap().into(), 0),
                "log2" => ((0..).find(|&k| 2 << k > n).unwrap(), 0),
                _ => panic!("{target}"),
            }
        };
        self.numbers().map(of).map(|(label, given)| (label as u32, given as u32)).unzip()
    }

    /// The features of a hook: (rows, dim).
    fn features(&self, hook: &str, pool: &str) -> (Vec<f32>, usize) {
        let var = self.whole.tape.find(hook).unwrap();
        let (value, dim) = (self.whole.tape.value(var), self.whole.tape.shape(var).1);
        let (mut features, mut first) = (Vec::new(), 0);
        for &row in &self.rows {
            let tokens = self.pairs.source.row(row).len();
            for i in 0..dim {
                let at = |token: usize| f64::from(value[(first + token) * dim + i]);
                let (mut sum, mut count) = (0.0, 0.0);
                for token in 0..tokens {
                    if pool == "mean" || token == (if pool == "first" { 0 } else { tokens - 1 }) {
                        sum += at(token);
                        count += 1.0;
                    }
                }
                features.push((sum / count) as f32);
            }
            first += tokens;
        }
        assert_eq!(first * dim, value.len());
        (features, dim)
    }

    fn memory(&self) -> Vec<f32> {
        let var = self.whole.tape.find("encoder.hook_out").unwrap();
        self.whole.tape.value(var).to_vec()
    }

    /// The share of the rows whose target is written, token after token, by a decoder that reads this memory.
    fn written_exactly(&mut self, memory: &[f32]) -> f64 {
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); ROWS];
        let all: Vec<u32> = (0..ROWS as u32).collect();
        for _ in 0..self.shape.target {
            let pairs = SequencePairs {
                source: self.rows.iter().map(|&row| self.pairs.source.row(row)).collect(),
                target: written
                    .iter()
                    .map(|w| [&w[..w.len().min(self.shape.target - 1)], &[0]].concat())
                    .collect(),
                bos: self.pairs.bos,
            };
            self.decoder.load(&all, &pairs);
            let var = self.decoder.memory().unwrap();
            self.decoder.tape.value_mut(var).copy_from_slice(memory);
            self.decoder.tape.forward();
            let logits = self.decoder.tape.value(self.decoder.logits);
            let (v, mut end) = (self.shape.d_vocab, 0);
            for (i, w) in written.iter_mut().enumerate() {
                end += pairs.target.row(i as u32).len() * v;
                if w.last() != Some(&self.eos) {
                    let last = &logits[end - v..end];
                    let larger =
                        |best: usize, i: usize| if last[i] > last[best] { i } else { best };
                    w.push((1..v).fold(0, larger) as u32);
                }
            }
        }
        let right = |(w, &row): (&Vec<u32>, &u32)| w[..] == *self.pairs.target.row(row);
        written.iter().zip(&self.rows).filter(|pair| right(*pair)).count() as f64 / ROWS as f64
    }
}

/// The places of the rows that are fitted: all but the first fifth of one seeded shuffle.
fn fitted() -> Vec<usize> {
    let mut order: Vec<usize> = (0..ROWS).collect();
    shuffle(&mut Seed(0).stream("probe", 0), &mut order);
    order.split_off(ROWS.div_ceil(5))
}

/// memory − U Uᵀ (memory − mean), U the right singular vectors of the weight vectors, by faer; and their number.
fn without(memory: &[f32], probe: &Probe, fitted: &[f32], dim: usize) -> (Vec<f32>, usize) {
    let rows = fitted.len() / dim;
    let column = |i: usize| fitted.iter().skip(i).step_by(dim).map(|&x| f64::from(x));
    let mean: Vec<f64> = (0..dim).map(|i| column(i).sum::<f64>() / rows as f64).collect();
    let deviation =
        |i: usize| (column(i).map(|x| (x - mean[i]).powi(2)).sum::<f64>() / rows as f64).sqrt();
    let (weights, _) = probe.coefficients();
    let raw: Vec<f64> = weights.iter().enumerate().map(|(at, w)| w / deviation(at % dim)).collect();
    let raw: Mat<f64> = MatRef::from_row_major_slice(&raw, raw.len() / dim, dim).to_owned();
    let svd = raw.svd().unwrap();
    let s: Vec<f64> = svd.S().column_vector().iter().copied().collect();
    let k = s.iter().filter(|x| **x > 1e-5 * s[0]).count();
    let left = memory.chunks_exact(dim).flat_map(|h| {
        (0..dim)
            .map(|i| {
                let along = |c: usize| -> f64 {
                    (0..dim).map(|j| (f64::from(h[j]) - mean[j]) * svd.V()[(j, c)]).sum()
                };
                let erased: f64 = (0..k).map(|c| along(c) * svd.V()[(i, c)]).sum();
                (f64::from(h[i]) - erased) as f32
            })
            .collect::<Vec<f32>>()
    });
    (left.collect(), k)
}

#[test]
fn every_reading_is_that_of_raw_activations() {
    for (pool, steps) in [("mean", 250), ("first", 60), ("last", 0)] {
        let config = config(&[("probe.pool", pool)]);
        let trainer = trained(&config, steps);
        let found = readings(&config, &trainer);
        let mut world = World::new(&config, &trainer);
        let mut expected = BTreeMap::new();
        for target in TARGETS {
            let (labels, given) = world.labels(target);
            for hook in HOOKS {
                let (features, dim) = world.features(hook, pool);
                let share = probe(&features, dim, &labels, &given, Seed(0)).unwrap();
                expected.insert(format!("probe/{hook}/{target}"), share.value().unwrap());
            }
            let blind = majority(&labels, &given, Seed(0)).value().unwrap();
            expected.insert(format!("probe/majority/{target}"), blind);
        }
        let memory = world.memory();
        expected.insert("erase/none".to_owned(), world.written_exactly(&memory));
        let (features, dim) = world.features(HOOKS[0], pool);
        for target in ERASE {
            let (labels, _) = world.labels(target);
            let fitted = fitted();
            let x: Vec<f32> =
                fitted.iter().flat_map(|i| &features[i * dim..(i + 1) * dim]).copied().collect();
            let y: Vec<u32> = fitted.iter().map(|&i| labels[i]).collect();
            let probe = Probe::fit(&x, dim, &y).unwrap();
            let (left, k) = without(&memory, &probe, &x, dim);
            assert_eq!(k, (probe.classes().len() - 1).min(dim), "{target}");
            expected.insert(format!("erase/{target}"), world.written_exactly(&left));
            let random = (0..5).map(|draw| {
                let rng = &mut Seed(0).stream("probe/erase", draw);
                let mut left = vec![0.0; memory.len()];
                Erasure::random(k, probe.mean(), &features, rng).apply(&memory, &mut left);
                world.written_exactly(&left)
            });
            let mean = random.sum::<f64>() / 5.0;
            expected.insert(format!("erase/random/{target}"), mean);
        }
        for block in ["decoder.blocks.0", "decoder.blocks.1"] {
            let tape = &world.whole.tape;
            let var = tape.find(&format!("{block}.cross_attn.hook_pattern")).unwrap();
            let (pattern, columns) = (tape.value(var), tape.shape(var).1);
            for head in 0..2 {
                let (mut query, mut sum) = (0, 0.0);
                for &row in &world.rows {
                    let key = world.pairs.source.row(row).len() - 1;
                    sum += f64::from(pattern[query * columns + head * columns / 2 + key]);
                    query += world.pairs.target.row(row).len();
                }
                expected.insert(format!("attention/{block}/{head}/last"), sum / ROWS as f64);
            }
        }
        assert!(found.keys().eq(expected.keys()), "{:?}\n{:?}", found.keys(), expected.keys());
        for (key, expected) in &expected {
            assert!(
                (found[key] - expected).abs() < 1e-12,
                "{pool}, {key}: {} {expected}",
                found[key]
            );
        }
        if steps == 250 {
            // It has learnt enough for the test to see a difference.
            assert!(found["erase/none"] > 0.2, "{}", found["erase/none"]);
            assert!(found["erase/log2"] < found["erase/none"]);
            assert!(found[&format!("probe/{}/mod2", HOOKS[0])] > found["probe/majority/mod2"]);
        }
    }
}

#[test]
fn the_encoders_output_is_erased_by_its_own_probe_wherever_else_one_looks() {
    let all = config(&[]);
    let trainer = trained(&all, 120);
    let whole = readings(&all, &trainer);
    let elsewhere = config(&[
        ("probe.at", "[\"encoder.blocks.0.hook_resid_pre\"]"),
        ("probe.targets", "[\"bit2\", \"mod4\", \"mod2\"]"),
        ("probe.erase", "[\"mod2\"]"),
    ]);
    let found = readings(&elsewhere, &trainer);
    for (key, value) in &found {
        assert_eq!(whole[key].to_bits(), value.to_bits(), "{key}");
    }
    let keys: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "attention/decoder.blocks.0/0/last",
            "attention/decoder.blocks.0/1/last",
            "attention/decoder.blocks.1/0/last",
            "attention/decoder.blocks.1/1/last",
            "erase/mod2",
            "erase/none",
            "erase/random/mod2",
            "probe/encoder.blocks.0.hook_resid_pre/bit2",
            "probe/encoder.blocks.0.hook_resid_pre/mod2",
            "probe/encoder.blocks.0.hook_resid_pre/mod4",
            "probe/majority/bit2",
            "probe/majority/mod2",
            "probe/majority/mod4",
        ]
    );
    let nothing = readings(&config(&[("probe.erase", "[]")]), &trainer);
    assert_eq!(nothing["erase/none"], whole["erase/none"]);
    assert!(!nothing.keys().any(|key| key.starts_with("erase/") && key != "erase/none"));
}

#[test]
fn threads_do_not_change_bits_and_a_second_reading_is_the_first() {
    let config = config(&[("probe.rows", "100")]);
    let twice = |threads: usize| -> [Vec<(String, u64)>; 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let trainer = trained(&config, 30);
            let mut probes = Probes::new(&config).unwrap();
            [(); 2].map(|()| {
                let log = probes.read(&trainer.model().tape, trainer.data()).unwrap();
                log.into_iter().map(|(key, value)| (key, value.to_bits())).collect()
            })
        })
    };
    let one = twice(1);
    assert_eq!(one[0], one[1]);
    for threads in [2, 3] {
        assert_eq!(twice(threads), one, "{threads} threads");
    }
}

/// The metrics of a run of `steps` steps, by step.
fn metrics(name: &str, steps: &str, more: &[(&str, &str)]) -> BTreeMap<u64, Value> {
    let dir = scratch(name);
    let mut arguments = vec!["run", "collatz-smoke", "--steps", steps, "--threads", "1"];
    let set: Vec<String> = changes(more).iter().map(|(k, v)| format!("{k}={v}")).collect();
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    let output = run_in(&dir, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(only_run(&dir.join("runs")).join("metrics.jsonl")).unwrap();
    fs::remove_dir_all(dir).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["step"].as_u64().unwrap(), line)).collect()
}

#[test]
fn a_run_reads_its_probes_when_they_are_due_and_at_its_end_and_trains_as_without() {
    let with = metrics("probes-run", "70", &[("probe.erase", "[\"mod2\"]")]);
    let probed = |line: &Value| line.get("erase/random/mod2").is_some();
    let at: Vec<u64> =
        with.iter().filter(|(_, line)| probed(line)).map(|(&step, _)| step).collect();
    assert_eq!(at, [0, 40, 70]);
    // Step 0 is the untrained encoder, the control.
    let config = config(&[("probe.erase", "[\"mod2\"]")]);
    let begin = readings(&config, &trained(&config, 0));
    for (key, value) in &begin {
        assert_eq!(with[&0][key].as_f64(), Some(*value), "{key}");
    }
    let end = readings(&config, &trained(&config, 70));
    for (key, value) in &end {
        assert_eq!(with[&70][key].as_f64(), Some(*value), "{key}");
    }
    let frozen = [("probe.erase", "[\"mod2\"]"), ("intervene.freeze.parts", "[\"encoder\"]")];
    let hooks = [("spectral.at", "[\"decoder.ln_final.hook_out\"]")];
    let kept = metrics("probes-frozen", "40", &[&frozen[..], &hooks].concat());
    // The encoder is that of step 0, so what is read off it stays; what the decoder does with it does not.
    for (key, value) in begin.iter().filter(|(key, _)| key.starts_with("probe/")) {
        assert_eq!(kept[&40][key].as_f64(), Some(*value), "{key}");
    }
    let attention = "attention/decoder.blocks.1/0/last";
    assert_ne!(kept[&40][attention], kept[&0][attention]);
    assert_eq!(kept[&40]["erase/none"].as_f64().unwrap() * 110.0 % 1.0, 0.0);
}

#[test]
fn every_word_of_a_target_is_a_key() {
    let words: Vec<String> =
        TARGETS.iter().map(|word| word.parse::<Target>().unwrap().to_string()).collect();
    assert_eq!(words, TARGETS);
}
