//! Splitting rows between threads.
//!
//! Work is split by shape alone, and only above a floor: below it the hand-over costs more than it
//! saves. A split decides which thread computes a row, never how, so it changes no bit.

use rayon::prelude::*;

/// Work below which everything stays on the calling thread, in fused multiply-adds or what takes as
/// long: moving an element counts 16, its exponential, division and logarithm 128. One core of the
/// machine it was set on (AVX-512) does 2²⁰ multiply-adds in 9 µs; handing over to a worker that is
/// awake, and waiting for the slower half, takes a few.
pub const FLOOR: usize = 1 << 20;

/// Rows per block so that each thread of the current pool gets one block, a multiple of `multiple`.
pub(crate) fn block_rows(rows: usize, work: usize, multiple: usize) -> usize {
    let threads = if work < FLOOR { 1 } else { rayon::current_num_threads() };
    rows.div_ceil(threads).next_multiple_of(multiple).max(1)
}

/// Calls `f(first_row, block)` for blocks of rows of `out`: (rows, cols), in parallel where `work`
/// is above [`FLOOR`]. Blocks hold a multiple of `multiple` rows, except the last.
pub fn rows(
    out: &mut [f32],
    cols: usize,
    work: usize,
    multiple: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let block = block_rows(out.len() / cols, work, multiple);
    if block * cols >= out.len() {
        return f(0, out);
    }
    out.par_chunks_mut(block * cols).enumerate().for_each(|(i, chunk)| f(i * block, chunk));
}

/// As [`rows`], for two outputs with as many rows: (rows, cols) and (rows, cols2).
pub fn rows2(
    (out, cols): (&mut [f32], usize),
    (out2, cols2): (&mut [f32], usize),
    work: usize,
    multiple: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let block = block_rows(out.len() / cols, work, multiple);
    if block * cols >= out.len() {
        return f(0, out, out2);
    }
    out.par_chunks_mut(block * cols)
        .zip(out2.par_chunks_mut(block * cols2))
        .enumerate()
        .for_each(|(i, (a, b))| f(i * block, a, b));
}
