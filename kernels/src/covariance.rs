//! Streaming covariance: rows in, scatter matrix out.
//!
//! ```text
//! M = Σ (x − μ)(x − μ)ᵀ      centred      Σ = M / N
//! U = Σ x xᵀ = M + N μ μᵀ    uncentred    E[x xᵀ] = U / N
//! ```
//! rows: (n, dim), f32 or f64, row major; M: (dim, dim), f64, symmetric: the lower triangle is
//! kept.
//!
//! Rows are gathered into blocks of [`BLOCK`]. A block is centred on its own mean c before anything
//! is multiplied, so a mean of 1e8 costs no digits; the rounding of c is made good by the residual
//! sums s = Σ (x − c). Blocks are merged in order of arrival (Chan, Golub & LeVeque 1983):
//!
//! ```text
//! M ← M + [Σ (x − c)(x − c)ᵀ − s sᵀ/n] + δ δᵀ · n N/(n + N),      δ = block mean − running mean
//! ```
//! Means are kept relative to the first row ever seen, so constant data give exact zeros.
//! Deviations carry a power of two, moved only when they leave 2^±300, so data of 1e200 or 1e-200
//! neither overflow nor vanish.
//!
//! Each element of the block product is one chain of fused multiply-adds over the block's rows. A
//! block ends after [`BLOCK`] rows, or when a result is asked for; how the rows were cut into calls
//! of `push` does not change the bits. All of it runs on the calling thread.

use crate::spectrum::{Centring, SpectrumError};
use wide::f64x8;

/// Rows in a block.
pub const BLOCK: usize = 64;
/// Largest magnitude taken in: 2^1000, about 1e301. Well above it, sums of differences would
/// overflow.
pub const LARGEST: f64 = f64::from_bits((1023 + 1000) << 52);

/// Vectors across a panel and rows down a tile: 4 × 4 accumulators of eight lanes fill AVX-512's 32
/// registers, 4 × 1 fill the 16 of AVX2 (where an `f64x8` is two registers). The bits do not depend
/// on it.
const NV: usize = if cfg!(target_feature = "avx512f") { 4 } else { 1 };
const MR: usize = 4;
const WIDTH: usize = 8 * NV;
/// Deviations are rescaled when their largest exponent is this far from the scale in use.
const SAFE: i32 = 300;

/// The streaming covariance of rows of `dim` values. Allocates in [`Covariance::new`] only.
#[derive(Debug, Clone)]
pub struct Covariance {
    dim: usize,
    rows: usize,                // rows already merged into `moments`
    filled: usize,              // rows waiting in `block`
    exponent: i32,              // deviations below are divided by 2^exponent
    peak: f64,                  // largest |x − origin| merged so far
    origin: Vec<[f64x8; NV]>,   // (panels, WIDTH): the first row
    mean: Vec<[f64x8; NV]>,     // (panels, WIDTH): (mean of the merged rows − origin) / 2^exponent
    residual: Vec<[f64x8; NV]>, // (panels, WIDTH): s of the block
    delta: Vec<[f64x8; NV]>,    // (panels, WIDTH): δ of the block
    block: Vec<[f64x8; NV]>,    // (panels, BLOCK, WIDTH)
    moments: Vec<f64x8>,        // (stride, stride): M / 4^exponent; row i is kept up to lane i | 7
}

impl Covariance {
    /// An empty accumulator for rows of `dim` values.
    pub fn new(dim: usize) -> Self {
        let panels = dim.div_ceil(WIDTH);
        let zeros = |n| vec![[f64x8::ZERO; NV]; n];
        Self {
            dim,
            rows: 0,
            filled: 0,
            exponent: 0,
            peak: 0.0,
            origin: zeros(panels),
            mean: zeros(panels),
            residual: zeros(panels),
            delta: zeros(panels),
            block: zeros(panels * BLOCK),
            moments: vec![f64x8::ZERO; dim.next_multiple_of(8) * dim.div_ceil(8)],
        }
    }

    /// Forgets every row, keeps the memory.
    pub fn clear(&mut self) {
        (self.rows, self.filled, self.exponent, self.peak) = (0, 0, 0, 0.0);
        self.mean.fill([f64x8::ZERO; NV]);
        self.moments.fill(f64x8::ZERO);
    }

    /// Values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows taken in since the last [`Covariance::clear`].
    pub fn rows(&self) -> usize {
        self.rows + self.filled
    }

    /// Takes in rows: (n, dim), row major, any n.
    ///
    /// # Errors
    /// A length that is not a multiple of `dim`, or a value that is not finite or above
    /// [`LARGEST`]; nothing is taken in then.
    pub fn push<T: Copy + Into<f64>>(&mut self, rows: &[T]) -> Result<(), SpectrumError> {
        let dim = self.dim;
        check(rows, dim, self.rows())?;
        for row in rows.chunks_exact(dim) {
            for (p, values) in row.chunks(WIDTH).enumerate() {
                let to = &mut self.block[p * BLOCK + self.filled];
                for (to, values) in to.iter_mut().zip(values.chunks(8)) {
                    *to = match <&[T; 8]>::try_from(values) {
                        Ok(values) => f64x8::new(values.map(Into::into)),
                        Err(_) => f64x8::new(std::array::from_fn(|l| {
                            values.get(l).map_or(0.0, |&value| value.into())
                        })),
                    };
                }
            }
            self.filled += 1;
            if self.filled == BLOCK {
                self.merge();
            }
        }
        Ok(())
    }

    /// Mean of the rows taken in, one value a column; all zero before the first row.
    pub fn mean(&mut self) -> Vec<f64> {
        self.merge();
        (0..self.dim).map(|i| self.mean_of(i)).collect()
    }

    /// Σ, or E[x xᵀ]: (dim, dim), row major, complete; divided by the number of rows.
    /// Elements beyond the range of f64 come out infinite or zero.
    ///
    /// # Errors
    /// If no row was taken in.
    pub fn matrix(&mut self, centring: Centring) -> Result<Vec<f64>, SpectrumError> {
        let (dim, stride) = (self.dim, self.dim.div_ceil(8));
        let mut lower = vec![f64x8::ZERO; self.moments.len()];
        let exponent = self.scatter(centring, &mut lower)?;
        let at = |i: usize, j: usize| lower[i * stride + j / 8].as_array()[j % 8];
        let pairs = (0..dim * dim).map(|ij| (ij / dim, ij % dim));
        let rows = self.rows as f64;
        Ok(pairs.map(|(i, j)| scale(at(i.max(j), i.min(j)) / rows, 2 * exponent)).collect())
    }

    /// Writes the lower triangle of M, or U, divided by 4^e, and returns e.
    ///
    /// out: (dim, dim), rows of ⌈dim/8⌉ vectors, `dim` rounded up to eight rows; the padding is
    /// zero. The 8 × 8 blocks on the diagonal are complete; above them nothing is written. The
    /// largest elements lie within 2^±600 or so.
    ///
    /// # Errors
    /// If no row was taken in.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn scatter(&mut self, centring: Centring, out: &mut [f64x8]) -> Result<i32, SpectrumError> {
        assert_eq!(out.len(), self.moments.len(), "the matrix is dim × dim, padded to eight");
        self.merge();
        if self.rows == 0 {
            return Err(SpectrumError::NoRows);
        }
        let stride = self.dim.div_ceil(8);
        if centring == Centring::Centred {
            for i in 0..self.dim {
                let row = i * stride..i * stride + i / 8 + 1;
                out[row.clone()].copy_from_slice(&self.moments[row]);
            }
            return Ok(self.exponent);
        }
        let top = (0..self.dim).fold(self.peak, |top, i| top.max(self.mean_of(i).abs()));
        let e = fit(self.exponent, top);
        // e < exponent only if there are no deviations, and nothing to scale.
        let down = f64x8::splat(scale(1.0, 2 * (self.exponent - e).min(0)));
        for i in 0..self.dim {
            self.delta[i / WIDTH][i % WIDTH / 8].as_mut_array()[i % 8] = scale(self.mean_of(i), -e);
        }
        let mean = self.delta.as_flattened(); // (stride or more) vectors: μ / 2^e
        for i in 0..self.dim {
            let weighted = f64x8::splat(self.rows as f64 * mean[i / 8].as_array()[i % 8]);
            for j in 0..=i / 8 {
                let moment = self.moments[i * stride + j] * down;
                out[i * stride + j] = weighted.mul_add(mean[j], moment);
            }
        }
        Ok(e)
    }

    fn mean_of(&self, i: usize) -> f64 {
        let (p, v, l) = (i / WIDTH, i % WIDTH / 8, i % 8);
        self.origin[p][v].as_array()[l] + scale(self.mean[p][v].as_array()[l], self.exponent)
    }

    /// Merges the waiting block into the moments.
    fn merge(&mut self) {
        let n = self.filled;
        if n == 0 {
            return;
        }
        if self.rows == 0 {
            for (origin, panel) in self.origin.iter_mut().zip(self.block.chunks_exact(BLOCK)) {
                *origin = panel[0];
            }
        }
        // c, kept in `delta` for now, and the largest deviation from the origin.
        let mut peak = f64x8::ZERO;
        let count = f64x8::splat(n as f64);
        for (p, panel) in self.block.chunks_exact(BLOCK).enumerate() {
            let origin = self.origin[p];
            let mut sum = [f64x8::ZERO; NV];
            for x in &panel[..n] {
                for v in 0..NV {
                    let d = x[v] - origin[v];
                    sum[v] += d;
                    peak = peak.fast_max(d.abs());
                }
            }
            for v in 0..NV {
                self.delta[p][v] = origin[v] + sum[v] / count;
            }
        }
        self.rescale(peak.as_array().iter().fold(0.0, |top: f64, &x| top.max(x)));

        // x ← x − c, s, δ, and the new mean.
        let down = f64x8::splat(scale(1.0, -self.exponent));
        let total = (self.rows + n) as f64;
        let share = f64x8::splat(n as f64 / total);
        for (p, panel) in self.block.chunks_exact_mut(BLOCK).enumerate() {
            let centre = self.delta[p];
            let mut sum = [f64x8::ZERO; NV];
            for x in &mut panel[..n] {
                for v in 0..NV {
                    x[v] = (x[v] - centre[v]) * down;
                    sum[v] += x[v];
                }
            }
            self.residual[p] = sum;
            for v in 0..NV {
                let from_origin = (centre[v] - self.origin[p][v]) * down;
                let delta = from_origin + (sum[v] / count - self.mean[p][v]);
                self.mean[p][v] = delta.mul_add(share, self.mean[p][v]);
                self.delta[p][v] = delta;
            }
        }
        self.multiply(n, n as f64 * (self.rows as f64 / total));
        self.rows += n;
        self.filled = 0;
    }

    /// Moves the exponent if the largest deviation has left the safe range.
    fn rescale(&mut self, peak: f64) {
        self.peak = self.peak.max(peak);
        let exponent = fit(self.exponent, self.peak);
        if exponent != self.exponent {
            // It falls only from the initial 0, with nothing gathered yet.
            let by = (self.exponent - exponent).min(0);
            let (one, two) = (f64x8::splat(scale(1.0, by)), f64x8::splat(scale(1.0, 2 * by)));
            self.mean.as_flattened_mut().iter_mut().for_each(|m| *m *= one);
            self.moments.iter_mut().for_each(|m| *m *= two);
            self.exponent = exponent;
        }
    }

    /// M += Σ x xᵀ − s sᵀ/n + weight δ δᵀ over the n centred rows of the block, tile by tile: the
    /// panel of the columns stays in L1 while the rows of the tiles go down to the last one.
    fn multiply(&mut self, n: usize, weight: f64) {
        let stride = self.dim.div_ceil(8);
        for pj in 0..self.delta.len() {
            for i in (pj * WIDTH..stride * 8).step_by(MR) {
                // Vectors of this panel that reach the diagonal.
                match (i / 8 + 1 - pj * NV).min(NV) {
                    1 => self.tile::<1>(i, pj, n, weight),
                    2 => self.tile::<2>(i, pj, n, weight),
                    3 => self.tile::<3>(i, pj, n, weight),
                    _ => self.tile::<NV>(i, pj, n, weight),
                }
            }
        }
    }

    /// Rows i..i + MR, the first V vectors of panel `pj`.
    #[inline(always)]
    fn tile<const V: usize>(&mut self, i: usize, pj: usize, n: usize, weight: f64) {
        let (pi, vi, half) = (i / WIDTH, i % WIDTH / 8, i % 8 / MR);
        let a = &self.block[pi * BLOCK..][..n];
        let b = &self.block[pj * BLOCK..][..n];
        let mut acc = [[f64x8::ZERO; V]; MR];
        for (a, b) in a.iter().zip(b) {
            let a = a[vi].as_array().as_chunks::<MR>().0[half];
            for r in 0..MR {
                for v in 0..V {
                    acc[r][v] = f64x8::splat(a[r]).mul_add(b[v], acc[r][v]);
                }
            }
        }
        let s = &self.residual[pi][vi].as_array().as_chunks::<MR>().0[half];
        let d = &self.delta[pi][vi].as_array().as_chunks::<MR>().0[half];
        let count = f64x8::splat(n as f64);
        for r in 0..MR {
            let at = (i + r) * self.dim.div_ceil(8) + pj * NV;
            let (s, d) = (f64x8::splat(s[r]), f64x8::splat(weight * d[r]));
            for (v, m) in self.moments[at..at + V].iter_mut().enumerate() {
                let block = s.mul_neg_add(self.residual[pj][v] / count, acc[r][v]);
                *m += d.mul_add(self.delta[pj][v], block);
            }
        }
    }
}

/// The exponent to work with: the present one while `peak` is near enough, else that of `peak`.
fn fit(exponent: i32, peak: f64) -> i32 {
    if peak == 0.0 || (exponent_of(peak) - exponent).abs() <= SAFE {
        return exponent;
    }
    exponent_of(peak)
}

/// ⌊log₂ x⌋ of a positive finite x (−1023 for any subnormal).
pub(crate) fn exponent_of(x: f64) -> i32 {
    (x.to_bits() >> 52) as i32 - 1023
}

/// x · 2^e, exact unless the result leaves the normal range.
pub(crate) fn scale(x: f64, e: i32) -> f64 {
    let e = e.clamp(-3000, 3000);
    let part = |e: i32| f64::from_bits(((1023 + e) as u64) << 52);
    // Three steps of at most 2^±1000 each.
    x * part(e / 3) * part(e / 3) * part(e - 2 * (e / 3))
}

/// Whole rows, every value finite and at most [`LARGEST`]; `first` is the number of the first row.
pub(crate) fn check<T: Copy + Into<f64>>(
    rows: &[T],
    dim: usize,
    first: usize,
) -> Result<(), SpectrumError> {
    if dim == 0 || !rows.len().is_multiple_of(dim) {
        return Err(SpectrumError::Shape { len: rows.len(), dim });
    }
    let fine = |x: T| x.into().abs() <= LARGEST;
    for (r, row) in rows.chunks_exact(dim).enumerate() {
        // Without an early exit, so that the comparison is done in lanes.
        if !row.iter().fold(true, |all, &x| all & fine(x)) {
            let column = row.iter().position(|&x| !fine(x)).unwrap_or(0);
            let value = row[column].into();
            return Err(SpectrumError::Value { row: first + r, column, value });
        }
    }
    Ok(())
}

/// [`Covariance::matrix`] in plain loops, for finite rows, at least one.
pub fn covariance_ref<T: Copy + Into<f64>>(rows: &[T], dim: usize, centring: Centring) -> Vec<f64> {
    let x = |k: usize, j: usize| -> f64 { rows[k * dim + j].into() };
    let total = rows.len() / dim;
    let (mut mean, mut moments) = (vec![0.0; dim], vec![0.0; dim * dim]);
    let (mut exponent, mut peak) = (0, 0.0f64);
    for start in (0..total).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(total);
        let n = block.len() as f64;
        let mut centre = vec![0.0; dim];
        for j in 0..dim {
            let deviations = block.clone().map(|k| x(k, j) - x(0, j));
            peak = deviations.clone().fold(peak, |peak, d| peak.max(d.abs()));
            centre[j] = x(0, j) + deviations.sum::<f64>() / n;
        }
        let by = (exponent - fit(exponent, peak)).min(0);
        exponent = fit(exponent, peak);
        mean.iter_mut().for_each(|m| *m *= scale(1.0, by));
        moments.iter_mut().for_each(|m| *m *= scale(1.0, 2 * by));
        let down = scale(1.0, -exponent);
        let d = |k: usize, j: usize| (x(k, j) - centre[j]) * down;
        let rows = (start + block.len()) as f64;
        let (mut s, mut delta) = (vec![0.0; dim], vec![0.0; dim]);
        for j in 0..dim {
            s[j] = block.clone().map(|k| d(k, j)).sum::<f64>();
            delta[j] = (centre[j] - x(0, j)) * down + (s[j] / n - mean[j]);
            mean[j] = delta[j].mul_add(n / rows, mean[j]);
        }
        let weight = n * (start as f64 / rows);
        for i in 0..dim {
            for j in 0..=i {
                let product = block.clone().fold(0.0, |acc, k| d(k, i).mul_add(d(k, j), acc));
                let product = (-s[i]).mul_add(s[j] / n, product);
                moments[i * dim + j] += (weight * delta[i]).mul_add(delta[j], product);
            }
        }
    }
    let mean: Vec<f64> = (0..dim).map(|j| x(0, j) + scale(mean[j], exponent)).collect();
    let mut e = exponent;
    if centring == Centring::Uncentred {
        e = fit(exponent, mean.iter().fold(peak, |top, m| top.max(m.abs())));
        for i in 0..dim {
            for j in 0..=i {
                let moment = moments[i * dim + j] * scale(1.0, 2 * (exponent - e).min(0));
                let weighted = total as f64 * scale(mean[i], -e);
                moments[i * dim + j] = weighted.mul_add(scale(mean[j], -e), moment);
            }
        }
    }
    let at = |i: usize, j: usize| moments[i.max(j) * dim + i.min(j)];
    let pairs = (0..dim * dim).map(|ij| (ij / dim, ij % dim));
    pairs.map(|(i, j)| scale(at(i, j) / total as f64, 2 * e)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Integers of `bits` bits, so that sums of products of them are exact in i128.
    fn integers(len: usize, bits: u32) -> Vec<i64> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 11) as i64 % (1 << bits)
        };
        (0..len).map(|_| draw() - draw()).collect()
    }

    fn bits(matrix: &[f64]) -> Vec<u64> {
        matrix.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn the_tiles_give_the_bits_of_the_plain_loops() {
        for dim in [1, 3, 8, 12, 31, 32, 33, 40, 70, 128] {
            for rows in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
                for (size, centring) in [
                    (1.0, Centring::Centred),
                    (1.0, Centring::Uncentred),
                    (1e200, Centring::Centred),
                    (1e-200, Centring::Uncentred),
                ] {
                    let data: Vec<f64> = integers(rows * dim, 20)
                        .iter()
                        .map(|&x| (x as f64 / 3e5 + 7.0) * size)
                        .collect();
                    let mut covariance = Covariance::new(dim);
                    covariance.push(&data).unwrap();
                    let fast = covariance.matrix(centring).unwrap();
                    let plain = covariance_ref(&data, dim, centring);
                    assert_eq!(bits(&fast), bits(&plain), "{rows} × {dim}, size {size}");
                }
            }
        }
    }

    #[test]
    fn the_cut_of_the_input_does_not_change_the_bits() {
        let (rows, dim) = (331, 37);
        let data: Vec<f32> = integers(rows * dim, 16).iter().map(|&x| x as f32 / 77.0).collect();
        let mut whole = Covariance::new(dim);
        whole.push(&data).unwrap();
        let mut parts = Covariance::new(dim);
        for part in data.chunks(dim * 17) {
            parts.push(part).unwrap();
        }
        let whole = whole.matrix(Centring::Centred).unwrap();
        assert_eq!(bits(&whole), bits(&parts.matrix(Centring::Centred).unwrap()));
    }

    /// Against integer arithmetic: N Σ x_i x_j − Σ x_i Σ x_j has no rounding at all.
    #[test]
    fn fifteen_digits_of_the_exact_covariance_whatever_the_mean() {
        for (rows, dim, offset) in [(1000, 9, 0), (513, 40, 100_000_000), (200, 5, 1 << 46)] {
            let data: Vec<i64> = integers(rows * dim, 6).iter().map(|x| x + offset).collect();
            let floats: Vec<f64> = data.iter().map(|&x| x as f64).collect();
            let mut covariance = Covariance::new(dim);
            covariance.push(&floats).unwrap();
            let centred = covariance.matrix(Centring::Centred).unwrap();
            let uncentred = covariance.matrix(Centring::Uncentred).unwrap();
            let n = rows as i128;
            let sum = |i: usize| (0..rows).map(|k| i128::from(data[k * dim + i])).sum::<i128>();
            let product = |i: usize, j: usize| {
                (0..rows)
                    .map(|k| i128::from(data[k * dim + i]) * i128::from(data[k * dim + j]))
                    .sum::<i128>()
            };
            for i in 0..dim {
                for j in 0..dim {
                    let exact = (n * product(i, j) - sum(i) * sum(j)) as f64 / (n * n) as f64;
                    let size = centred[i * dim + i].max(centred[j * dim + j]);
                    assert!((centred[i * dim + j] - exact).abs() <= 1e-15 * size);
                    let exact = product(i, j) as f64 / n as f64;
                    let size = uncentred[i * dim + i].max(uncentred[j * dim + j]);
                    assert!((uncentred[i * dim + j] - exact).abs() <= 2e-15 * size);
                }
            }
        }
    }

    #[test]
    fn constant_rows_have_no_variance_at_all() {
        let row: Vec<f64> = (0..50).map(|j| 0.1 * f64::from(j) + 1e8).collect();
        let mut covariance = Covariance::new(50);
        covariance.push(&row.repeat(999)).unwrap();
        assert!(covariance.matrix(Centring::Centred).unwrap().iter().all(|&x| x == 0.0));
        assert_eq!(covariance.mean(), row);
    }

    #[test]
    fn a_bad_value_is_named_and_nothing_is_taken_in() {
        let mut covariance = Covariance::new(3);
        covariance.push(&[1.0, 2.0, 3.0]).unwrap();
        let error = covariance.push(&[1.0, 2.0, 3.0, 4.0, f64::NAN, 6.0]).unwrap_err();
        assert_eq!(error.to_string(), "row 2, column 1 is NaN; every value must be finite");
        assert_eq!(covariance.rows(), 1);
        assert_eq!(covariance.push(&[1.0; 4]), Err(SpectrumError::Shape { len: 4, dim: 3 }));
        assert!(covariance.push(&[1.0, 1e305, 0.0]).unwrap_err().to_string().contains("limit"));
    }
}
