//! Rows of a table, by index; and elementwise sums.
//!
//! ```text
//! yᵢ          = table[idxᵢ]        table: (entries, cols), idx: (rows), y: (rows, cols)
//! dtable[e]  += Σ dyᵢ over idxᵢ = e, in ascending i
//! ```

use crate::{Real, Write, parallel};

/// y = table\[idx\]. table: (entries, cols), idx: (rows), y: (rows, cols).
///
/// # Panics
/// If an index is not below the number of entries.
pub fn gather(table: &[f32], idx: &[u32], y: &mut [f32], cols: usize) {
    let work = 16 * y.len();
    parallel::rows(y, cols, work, 1, |first, y| {
        for (y, &e) in y.chunks_exact_mut(cols).zip(&idx[first..]) {
            y.copy_from_slice(&table[e as usize * cols..][..cols]);
        }
    });
}

/// dtable (+)= the rows of dy, each added to its entry in ascending order. Shapes as in [`gather`].
pub fn scatter(dy: &[f32], idx: &[u32], dtable: &mut [f32], cols: usize, write: Write) {
    let work = 16 * dy.len();
    // A thread owns a range of entries and reads the whole index: no order depends on threads.
    parallel::rows(dtable, cols, work, 1, |first, dtable| {
        if write == Write::Set {
            dtable.fill(0.0);
        }
        let owned = first..first + dtable.len() / cols;
        for (dy, &e) in dy.chunks_exact(cols).zip(idx) {
            if owned.contains(&(e as usize)) {
                let to = &mut dtable[(e as usize - first) * cols..][..cols];
                to.iter_mut().zip(dy).for_each(|(to, dy)| *to += dy);
            }
        }
    });
}

/// y = a + b, element by element. a, b, y: (n).
pub fn add(a: &[f32], b: &[f32], y: &mut [f32]) {
    let work = 16 * y.len();
    parallel::rows(y, 1, work, 1, |first, y| {
        let terms = a[first..].iter().zip(&b[first..]);
        y.iter_mut().zip(terms).for_each(|(y, (a, b))| *y = a + b);
    });
}

/// dx (+)= dy, element by element. dy, dx: (n).
pub fn pass(dy: &[f32], dx: &mut [f32], write: Write) {
    let work = 16 * dx.len();
    parallel::rows(dx, 1, work, 1, |first, dx| match write {
        Write::Set => dx.copy_from_slice(&dy[first..][..dx.len()]),
        Write::Add => dx.iter_mut().zip(&dy[first..]).for_each(|(dx, dy)| *dx += dy),
    });
}

/// Reference of [`gather`].
pub fn gather_ref<T: Real>(table: &[T], idx: &[u32], y: &mut [T], cols: usize) {
    for (i, &e) in idx.iter().enumerate() {
        for j in 0..cols {
            y[i * cols + j] = table[e as usize * cols + j];
        }
    }
}

/// Reference of [`scatter`], adding to dtable.
pub fn scatter_ref<T: Real>(dy: &[T], idx: &[u32], dtable: &mut [T], cols: usize) {
    for (i, &e) in idx.iter().enumerate() {
        for j in 0..cols {
            dtable[e as usize * cols + j] += dy[i * cols + j];
        }
    }
}
