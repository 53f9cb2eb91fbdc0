//! The golden files of `tests/golden`, small and full-size, as one kind of case.
//!
//! `error = ‖ours − golden‖ / ‖golden‖`. Names, shapes and the formula of the full-size inputs are in
//! `tests/golden/README.md`. Every stored number is widened to f64, which is exact.

mod file;

use autograd::optim::AdamWConfig;
use file::{Tensor, norm, read_optim, relative, widen, widened};
use models::config::{MlpConfig, OneLayerConfig};
use models::{Purpose, Recorded, mlp, one_layer};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The cases with their tensors stored whole, one file each.
pub const SMALL: [&str; 8] =
    ["template", "nanda", "preln", "deep", "postdeep", "mlp", "mlp2", "s5"];
/// The cases in `full.safetensors`, of each tensor its norm and 64 of its elements.
pub const FULL: [&str; 5] = ["template97", "template120", "nanda113", "noln97", "mlp97"];

pub enum Model {
    OneLayer(OneLayerConfig),
    Mlp(MlpConfig),
}

impl Tensor {
    /// A hook at its last position: the last slice along axis 1, along the queries of a pattern.
    pub fn at_last_position(&self, hook: &str) -> Tensor {
        let axis = if hook.ends_with("hook_pattern") { 2 } else { 1 };
        let inner: usize = self.shape[axis + 1..].iter().product();
        let every = self.values.chunks(self.shape[axis] * inner);
        let values = every.flat_map(|rows| &rows[rows.len() - inner..]).copied().collect();
        let mut shape = self.shape.clone();
        shape[axis] = 1;
        Tensor { shape, values }
    }
}

pub struct Case {
    pub name: String,
    pub p: usize,
    pub steps: usize,
    pub batch: usize,
    pub model: Model,
    pub optim: AdamWConfig,
    /// Full-size cases only: where the formula of tokens and labels starts.
    offset: Option<u64>,
    pub gold: BTreeMap<String, Tensor>,
}

impl Case {
    /// Reads a case by its name.
    pub fn read(name: &str) -> Case {
        let full = FULL.contains(&name);
        let file = if full { "full" } else { name };
        let path = format!("{}/golden/{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        let text = &header.metadata().as_ref().expect("metadata")["case"];
        let mut json: Value = serde_json::from_str(text).expect("the case as JSON");
        let mut prefix = String::new();
        if full {
            (json, prefix) = (json[name].take(), format!("{name}/"));
        }
        let mut gold = BTreeMap::new();
        for (key, view) in SafeTensors::deserialize(&bytes).expect("tensors").tensors() {
            if let Some(key) = key.strip_prefix(&prefix) {
                let values = widen(view.dtype(), view.data());
                gold.insert(key.to_owned(), Tensor { shape: view.shape().to_vec(), values });
            }
        }
        let number = |value: &Value| value.as_u64().expect("a whole number") as usize;
        let (steps, offset) = (number(&json["steps"]), json["offset"].as_u64());
        assert_eq!(full, offset.is_some(), "{name}: the offset of the formula");
        Case {
            name: name.to_owned(),
            p: number(&json["p"]),
            steps,
            batch: number(&json["optim"]["batch"]),
            optim: read_optim(&json["optim"], steps),
            model: read_model(json["model"].take()),
            offset,
            gold,
        }
    }

    /// Records the model; p symbols and p classes, whatever they stand for.
    pub fn record(&self, purpose: Purpose) -> Recorded {
        match &self.model {
            Model::OneLayer(c) => one_layer(c, self.p, self.p, purpose, None),
            Model::Mlp(c) => mlp(c, self.p, self.p, purpose, None),
        }
    }

    /// The names of the golden parameters.
    pub fn names(&self) -> BTreeSet<&str> {
        let names = self.gold.keys().filter_map(|key| key.strip_prefix("grad/"));
        let once = names.filter(|name| !name.ends_with("/sample"));
        once.map(|name| name.strip_suffix("/norm").unwrap_or(name)).collect()
    }

    /// The starting values of a parameter, in the order of the golden file.
    pub fn start(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        match self.offset {
            None => self.gold[&format!("param/{name}")].values.iter().map(|&x| x as f32).collect(),
            Some(_) => formula(name, shape),
        }
    }

    /// The pairs and the labels of batch `step`.
    pub fn batch(&self, step: usize) -> (Vec<[u32; 2]>, Vec<u32>) {
        let n_ctx = match &self.model {
            Model::OneLayer(c) => c.tokens.n_ctx(),
            Model::Mlp(c) => c.tokens.n_ctx(),
        };
        let number = |tensor: &str, i: usize| match self.offset {
            None => self.gold[tensor].values[i] as u32,
            Some(offset) => {
                let at = fnv1a64(tensor).wrapping_add(offset + i as u64);
                ((splitmix64(at) >> 11) % self.p as u64) as u32
            }
        };
        let rows = step * self.batch..(step + 1) * self.batch;
        let pair = |row| [0, 1].map(|column| number("tokens", row * n_ctx + column));
        (rows.clone().map(pair).collect(), rows.map(|row| number("labels", row)).collect())
    }

    /// The relative error of `ours` against the golden tensor: of the whole tensor, or where only
    /// a summary is stored, the greater of the norm's error and the sample's.
    pub fn error(&self, tensor: &str, ours: &[f32]) -> f64 {
        if let Some(whole) = self.gold.get(tensor) {
            return whole.error(ours);
        }
        let ours = widened(ours);
        let seed = fnv1a64(&format!("sample:{tensor}"));
        let element = |j| ours[(splitmix64(seed.wrapping_add(j)) % ours.len() as u64) as usize];
        let sample: Vec<f64> = (0..64).map(element).collect();
        let norm_error = relative(&[norm(&ours)], &self.gold[&format!("{tensor}/norm")].values);
        let sample_error = relative(&sample, &self.gold[&format!("{tensor}/sample")].values);
        // Not f64::max, which would pass over a NaN.
        if norm_error <= sample_error { sample_error } else { norm_error }
    }

    /// The L2 norm of a golden tensor.
    pub fn norm(&self, tensor: &str) -> f64 {
        match self.gold.get(tensor) {
            Some(whole) => norm(&whole.values),
            None => self.gold[&format!("{tensor}/norm")].values[0],
        }
    }
}

fn read_model(mut json: Value) -> Model {
    let fields = json.as_object_mut().expect("the model is an object");
    let kind = fields.remove("kind").expect("a kind");
    for derived in ["d_vocab", "n_ctx", "d_vocab_out"] {
        fields.remove(derived);
    }
    match kind.as_str() {
        Some("one_layer") => Model::OneLayer(serde_json::from_value(json).expect("its fields")),
        Some("mlp") => Model::Mlp(serde_json::from_value(json).expect("its fields")),
        _ => panic!("the model is a one_layer or an mlp, not {kind}"),
    }
}

/// The starting values of a full-size parameter.
fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let last = name.rsplit('.').next().expect("a name");
    let fan_in = match (last, shape) {
        ("W_O", &[h, e, _]) => h * e,
        (_, &[.., rows, _]) => rows,
        _ => 1,
    };
    let scale = match last {
        "W_E" | "W_pos" => 1.0,
        "w" => 0.1,
        _ if last.starts_with('b') => 0.02,
        _ => (3.0 / fan_in as f64).sqrt(),
    };
    let value = |i: usize| {
        let bits = splitmix64(fnv1a64(name).wrapping_add(i as u64)) >> 40;
        let x = (bits as f32 / 8_388_608.0 - 1.0) * scale as f32;
        if last == "w" { 1.0 + x } else { x }
    };
    (0..shape.iter().product()).map(value).collect()
}

fn fnv1a64(text: &str) -> u64 {
    let eat = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, eat)
}

fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[test]
fn the_formula_repeats_the_vectors_of_the_readme() {
    assert_eq!(splitmix64(1), 0x910a_2dec_8902_5cc1);
    assert_eq!(fnv1a64("foobar"), 0x8594_4171_f739_67e8);
    let first = |name, shape: &[usize]| formula(name, shape)[..3].to_vec();
    let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let expected = [
        ("embed.W_E", vec![97, 128], [0x3f0c1766, 0x3f0a8564, 0xbf60b178]),
        ("blocks.0.attn.W_Q", vec![4, 128, 32], [0x3e0524bf, 0xbe16368f, 0xbd0d8327]),
        ("blocks.0.mlp.W_out", vec![512, 128], [0xbd89fa85, 0xbb8c99cc, 0x3d44a770]),
        ("blocks.0.ln1.w", vec![128], [0x3f8c9b55, 0x3f834ac4, 0x3f76226e]),
        ("blocks.0.attn.b_Q", vec![4, 32], [0xbb56540a, 0xbc68d31c, 0x3c16a221]),
    ];
    for (name, shape, values) in expected {
        assert_eq!(bits(first(name, &shape)), values, "{name}");
    }
    let (pairs, labels) = Case::read("nanda113").batch(0);
    assert_eq!((&pairs[..2], &labels[..4]), (&[[74, 47], [43, 96]][..], &[26, 72, 45, 73][..]));
}
