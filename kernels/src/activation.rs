//! ReLU and GELU, element by element.
//!
//! ```text
//! relu      y = max(x, 0)                                   dy/dx = 1 where x > 0, else 0
//! gelu      y = x·Φ(x),  Φ(x) = (1 + erf(x/√2))/2           dy/dx = Φ(x) + x·φ(x),  φ(x) = e^(−x²/2)/√2π
//! gelu_tanh y = x·(1 + tanh u)/2,  u = √(2/π)·(x + 0.044715·x³)
//!                                                           dy/dx = (1 + t)/2 + x·(1 − t²)/2 · u′
//! ```
//! x, y: (n). Hendrycks & Gimpel 2016 (arXiv:1606.08415) for both forms of GELU.

use crate::block::{self, Block};
use crate::elementary::{self, Lane};
use crate::lanes::LANES;
use crate::{Real, Write, parallel};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// max(x, 0)
    Relu,
    /// x·Φ(x) with the error function: PyTorch's default GELU.
    Gelu,
    /// The tanh approximation of GELU: GPT-2's.
    GeluTanh,
}

const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044_715;

#[inline(always)]
fn half<L: Lane>(x: L) -> L {
    x * L::all(0.5)
}

/// Φ(x), the normal distribution function.
#[inline(always)]
fn phi<L: Lane>(x: L) -> L {
    half(elementary::erf(x * L::all(FRAC_1_SQRT_2 as f32))) + L::all(0.5)
}

/// tanh u and u′ of the tanh form.
#[inline(always)]
fn tanh_u<L: Lane>(x: L) -> (L, L) {
    let xx = x * x;
    let u = x * L::all(SQRT_2_OVER_PI as f32) * xx.fma(L::all(CUBIC as f32), L::all(1.0));
    let slope = L::all(SQRT_2_OVER_PI as f32) * xx.fma(L::all((3.0 * CUBIC) as f32), L::all(1.0));
    (elementary::tanh(u), slope)
}

impl Act {
    #[inline(always)]
    fn value<L: Lane>(self, x: L) -> L {
        match self {
            Act::Relu => x.if_less(0.0, L::all(0.0), x),
            Act::Gelu => x * phi(x),
            Act::GeluTanh => half(x).fma(tanh_u(x).0, half(x)),
        }
    }

    #[inline(always)]
    fn slope<L: Lane>(self, x: L) -> L {
        match self {
            Act::Relu => x.if_greater(0.0, L::all(1.0), L::all(0.0)),
            Act::Gelu => {
                let density = elementary::exp(-half(x * x)) * L::all((0.5 * SQRT_2_OVER_PI) as f32);
                x.fma(density, phi(x))
            }
            Act::GeluTanh => {
                let (t, slope) = tanh_u(x);
                let rest = half(x) * (L::all(1.0) - t * t);
                rest.fma(slope, half(t) + L::all(0.5))
            }
        }
    }

    /// y = act(x). x, y: (n).
    #[inline(always)]
    pub fn forward(self, x: &[f32], y: &mut [f32]) {
        // One loop for each function: the choice stays outside.
        match self {
            Act::Relu => block::map::<4, _>([x], y, Write::Set, |[x], _| Act::Relu.value(x)),
            Act::Gelu => block::map::<4, _>([x], y, Write::Set, |[x], _| Act::Gelu.value(x)),
            Act::GeluTanh => {
                block::map::<4, _>([x], y, Write::Set, |[x], _| Act::GeluTanh.value(x))
            }
        }
    }

    /// dx (+)= dy·act′(x). x, dy, dx: (n).
    pub fn backward(self, x: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
        let work = 16 * dx.len();
        parallel::rows(dx, 1, work, LANES, |first, dx| {
            let (x, dy) = (&x[first..], &dy[first..]);
            match self {
                Act::Relu => Act::Relu.chain::<4>(x, dy, dx, write),
                // Its two exponentials, erf's polynomials among them, fill the registers of two vectors.
                Act::Gelu => Act::Gelu.chain::<2>(x, dy, dx, write),
                Act::GeluTanh => Act::GeluTanh.chain::<4>(x, dy, dx, write),
            }
        });
    }

    #[inline(always)]
    fn chain<const N: usize>(self, x: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
        let f = move |[x, dy]: [Block<N>; 2], before| dy.fma(self.slope(x), before);
        block::map([x, dy], dx, write, f);
    }

    /// Reference of [`Act::forward`] for one element.
    pub fn value_ref<T: Real>(self, x: T) -> T {
        let half = T::of(0.5);
        match self {
            Act::Relu => {
                if x < T::of(0.0) {
                    T::of(0.0)
                } else {
                    x
                }
            }
            Act::Gelu => x * phi_ref(x),
            Act::GeluTanh => (half * x).mul_add(tanh_u_ref(x).0, half * x),
        }
    }

    /// Reference of the derivative.
    pub fn slope_ref<T: Real>(self, x: T) -> T {
        let (half, one) = (T::of(0.5), T::of(1.0));
        match self {
            Act::Relu => {
                if x > T::of(0.0) {
                    one
                } else {
                    T::of(0.0)
                }
            }
            Act::Gelu => {
                let density = (-(x * x * half)).exp() * T::of(0.5 * SQRT_2_OVER_PI);
                x.mul_add(density, phi_ref(x))
            }
            Act::GeluTanh => {
                let (t, slope) = tanh_u_ref(x);
                (half * x * (one - t * t)).mul_add(slope, half * t + half)
            }
        }
    }
}

fn phi_ref<T: Real>(x: T) -> T {
    (x * T::of(FRAC_1_SQRT_2)).erf() * T::of(0.5) + T::of(0.5)
}

fn tanh_u_ref<T: Real>(x: T) -> (T, T) {
    let (c, xx) = (T::of(SQRT_2_OVER_PI), x * x);
    let u = x * c * xx.mul_add(T::of(CUBIC), T::of(1.0));
    (u.tanh(), c * xx.mul_add(T::of(3.0 * CUBIC), T::of(1.0)))
}
