//! Rung 1: the formula.
//!
//! Each element is a dot product of a row of A and a column of B. Two things make it slow. A fused
//! multiply-add takes four cycles, and each one here waits for the sum of the one before: a chain of
//! single additions, when the core could have eight vectors of sixteen under way. And a column of B
//! is read with a stride of `cols`: of every cache line of 64 bytes, 4 are used before the next is
//! fetched.

pub fn product(
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    c: &mut [f32],
    (rows, depth, cols): (usize, usize, usize),
) {
    for i in 0..rows {
        for j in 0..cols {
            let mut sum = 0.0;
            for l in 0..depth {
                sum = a(i, l).mul_add(b[l * cols + j], sum);
            }
            c[i * cols + j] = sum;
        }
    }
}
