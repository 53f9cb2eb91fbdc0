//! Sums down the columns: the gradient of a bias.
//!
//! ```text
//! dbⱼ = Σᵢ dyᵢⱼ        dy: (rows, cols), db: (cols), each a chain in ascending i
//! ```

use crate::lanes::{LANES, load, load_tail, map, store};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// db (+)= Σ over the rows of dy. dy: (rows, cols), db: (cols).
pub fn column_sums(dy: &[f32], db: &mut [f32], write: Write) {
    let cols = db.len();
    parallel::rows(db, 1, 8 * dy.len(), LANES, |first, db| {
        if write == Write::Set {
            db.fill(0.0);
        }
        match db.len() / LANES {
            _ if db.len() > 8 * LANES => wide(dy, cols, first, db),
            8 => narrow::<8>(dy, cols, first, db),
            7 => narrow::<7>(dy, cols, first, db),
            6 => narrow::<6>(dy, cols, first, db),
            5 => narrow::<5>(dy, cols, first, db),
            4 => narrow::<4>(dy, cols, first, db),
            3 => narrow::<3>(dy, cols, first, db),
            2 => narrow::<2>(dy, cols, first, db),
            1 => narrow::<1>(dy, cols, first, db),
            _ => narrow::<0>(dy, cols, first, db),
        }
    });
}

/// V vectors and a tail, which stay in registers while all rows go by. Through memory, what a tail has
/// stored across two vectors would have to arrive there before the next row can load it.
fn narrow<const V: usize>(dy: &[f32], cols: usize, first: usize, db: &mut [f32]) {
    let (there, rest) = db.split_at_mut(V * LANES);
    let (there, tail) = (there.as_chunks_mut::<LANES>().0, rest.len());
    let (mut sums, mut last) = ([f32x16::ZERO; V], load(rest, 0.0));
    for v in 0..V {
        sums[v] = f32x16::new(there[v]);
    }
    for i in 0..dy.len() / cols {
        let (row, rest) = dy[i * cols + first..].split_at(V * LANES);
        let row = &row.as_chunks::<LANES>().0[..V];
        for v in 0..V {
            sums[v] += f32x16::new(row[v]);
        }
        if tail > 0 {
            last += load_tail(rest, tail, 0.0);
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
