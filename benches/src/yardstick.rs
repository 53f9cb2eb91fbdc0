//! What a kernel is held against: bytes moved by a loop that does nothing else, and fused
//! multiply-adds that touch no memory.
//!
//! A kernel is done when it takes no longer than the slower of the two: then either the memory or
//! the arithmetic is the limit, and no other arrangement of the same work helps.

use autograd::Tape;
pub use experiments::bench::fma_peak;
use kernels::Buffer;
use kernels::lanes::{LANES, fma_burst};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;
use wide::f32x16;

/// Memory to move bytes in: three arrays, read and written by triads as kernels do theirs.
pub struct Memory {
    a: Buffer,
    b: Buffer,
    c: Buffer,
}

impl Memory {
    /// A working set of so many bytes: it stays in the cache level that a kernel's own would.
    pub fn new(bytes: usize) -> Memory {
        let n = (bytes / 12).next_multiple_of(LANES).max(LANES);
        let ones = || {
            let mut ones = Buffer::zeros(n);
            ones.fill(1.0);
            ones
        };
        Memory { a: ones(), b: ones(), c: Buffer::zeros(n) }
    }

    /// Moves `bytes` with the triad c = a + s·b, which reads two values and writes one; passes over
    /// the arrays as often as it takes. Each thread of the pool has its part of the arrays.
    pub fn triad(&mut self, bytes: usize) {
        let s = f32x16::splat(black_box(0.5));
        let mut left = bytes / 12;
        while left > 0 {
            let n = left.min(self.c.len());
            left -= n;
            let part = n.div_ceil(rayon::current_num_threads()).next_multiple_of(LANES);
            let one = |((a, b), c): ((&[f32], &[f32]), &mut [f32])| {
                let inputs = a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0);
                for ((a, b), c) in inputs.zip(c.as_chunks_mut::<LANES>().0) {
                    *c = f32x16::new(*b).mul_add(s, f32x16::new(*a)).to_array();
                }
            };
            let (a, b, c) = (&self.a[..n], &self.b[..n], &mut self.c[..n]);
            if part >= n {
                one(((a, b), c));
            } else {
                a.par_chunks(part)
                    .zip(b.par_chunks(part))
                    .zip(c.par_chunks_mut(part))
                    .for_each(one);
            }
        }
        black_box(&mut self.c);
    }

    /// As [`Memory::triad`], with c = s·a over two thirds of the working set: as much is written as read.
    pub fn copy(&mut self, bytes: usize) {
        let s = f32x16::splat(black_box(0.5));
        let mut left = bytes / 8;
        while left > 0 {
            let n = left.min(self.c.len());
            left -= n;
            let (a, c) = (&self.a[..n], &mut self.c[..n]);
            for (a, c) in a.as_chunks::<LANES>().0.iter().zip(c.as_chunks_mut::<LANES>().0) {
                *c = (f32x16::new(*a) * s).to_array();
            }
        }
        black_box(&mut self.c);
    }

    /// As [`Memory::triad`], with c = c + s·a over two thirds of the working set: the value that is
    /// written has been read before.
    pub fn update(&mut self, bytes: usize) {
        let s = f32x16::splat(black_box(0.5));
        let mut left = bytes / 12;
        while left > 0 {
            let n = left.min(self.c.len());
            left -= n;
            let (a, c) = (&self.a[..n], &mut self.c[..n]);
            for (a, c) in a.as_chunks::<LANES>().0.iter().zip(c.as_chunks_mut::<LANES>().0) {
                *c = f32x16::new(*a).mul_add(s, f32x16::new(*c)).to_array();
            }
        }
        black_box(&mut self.c);
    }

    /// Reads `bytes` and writes nothing: eight sums at once.
    pub fn read(&mut self, bytes: usize) {
        let mut left = bytes / 4;
        while left > 0 {
            for x in [&self.a, &self.b, &self.c] {
                let n = left.min(x.len());
                left -= n;
                let mut sums = [f32x16::splat(0.0); 8];
                for x in x[..n].as_chunks::<{ 8 * LANES }>().0 {
                    for (sum, x) in sums.iter_mut().zip(x.as_chunks::<LANES>().0) {
                        *sum += f32x16::new(*x);
                    }
                }
                black_box(sums);
            }
        }
    }
}

/// Does `ops` vector operations (one for each element), sixteen elements an instruction, on
/// registers alone, shared between the threads of the pool.
pub fn arithmetic(ops: u64) {
    let threads = rayon::current_num_threads() as u64;
    let rounds = ops.div_ceil(threads * fma_burst(1) / 2);
    if threads == 1 {
        fma_burst(rounds);
    } else {
        rayon::broadcast(|_| fma_burst(rounds));
    }
}

/// The best of nine passes of the triad over a working set of so many bytes, in GB/s.
pub fn bandwidth(working_set: usize) -> f64 {
    let mut memory = Memory::new(working_set);
    let bytes = working_set.max(1 << 22);
    memory.triad(bytes);
    let pass = |_| {
        let start = Instant::now();
        memory.triad(bytes);
        bytes as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..9).map(pass).fold(0.0, f64::max)
}

/// (bytes moved, bytes of all buffers) of a training step; `benches/floor.rs` says what is counted.
pub fn step_bytes(tape: &Tape) -> (usize, usize) {
    let (mut moved, mut held) = (0, 0);
    for op in tape.ops() {
        for y in op.outputs() {
            let (value, grad) = (tape.value(y).len(), tape.grad(y).len());
            moved += 2 * (value + grad);
            held += value + grad;
        }
    }
    for &p in tape.params() {
        moved += (2 + 1 + 7) * tape.value(p).len();
        held += 4 * tape.value(p).len();
    }
    (4 * moved, 4 * held)
}
