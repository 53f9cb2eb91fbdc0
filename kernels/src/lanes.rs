//! Sixteen lanes, and the one order in which a row is reduced.
//!
//! A reduction of x: (n) runs in 16 virtual lanes: lane j takes xⱼ, xⱼ₊₁₆, xⱼ₊₃₂, …; the
//! tail is padded with the neutral element. The lanes are then folded by one fixed tree: lane j
//! takes in lane j+8, then j+4, j+2, j+1. The tree is the same for every SIMD width.

use crate::{Real, Write};
use wide::{bytemuck, f32x4, f32x8, f32x16};

/// Lanes in a vector.
pub const LANES: usize = 16;

/// `x[..16]` as a vector; a shorter `x` is padded with `pad`.
#[inline(always)]
pub(crate) fn load(x: &[f32], pad: f32) -> f32x16 {
    match x.first_chunk::<LANES>() {
        Some(full) => f32x16::new(*full),
        None => load_short(x, pad),
    }
}

/// Asks for the cache line of `x[at]`, so that it is in L2 when it is read. Nothing happens where x ends before
/// it, or where the CPU is not an x86-64.
#[inline(always)]
pub(crate) fn prefetch(x: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = x.get(at) {
        safe_arch::prefetch_t1(element);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, at);
}

// Not inlined: around the call to memcpy every vector that is held would be saved.
#[cold]
#[inline(never)]
fn load_short(x: &[f32], pad: f32) -> f32x16 {
    let mut buffer = [pad; LANES];
    buffer[..x.len()].copy_from_slice(x);
    f32x16::new(buffer)
}

/// Writes the first `x.len()` lanes (at most 16) of `v` to `x`.
#[inline(always)]
pub(crate) fn store(v: f32x16, x: &mut [f32]) {
    match x.first_chunk_mut::<LANES>() {
        Some(full) => *full = v.to_array(),
        None => {
            let n = x.len();
            x.copy_from_slice(&v.as_array()[..n]);
        }
    }
}

/// The sum of the sixteen lanes, by the tree.
#[inline(always)]
pub(crate) fn fold_sum(v: f32x16) -> f32 {
    let [a, b]: [f32x8; 2] = bytemuck::cast(v);
    let [a, b]: [f32x4; 2] = bytemuck::cast(a + b);
    let [a, b, c, d] = (a + b).to_array();
    (a + c) + (b + d)
}

/// The largest of the sixteen lanes, by the tree.
#[inline(always)]
pub(crate) fn fold_max(v: f32x16) -> f32 {
    let [a, b]: [f32x8; 2] = bytemuck::cast(v);
    let [a, b]: [f32x4; 2] = bytemuck::cast(a.fast_max(b));
    let [a, b, c, d] = a.fast_max(b).to_array();
    Real::max(Real::max(a, c), Real::max(b, d))
}

/// Folds the sixteen lanes by the tree.
#[inline(always)]
pub(crate) fn fold<T: Copy>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    for width in [8, 4, 2, 1] {
        for j in 0..width {
            lanes[j] = f(lanes[j], lanes[j + width]);
        }
    }
    lanes[0]
}

/// The first `n` lanes (at most 16) of x, the others `pad`. Where x goes on behind them, as a row of a
/// matrix does, one masked load does it.
#[inline(always)]
pub(crate) fn load_tail(x: &[f32], n: usize, pad: f32) -> f32x16 {
    match x.first_chunk::<LANES>() {
        Some(full) => first_lanes(n).select(f32x16::new(*full), f32x16::splat(pad)),
        None => load(&x[..n], pad),
    }
}

/// Writes the first `n` lanes of v to x.
#[inline(always)]
pub(crate) fn store_tail(v: f32x16, x: &mut [f32], n: usize) {
    match x.first_chunk_mut::<LANES>() {
        Some(full) => *full = first_lanes(n).select(v, f32x16::new(*full)).to_array(),
        None => store(v, &mut x[..n]),
    }
}

/// True in the first `n` lanes.
#[inline(always)]
pub(crate) fn first_lanes(n: usize) -> f32x16 {
    const NUMBER: f32x16 =
        f32x16::new([0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.]);
    NUMBER.simd_lt(f32x16::splat(n as f32))
}

/// out = f(inputs, before) for the first n elements, sixteen at a time; `before` is what out holds
/// where `write` adds, else zero. The last sixteen overlap those before: they are read first and written
/// last. Fewer than sixteen are padded with zeros.
#[inline(always)]
pub(crate) fn map<const N: usize>(
    n: usize,
    inputs: [&[f32]; N],
    out: &mut [f32],
    write: Write,
    f: impl Fn([f32x16; N], f32x16) -> f32x16,
) {
    let full = n / LANES;
    let (start, tail) = (full * LANES, n % LANES);
    let zero = f32x16::ZERO;
    let out = &mut out[..n];
    let mut last = zero;
    if tail > 0 {
        let from = n.saturating_sub(LANES);
        let inputs = inputs.map(|x| load(&x[from..n], 0.0));
        let before = if write == Write::Add { load(&out[from..], 0.0) } else { zero };
        last = f(inputs, before);
    }
    let chunks = inputs.map(|x| x[..start].as_chunks::<LANES>().0);
    let (outs, _) = out[..start].as_chunks_mut::<LANES>();
    match write {
        Write::Set => {
            for (c, out) in outs.iter_mut().enumerate() {
                *out = f(std::array::from_fn(|i| f32x16::new(chunks[i][c])), zero).to_array();
            }
        }
        Write::Add => {
            for (c, out) in outs.iter_mut().enumerate() {
                let before = f32x16::new(*out);
                *out = f(std::array::from_fn(|i| f32x16::new(chunks[i][c])), before).to_array();
            }
        }
    }
    if tail > 0 {
        store(last, &mut out[n.saturating_sub(LANES)..]);
    }
}

/// Runs `f(sums, inputs)` over the first n elements of the inputs, sixteen at a time; the tail of the
/// i-th input is padded with `pad[i]`.
#[inline(always)]
pub(crate) fn reduce<const N: usize, const A: usize>(
    n: usize,
    inputs: [&[f32]; N],
    pad: [f32; N],
    mut sums: [f32x16; A],
    f: impl Fn([f32x16; A], [f32x16; N]) -> [f32x16; A],
) -> [f32x16; A] {
    let full = n / LANES;
    let (start, tail) = (full * LANES, n % LANES);
    let chunks = inputs.map(|x| &x[..start].as_chunks::<LANES>().0[..full]);
    for c in 0..full {
        sums = f(sums, std::array::from_fn(|i| f32x16::new(chunks[i][c])));
    }
    if tail > 0 {
        let last = std::array::from_fn(|i| load_tail(&inputs[i][start..], tail, pad[i]));
        sums = f(sums, last);
    }
    sums
}

const ZERO: [f32x16; 1] = [f32x16::new([0.0; LANES])];

/// Σ x. x: (n).
#[inline]
pub fn sum(x: &[f32]) -> f32 {
    sum_of(x.len(), x)
}

/// Σ of the first n elements.
#[inline(always)]
pub(crate) fn sum_of(n: usize, x: &[f32]) -> f32 {
    fold_sum(reduce(n, [x], [0.0], ZERO, |[sum], [x]| [sum + x])[0])
}

/// Σ x·y. x, y: (n).
#[inline]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len(), "dot: x and y differ in length");
    dot_of(x.len(), x, y)
}

/// Σ x·y of the first n elements.
#[inline(always)]
pub(crate) fn dot_of(n: usize, x: &[f32], y: &[f32]) -> f32 {
    fold_sum(reduce(n, [x, y], [0.0; 2], ZERO, |[sum], [x, y]| [x.mul_add(y, sum)])[0])
}

/// The largest x; −∞ for an empty x. x: (n).
#[inline]
pub fn max(x: &[f32]) -> f32 {
    max_of(x.len(), x)
}

/// The largest of the first n elements.
#[inline(always)]
pub(crate) fn max_of(n: usize, x: &[f32]) -> f32 {
    let lowest = f32::NEG_INFINITY;
    let sums = [f32x16::splat(lowest)];
    fold_max(reduce(n, [x], [lowest], sums, |[max], [x]| [max.fast_max(x)])[0])
}

/// Folds `n` values in the order of this module; `value(i)` gives the i-th.
pub fn reduce_ref<T: Copy>(
    n: usize,
    neutral: T,
    value: impl Fn(usize) -> T,
    f: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [neutral; LANES];
    for i in 0..n.next_multiple_of(LANES) {
        let x = if i < n { value(i) } else { neutral };
        lanes[i % LANES] = f(lanes[i % LANES], x);
    }
    fold(lanes, f)
}

/// Reference of [`sum`].
pub fn sum_ref<T: Real>(x: &[T]) -> T {
    reduce_ref(x.len(), T::of(0.0), |i| x[i], |a, b| a + b)
}

/// Reference of [`dot`].
pub fn dot_ref<T: Real>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::of(0.0); LANES];
    for i in 0..x.len().next_multiple_of(LANES) {
        let (a, b) = if i < x.len() { (x[i], y[i]) } else { (T::of(0.0), T::of(0.0)) };
        lanes[i % LANES] = a.mul_add(b, lanes[i % LANES]);
    }
    fold(lanes, |a, b| a + b)
}

/// Reference of [`max`].
pub fn max_ref<T: Real>(x: &[T]) -> T {
    reduce_ref(x.len(), T::of(f64::NEG_INFINITY), |i| x[i], Real::max)
}

/// Fused multiply-adds on registers alone, to measure a core's peak. Returns the number of
/// floating-point operations done, 2 for each of 16 lanes of every chain a round: enough chains to
/// fill the pipeline, few enough to stay in registers.
pub fn fma_burst(rounds: u64) -> u64 {
    use std::hint::black_box;
    const CHAINS: usize = if cfg!(target_feature = "avx512f") { 16 } else { 6 };
    let (a, b) = (f32x16::splat(black_box(0.999_9)), f32x16::splat(black_box(1e-4)));
    let mut chains = [f32x16::splat(black_box(0.5)); CHAINS];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = chain.mul_add(a, b);
        }
    }
    black_box(chains);
    rounds * 2 * (LANES * CHAINS) as u64
}
