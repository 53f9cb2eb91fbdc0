//! Derangements: permutations π of 0..n without a fixed point, each as likely as every other.
//!
//! A uniformly random permutation is drawn again until it has no fixed point (one in e has none). The
//! shuffle runs from the last place down and settles a place at each step, so it is given up at the
//! first fixed point.

use crate::seed::below;
use rand::Rng;

/// Writes a random derangement to `pi`. Allocates nothing.
///
/// # Panics
/// If there is one place only: it has none.
pub fn derange(rng: &mut impl Rng, pi: &mut [u32]) {
    assert_ne!(pi.len(), 1, "one place has no derangement");
    while !shuffled_without_fixed_point(rng, pi) {}
}

fn shuffled_without_fixed_point(rng: &mut impl Rng, pi: &mut [u32]) -> bool {
    pi.iter_mut().zip(0..).for_each(|(to, i)| *to = i);
    for i in (1..pi.len()).rev() {
        pi.swap(i, below(rng, i + 1));
        if pi[i] == i as u32 {
            return false;
        }
    }
    pi.first() != Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use std::collections::HashMap;

    #[test]
    fn a_derangement_has_no_fixed_point_and_loses_nothing() {
        for n in [2, 3, 4, 5, 40, 512] {
            for step in 0..200 {
                let mut pi = vec![7; n];
                derange(&mut Seed(1).stream("derangement", step), &mut pi);
                assert!(pi.iter().zip(0..).all(|(&j, i)| j != i), "n = {n}, step {step}");
                pi.sort_unstable();
                assert!(pi.into_iter().eq(0..n as u32));
            }
        }
        derange(&mut Seed(1).stream("derangement", 0), &mut []);
    }

    #[test]
    fn all_nine_derangements_of_four_are_equally_likely() {
        const DRAWS: u32 = 90_000;
        let mut counts: HashMap<[u32; 4], u32> = HashMap::new();
        for step in 0..DRAWS {
            let mut pi = [0; 4];
            derange(&mut Seed(5).stream("derangement", step.into()), &mut pi);
            *counts.entry(pi).or_default() += 1;
        }
        assert_eq!(counts.len(), 9);
        let expected = f64::from(DRAWS) / 9.0;
        let chi_square: f64 =
            counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        // Eight degrees of freedom: above 26.1 one time in a thousand.
        assert!(chi_square < 26.1, "χ² = {chi_square}: {counts:?}");
    }

    #[test]
    fn a_derangement_depends_on_seed_and_step_alone() {
        let draw = |seed, step| {
            let mut pi = [0; 64];
            derange(&mut Seed(seed).stream("derangement", step), &mut pi);
            pi
        };
        assert_eq!(draw(3, 9), draw(3, 9));
        assert_ne!(draw(3, 9), draw(3, 10));
        assert_ne!(draw(3, 9), draw(4, 9));
    }
}
