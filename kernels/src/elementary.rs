//! exp, ln, tanh and erf, on one lane or on sixteen, with the same bits.
//!
//! Each function is written once over [`Lane`]: `f32` for references and row scalars, `f32x16` for
//! kernels. Only +, −, ×, ÷, fused multiply-add, rounding and comparison are used, each of which
//! IEEE 754 defines to the bit, so a result is the same on every machine with FMA. Polynomials
//! were fitted by Lawson's weighted minimax iteration in 40-digit arithmetic; the error that each
//! comment states is the fit's. Of the whole functions, swept over every f32 (`tests/tests/oracles.rs`),
//! the worst errors in units in the last place are exp 1.1, tanh 1.4, ln 2.0, erf 2.5, ln_1p 2.5.

use std::ops::{Add, Div, Mul, Neg, Sub};
use wide::{bytemuck, f32x16, i32x16};

/// `f32` or `f32x16`.
pub trait Lane:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// All lanes `x`.
    fn all(x: f32) -> Self;
    /// `self · a + b`, rounded once.
    fn fma(self, a: Self, b: Self) -> Self;
    /// `yes` where `self < x`, else (also for NaN) `no`.
    fn if_less(self, x: f32, yes: Self, no: Self) -> Self;
    /// `yes` where `self > x`, else (also for NaN) `no`.
    fn if_greater(self, x: f32, yes: Self, no: Self) -> Self;
    /// |x|.
    fn magnitude(self) -> Self;
    /// |x| with the sign of `sign`.
    fn signed_as(self, sign: Self) -> Self;
    /// The bits, moved up by 23 places and added to those of `one`: multiplies `one` by 2ⁿ where
    /// `self` = 1.5·2²³ + n.
    fn shift_exponent(self, one: f32) -> Self;
    /// x = m·2ᵉ with m in [√½, √2), for normal x > 0.
    fn split_exponent(self) -> (Self, Self);
}

impl Lane for f32 {
    #[inline(always)]
    fn all(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32) -> f32 {
        self.mul_add(a, b)
    }
    #[inline(always)]
    fn if_less(self, x: f32, yes: f32, no: f32) -> f32 {
        if self < x { yes } else { no }
    }
    #[inline(always)]
    fn if_greater(self, x: f32, yes: f32, no: f32) -> f32 {
        if self > x { yes } else { no }
    }
    #[inline(always)]
    fn magnitude(self) -> f32 {
        self.abs()
    }
    #[inline(always)]
    fn signed_as(self, sign: f32) -> f32 {
        self.copysign(sign)
    }
    #[inline(always)]
    fn shift_exponent(self, one: f32) -> f32 {
        f32::from_bits((self.to_bits() << 23).wrapping_add(one.to_bits()))
    }
    #[inline(always)]
    fn split_exponent(self) -> (f32, f32) {
        let bits = self.to_bits() as i32;
        let e = bits.wrapping_sub(SQRT_HALF_BITS) >> 23;
        (f32::from_bits(bits.wrapping_sub(e << 23) as u32), e as f32)
    }
}

impl Lane for f32x16 {
    #[inline(always)]
    fn all(x: f32) -> f32x16 {
        f32x16::splat(x)
    }
    #[inline(always)]
    fn fma(self, a: f32x16, b: f32x16) -> f32x16 {
        self.mul_add(a, b)
    }
    #[inline(always)]
    fn if_less(self, x: f32, yes: f32x16, no: f32x16) -> f32x16 {
        self.simd_lt(f32x16::splat(x)).select(yes, no)
    }
    #[inline(always)]
    fn if_greater(self, x: f32, yes: f32x16, no: f32x16) -> f32x16 {
        self.simd_gt(f32x16::splat(x)).select(yes, no)
    }
    #[inline(always)]
    fn magnitude(self) -> f32x16 {
        self.abs()
    }
    #[inline(always)]
    fn signed_as(self, sign: f32x16) -> f32x16 {
        f32x16::splat(-0.0).bitselect(sign, self)
    }
    #[inline(always)]
    fn shift_exponent(self, one: f32) -> f32x16 {
        let bits: i32x16 = bytemuck::cast(self);
        bytemuck::cast((bits << 23) + i32x16::splat(one.to_bits() as i32))
    }
    #[inline(always)]
    fn split_exponent(self) -> (f32x16, f32x16) {
        let bits: i32x16 = bytemuck::cast(self);
        let e = (bits - i32x16::splat(SQRT_HALF_BITS)) >> 23;
        (bytemuck::cast(bits - (e << 23)), f32x16::from_i32x16(e))
    }
}

/// The bits of √½ in f32.
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
/// 1.5·2²³: adding it rounds a small float to an integer (ties to even) in the low bits.
const ROUND: f32 = 12_582_912.0;
const LN_2_HI: f32 = 0.693_359_4; // 10 bits: n·LN_2_HI is exact
const LN_2_LO: f32 = -2.121_944_4e-4;

#[inline(always)]
fn polynomial<L: Lane, const N: usize>(x: L, ascending: [f32; N]) -> L {
    let mut p = L::all(ascending[N - 1]);
    for i in (0..N - 1).rev() {
        p = p.fma(x, L::all(ascending[i]));
    }
    p
}

/// e^x = 2ⁿ·e^r: 1.5·2²³ + n, and e^r.
#[inline(always)]
fn exp_parts<L: Lane>(x: L) -> (L, L) {
    // x = n·ln 2 + r, |r| <= ln(2)/2
    let rounded = x.fma(L::all(std::f32::consts::LOG2_E), L::all(ROUND));
    let n = rounded - L::all(ROUND);
    let r = n.fma(L::all(-LN_2_HI), x);
    let r = n.fma(L::all(-LN_2_LO), r);
    // e^r = 1 + r + r²·q(r); fit 3.1e-9
    let q = polynomial(r, [0.5, 0.166_665_18, 0.041_666_206, 0.008_368_882, 0.001_395_047_6]);
    (rounded, (r * r).fma(q, r) + L::all(1.0))
}

/// e^x. Below −86.6 the result is 0 (never a denormal), above 88.72284 it is +∞; NaN stays NaN.
#[inline(always)]
pub fn exp<L: Lane>(x: L) -> L {
    let (n, e_r) = exp_parts(x);
    // 2^(n−1) is a normal float for every n in [−125, 128]
    let y = e_r * n.shift_exponent(0.5) * L::all(2.0);
    let y = x.if_less(-86.6, L::all(0.0), y);
    x.if_greater(88.722_84, L::all(f32::INFINITY), y)
}

/// [`exp`], bit for bit, of an x that is not above 0: 2ⁿ itself is normal, and nothing overflows.
#[inline(always)]
pub fn exp_nonpositive<L: Lane>(x: L) -> L {
    let (n, e_r) = exp_parts(x);
    x.if_less(-86.6, L::all(0.0), e_r * n.shift_exponent(1.0))
}

/// ln x. −∞ at 0, NaN below; a denormal x counts as 0.
#[inline(always)]
pub fn ln<L: Lane>(x: L) -> L {
    // x = m·2^e;  ln x = e·ln 2 + ln m,  m in [√½, √2)
    let (m, e) = x.split_exponent();
    let f = m - L::all(1.0);
    let y = atanh_series(f);
    let y = e.fma(L::all(LN_2_LO), y);
    let y = e.fma(L::all(LN_2_HI), y);
    let y = x.if_less(f32::MIN_POSITIVE, L::all(f32::NEG_INFINITY), y);
    let y = x.if_less(0.0, L::all(f32::NAN), y);
    let y = x.if_greater(f32::MAX, L::all(f32::INFINITY), y);
    x.if_less(f32::INFINITY, y, x + y) // NaN stays NaN
}

/// ln(1 + f) for 1 + f in [√½, √2]: 2·atanh(s), s = f/(2 + f), |s| <= 0.172.
#[inline(always)]
fn atanh_series<L: Lane>(f: L) -> L {
    let s = f / (f + L::all(2.0));
    let z = s * s;
    // atanh(s)/s − 1 = z/3 + z²/5 + z³/7 + z⁴/9 + …; the rest is below 3e-9
    let tail = z * polynomial(z, [2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0]);
    s.fma(tail, s + s)
}

/// ln(1 + x), accurate also where x is tiny. x ≥ 0.
#[inline(always)]
pub fn ln_1p<L: Lane>(x: L) -> L {
    x.if_less(0.4, atanh_series(x), ln(x + L::all(1.0)))
}

/// tanh x.
#[inline(always)]
pub fn tanh<L: Lane>(x: L) -> L {
    let a = x.magnitude();
    // |x| < 0.625: x + x³·q(x²); fit 4.1e-9
    let z = x * x;
    let q =
        polynomial(z, [-0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_579, -0.005_717_037]);
    let small = (z * x).fma(q, x);
    // else 1 − 2/(e^2|x| + 1)
    let large = L::all(1.0) - L::all(2.0) / (exp(a + a) + L::all(1.0));
    a.if_greater(0.625, large, small).signed_as(x)
}

/// The error function.
#[inline(always)]
#[allow(clippy::approx_constant)] // the fitted value, not 2/√π itself
pub fn erf<L: Lane>(x: L) -> L {
    let a = x.magnitude();
    // |x| <= 1: x·p(x²); fit 1.2e-9
    let p = polynomial(
        x * x,
        [
            1.128_379_1,
            -0.376_126_26,
            0.112_836,
            -0.026_854_444,
            0.005_189_535,
            -0.000_802_084_1,
            7.889_119e-5,
        ],
    );
    // else 1 − e^q(|x|), q = ln erfc; fit 1.0e-9 of erfc; beyond 4 erf is 1 in f32
    let a = a.if_greater(4.0, L::all(4.0), a);
    let q = polynomial(
        a,
        [
            -0.000_353_708_92,
            -1.127_04,
            -0.638_225_6,
            -0.103_037_43,
            0.021_805_352,
            -0.002_939_615_6,
            0.000_185_574_9,
        ],
    );
    let large = L::all(1.0) - exp(q);
    a.if_greater(1.0, large.signed_as(x), x * p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Real;

    /// A dense, deterministic walk through the floats of [lo, hi], specials included.
    fn walk(lo: f32, hi: f32) -> Vec<f32> {
        let n = 200_003;
        (0..n).map(|i| lo + (hi - lo) * (i as f32 / (n - 1) as f32)).collect()
    }

    #[test]
    fn sixteen_lanes_give_the_bits_of_one() {
        let mut xs = walk(-95.0, 95.0);
        xs.extend([0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e30, 1e-30]);
        xs.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        xs.resize(xs.len().next_multiple_of(16), 1.0);
        for chunk in xs.chunks_exact(16) {
            let v = f32x16::new(chunk.try_into().unwrap());
            type One = fn(f32) -> f32;
            let wide: [(&str, f32x16, One); 5] = [
                ("exp", exp(v), exp),
                ("ln", ln(v), ln),
                ("ln_1p", ln_1p(v.abs()), |x| ln_1p(x.abs())),
                ("tanh", tanh(v), tanh),
                ("erf", erf(v), erf),
            ];
            for (name, lanes, one) in wide {
                for (&x, y) in chunk.iter().zip(lanes.to_array()) {
                    let y1 = one(x);
                    assert!(
                        y.to_bits() == y1.to_bits() || (y.is_nan() && y1.is_nan()),
                        "{name}({x:e}): lanes {y:e}, scalar {y1:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn exp_of_a_nonpositive_number_has_the_bits_of_exp() {
        let every_256th = (0x8000_0000u32..=0xff80_0000).step_by(256).map(f32::from_bits);
        for x in every_256th.chain(walk(-88.0, 0.0)).chain([0.0, -0.0, f32::NEG_INFINITY]) {
            assert_eq!(exp_nonpositive(x).to_bits(), exp(x).to_bits(), "{x:e}");
        }
        assert!(exp_nonpositive(f32::NAN).is_nan());
    }

    #[test]
    fn special_values_are_those_of_the_standard_library() {
        let inf = f32::INFINITY;
        assert_eq!(
            (exp(-inf), exp(inf), exp(0.0), exp(-90.0), exp(89.0)),
            (0.0, inf, 1.0, 0.0, inf)
        );
        assert_eq!((ln(0.0), ln(1.0), ln(inf)), (-inf, 0.0, inf));
        assert_eq!((tanh(inf), tanh(-inf), erf(inf), erf(-inf)), (1.0, -1.0, 1.0, -1.0));
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(
            [exp(f32::NAN), ln(f32::NAN), ln(-1.0), tanh(f32::NAN), erf(f32::NAN)]
                .iter()
                .all(|y| y.is_nan())
        );
    }

    #[test]
    fn the_f64_error_function_has_the_values_of_the_tables() {
        // Abramowitz & Stegun, table 7.1
        for (x, y) in [(0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650)] {
            assert!((<f64 as Real>::erf(x) - y).abs() < 1e-10);
        }
    }
}
