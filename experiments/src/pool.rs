//! The threads of a run.
//!
//! A training step hands work over some forty times, every 50 µs or so. A rayon worker that finds
//! nothing goes to sleep, and waking it costs as much as the work is worth. So while a run lasts its
//! workers stay awake: each looks for work until the run is over. (Not where there are more of them
//! than cores: there they would only be in each other's way.)
//!
//! Where there are as many threads as cores, each has a core of its own. A scheduler that finds threads
//! that change every few microseconds may leave two of them on one core while another is idle, or move them about, for
//! as long as the process lives: of 24 processes, eight took half as long again for every step, or twice as long
//! (Linux 6.18, two cores).

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder, Yield};
use std::sync::atomic::{AtomicBool, Ordering};

/// So many threads, waiting for work; if there are as many cores, one on each.
///
/// # Errors
/// If the system does not start them.
pub fn start(threads: usize) -> Result<ThreadPool> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pin = threads > 1 && threads == cores.len();
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(move |i| {
            // Where the system refuses, its scheduler decides, as it would have.
            let _ = pin && core_affinity::set_for_current(cores[i]);
        })
        .build();
    pool.context("the threads could not be started")
}

/// Runs `f` on a pool of so many threads, all awake until it returns.
///
/// # Errors
/// If the system does not start the threads.
pub fn install<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = start(threads)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let over = AtomicBool::new(threads > cores);
    Ok(pool.install(|| {
        rayon::in_place_scope(|scope| {
            let own = rayon::current_thread_index();
            let over = &over;
            // One for each thread, so that this one can never be caught in another's.
            scope.spawn_broadcast(move |_, thread| {
                while Some(thread.index()) != own && !over.load(Ordering::Relaxed) {
                    if rayon::yield_now() == Some(Yield::Idle) {
                        std::thread::yield_now();
                    }
                }
            });
            let _end = End(over);
            f()
        })
    }))
}

/// Lets the workers go, also when `f` panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn work_is_done_and_the_threads_end() {
        for threads in [1, 2, 5] {
            let sum = |_| (0..1000_u64).into_par_iter().map(|x| x * x).sum::<u64>();
            let sums = install(threads, || (0..200).map(sum).collect::<Vec<_>>()).unwrap();
            assert!(sums.iter().all(|&sum| sum == 332_833_500));
        }
    }

    #[test]
    fn a_panic_inside_does_not_hang() {
        let panics = || install(3, || panic!("as it should"));
        assert!(std::panic::catch_unwind(panics).is_err());
    }
}
