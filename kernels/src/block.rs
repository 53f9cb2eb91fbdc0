//! Several vectors side by side, so that none waits for its own latency.
//!
//! An elementary function is one chain of some twenty operations of four cycles each, and the scheduler
//! of a core holds the operations of a few vectors only. Written operation by operation over a block,
//! independent operations stand next to each other.

use crate::Write;
use crate::elementary::Lane;
use crate::lanes::{LANES, load, store};
use std::ops::{Add, Div, Mul, Neg, Sub};
use wide::f32x16;

/// N vectors, on which everything is done element by element.
#[derive(Clone, Copy)]
pub struct Block<const N: usize>(pub [f32x16; N]);

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

/// out = f(inputs, before) for the n elements of out, N vectors at a time; `before` is what out holds
/// where `write` adds, else zero. What is left is padded with zeros.
#[inline(always)]
pub fn map<const N: usize, const I: usize>(
    inputs: [&[f32]; I],
    out: &mut [f32],
    write: Write,
    f: impl Fn([Block<N>; I], Block<N>) -> Block<N>,
) {
    let zero = Block([f32x16::ZERO; N]);
    let whole = |vectors: &[[f32; LANES]; N]| {
        let mut block = zero;
        for k in 0..N {
            block.0[k] = f32x16::new(vectors[k]);
        }
        block
    };
    let some = |x: &[f32]| {
        let mut block = zero;
        x.chunks(LANES).zip(&mut block.0).for_each(|(x, v)| *v = load(x, 0.0));
        block
    };
    let n = out.len();
    let blocks = n / (N * LANES);
    let (outs, rest) = out.split_at_mut(blocks * N * LANES);
    let outs = &mut outs.as_chunks_mut::<LANES>().0.as_chunks_mut::<N>().0[..blocks];
    let mut chunks = [&[][..]; I];
    for i in 0..I {
        chunks[i] = &inputs[i].as_chunks::<LANES>().0.as_chunks::<N>().0[..blocks];
    }
    // One loop, so that f has one caller and is inlined.
    for c in 0..n.div_ceil(N * LANES) {
        let (mut x, mut before) = ([zero; I], zero);
        let full = c < blocks;
        for i in 0..I {
            x[i] = if full { whole(&chunks[i][c]) } else { some(&inputs[i][n - rest.len()..n]) };
        }
        if write == Write::Add {
            before = if full { whole(&outs[c]) } else { some(rest) };
        }
        let y = f(x, before);
        if full {
            for k in 0..N {
                outs[c][k] = y.0[k].to_array();
            }
        } else {
            rest.chunks_mut(LANES).zip(&y.0).for_each(|(out, y)| store(*y, out));
        }
    }
}
