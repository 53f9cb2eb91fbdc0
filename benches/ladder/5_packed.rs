//! Rung 5: B copied to a panel.
//!
//! Blocks again, as in rung 3, but now the piece of B is first copied to a buffer of its own, 128 rows
//! of 64 values one after the other. It is copied once and read by every tile of rows: 384 of them in
//! `nn`, 32 in `tn`. In the panel the rows follow each other, spread over all sets of L1, where they now
//! stay; the loads are aligned to cache lines; and the compiler knows the length of a row, so B's bounds
//! checks are gone. In depth a tile goes on from what it has stored in C.

use wide::f32x16;

const HEIGHT: usize = 4;
const VECTORS: usize = if cfg!(target_feature = "avx512f") { 4 } else { 1 };
const WIDTH: usize = 16 * VECTORS;
const DEPTH: usize = 128;

/// The rows and columns must be multiples of the tile's: edges are left to the real kernel.
pub fn product(
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    c: &mut [f32],
    (rows, depth, cols): (usize, usize, usize),
) {
    assert!(rows % HEIGHT == 0 && cols % WIDTH == 0, "whole tiles only");
    let mut panel = [[f32x16::splat(0.0); VECTORS]; DEPTH];
    c.fill(0.0);
    for j0 in (0..cols).step_by(WIDTH) {
        for l0 in (0..depth).step_by(DEPTH) {
            let panel = &mut panel[..DEPTH.min(depth - l0)];
            for (l, row) in panel.iter_mut().enumerate() {
                let b = b[(l0 + l) * cols + j0..][..WIDTH].as_chunks().0;
                *row = std::array::from_fn(|v| f32x16::new(b[v]));
            }
            for i0 in (0..rows).step_by(HEIGHT) {
                let mut sums: [[f32x16; VECTORS]; HEIGHT] = std::array::from_fn(|r| {
                    let c = c[(i0 + r) * cols + j0..][..WIDTH].as_chunks().0;
                    std::array::from_fn(|v| f32x16::new(c[v]))
                });
                for (l, b) in panel.iter().enumerate() {
                    for r in 0..HEIGHT {
                        let a = f32x16::splat(a(i0 + r, l0 + l));
                        for v in 0..VECTORS {
                            sums[r][v] = a.mul_add(b[v], sums[r][v]);
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
}
