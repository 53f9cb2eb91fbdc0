//! Rung 4: sums in registers.
//!
//! A tile of C, 4 rows of 64 columns, is 16 vectors of `f32x16`: half of AVX-512's 32 registers. It
//! stays there for the whole depth and is stored once. For each l the loop loads 4 vectors of B and
//! broadcasts 4 values of A for 16 multiply-adds: two operations for each load, so the two loads that a
//! core can do in a cycle no longer limit it. Sixteen independent chains fill the pipeline: latency
//! 4 × 2 units = 8 are needed. What is left are the bounds checks of `a(i, l)` and of B's rows, and the
//! distance of B's rows: they lie 2 KiB apart, so they fall on 8 of L1's 64 sets, and 128 of them do
//! not stay there.

use wide::f32x16;

const HEIGHT: usize = 4;
/// Vectors in a row of a tile; AVX2 and NEON have fewer and shorter registers.
const VECTORS: usize = if cfg!(target_feature = "avx512f") { 4 } else { 1 };
const WIDTH: usize = 16 * VECTORS;

/// The rows and columns must be multiples of the tile's: edges are left to the real kernel.
pub fn product(
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    c: &mut [f32],
    (rows, depth, cols): (usize, usize, usize),
) {
    assert!(rows % HEIGHT == 0 && cols % WIDTH == 0, "whole tiles only");
    for j0 in (0..cols).step_by(WIDTH) {
        for i0 in (0..rows).step_by(HEIGHT) {
            let mut sums = [[f32x16::splat(0.0); VECTORS]; HEIGHT];
            for l in 0..depth {
                let b = b[l * cols + j0..][..WIDTH].as_chunks().0;
                for r in 0..HEIGHT {
                    let a = f32x16::splat(a(i0 + r, l));
                    for v in 0..VECTORS {
                        sums[r][v] = a.mul_add(f32x16::new(b[v]), sums[r][v]);
                    }
                }
            }
            for r in 0..HEIGHT {
                let c = c[(i0 + r) * cols + j0..][..WIDTH].as_chunks_mut().0;
                for v in 0..VECTORS {
                    c[v] = sums[r][v].to_array();
                }
            }
        }
    }
}
