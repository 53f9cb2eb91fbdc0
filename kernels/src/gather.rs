//! Rows of a table, by index, read or written; elementwise sums and multiples.
//!
//! ```text
//! yᵢ          = table[idxᵢ]        table: (entries, cols), idx: (rows), y: (rows, cols)
//! dtable[e]  += Σ dyᵢ over idxᵢ = e, in ascending i
//! table[idxᵢ] = xᵢ                 its backward is dxᵢ += dtable[idxᵢ]
//! ```

use crate::lanes::{LANES, map};
use crate::{Real, Write, parallel};
use wide::f32x16;

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
///
/// # Panics
/// If an index is not below the number of entries.
pub fn scatter(dy: &[f32], idx: &[u32], dtable: &mut [f32], cols: usize, write: Write) {
    let entries = dtable.len() / cols.max(1);
    assert!(idx.iter().all(|&e| (e as usize) < entries), "an index is not below {entries} entries");
    let work = 16 * dy.len();
    // A thread owns a range of entries and reads the whole index: no order depends on threads.
    parallel::rows(dtable, cols, work, 1, |first, dtable| {
        if write == Write::Set {
            dtable.fill(0.0);
        }
        let full = cols / WIDTH * WIDTH;
        for from in (0..full).step_by(WIDTH) {
            scatter_wide(dy, idx, dtable, cols, first, from);
        }
        if full < cols {
            let owned = first..first + dtable.len() / cols;
            for (i, &e) in idx.iter().enumerate().filter(|(_, e)| owned.contains(&(**e as usize))) {
                let to = &mut dtable[(e as usize - first) * cols + full..];
                map(cols - full, [&dy[i * cols + full..]], to, Write::Add, |[dy], to| to + dy);
            }
        }
    });
}

/// Columns of [`scatter`] that are kept in registers.
const WIDTH: usize = 8 * LANES;

/// [`scatter`] of the columns `from..from + WIDTH`. An entry stays in registers while the index repeats
/// it: through memory each addition would wait for the store before.
fn scatter_wide(
    dy: &[f32],
    idx: &[u32],
    dtable: &mut [f32],
    cols: usize,
    first: usize,
    from: usize,
) {
    let entries = dtable.len() / cols;
    let mut sums = [[0.0; LANES]; WIDTH / LANES].map(f32x16::new);
    let mut held = None;
    for (i, &e) in idx.iter().enumerate() {
        let e = (e as usize).wrapping_sub(first);
        if e >= entries {
            continue; // another thread's
        }
        if held != Some(e) {
            if let Some(held) = held.replace(e) {
                let to = &mut dtable[held * cols + from..][..WIDTH];
                for (to, sum) in to.as_chunks_mut().0.iter_mut().zip(&sums) {
                    *to = sum.to_array();
                }
            }
            let there = dtable[e * cols + from..][..WIDTH].as_chunks().0;
            sums.iter_mut().zip(there).for_each(|(sum, there)| *sum = f32x16::new(*there));
        }
        let row = dy[i * cols + from..][..WIDTH].as_chunks().0;
        sums.iter_mut().zip(row).for_each(|(sum, dy)| *sum += f32x16::new(*dy));
    }
    if let Some(held) = held {
        let to = &mut dtable[held * cols + from..][..WIDTH];
        to.as_chunks_mut().0.iter_mut().zip(&sums).for_each(|(to, sum)| *to = sum.to_array());
    }
}

/// table\[idx\] = x; the other rows stay as they are. Of two rows for one entry the later stays. x: (rows,
/// cols), idx: (rows), table: (entries, cols).
///
/// # Panics
/// If an index is not below the number of entries.
pub fn put(x: &[f32], idx: &[u32], table: &mut [f32], cols: usize) {
    for (x, &e) in x.chunks_exact(cols).zip(idx) {
        table[e as usize * cols..][..cols].copy_from_slice(x);
    }
}

/// dx (+)= dtable\[idx\], if no two rows have one entry. Shapes as in [`put`].
///
/// # Panics
/// If an index is not below the number of entries.
pub fn put_backward(dtable: &[f32], idx: &[u32], dx: &mut [f32], cols: usize, write: Write) {
    for (dx, &e) in dx.chunks_exact_mut(cols).zip(idx) {
        map(cols, [&dtable[e as usize * cols..]], dx, write, |[dy], dx| dx + dy);
    }
}

/// y (+)= c·x, element by element. x, y: (n).
pub fn scale(x: &[f32], c: f32, y: &mut [f32], write: Write) {
    let (work, c) = (16 * y.len(), f32x16::splat(c));
    parallel::rows(y, 1, work, LANES, |first, y| {
        map(y.len(), [&x[first..]], y, write, |[x], before| x.mul_add(c, before));
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

/// Reference of [`put`].
pub fn put_ref<T: Real>(x: &[T], idx: &[u32], table: &mut [T], cols: usize) {
    for (i, &e) in idx.iter().enumerate() {
        for j in 0..cols {
            table[e as usize * cols + j] = x[i * cols + j];
        }
    }
}

/// Reference of [`put_backward`], adding to dx.
pub fn put_backward_ref<T: Real>(dtable: &[T], idx: &[u32], dx: &mut [T], cols: usize) {
    for (i, &e) in idx.iter().enumerate() {
        for j in 0..cols {
            dx[i * cols + j] += dtable[e as usize * cols + j];
        }
    }
}
