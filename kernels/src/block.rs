//! Several vectors side by side, so that none waits for its own latency.
//!
//! An elementary function is one chain of some twenty operations of four cycles each, and the scheduler
//! of a core holds the operations of a few vectors only. Written operation by operation over a block,
//! independent operations stand next to each other.

use crate::elementary::Lane;
use std::ops::{Add, Div, Mul, Neg, Sub};
use wide::f32x16;

/// N vectors, on which everything is done element by element.
#[derive(Clone, Copy)]
pub(crate) struct Block<const N: usize>(pub [f32x16; N]);

// Loops, not `array::from_fn`: its closures are not always inlined.
impl<const N: usize> Block<N> {
    /// f(self, other), vector by vector.
    #[inline(always)]
    pub(crate) fn zip(mut self, other: Self, f: impl Fn(f32x16, f32x16) -> f32x16) -> Self {
        for i in 0..N {
            self.0[i] = f(self.0[i], other.0[i]);
        }
        self
    }

    #[inline(always)]
    fn map(mut self, f: impl Fn(f32x16) -> f32x16) -> Self {
        for i in 0..N {
            self.0[i] = f(self.0[i]);
        }
        self
    }
}

macro_rules! operator {
    ($trait:ident, $function:ident) => {
        impl<const N: usize> $trait for Block<N> {
            type Output = Self;
            #[inline(always)]
            fn $function(self, other: Self) -> Self {
                self.zip(other, f32x16::$function)
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl<const N: usize> Neg for Block<N> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(f32x16::neg)
    }
}

impl<const N: usize> Lane for Block<N> {
    #[inline(always)]
    fn all(x: f32) -> Self {
        Block([f32x16::splat(x); N])
    }
    #[inline(always)]
    fn fma(mut self, a: Self, b: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].mul_add(a.0[i], b.0[i]);
        }
        self
    }
    #[inline(always)]
    fn if_less(mut self, x: f32, yes: Self, no: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].if_less(x, yes.0[i], no.0[i]);
        }
        self
    }
    #[inline(always)]
    fn if_greater(mut self, x: f32, yes: Self, no: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].if_greater(x, yes.0[i], no.0[i]);
        }
        self
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.map(f32x16::magnitude)
    }
    #[inline(always)]
    fn signed_as(self, sign: Self) -> Self {
        self.zip(sign, f32x16::signed_as)
    }
    #[inline(always)]
    fn shift_exponent(mut self, one: f32) -> Self {
        for x in &mut self.0 {
            *x = x.shift_exponent(one);
        }
        self
    }
    #[inline(always)]
    fn split_exponent(mut self) -> (Self, Self) {
        let mut e = self;
        for i in 0..N {
            (self.0[i], e.0[i]) = self.0[i].split_exponent();
        }
        (self, e)
    }
}
