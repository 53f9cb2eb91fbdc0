//! Rung 3: blocks that stay in L1.
//!
//! The same loops run over a piece of B of 128 × 64 values, 32 KiB of the 48 that L1 has, and all rows
//! of A use it before the next piece is fetched: B now comes from L2 once for all rows instead of once
//! for each. C is read and written once for each piece in depth. The chains are cut into pieces of 128,
//! but a piece goes on from the sum that the one before has stored: the order, and so every bit, is the
//! same. The loop still loads and stores C for every multiply-add, and a core stores one vector a
//! cycle, where it could do two multiply-adds: half the peak is the most that this form can reach.

const DEPTH: usize = 128;
const WIDTH: usize = 64;

pub fn product(
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    c: &mut [f32],
    (rows, depth, cols): (usize, usize, usize),
) {
    c.fill(0.0);
    for l0 in (0..depth).step_by(DEPTH) {
        for j0 in (0..cols).step_by(WIDTH) {
            let width = WIDTH.min(cols - j0);
            for i in 0..rows {
                let c = &mut c[i * cols + j0..][..width];
                for l in l0..depth.min(l0 + DEPTH) {
                    let a = a(i, l);
                    for (c, b) in c.iter_mut().zip(&b[l * cols + j0..][..width]) {
                        *c = a.mul_add(*b, *c);
                    }
                }
            }
        }
    }
}
