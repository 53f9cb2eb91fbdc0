//! The length of a vector, and the same vector at another length.
//!
//! ```text
//! ‖x‖² = Σ x²     in f64, in the order of `lanes.rs`        x: (n)
//! x    ← c·x
//! ```

use crate::lanes::{LANES, fold};

/// Σ x² in f64. x: (n).
pub fn squares(x: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut take = |chunk: &[f32]| {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = f64::from(x).mul_add(f64::from(x), *lane);
        }
    };
    chunks.iter().for_each(|chunk| take(chunk));
    take(rest);
    fold(lanes, |a, b| a + b)
}

/// x ← c·x. x: (n).
pub fn scale(x: &mut [f32], c: f32) {
    x.iter_mut().for_each(|x| *x *= c);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::dot_ref;

    #[test]
    fn squares_have_the_bits_of_the_plain_loop_and_no_overflow() {
        for n in [0, 1, 15, 16, 17, 100, 1000] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32).sin() * 1e30).collect();
            let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            assert_eq!(squares(&x).to_bits(), dot_ref(&wide, &wide).to_bits(), "n = {n}");
        }
        assert!((squares(&[3e38, 4e37]).sqrt() / 3e38_f64.hypot(4e37) - 1.0).abs() < 1e-7);
    }

    #[test]
    fn a_scaled_vector_has_the_length_asked_for() {
        let mut x: Vec<f32> = (0..10_000).map(|i| (i as f32).sin()).collect();
        let c = 7.5 / squares(&x).sqrt();
        scale(&mut x, c as f32);
        assert!((squares(&x).sqrt() / 7.5 - 1.0).abs() < 1e-7);
    }
}
