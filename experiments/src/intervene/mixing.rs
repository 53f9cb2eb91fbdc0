//! Mixing of representations, and its sham.
//!
//! ```text
//! zᵢ ← (1 − α)·zᵢ + α·z_π(i)                z: (b, d), the site; π a fresh derangement of the batch
//! sham: zᵢ ← zᵢ + α·‖z_π(i) − zᵢ‖·uᵢ        uᵢ a random unit vector; the amplitude is detached
//! ```
//! Mixing moves zᵢ by α·(z_π(i) − zᵢ); the sham moves it as far, and what it says of other examples is
//! nothing. π is drawn from the stream ("derangement", step), u from ("sham", step). The formula is our
//! reading: arXiv:2604.13123 names "representation mixing" and prints neither formula nor strength.

use super::derangement::derange;
use crate::config::intervene::MixingConfig;
use crate::seed::Seed;
use autograd::{Index, Tape, Var};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// The mixing of one run.
#[derive(Debug)]
pub struct Mixing {
    config: MixingConfig,
    seed: Seed,
    recorded: Option<Handles>, // on the tape recorded last
}

/// Where a step's draws go.
#[derive(Clone, Copy, Debug)]
struct Handles {
    partners: Index,    // π: (b)
    noise: Option<Var>, // u: (b, d)
}

impl Mixing {
    /// As the config has it.
    pub fn new(config: &MixingConfig, seed: Seed) -> Mixing {
        Mixing { config: config.clone(), seed, recorded: None }
    }

    /// The hook where it acts.
    pub fn site(&self) -> &str {
        &self.config.site
    }

    /// Whether it acts on a step.
    pub fn acts(&self, step: u64) -> bool {
        (self.config.from..self.config.until).contains(&step)
    }

    /// The first step with it, and the first without.
    pub fn boundaries(&self) -> Vec<u64> {
        vec![self.config.from, self.config.until]
    }

    /// Whether the tape recorded last has it.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// The tape to be recorded next will not have it.
    pub fn forget(&mut self) {
        self.recorded = None;
    }

    /// Records what goes on in place of `z`.
    pub fn record(&mut self, tape: &mut Tape, z: Var) -> Var {
        let (rows, alpha) = (tape.rows(z), self.config.alpha);
        let partners = tape.input(rows);
        let (mixed, noise) = if self.config.sham {
            let amplitude = tape.distance(z, partners, alpha); //           (b, 1)
            tape.detach(amplitude);
            tape.hook("intervene.hook_distance", amplitude);
            let noise = tape.given("intervene.noise", rows, tape.shape(z).1); // (b, d)
            (tape.perturb(z, amplitude, noise), Some(noise))
        } else {
            (tape.mix(z, partners, alpha), None)
        };
        self.recorded = Some(Handles { partners, noise });
        tape.hook("intervene.hook_out", mixed) //                           (b, d)
    }

    /// Draws the step's derangement and noise. False if the tape has no use for them.
    pub fn draw(&self, tape: &mut Tape, step: u64) -> bool {
        let Some(Handles { partners, noise }) = self.recorded else { return false };
        derange(&mut self.seed.stream("derangement", step), tape.entries_mut(partners));
        if let Some(noise) = noise {
            let (_, cols) = tape.shape(noise);
            unit_rows(&mut self.seed.stream("sham", step), tape.value_mut(noise), cols);
        }
        true
    }
}

/// Fills each row of `u` with a random direction: standard normal, at length 1. u: (rows, cols).
fn unit_rows(rng: &mut impl Rng, u: &mut [f32], cols: usize) {
    for row in u.chunks_exact_mut(cols) {
        row.fill_with(|| StandardNormal.sample(rng));
        let length = kernels::norm::squares(row).sqrt();
        kernels::norm::scale(row, (1.0 / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_unit_rows_of_no_preferred_direction() {
        let (rows, cols) = (4000, 6);
        let mut u = vec![0.0; rows * cols];
        unit_rows(&mut Seed(2).stream("sham", 0), &mut u, cols);
        for row in u.chunks_exact(cols) {
            assert!((kernels::norm::squares(row).sqrt() - 1.0).abs() < 1e-6);
        }
        // E u = 0 and E u uᵀ = 1/d: deviations of √(1/(d·rows)) and below.
        for i in 0..cols {
            let mean = u.iter().skip(i).step_by(cols).sum::<f32>() / rows as f32;
            assert!(mean.abs() < 5.0 / ((cols * rows) as f32).sqrt(), "column {i}: {mean}");
            for j in 0..=i {
                let products = u.chunks_exact(cols).map(|u| u[i] * u[j]).sum::<f32>();
                let expected = if i == j { 1.0 / cols as f32 } else { 0.0 };
                let off = (products / rows as f32 - expected).abs();
                assert!(off < 5.0 / (cols as f32 * (rows as f32).sqrt()), "({i}, {j}): {off}");
            }
        }
    }
}
