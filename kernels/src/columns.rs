//! Sums down the columns: the gradient of a bias.
//!
//! ```text
//! dbⱼ = Σᵢ dyᵢⱼ        dy: (rows, cols), db: (cols), each a chain in ascending i
//! ```

use crate::lanes::{LANES, load, store};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// db (+)= Σ over the rows of dy. dy: (rows, cols), db: (cols).
pub fn column_sums(dy: &[f32], db: &mut [f32], write: Write) {
    /// Columns whose sums stay in registers.
    const WIDTH: usize = 8 * LANES;
    let cols = db.len();
    parallel::rows(db, 1, 8 * dy.len(), LANES, |first, db| {
        for (block, db) in db.chunks_mut(WIDTH).enumerate() {
            let mut sums = [f32x16::ZERO; WIDTH / LANES];
            if write == Write::Add {
                sums.iter_mut().zip(db.chunks(LANES)).for_each(|(sum, db)| *sum = load(db, 0.0));
            }
            let vectors = db.len().div_ceil(LANES);
            let from = first + block * WIDTH;
            for row in (from..dy.len()).step_by(cols).map(|at| &dy[at..]) {
                // Beyond a ragged edge stands the next row, in lanes that are not stored.
                for (v, sum) in sums[..vectors].iter_mut().enumerate() {
                    *sum += load(&row[v * LANES..], 0.0);
                }
            }
            db.chunks_mut(LANES).zip(sums).for_each(|(db, sum)| store(sum, db));
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
