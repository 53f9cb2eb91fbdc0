//! How far the leading directions of a representation are waves of the answer.
//!
//! ```text
//! A = max over k = 1 … (p − 1)/2 and v, the m leading eigenvectors of the probe's covariance, of
//!     R²(k, v) = the squared multiple correlation of z·v with cos(2πkc/p) and sin(2πkc/p)
//! ```
//! z·v is the projection of a row of the probe, c the row's answer a ∘ b. R² is that of a least-squares
//! fit by the two waves and a constant over the probe's own rows: with y = z·v, C and S centred on
//! their means and S made orthogonal to C, R² = ((y·C)²/C·C + (y·S)²/S·S) / y·y. It is 1 where a
//! direction is a single wave, and about 2/rows where it is chance; the maximum over all k and v is more.
//! The paper behind it, arXiv:2604.13123, says "alignment of the top eigenvectors with Fourier modes"
//! and prints no formula; this is our reading.

use std::f64::consts::TAU;

/// m: at most so many eigenvectors count.
pub const LEADING: usize = 16;

/// A of projections y on m directions, m fastest: (rows, m), with the answers c below p of the rows.
/// 0 where nothing varies.
pub fn alignment(y: &[f64], answers: &[u32], p: usize) -> f64 {
    let (rows, m) = (answers.len(), y.len() / answers.len().max(1));
    let mean = |of: &dyn Fn(usize) -> f64| (0..rows).map(of).sum::<f64>() / rows as f64;
    let means: Vec<f64> = (0..m).map(|v| mean(&|i| y[i * m + v])).collect();
    let mut totals = vec![0.0; m]; // y·y
    // A wave depends on the row's answer alone: the sums over the rows of each answer are all it needs.
    let mut count = vec![0.0; p];
    let mut sums = vec![0.0; p * m]; // (p, m)
    for (y, &c) in y.chunks_exact(m.max(1)).zip(answers) {
        let sums = &mut sums[c as usize * m..][..m];
        count[c as usize] += 1.0;
        for v in 0..m {
            let y = y[v] - means[v];
            totals[v] += y * y;
            sums[v] += y;
        }
    }
    let seen: Vec<usize> = (0..p).filter(|&c| count[c] > 0.0).collect();
    let turn: Vec<(f64, f64)> = (0..p).map(|j| (TAU * j as f64 / p as f64).sin_cos()).collect();
    let mut most: f64 = 0.0;
    let mut products = vec![[0.0; 2]; m]; // y·C, y·S
    for k in 1..=(p - 1) / 2 {
        let wave = |c: usize| turn[k * c % p];
        let (mut cos, mut sin, mut cc, mut cs, mut ss) = (0.0, 0.0, 0.0, 0.0, 0.0);
        products.fill([0.0; 2]);
        for &c in &seen {
            let ((s, x), n) = (wave(c), count[c]);
            cos += n * x;
            sin += n * s;
            cc += n * x * x;
            cs += n * x * s;
            ss += n * s * s;
            for (product, y) in products.iter_mut().zip(&sums[c * m..]) {
                product[0] += x * y;
                product[1] += s * y;
            }
        }
        let n = rows as f64;
        let (cc, cs, ss) = (cc - cos * cos / n, cs - cos * sin / n, ss - sin * sin / n);
        // What is rounding of a wave that does not vary over these answers explains nothing.
        let least = 1e-12 * n;
        let slope = if cc > least { cs / cc } else { 0.0 };
        let rest = ss - slope * cs;
        for ([c, s], total) in products.iter().zip(&totals) {
            let by_cos = if cc > least { c * c / cc } else { 0.0 };
            let s = s - slope * c;
            let by_sin = if rest > least { s * s / rest } else { 0.0 };
            if *total > 0.0 {
                most = most.max((by_cos + by_sin) / total);
            }
        }
    }
    most.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Seed, below};
    use rand::Rng;

    const P: usize = 97;

    /// Rows with random answers, and numbers in [0, 1) to build projections of.
    fn draws(rows: usize, name: &str) -> (Vec<u32>, Vec<f64>) {
        let mut rng = Seed(0).stream(name, 0);
        let answers = (0..rows).map(|_| below(&mut rng, P) as u32).collect();
        (answers, (0..rows).map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64).collect())
    }

    /// R² of a fit by the two waves and a constant, by the normal equations of all three.
    fn r_squared(y: &[f64], answers: &[u32], p: usize, k: usize) -> f64 {
        let angle = |c: u32| TAU * (k * c as usize) as f64 / p as f64;
        let x: Vec<[f64; 3]> =
            answers.iter().map(|&c| [1.0, angle(c).cos(), angle(c).sin()]).collect();
        let mut a = [[0.0; 4]; 3];
        for (x, y) in x.iter().zip(y) {
            for i in 0..3 {
                (0..3).for_each(|j| a[i][j] += x[i] * x[j]);
                a[i][3] += x[i] * y;
            }
        }
        for i in 0..3 {
            for r in 0..3 {
                if r != i {
                    let f = a[r][i] / a[i][i];
                    (0..4).for_each(|j| a[r][j] -= f * a[i][j]);
                }
            }
        }
        let beta: Vec<f64> = (0..3).map(|i| a[i][3] / a[i][i]).collect();
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let fit = |x: &[f64; 3]| x.iter().zip(&beta).map(|(x, b)| x * b).sum::<f64>();
        let rest: f64 = x.iter().zip(y).map(|(x, y)| (y - fit(x)).powi(2)).sum();
        1.0 - rest / y.iter().map(|y| (y - mean).powi(2)).sum::<f64>()
    }

    #[test]
    fn a_wave_of_the_answer_is_aligned_and_chance_is_not() {
        let (answers, noise) = draws(512, "fourier");
        let wave: Vec<f64> = answers
            .iter()
            .map(|&c| 3.0 + 2.0 * (TAU * 31.0 * f64::from(c) / P as f64 + 0.7).cos())
            .collect();
        assert!((alignment(&wave, &answers, P) - 1.0).abs() < 1e-12);
        // The largest of 48 readings of mean 2/512.
        let chance = alignment(&noise, &answers, P);
        assert!(chance > 2.0 / 512.0 && chance < 0.06, "{chance}");
        assert_eq!(alignment(&vec![4.0; 512], &answers, P), 0.0);
        assert_eq!(alignment(&[], &[], P), 0.0);
        assert_eq!(alignment(&noise, &vec![5; 512], P), 0.0, "one answer has no wave");
    }

    #[test]
    fn the_alignment_is_the_best_of_all_least_squares_fits() {
        let rows = 60; // fewer than answers: no class is whole
        let (answers, noise) = draws(rows, "fits");
        let m = 4;
        let y: Vec<f64> = (0..rows * m)
            .map(|i| {
                let (row, v) = (i / m, i % m);
                let angle = TAU * (v + 5) as f64 * f64::from(answers[row]) / P as f64;
                noise[(row * 7 + v) % rows] + 0.3 * v as f64 * angle.sin() + 10.0
            })
            .collect();
        for p in [P, 113, 98] {
            let direction = |v: usize| y.iter().skip(v).step_by(m).copied().collect::<Vec<_>>();
            let fits = (0..m).flat_map(|v| {
                let y = direction(v);
                let answers = &answers;
                (1..=(p - 1) / 2).map(move |k| r_squared(&y, answers, p, k)).collect::<Vec<_>>()
            });
            let best = fits.fold(0.0, f64::max);
            let ours = alignment(&y, &answers, p);
            assert!((ours - best).abs() < 1e-10, "p = {p}: {ours} {best}");
        }
    }
}
