//! The spectral measure allocates nothing once it is warm. Alone in its binary: the counter is
//! global.

use kernels::spectrum::{Centring, SpectrumMeter};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_warm_meter_allocates_nothing() {
    for (rows, dim) in [(512, 128), (30, 200), (1, 5)] {
        let data: Vec<f32> = (0..rows * dim).map(|x| ((x * x) as f32).sin()).collect();
        let mut meter = SpectrumMeter::new(dim);
        let mut measure = || {
            meter.clear();
            meter.push(&data).unwrap();
            let centred = meter.spectrum(Centring::Centred).unwrap().entropy;
            centred + meter.spectrum(Centring::Uncentred).unwrap().entropy
        };
        let first = measure();
        let region = Region::new(COUNTED);
        let second = measure();
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations), (0, 0), "{rows} × {dim}");
        assert_eq!(first.to_bits(), second.to_bits());
    }
}
