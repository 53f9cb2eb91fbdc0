//! The entropy of a positive semi-definite matrix between two bounds, from a few products of the whole
//! matrix with itself: what flat spectra need, which block Lanczos cannot shorten.
//!
//! ```text
//! tr A = 1, λ ≤ b:     X = (2/b) A − I,   T₂ = 2 X² − I,   T₄ = 2 T₂² − I,   T₈ = 2 T₄² − I
//!
//! 2 ⟨T_i, T_j⟩ = tr T_{i+j} + tr T_{i−j}       H(A) = −ln b + b Σ f(λ/b),   f(u) = −u ln u
//! ```
//! One product gives the traces of T_1 … T_4, the second those up to T_6 and T_8, the third T_7 + T_9,
//! T_10, T_12 and T_16: moments of the spectrum, from which [`crate::moment_bounds`] bounds the mean of f.
//! Eigenvalues that must be zero, because the rank is known to be at most r, are taken out of them.
//!
//! b is a guess (1.1 times the edge of the Marchenko-Pastur law with this trace and norm): where it is
//! too small, |T_{2^j}(x)| ≤ ‖T_{2^j}(X)‖ still says how far the eigenvalues reach; if much farther, that
//! becomes b, and the first product is done again.
//!
//! *Rounding.* The products are f32, their inner products f64. All norms here are Frobenius' but for
//! ‖·‖₂. Of a computed matrix T̂_j = T_j(X) + E_j is known that
//!
//! ```text
//! ‖E_1‖ ≤ u ‖X̂‖                                                       rounding A to f32
//! ‖F‖ ≤ 2 γ ‖T̂_j‖² + u ‖T̂_2j‖,   F = T̂_2j − (2 T̂_j² − I)             each element two short chains
//! ‖T̂_j‖₂² ≤ ½ (1 + ‖T̂_2j‖ + ‖F‖)                                     T̂_j² = ½ (I + T̂_2j − F)
//! ‖E_2j‖ ≤ 4 ‖T̂_j‖₂ ‖E_j‖ + 2 ‖E_j‖² + ‖F‖                            T̂_j² − T_j² = T̂_j E_j + E_j T̂_j − E_j²
//! |⟨T̂_i, T̂_j⟩ − ⟨T_i, T_j⟩| ≤ ‖T̂_i‖ ‖E_j‖ + ‖E_i‖ ‖T̂_j‖ + ‖E_i‖ ‖E_j‖
//! ```
//! with γ = m u/(1 − m u), u = 2⁻²⁴ and m the roundings of a chain (Higham, Accuracy and Stability, 3.1:
//! |fl(Σ ab) − Σ ab| ≤ γ Σ |ab|, and ‖|X||X|‖ ≤ ‖X‖²). A itself is taken to be within τ (trace norm) of
//! the matrix meant, as in [`crate::block_lanczos`]; that moves Σ T_k by at most sup |T_k'| (2/b) τ (Lidskii).
//!
//! The kernel polynomial method (Weiße et al. 2006) estimates the same traces; here they are computed.

use crate::block_lanczos::Between;
use crate::moment_bounds::{DEGREE, Moment, MomentBounds};
use crate::tridiagonal;
use wide::{bytemuck, f32x8, f32x16, f64x8};

/// Vectors across a panel.
const VECTORS: usize = 4;
const WIDTH: usize = 16 * VECTORS;
/// Those of a tile; AVX2 and NEON need several registers for one. No bit depends on it.
const AT_ONCE: usize = if cfg!(target_feature = "avx512f") { VECTORS } else { 1 };
/// Rows of a tile: 6 × 4 accumulators of sixteen lanes.
const HEIGHT: usize = 6;
/// What a panel's width leaves over: 64 = 10 · 6 + 4.
const LEFT: usize = WIDTH % HEIGHT;
/// Links of a chain; chains are added in order. Short ones, for γ.
const CHAIN: usize = 128;
/// Most products.
pub const LEVELS: usize = 3;
/// u of f32.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;
/// Each further product doubles the degree; the width of the interval falls at least as its square where
/// the spectrum reaches zero, and faster elsewhere.
const GAIN: f64 = 4.0;
/// The first product does better than that by this.
const FIRST: f64 = 2.0;
/// With b this far above the tolerance (over b r nats), three products are not enough even for smooth
/// spectra.
const HARD: f64 = 0.0003;

/// One row of a panel.
type Row = [f32x16; VECTORS];
const ZERO: Row = [f32x16::ZERO; VECTORS];
/// A square of a matrix.
type Block = [Row; WIDTH];

/// Workspace of [`Moments::entropy`]; grows to what is used.
#[derive(Debug, Clone)]
pub struct Moments {
    n: usize,
    powers: [Vec<Row>; LEVELS], // (panels, n, WIDTH): X, T₂, T₄
    bounds: MomentBounds,
}

/// What is known of the traces.
struct Known {
    n: f64,
    rank: f64,
    b: f64,
    tau: f64,
    trace: [f64; DEGREE + 1],
    error: [f64; DEGREE + 1],
}

/// The traces that follow from each product, by degree; that of 9 is tr T_7 + tr T_9.
const DEGREES: [&[usize]; LEVELS + 1] = [
    &[0, 1, 2],
    &[0, 1, 2, 3, 4],
    &[0, 1, 2, 3, 4, 5, 6, 8],
    &[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16],
];

impl Moments {
    /// Workspace for (n, n).
    pub fn new(n: usize) -> Self {
        Self { n, powers: Default::default(), bounds: MomentBounds::default() }
    }

    /// H of the positive semi-definite matrix `a`, of rank at most `rank`, divided by its trace: an
    /// interval of ± `tolerance` nats; `None` if that is out of reach. `a` is given by its lower
    /// triangle, as in [`crate::tridiagonal`], with its trace and ‖a‖².
    pub fn entropy(
        &mut self,
        a: &[f64x8],
        (trace, squares): (f64, f64),
        rank: usize,
        tolerance: f64,
    ) -> Option<Between> {
        let rank = rank.min(self.n);
        if trace.is_nan() || trace <= 0.0 || rank < 2 {
            return None;
        }
        let purity = squares / (trace * trace);
        let most = purity.sqrt() * (1.0 + 1e-9); // λ ≤ ‖A‖
        let (whole, rank) = (self.n as f64, rank as f64);
        let ratio = (rank * purity - 1.0).max(0.0);
        let mut b = most.min(1.1 * (1.0 + ratio.sqrt()).powi(2) / rank);
        let tau = 32.0 * whole * f64::EPSILON;
        let slack = 2.0 * tau * (1.0 + (whole / tau).ln());
        let mut found = Between { lower: -purity.ln() - slack, upper: rank.ln(), steps: 0, purity };
        let mut top = most; // λ is at most this
        let (mut level, mut size, mut error) = (0, [0.0; LEVELS + 1], [0.0; LEVELS + 1]); // ‖T̂‖, ‖E‖
        let mut known = Known::new(whole, rank, b, purity, tau);
        loop {
            let reach = (2.0 * top / b - 1.0).max(1.0).acosh();
            let moments = known.moments(level, reach);
            let (lower, upper) = self.bounds.bounds(&moments[..DEGREES[level].len()], reach);
            // H = −ln b + b Σ f
            found.lower = found.lower.max(b.mul_add(rank * lower, -b.ln()) - slack);
            found.upper = found.upper.min(b.mul_add(rank * upper, -b.ln()) + slack);
            let half = 0.5 * (found.upper - found.lower);
            if (0.0..=tolerance).contains(&half) {
                found.lower = found.lower.max(0.0).min(found.upper);
                return Some(found);
            }
            if level == 1 && size[1] * size[1] > 2.0 * whole && b < top {
                // Some eigenvalues lie far above the guess: once more, with what is now known.
                if HARD * top * rank > tolerance {
                    return None;
                }
                (b, level) = (top, 0);
                known = Known::new(whole, rank, b, purity, tau);
            }
            let gain = GAIN.powi((LEVELS - level) as i32) * if level == 0 { FIRST } else { 1.0 };
            if !(0.0..=tolerance * gain).contains(&half) || level == LEVELS {
                return None;
            }

            level += 1;
            found.steps += self.n;
            if level == 1 {
                size[0] = self.shift(a, 2.0 / (b * trace)).sqrt() * (1.0 + 1e-9);
                error[0] = 1.01 * UNIT * size[0] + 1e-12 * whole;
            }
            let products = self.square(level - 1);
            (size[level], error[level]) = grown(self.n, products[level], &size, &error, level);
            if !error[level].is_finite() {
                return None;
            }
            known.add(level, &products, &size, &error);
            // |T| ≤ ‖T‖: u = cosh²(s/2) with cosh(2^level s) at most that.
            let s = (size[level] + error[level]).max(1.0).acosh() / f64::from(1 << level);
            top = top.min(b * (0.5 * s).cosh().powi(2) * (1.0 + 1e-9));
        }
    }

    /// X = scale · a − I, in f32; ‖X‖².
    fn shift(&mut self, a: &[f64x8], scale: f64) -> f64 {
        let (n, stride) = (self.n, self.n.div_ceil(8));
        self.powers[0].resize(n.div_ceil(WIDTH) * n, ZERO);
        let scale = f64x8::splat(scale);
        let mut squares = 0.0;
        let mut block: Block = [ZERO; WIDTH];
        for pi in 0..n.div_ceil(WIDTH) {
            for pj in 0..=pi {
                for (r, row) in block.iter_mut().enumerate() {
                    let (i, to) = (pi * WIDTH + r, bytemuck::cast_slice_mut::<_, f32>(row));
                    to.fill(0.0);
                    if i >= n {
                        continue;
                    }
                    let from =
                        &a[i * stride..][pj * WIDTH / 8..=(i / 8).min((pj + 1) * WIDTH / 8 - 1)];
                    for (to, x) in to.as_chunks_mut::<8>().0.iter_mut().zip(from) {
                        *to = (*x * scale).to_array().map(|x| x as f32);
                    }
                    if pi == pj {
                        let x = a[i * stride + i / 8].as_array()[i % 8];
                        to[r] = (x * scale.as_array()[0] - 1.0) as f32;
                    }
                }
                if pi == pj {
                    // The blocks of eight on the diagonal are complete; above them nothing is.
                    let full: &mut [f32] = bytemuck::cast_slice_mut(block.as_flattened_mut());
                    for r in 0..WIDTH {
                        for c in (r / 8 + 1) * 8..WIDTH {
                            full[r * WIDTH + c] = full[c * WIDTH + r];
                        }
                    }
                }
                let weight = if pi == pj { 1.0 } else { 2.0 };
                squares += weight * dot(&block, &block);
                place(&mut self.powers[0], n, &block, pi, pj);
            }
        }
        squares
    }

    /// T ← 2 T² − I of `powers[from]` to the next; the inner products of the result with all of them, and
    /// at last with itself.
    fn square(&mut self, from: usize) -> [f64; LEVELS + 1] {
        let n = self.n;
        let (known, next) = self.powers.split_at_mut(from + 1);
        let x = &known[from];
        if let Some(next) = next.first_mut() {
            next.resize(x.len(), ZERO);
        }
        let mut products = [0.0; LEVELS + 1];
        let mut block: Block = [ZERO; WIDTH];
        for pi in 0..n.div_ceil(WIDTH) {
            for pj in 0..=pi {
                let panel = |p: usize| &x[p * n..][..n];
                match pi == pj {
                    true => multiply_itself(panel(pi), &mut block),
                    false => multiply(panel(pi), panel(pj), &mut block),
                }
                block.as_flattened_mut().iter_mut().for_each(|x| *x = *x + *x);
                let rows = WIDTH.min(n - pi * WIDTH);
                if pi == pj {
                    for r in 0..rows {
                        block[r][r / 16].as_mut_array()[r % 16] -= 1.0;
                    }
                }
                let weight = if pi == pj { 1.0 } else { 2.0 };
                for (product, known) in products.iter_mut().zip(&*known) {
                    let there = &known[pj * n + pi * WIDTH..][..rows];
                    *product += weight * dot(&block[..rows], there);
                }
                products[from + 1] += weight * dot(&block, &block);
                if let Some(next) = next.first_mut() {
                    place(next, n, &block, pi, pj);
                }
            }
        }
        products
    }
}

impl Known {
    /// What trace and norm say.
    fn new(n: f64, rank: f64, b: f64, purity: f64, tau: f64) -> Self {
        let mut known =
            Self { n, rank, b, tau, trace: [0.0; DEGREE + 1], error: [0.0; DEGREE + 1] };
        (known.trace[0], known.trace[1]) = (n, 2.0 / b - n);
        known.trace[2] = 2.0 * (4.0 * purity / (b * b) - 4.0 / b + n) - n;
        known
    }

    /// Traces from the inner products of T_{2^level} with X, T₂ … and itself.
    fn add(&mut self, level: usize, products: &[f64], size: &[f64], error: &[f64]) {
        let here = 1 << level;
        for (l, &product) in products.iter().enumerate().take(level + 1) {
            let (i, j) = (here, 1 << l);
            let off = size[level] * error[l] + error[level] * size[l] + error[level] * error[l];
            let off = off + 1e-11 * size[level] * size[l]; // its own rounding
            // T_7 and T_9 only come together.
            let (less, its) =
                if i - j == 7 { (0.0, 0.0) } else { (self.trace[i - j], self.error[i - j]) };
            // Below 3, A says it better.
            if i + j > 2 {
                self.trace[i + j] = 2.0f64.mul_add(product, -less);
                self.error[i + j] = 2.0f64.mul_add(off, its);
            }
        }
    }

    /// Means over the eigenvalues that may be other than zero.
    fn moments(&self, level: usize, reach: f64) -> [Moment; DEGREES[LEVELS].len()] {
        let mut all = [Moment { low: 0, high: 0, mean: 1.0, error: 0.0 }; DEGREES[LEVELS].len()];
        for (m, &k) in all.iter_mut().zip(DEGREES[level]).skip(1) {
            let low = if k == 9 { 7 } else { k };
            let at_zero = if k == 9 { -2.0 } else { 1.0 - 2.0 * (k % 2) as f64 };
            let mean = (self.trace[k] - (self.n - self.rank) * at_zero) / self.rank;
            // A's own rounding, with |T_k'| ≤ k² T_k at the end; and that of the first traces.
            let k2 = (k * k) as f64 * (k as f64 * reach).cosh();
            let own = 2.0 * k2 * (2.0 / self.b + self.n) * self.tau;
            *m = Moment { low, high: k, mean, error: (self.error[k] + own) / self.rank };
        }
        all
    }
}

/// ‖T̂‖ and a bound for ‖E‖ of the matrix at `level`, from ‖T̂‖² and those of the level before.
fn grown(n: usize, squared: f64, size: &[f64], error: &[f64], level: usize) -> (f64, f64) {
    let (before, error) = (size[level - 1], error[level - 1]);
    let size = squared.sqrt() * (1.0 + 1e-9);
    let links = (CHAIN + n.div_ceil(CHAIN)) as f64 * UNIT;
    let gamma = links / (1.0 - links);
    let f = 2.0 * gamma * before * before + UNIT * size + 1e-30 * n as f64;
    let norm = (0.5 * (1.0 + size + f)).sqrt().min(before);
    (size, 4.0 * norm * error + 2.0 * error * error + f)
}

/// Σ x y, in f64.
fn dot(x: &[Row], y: &[Row]) -> f64 {
    let mut sums = [f64x8::ZERO; 2 * VECTORS];
    for (x, y) in x.iter().zip(y) {
        let x: &[f32] = bytemuck::cast_slice(x);
        let y: &[f32] = bytemuck::cast_slice(y);
        for ((x, y), sum) in x.as_chunks::<8>().0.iter().zip(y.as_chunks::<8>().0).zip(&mut sums) {
            let (x, y) = (f64x8::new(x.map(f64::from)), f64x8::new(y.map(f64::from)));
            *sum = x.mul_add(y, *sum);
        }
    }
    sums.iter().map(|&x| tridiagonal::sum(x)).sum()
}

/// Writes rows of panel `pi` and columns of panel `pj` of a symmetric matrix, and the mirror image.
fn place(to: &mut [Row], n: usize, block: &Block, pi: usize, pj: usize) {
    let rows = WIDTH.min(n - pi * WIDTH);
    to[pj * n + pi * WIDTH..][..rows].copy_from_slice(&block[..rows]);
    if pi == pj {
        return;
    }
    // pj < pi: all of its rows are there.
    let from: &[f32] = bytemuck::cast_slice(block.as_flattened());
    let to: &mut [f32] =
        bytemuck::cast_slice_mut(to[pi * n + pj * WIDTH..][..WIDTH].as_flattened_mut());
    for i in (0..WIDTH).step_by(8) {
        for j in (0..WIDTH).step_by(8) {
            let square = std::array::from_fn(|r| {
                let row = from[(i + r) * WIDTH + j..].first_chunk().expect("eight columns");
                f32x8::new(*row)
            });
            for (c, column) in f32x8::transpose(square).into_iter().enumerate() {
                to[(j + c) * WIDTH + i..][..8].copy_from_slice(column.as_array());
            }
        }
    }
}

/// Aᵀ B of two panels (n, WIDTH).
fn multiply(a: &[Row], b: &[Row], out: &mut Block) {
    let (tiles, rest) = out.as_chunks_mut::<HEIGHT>();
    for (i, out) in tiles.iter_mut().enumerate() {
        strip(a, b, i * HEIGHT, 0, out);
    }
    let rest: &mut [Row; LEFT] = rest.try_into().expect("what a panel's width leaves");
    strip(a, b, WIDTH - LEFT, 0, rest);
}

/// Aᵀ A of a panel, without the vectors left of the diagonal, which mirror the rest.
fn multiply_itself(a: &[Row], out: &mut Block) {
    let (tiles, rest) = out.as_chunks_mut::<HEIGHT>();
    for (i, out) in tiles.iter_mut().enumerate() {
        strip(a, a, i * HEIGHT, i * HEIGHT / 16, out);
    }
    let rest: &mut [Row; LEFT] = rest.try_into().expect("what a panel's width leaves");
    strip(a, a, WIDTH - LEFT, VECTORS - 1, rest);
    let full: &mut [f32] = bytemuck::cast_slice_mut(out.as_flattened_mut());
    for r in 16..WIDTH {
        for c in 0..r / 16 * 16 {
            full[r * WIDTH + c] = full[c * WIDTH + r];
        }
    }
}

/// Columns i..i + H of the panel `a` with the panel `b` from vector `first` on.
#[inline(always)]
fn strip<const H: usize>(a: &[Row], b: &[Row], i: usize, first: usize, out: &mut [Row; H]) {
    if AT_ONCE == 1 {
        return (first..VECTORS).for_each(|v| tile::<H, 1>(a, b, i, v, out));
    }
    match VECTORS - first {
        1 => tile::<H, 1>(a, b, i, first, out),
        2 => tile::<H, 2>(a, b, i, first, out),
        3 => tile::<H, 3>(a, b, i, first, out),
        _ => tile::<H, 4>(a, b, i, first, out),
    }
}

#[inline(always)]
fn tile<const H: usize, const V: usize>(
    a: &[Row],
    b: &[Row],
    i: usize,
    first: usize,
    out: &mut [Row; H],
) {
    let mut total = [[f32x16::ZERO; V]; H];
    for (a, b) in a.chunks(CHAIN).zip(b.chunks(CHAIN)) {
        let mut sums = [[f32x16::ZERO; V]; H];
        for (a, b) in a.iter().zip(b) {
            let a: &[f32; WIDTH] = bytemuck::cast_ref(a);
            let a: [f32; H] = *a[i..].first_chunk().expect("a tile's columns");
            let b: [f32x16; V] = *b[first..].first_chunk().expect("a tile's vectors");
            for r in 0..H {
                let a = f32x16::splat(a[r]);
                for v in 0..V {
                    sums[r][v] = a.mul_add(b[v], sums[r][v]);
                }
            }
        }
        for r in 0..H {
            for v in 0..V {
                total[r][v] += sums[r][v];
            }
        }
    }
    for r in 0..H {
        out[r][first..first + V].copy_from_slice(&total[r]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize, j: usize) -> f64 {
        let x = (1 + i.max(j) * 7919 + i.min(j) * 104_729) as f64;
        (x.sin() * 1e4).fract()
    }

    /// The lower triangle of f(i, j).
    fn lower(n: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64x8> {
        let stride = n.div_ceil(8);
        let mut a = vec![f64x8::ZERO; stride * stride * 8];
        for i in 0..n {
            for j in 0..(i / 8 * 8 + 8).min(n) {
                a[i * stride + j / 8].as_mut_array()[j % 8] = f(i, j);
            }
        }
        a
    }

    fn element(m: &[Row], n: usize, i: usize, j: usize) -> f32 {
        m[j / WIDTH * n + i][j % WIDTH / 16].as_array()[j % 16]
    }

    /// Chains of 128 fused multiply-adds, added in order; both triangles, whatever the size.
    #[test]
    fn the_tiles_give_the_bits_of_plain_loops() {
        for n in [1, 5, 16, 63, 64, 65, 131, 200, 300] {
            let a = lower(n, value);
            let mut moments = Moments::new(n);
            let squares = moments.shift(&a, 0.7);
            let products = moments.square(0);
            let x =
                |i: usize, j: usize| (value(i, j) * 0.7 - if i == j { 1.0 } else { 0.0 }) as f32;
            let mut sums = [0.0; 3];
            for i in 0..n {
                for j in 0..n {
                    assert_eq!(element(&moments.powers[0], n, i, j).to_bits(), x(i, j).to_bits());
                    let chain = |from: usize| {
                        let to = (from + CHAIN).min(n);
                        (from..to).fold(0.0, |sum, l| x(l, i).mul_add(x(l, j), sum))
                    };
                    let whole: f32 = (0..n).step_by(CHAIN).fold(0.0, |sum, l| sum + chain(l));
                    let plain = 2.0 * whole - if i == j { 1.0 } else { 0.0 };
                    let ours = element(&moments.powers[1], n, i, j);
                    assert_eq!(ours.to_bits(), plain.to_bits(), "{n}: {i}, {j}");
                    sums[0] += f64::from(x(i, j)) * f64::from(x(i, j));
                    sums[1] += f64::from(x(i, j)) * f64::from(plain);
                    sums[2] += f64::from(plain) * f64::from(plain);
                }
            }
            for (ours, plain) in [squares, products[0], products[1]].into_iter().zip(sums) {
                assert!((ours - plain).abs() < 1e-12 * (sums[0] + sums[2]), "{n}: {ours}, {plain}");
            }
        }
    }

    /// The traces of a reflected diagonal, known to f64, lie within their errors; and the errors are
    /// small enough to be of use.
    #[test]
    fn the_traces_lie_within_their_bounds() {
        for n in [130, 257, 512] {
            for kind in 0..4 {
                let raw = |k: usize| match kind {
                    0 => 1.0 + 0.5 * value(k, k),
                    1 => (1.0 - (k as f64 / n as f64)).powi(2),
                    2 => f64::from(u8::from(k.is_multiple_of(3))),
                    _ => 1.0 / (1.0 + k as f64).sqrt(),
                };
                let total: f64 = (0..n).map(raw).sum();
                let lambda: Vec<f64> = (0..n).map(|k| raw(k) / total).collect();
                let v: Vec<f64> = (0..n).map(|i| value(i, 3 * i + 1)).collect();
                let tau = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
                let c: f64 = (0..n).map(|k| tau * v[k] * v[k] * lambda[k]).sum();
                let w = |i: usize| tau * lambda[i] * v[i] - 0.5 * tau * c * v[i];
                let a = lower(n, |i, j| {
                    (if i == j { lambda[i] } else { 0.0 }) - v[i] * w(j) - w(i) * v[j]
                });
                let purity = lambda.iter().map(|x| x * x).sum();
                let b = 1.05 * lambda.iter().fold(0.0, |top: f64, &x| top.max(x));
                let mut moments = Moments::new(n);
                let mut known = Known::new(n as f64, n as f64, b, purity, 1e-13);
                let mut size = [moments.shift(&a, 2.0 / b).sqrt(), 0.0, 0.0, 0.0];
                let mut error = [1.01 * UNIT * size[0] + 1e-14 * n as f64, 0.0, 0.0, 0.0];
                for level in 1..=LEVELS {
                    let products = moments.square(level - 1);
                    (size[level], error[level]) = grown(n, products[level], &size, &error, level);
                    known.add(level, &products, &size, &error);
                }
                let chebyshev = |k: usize| -> f64 {
                    lambda.iter().map(|x| (k as f64 * (2.0 * x / b - 1.0).acos()).cos()).sum()
                };
                for &k in DEGREES[LEVELS] {
                    let want = chebyshev(k) + if k == 9 { chebyshev(7) } else { 0.0 };
                    let (off, error) = ((known.trace[k] - want).abs(), known.error[k]);
                    assert!(
                        off <= error + 1e-10 * n as f64,
                        "{n}, {kind}, T_{k}: {off:e} > {error:e}"
                    );
                    assert!(error < [0.03, 0.5][usize::from(k > 8)] * n as f64, "T_{k}: {error:e}");
                }
            }
        }
    }
}
