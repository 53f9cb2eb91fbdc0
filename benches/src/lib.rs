//! What the benches share: the workloads' shapes, read off recorded models, and the yardsticks that
//! a kernel is held against.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod shapes;
pub mod yardstick;

pub use experiments::bench::noise;

/// Runs `f` on so many threads, all awake, as a training run does.
///
/// # Panics
/// If the system does not start them.
pub fn on<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    experiments::pool::install(threads, f).expect("threads to measure with")
}

/// # Panics
/// If two answers differ in a bit.
pub fn same_bits(what: &str, ours: &[f32], reference: &[f32]) {
    assert_eq!(ours.len(), reference.len(), "{what}: lengths");
    for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
        assert!(a.to_bits() == b.to_bits(), "{what}: element {i} is {a}, its reference {b}");
    }
}
