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
    // The fast mode: by Lanczos, from moments, and where it leaves the matter to every eigenvalue; with
    // rows kept (100), and streamed.
    for rows in [100, 300] {
        for (power, tolerance, steps) in [(1, 0.002, true), (0, 0.002, true), (0, 1e-7, false)] {
            let dim = 256;
            let value = |x: usize| ((x * x) as f32).sin() / ((1 + x % dim) as f32).powi(power);
            let data: Vec<f32> = (0..rows * dim).map(value).collect();
            let mut meter = SpectrumMeter::new(dim);
            let mut measure = || {
                meter.clear();
                meter.push(&data).unwrap();
                meter.entropy_within(Centring::Centred, tolerance).unwrap()
            };
            let first = measure();
            let region = Region::new(COUNTED);
            let second = measure();
            let change = region.change();
            assert_eq!((change.allocations, change.reallocations), (0, 0), "power {power}");
            assert_eq!(first, second);
            if rows == 300 {
                assert_eq!(first.steps.is_some(), steps);
            }
        }
    }
}
