//! From eigenvalues to the entropy of a spectrum.
//!
//! ```text
//! p_k = λ_k / Σλ          H = −Σ p_k ln p_k  (nats)        H̃ = H / ln d
//! effective rank = exp H                  participation ratio = (Σλ)² / Σλ²
//! ```
//! Entropy of activations as in arXiv:2604.13123; effective rank: Roy & Vetterli 2007.

use crate::block_lanczos::{Between, BlockLanczos, trace_and_squares};
use crate::covariance::{BLOCK, Covariance, LARGEST, check, exponent_of, scale};
use crate::eigenvectors;
use crate::lanczos::Lanczos;
use crate::moments::Moments;
use crate::tridiagonal::Tridiagonal;
use std::fmt;
use wide::f64x8;

/// Which second moment is diagonalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Centring {
    /// The covariance: mean removed, divided by the number of rows.
    Centred,
    /// E[x xᵀ] of the values as they are.
    Uncentred,
}

/// Why there is no spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SpectrumError {
    /// The slice does not hold whole rows.
    Shape {
        /// Values given.
        len: usize,
        /// Values in a row.
        dim: usize,
    },
    /// A value that is not finite, or too large.
    Value {
        /// Its row, counted from the first row taken in.
        row: usize,
        /// Its column.
        column: usize,
        /// The value itself.
        value: f64,
    },
    /// No row was taken in.
    NoRows,
    /// The QL iteration did not converge.
    NoConvergence,
}

impl fmt::Display for SpectrumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Shape { len, dim } => write!(f, "{len} values are not whole rows of {dim}"),
            Self::Value { row, column, value } if value.is_finite() => {
                write!(f, "row {row}, column {column} is {value:e}; the limit is ±{LARGEST:.0e}")
            }
            Self::Value { row, column, value } => {
                write!(f, "row {row}, column {column} is {value}; every value must be finite")
            }
            Self::NoRows => write!(f, "there are no rows to take the covariance of"),
            Self::NoConvergence => {
                write!(f, "the QL iteration for the eigenvalues did not converge")
            }
        }
    }
}

impl std::error::Error for SpectrumError {}

/// A spectrum and the numbers drawn from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spectrum<'a> {
    /// λ, descending, in the units of the data squared; round-off below zero is set to zero. Values
    /// beyond the range of f64 are cut at `f64::MAX` or fall to zero here, and only here.
    pub eigenvalues: &'a [f64],
    /// Eigenvalues above (4 d + blocks) ε λ₁, about the rounding of the covariance itself.
    pub rank: usize,
    /// H = −Σ p ln p in nats; 0 if the rank is 0.
    pub entropy: f64,
    /// H / ln d, between 0 and 1; 0 if d is 1.
    pub normalised_entropy: f64,
    /// exp H; 0 if the rank is 0.
    pub effective_rank: f64,
    /// (Σλ)² / Σλ²; 0 if the rank is 0.
    pub participation_ratio: f64,
}

impl<'a> Spectrum<'a> {
    /// The numbers of `eigenvalues` (descending; below zero counts as zero). Those up to `noise` ·
    /// λ₁ do not count towards the rank, but do towards the rest.
    pub fn of(eigenvalues: &'a [f64], noise: f64) -> Self {
        let largest = eigenvalues.first().map_or(0.0, |x| x.max(0.0));
        let rank = eigenvalues.iter().filter(|&&x| x > noise * largest).count();
        let mut spectrum = Self {
            eigenvalues,
            rank,
            entropy: 0.0,
            normalised_entropy: 0.0,
            effective_rank: 0.0,
            participation_ratio: 0.0,
        };
        if rank == 0 {
            return spectrum;
        }
        // Relative to λ₁, smallest first.
        let ratios = || eigenvalues.iter().rev().map(|x| x.max(0.0) / largest);
        let total: f64 = ratios().sum();
        let squares: f64 = ratios().map(|x| x * x).sum();
        let entropy: f64 =
            ratios().map(|x| x / total).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum();
        spectrum.entropy = entropy.max(0.0);
        if eigenvalues.len() > 1 {
            spectrum.normalised_entropy = spectrum.entropy / (eigenvalues.len() as f64).ln();
        }
        spectrum.effective_rank = spectrum.entropy.exp();
        spectrum.participation_ratio = total * total / squares;
        spectrum
    }
}

/// H without every eigenvalue: the middle of an interval that contains it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded {
    /// H in nats, ± `bound` ln d; 0 if there is no variance.
    pub entropy: f64,
    /// H / ln d, between 0 and 1; 0 if d is 1.
    pub normalised_entropy: f64,
    /// |normalised entropy − H / ln d| is at most this; 0 where every eigenvalue was computed.
    pub bound: f64,
    /// (Σλ)² / Σλ², to rounding; 0 if there is no variance.
    pub participation_ratio: f64,
    /// Columns that the covariance was multiplied by: those of the Krylov basis, or d for each product
    /// with the whole matrix; `None` where every eigenvalue was computed.
    pub steps: Option<usize>,
}

/// Lanczos takes over when the rank is known to be at most dim / 4.
///
/// Medians of `benches/benches/spectrum.rs` (one thread, AVX-512 at 2.7 GHz, ms):
///
/// ```text
/// dim    Householder   Lanczos, rank dim/2   dim/3   dim/4   dim/8
///   32         0.020                 0.016   0.006   0.005   0.002
///  128         0.24                  0.27    0.15    0.10    0.031
///  256         0.85                  1.4     0.91    0.63    0.25
///  512         5.8                  13.1     7.2     4.0     1.6
/// 1024        34                   101      54      36      13
/// ```
const LANCZOS: usize = 4;

/// Moments, from whole products, are worth it from this size on …
const MOMENTS: usize = 256;
/// … where the participation ratio is at least this share of the rank …
const SPREAD: f64 = 0.1;
/// … and come before Lanczos, which flat spectra defeat, above this one.
const FLAT: f64 = 0.25;

/// From this size on, rows of which there are at most half as many as columns are kept as they are:
/// X Xᵀ has the eigenvalues of XᵀX but for zeros, and is the smaller.
const TURN: usize = 256;

/// Rows in, spectrum out; allocates when made, and no more once it has seen its first spectrum.
///
/// ```
/// use kernels::spectrum::{Centring, SpectrumMeter};
/// let mut meter = SpectrumMeter::new(2);
/// meter.push(&[1.0f32, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0]).unwrap();
/// let spectrum = meter.spectrum(Centring::Centred).unwrap();
/// assert_eq!(spectrum.eigenvalues, [0.5, 0.5]);
/// assert!((spectrum.normalised_entropy - 1.0).abs() < 1e-15);
/// ```
#[derive(Debug, Clone)]
pub struct SpectrumMeter {
    covariance: Covariance,
    tridiagonal: Tridiagonal,
    lanczos: Lanczos,
    block_lanczos: BlockLanczos,
    moments: Moments,
    matrix: Vec<f64x8>, // (dim, dim), padded to eight
    eigenvalues: Vec<f64>,
    rank: usize,                        // what else is known of it
    most: usize,                        // rows kept
    kept: Vec<f64>,                     // (rows, dim): nothing is in `covariance` yet
    columns: Vec<f64>,                  // (8, rows)
    turned: Option<Box<SpectrumMeter>>, // of X Xᵀ
}

impl SpectrumMeter {
    /// A meter for rows of `dim` values.
    pub fn new(dim: usize) -> Self {
        let most = if dim < TURN { 0 } else { dim / 2 };
        Self { most, ..Self::straight(dim) }
    }

    /// One that keeps no rows.
    fn straight(dim: usize) -> Self {
        Self {
            covariance: Covariance::new(dim),
            tridiagonal: Tridiagonal::new(dim),
            lanczos: Lanczos::new(dim),
            block_lanczos: BlockLanczos::new(dim),
            moments: Moments::new(dim),
            matrix: vec![f64x8::ZERO; dim.next_multiple_of(8) * dim.div_ceil(8)],
            eigenvalues: vec![0.0; dim],
            rank: usize::MAX,
            most: 0,
            kept: Vec::new(),
            columns: Vec::new(),
            turned: None,
        }
    }

    /// Forgets every row, keeps the memory.
    pub fn clear(&mut self) {
        self.covariance.clear();
        self.kept.clear();
    }

    /// Rows taken in since the last [`SpectrumMeter::clear`].
    pub fn rows(&self) -> usize {
        self.covariance.rows() + self.kept.len() / self.eigenvalues.len().max(1)
    }

    /// Takes in rows: (n, dim), row major, any n; see [`Covariance::push`], errors included.
    ///
    /// # Errors
    /// If `rows` are not whole rows of finite values.
    pub fn push<T: Copy + Into<f64>>(&mut self, rows: &[T]) -> Result<(), SpectrumError> {
        let (dim, before) = (self.eigenvalues.len(), self.rows());
        check(rows, dim, before)?;
        if self.covariance.rows() == 0 && before + rows.len() / dim <= self.most {
            self.kept.extend(rows.iter().map(|&x| x.into()));
            return Ok(());
        }
        self.stream()?;
        self.covariance.push(rows)
    }

    /// Kept rows to the covariance.
    fn stream(&mut self) -> Result<(), SpectrumError> {
        self.covariance.push(&self.kept)?;
        self.kept.clear();
        Ok(())
    }

    /// The meter of X Xᵀ, where rows are kept: (rows, rows), so that it takes in columns as if they were
    /// rows, each without its mean.
    fn turned(&mut self, centring: Centring) -> Result<Option<Box<Self>>, SpectrumError> {
        let (dim, rows) = (self.eigenvalues.len(), self.kept.len() / self.eigenvalues.len().max(1));
        if rows == 0 {
            return Ok(None);
        }
        let mut turned = match self.turned.take() {
            Some(turned) if turned.eigenvalues.len() == rows => turned,
            _ => Box::new(Self::straight(rows)),
        };
        turned.clear();
        turned.rank = self.rank_at_most(centring);
        self.columns.resize(8 * rows, 0.0);
        for j in (0..dim).step_by(8) {
            let wide = 8.min(dim - j);
            for (i, row) in self.kept.chunks_exact(dim).enumerate() {
                for (c, x) in row[j..j + wide].iter().enumerate() {
                    self.columns[c * rows + i] = *x;
                }
            }
            let columns = &mut self.columns[..wide * rows];
            if centring == Centring::Centred {
                // From the first value, so that equal ones give zeros; twice, for a mean far away.
                for column in columns.chunks_exact_mut(rows) {
                    let first = column[0];
                    column.iter_mut().for_each(|x| *x -= first);
                    for _ in 0..2 {
                        let mean = column.iter().sum::<f64>() / rows as f64;
                        column.iter_mut().for_each(|x| *x -= mean);
                    }
                }
            }
            // Too large once the mean is gone: the covariance knows what to do.
            if turned.covariance.push(columns).is_err() {
                self.stream()?;
                return Ok(None);
            }
        }
        Ok(Some(turned))
    }

    /// The spectrum of the rows taken in so far. Both centrings may be asked for, and more rows may
    /// follow.
    ///
    /// # Errors
    /// If there are no rows (or QL does not converge, which is not seen so far).
    pub fn spectrum(&mut self, centring: Centring) -> Result<Spectrum<'_>, SpectrumError> {
        let Some(mut turned) = self.turned(centring)? else {
            let shift = self.load(centring)?;
            return self.eigenvalues_of(centring, shift);
        };
        let (dim, rows) = (self.eigenvalues.len(), self.rows());
        let shift = turned.load(Centring::Uncentred)?;
        let numbers = turned.eigenvalues_of(Centring::Uncentred, shift)?;
        let numbers = Spectrum { eigenvalues: &[], ..numbers };
        self.eigenvalues.fill(0.0);
        // It has divided by the number of columns.
        for (to, x) in self.eigenvalues.iter_mut().zip(&turned.eigenvalues) {
            *to = (x * (dim as f64 / rows as f64)).min(f64::MAX);
        }
        self.turned = Some(turned);
        let normalised_entropy = numbers.entropy / (dim as f64).ln();
        Ok(Spectrum { eigenvalues: &self.eigenvalues, normalised_entropy, ..numbers })
    }

    /// H to ± `tolerance` (of H / ln d), from as few products with the covariance as will do; from
    /// every eigenvalue where that is cheaper. See [`crate::block_lanczos`] and [`crate::moments`] for the
    /// mathematics.
    ///
    /// # Errors
    /// As [`SpectrumMeter::spectrum`].
    pub fn entropy_within(
        &mut self,
        centring: Centring,
        tolerance: f64,
    ) -> Result<Bounded, SpectrumError> {
        let whole = (self.eigenvalues.len() as f64).ln();
        if let Some(mut turned) = self.turned(centring)? {
            let (dim, n) = (self.eigenvalues.len(), turned.eigenvalues.len());
            let own = (n as f64).ln();
            let found =
                turned.entropy_within(Centring::Uncentred, tolerance * whole / own.max(1e-300));
            self.turned = Some(turned);
            let found = found?;
            return Ok(Bounded {
                normalised_entropy: found.entropy / whole,
                bound: found.bound * own / whole,
                steps: found.steps.map(|steps| if steps < n { steps } else { steps / n * dim }),
                ..found
            });
        }
        let shift = self.load(centring)?;
        let rank = self.rank_at_most(centring);
        if let Some(between) = self.between(rank, tolerance * whole)? {
            return Ok(Bounded {
                entropy: 0.5 * (between.lower + between.upper),
                normalised_entropy: 0.5 * (between.lower + between.upper) / whole,
                bound: 0.5 * (between.upper - between.lower) / whole,
                participation_ratio: 1.0 / between.purity,
                steps: Some(between.steps),
            });
        }
        let Spectrum { entropy, normalised_entropy, participation_ratio, .. } =
            self.eigenvalues_of(centring, shift)?;
        Ok(Bounded { entropy, normalised_entropy, bound: 0.0, participation_ratio, steps: None })
    }

    /// The `count` largest eigenvalues, or as many as the rank, descending and in the units of the data
    /// squared, and a unit eigenvector for each: (k), (k, dim). Allocates.
    ///
    /// # Errors
    /// As [`SpectrumMeter::spectrum`].
    pub fn leading(
        &mut self,
        centring: Centring,
        count: usize,
    ) -> Result<(Vec<f64>, Vec<f64>), SpectrumError> {
        self.stream()?;
        let shift = self.load(centring)?;
        let (dim, rows) = (self.eigenvalues.len(), self.covariance.rows() as f64);
        let (mut eigenvalues, mut vectors) =
            eigenvectors::leading(&mut self.tridiagonal, &mut self.matrix, count)?;
        eigenvalues.truncate(Spectrum::of(&eigenvalues, self.noise()).rank);
        vectors.truncate(eigenvalues.len() * dim);
        eigenvalues.iter_mut().for_each(|x| *x = scale(x.max(0.0) / rows, shift).min(f64::MAX));
        Ok((eigenvalues, vectors))
    }

    /// What is rounding of the covariance itself, as a share of λ₁.
    fn noise(&self) -> f64 {
        let blocks = self.covariance.rows().div_ceil(BLOCK);
        (4 * self.eigenvalues.len() + blocks) as f64 * f64::EPSILON
    }

    /// An interval for H of `matrix`, ± `tolerance`; `None` where every eigenvalue is cheaper.
    fn between(&mut self, rank: usize, tolerance: f64) -> Result<Option<Between>, SpectrumError> {
        let dim = self.eigenvalues.len();
        if dim < 2 {
            return Ok(None);
        }
        let (rank, sums) = (rank.min(dim), trace_and_squares(&self.matrix, dim));
        // (Σλ)² / Σλ² over the rank: how many of the eigenvalues count.
        let spread = sums.0 * sums.0 / (sums.1 * rank as f64);
        let moments = dim >= MOMENTS && spread > SPREAD;
        if !(moments && spread > FLAT) {
            let found = self.block_lanczos.entropy_of(&mut self.matrix, sums, rank, tolerance)?;
            if found.is_some() || !moments {
                return Ok(found);
            }
        }
        Ok(self.moments.entropy(&self.matrix, sums, rank, tolerance))
    }

    /// What the number of rows leaves of the rank.
    fn rank_at_most(&self, centring: Centring) -> usize {
        let rows = self.rows();
        self.rank.min(if centring == Centring::Centred { rows - 1 } else { rows })
    }

    /// The scatter matrix to `matrix`, scaled; Σ is `rows` times smaller and 2^e times larger, e the
    /// result.
    fn load(&mut self, centring: Centring) -> Result<i32, SpectrumError> {
        let (dim, stride) = (self.eigenvalues.len(), self.eigenvalues.len().div_ceil(8));
        let exponent = self.covariance.scatter(centring, &mut self.matrix)?;

        // The largest diagonal element, thus the largest element of all, to [1, 2).
        let top = (0..dim).map(|i| self.matrix[i * stride + i / 8].as_array()[i % 8]);
        let top = top.fold(0.0, f64::max);
        let shift = if top > 0.0 { exponent_of(top) } else { 0 };
        let down = f64x8::splat(scale(1.0, -shift));
        for i in 0..dim {
            self.matrix[i * stride..][..=i / 8].iter_mut().for_each(|x| *x *= down);
        }
        Ok(shift + 2 * exponent)
    }

    /// All eigenvalues of `matrix`, and the numbers drawn from them.
    fn eigenvalues_of(
        &mut self,
        centring: Centring,
        shift: i32,
    ) -> Result<Spectrum<'_>, SpectrumError> {
        let (dim, rows) = (self.eigenvalues.len(), self.covariance.rows());
        let (rank, noise) = (self.rank_at_most(centring), self.noise());
        let eigenvalues = if rank <= dim / LANCZOS {
            self.lanczos.eigenvalues(&self.matrix)?
        } else {
            self.tridiagonal.eigenvalues(&mut self.matrix)?
        };
        let numbers = Spectrum::of(eigenvalues, noise);
        for (to, x) in self.eigenvalues.iter_mut().zip(eigenvalues) {
            let x = scale(x.max(0.0) / rows as f64, shift);
            *to = x.min(f64::MAX);
        }
        Ok(Spectrum { eigenvalues: &self.eigenvalues, ..numbers })
    }
}
