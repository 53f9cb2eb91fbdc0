//! The encoder-decoder in float32 against PyTorch in float64, which pads and masks: forward, gradients, ten
//! steps of AdamW with clipping, greedy decoding; and against itself in its parts.
//!
//! Each tensor must agree to `‖ours − golden‖ / ‖golden‖ ≤ 1e-5`; PyTorch's own float32 stands in
//! `golden/README.md`.

#[path = "golden/file.rs"]
mod file;

use autograd::optim::{AdamW, AdamWConfig, gradient_norm};
use file::{Tensor, norm, read_optim, widen};
use models::config::EncoderDecoderConfig;
use models::{
    Decoder, Encoder, Packed, Param, Recorded, SequenceInputs, SequencePairs, SequenceShape,
    decoder_of_memory, encoder_decoder,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tests::values::{Flavour, Values};

const CASES: [&str; 5] =
    ["encdec_pre", "encdec_post", "encdec_uneven", "decoder_only", "decoder_only_tied"];
/// Above PyTorch's own float32 error (1e-6 at most), far below that of any wrong term.
const BOUND: f64 = 1e-5;

type Tensors = BTreeMap<String, Tensor>;

/// A golden file: its case and its tensors.
struct Golden {
    json: Value,
    gold: Tensors,
}

impl Golden {
    fn read(name: &str) -> Golden {
        let path = format!("{}/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        let text = &header.metadata().as_ref().expect("metadata")["case"];
        let json: Value = serde_json::from_str(text).expect("the case as JSON");
        let mut gold = Tensors::new();
        for (key, view) in SafeTensors::deserialize(&bytes).expect("tensors").tensors() {
            let values = widen(view.dtype(), view.data());
            gold.insert(key, Tensor { shape: view.shape().to_vec(), values });
        }
        Golden { json, gold }
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

fn read_shape(json: &Value) -> SequenceShape {
    let [d_vocab, source, target] = ["d_vocab", "source", "target"].map(|key| number(&json[key]));
    SequenceShape { d_vocab, source, target }
}

fn packed(gold: &Tensors, name: &str) -> Packed {
    let starts = gold[&format!("{name}_starts")].values.windows(2);
    let tokens: Vec<u32> = gold[name].values.iter().map(|&x| x as u32).collect();
    starts.map(|span| &tokens[span[0] as usize..span[1] as usize]).collect()
}

/// Gives a model the golden parameters.
fn start(net: &mut Recorded<SequenceInputs>, gold: &Tensors, name: &str) {
    for param in net.params().to_vec() {
        let gold = &gold[&format!("param/{}", param.name)];
        assert_eq!(param.shape, gold.shape, "{name}: {}", param.name);
        let start: Vec<f32> = gold.values.iter().map(|&x| x as f32).collect();
        param.import(&start, net.tape.value_mut(param.var));
    }
}

struct Case {
    name: &'static str,
    model: EncoderDecoderConfig,
    shape: SequenceShape,
    optim: AdamWConfig,
    batch: usize,
    steps: usize,
    pairs: SequencePairs,
    eos: u32,
    greedy: Packed,
    gold: Tensors,
}

impl Case {
    fn read(name: &'static str) -> Case {
        let Golden { json, gold } = Golden::read(name);
        let steps = number(&json["steps"]);
        let bos = number(&json["bos"]) as u32;
        let [source, target, greedy] =
            ["source", "target", "greedy"].map(|name| packed(&gold, name));
        Case {
            name,
            model: serde_json::from_value(json["model"].clone()).expect("its fields"),
            shape: read_shape(&json["shape"]),
            optim: read_optim(&json["optim"], steps),
            batch: number(&json["optim"]["batch"]),
            steps,
            pairs: SequencePairs { source, target, bos },
            eos: number(&json["eos"]) as u32,
            greedy,
            gold,
        }
    }

    /// The model with the golden starting values, for more examples than a batch has.
    fn record(&self) -> Recorded<SequenceInputs> {
        let mut net = encoder_decoder(&self.model, self.shape, self.batch + 3, true, None);
        start(&mut net, &self.gold, self.name);
        net
    }

    fn rows(&self, step: usize) -> Vec<u32> {
        (step * self.batch..(step + 1) * self.batch).map(|row| row as u32).collect()
    }

    /// Forward and backward on batch `step`; returns the loss.
    fn run(&self, net: &mut Recorded<SequenceInputs>, step: usize) -> f32 {
        net.load(&self.rows(step), &self.pairs);
        net.tape.forward();
        net.tape.backward(net.loss.loss);
        net.tape.value(net.loss.loss)[0]
    }

    #[track_caller]
    fn check(&self, tensor: &str, ours: &[f32], worst: &mut f64) {
        let error = self.gold[tensor].error(ours);
        assert!(error <= BOUND, "{}: {tensor} is off by {error:.1e}", self.name);
        *worst = worst.max(error);
    }
}

#[test]
fn forward_and_gradients_agree_with_pytorch() {
    for case in CASES.map(Case::read) {
        let mut net = case.record();
        case.run(&mut net, 0);
        let (mut forward, mut gradients) = (0.0, 0.0);
        case.check("loss", net.tape.value(net.loss.loss), &mut forward);
        case.check("logits", net.tape.value(net.logits), &mut forward);
        let hooks: Vec<String> =
            case.gold.keys().filter_map(|k| k.strip_prefix("hook/")).map(String::from).collect();
        for name in hooks {
            let var = net.tape.find(&name).unwrap_or_else(|| panic!("{}: no {name}", case.name));
            let key = format!("hook/{name}");
            // The last block of a decoder alone goes on from BOS.
            if net.tape.value(var).len() == case.gold[&key].values.len() {
                case.check(&key, net.tape.value(var), &mut forward);
            } else {
                assert!(case.model.encoder_layers == 0, "{}: rows of {name}", case.name);
            }
        }
        for param in net.params() {
            let ours = param.export(net.tape.grad(param.var));
            match param.name.strip_suffix("b_K") {
                // Softmax does not see a constant added to every key: the true gradient of b_K is zero.
                Some(attn) => {
                    let most = ours.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                    let b_q = &case.gold[&format!("grad/{attn}b_Q")].values;
                    assert!(
                        f64::from(most) < 1e-6 * norm(b_q),
                        "{}: {} {most:e}",
                        case.name,
                        param.name
                    );
                }
                None => case.check(&format!("grad/{}", param.name), &ours, &mut gradients),
            }
        }
        println!("{:<18} forward {forward:.1e}, gradients {gradients:.1e}", case.name);
    }
}

#[test]
fn ten_steps_of_adamw_with_clipping_agree_with_pytorch() {
    for case in CASES.map(Case::read) {
        let mut net = case.record();
        let mut adamw = AdamW::new(case.optim.clone(), &net.tape);
        let b_k = |param: &&Param| param.name.ends_with("b_K");
        let frozen: Vec<_> = net.params().iter().filter(b_k).map(|param| param.var).collect();
        let (mut losses, mut norms, mut worst) = (Vec::new(), Vec::new(), 0.0);
        for step in 0..case.steps {
            losses.push(case.run(&mut net, step));
            let held: Vec<Vec<f32>> = frozen.iter().map(|&x| net.tape.value(x).to_vec()).collect();
            norms.push(gradient_norm(&net.tape) as f32);
            assert!(adamw.step(&mut net.tape, step as u64));
            // As the generator does: Adam would scale the rounding noise of a zero gradient to full steps.
            for (&var, held) in frozen.iter().zip(&held) {
                net.tape.value_mut(var).copy_from_slice(held);
            }
        }
        case.check("losses", &losses, &mut worst);
        if let Some(clip) = case.optim.clip {
            case.check("norms", &norms, &mut worst);
            let bites = norms.iter().all(|&norm| f64::from(norm) > clip);
            assert_eq!(bites, clip < 1.0, "{}: clipping bites in some cases", case.name);
        }
        for param in net.params().iter().filter(|param| !b_k(param)) {
            let ours = param.export(net.tape.value(param.var));
            case.check(&format!("after10/{}", param.name), &ours, &mut worst);
        }
        println!("{:<18} ten steps {worst:.1e}", case.name);
    }
}

#[test]
fn parameters_and_probes_have_the_names_of_the_golden_file() {
    for case in CASES.map(Case::read) {
        let net = case.record();
        let ours: BTreeSet<&str> = net.params().iter().map(|param| param.name.as_str()).collect();
        let gold: BTreeSet<&str> =
            case.gold.keys().filter_map(|key| key.strip_prefix("param/")).collect();
        assert_eq!(ours, gold, "{}", case.name);
        let SequenceShape { d_vocab, source, target } = case.shape;
        assert_eq!(net.parameter_count(), case.model.parameters(d_vocab, source, target));
        for probe in case.model.probes() {
            assert!(net.tape.find(&probe).is_some(), "{}: {probe}", case.name);
            assert!(case.gold.contains_key(&format!("hook/{probe}")), "{}: {probe}", case.name);
        }
        let of_source = case.model.source_hooks();
        assert_eq!(of_source.is_empty(), case.model.encoder_layers == 0, "{}", case.name);
        for hook in of_source {
            let var = net.tape.find(&hook).unwrap_or_else(|| panic!("{}: no {hook}", case.name));
            let memory = net.memory().expect("an encoder's output");
            assert_eq!(net.tape.rows(var), net.tape.rows(memory), "{}: {hook}", case.name);
        }
    }
}

/// A decoding by whole forward passes: each token is the first largest logit after what is there.
fn naive(case: &Case, net: &mut Recorded<SequenceInputs>, row: u32) -> Vec<u32> {
    let mut written: Vec<u32> = Vec::new();
    while written.len() < case.shape.target && written.last() != Some(&case.eos) {
        // The label of the position in question is not read: any token does.
        let target = [&written[..], &[0]].concat();
        let pairs = SequencePairs {
            source: [case.pairs.source.row(row)].into_iter().collect(),
            target: [target].into_iter().collect(),
            bos: case.pairs.bos,
        };
        net.load(&[0], &pairs);
        net.tape.forward();
        let logits = net.tape.value(net.logits);
        let last = &logits[logits.len() - case.shape.d_vocab..];
        let larger = |best: usize, i: usize| if last[i] > last[best] { i } else { best };
        written.push((1..last.len()).fold(0, larger) as u32);
    }
    written
}

#[test]
fn greedy_decoding_writes_what_pytorch_and_whole_forward_passes_write() {
    for case in CASES.map(Case::read) {
        let mut net = case.record();
        // Fewer at once than there are, so that there is a second, smaller chunk.
        let mut decoder = Decoder::new(&case.model, case.shape, 7);
        decoder.copy_params_from(&net.tape);
        let written = decoder.greedy(&case.rows(0), &case.pairs.source, case.pairs.bos, case.eos);
        assert_eq!(written, case.greedy, "{}: PyTorch", case.name);
        let every: Vec<u32> = (0..case.pairs.source.len() as u32).rev().collect();
        let written = decoder.greedy(&every, &case.pairs.source, case.pairs.bos, case.eos);
        for (i, &row) in every.iter().enumerate() {
            assert_eq!(written.row(i as u32), naive(&case, &mut net, row), "{}: {row}", case.name);
        }
        // Trained for a while it writes shorter and longer ones; then teacher forcing tells what is right.
        let adamw = AdamWConfig {
            lr: 3e-3,
            warmup: 0,
            clip: None,
            weight_decay: 0.0,
            ..case.optim.clone()
        };
        let mut adamw = AdamW::new(adamw, &net.tape);
        for step in 0..300 {
            case.run(&mut net, step % 2);
            assert!(adamw.step(&mut net.tape, 1));
        }
        decoder.copy_params_from(&net.tape);
        let written = decoder.greedy(&every, &case.pairs.source, case.pairs.bos, case.eos);
        let mut exact = 0;
        for rows in every.chunks(10) {
            net.load(rows, &case.pairs);
            net.tape.forward();
            let told: Vec<bool> = net.exact(rows, &case.pairs).collect();
            for (&row, told) in rows.iter().zip(told) {
                let ours = written.row(every.len() as u32 - 1 - row);
                assert_eq!(ours == case.pairs.target.row(row), told, "{}: {row}", case.name);
                assert_eq!(ours, naive(&case, &mut net, row), "{}: {row}, trained", case.name);
                exact += usize::from(told);
            }
        }
        assert!((10..110).contains(&exact), "{}: {exact} of 120 are right", case.name);
        let lengths: BTreeSet<usize> = (0..120).map(|i| written.row(i).len()).collect();
        assert!(lengths.len() > 3, "{}: lengths {lengths:?}", case.name);
    }
}

#[test]
fn trained_models_write_for_a_thousand_inputs_what_pytorch_writes() {
    for name in ["greedy_encdec", "greedy_decoder_only"] {
        let Golden { json, gold } = Golden::read(name);
        let model: EncoderDecoderConfig = serde_json::from_value(json["model"].clone()).unwrap();
        let shape = read_shape(&json["shape"]);
        let (source, expected) = (packed(&gold, "source"), packed(&gold, "greedy"));
        let [bos, eos, of_pytorch] = ["bos", "eos", "right"].map(|key| number(&json[key]) as u32);
        let mut net = encoder_decoder(&model, shape, 1, false, None);
        start(&mut net, &gold, name);
        let mut decoder = Decoder::new(&model, shape, 256);
        decoder.copy_params_from(&net.tape);
        let rows: Vec<u32> = (0..1000).collect();
        let written = decoder.greedy(&rows, &source, bos, eos);
        assert_eq!((written.len(), source.len()), (1000, 1000));
        for row in rows {
            assert_eq!(written.row(row), expected.row(row), "{name}: row {row}");
        }
        // It is the Collatz map in base 8 that they have learnt, as far as they have.
        let read = |digits: &[u32]| digits.iter().fold(0, |n, digit| 8 * n + u64::from(*digit));
        let exact = |(source, written): &(&[u32], &[u32])| {
            let n = read(source);
            let answer = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
            let digits = &written[..written.len() - 1];
            written.last() == Some(&eos) && digits[0] != 0 && read(digits) == answer
        };
        let exact = source.iter().zip(written.iter()).filter(exact).count();
        assert_eq!(exact, of_pytorch as usize, "{name}");
        assert!((100..900).contains(&exact), "{name}: {exact} of 1000 are right");
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_decoder_of_a_frozen_encoder_has_the_bits_of_the_whole_model() {
    for case in CASES.map(Case::read).iter().filter(|case| case.model.encoder_layers > 0) {
        let mut net = case.record();
        case.run(&mut net, 0);
        let mut encoder = Encoder::new(&case.model, case.shape, 5, None);
        assert_eq!(encoder.tape.copy_common_params_from(&net.tape), encoder.tape.params().len());
        let memory = encoder.run(&case.pairs.source);

        let mut decoder = decoder_of_memory(&case.model, case.shape, case.batch, true, None);
        assert_eq!(decoder.tape.copy_common_params_from(&net.tape), decoder.params().len());
        // Another order, then the same: what is loaded decides, not what was there.
        for rows in [case.rows(3), case.rows(0)] {
            decoder.load(&rows, &case.pairs);
            decoder.load_memory(&rows, &case.pairs.source, &memory);
            decoder.tape.forward();
            decoder.tape.backward(decoder.loss.loss);
        }
        let same = |name: &str, a: &[f32], b: &[f32]| {
            assert_eq!(bits(a), bits(b), "{}: {name}", case.name);
        };
        same("logits", decoder.tape.value(decoder.logits), net.tape.value(net.logits));
        for param in decoder.params() {
            let whole = net.tape.find(&param.name).expect("a parameter of the whole model");
            if param.name != "embed.W_E" {
                same(&param.name, decoder.tape.grad(param.var), net.tape.grad(whole));
            }
        }
        let parts = encoder.tape.params().len() + decoder.params().len();
        let shared = usize::from(decoder.tape.find("embed.W_E").is_some());
        assert_eq!(parts - shared, net.params().len(), "{}: every parameter has a part", case.name);
    }
}

#[test]
fn threads_and_neighbours_do_not_change_bits() {
    let model = EncoderDecoderConfig { d_model: 64, d_mlp: 256, ..Case::read("encdec_pre").model };
    let shape = SequenceShape { d_vocab: 11, source: 6, target: 7 };
    let mut values = Values::new(1, Flavour::Tame);
    let mut draw = |longest: u64| -> Packed {
        let mut one = || 1 + values.bits() % longest;
        let lengths: Vec<u64> = (0..300).map(|_| one()).collect();
        let mut token = || (one() * 7 % 11) as u32;
        lengths.iter().map(|&t| (0..t).map(|_| token()).collect::<Vec<_>>()).collect()
    };
    let pairs = SequencePairs { source: draw(6), target: draw(7), bos: 9 };
    let rows: Vec<u32> = (0..300).collect();
    let step = |threads: usize, rows: &[u32]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut net = encoder_decoder(&model, shape, rows.len(), true, None);
            let mut values = Values::new(2, Flavour::Tame);
            for param in net.params().to_vec() {
                net.tape.value_mut(param.var).fill_with(|| 0.1 * values.one());
            }
            net.load(rows, &pairs);
            net.tape.forward();
            net.tape.backward(net.loss.loss);
            let gradients: Vec<u32> =
                net.params().iter().flat_map(|param| bits(net.tape.grad(param.var))).collect();
            (bits(net.tape.value(net.logits)), gradients)
        })
    };
    let one = step(1, &rows);
    for threads in [2, 3, 7] {
        assert!(one == step(threads, &rows), "{threads} threads");
    }
    // An example's logits do not know of its neighbours.
    let alone = step(1, &rows[120..121]).0;
    let before: usize = rows[..120].iter().map(|&row| pairs.target.row(row).len()).sum();
    assert_eq!(one.0[before * 11..][..alone.len()], alone);
}

#[test]
fn a_sequence_that_does_not_fit_is_answered_with_a_sentence() {
    let case = Case::read("encdec_pre");
    let mut net = case.record();
    let mut sentence = |source: &[u32], target: &[u32]| {
        let pairs = SequencePairs {
            source: [source].into_iter().collect(),
            target: [target].into_iter().collect(),
            bos: case.pairs.bos,
        };
        let load = std::panic::AssertUnwindSafe(|| net.load(&[0], &pairs));
        let panic = std::panic::catch_unwind(load).expect_err("a sentence");
        panic.downcast_ref::<String>().expect("a sentence").clone()
    };
    let long = sentence(&[1; 7], &[1]);
    assert!(
        long.contains("source of row 0 has 7 tokens; the model is recorded for 1 to 6"),
        "{long}"
    );
    let empty = sentence(&[1], &[]);
    assert!(empty.contains("target of row 0 has 0 tokens"), "{empty}");
    let token = sentence(&[1, 11], &[1]);
    assert!(token.contains("token 11 at position 1: a vocabulary of 11"), "{token}");
}
