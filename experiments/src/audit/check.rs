//! What a step computes against f64: every op by itself, the optimiser, H̃.

use super::dump::Dump;
use crate::config::Config;
use crate::observe::norms::norm;
use crate::observe::spectra::rows;
use crate::train::Trainer;
use anyhow::{Result, bail};
use autograd::Tape;
use autograd::gradcheck::{OpCheck, check_op, relative};
use autograd::optim::gradient_norm;
use kernels::adamw::adamw_ref;
use kernels::covariance::covariance_ref;
use kernels::spectrum::Centring;
use kernels::tridiagonal::{ql, tridiagonalise_ref};
use serde::Serialize;
use std::path::Path;

/// The errors of one step.
#[derive(Debug)]
pub struct Checks {
    /// Of each op, in recording order.
    pub ops: Vec<OpCheck>,
    /// Of AdamW's parameters and moments, where it is largest.
    pub optimiser_error: f64,
    /// Of H̃.
    pub entropy_error: f64,
    /// The norm that the parameters were given after the update, and the one that they have.
    pub norm: Option<(f64, f64)>,
}

/// The largest errors of a step, or what they may be.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Worst {
    pub(super) value_error: f64,
    pub(super) gradient_error: f64,
    pub(super) gradient_check: f64,
    pub(super) optimiser_error: f64,
}

/// Errors above these are an error of the audit. In f32 a value has some 1e-7; a gradient loses digits
/// where large terms cancel.
pub(super) const TOLERANCE: Worst =
    Worst { value_error: 1e-4, gradient_error: 1e-4, gradient_check: 1e-5, optimiser_error: 1e-5 };

impl Checks {
    /// The largest errors.
    pub(super) fn worst(&self) -> Worst {
        // f64::max passes over a NaN, which is to be seen.
        let largest = |of: &dyn Fn(&OpCheck) -> f64| {
            self.ops.iter().map(of).fold(0.0, |most, x| if x <= most { most } else { x })
        };
        Worst {
            value_error: largest(&|c| c.value_error),
            gradient_error: largest(&|c| c.gradient_error.unwrap_or(0.0)),
            gradient_check: largest(&|c| c.difference_error.unwrap_or(0.0)),
            optimiser_error: self.optimiser_error,
        }
    }

    /// Whether the step computes what it should.
    ///
    /// # Errors
    /// If an error is above its tolerance.
    pub fn passed(&self) -> Result<()> {
        let (worst, most) = (self.worst(), TOLERANCE);
        for (what, error, most) in [
            ("the value of an op", worst.value_error, most.value_error),
            ("the gradients of an op", worst.gradient_error, most.gradient_error),
            ("a gradient of an f64 reference", worst.gradient_check, most.gradient_check),
            ("AdamW's update", worst.optimiser_error, most.optimiser_error),
        ] {
            if error > most || error.is_nan() {
                bail!("{what} is off by {error:.1e}, more than {most:.0e}");
            }
        }
        Ok(())
    }
}

/// Makes the update of `step`, checks all of it, and dumps it if a path is given.
///
/// # Errors
/// If something is not finite, or the dump cannot be written.
pub fn check(
    trainer: &mut Trainer,
    config: &Config,
    step: u64,
    dump_path: Option<&Path>,
) -> Result<Checks> {
    trainer.forward(step)?;
    let entropy = trainer.entropy(step)?;
    let reference = entropy_ref(&trainer.model().tape, &config.spectral.at[0])?;
    let entropy_error = relative([(entropy, reference)].into_iter());

    let (model, _) = trainer.parts();
    let loss = model.loss.loss;
    model.tape.backward(loss);
    let mut dump = dump_path.map(|_| Dump::before(trainer, config, step));

    let (model, optimiser) = trainer.parts();
    let results: Vec<_> = model.tape.ops().map(|op| op.outputs()[0]).collect();
    let reached: Vec<bool> = results.iter().map(|&y| model.tape.has_grad(y)).collect();
    let ops = (0..reached.len()).map(|i| check_op(&mut model.tape, i, reached[i])).collect();

    // Checking the ops has overwritten gradients.
    model.tape.backward(loss);
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let clip = optimiser.config().clip;
    let scale = clip.map_or(1.0, |clip| (clip / (gradient_norm(&model.tape) + 1e-6)).min(1.0));
    let mut expected = Vec::new();
    for slot in optimiser.slots() {
        let (p, g) = (model.tape.value(slot.param), model.tape.grad(slot.param));
        let (mut p, mut g, mut m, mut v) = (wide(p), wide(g), wide(&slot.m), wide(&slot.v));
        g.iter_mut().for_each(|g| *g *= scale);
        adamw_ref(&mut p, &g, &mut m, &mut v, optimiser.config().scalars(slot, step));
        expected.push([p, m, v]);
    }
    if !optimiser.step(&mut model.tape, step) {
        bail!(trainer.not_finite(step, "a gradient"));
    }
    let (model, optimiser) = trainer.parts();
    let mut optimiser_error: f64 = 0.0;
    for which in 0..3 {
        let pairs = optimiser.slots().iter().zip(&expected).flat_map(|(slot, expected)| {
            let ours = [model.tape.value(slot.param), &slot.m, &slot.v][which];
            ours.iter().map(|&x| f64::from(x)).zip(expected[which].iter().copied())
        });
        optimiser_error = optimiser_error.max(relative(pairs));
    }
    let target = trainer.rescale(step)?;
    let norm = target.map(|target| (target, norm(&trainer.model().tape)));
    if let (Some(dump), Some(path)) = (&mut dump, dump_path) {
        dump.after(trainer, target);
        dump.write(path)?;
    }
    Ok(Checks { ops, optimiser_error, entropy_error, norm })
}

/// H̃ of a hook: covariance and Householder in plain loops, then the kernel's QL.
fn entropy_ref(tape: &Tape, hook: &str) -> Result<f64> {
    let var = tape.find(hook).expect("the config's check knows the hooks");
    let d = tape.shape(var).1;
    let read = rows(tape, var).collect::<Vec<_>>().concat();
    let covariance = covariance_ref(&read, d, Centring::Centred);
    let (mut diagonal, mut off) = tridiagonalise_ref(&covariance, d);
    ql(&mut diagonal, &mut off)?;
    let total: f64 = diagonal.iter().sum();
    let shares = diagonal.iter().map(|x| x / total).filter(|&p| p > 1e-14);
    let entropy: f64 = shares.map(|p| -p * p.ln()).sum();
    Ok(if d > 1 && total > 0.0 { entropy / (d as f64).ln() } else { 0.0 })
}
