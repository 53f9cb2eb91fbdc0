//! Sums down the columns: the gradient of a bias.
//!
//! ```text
//! dbⱼ = Σᵢ dyᵢⱼ        dy: (rows, cols), db: (cols), each a chain in ascending i
//! ```

use crate::lanes::{LANES, load, store};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// Columns that are summed together: four vectors in registers.
const PANEL: usize = 4 * LANES;

/// db (+)= Σ over the rows of dy. dy: (rows, cols), db: (cols).
pub fn column_sums(dy: &[f32], db: &mut [f32], write: Write) {
    let cols = db.len();
    parallel::rows(db, 1, dy.len(), PANEL, |first, db| {
        for (panel, db) in db.chunks_mut(PANEL).enumerate() {
            let j0 = first + panel * PANEL;
            let mut sums = [f32x16::splat(0.0); PANEL / LANES];
            if write == Write::Add {
                for (sum, db) in sums.iter_mut().zip(db.chunks(LANES)) {
                    *sum = load(db, 0.0);
                }
            }
            for row in dy.chunks_exact(cols) {
                for (sum, dy) in sums.iter_mut().zip(row[j0..j0 + db.len()].chunks(LANES)) {
                    *sum += load(dy, 0.0);
                }
            }
            for (sum, db) in sums.into_iter().zip(db.chunks_mut(LANES)) {
                store(sum, db);
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
