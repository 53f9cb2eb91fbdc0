//! Four rows side by side, sixteen at a time.
//!
//! ```text
//! sums, maxima   a number for each row, in the order of `lanes.rs`
//! map            out = f(inputs, the numbers of the row, what is there), element by element
//! map_sum        both in one pass: what is written is summed
//! ```
//! A row alone is all latency: each addition of its sum waits for the one before, and the next pass waits
//! for the sum. Four rows fill the pipelines, and the lanes of sixteen are folded together (`fold.rs`).
//!
//! The last sixteen elements of a row overlap the vectors before. Element by element that does no harm,
//! if they are read first and written last; for a reduction they are moved down to the lanes in which
//! they belong. So a tail is a vector like any other, and no row touches the next.
//!
//! The functions that are passed here are items marked `inline(always)`, not closures: LLVM leaves a long
//! closure with two callers out of line, and its vectors go through memory. So do those of an array that
//! is iterated by value.

use crate::block::Block;
use crate::elementary::Lane;
use crate::lanes::{LANES, first_lanes, load, store};
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
pub(crate) struct Rows {
    rows: usize,
    cols: usize,
}

/// The blocks of sixteen rows of `len` elements: where each begins, and its rows.
pub(crate) fn blocks(len: usize, cols: usize) -> impl Iterator<Item = (usize, Rows)> {
    let all = len / cols;
    (0..all).step_by(LANES).map(move |i| (i * cols, Rows { rows: LANES.min(all - i), cols }))
}

/// Four rows of each input.
type Inputs<'a, const I: usize> = [[&'a [f32]; 4]; I];

impl Rows {
    /// For each row the A sums that f(sums, inputs, numbers) builds up from zero. The tail of input i is
    /// padded with the row's number in `pad[i]`.
    #[inline(always)]
    pub(crate) fn sums<const I: usize, const M: usize, const A: usize>(
        self,
        of: [f32x16; M],
        inputs: [Input<'_>; I],
        pad: [f32x16; I],
        f: impl Fn([Four; A], [Four; I], [Four; M]) -> [Four; A],
    ) -> [f32x16; A] {
        let mut lanes = [[f32x16::ZERO; LANES]; A];
        for r in (0..self.rows).step_by(4) {
            let (of, pad, inputs) = (numbers(&of, r), numbers(&pad, r), self.four(&inputs, r));
            let sums = self.reduce(of, &inputs, pad, [ZERO; A], &f);
            for a in 0..A {
                lanes[a][r..][..4].copy_from_slice(&sums[a].0);
            }
        }
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
        fn larger([max]: [Four; 1], [x]: [Four; 1], []: [Four; 0]) -> [Four; 1] {
            [max.zip(x, f32x16::fast_max)]
        }
        let lowest = [Block::all(f32::NEG_INFINITY)];
        let mut lanes = [f32x16::ZERO; LANES];
        for r in (0..self.rows).step_by(4) {
            let [max] = self.reduce([], &self.four(&[Input::Own(x)], r), lowest, lowest, &larger);
            lanes[r..][..4].copy_from_slice(&max.0);
        }
        fold::maxima(&lanes)
    }

    /// out = f(inputs, numbers, before); `before` is what out holds where `write` adds, else zero.
    #[inline(always)]
    pub(crate) fn map<const I: usize, const M: usize>(
        self,
        of: [f32x16; M],
        inputs: [Input<'_>; I],
        out: &mut [f32],
        write: Write,
        f: impl Fn([Four; I], [Four; M], Four) -> Four,
    ) {
        let out = &mut out[..self.rows * self.cols];
        for (g, out) in out.chunks_mut(4 * self.cols).enumerate() {
            let (of, inputs) = (numbers(&of, 4 * g), self.four(&inputs, 4 * g));
            match write {
                _ if out.len() < 4 * self.cols || self.cols < LANES => {
                    self.map_few(of, &inputs, out, write, &f);
                }
                Write::Set => self.map_four::<I, M, false>(of, &inputs, out, &f),
                Write::Add => self.map_four::<I, M, true>(of, &inputs, out, &f),
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
        let out = &mut out[..self.rows * self.cols];
        for (g, out) in out.chunks_mut(4 * self.cols).enumerate() {
            let (of, [x]) = (numbers(&of, 4 * g), self.four(&[Input::Own(x)], 4 * g));
            let sum = if out.len() < 4 * self.cols || self.cols < LANES {
                self.map_sum_few(of, x, out, &f)
            } else {
                self.map_sum_four(of, x, out, &f)
            };
            lanes[4 * g..][..4].copy_from_slice(&sum.0);
        }
        lanes
    }

    /// Rows r to r + 3 of each input; where there are not so many, the last one stands in.
    #[inline(always)]
    fn four<'a, const I: usize>(self, inputs: &[Input<'a>; I], r: usize) -> Inputs<'a, I> {
        let mut rows = [[&[][..]; 4]; I];
        for i in 0..I {
            for k in 0..4 {
                rows[i][k] = match inputs[i] {
                    Input::Own(x) => &x[(r + k).min(self.rows - 1) * self.cols..][..self.cols],
                    Input::Shared(x) => &x[..self.cols],
                };
            }
        }
        rows
    }

    /// Whole vectors of a row, what is left, and where the last sixteen elements begin.
    #[inline(always)]
    fn split(self) -> (usize, usize, usize) {
        (self.cols / LANES, self.cols % LANES, self.cols - LANES)
    }

    #[inline(always)]
    fn reduce<const I: usize, const M: usize, const A: usize>(
        self,
        of: [Four; M],
        rows: &Inputs<'_, I>,
        pad: [Four; I],
        mut sums: [Four; A],
        f: &impl Fn([Four; A], [Four; I], [Four; M]) -> [Four; A],
    ) -> [Four; A] {
        if self.cols < LANES {
            let mut x = pad;
            for i in 0..I {
                for k in 0..4 {
                    x[i].0[k] = load(rows[i][k], pad[i].0[k].as_array()[0]);
                }
            }
            return f(sums, x, of);
        }
        let (full, tail, start) = self.split();
        let vectors = vectors(rows, full);
        for c in 0..full {
            sums = f(sums, at(&vectors, c), of);
        }
        if tail > 0 {
            let (down, keep) = (down(tail), first_lanes(tail));
            let mut last = ends(rows, start);
            for i in 0..I {
                for k in 0..4 {
                    let moved = bytemuck::cast::<_, u32x16>(last[i].0[k]).shuffle(down);
                    last[i].0[k] = keep.select(bytemuck::cast(moved), pad[i].0[k]);
                }
            }
            sums = f(sums, last, of);
        }
        sums
    }

    #[inline(always)]
    fn map_four<const I: usize, const M: usize, const ADD: bool>(
        self,
        of: [Four; M],
        rows: &Inputs<'_, I>,
        out: &mut [f32],
        f: &impl Fn([Four; I], [Four; M], Four) -> Four,
    ) {
        let (full, tail, start) = self.split();
        let mut outs = quarters(out, self.cols);
        let mut last = ZERO;
        if tail > 0 {
            let mut before = ZERO;
            if ADD {
                for k in 0..4 {
                    before.0[k] = end(outs[k], start);
                }
            }
            last = f(ends(rows, start), of, before);
        }
        let vectors = vectors(rows, full);
        {
            let outs = wholes(&mut outs, full);
            for c in 0..full {
                let mut before = ZERO;
                if ADD {
                    for k in 0..4 {
                        before.0[k] = f32x16::new(outs[k][c]);
                    }
                }
                let y = f(at(&vectors, c), of, before);
                for k in 0..4 {
                    outs[k][c] = y.0[k].to_array();
                }
            }
        }
        if tail > 0 {
            write_ends(last, &mut outs, start);
        }
    }

    #[inline(always)]
    fn map_sum_four<const M: usize>(
        self,
        of: [Four; M],
        x: [&[f32]; 4],
        out: &mut [f32],
        f: &impl Fn(Four, [Four; M]) -> Four,
    ) -> Four {
        let (full, tail, start) = self.split();
        let mut outs = quarters(out, self.cols);
        let vectors = vectors(&[x], full);
        let mut sum = ZERO;
        {
            let outs = wholes(&mut outs, full);
            for c in 0..full {
                let [x] = at(&vectors, c);
                let y = f(x, of);
                for k in 0..4 {
                    outs[k][c] = y.0[k].to_array();
                }
                sum = sum + y;
            }
        }
        if tail > 0 {
            let [x] = ends(&[x], start);
            let y = f(x, of);
            write_ends(y, &mut outs, start);
            let (down, keep) = (down(tail), first_lanes(tail));
            for k in 0..4 {
                let moved = bytemuck::cast::<_, u32x16>(y.0[k]).shuffle(down);
                sum.0[k] += keep.select(bytemuck::cast(moved), f32x16::ZERO);
            }
        }
        sum
    }

    /// [`Rows::map`] of fewer than four rows or short ones, vector after vector.
    #[inline(never)]
    fn map_few<const I: usize, const M: usize>(
        self,
        of: [Four; M],
        rows: &Inputs<'_, I>,
        out: &mut [f32],
        write: Write,
        f: &impl Fn([Four; I], [Four; M], Four) -> Four,
    ) {
        for (k, out) in out.chunks_mut(self.cols).enumerate() {
            for (c, out) in out.chunks_mut(LANES).enumerate() {
                // In the place of row k, where it meets the numbers of row k.
                let (mut x, mut before) = ([ZERO; I], ZERO);
                for i in 0..I {
                    x[i].0[k] = load(&rows[i][k][c * LANES..][..out.len()], 0.0);
                }
                if write == Write::Add {
                    before.0[k] = load(out, 0.0);
                }
                store(f(x, of, before).0[k], out);
            }
        }
    }

    /// [`Rows::map_sum`] of fewer than four rows or short ones.
    #[inline(never)]
    fn map_sum_few<const M: usize>(
        self,
        of: [Four; M],
        rows: [&[f32]; 4],
        out: &mut [f32],
        f: &impl Fn(Four, [Four; M]) -> Four,
    ) -> Four {
        let mut sum = ZERO;
        for (k, out) in out.chunks_mut(self.cols).enumerate() {
            for (c, out) in out.chunks_mut(LANES).enumerate() {
                let mut x = ZERO;
                x.0[k] = load(&rows[k][c * LANES..][..out.len()], 0.0);
                let y = f(x, of).0[k];
                store(y, out);
                sum.0[k] += first_lanes(out.len()).select(y, f32x16::ZERO);
            }
        }
        sum
    }
}

/// The numbers of rows r to r + 3, each in all lanes.
#[inline(always)]
fn numbers<const M: usize>(of: &[f32x16; M], r: usize) -> [Four; M] {
    let mut numbers = [ZERO; M];
    for m in 0..M {
        for k in 0..4 {
            numbers[m].0[k] = f32x16::splat(of[m].as_array()[(r + k) % LANES]);
        }
    }
    numbers
}

/// The whole vectors of four rows of each input.
type Vectors<'a, const I: usize> = [[&'a [[f32; LANES]]; 4]; I];

#[inline(always)]
fn vectors<'a, const I: usize>(rows: &Inputs<'a, I>, full: usize) -> Vectors<'a, I> {
    let mut vectors = [[&[][..]; 4]; I];
    for i in 0..I {
        for k in 0..4 {
            vectors[i][k] = &rows[i][k].as_chunks::<LANES>().0[..full];
        }
    }
    vectors
}

/// Vector c of each.
#[inline(always)]
fn at<const I: usize>(vectors: &Vectors<'_, I>, c: usize) -> [Four; I] {
    let mut x = [ZERO; I];
    for i in 0..I {
        for k in 0..4 {
            x[i].0[k] = f32x16::new(vectors[i][k][c]);
        }
    }
    x
}

/// The last sixteen elements of a row.
#[inline(always)]
fn end(row: &[f32], start: usize) -> f32x16 {
    f32x16::new(*row[start..].first_chunk().expect("sixteen elements"))
}

#[inline(always)]
fn ends<const I: usize>(rows: &Inputs<'_, I>, start: usize) -> [Four; I] {
    let mut x = [ZERO; I];
    for i in 0..I {
        for k in 0..4 {
            x[i].0[k] = end(rows[i][k], start);
        }
    }
    x
}

#[inline(always)]
fn write_ends(y: Four, outs: &mut [&mut [f32]; 4], start: usize) {
    for k in 0..4 {
        *outs[k][start..].first_chunk_mut().expect("sixteen elements") = y.0[k].to_array();
    }
}

/// Four rows as four slices.
#[inline(always)]
fn quarters(rows: &mut [f32], cols: usize) -> [&mut [f32]; 4] {
    let (a, b) = rows.split_at_mut(2 * cols);
    let ((a, b), (c, d)) = (a.split_at_mut(cols), b.split_at_mut(cols));
    [a, b, c, &mut d[..cols]]
}

/// Their whole vectors.
#[inline(always)]
fn wholes<'a>(outs: &'a mut [&mut [f32]; 4], full: usize) -> [&'a mut [[f32; LANES]]; 4] {
    let [a, b, c, d] = outs;
    [
        &mut a.as_chunks_mut().0[..full],
        &mut b.as_chunks_mut().0[..full],
        &mut c.as_chunks_mut().0[..full],
        &mut d.as_chunks_mut().0[..full],
    ]
}

/// Where lane j finds the element that belongs there in the last sixteen, `tail` of which are the tail.
#[inline(always)]
fn down(tail: usize) -> u32x16 {
    const LANE: u32x16 = u32x16::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    (LANE + u32x16::splat((LANES - tail) as u32)) & u32x16::splat(LANES as u32 - 1)
}
