//! Taking directions out of activations, as a test of whether they are used.
//!
//! ```text
//! h ← h − U Uᵀ (h − mean)          U: orthonormal, (d, k); mean of the activations that a probe was fitted to
//! ```
//! U spans the weight vectors of a linear probe in the activations' own coordinates, or, as a control, as many
//! random directions. What is left says nothing to that probe: its logits are those of the mean.

use super::probe::Probe;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// A vector adds a direction if what the others leave of it is longer than this share of the longest. A fit
/// knows weights of about 1 to 1e-6 (`probe::TOLERANCE`); the k rows of k classes sum to zero to 1e-15.
pub const RANK_TOLERANCE: f64 = 1e-6;

/// Directions, and where the activations lie along them afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    basis: Vec<f64>, // (k, d), orthonormal rows
    mean: Vec<f64>,  // (d)
}

impl Erasure {
    /// Of the directions that a probe reads.
    pub fn of(probe: &Probe) -> Erasure {
        let mean = probe.mean().to_vec();
        Erasure { basis: orthonormal(probe.directions(), mean.len()), mean }
    }

    /// Of k random directions that are drawn as `rows`, (rows, d), vary about the mean, and made orthogonal: a
    /// direction is Σ g·(h − mean) with g normal, so that its covariance is that of the rows. (A direction that
    /// is uniform on the sphere hardly matters to states that keep to a few of its dimensions.)
    pub fn random(k: usize, mean: &[f64], rows: &[f32], rng: &mut impl Rng) -> Erasure {
        let d = mean.len();
        let mut draws = vec![0.0; k * d];
        for to in draws.chunks_exact_mut(d) {
            for row in rows.chunks_exact(d) {
                let g: f64 = StandardNormal.sample(rng);
                for ((to, &h), m) in to.iter_mut().zip(row).zip(mean) {
                    *to += g * (f64::from(h) - m);
                }
            }
        }
        Erasure { basis: orthonormal(draws, d), mean: mean.to_vec() }
    }

    /// k, the number of directions.
    pub fn rank(&self) -> usize {
        self.basis.len() / self.mean.len()
    }

    /// Where the activations lie along the directions afterwards: (d).
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The directions: (k, d), orthonormal rows.
    pub fn basis(&self) -> &[f64] {
        &self.basis
    }

    /// Writes rows of activations, (rows, d), without the directions. Sums are float64.
    ///
    /// # Panics
    /// If there are not as many of both.
    pub fn apply(&self, rows: &[f32], to: &mut [f32]) {
        let d = self.mean.len();
        assert_eq!(rows.len(), to.len(), "as many rows");
        let mut rest = vec![0.0; d];
        for (row, to) in rows.chunks_exact(d).zip(to.chunks_exact_mut(d)) {
            rest.iter_mut().zip(row).for_each(|(rest, &h)| *rest = f64::from(h));
            for u in self.basis.chunks_exact(d) {
                let along: f64 = row
                    .iter()
                    .zip(&self.mean)
                    .zip(u)
                    .map(|((&h, m), u)| (f64::from(h) - m) * u)
                    .sum();
                rest.iter_mut().zip(u).for_each(|(rest, u)| *rest -= along * u);
            }
            to.iter_mut().zip(&rest).for_each(|(to, &rest)| *to = rest as f32);
        }
    }
}

/// An orthonormal basis of what the rows of `v`, (rows, d), span: Gram and Schmidt's, the longest of what is
/// left first, until nothing longer than [`RANK_TOLERANCE`] is left. (k, d).
fn orthonormal(mut v: Vec<f64>, d: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let remove = |v: &mut [f64], u: &[f64]| {
        let along = dot(v, u);
        v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
    };
    let (mut basis, mut least): (Vec<f64>, Option<f64>) = (Vec::new(), None);
    while basis.len() < d * d {
        let lengths = v.chunks_exact(d).map(|row| dot(row, row).sqrt()).enumerate();
        let longest = lengths.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((row, length)) = longest else { break };
        if length <= *least.get_or_insert(RANK_TOLERANCE * length) {
            break;
        }
        let mut u = v[row * d..(row + 1) * d].to_vec();
        // Once more: what rounding left of the others is as long as u is short.
        basis.chunks_exact(d).for_each(|other| remove(&mut u, other));
        let length = dot(&u, &u).sqrt();
        u.iter_mut().for_each(|x| *x /= length);
        v.chunks_exact_mut(d).for_each(|row| remove(row, &u));
        basis.extend(u);
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// U Uᵀ = I, to rounding.
    fn is_orthonormal(basis: &[f64], d: usize) -> bool {
        basis.chunks_exact(d).enumerate().all(|(i, a)| {
            basis.chunks_exact(d).enumerate().all(|(j, b)| {
                let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                (dot - f64::from(u8::from(i == j))).abs() < 1e-14
            })
        })
    }

    #[test]
    fn erasing_parity_that_is_one_coordinate_removes_that_coordinate_and_nothing_else() {
        // Parity is coordinate 2. The others are balanced between even and odd, row by row, so their exact
        // weights are 0.
        let (d, rows) = (5, 400);
        let mut rng = Seed(3).stream("test", 0);
        let mut memory = Vec::new();
        for pair in 0..rows / 2 {
            let mut row: Vec<f32> = (0..d)
                .map(|_| {
                    Distribution::<f64>::sample(&StandardNormal, &mut rng) as f32 + pair as f32
                })
                .collect();
            for parity in [0.5, -1.5] {
                row[2] = parity;
                memory.extend_from_slice(&row);
            }
        }
        let labels: Vec<u32> = (0..rows as u32).map(|n| n % 2).collect();
        let probe = Probe::fit(&memory, d, &labels).unwrap();
        let erasure = Erasure::of(&probe);
        assert_eq!(erasure.rank(), 1);
        assert!(erasure.basis()[2].abs() > 1.0 - 1e-12, "{:?}", erasure.basis());
        let mut left = vec![0.0; memory.len()];
        erasure.apply(&memory, &mut left);
        for (before, after) in memory.chunks_exact(d).zip(left.chunks_exact(d)) {
            for i in 0..d {
                let expected = if i == 2 { -0.5 } else { before[i] }; // the mean of 0.5 and −1.5
                assert!((after[i] - expected).abs() < 1e-4, "{i}: {before:?} {after:?}");
            }
        }
        // The probe sees nothing any more: every row looks alike.
        let said: Vec<_> = left.chunks_exact(d).map(|row| probe.predict(row)).collect();
        assert!(said.iter().all(|label| *label == said[0]));
    }

    #[test]
    fn classes_have_one_direction_less_than_there_are_of_them() {
        let (d, rows) = (12, 300);
        for classes in [3, 4, 7] {
            let mut rng = Seed(4).stream("test", u64::from(classes));
            let labels: Vec<u32> = (0..rows).map(|n| n % classes).collect();
            let mut features: Vec<f32> = (0..rows as usize * d)
                .map(|_| Distribution::<f64>::sample(&StandardNormal, &mut rng) as f32)
                .collect();
            for (row, &label) in features.chunks_exact_mut(d).zip(&labels) {
                row[label as usize] += 3.0;
            }
            let probe = Probe::fit(&features, d, &labels).unwrap();
            let erasure = Erasure::of(&probe);
            assert_eq!(erasure.rank(), classes as usize - 1);
            assert!(is_orthonormal(erasure.basis(), d));
            // Every weight vector lies in the span.
            for w in probe.directions().chunks_exact(d) {
                let mut rest = w.to_vec();
                for u in erasure.basis().chunks_exact(d) {
                    let along: f64 = w.iter().zip(u).map(|(w, u)| w * u).sum();
                    rest.iter_mut().zip(u).for_each(|(r, u)| *r -= along * u);
                }
                let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
                assert!(norm(&rest) < 1e-5 * norm(w), "{:e}", norm(&rest));
            }
        }
    }

    #[test]
    fn rank_is_that_of_the_span_at_any_scale() {
        let sum = [1.0, 2.0, 0.0, 0.0, 1.0, 1.0, 1.0, 3.0, 1.0];
        for scale in [1e-9, 1.0, 1e9] {
            let basis = orthonormal(sum.iter().map(|x| x * scale).collect(), 3);
            assert_eq!(basis.len(), 2 * 3, "the third row is the sum of the others");
            assert!(is_orthonormal(&basis, 3));
        }
        // Nearly parallel, and still two.
        let near = orthonormal(vec![1.0, 0.0, 1.0, 1e-5], 2);
        assert!(near.len() == 4 && is_orthonormal(&near, 2));
        assert!(orthonormal(vec![0.0; 6], 3).is_empty());
        assert!(orthonormal(vec![], 3).is_empty());
        assert_eq!(orthonormal(vec![1.0; 12], 2).len(), 2);
    }

    #[test]
    fn random_directions_are_orthonormal_and_follow_from_the_seed() {
        let (d, mean) = (16, vec![0.0; 16]);
        let mut rng = Seed(9).stream("test", 0);
        let rows: Vec<f32> = (0..2000 * d)
            .map(|_| Distribution::<f64>::sample(&StandardNormal, &mut rng) as f32)
            .collect();
        let draw =
            |k, seed, draw| Erasure::random(k, &mean, &rows, &mut Seed(seed).stream("erase", draw));
        for k in [1, 5, 16] {
            let erasure = draw(k, 0, 0);
            assert_eq!(erasure.rank(), k);
            assert!(is_orthonormal(erasure.basis(), d));
            assert_eq!(erasure, draw(k, 0, 0));
            assert!(erasure != draw(k, 0, 1) && erasure != draw(k, 1, 0));
        }
        // No more than there are.
        assert_eq!(draw(20, 0, 0).rank(), 16);
        // One of five is in the span of all five, and a mean of 0 leaves its share of the length: 1 − 5/16.
        let mut left = vec![0.0; rows.len()];
        draw(5, 0, 0).apply(&rows, &mut left);
        let square = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>();
        let share = square(&left) / square(&rows);
        assert!((share - 11.0 / 16.0).abs() < 0.01, "{share}");
        // Rows of one direction give that direction, and there is no second.
        let along: Vec<f32> =
            [3.0, 5.0, -1.0].iter().flat_map(|x| [1.0 + 0.6 * x, 0.8 * x]).collect();
        let one = Erasure::random(2, &[1.0, 0.0], &along, &mut rng);
        assert_eq!(one.rank(), 1);
        assert!((one.basis()[0].abs() - 0.6).abs() < 1e-6, "{:?}", one.basis());
    }
}
