//! What every golden file has: tensors, an optimiser, and the error of ours.

use autograd::optim::{AdamWConfig, Schedule};
use safetensors::Dtype;
use serde_json::Value;

/// A golden tensor, row major.
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Tensor {
    /// The relative error of `ours`.
    pub fn error(&self, ours: &[f32]) -> f64 {
        relative(&widened(ours), &self.values)
    }
}

/// The numbers of a tensor, widened to f64, which is exact.
pub fn widen(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let four = |b: &[u8]| <[u8; 4]>::try_from(b).expect("four bytes");
    let eight = |b: &[u8]| <[u8; 8]>::try_from(b).expect("eight bytes");
    match dtype {
        Dtype::F32 => bytes.chunks(4).map(|b| f32::from_le_bytes(four(b)).into()).collect(),
        Dtype::I32 => bytes.chunks(4).map(|b| i32::from_le_bytes(four(b)).into()).collect(),
        Dtype::F64 => bytes.chunks(8).map(|b| f64::from_le_bytes(eight(b))).collect(),
        other => panic!("a golden tensor is F32, I32 or F64, not {other:?}"),
    }
}

/// The hyper-parameters of a case.
pub fn read_optim(json: &Value, steps: usize) -> AdamWConfig {
    let real = |value: &Value| value.as_f64().expect("a number");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    AdamWConfig {
        lr: real(&json["lr"]),
        betas: (real(&json["betas"][0]), real(&json["betas"][1])),
        eps: real(&json["eps"]),
        weight_decay: real(&json["weight_decay"]),
        no_decay: json["no_decay"].as_array().expect("a list").iter().map(text).collect(),
        clip: json["clip"].as_f64(),
        warmup: json["warmup"].as_u64().expect("a whole number"),
        schedule: match text(&json["schedule"]).as_str() {
            "constant" => Schedule::Constant,
            "cosine" => Schedule::Cosine,
            other => panic!("the schedule is constant or cosine, not {other}"),
        },
        steps: steps as u64,
    }
}

pub fn widened(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// The L2 norm.
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖ours − gold‖ / ‖gold‖; infinite where the lengths differ.
pub fn relative(ours: &[f64], gold: &[f64]) -> f64 {
    if ours.len() != gold.len() {
        return f64::INFINITY;
    }
    let difference: Vec<f64> = ours.iter().zip(gold).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(gold)
}
