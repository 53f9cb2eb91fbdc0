//! Sums down the columns: the gradient of a bias.
//!
//! ```text
//! dbⱼ = Σᵢ dyᵢⱼ        dy: (rows, cols), db: (cols), each a chain in ascending i
//! ```

use crate::lanes::{LANES, map};
use crate::{Real, Write, parallel};

/// db (+)= Σ over the rows of dy. dy: (rows, cols), db: (cols).
pub fn column_sums(dy: &[f32], db: &mut [f32], write: Write) {
    /// Rows that are read side by side: db goes through the registers once for all of them, and each
    /// is read from its beginning to its end, as it lies in memory.
    const ROWS: usize = 8;
    let cols = db.len();
    parallel::rows(db, 1, 8 * dy.len(), LANES, |first, db| {
        if write == Write::Set {
            db.fill(0.0);
        }
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
    });
}

/// Reference of [`column_sums`], adding to db.
pub fn column_sums_ref<T: Real>(dy: &[T], db: &mut [T]) {
    for row in dy.chunks_exact(db.len()) {
        for (db, &dy) in db.iter_mut().zip(row) {
            *db += dy;
        }
    }
}
