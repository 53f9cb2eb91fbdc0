//! One step of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) in one pass.
//!
//! ```text
//! m = β₁·m + (1 − β₁)·g          v = β₂·v + (1 − β₂)·g²
//! p = p·(1 − lr·λ) − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)         p, g, m, v: (n)
//! ```
//! The order is that of `torch.optim.AdamW`: decay first, then the step. A moment whose size has
//! fallen below 1e-30 (m) or 1e-36 (v) becomes 0, so that no denormal ever slows a step.

use crate::lanes::{LANES, load, store};
use crate::{Real, parallel};
use rayon::prelude::*;
use wide::f32x16;

const M_FLOOR: f32 = 1e-30;
const V_FLOOR: f32 = 1e-36;

/// The scalars of one step, from which the kernel derives its factors in f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay rates of the moments (β₁, β₂).
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// λ; 0 for a parameter that is not decayed.
    pub weight_decay: f64,
    /// t, counted from 1.
    pub t: u64,
}

struct Factors<T> {
    decay: T,
    step: T,
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    unbias: T,
    eps: T,
}

impl Step {
    fn factors<T>(self, of: impl Fn(f64) -> T) -> Factors<T> {
        let (b1, b2) = self.betas;
        let unbias = |b: f64| 1.0 - power(b, self.t);
        Factors {
            decay: of(1.0 - self.lr * self.weight_decay),
            step: of(-self.lr / unbias(b1)),
            beta1: of(b1),
            rest1: of(1.0 - b1),
            beta2: of(b2),
            rest2: of(1.0 - b2),
            unbias: of(1.0 / unbias(b2).sqrt()),
            eps: of(self.eps),
        }
    }
}

/// bᵗ by repeated squaring: std leaves the precision of `powi` open.
fn power(mut b: f64, mut t: u64) -> f64 {
    let mut product = 1.0;
    while t > 0 {
        if t & 1 == 1 {
            product *= b;
        }
        b *= b;
        t >>= 1;
    }
    product
}

/// Updates p, m, v from g. p, g, m, v: (n). False if a gradient was not finite: then p, m and v are
/// spoilt.
#[must_use]
pub fn adamw(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: Step) -> bool {
    let f = step.factors(|x| f32x16::splat(x as f32));
    let block = parallel::block_rows(p.len(), 16 * p.len(), LANES);
    let zero = f32x16::ZERO;
    // One vector of each; `spoilt` takes in 0·g, which is 0, or NaN where g is not finite.
    let update = |[p, g, m, v]: [f32x16; 4], spoilt: &mut f32x16| {
        *spoilt = g.mul_add(zero, *spoilt);
        let m = f.beta1.mul_add(m, f.rest1 * g);
        let m = m.abs().simd_lt(f32x16::splat(M_FLOOR)).select(zero, m);
        let v = f.beta2.mul_add(v, f.rest2 * g * g);
        let v = v.simd_lt(f32x16::splat(V_FLOOR)).select(zero, v);
        let update = m / v.sqrt().mul_add(f.unbias, f.eps);
        [f.step.mul_add(update, p * f.decay), m, v]
    };
    let one = |p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]| {
        let mut spoilt = zero;
        let (p, p_rest) = p.as_chunks_mut::<LANES>();
        let (g, g_rest) = g.as_chunks::<LANES>();
        let (m, m_rest) = m.as_chunks_mut::<LANES>();
        let (v, v_rest) = v.as_chunks_mut::<LANES>();
        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
            let new = update([*p, *g, *m, *v].map(f32x16::new), &mut spoilt);
            [*p, *m, *v] = new.map(f32x16::to_array);
        }
        let rest = [&*p_rest, g_rest, &*m_rest, &*v_rest].map(|x| load(x, 0.0));
        let new = update(rest, &mut spoilt);
        for (x, new) in [p_rest, m_rest, v_rest].into_iter().zip(new) {
            store(new, x);
        }
        spoilt.is_nan().none()
    };
    if block >= p.len() {
        return one(p, g, m, v);
    }
    p.par_chunks_mut(block)
        .zip(g.par_chunks(block))
        .zip(m.par_chunks_mut(block).zip(v.par_chunks_mut(block)))
        .map(|((p, g), (m, v))| one(p, g, m, v))
        .reduce(|| true, |a, b| a && b)
}

/// Reference of [`adamw`].
pub fn adamw_ref<T: Real>(p: &mut [T], g: &[T], m: &mut [T], v: &mut [T], step: Step) {
    let f = step.factors(T::of);
    let zero = T::of(0.0);
    let flush = |x: T, floor: f32| {
        let size = if x < zero { -x } else { x };
        if size < T::of(floor.into()) { zero } else { x }
    };
    for i in 0..p.len() {
        m[i] = flush(f.beta1.mul_add(m[i], f.rest1 * g[i]), M_FLOOR);
        v[i] = flush(f.beta2.mul_add(v[i], f.rest2 * g[i] * g[i]), V_FLOOR);
        let update = m[i] / v[i].sqrt().mul_add(f.unbias, f.eps);
        p[i] = f.step.mul_add(update, p[i] * f.decay);
    }
}
