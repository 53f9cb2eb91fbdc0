//! After the first step, a training step allocates nothing.

use experiments::{config::Config, presets, train::Trainer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations_after_the_first_step(preset: &str, changes: &[(&str, &str)], threads: usize) {
    let changes: Vec<(String, String)> =
        changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let text = presets::preset(preset).unwrap();
    let config = Config::from_toml_with(text, preset, &changes).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut trainer = Trainer::new(&config);
        let mut step = |s| {
            trainer.forward(s).unwrap();
            trainer.entropy(s).unwrap();
            trainer.update(s).unwrap();
        };
        step(0);
        let region = Region::new(ALLOCATOR);
        (1..6).for_each(&mut step);
        let stats = region.change();
        assert_eq!(
            (stats.allocations, stats.reallocations, stats.deallocations),
            (0, 0, 0),
            "{preset} on {threads} threads: {stats:?}"
        );
    });
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    // One test, since the counter is the process's.
    for threads in [1, 2] {
        allocations_after_the_first_step("default", &[], threads);
        allocations_after_the_first_step("smoke", &[], threads);
        allocations_after_the_first_step("mlp", &[], threads);
        allocations_after_the_first_step("nanda", &[("task.p", "53")], threads);
        let epochs = [("optim.replacement", "false"), ("optim.schedule", "cosine")];
        allocations_after_the_first_step("default", &epochs, threads);
    }
}
