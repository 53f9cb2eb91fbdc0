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

/// Memory to move values in: one buffer, which every loop walks through as a whole, so that it stays in the
/// cache level that a kernel's own would.
pub struct Memory {
    all: Buffer,
}

/// Values are 4 bytes, and its sixth a number of vectors.
const GRAIN: usize = 6 * LANES;

impl Memory {
    /// A working set of so many bytes.
    pub fn new(bytes: usize) -> Memory {
        let mut all = Buffer::zeros((bytes / 4).next_multiple_of(GRAIN).max(GRAIN));
        all.fill(1.0);
        Memory { all }
    }

    /// Reads so many values, writes others and updates some in place, and does nothing else: the loops
    /// below, each as often as it takes.
    pub fn move_values(&mut self, read: usize, written: usize, updated: usize) {
        let with_update = read.min(updated);
        self.update(with_update);
        self.flip(updated - with_update);
        // What is read beside what is written: two values for each, one, or none.
        let read = read - with_update;
        let triads = written.min(read.saturating_sub(written));
        let copies = (written - triads).min(read - 2 * triads);
        self.triad(triads);
        self.copy(copies);
        self.write(written - triads - copies);
        self.read(read - 2 * triads - copies);
    }

    /// Writes n values with the triad c = a + s·b, which reads two for each; passes over the buffer as
    /// often as it takes. Each thread of the pool has its part.
    pub fn triad(&mut self, n: usize) {
        let s = f32x16::splat(black_box(0.5));
        let all = &mut self.all[..];
        let (a, rest) = all.split_at_mut(all.len() / 3);
        let (b, c) = rest.split_at_mut(a.len());
        for n in passes(n, c.len()) {
            let part = n.div_ceil(rayon::current_num_threads()).next_multiple_of(LANES);
            let one = |((a, b), c): ((&[f32], &[f32]), &mut [f32])| {
                let inputs = a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0);
                for ((a, b), c) in inputs.zip(c.as_chunks_mut::<LANES>().0) {
                    *c = f32x16::new(*b).mul_add(s, f32x16::new(*a)).to_array();
                }
            };
            let (a, b, c) = (&a[..n], &b[..n], &mut c[..n]);
            if part >= n {
                one(((a, b), c));
            } else {
                a.par_chunks(part)
                    .zip(b.par_chunks(part))
                    .zip(c.par_chunks_mut(part))
                    .for_each(one);
            }
        }
        black_box(&mut self.all);
    }

    /// c = s·a: writes n values and reads as many.
    fn copy(&mut self, n: usize) {
        let s = f32x16::splat(black_box(0.5));
        let all = &mut self.all[..];
        let (a, c) = all.split_at_mut(all.len() / 2);
        for n in passes(n, c.len()) {
            let a = a[..n].as_chunks::<LANES>().0;
            for (a, c) in a.iter().zip(c[..n].as_chunks_mut::<LANES>().0) {
                *c = (f32x16::new(*a) * s).to_array();
            }
        }
        black_box(&mut self.all);
    }

    /// c = c + s·a: updates n values and reads as many others.
    fn update(&mut self, n: usize) {
        let s = f32x16::splat(black_box(0.5));
        let all = &mut self.all[..];
        let (a, c) = all.split_at_mut(all.len() / 2);
        for n in passes(n, c.len()) {
            let a = a[..n].as_chunks::<LANES>().0;
            for (a, c) in a.iter().zip(c[..n].as_chunks_mut::<LANES>().0) {
                *c = f32x16::new(*a).mul_add(s, f32x16::new(*c)).to_array();
            }
        }
        black_box(&mut self.all);
    }

    /// c = −c: updates n values.
    fn flip(&mut self, n: usize) {
        let s = f32x16::splat(black_box(-1.0));
        for n in passes(n, self.all.len()) {
            for c in self.all[..n].as_chunks_mut::<LANES>().0 {
                *c = (f32x16::new(*c) * s).to_array();
            }
        }
        black_box(&mut self.all);
    }

    /// Writes n values.
    fn write(&mut self, n: usize) {
        let one = black_box(1.0);
        for n in passes(n, self.all.len()) {
            self.all[..n].fill(one);
        }
        black_box(&mut self.all);
    }

    /// Reads n values: both halves of the buffer side by side. From L2 a single stream came at 134 GB/s
    /// where two came at 200 and more.
    fn read(&self, n: usize) {
        let (a, b) = self.all.split_at(self.all.len() / 2);
        for n in passes(n.div_ceil(2), a.len()) {
            let mut sums = [[f32x16::ZERO; 4]; 2];
            let pieces = |x| <[f32]>::as_chunks::<LANES>(x).0.as_chunks::<4>().0;
            for (a, b) in pieces(&a[..n]).iter().zip(pieces(&b[..n])) {
                for i in 0..4 {
                    sums[0][i] += f32x16::new(a[i]);
                    sums[1][i] += f32x16::new(b[i]);
                }
            }
            black_box(sums);
        }
    }
}

/// n values in passes of at most `most`.
fn passes(n: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by(most).map(move |done| most.min(n - done))
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
    memory.triad(bytes / 12);
    let pass = |_| {
        let start = Instant::now();
        memory.triad(bytes / 12);
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
