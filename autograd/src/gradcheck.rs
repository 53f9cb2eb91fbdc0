//! The gradient check: every op's backward against central differences.
//!
//! For an op y = f(x) and a *random* upstream gradient u, let L = Σ u·y. Two links are checked: the
//! f64 reference's gradient against (L(x + h) − L(x − h))/2h of the f64 forward, and the tape's
//! gradient in f32 against the f64 reference's. (With an upstream of ones the gradient of a softmax
//! is zero and any backward would pass.)

use crate::ops::{Args, Case};
use crate::{Rows, Tape, Var};

/// What one trial of one op showed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The op and form.
    pub name: &'static str,
    /// Shapes of the inputs.
    pub shapes: Vec<(usize, usize)>,
    /// ‖f64 reference − differences‖ / ‖differences‖ of the gradients of all inputs.
    pub difference_error: f64,
    /// ‖tape − f64 reference‖ / ‖f64 reference‖ of the gradients of all inputs.
    pub gradient_error: f64,
    /// ‖tape − f64 reference‖ / ‖f64 reference‖ of the result.
    pub value_error: f64,
    /// The result and all gradients have the bits of the f32 reference.
    pub bits_agree: bool,
}

/// A small deterministic stream of values in ±[0.1, 1.1], away from every kink at 0.
fn draws(mut state: u64) -> impl FnMut() -> f32 {
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (state >> 40) as f32 / (1 << 24) as f32;
        if (state >> 39) & 1 == 0 { 0.1 + x } else { -0.1 - x }
    }
}

fn relative(differences: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut off, mut size) = (0.0, 0.0);
    for (ours, theirs) in differences {
        off += (ours - theirs) * (ours - theirs);
        size += theirs * theirs;
    }
    if off == 0.0 { 0.0 } else { (off / size).sqrt() }
}

/// Runs every trial of a case.
pub fn check(case: &Case) -> Vec<Trial> {
    (0..case.shapes.len()).map(|trial| check_trial(case, trial)).collect()
}

fn check_trial(case: &Case, trial: usize) -> Trial {
    let shapes = &case.shapes[trial];
    let index = case.index.get(trial).cloned().unwrap_or_default();
    let mut draw = draws(trial as u64 + 1);

    let mut tape = Tape::new(1, true);
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, s)| tape.param(&format!("x{i}"), s.0, s.1)).collect();
    let list = tape.constant(Rows::Fixed(index.len()), index.clone());
    let y = (case.record)(&mut tape, &vars, list);
    let inputs: Vec<Vec<f32>> =
        shapes.iter().map(|s| (0..s.0 * s.1).map(|_| draw()).collect()).collect();
    for (&var, x) in vars.iter().zip(&inputs) {
        tape.value_mut(var).copy_from_slice(x);
    }
    tape.forward();
    let upstream: Vec<f32> = tape.value(y).iter().map(|_| draw()).collect();
    tape.backward_from(y, &upstream);

    let same = |a: &[f32], b: &[f32]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    let args = Args { inputs: &inputs, shapes, index: &index };
    let d32 = (case.reference.0.backward)(&args, &upstream);
    let bits_agree = same(tape.value(y), &(case.reference.0.forward)(&args))
        && vars.iter().zip(&d32).all(|(&x, d)| same(tape.grad(x), d));

    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let mut inputs: Vec<Vec<f64>> = inputs.iter().map(|x| wide(x)).collect();
    let upstream = wide(&upstream);
    let reference = case.reference.1;
    let args = Args { inputs: &inputs, shapes, index: &index };
    let (y64, d64) = ((reference.forward)(&args), (reference.backward)(&args, &upstream));
    let pairs = |ours: &[f32], theirs: &[f64]| {
        ours.iter().map(|&x| f64::from(x)).zip(theirs.to_vec()).collect::<Vec<_>>()
    };
    let value_error = relative(pairs(tape.value(y), &y64).into_iter());
    let gradient_error = relative(vars.iter().zip(&d64).flat_map(|(&x, d)| pairs(tape.grad(x), d)));

    let h = 1e-5;
    let mut slopes = Vec::new();
    for i in 0..inputs.len() {
        // every element of a small input, an even sample of a large one
        for j in (0..inputs[i].len()).step_by(inputs[i].len().div_ceil(256).max(1)) {
            let x = inputs[i][j];
            let mut loss_at = |x: f64| -> f64 {
                inputs[i][j] = x;
                let y = (reference.forward)(&Args { inputs: &inputs, shapes, index: &index });
                y.iter().zip(&upstream).map(|(y, u)| y * u).sum()
            };
            let slope = (loss_at(x + h) - loss_at(x - h)) / (2.0 * h);
            inputs[i][j] = x;
            slopes.push((d64[i][j], slope));
        }
    }
    Trial {
        name: case.name,
        shapes: shapes.clone(),
        difference_error: relative(slopes.into_iter()),
        gradient_error,
        value_error,
        bits_agree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_has_the_gradient_of_its_f64_reference() {
        for case in crate::ops::registry() {
            for trial in check(&case) {
                println!("{trial:?}");
                assert!(trial.difference_error < 1e-7, "{trial:?}");
                assert!(trial.gradient_error < 1e-6, "{trial:?}");
                assert!(trial.value_error < 1e-6, "{trial:?}");
            }
        }
    }

    #[test]
    fn every_op_has_the_bits_of_its_f32_reference() {
        for case in crate::ops::registry() {
            for trial in check(&case) {
                assert!(trial.bits_agree, "{trial:?}");
            }
        }
    }
}
