//! Sums down the columns: the gradient of a bias.
//!
//! ```text
//! dbⱼ = Σᵢ dyᵢⱼ        dy: (rows, cols), db: (cols), each a chain in ascending i
//! ```

use crate::lanes::{LANES, map};
use crate::{Real, Write, parallel};

/// db (+)= Σ over the rows of dy. dy: (rows, cols), db: (cols).
pub fn column_sums(dy: &[f32], db: &mut [f32], write: Write) {
    let cols = db.len();
    parallel::rows(db, 1, 8 * dy.len(), LANES, |first, db| {
        if write == Write::Set {
            db.fill(0.0);
        }
        for row in dy.chunks_exact(cols) {
            map([&row[first..]], db, Write::Add, |[dy], sum| sum + dy);
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
