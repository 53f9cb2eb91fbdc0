//! The times of a step, row by row, and what this machine can do at best.
//!
//! Steps with a clock after every op are taken in turns with steps without one, so that both see the
//! same machine. They are real steps: those after the audited one.
//!
//! Bandwidth is that of a triad, a = b + s·c, over working sets from a part of L1 to beyond the last
//! cache. An op whose operands are so many bytes is measured against the smallest working set that
//! holds them: as if they had just been used. (Operands of 4 MiB that come from memory make an op look
//! slower than the cache is; that is the op's order in the step, and so part of what the ledger shows.)

use crate::bench::{Spread, fma_peak};
use crate::train::Trainer;
use anyhow::{Result, bail};
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long steps are measured, and how often at most.
const TIME: Duration = Duration::from_secs(2);
const REPEATS: usize = 200;
/// One step in so many counts, the quietest: whatever else the machine does only ever adds time, and a
/// mean, unlike a median, keeps the sum of the parts.
const QUIET: usize = 4;
/// Not counted: caches, clock and page tables settle.
const WARM: usize = 3;

/// Working sets of the triad: 16 KiB to 64 MiB.
const SIZES: [u64; 7] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];

/// The bandwidth of a working set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    /// The working set: all three arrays, on all threads.
    pub bytes: u64,
    /// GB/s, reads and writes together.
    pub gb_per_s: f64,
}

/// Milliseconds of each part, means over the quietest steps, and what the machine reached.
#[derive(Debug)]
pub struct Times {
    pub draw: f64,
    pub load: f64,
    /// What interventions draw; 0 where they draw nothing.
    pub disturb: f64,
    /// By op.
    pub forward: Vec<f64>,
    pub loss: f64,
    /// By op; 0 where the loss does not read it.
    pub backward: Vec<f64>,
    pub optimiser: f64,
    /// The norm's rescaling; 0 where there is none.
    pub rescale: f64,
    pub entropy: f64,
    /// Whole steps without hooks, the entropy apart: the mean of the quietest, and all.
    pub step: f64,
    pub steps: Spread,
    pub repeats: usize,
    pub peak_gflops: f64,
    pub bandwidth: Vec<Bandwidth>,
}

/// One step, part by part.
#[derive(Default)]
struct Parts {
    draw: f64,
    load: f64,
    disturb: f64,
    forward: Vec<f64>,
    loss: f64,
    backward: Vec<f64>,
    optimiser: f64,
    rescale: f64,
}

impl Parts {
    fn sum(&self) -> f64 {
        let ops: f64 = self.forward.iter().chain(&self.backward).sum();
        self.draw + self.load + self.disturb + ops + self.loss + self.optimiser + self.rescale
    }
}

/// A clock that is read after each part.
struct Laps(Instant);

impl Laps {
    fn ms(&mut self) -> f64 {
        let now = Instant::now();
        let lap = 1e3 * (now - self.0).as_secs_f64();
        self.0 = now;
        lap
    }
}

/// Measures steps after `audited`, up to where an intervention would start or end: there the last one
/// again and again.
///
/// # Errors
/// If a loss or gradient is not finite.
pub fn times(trainer: &mut Trainer, audited: u64, threads: u16) -> Result<Times> {
    let ops = trainer.model().tape.ops().count();
    let (mut peak, mut bandwidth) = (fma_peak(), bandwidths(threads));
    let (mut plain, mut hooked, mut entropy) = (Vec::new(), Vec::new(), Vec::new());
    let begun = Instant::now();
    let mut step = trainer.after(audited);
    for round in 0.. {
        let mut laps = Laps(Instant::now());
        trainer.forward(step)?;
        let forward = laps.ms();
        trainer.entropy(step)?;
        laps.ms();
        trainer.update(step)?;
        let whole = forward + laps.ms();
        step = trainer.after(step);

        let mut parts =
            Parts { forward: vec![0.0; ops], backward: vec![0.0; ops], ..Parts::default() };
        let mut laps = Laps(Instant::now());
        trainer.draw(step);
        parts.draw = laps.ms();
        trainer.load();
        parts.load = laps.ms();
        if trainer.disturb(step) {
            parts.disturb = laps.ms();
        }
        let model = trainer.parts().0;
        model.tape.forward_with(|i| parts.forward[i] = laps.ms());
        black_box(model.tape.loss_and_hits(model.loss));
        parts.loss = laps.ms();
        trainer.entropy(step)?;
        let h = laps.ms();
        let (model, optimiser) = trainer.parts();
        model.tape.backward_with(model.loss.loss, &[1.0], |i| parts.backward[i] = laps.ms());
        let finite = optimiser.step(&mut model.tape, step);
        parts.optimiser = laps.ms();
        if !finite {
            bail!(trainer.not_finite(step, "a gradient"));
        }
        if trainer.rescale(step)?.is_some() {
            parts.rescale = laps.ms();
        }
        step = trainer.after(step);
        if round >= WARM {
            plain.push(whole);
            hooked.push(parts);
            entropy.push(h);
        }
        if round % 16 == 15 {
            peak = peak.max(fma_peak());
        }
        if plain.len() >= REPEATS || (begun.elapsed() > TIME && plain.len() >= 8) {
            break;
        }
    }
    peak = peak.max(fma_peak());
    for (before, after) in bandwidth.iter_mut().zip(bandwidths(threads)) {
        before.gb_per_s = before.gb_per_s.max(after.gb_per_s);
    }
    let repeats = plain.len();
    hooked.sort_by(|a, b| a.sum().total_cmp(&b.sum()));
    let quiet = &hooked[..repeats.div_ceil(QUIET)];
    let mean = |of: &dyn Fn(&Parts) -> f64| quiet.iter().map(of).sum::<f64>() / quiet.len() as f64;
    Ok(Times {
        draw: mean(&|p| p.draw),
        load: mean(&|p| p.load),
        disturb: mean(&|p| p.disturb),
        forward: (0..ops).map(|i| mean(&|p| p.forward[i])).collect(),
        loss: mean(&|p| p.loss),
        backward: (0..ops).map(|i| mean(&|p| p.backward[i])).collect(),
        optimiser: mean(&|p| p.optimiser),
        rescale: mean(&|p| p.rescale),
        entropy: quietest(entropy),
        step: quietest(plain.clone()),
        steps: Spread::of(plain),
        repeats,
        peak_gflops: peak,
        bandwidth,
    })
}

/// The mean of the quietest.
fn quietest(mut ms: Vec<f64>) -> f64 {
    ms.sort_by(f64::total_cmp);
    let quiet = &ms[..ms.len().div_ceil(QUIET)];
    quiet.iter().sum::<f64>() / quiet.len() as f64
}

/// GB/s of the smallest measured working set that holds so many bytes.
pub fn of_size(bandwidth: &[Bandwidth], bytes: u64) -> f64 {
    let holds = bandwidth.iter().find(|b| b.bytes >= bytes).or(bandwidth.last());
    holds.map_or(f64::INFINITY, |b| b.gb_per_s)
}

fn bandwidths(threads: u16) -> Vec<Bandwidth> {
    let one = |bytes| {
        let per_thread = rayon::broadcast(|_| triad(bytes as usize / usize::from(threads) / 12));
        Bandwidth { bytes, gb_per_s: per_thread.into_iter().sum() }
    };
    SIZES.into_iter().map(one).collect()
}

/// GB/s of a = b + s·c over arrays of n values: the best of seven blocks of about a millisecond.
fn triad(n: usize) -> f64 {
    let n = n.max(1);
    let (mut a, b, c) = (vec![0.0_f32; n], vec![1.0_f32; n], vec![2.0_f32; n]);
    let rounds = (1_usize << 23).div_ceil(12 * n);
    let mut best: f64 = 0.0;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..rounds {
            let (b, c, s) = (black_box(&b), black_box(&c), black_box(0.5));
            for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                *a = c.mul_add(s, *b);
            }
            black_box(&mut a);
        }
        best = best.max((12 * n * rounds) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_is_measured_against_the_smallest_working_set_that_holds_it() {
        let all = [(10, 4.0), (20, 3.0), (40, 2.0)]
            .map(|(bytes, gb_per_s)| Bandwidth { bytes, gb_per_s });
        assert_eq!(
            [1, 10, 11, 40, 41].map(|bytes| of_size(&all, bytes)),
            [4.0, 4.0, 3.0, 2.0, 2.0]
        );
    }
}
