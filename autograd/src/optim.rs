//! AdamW over the parameters of a tape, and the learning-rate schedule.
//!
//! lr(t) = lr·min(t/warmup, 1), then constant or half a cosine from lr to 0 at the last step; t counts
//! from 0, so with a warm-up the first step learns nothing (as in the code of Nanda et al. 2023).
//!
//! Clipping: where the norm ‖g‖ of all gradients together is above `clip`, each becomes g·clip/(‖g‖ + 1e-6),
//! as `torch.nn.utils.clip_grad_norm_` has it. ‖g‖² is summed in f64, parameter by parameter, on one
//! thread.

use crate::{Tape, Var};
use kernels::adamw::{Step, adamw};
use kernels::{Buffer, norm};

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Stays at lr.
    Constant,
    /// lr·(1 + cos(π·(t − warmup)/(steps − warmup)))/2.
    Cosine,
}

/// The hyper-parameters of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
#[derive(Clone, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Peak learning rate.
    pub lr: f64,
    /// Decay rates of the moments.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// A parameter whose name contains one of these is not decayed.
    pub no_decay: Vec<String>,
    /// The largest norm of all gradients together; `None` to leave them as they are.
    pub clip: Option<f64>,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// After the warm-up.
    pub schedule: Schedule,
    /// Length of the run, which a cosine needs.
    pub steps: u64,
}

impl AdamWConfig {
    /// The learning rate of step t, counted from 0.
    pub fn lr_at(&self, t: u64) -> f64 {
        if t < self.warmup {
            return self.lr * t as f64 / self.warmup as f64;
        }
        match self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Cosine => {
                let done = (t - self.warmup) as f64 / (self.steps - self.warmup).max(1) as f64;
                self.lr * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        }
    }
}

impl AdamWConfig {
    /// The scalars of one parameter's step t, counted from 0.
    pub fn scalars(&self, slot: &Slot, t: u64) -> Step {
        let AdamWConfig { betas, eps, .. } = *self;
        Step { lr: self.lr_at(t), betas, eps, weight_decay: slot.weight_decay, t: t + 1 }
    }
}

/// The moments of every parameter of a tape.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    slots: Vec<Slot>,
}

/// One parameter's moments.
#[derive(Debug)]
pub struct Slot {
    /// The parameter.
    pub param: Var,
    /// First moment, of the parameter's shape.
    pub m: Buffer,
    /// Second moment.
    pub v: Buffer,
    /// Its weight decay: 0 where the config exempts it.
    pub weight_decay: f64,
}

impl AdamW {
    /// Zero moments for the parameters of `tape`.
    pub fn new(config: AdamWConfig, tape: &Tape) -> AdamW {
        let slot = |&param: &Var| {
            let exempt = config.no_decay.iter().any(|part| tape.name(param).contains(part));
            let len = tape.value(param).len();
            let weight_decay = if exempt { 0.0 } else { config.weight_decay };
            Slot { param, m: Buffer::zeros(len), v: Buffer::zeros(len), weight_decay }
        };
        let slots = tape.params().iter().map(slot).collect();
        AdamW { config, slots }
    }

    /// Goes on with the parameters of another recording of the same model; the moments stay.
    ///
    /// # Panics
    /// If it has other parameters.
    pub fn move_to(&mut self, tape: &Tape) {
        assert_eq!(self.slots.len(), tape.params().len(), "tapes of different models");
        for (slot, &param) in self.slots.iter_mut().zip(tape.params()) {
            assert_eq!(slot.m.len(), tape.value(param).len(), "tapes of different models");
            slot.param = param;
        }
    }

    /// Updates every parameter from its gradient; t is the number of steps done before. With clipping the
    /// tape holds the clipped gradients afterwards. A frozen parameter has no gradient and stays as it is, its
    /// decay included. False if a gradient was not finite: then the parameters
    /// are spoilt.
    #[must_use]
    pub fn step(&mut self, tape: &mut Tape, t: u64) -> bool {
        let mut finite = true;
        if let Some(clip) = self.config.clip {
            let factor = clip / (gradient_norm(tape) + 1e-6);
            // A norm that is not finite goes through: the step below tells of it.
            if factor < 1.0 {
                for slot in &self.slots {
                    norm::scale(tape.grad_mut(slot.param), factor as f32);
                }
            }
        }
        for slot in &mut self.slots {
            let (p, g) = tape.param_and_grad(slot.param);
            if g.is_empty() {
                continue;
            }
            let step = self.config.scalars(slot, t);
            finite &= adamw(p, g, &mut slot.m, &mut slot.v, step);
        }
        finite
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// The moments, in the order of the tape's parameters.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The moments, to be restored.
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }
}

/// The norm of the gradients of all parameters together, in f64.
pub fn gradient_norm(tape: &Tape) -> f64 {
    tape.params().iter().map(|&param| norm::squares(tape.grad(param))).sum::<f64>().sqrt()
}
