//! The bootstrap: the interval of any statistic θ over seeds, from B resamples of n out of n.
//!   percentile   [Q(α/2), Q(1 − α/2)]                        Q: quantiles of θ*₁ … θ*_B, α = 1 − level
//!   BCa          [Q(Φ(c(z_{α/2}))), Q(Φ(c(z_{1−α/2})))],     c(z) = z₀ + (z₀ + z) / (1 − a (z₀ + z))
//!                z₀ = Φ⁻¹(share of θ* below θ, ties counting half)
//!                a  = Σ d³ / (6 (Σ d²)^{3/2}),  d = mean θ₍₋ᵢ₎ − θ₍₋ᵢ₎ over the n jackknifed values
//! (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14.) Resample b is drawn
//! from the stream (seed, "bootstrap", b), so an interval is the same on every machine, and two
//! statistics of the same n items are resampled alike.

use super::quantile;
use crate::seed::{Seed, below};
use statrs::distribution::{ContinuousCDF, Normal};

/// How a statistic is resampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// B, the number of resamples.
    pub resamples: u64,
    /// The share of resamples that the interval holds.
    pub level: f64,
    /// Seed of the streams.
    pub seed: Seed,
}

/// What every figure of a study is given with: 10,000 resamples, 95 %.
pub const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 10_000, level: 0.95, seed: Seed(0) };

/// A statistic and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The statistic of the items as they are.
    pub value: f64,
    /// Its interval; `None` of a single item (nothing can be resampled), where more than a tenth of
    /// the resamples have no such statistic, and for BCa where its corrections are not defined (a
    /// constant statistic).
    pub interval: Option<[f64; 2]>,
}

impl Bootstrap {
    /// `statistic` of `items`, with its percentile interval. `None` if the items have no such statistic.
    /// Resamples without one are left out.
    pub fn percentile<T: Copy>(
        &self,
        items: &[T],
        statistic: impl Fn(&[T]) -> Option<f64>,
    ) -> Option<Estimate> {
        let value = statistic(items)?;
        let replicates = self.replicates(|b| statistic(&self.resample("bootstrap", b, items)));
        let enough = items.len() > 1;
        Some(Estimate {
            value,
            interval: replicates.filter(|_| enough).and_then(|r| self.ends(&r)),
        })
    }

    /// `statistic(x) − statistic(y)`, with its percentile interval; x and y are resampled apart.
    pub fn difference<T: Copy>(
        &self,
        x: &[T],
        y: &[T],
        statistic: impl Fn(&[T]) -> Option<f64>,
    ) -> Option<Estimate> {
        let value = statistic(x)? - statistic(y)?;
        let replicates = self.replicates(|b| {
            let x = statistic(&self.resample("bootstrap", b, x))?;
            Some(x - statistic(&self.resample("bootstrap/second", b, y))?)
        });
        let enough = x.len() > 1 && y.len() > 1;
        Some(Estimate {
            value,
            interval: replicates.filter(|_| enough).and_then(|r| self.ends(&r)),
        })
    }

    /// `statistic` of `items`, with its BCa interval: bias-corrected and accelerated.
    pub fn bca<T: Copy>(
        &self,
        items: &[T],
        statistic: impl Fn(&[T]) -> Option<f64>,
    ) -> Option<Estimate> {
        let value = statistic(items)?;
        let interval = || {
            let replicates =
                self.replicates(|b| statistic(&self.resample("bootstrap", b, items)))?;
            let count =
                |keep: &dyn Fn(f64) -> bool| replicates.iter().filter(|&&r| keep(r)).count();
            let (less, equal) = (count(&|r| r < value), count(&|r| r == value));
            let share = (less as f64 + equal as f64 / 2.0) / replicates.len() as f64;
            let jackknife: Option<Vec<f64>> = (0..items.len())
                .map(|i| statistic(&[&items[..i], &items[i + 1..]].concat()))
                .collect();
            let jackknife = jackknife?;
            let centre = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
            let sum = |power| jackknife.iter().map(|t| (centre - t).powi(power)).sum::<f64>();
            let acceleration = sum(3) / (6.0 * sum(2).powf(1.5));
            let normal = Normal::standard();
            let bias = normal.inverse_cdf(share);
            let end = |tail: f64| {
                let z = bias + normal.inverse_cdf(tail);
                let share = normal.cdf(bias + z / (1.0 - acceleration * z));
                quantile(&replicates, share)
            };
            let tail = (1.0 - self.level) / 2.0;
            Some([end(tail)?, end(1.0 - tail)?])
        };
        Some(Estimate { value, interval: (items.len() > 1).then(interval).flatten() })
    }

    /// The statistics of all resamples that have one; `None` if fewer than nine tenths do.
    fn replicates(&self, of: impl Fn(u64) -> Option<f64>) -> Option<Vec<f64>> {
        let found: Vec<f64> = (0..self.resamples).filter_map(of).collect();
        (found.len() as f64 >= 0.9 * self.resamples as f64).then_some(found)
    }

    fn resample<T: Copy>(&self, name: &str, b: u64, items: &[T]) -> Vec<T> {
        let mut rng = self.seed.stream(name, b);
        items.iter().map(|_| items[below(&mut rng, items.len())]).collect()
    }

    fn ends(&self, replicates: &[f64]) -> Option<[f64; 2]> {
        let tail = (1.0 - self.level) / 2.0;
        Some([quantile(replicates, tail)?, quantile(replicates, 1.0 - tail)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{mean, pearson};

    /// Efron & Tibshirani (1993), table 14.1: 26 children, spatial test A.
    const SPATIAL: [f64; 26] = [
        48.0, 36.0, 20.0, 29.0, 42.0, 42.0, 20.0, 42.0, 22.0, 41.0, 45.0, 14.0, 6.0, 0.0, 33.0,
        28.0, 34.0, 4.0, 32.0, 24.0, 47.0, 41.0, 24.0, 26.0, 30.0, 41.0,
    ];

    fn plug_in_variance(x: &[f64]) -> Option<f64> {
        let centre = mean(x)?;
        mean(&x.iter().map(|v| (v - centre).powi(2)).collect::<Vec<_>>())
    }

    #[test]
    fn the_intervals_of_the_spatial_test_are_the_published_ones() {
        // θ = 171.5; 90 %, 2,000 resamples: percentile (100.8, 233.9), BCa (115.8, 259.6). The ends of
        // another 2,000 differ by a few units.
        let bootstrap = Bootstrap { level: 0.9, ..BOOTSTRAP };
        let percentile = bootstrap.percentile(&SPATIAL, plug_in_variance).unwrap();
        let bca = bootstrap.bca(&SPATIAL, plug_in_variance).unwrap();
        assert!((percentile.value - 171.5).abs() < 0.05);
        let near = |found: Estimate, published: [f64; 2]| {
            let ends = found.interval.unwrap();
            assert!(ends.iter().zip(published).all(|(a, b)| (a - b).abs() < 5.0), "{ends:?}");
        };
        near(percentile, [100.8, 233.9]);
        near(bca, [115.8, 259.6]);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_another_a_near_one() {
        let ends = |seed| {
            let bootstrap = Bootstrap { seed: Seed(seed), ..BOOTSTRAP };
            bootstrap.percentile(&SPATIAL, mean).unwrap().interval.unwrap()
        };
        assert_eq!(ends(0), ends(0));
        assert_ne!(ends(0), ends(1));
        assert!((ends(0)[0] - ends(1)[0]).abs() < 0.3);
    }

    #[test]
    fn a_95_percent_interval_of_a_mean_is_two_standard_errors_wide() {
        let found = BOOTSTRAP.percentile(&SPATIAL, mean).unwrap();
        let [lo, hi] = found.interval.unwrap();
        let expected = 2.0 * 1.96 * (171.534f64 / 26.0).sqrt(); // 10.07
        assert!(((hi - lo) / expected - 1.0).abs() < 0.05, "{lo} {hi}");
        let pair = BOOTSTRAP.difference(&SPATIAL, &SPATIAL, mean).unwrap();
        let [lo, hi] = pair.interval.unwrap();
        assert_eq!(pair.value, 0.0);
        assert!(((hi - lo) / (expected * 2f64.sqrt()) - 1.0).abs() < 0.05, "{lo} {hi}");
    }

    #[test]
    fn edges_are_defined() {
        assert_eq!(BOOTSTRAP.percentile(&[], mean), None);
        assert_eq!(BOOTSTRAP.percentile(&[f64::NAN, 1.0], mean), None);
        let alone = Estimate { value: 3.0, interval: None };
        assert_eq!(BOOTSTRAP.percentile(&[3.0], mean), Some(alone));
        assert_eq!(BOOTSTRAP.bca(&[3.0], mean), Some(alone));
        assert_eq!(BOOTSTRAP.difference(&[3.0], &[0.0, 0.0], mean), Some(alone));
        let constant = BOOTSTRAP.percentile(&[3.0; 4], mean).unwrap();
        assert_eq!(constant.interval, Some([3.0, 3.0]));
        assert_eq!(BOOTSTRAP.bca(&[3.0; 4], mean), Some(alone), "no spread to correct by");
        // Of three points a quarter of all resamples hold two or fewer different ones, and 1 in 9 a
        // single one, which has no correlation.
        let points = [(1.0, 2.0), (2.0, 1.0), (3.0, 5.0)];
        let r = |pairs: &[(f64, f64)]| {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            pearson(&x, &y)
        };
        assert_eq!(BOOTSTRAP.percentile(&points, r).unwrap().interval, None);
    }
}
