//! The scalar that a reference is generic over.
//!
//! `f32` uses this crate's own elementary functions, so that a reference has the bits of its
//! kernel; `f64` uses the standard library's, so that the gradient check stands on other ground.

use crate::elementary;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f32` (the bit oracle) or `f64` (what central differences are taken of).
pub trait Real:
    Copy
    + PartialOrd
    + AddAssign
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + std::fmt::Debug
    + 'static
{
    /// Nearest value to `x`.
    fn of(x: f64) -> Self;
    /// The value as f64, exactly.
    fn f64(self) -> f64;
    /// `self · a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x).
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// The larger one; `other` where `self` is NaN.
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn f64(self) -> f64 {
        self.into()
    }
    fn mul_add(self, a: f32, b: f32) -> f32 {
        f32::mul_add(self, a, b)
    }
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    fn exp(self) -> f32 {
        elementary::exp(self)
    }
    fn ln(self) -> f32 {
        elementary::ln(self)
    }
    fn ln_1p(self) -> f32 {
        elementary::ln_1p(self)
    }
    fn tanh(self) -> f32 {
        elementary::tanh(self)
    }
    fn erf(self) -> f32 {
        elementary::erf(self)
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn f64(self) -> f64 {
        self
    }
    fn mul_add(self, a: f64, b: f64) -> f64 {
        f64::mul_add(self, a, b)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    fn ln_1p(self) -> f64 {
        f64::ln_1p(self)
    }
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    /// erf(x) = 2/√π · e^(−x²) · Σₙ 2ⁿ x²ⁿ⁺¹ / (2n+1)!! (Abramowitz & Stegun 7.1.6): all terms of
    /// one sign, so nothing cancels. Beyond |x| = 6 it is ±1 to the last bit.
    fn erf(self) -> f64 {
        if self.abs() > 6.0 {
            return self.signum();
        }
        let (mut term, mut sum, mut n) = (self, self, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= 2.0 * self * self / (2.0 * n + 1.0);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-self * self).exp() * sum
    }
}
