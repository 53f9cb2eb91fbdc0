//! The entropy of a positive semi-definite matrix between two bounds, from a few products with a
//! block of vectors: block Lanczos, stopped early.
//!
//! ```text
//! A = Q T Qᵀ + Q Bᵀ + B Qᵀ + C      tr A = 1, H(A) = −tr A ln A      A: (n, n)    Q: (n, k)
//!
//! W = A Q_j,   T_ij = Q_iᵀ W (i = j − 1, j),   V = W − Σ Q_i T_ij,   Q_{j+1} = orth V,   BᵀB = VᵀV
//! ```
//! With n² work for each of k columns, as many products at once as fill the registers, this is
//! compute-bound where a single vector would wait for memory. T is block tridiagonal, and B reaches
//! from the last block only. What is known without a single eigenvalue of A:
//!
//! *The part below.* A₁ = A Q T⁻¹ Qᵀ A (Nyström) is of rank k and A − A₁ = C − B T⁻¹ Bᵀ is positive
//! semi-definite (a Schur complement), of trace a and rank ≤ n − k (and ≤ A's). With T = L Lᵀ the eigenvalues
//! μ of A₁ are those of Lᵀ L + L⁻¹ BᵀB L⁻ᵀ, and λ_i(A) ≥ μ_i (Weyl).
//!
//! *Above.* ln is operator monotone, so H(A) ≤ H(A₁) + H(A − A₁). ‖C‖² = ‖A‖² − ‖T‖² − 2 ‖B‖² is known,
//! so ‖A − A₁‖ ≥ ‖C‖ − ‖B T⁻¹ Bᵀ‖ is; given trace and at least that norm, H is largest for one
//! eigenvalue above and all others equal.
//!
//! *Below.* For any ξ, φ(x) = −x ln x − (1 − ln ξ) x + x²/ξ is ≥ 0 and grows for x ≥ ξ. Over the first j
//! eigenvalues, where μ_j ≥ ξ, φ(λ) ≥ φ(μ); over the rest, φ ≥ 0. As Σ λ = 1 and Σ λ² = ‖A‖² this says
//!
//! ```text
//! H ≥ −Σ_{i≤j} μ_i ln μ_i + (1 − ln ξ) r₁ − r₂/ξ,     r₁ = 1 − Σ_{i≤j} μ_i,   r₂ = ‖A‖² − Σ_{i≤j} μ_i²
//! ```
//! best at ξ = r₂/r₁. With j = 0 it is H ≥ −ln ‖A‖², Rényi's inequality between orders 1 and 2.
//!
//! Neither depends on where Q came from: a poor start makes the interval wider, never wrong. The start
//! is A times a matrix of signs, one to a row; that costs a pass over A and is worth a product.
//!
//! *Rounding.* What is bounded is a matrix within τ (trace norm) of A: T + δ in place of T, so that
//! rounding in T, below δ, cannot make A₁ too large, and A' without the directions d of V that are too
//! small to be told from rounding. Leaving out q dᵀ + d qᵀ alone could make it indefinite, so
//! A' = A + ‖d‖ (q − d̂)(q − d̂)ᵀ, where d̂ = d/‖d‖: positive semi-definite as A is, without that coupling, and
//! 2 ‖d‖ away. It adds ‖d‖ to q's element of T and to tr C. The entropies are within 2 τ (1 + ln (n/τ)),
//! which the bound includes.
//!
//! Golub & Meurant, Matrices, Moments and Quadrature, 2010; Horn & Johnson, Matrix Analysis, 4.3, 7.7;
//! Bhatia, Matrix Analysis, V. A: laid out as in [`crate::tridiagonal`], but complete.

use crate::spectrum::SpectrumError;
use crate::tridiagonal::{Tridiagonal, dot};
use wide::f64x8;

/// Columns in a block.
pub const WIDTH: usize = 32;
/// Rows in a tile: 4 × 4 accumulators of eight lanes.
const MR: usize = 4;

/// A row of a block of vectors.
type Row = [f64x8; WIDTH / 8];
/// A (32, 32) matrix.
type Small = [Row; WIDTH];
const ZERO: Row = [f64x8::ZERO; WIDTH / 8];

/// Two bounds for H.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Between {
    /// H is at least this (nats).
    pub lower: f64,
    /// H is at most this (nats).
    pub upper: f64,
    /// Columns of Q.
    pub steps: usize,
    /// ‖A‖² / (tr A)².
    pub purity: f64,
}

/// Workspace of [`BlockLanczos::entropy`], for matrices of one size; Q grows to the most steps taken.
#[derive(Debug, Clone)]
pub struct BlockLanczos {
    n: usize,
    basis: Vec<Row>,      // (blocks, n padded to eight): Q_j
    next: Vec<Row>,       // (n padded): W, then V
    diagonal: Vec<Small>, // (blocks): T_jj
    above: Vec<Small>,    // (blocks): T_{j−1,j}
    factor: Vec<f64x8>,   // (k, k): Lᵀ
    nystrom: Vec<f64x8>,  // (k, k): Lᵀ L + L⁻¹ BᵀB L⁻ᵀ
    small: Tridiagonal,
}

/// What is known before the eigenvalues of A₁; all relative to tr A.
#[derive(Debug, Clone, Copy)]
struct Known {
    purity: f64,       // ‖A‖²
    dim: usize,        // n
    rank: usize,       // A's is at most this
    steps: usize,      // columns of Q that are not zero
    left: f64,         // tr C
    left_squared: f64, // ‖C‖²
    rounding: f64,     // of a sum over A; δ
    dropped: f64,      // trace norm of what was left out
}

impl BlockLanczos {
    /// Workspace for (n, n).
    pub fn new(n: usize) -> Self {
        Self {
            n,
            basis: Vec::new(),
            next: Vec::new(),
            diagonal: Vec::new(),
            above: Vec::new(),
            factor: Vec::new(),
            nystrom: Vec::new(),
            small: Tridiagonal::new(0),
        }
    }

    /// H of the positive semi-definite matrix `a`, of rank at most `rank`, divided by its trace: an
    /// interval of ± `tolerance` nats. `None` if `a` is zero, or if going on would cost as much as all
    /// eigenvalues. `a` is given by its lower triangle and made complete. Its largest element should
    /// be within 2^±100 of 1.
    ///
    /// # Errors
    /// If QL does not converge (not seen so far).
    pub fn entropy(
        &mut self,
        a: &mut [f64x8],
        rank: usize,
        tolerance: f64,
    ) -> Result<Option<Between>, SpectrumError> {
        let sums = trace_and_squares(a, self.n);
        self.entropy_of(a, sums, rank, tolerance)
    }

    /// [`BlockLanczos::entropy`], where tr a and ‖a‖² are known already.
    pub(crate) fn entropy_of(
        &mut self,
        a: &mut [f64x8],
        (trace, squares): (f64, f64),
        rank: usize,
        tolerance: f64,
    ) -> Result<Option<Between>, SpectrumError> {
        let n = self.n;
        complete(a, n);
        if trace <= 0.0 {
            return Ok(None);
        }
        let purity = squares / (trace * trace);
        let rounding = 32.0 * n as f64 * f64::EPSILON;
        let rank = rank.min(n);
        let (left, left_squared) = (1.0, purity);
        let mut known =
            Known { purity, dim: n, rank, steps: 0, left, left_squared, rounding, dropped: 0.0 };
        let enough = |between: &Between| {
            let width = between.upper - between.lower;
            (0.0..=2.0 * tolerance).contains(&width)
        };
        let between = known.between(&[], 0.0, 0.0);
        if enough(&between) {
            return Ok(Some(between));
        }

        self.basis.clear();
        self.diagonal.clear();
        self.above.clear();
        self.next.clear();
        self.next.resize(n.next_multiple_of(8), ZERO);
        start(a, &mut self.next);
        let floor = rounding * trace;
        let first = gram(&self.next, &self.next);
        let mut lengths = orthonormalise(&mut self.next, &first, NEGLIGIBLE, floor * floor);
        lengths.iter_mut().for_each(|x| x.dropped = 0.0); // a start may be anything
        let most = 3 * n / 8 / WIDTH;
        for j in 0..most {
            // V, orthonormal but for rounding, to Q_j: away from all of Q again, and once more.
            (0..j).for_each(|i| {
                self.project(i);
            });
            let again = gram(&self.next, &self.next);
            let kept = orthonormalise(&mut self.next, &again, 0.0, 0.25);
            for (c, (before, now)) in lengths.iter().zip(&kept).enumerate() {
                known.steps += usize::from(now.kept > 0.0);
                if j > 0 {
                    let lost =
                        if now.kept > 0.0 { before.dropped } else { before.dropped + before.kept };
                    self.diagonal[j - 1][c][c / 8].as_mut_array()[c % 8] += lost;
                    known.left += lost / trace;
                    known.dropped += 2.0 * lost / trace;
                }
            }
            self.basis.extend_from_slice(&self.next);

            // W, T and V.
            product(a, &self.basis[j * self.next.len()..], &mut self.next);
            let above = if j == 0 { [ZERO; WIDTH] } else { self.project(j - 1) };
            let here = self.project(j);
            let rest = gram(&self.next, &self.next);
            let before = known.left;
            known.left = (before - traced(&here) / trace).max(0.0);
            let coupling = 2.0 * traced(&rest);
            known.left_squared -= (squared(&here) + 2.0 * squared(&above)) / (trace * trace);
            let left_squared = known.left_squared - coupling / (trace * trace);
            let now = Known { left_squared, ..known };
            self.above.push(above);
            self.diagonal.push(here);

            // The bounds take eigenvalues; what C alone leaves open costs nothing.
            let open = now.open();
            if open <= 2.4 * tolerance {
                let between = self.bounds(&now, trace, &rest)?;
                if enough(&between) {
                    return Ok(Some(between));
                }
            }
            // Not at this rate, up to the last block? tr C falls slower than geometrically, and faster
            // than by the last power of k. (Where Q may span all of A, it can still end.)
            let (here, all) = ((j + 1) as f64, most as f64);
            let geometric = all - here;
            let power = (all / here).ln() / (here / (here - 1.0)).ln();
            let exponent = if j == 0 { geometric } else { 0.5 * (geometric + power) };
            let rate = (now.left / before).powf(exponent);
            if rank > most * WIDTH && open * rate > 2.4 * tolerance {
                return Ok(None);
            }
            lengths = orthonormalise(&mut self.next, &rest, NEGLIGIBLE, floor * floor);
        }
        Ok(None)
    }

    /// V ← V − Q_i Q_iᵀ V; returns Q_iᵀ V.
    fn project(&mut self, i: usize) -> Small {
        let q = &self.basis[i * self.next.len()..][..self.next.len()];
        let coefficients = gram(q, &self.next);
        subtract(&mut self.next, q, &coefficients);
        coefficients
    }

    /// The bounds from T and BᵀB.
    fn bounds(
        &mut self,
        known: &Known,
        trace: f64,
        rest: &Small,
    ) -> Result<Between, SpectrumError> {
        let blocks = self.diagonal.len();
        let (k, stride) = (blocks * WIDTH, blocks * WIDTH / 8);
        // Lᵀ, scaled to trace 1, by elimination in the upper half: T = Lᵀ's rows, block by block.
        let down = f64x8::splat(1.0 / trace);
        self.factor.clear();
        self.factor.resize(k * stride, f64x8::ZERO);
        for j in 0..blocks {
            for r in 0..WIDTH {
                let row = &mut self.factor[(j * WIDTH + r) * stride..][..stride];
                for v in 0..WIDTH / 8 {
                    row[j * WIDTH / 8 + v] = self.diagonal[j][r][v] * down;
                    if j + 1 < blocks {
                        row[(j + 1) * WIDTH / 8 + v] = self.above[j + 1][r][v] * down;
                    }
                }
                row[(j * WIDTH + r) / 8].as_mut_array()[r % 8] += known.rounding;
            }
        }
        for p in 0..k {
            let end = ((p / WIDTH + 2) * WIDTH).min(k); // rows and columns that row p reaches
            let (done, below) = self.factor.split_at_mut((p + 1) * stride);
            let row = &mut done[p * stride..];
            for l in 0..p % 8 {
                row[p / 8].as_mut_array()[l] = 0.0;
            }
            // T + δ is positive definite, and no pivot below δ.
            let pivot = at(row, p).max(known.rounding);
            row[p / 8].as_mut_array()[p % 8] = pivot;
            let root = f64x8::splat(1.0 / pivot.sqrt());
            row[p / 8..end / 8].iter_mut().for_each(|x| *x *= root);
            for i in p + 1..end {
                let x = f64x8::splat(at(row, i));
                let to = &mut below[(i - p - 1) * stride..];
                for v in i / 8..end / 8 {
                    to[v] = x.mul_neg_add(row[v], to[v]);
                }
            }
        }
        // S = L⁻¹ BᵀB L⁻ᵀ lives in the last block.
        let base = k - WIDTH;
        let last = |i: usize, p: usize| at(&self.factor[(base + p) * stride..], base + i); // L_ip
        let mut s = rest.map(|row| row.map(|x| x * (down * down)));
        for _ in 0..2 {
            for i in 0..WIDTH {
                for p in 0..i {
                    let x = f64x8::splat(last(i, p));
                    s[i] = std::array::from_fn(|v| x.mul_neg_add(s[p][v], s[i][v]));
                }
                let x = f64x8::splat(1.0 / last(i, i));
                s[i] = s[i].map(|s| s * x);
            }
            s = transposed(&s);
        }
        // Lᵀ L + S, lower triangle with complete blocks of eight on the diagonal.
        self.nystrom.clear();
        self.nystrom.resize(k * stride, f64x8::ZERO);
        for i in 0..k {
            for j in (i / WIDTH).saturating_sub(1) * WIDTH..(i / 8 * 8 + 8).min(k) {
                let from = i.max(j) / 8;
                let end = ((i.min(j) / WIDTH + 2) * WIDTH).min(k) / 8;
                let row = |r: usize| &self.factor[r * stride + from..r * stride + end];
                self.nystrom[i * stride + j / 8].as_mut_array()[j % 8] = dot(row(i), row(j));
            }
            if i >= base {
                for v in 0..=(i - base) / 8 {
                    self.nystrom[i * stride + base / 8 + v] += s[i - base][v];
                }
            }
        }
        self.small.resize(k);
        let mu = self.small.eigenvalues(&mut self.nystrom)?;
        Ok(known.between(mu, traced(&s), squared(&s)))
    }
}

impl Known {
    /// Both bounds from μ (descending), tr S and ‖S‖², S = B T⁻¹ Bᵀ.
    fn between(&self, mu: &[f64], s: f64, s_squared: f64) -> Between {
        let tau = self.dropped + (self.steps + 1) as f64 * self.rounding;
        let allowance = 2.0 * tau * (1.0 + (self.dim as f64 / tau).ln());
        // Below, with ‖T + δ‖² ≤ ‖T‖² + 2 δ + k δ².
        // ... and ‖A + E‖² ≤ ‖A‖² + 2 tr E + (tr E)², tr E = dropped.
        let added = self.dropped * (2.0 + self.dropped);
        let (mut r1, mut r2) = (1.0 - self.rounding, self.purity + 4.0 * self.rounding + added);
        let mut lower = -r2.ln() * r1;
        let mut sum = 0.0;
        for &mu in mu.iter().take_while(|&&mu| mu > 0.0) {
            r1 -= mu;
            r2 -= mu * mu;
            sum -= mu * mu.ln();
            let xi = if r2 < mu * r1 { (r2 / r1).max(f64::MIN_POSITIVE) } else { mu };
            lower = lower.max(sum + (1.0 - xi.ln()) * r1 - r2.max(0.0) / xi);
        }
        // Above.
        let left_squared = self.left_squared - self.rounding - self.dropped * self.dropped;
        let least = left_squared.max(0.0).sqrt() - s_squared.sqrt();
        let a = (self.left - s).max(0.0) + self.rounding;
        let upper: f64 = mu.iter().map(|&mu| entropy(mu)).sum();
        let upper = upper + largest(self.rank_left(), a, least.max(0.0).powi(2));
        Between {
            lower: (lower - allowance).max(0.0),
            upper: (upper + allowance).min((self.rank as f64).ln()),
            steps: self.steps,
            purity: self.purity,
        }
    }

    /// The rank of A − A₁ is at most this.
    fn rank_left(&self) -> usize {
        self.rank.min(self.dim - self.steps)
    }

    /// What trace and norm of C leave open of its entropy.
    fn open(&self) -> f64 {
        let squares = self.left_squared.max(self.rounding * self.rounding);
        let least = -self.left * (squares / self.left.max(self.rounding)).ln();
        largest(self.rank_left(), self.left, squares) - least
    }
}

/// −x ln x.
fn entropy(x: f64) -> f64 {
    if x > 0.0 { -x * x.ln() } else { 0.0 }
}

/// The largest −Σ x ln x of `m` numbers ≥ 0 of this sum, with at least this sum of squares: one
/// above, the rest equal.
fn largest(m: usize, sum: f64, squares: f64) -> f64 {
    let m = m.max(1) as f64;
    let mean = sum / m;
    let spread = (squares - sum * mean).max(0.0);
    let one = (mean + (spread * (m - 1.0) / m).sqrt()).min(sum);
    let each = if m > 1.0 { (sum - one) / (m - 1.0) } else { 0.0 };
    entropy(one) + (m - 1.0) * entropy(each)
}

/// Below this share of a column's squared length, what the columns before leave of it is not told
/// from rounding.
const NEGLIGIBLE: f64 = 1e-10;

/// What became of a column: its length, or a bound on the length given up.
#[derive(Debug, Clone, Copy, Default)]
struct Length {
    kept: f64,
    dropped: f64,
}

/// V ← V R⁻¹ with VᵀV = `gram` = RᵀR (Cholesky QR). Columns of which the ones before leave a squared
/// length of `relative` of their own, or of `absolute`, become zero.
fn orthonormalise(v: &mut [Row], gram: &Small, relative: f64, absolute: f64) -> [Length; WIDTH] {
    let mut lengths = [Length::default(); WIDTH];
    let mut left = *gram;
    let mut inverse = [ZERO; WIDTH]; // rows: R⁻ᵀ
    for p in 0..WIDTH {
        inverse[p][p / 8].as_mut_array()[p % 8] = 1.0;
    }
    for p in 0..WIDTH {
        let pivot = at(&left[p], p);
        let least = (relative * at(&gram[p], p)).max(absolute);
        if pivot.is_nan() || pivot <= least {
            lengths[p].dropped = least.sqrt();
            inverse[p] = ZERO;
            continue;
        }
        lengths[p].kept = pivot.sqrt();
        for i in p + 1..WIDTH {
            let x = f64x8::splat(at(&left[p], i) / pivot);
            left[i] = std::array::from_fn(|v| x.mul_neg_add(left[p][v], left[i][v]));
            inverse[i] = std::array::from_fn(|v| x.mul_neg_add(inverse[p][v], inverse[i][v]));
        }
        let root = f64x8::splat(1.0 / pivot.sqrt());
        inverse[p] = inverse[p].map(|x| x * root);
    }
    let inverse = transposed(&inverse);
    for row in v {
        let mut to = ZERO;
        for (c, inverse) in inverse.iter().enumerate() {
            let x = f64x8::splat(at(row, c));
            to = std::array::from_fn(|v| x.mul_add(inverse[v], to[v]));
        }
        *row = to;
    }
    lengths
}

/// The trace and ‖A‖², from the lower triangle.
pub(crate) fn trace_and_squares(a: &[f64x8], n: usize) -> (f64, f64) {
    let stride = n.div_ceil(8);
    let (mut trace, mut squares) = (0.0, 0.0);
    for g in 0..stride {
        for i in 8 * g..8 * g + 8 {
            let row = &a[i * stride..][..g + 1];
            trace += at(row, i);
            squares += 2.0 * dot(&row[..g], &row[..g]) + dot(&row[g..], &row[g..]);
        }
    }
    (trace, squares)
}

/// Fills the blocks above the diagonal from those below.
fn complete(a: &mut [f64x8], n: usize) {
    let stride = n.div_ceil(8);
    for g in 0..stride {
        for h in 0..g {
            let block: [[f64; 8]; 8] =
                std::array::from_fn(|r| a[(8 * g + r) * stride + h].to_array());
            for c in 0..8 {
                a[(8 * h + c) * stride + g] = f64x8::new(block.map(|row| row[c]));
            }
        }
    }
}

/// y = A Ω: column j of A is added to, or taken from, column j mod 32 of y.
fn start(a: &[f64x8], y: &mut [Row]) {
    let stride = y.len() / 8;
    for (row, y) in a.chunks_exact(stride).zip(y) {
        for (j, a) in row.iter().enumerate() {
            let (sign, to) = (signs(j as u64), &mut y[j % (WIDTH / 8)]);
            *to = sign.mul_add(*a, *to);
        }
    }
}

/// Eight fixed signs for each `j`: bits of SplitMix64's finaliser.
fn signs(j: u64) -> f64x8 {
    let x = j.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let x = x ^ (x >> 31);
    f64x8::new(std::array::from_fn(|l| if x >> l & 1 == 1 { 1.0 } else { -1.0 }))
}

/// y = A x. a: (n, n) complete, x and y: (n, 32), n padded to eight.
fn product(a: &[f64x8], x: &[Row], y: &mut [Row]) {
    let stride = x.len() / 8;
    for (quad, y) in a.chunks_exact(MR * stride).zip(y.chunks_exact_mut(MR)) {
        let (r0, quad) = quad.split_at(stride);
        let (r1, quad) = quad.split_at(stride);
        let (r2, r3) = quad.split_at(stride);
        let mut acc = [ZERO; MR];
        for ((((x, a0), a1), a2), a3) in x.as_chunks::<8>().0.iter().zip(r0).zip(r1).zip(r2).zip(r3)
        {
            for l in 0..8 {
                for (r, a) in [a0, a1, a2, a3].into_iter().enumerate() {
                    let a = f64x8::splat(a.as_array()[l]);
                    for v in 0..WIDTH / 8 {
                        acc[r][v] = a.mul_add(x[l][v], acc[r][v]);
                    }
                }
            }
        }
        y.copy_from_slice(&acc);
    }
}

/// Xᵀ Y. x, y: (n, 32).
fn gram(x: &[Row], y: &[Row]) -> Small {
    let mut out = [ZERO; WIDTH];
    for (c, out) in out.chunks_exact_mut(MR).enumerate() {
        let mut acc = [ZERO; MR];
        for (x, y) in x.iter().zip(y) {
            let x = x[c / 2].as_array().as_chunks::<MR>().0[c % 2];
            for r in 0..MR {
                let x = f64x8::splat(x[r]);
                for v in 0..WIDTH / 8 {
                    acc[r][v] = x.mul_add(y[v], acc[r][v]);
                }
            }
        }
        out.copy_from_slice(&acc);
    }
    out
}

/// V ← V − Q C. v, q: (n, 32).
fn subtract(v: &mut [Row], q: &[Row], c: &Small) {
    for (v, q) in v.as_chunks_mut::<MR>().0.iter_mut().zip(q.as_chunks::<MR>().0) {
        let mut acc = *v;
        for (k, c) in c.iter().enumerate() {
            for r in 0..MR {
                let x = f64x8::splat(at(&q[r], k));
                for v in 0..WIDTH / 8 {
                    acc[r][v] = x.mul_neg_add(c[v], acc[r][v]);
                }
            }
        }
        *v = acc;
    }
}

fn transposed(a: &Small) -> Small {
    let mut out = [ZERO; WIDTH];
    for i in 0..WIDTH {
        for j in 0..WIDTH {
            out[j][i / 8].as_mut_array()[i % 8] = at(&a[i], j);
        }
    }
    out
}

fn traced(a: &Small) -> f64 {
    (0..WIDTH).map(|i| at(&a[i], i)).sum()
}

fn squared(a: &Small) -> f64 {
    a.iter().map(|row| dot(row, row)).sum()
}

#[inline(always)]
fn at(x: &[f64x8], i: usize) -> f64 {
    x[i / 8].as_array()[i % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize, j: usize) -> f64 {
        let x = (1 + i * 7919 + j * 104_729) as f64;
        (x.sin() * 1e4).fract()
    }

    fn block(n: usize, salt: usize) -> Vec<Row> {
        let row = |i| {
            std::array::from_fn(|v| f64x8::new(std::array::from_fn(|l| value(i + salt, 8 * v + l))))
        };
        (0..n).map(row).collect()
    }

    /// Each element is one chain of fused multiply-adds, in ascending order.
    #[test]
    fn the_tiles_give_the_bits_of_plain_loops() {
        for n in [8, 16, 40, 104] {
            let (x, y, stride) = (block(n, 3), block(n, 5), n / 8);
            let mut a = vec![f64x8::ZERO; n * stride];
            for i in 0..n {
                for j in 0..(i / 8 + 1) * 8 {
                    a[i * stride + j / 8].as_mut_array()[j % 8] = value(i.max(j), i.min(j));
                }
            }
            complete(&mut a, n);
            let mut ax = x.clone();
            product(&a, &x, &mut ax);
            let c = gram(&x, &y);
            let mut rest = y.clone();
            subtract(&mut rest, &x, &c);
            for col in 0..WIDTH {
                for i in 0..n {
                    let chain =
                        |s: f64, j: usize| value(i.max(j), i.min(j)).mul_add(at(&x[j], col), s);
                    assert_eq!(at(&ax[i], col).to_bits(), (0..n).fold(0.0, chain).to_bits());
                    let chain = |s: f64, k: usize| (-at(&x[i], k)).mul_add(at(&c[k], col), s);
                    let plain = (0..WIDTH).fold(at(&y[i], col), chain);
                    assert_eq!(at(&rest[i], col).to_bits(), plain.to_bits());
                }
                for k in 0..WIDTH {
                    let chain = |s: f64, i: usize| at(&x[i], k).mul_add(at(&y[i], col), s);
                    assert_eq!(at(&c[k], col).to_bits(), (0..n).fold(0.0, chain).to_bits());
                }
            }
        }
    }

    #[test]
    fn columns_come_out_orthonormal_and_dependent_ones_as_zero() {
        let mut v = block(80, 1);
        for row in &mut v {
            let (x, y) = (at(row, 2), at(row, 5));
            row[1].as_mut_array()[1] = x - 2.0 * y; // column 9 depends on two before it
            row[3].as_mut_array()[7] *= 1e-9; // small, but its own
        }
        let before = v.clone();
        let mut gone = gram(&v, &v);
        let lengths = orthonormalise(&mut v, &gone, NEGLIGIBLE, 0.0);
        gone = gram(&v, &v);
        for i in 0..WIDTH {
            for j in 0..WIDTH {
                let one = f64::from(u8::from(i == j && i != 9));
                assert!((at(&gone[i], j) - one).abs() < 1e-12, "{i}, {j}");
            }
        }
        assert!(lengths[9].kept == 0.0 && lengths[9].dropped > 0.0);
        assert!(lengths[31].kept > 0.0 && lengths[31].kept < 1e-8);
        // R = QᵀV is upper triangular, with the lengths on its diagonal.
        let r = gram(&v, &before);
        for i in (0..WIDTH).filter(|&i| i != 9) {
            assert!((at(&r[i], i) / lengths[i].kept - 1.0).abs() < 1e-12);
            assert!((0..i).all(|j| at(&r[i], j).abs() < 1e-12));
        }
    }

    /// What is measured is A' = A + d (q − d̂)(q − d̂)ᵀ, a coupling d less; what is promised is H(A).
    #[test]
    fn the_interval_holds_the_matrix_with_the_coupling_that_was_left_out() {
        for d in [1e-5, 1e-7, 1e-9] {
            for (a, c) in [(0.55_f64, 0.45), (0.6, 0.4), (0.7, 0.3)] {
                // A = (a, d; d, c), of which Q sees the first column.
                let root = (0.25 * (a - c).powi(2) + d * d).sqrt();
                let truth = entropy(0.5 + root) + entropy(0.5 - root);
                let known = Known {
                    purity: a * a + c * c + 2.0 * d * d,
                    dim: 2,
                    rank: 2,
                    steps: 1,
                    left: c + d,
                    left_squared: c * c + 2.0 * d * d,
                    rounding: 64.0 * f64::EPSILON,
                    dropped: 2.0 * d,
                };
                let Between { lower, upper, .. } = known.between(&[a + d], 0.0, 0.0);
                assert!(lower <= truth && truth <= upper, "{a}, {d}: {lower} {truth} {upper}");
                // Not for nothing: H(A') is below H(A). Nor too much.
                assert!(entropy(a + d) + entropy(c + d) < truth - 0.1 * d, "{a}, {d}");
                assert!(upper - truth < 4.0 * d * (2.0 + (1.0 / d).ln()), "{a}, {d}: {upper}");
            }
        }
    }
}
