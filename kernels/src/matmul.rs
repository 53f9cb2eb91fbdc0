//! Matrix products in the three forms that a linear layer needs. Everything row major.
//!
//! ```text
//! nn   Y (m, n) = X (m, k) · W (k, n)        forward
//! nt  dX (m, k) = dY (m, n) · Wᵀ             gradient of the input
//! tn  dW (k, n) = Xᵀ · dY                    gradient of the weights, reduces over m
//! ```
//!
//! Each element is one chain of fused multiply-adds, ascending along the reduced dimension, that
//! starts at zero, at the bias, or at the value that is there ([`Start`]). Neither tile nor block
//! nor thread changes that chain.
//!
//! One design serves all three. The right factor is copied, one panel of `DEPTH` rows and one
//! tile's width at a time, to a buffer of the thread's own; there `nt` is transposed. Beyond a ragged
//! edge a panel holds what follows in memory, or zeros, and those sums are never stored. From the left
//! factor a tile broadcasts elements straight from memory. Its sums stay in
//! registers for a whole panel. With AVX-512 a tile of `nn` and `nt` reads six rows of the left factor, each
//! at its own address:
//!
//! ```text
//!                  b[l][0..16]  b[l][16..32]  b[l][32..48]  b[l][48..64]      4 loads for each l
//!      a[0][l] ->    acc[0][0]     acc[0][1]     acc[0][2]     acc[0][3]
//!        ...            ...           ...           ...           ...         6 broadcasts for
//!      a[5][l] ->    acc[5][0]     acc[5][1]     acc[5][2]     acc[5][3]      24 multiply-adds
//! ```
//!
//! A tile of `tn` reads eight columns, which lie side by side in a row of X, and is 8 × 48: half of each
//! cache line that it touches for an l, and three whole lines of a row of dY where it packs.
//!
//! The panel need not fit L1: four loads for 24 multiply-adds are a third of what L2 delivers. What
//! costs is taking up the sums of C again, so a panel is deep.
//!
//! Columns of X, rows of dY that are packed, and rows of C lie a whole row apart in memory: a CPU that looks
//! ahead sees no stream in that, and waits for each line. So tiles ask for what comes next (`lanes::prefetch`).
//!
//! AVX2 has half the registers, of half the width: a tile is 6 × 16, and reads four times as much for a
//! multiply-add. So what it reads has to be nearer: panels are 16 KiB, for L1; sixteen of them are packed, and a
//! strip of A meets all of them while it is in L2. Columns of X, of which a tile of `tn` uses a third of every line,
//! are copied for that, six side by side. The twelve sums fill the registers, and a branch among the
//! multiply-adds (to look ahead, or to pack on the way) sends them to memory and back: here there is none.

use crate::lanes::{LANES, load, prefetch, store_tail};
use crate::{Real, parallel};
use std::cell::RefCell;
use wide::{bytemuck, f32x8, f32x16};

/// Vectors of sixteen lanes are registers, of which there are 32. AVX2 has sixteen of half that width,
/// NEON 32 of a quarter.
const WIDE: bool = cfg!(target_feature = "avx512f");
/// A tile of `nn` and `nt`, rows by vectors: 24 of AVX-512's registers hold sums, or twelve of AVX2's.
const HEIGHT: usize = 6;
const VECTORS: usize = if WIDE { 4 } else { 1 };
/// A tile of `tn`.
const TALL: usize = if WIDE { 8 } else { 6 };
const NARROW: usize = if WIDE { 3 } else { 1 };
/// Rows of a panel: 512 × 64 × 4 bytes = 128 KiB of L2, or 256 × 16 × 4 = 16 KiB of L1.
const DEPTH: usize = if WIDE { 512 } else { 256 };
/// Panels that are packed before A is walked along.
const PANELS: usize = if WIDE { 1 } else { 16 };
/// Rows of A that meet all these panels before the next ones do: 96 KiB of L2. A multiple of the tiles'.
const STRIP: usize = if WIDE { usize::MAX } else { 96 };
/// Elements of a strip that is copied.
const COPIED: usize = if WIDE { 0 } else { STRIP * DEPTH };
/// Rows ahead of the one that is read at which a line is asked for: some 400 cycles, a way to memory.
const AHEAD: usize = 32;
/// Elements of C from which on its lines are asked for: as many as L2 holds, 1 MiB.
const FAR: usize = 1 << 18;

/// The shapes of a product, as the forward sees them: X (m, k), W (k, n), Y (m, n).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of X and Y.
    pub m: usize,
    /// Columns of X, rows of W.
    pub k: usize,
    /// Columns of W and Y.
    pub n: usize,
}

impl Dims {
    /// Floating-point operations of one product in any form: 2·m·k·n.
    pub fn flops(self) -> u64 {
        2 * self.m as u64 * self.k as u64 * self.n as u64
    }
}

/// Where the chain of each element starts.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// At zero: the output is overwritten.
    Zero,
    /// At the bias of its column: the output is overwritten.
    Bias(&'a [f32]),
    /// At the value that is there: the product is added.
    Here,
}

impl From<crate::Write> for Start<'_> {
    fn from(write: crate::Write) -> Self {
        match write {
            crate::Write::Set => Start::Zero,
            crate::Write::Add => Start::Here,
        }
    }
}

/// Y = start + X·W. x: (m, k), w: (k, n), y: (m, n).
///
/// # Panics
/// If a slice does not have the length that `dims` gives it.
pub fn matmul_nn(x: &[f32], w: &[f32], y: &mut [f32], dims: Dims, start: Start) {
    let Dims { m, k, n } = dims;
    check_bias(start, n);
    check("matmul_nn", dims, (x.len(), m * k), (w.len(), k * n), (y.len(), m * n));
    parallel::rows(y, n, m * k * n, HEIGHT, |first, y| {
        SPACE.with_borrow_mut(|space| {
            let left = Left::Rows { x: &x[first * k..], stride: k };
            let right = Right::Plain { w, stride: n };
            block::<HEIGHT, VECTORS>(space, left, right, y, k, n, start, |_, _| ());
        })
    });
}

/// pre = b + X·W; post = act(pre). As [`matmul_nn`], with the activation applied to each row of a
/// finished tile while it is still in L1. pre, post: (m, n).
///
/// # Panics
/// If a slice does not have the length that `dims` gives it.
pub fn matmul_nn_act(
    x: &[f32],
    w: &[f32],
    pre: &mut [f32],
    post: &mut [f32],
    dims: Dims,
    start: Start,
    act: crate::activation::Act,
) {
    let Dims { m, k, n } = dims;
    check_bias(start, n);
    check("matmul_nn_act", dims, (x.len(), m * k), (w.len(), k * n), (pre.len(), m * n));
    assert_eq!(pre.len(), post.len(), "matmul_nn_act: pre and post differ in length");
    parallel::rows2((pre, n), (post, n), m * k * n, HEIGHT, |first, pre, post| {
        SPACE.with_borrow_mut(|space| {
            let left = Left::Rows { x: &x[first * k..], stride: k };
            let right = Right::Plain { w, stride: n };
            block::<HEIGHT, VECTORS>(space, left, right, pre, k, n, start, |at, pre| {
                act.forward(pre, &mut post[at..at + pre.len()]);
            });
        })
    });
}

/// dX = start + dY·Wᵀ. dy: (m, n), w: (k, n), dx: (m, k).
///
/// # Panics
/// If a slice does not have the length that `dims` gives it.
pub fn matmul_nt(dy: &[f32], w: &[f32], dx: &mut [f32], dims: Dims, start: Start) {
    let Dims { m, k, n } = dims;
    check("matmul_nt", dims, (dy.len(), m * n), (w.len(), k * n), (dx.len(), m * k));
    parallel::rows(dx, k, m * k * n, HEIGHT, |first, dx| {
        SPACE.with_borrow_mut(|space| {
            let left = Left::Rows { x: &dy[first * n..], stride: n };
            let right = Right::Transposed { w, stride: n };
            block::<HEIGHT, VECTORS>(space, left, right, dx, n, k, start, |_, _| ());
        })
    });
}

/// dW = start + Xᵀ·dY. x: (m, k), dy: (m, n), dw: (k, n).
///
/// # Panics
/// If a slice does not have the length that `dims` gives it.
pub fn matmul_tn(x: &[f32], dy: &[f32], dw: &mut [f32], dims: Dims, start: Start) {
    let Dims { m, k, n } = dims;
    check("matmul_tn", dims, (x.len(), m * k), (dy.len(), m * n), (dw.len(), k * n));
    parallel::rows(dw, n, m * k * n, TALL, |first, dw| {
        SPACE.with_borrow_mut(|space| {
            let left = Left::Columns { x, stride: k, first };
            let right = Right::Plain { w: dy, stride: n };
            block::<TALL, NARROW>(space, left, right, dw, m, n, start, |_, _| ());
        })
    });
}

fn check(form: &str, dims: Dims, a: (usize, usize), b: (usize, usize), c: (usize, usize)) {
    assert!(
        a.0 == a.1 && b.0 == b.1 && c.0 == c.1,
        "{form} with {dims:?}: slices of {}, {}, {} elements, expected {}, {}, {}",
        a.0,
        b.0,
        c.0,
        a.1,
        b.1,
        c.1
    );
}

fn check_bias(start: Start, n: usize) {
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), n, "a product of {n} columns has as many biases");
    }
}

/// The left factor A, of which a tile reads some rows.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// A[i][l] = x[i·stride + l]
    Rows { x: &'a [f32], stride: usize },
    /// A[i][l] = x[l·stride + first + i]
    Columns { x: &'a [f32], stride: usize, first: usize },
}

impl Left<'_> {
    #[inline(always)]
    fn is_columns(self) -> bool {
        matches!(self, Left::Columns { .. })
    }
}

/// The right factor B, which is copied panel by panel.
#[derive(Clone, Copy)]
enum Right<'a> {
    /// B[l][j] = w[l·stride + j]
    Plain { w: &'a [f32], stride: usize },
    /// B[l][j] = w[j·stride + l]
    Transposed { w: &'a [f32], stride: usize },
}

impl<'a> Right<'a> {
    /// Rows l0 .. l0 + depth from column j0 on, NV vectors each, where all of them lie in memory as
    /// they are needed.
    #[inline(always)]
    fn whole_rows<const NV: usize>(
        self,
        l0: usize,
        depth: usize,
        j0: usize,
    ) -> Option<impl Iterator<Item = [f32x16; NV]> + Clone + use<'a, NV>> {
        let Right::Plain { w, stride } = self else { return None };
        let stride = Some(stride).filter(|&stride| stride >= NV * LANES)?;
        let (first, last) = (l0 * stride + j0, (l0 + depth).checked_sub(1)? * stride + j0);
        let w = w.get(first..last + NV * LANES)?;
        let row = move |(l, row): (usize, &[f32])| {
            let (vectors, _) = row[..NV * LANES].as_chunks::<LANES>();
            std::array::from_fn(|v| {
                prefetch(w, (l + AHEAD) * stride + v * LANES);
                f32x16::new(vectors[v])
            })
        };
        Some(w.chunks(stride).enumerate().map(row))
    }
}

thread_local! {
    /// Each thread has its own, so that a product neither allocates nor clears one.
    static SPACE: RefCell<Space> = const {
        RefCell::new(Space {
            panels: [f32x16::ZERO; DEPTH * VECTORS * PANELS],
            strip: [0.0; COPIED],
        })
    };
}

/// Where copies are laid out.
struct Space {
    /// Panels of B, one after the other: row l of one holds columns j0 .. j0 + width, and beyond a ragged
    /// edge what follows in B, or zero.
    panels: [f32x16; DEPTH * VECTORS * PANELS],
    /// Columns of X.
    strip: [f32; COPIED],
}

/// C = start + A·B for a block of rows of C, in tiles of H × NV vectors. c: (rows, n); the reduced
/// dimension has length k. `finished(at, row)` sees each piece of row, at offset `at` of c, when its
/// last sum is stored.
#[inline(always)]
fn block<const H: usize, const NV: usize>(
    space: &mut Space,
    a: Left,
    b: Right,
    c: &mut [f32],
    k: usize,
    n: usize,
    start: Start,
    mut finished: impl FnMut(usize, &[f32]),
) {
    let (rows, far) = (c.len() / n, c.len() >= FAR);
    let Space { panels, strip } = space;
    let (panels, _) = panels.as_chunks_mut::<NV>();
    let mut l0 = 0;
    // At least one pass, so that k = 0 still writes the start.
    loop {
        let depth = DEPTH.min(k - l0);
        let start = if l0 == 0 { start } else { Start::Here };
        for group in (0..n).step_by(PANELS * NV * LANES) {
            for top in (0..rows).step_by(STRIP) {
                let end = rows.min(top.saturating_add(STRIP));
                if !WIDE && let Left::Columns { x, stride, first } = a {
                    let x = &x[l0 * stride + first + top..];
                    copy_columns::<H>(x, stride, depth, end - top, strip);
                }
                let columns = (group..n).step_by(NV * LANES);
                for (j0, panel) in columns.zip(panels.chunks_exact_mut(DEPTH).take(PANELS)) {
                    let (panel, width) = (&mut panel[..depth], (NV * LANES).min(n - j0));
                    // The first tile packs on its way where it can: B then comes in beside arithmetic.
                    let on_the_way = WIDE && top == 0 && rows >= H;
                    let mut first = b.whole_rows::<NV>(l0, depth, j0).filter(|_| on_the_way);
                    if top == 0 && first.is_none() {
                        pack(b, l0, j0, width, panel);
                    }
                    let mut i = top;
                    while i < end {
                        let at = i * n + j0;
                        let mut corner = Corner { a, i, l0, depth, n, j0, width, start, far };
                        if !WIDE && a.is_columns() {
                            let (six, first) = ((i - top) / H, (i - top) % H);
                            let x = &strip[six * H * DEPTH..];
                            corner.a = Left::Columns { x, stride: H, first };
                            (corner.i, corner.l0) = (0, 0);
                        }
                        let c = &mut c[at..];
                        let packed = || panel.iter().copied();
                        let height = match end - i {
                            left if left >= H => match first.take() {
                                Some(rows) => {
                                    let packing = panel.iter_mut().zip(rows).map(|(to, row)| {
                                        *to = row;
                                        row
                                    });
                                    corner.tile_of_width::<H, NV>(packing, c)
                                }
                                None => corner.tile_of_width::<H, NV>(packed(), c),
                            },
                            4.. if a.is_columns() => corner.tile_of_width::<4, NV>(packed(), c),
                            2.. => corner.tile_of_width::<2, NV>(packed(), c),
                            _ => corner.tile_of_width::<1, NV>(packed(), c),
                        };
                        if l0 + depth == k {
                            for row in 0..height {
                                finished(at + row * n, &c[row * n..][..width]);
                            }
                        }
                        i += height;
                    }
                }
            }
        }
        l0 += depth;
        if l0 == k {
            break;
        }
    }
}

/// Copies columns of X from the start of x on, H side by side: H × `DEPTH` elements of the strip are a tile's.
#[inline(always)]
fn copy_columns<const H: usize>(
    x: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    strip: &mut [f32],
) {
    for (l, row) in x.chunks(stride).take(depth).enumerate() {
        for (from, tile) in row[..columns].chunks(H).zip(strip.chunks_exact_mut(H * DEPTH)) {
            let to = &mut tile[l * H..][..H];
            match from.first_chunk::<H>() {
                Some(from) => to.copy_from_slice(from),
                None => to[..from.len()].copy_from_slice(from),
            }
        }
    }
}

/// Copies B[l0 ..][j0 .. j0 + width] to the panel, in whole vectors: beyond a ragged edge stands what
/// follows in B, or zero, and is never stored.
#[inline(always)]
fn pack<const NV: usize>(b: Right, l0: usize, j0: usize, width: usize, panel: &mut [[f32x16; NV]]) {
    match b {
        Right::Plain { w, stride } => {
            for (l, to) in panel.iter_mut().enumerate() {
                let from = &w[(l0 + l) * stride + j0..];
                for (v, to) in to.iter_mut().enumerate().take(width.div_ceil(LANES)) {
                    *to = load(&from[v * LANES..], 0.0);
                }
            }
        }
        Right::Transposed { w, stride } => {
            // Squares of 8 × 8: eight rows of w become eight columns of the panel.
            let depth = panel.len();
            let panel: &mut [f32] = bytemuck::cast_slice_mut(panel.as_flattened_mut());
            let row = |j: usize| &w[(j0 + j) * stride + l0..][..depth];
            for j in (0..width.next_multiple_of(LANES)).step_by(8) {
                let squares = if j + 8 <= width { depth / 8 } else { 0 };
                if squares > 0 {
                    let eights: [&[[f32; 8]]; 8] =
                        std::array::from_fn(|q| &row(j + q).as_chunks::<8>().0[..squares]);
                    for (s, to) in panel.chunks_exact_mut(8 * NV * LANES).take(squares).enumerate()
                    {
                        let square = std::array::from_fn(|q| f32x8::new(eights[q][s]));
                        for (eight, to) in
                            f32x8::transpose(square).iter().zip(to.chunks_exact_mut(NV * LANES))
                        {
                            to[j..j + 8].copy_from_slice(eight.as_array());
                        }
                    }
                }
                for l in squares * 8..depth {
                    for q in j..j + 8 {
                        panel[l * NV * LANES + q] = if q < width { row(q)[l] } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Where a tile stands: row `i` of A and C, step `l0` of the reduced dimension, and how far it goes.
#[derive(Clone, Copy)]
struct Corner<'a> {
    a: Left<'a>,
    i: usize,
    l0: usize,
    /// Steps from there.
    depth: usize,
    /// Distance between rows of C.
    n: usize,
    /// First column of C.
    j0: usize,
    /// Columns of C, at most a panel's.
    width: usize,
    start: Start<'a>,
    /// C is too large to be near.
    far: bool,
}

impl Corner<'_> {
    /// One tile of H rows; returns H. c starts at the tile's corner; `b` gives the panel's rows.
    #[inline(always)]
    fn tile_of_width<const H: usize, const NV: usize>(
        self,
        b: impl Iterator<Item = [f32x16; NV]>,
        c: &mut [f32],
    ) -> usize {
        match self.width.div_ceil(LANES) {
            1 if NV > 1 => self.tile::<H, 1, NV>(b, c),
            2 if NV > 2 => self.tile::<H, 2, NV>(b, c),
            3 if NV > 3 => self.tile::<H, 3, NV>(b, c),
            _ => self.tile::<H, NV, NV>(b, c),
        }
        H
    }

    /// V of the panel's NV vectors hold columns of C.
    #[inline(always)]
    fn tile<const H: usize, const V: usize, const NV: usize>(
        self,
        b: impl Iterator<Item = [f32x16; NV]>,
        c: &mut [f32],
    ) {
        let Corner { a, i, l0, depth, n, j0, width, start, far } = self;
        if far {
            // The tile below.
            for r in H..2 * H {
                (0..V).for_each(|v| prefetch(c, r * n + v * LANES));
            }
        }
        let sums: [[f32x16; V]; H] = match start {
            Start::Zero => [[f32x16::ZERO; V]; H],
            Start::Bias(bias) => [vectors(&bias[j0..j0 + width]); H],
            Start::Here => std::array::from_fn(|r| vectors(&c[r * n..])),
        };
        let sums = match a {
            Left::Rows { x, stride } => {
                let row = |r: usize| x[(i + r) * stride + l0..][..depth].iter();
                match H {
                    1 => accumulate(sums, row(0).map(|a| [*a; H]), b),
                    2 => {
                        let rows = row(0).zip(row(1));
                        accumulate(sums, rows.map(|(a, b)| pick([*a, *b])), b)
                    }
                    _ => {
                        let rows =
                            row(0).zip(row(1)).zip(row(2)).zip(row(3)).zip(row(4)).zip(row(5));
                        let rows =
                            rows.map(|(((((a, b), c), d), e), f)| pick([*a, *b, *c, *d, *e, *f]));
                        accumulate(sums, rows, b)
                    }
                }
            }
            Left::Columns { x, stride, first } => {
                let rows = x[l0 * stride..].chunks_exact(stride);
                let columns = rows.enumerate().map(|(l, row)| {
                    // A narrow tile is done before it would help.
                    if V == NV && WIDE {
                        prefetch(x, (l0 + l + AHEAD) * stride + first + i);
                    }
                    *row[first + i..].first_chunk().expect("a tile's columns")
                });
                accumulate(sums, columns, b)
            }
        };
        // Whole rows of a tile are stored from registers, without a branch; ragged ones end in a mask.
        let (whole, tail) = ((V - 1) * LANES, width - (V - 1) * LANES);
        if tail == LANES {
            for (row, sums) in c.chunks_mut(n).zip(&sums) {
                let (vectors, _) = row[..V * LANES].as_chunks_mut::<LANES>();
                vectors.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum.to_array());
            }
        } else {
            for (r, sums) in sums.iter().enumerate() {
                let (vectors, rest) = c[r * n..].split_at_mut(whole);
                let (vectors, _) = vectors.as_chunks_mut::<LANES>();
                vectors.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum.to_array());
                store_tail(sums[V - 1], rest, tail);
            }
        }
    }
}

/// The heart: sums[r] += a[r]·b for one column a of A and one row b of B after the other.
#[inline(always)]
fn accumulate<const H: usize, const V: usize, const NV: usize>(
    mut sums: [[f32x16; V]; H],
    a: impl Iterator<Item = [f32; H]>,
    b: impl Iterator<Item = [f32x16; NV]>,
) -> [[f32x16; V]; H] {
    for (a, b) in a.zip(b) {
        for r in 0..H {
            let a = f32x16::splat(a[r]);
            for v in 0..V {
                sums[r][v] = a.mul_add(b[v], sums[r][v]);
            }
        }
    }
    sums
}

/// The first H of N elements.
#[inline(always)]
fn pick<const H: usize, const N: usize>(a: [f32; N]) -> [f32; H] {
    std::array::from_fn(|r| a[r])
}

/// V vectors from the start of a row; zeros where x ends.
#[inline(always)]
fn vectors<const V: usize>(x: &[f32]) -> [f32x16; V] {
    std::array::from_fn(|v| load(&x[(v * LANES).min(x.len())..], 0.0))
}

/// Reference of [`matmul_nn`]: three loops. `here` starts at y, else at the bias, else at zero.
pub fn matmul_nn_ref<T: Real>(
    x: &[T],
    w: &[T],
    y: &mut [T],
    dims: Dims,
    bias: Option<&[T]>,
    here: bool,
) {
    let Dims { m, k, n } = dims;
    for i in 0..m {
        for j in 0..n {
            let mut sum = if here { y[i * n + j] } else { bias.map_or(T::of(0.0), |b| b[j]) };
            for l in 0..k {
                sum = x[i * k + l].mul_add(w[l * n + j], sum);
            }
            y[i * n + j] = sum;
        }
    }
}

/// Reference of [`matmul_nt`], adding to dx.
pub fn matmul_nt_ref<T: Real>(dy: &[T], w: &[T], dx: &mut [T], dims: Dims) {
    let Dims { m, k, n } = dims;
    for i in 0..m {
        for j in 0..k {
            for l in 0..n {
                dx[i * k + j] = dy[i * n + l].mul_add(w[j * n + l], dx[i * k + j]);
            }
        }
    }
}

/// Reference of [`matmul_tn`], adding to dw.
pub fn matmul_tn_ref<T: Real>(x: &[T], dy: &[T], dw: &mut [T], dims: Dims) {
    let Dims { m, k, n } = dims;
    for i in 0..k {
        for j in 0..n {
            for l in 0..m {
                dw[i * n + j] = x[l * k + i].mul_add(dy[l * n + j], dw[i * n + j]);
            }
        }
    }
}
