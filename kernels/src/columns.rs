//! Sums down the columns: the gradient of a bias, and of LayerNorm's weights.
//!
//! ```text
//! dbⱼ = Σᵢ dyᵢⱼ        dy: (rows, cols), db: (cols), each a chain in ascending i
//! ```

use crate::lanes::{LANES, load, load_tail, map, store};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// db (+)= Σ over the rows of dy. dy: (rows, cols), db: (cols).
pub fn column_sums(dy: &[f32], db: &mut [f32], write: Write) {
    #[inline(always)]
    fn add(_: (), [dy]: [f32x16; 1], sum: f32x16) -> f32x16 {
        sum + dy
    }
    let cols = db.len();
    parallel::rows(db, 1, 8 * dy.len(), LANES, |first, db| {
        if write == Write::Set {
            db.fill(0.0);
        }
        if db.len() > NARROW {
            wide(dy, cols, first, db);
        } else {
            down([dy], cols, first, db, |_| (), add);
        }
    });
}

/// As many columns as stay in registers.
const NARROW: usize = 8 * LANES;

/// sums = f(of(i), row i of the inputs, sums) for each row in ascending order: a chain down each of the
/// columns from `first` on that `sums` has. inputs: (rows, cols).
pub(crate) fn down<const I: usize, R: Copy>(
    inputs: [&[f32]; I],
    cols: usize,
    first: usize,
    sums: &mut [f32],
    of: impl Fn(usize) -> R,
    f: impl Fn(R, [f32x16; I], f32x16) -> f32x16,
) {
    if sums.len() > NARROW {
        for i in 0..inputs[0].len() / cols {
            let (row, of) = (inputs.map(|x| &x[i * cols + first..]), of(i));
            map(sums.len(), row, sums, Write::Add, |x, sum| f(of, x, sum));
        }
        return;
    }
    match sums.len() / LANES {
        8 => narrow::<8, I, R>(inputs, cols, first, sums, of, f),
        7 => narrow::<7, I, R>(inputs, cols, first, sums, of, f),
        6 => narrow::<6, I, R>(inputs, cols, first, sums, of, f),
        5 => narrow::<5, I, R>(inputs, cols, first, sums, of, f),
        4 => narrow::<4, I, R>(inputs, cols, first, sums, of, f),
        3 => narrow::<3, I, R>(inputs, cols, first, sums, of, f),
        2 => narrow::<2, I, R>(inputs, cols, first, sums, of, f),
        1 => narrow::<1, I, R>(inputs, cols, first, sums, of, f),
        _ => narrow::<0, I, R>(inputs, cols, first, sums, of, f),
    }
}

/// V vectors and a tail, which stay in registers while all rows go by. Through memory, what a tail has
/// stored across two vectors would have to arrive there before the next row can load it.
// Not inlined: nine of them in one function have no registers left for their counters.
#[inline(never)]
fn narrow<const V: usize, const I: usize, R: Copy>(
    inputs: [&[f32]; I],
    cols: usize,
    first: usize,
    out: &mut [f32],
    of: impl Fn(usize) -> R,
    f: impl Fn(R, [f32x16; I], f32x16) -> f32x16,
) {
    let (there, rest) = out.split_at_mut(V * LANES);
    let (there, tail) = (there.as_chunks_mut::<LANES>().0, rest.len());
    let (mut sums, mut last) = ([f32x16::ZERO; V], load(rest, 0.0));
    for v in 0..V {
        sums[v] = f32x16::new(there[v]);
    }
    for i in 0..inputs[0].len() / cols {
        let (of, rows) = (of(i), inputs.map(|x| &x[i * cols + first..]));
        for v in 0..V {
            let x = rows.map(|row| f32x16::new(row.as_chunks::<LANES>().0[..V][v]));
            sums[v] = f(of, x, sums[v]);
        }
        if tail > 0 {
            let mut x = [f32x16::ZERO; I];
            for k in 0..I {
                x[k] = load_tail(&rows[k][V * LANES..], tail, 0.0);
            }
            last = f(of, x, last);
        }
    }
    for v in 0..V {
        there[v] = sums[v].to_array();
    }
    store(last, rest);
}

/// Any number of columns, eight rows side by side: db goes through the registers once for all of them, and
/// each is read from its beginning to its end, as it lies in memory.
fn wide(dy: &[f32], cols: usize, first: usize, db: &mut [f32]) {
    const ROWS: usize = 8;
    let n = db.len();
    for rows in dy.chunks(ROWS * cols) {
        if rows.len() == ROWS * cols {
            let rows = std::array::from_fn::<_, ROWS, _>(|k| &rows[k * cols + first..]);
            map(n, rows, db, Write::Add, |rows, mut sum| {
                for k in 0..ROWS {
                    sum += rows[k];
                }
                sum
            });
        } else {
            for row in rows.chunks_exact(cols) {
                map(n, [&row[first..]], db, Write::Add, |[dy], sum| sum + dy);
            }
        }
    }
}

/// Reference of [`column_sums`], adding to db.
pub fn column_sums_ref<T: Real>(dy: &[T], db: &mut [T]) {
    for row in dy.chunks_exact(db.len()) {
        for (db, &dy) in db.iter_mut().zip(row) {
            *db += dy;
        }
    }
}
