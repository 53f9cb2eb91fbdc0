//! Randomness without state: every use derives its own generator from (seed, name, step).
//!
//! ```text
//! key    = mix(mix(mix(seed) ^ fnv1a(name)) ^ step)          64 bits
//! word i = mix(key + (i + 1) * 0x9e3779b97f4a7c15)           i = 0..4, the state of xoshiro256++
//! ```
//!
//! `fnv1a` is the 64-bit FNV-1a hash of the name's bytes and `mix` is the finaliser of splitmix64, so
//! the words are the first four outputs of a splitmix64 that starts at `key`. No generator is ever
//! saved: a resumed run asks for the stream of its next step and gets what it would have had.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// The seed of a run, from which every random stream is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The generator of one use (`name`) at one step.
    ///
    /// ```
    /// use experiments::seed::Seed;
    /// assert_eq!(Seed(0).stream("batch", 7), Seed(0).stream("batch", 7));
    /// assert_ne!(Seed(0).stream("batch", 7), Seed(0).stream("batch", 8));
    /// ```
    pub fn stream(&self, name: &str, step: u64) -> Xoshiro256PlusPlus {
        let key = mix(mix(mix(self.0) ^ fnv1a(name.as_bytes())) ^ step);
        let mut state = [0u8; 32];
        for (i, word) in state.chunks_exact_mut(8).enumerate() {
            let z = key.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            word.copy_from_slice(&mix(z).to_le_bytes());
        }
        Xoshiro256PlusPlus::from_seed(state)
    }
}

/// A whole number in 0..n, n > 0: the upper half of the 128-bit product n × (64 random bits).
///
/// Uneven by less than n / 2^64, and one draw per number, always. Written out here so that no
/// library's choice of method can change a run.
#[inline]
pub fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((rng.next_u64() as u128 * n as u128) >> 64) as usize
}

/// Puts the values in a random order: Fisher–Yates, from the last place down.
pub fn shuffle<T>(rng: &mut impl Rng, values: &mut [T]) {
    for i in (1..values.len()).rev() {
        values.swap(i, below(rng, i + 1));
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of splitmix64: a bijection in which each input bit moves every output bit.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_gives_its_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn mix_is_splitmix64() {
        // The first outputs of splitmix64 from seed 1234567 (Rosetta Code's list).
        let gamma = 0x9e37_79b9_7f4a_7c15u64;
        let out = |i: u64| mix(1_234_567u64.wrapping_add(gamma.wrapping_mul(i)));
        assert_eq!([out(1), out(2)], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    // Computed by a second implementation of this file's formula, in Python integers.
    #[test]
    fn streams_are_those_of_the_first_release() {
        let first = |seed, name, step| {
            let mut rng = Seed(seed).stream(name, step);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(first(0, "split", 0), [15_933_982_109_535_138_568, 15_896_358_281_021_765_250]);
        assert_eq!(first(0, "batch", 0), [8_268_381_276_268_616_032, 3_420_161_344_368_056_357]);
        assert_eq!(first(0, "batch", 1), [12_667_635_440_804_951_463, 9_547_511_195_311_330_607]);
        assert_eq!(first(1, "batch", 0), [12_254_023_078_306_461_571, 3_668_655_499_549_819_067]);
    }

    #[test]
    fn below_reaches_every_number_equally_often() {
        let mut rng = Seed(3).stream("test", 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut rng, 7)] += 1;
        }
        // 10,000 each; one standard deviation is 93.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 500), "{counts:?}");
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut v: Vec<u32> = (0..1000).collect();
        shuffle(&mut Seed(0).stream("test", 0), &mut v);
        assert_ne!(v[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        v.sort_unstable();
        assert!(v.iter().copied().eq(0..1000));
    }
}
