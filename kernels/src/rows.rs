//! Up to sixteen rows together, a vector of sixteen elements at a time.
//!
//! ```text
//! sums, maxima   a number for each row, in the order of `lanes.rs`
//! map            out = f(inputs, the numbers of the row, what is there), element by element
//! map_sum        out = f(x, the numbers of the row) and its sums in one pass, four rows side by side
//! ```
//! A row alone is all latency: each addition of its sum waits for the one before, and the next pass waits
//! for the sum. So each pass goes over all sixteen, whose sums no more wait for each other, and the lanes of
//! sixteen are folded together (`fold.rs`). Where V, the number of whole vectors of a row, is known when this
//! is compiled, a row is a few dozen instructions without a loop or a check; V = 0 is any number.
//!
//! The last sixteen elements of a row overlap the vectors before. Element by element that does no harm,
//! if they are read first and written last; for a reduction they are moved down to the lanes in which
//! they belong. So a tail is a vector like any other, and no row touches the next.
//!
//! The functions that are passed here are items marked `inline(always)`, not closures: LLVM leaves a long
//! closure with two callers out of line, and its vectors go through memory. So do those of an array that
//! is iterated by value.

use crate::block::Block;
use crate::lanes::{LANES, first_lanes, load_tail, store_tail};
use crate::{Write, fold};
use wide::{bytemuck, f32x16, u32x16};

/// A vector of each of four rows.
pub(crate) type Four = Block<4>;

const ZERO: Four = Block([f32x16::ZERO; 4]);

/// What a row reads.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// Its own elements: (rows, cols), and anything behind.
    Own(&'a [f32]),
    /// The same for all rows: (cols).
    Shared(&'a [f32]),
}

/// At most sixteen rows that are taken together.
#[derive(Clone, Copy)]
pub(crate) struct Rows<const V: usize> {
    rows: usize,
    cols: usize,
}

/// The blocks of sixteen rows of `len` elements: where each begins, and its rows.
pub(crate) fn blocks<const V: usize>(
    len: usize,
    cols: usize,
) -> impl Iterator<Item = (usize, Rows<V>)> {
    let all = len / cols;
    (0..all).step_by(LANES).map(move |i| (i * cols, Rows { rows: LANES.min(all - i), cols }))
}

/// `f::<V>(…)` for the V of rows of so many columns: of the widths that the models have, else 0.
macro_rules! by_width {
    ($cols:expr, $f:ident($($x:expr),*)) => {
        match $cols / $crate::lanes::LANES {
            16 => $f::<16>($($x),*),
            8 => $f::<8>($($x),*),
            6 => $f::<6>($($x),*),
            3 => $f::<3>($($x),*),
            _ => $f::<0>($($x),*),
        }
    };
}
pub(crate) use by_width;

impl<const V: usize> Rows<V> {
    /// For each row the A sums that f(sums, inputs, numbers) builds up from zero. The tail of input i is
    /// padded with the row's number in `pad[i]`.
    #[inline(always)]
    pub(crate) fn sums<const I: usize, const M: usize, const A: usize>(
        self,
        of: [f32x16; M],
        inputs: [Input<'_>; I],
        pad: [f32x16; I],
        f: impl Fn([f32x16; A], [f32x16; I], [f32x16; M]) -> [f32x16; A],
    ) -> [f32x16; A] {
        let lanes = self.reduce(of, inputs, pad, [f32x16::ZERO; A], f);
        let mut folded = [f32x16::ZERO; A];
        for a in 0..A {
            folded[a] = fold::sums(&lanes[a]);
        }
        folded
    }

    /// The largest element of each row.
    #[inline(always)]
    pub(crate) fn maxima(self, x: &[f32]) -> f32x16 {
        #[inline(always)]
        fn larger([max]: [f32x16; 1], [x]: [f32x16; 1], []: [f32x16; 0]) -> [f32x16; 1] {
            [max.fast_max(x)]
        }
        let lowest = [f32x16::splat(f32::NEG_INFINITY)];
        fold::maxima(&self.reduce([], [Input::Own(x)], lowest, lowest, larger)[0])
    }

    /// What f builds up for each row from `start`, its lanes not yet folded.
    #[inline(always)]
    fn reduce<const I: usize, const M: usize, const A: usize>(
        self,
        of: [f32x16; M],
        inputs: [Input<'_>; I],
        pad: [f32x16; I],
        start: [f32x16; A],
        f: impl Fn([f32x16; A], [f32x16; I], [f32x16; M]) -> [f32x16; A],
    ) -> [[f32x16; LANES]; A] {
        let (full, tail) = self.split();
        let mut lanes = [[f32x16::ZERO; LANES]; A];
        for r in 0..self.rows.min(LANES) {
            let (rows, of, mut sums) = (self.row(&inputs, r), numbers(&of, r), start);
            let vectors = vectors(&rows, full);
            for c in 0..full {
                sums = f(sums, at(&vectors, c), of);
            }
            if tail > 0 {
                let (mut last, pad) = (self.ends(&inputs, r), numbers(&pad, r));
                for i in 0..I {
                    last[i] = self.in_place(last[i], pad[i]);
                }
                sums = f(sums, last, of);
            }
            for a in 0..A {
                lanes[a][r] = sums[a];
            }
        }
        lanes
    }

    /// out = f(inputs, numbers, before); `before` is what out holds where `write` adds, else zero.
    #[inline(always)]
    pub(crate) fn map<const I: usize, const M: usize>(
        self,
        of: [f32x16; M],
        inputs: [Input<'_>; I],
        out: &mut [f32],
        write: Write,
        f: impl Fn([f32x16; I], [f32x16; M], f32x16) -> f32x16,
    ) {
        match write {
            Write::Set => self.map_rows::<I, M, false>(of, inputs, out, f),
            Write::Add => self.map_rows::<I, M, true>(of, inputs, out, f),
        }
    }

    #[inline(always)]
    fn map_rows<const I: usize, const M: usize, const ADD: bool>(
        self,
        of: [f32x16; M],
        inputs: [Input<'_>; I],
        out: &mut [f32],
        f: impl Fn([f32x16; I], [f32x16; M], f32x16) -> f32x16,
    ) {
        let ((full, tail), zero) = (self.split(), f32x16::ZERO);
        for r in 0..self.rows.min(LANES) {
            let (rows, of) = (self.row(&inputs, r), numbers(&of, r));
            let mut last = zero;
            if tail > 0 {
                let before = if ADD { self.end(out, r) } else { zero };
                last = f(self.ends(&inputs, r), of, before);
            }
            let vectors = vectors(&rows, full);
            let row = &mut out[r * self.cols..][..self.cols];
            let outs = &mut row.as_chunks_mut::<LANES>().0[..full];
            for c in 0..full {
                let before = if ADD { f32x16::new(outs[c]) } else { zero };
                outs[c] = f(at(&vectors, c), of, before).to_array();
            }
            if tail > 0 {
                self.write_end(last, out, r);
            }
        }
    }

    /// out = f(x, numbers), and the sums of each row's lanes, not yet folded.
    #[inline(always)]
    pub(crate) fn map_sum<const M: usize>(
        self,
        of: [f32x16; M],
        x: &[f32],
        out: &mut [f32],
        f: impl Fn(Four, [Four; M]) -> Four,
    ) -> [f32x16; LANES] {
        let mut lanes = [f32x16::ZERO; LANES];
        for r in (0..self.rows).step_by(4) {
            let (x, out) = (&x[r * self.cols..], &mut out[r * self.cols..]);
            let mut numbers_of = [ZERO; M];
            for k in 0..4 {
                let of = numbers(&of, (r + k) % LANES);
                for m in 0..M {
                    numbers_of[m].0[k] = of[m];
                }
            }
            let sum = if r + 4 <= self.rows && self.cols >= LANES {
                self.map_sum_four(numbers_of, x, out, &f)
            } else {
                self.map_sum_few(numbers_of, self.rows - r, x, out, &f)
            };
            lanes[r..][..4].copy_from_slice(&sum.0);
        }
        lanes
    }

    #[inline(always)]
    fn map_sum_four<const M: usize>(
        self,
        of: [Four; M],
        x: &[f32],
        out: &mut [f32],
        f: &impl Fn(Four, [Four; M]) -> Four,
    ) -> Four {
        let ((full, tail), cols) = (self.split(), self.cols);
        let (mut last, mut sum) = (ZERO, ZERO);
        if tail > 0 {
            for k in 0..4 {
                last.0[k] = self.end(x, k);
            }
            last = f(last, of);
        }
        {
            let row = |k| &x[k * cols..][..cols];
            let vectors = vectors(&[row(0), row(1), row(2), row(3)], full);
            let outs = quarters(out, cols).map(|out| &mut out.as_chunks_mut::<LANES>().0[..full]);
            for c in 0..full {
                let y = f(Block(at(&vectors, c)), of);
                for k in 0..4 {
                    outs[k][c] = y.0[k].to_array();
                }
                sum = sum + y;
            }
        }
        if tail > 0 {
            for k in 0..4 {
                self.write_end(last.0[k], out, k);
                sum.0[k] += self.in_place(last.0[k], f32x16::ZERO);
            }
        }
        sum
    }

    /// [`Rows::map_sum`] of short rows or of fewer than four, of which the last one stands in for the others.
    #[inline(never)]
    fn map_sum_few<const M: usize>(
        self,
        of: [Four; M],
        rows: usize,
        x: &[f32],
        out: &mut [f32],
        f: &impl Fn(Four, [Four; M]) -> Four,
    ) -> Four {
        let mut sum = ZERO;
        for from in (0..self.cols).step_by(LANES) {
            let (n, mut x_here) = (LANES.min(self.cols - from), ZERO);
            for k in 0..4 {
                x_here.0[k] = load_tail(&x[k.min(rows - 1) * self.cols + from..], n, 0.0);
            }
            let y = f(x_here, of);
            for k in 0..4 {
                if k < rows {
                    store_tail(y.0[k], &mut out[k * self.cols + from..], n);
                }
                sum.0[k] += first_lanes(n).select(y.0[k], f32x16::ZERO);
            }
        }
        sum
    }

    /// Whole vectors of a row, and what is left.
    #[inline(always)]
    fn split(self) -> (usize, usize) {
        let full = if V > 0 { V } else { self.cols / LANES };
        (full, self.cols - full * LANES)
    }

    /// Row r of each input.
    #[inline(always)]
    fn row<'a, const I: usize>(self, inputs: &[Input<'a>; I], r: usize) -> [&'a [f32]; I] {
        let mut rows = [&[][..]; I];
        for i in 0..I {
            rows[i] = match inputs[i] {
                Input::Own(x) => &x[r * self.cols..][..self.cols],
                Input::Shared(x) => &x[..self.cols],
            };
        }
        rows
    }

    /// The last sixteen elements of row r, or all of a shorter one, padded with zeros.
    #[inline(always)]
    fn end(self, x: &[f32], r: usize) -> f32x16 {
        let x = &x[r * self.cols..];
        if self.split().0 > 0 {
            f32x16::new(*x[..self.cols].last_chunk().expect("sixteen elements"))
        } else {
            load_tail(x, self.cols, 0.0)
        }
    }

    #[inline(always)]
    fn ends<const I: usize>(self, inputs: &[Input<'_>; I], r: usize) -> [f32x16; I] {
        let mut ends = [f32x16::ZERO; I];
        for i in 0..I {
            ends[i] = match inputs[i] {
                Input::Own(x) => self.end(x, r),
                Input::Shared(x) => self.end(x, 0),
            };
        }
        ends
    }

    #[inline(always)]
    fn write_end(self, end: f32x16, x: &mut [f32], r: usize) {
        let x = &mut x[r * self.cols..];
        if self.split().0 > 0 {
            *x[..self.cols].last_chunk_mut().expect("sixteen elements") = end.to_array();
        } else {
            store_tail(end, x, self.cols);
        }
    }

    /// The tail, which is what the last sixteen elements end in, in the lanes in which it belongs; the others
    /// padded.
    #[inline(always)]
    fn in_place(self, end: f32x16, pad: f32x16) -> f32x16 {
        const LANE: u32x16 = u32x16::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let (full, tail) = self.split();
        let down = if full > 0 { LANES - tail } else { 0 };
        let from = (LANE + u32x16::splat(down as u32)) & u32x16::splat(LANES as u32 - 1);
        let moved = bytemuck::cast::<_, u32x16>(end).shuffle(from);
        first_lanes(tail).select(bytemuck::cast(moved), pad)
    }
}

/// The numbers of row r, each in all lanes.
#[inline(always)]
fn numbers<const M: usize>(of: &[f32x16; M], r: usize) -> [f32x16; M] {
    let mut numbers = [f32x16::ZERO; M];
    for m in 0..M {
        numbers[m] = f32x16::splat(of[m].as_array()[r]);
    }
    numbers
}

/// The whole vectors of some rows.
#[inline(always)]
fn vectors<'a, const N: usize>(rows: &[&'a [f32]; N], full: usize) -> [&'a [[f32; LANES]]; N] {
    let mut vectors = [&[][..]; N];
    for i in 0..N {
        vectors[i] = &rows[i].as_chunks::<LANES>().0[..full];
    }
    vectors
}

/// Vector c of each.
#[inline(always)]
fn at<const N: usize>(vectors: &[&[[f32; LANES]]; N], c: usize) -> [f32x16; N] {
    let mut x = [f32x16::ZERO; N];
    for i in 0..N {
        x[i] = f32x16::new(vectors[i][c]);
    }
    x
}

/// Four rows as four slices.
#[inline(always)]
fn quarters(rows: &mut [f32], cols: usize) -> [&mut [f32]; 4] {
    let (a, b) = rows.split_at_mut(2 * cols);
    let ((a, b), (c, d)) = (a.split_at_mut(cols), b.split_at_mut(cols));
    [a, b, c, &mut d[..cols]]
}
