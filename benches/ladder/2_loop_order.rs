//! Rung 2: the same three loops in another order.
//!
//! With j innermost, the elements of one row of C advance together: their chains do not wait for one
//! another, B and C are read along their rows, and the compiler turns the loop into vectors by itself.
//! Not a line of SIMD, and it is the largest step of the ladder. What limits it now is traffic: for
//! one multiply-add of a vector the loop loads a vector of B, loads one of C and stores it back; and
//! all of B, 256 KiB in `nn` and 3 MiB in `tn`, passes by from L2 or L3 for every single row of A.

pub fn product(
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    c: &mut [f32],
    (rows, depth, cols): (usize, usize, usize),
) {
    for i in 0..rows {
        let c = &mut c[i * cols..][..cols];
        c.fill(0.0);
        for l in 0..depth {
            let a = a(i, l);
            for (c, b) in c.iter_mut().zip(&b[l * cols..][..cols]) {
                *c = a.mul_add(*b, *c);
            }
        }
    }
}
