//! Rung 3: blocks that stay in L1.
//!
//! The same loops run over a piece of B of 32 × 256 values, 32 KiB of the 48 that L1 has, and all rows
//! of A use it before the next piece is fetched: B comes from L2 once for all rows instead of once for
//! each. C is read and written once for each piece in depth. The chains are cut into pieces of 32, but
//! a piece goes on from the sum that the one before has stored: the order, and so every bit, is the
//! same.
//!
//! The piece is wide for a reason. From one l to the next a chain goes through memory: load C, add,
//! store C, some twelve cycles in all; only the other vectors of the row fill that time. 256 columns
//! are 16 vectors, enough. A piece as large but of 64 columns, the shape that the next rungs will have,
//! is slower here than no blocks at all. And since a core stores one vector in a cycle, where it could
//! do two multiply-adds, half the peak is the most that any loop of this form can reach.

const DEPTH: usize = 32;
const WIDTH: usize = 256;

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
