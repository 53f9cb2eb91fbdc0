//! Rung 3: blocks that stay in L1.
//!
//! The same loops run over 16 rows of B at a time, 32 KiB of the 48 that L1 has, and all rows of A use
//! them before the next 16 are fetched: B comes from L2 once for all rows instead of once for each. C is
//! read and written once for each block. The chains are cut into pieces of 16, but a piece goes on from
//! the sum that the one before has stored: the order, and so every bit, is the same.
//!
//! The block is as wide as B for a reason. From one l to the next a chain goes through memory: load C,
//! add, store C, more than a dozen cycles in all, which only the other vectors of the row can fill. A
//! block as large of 128 rows and 64 columns, the shape that the next rungs have, is slower here than
//! no blocks at all. And since a core stores one vector in a cycle, where it could do two multiply-adds,
//! half the peak is the most that any loop of this form can reach.

const DEPTH: usize = 16;

pub fn product(
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    c: &mut [f32],
    (rows, depth, cols): (usize, usize, usize),
) {
    c.fill(0.0);
    for l0 in (0..depth).step_by(DEPTH) {
        for i in 0..rows {
            let c = &mut c[i * cols..][..cols];
            for l in l0..depth.min(l0 + DEPTH) {
                let a = a(i, l);
                for (c, b) in c.iter_mut().zip(&b[l * cols..][..cols]) {
                    *c = a.mul_add(*b, *c);
                }
            }
        }
    }
}
