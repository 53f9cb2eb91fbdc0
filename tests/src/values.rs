//! Numbers to feed a kernel: a stream for each seed, with the values at which kernels go wrong.

/// What a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Uniform in [−2, 2).
    Tame,
    /// Whole numbers from −3 to 3: ties, zeros, and sums that no order can round.
    Whole,
    /// Mostly tame; every other value is ±0, denormal, tiny or large (10¹² at most).
    Wild,
    /// As wild, with ±∞, NaN and the largest float here and there.
    Hostile,
}

/// All of them, in rising order of malice.
pub const FLAVOURS: [Flavour; 4] = [Flavour::Tame, Flavour::Whole, Flavour::Wild, Flavour::Hostile];

/// A stream of values: SplitMix64 (Steele, Lea & Flood 2014) seen through a [`Flavour`].
#[derive(Clone, Debug)]
pub struct Values {
    state: u64,
    flavour: Flavour,
}

impl Values {
    /// The stream of `seed`.
    pub fn new(seed: u64, flavour: Flavour) -> Values {
        Values { state: seed, flavour }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One value.
    pub fn one(&mut self) -> f32 {
        let bits = self.bits();
        let fraction = (bits >> 40) as f32 / (1 << 24) as f32;
        let sign = if bits & 1 == 0 { 1.0 } else { -1.0 };
        let tame = 4.0 * fraction - 2.0;
        match (self.flavour, bits >> 1 & 15, bits >> 5 & 63) {
            (Flavour::Tame, ..) => tame,
            (Flavour::Whole, ..) => (7.0 * fraction).floor() - 3.0,
            (Flavour::Hostile, _, 0) => sign * f32::INFINITY,
            (Flavour::Hostile, _, 1) => f32::NAN,
            (Flavour::Hostile, _, 2) => sign * f32::MAX,
            (_, 0..2, _) => sign * 0.0,
            (_, 2..4, _) => sign * f32::from_bits((bits >> 40) as u32 & 0x007f_ffff),
            (_, 4..6, _) => tame * 1e-30,
            (_, 6, _) => tame * 1e-12,
            (_, 7, _) => tame * 5e11,
            _ => tame,
        }
    }

    /// n of them.
    pub fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.one()).collect()
    }

    /// n indices below `below`.
    pub fn indices(&mut self, n: usize, below: usize) -> Vec<u32> {
        (0..n).map(|_| (self.bits() % below as u64) as u32).collect()
    }
}

/// Uniform in [−1, 1).
pub struct Noise(pub u64);

impl Noise {
    /// The next value.
    pub fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// The next `len` values.
    pub fn many(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.draw()).collect()
    }
}
