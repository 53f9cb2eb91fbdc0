//! After the first step, a training step allocates nothing.

use experiments::{config::Config, presets, train::Trainer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocates_nothing(preset: &str, changes: &[(&str, &str)], pool: &rayon::ThreadPool) {
    let changes: Vec<(String, String)> =
        changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let text = presets::preset(preset).unwrap();
    let config = Config::from_toml_with(text, preset, &changes).unwrap();
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
        let threads = pool.current_num_threads();
        assert_eq!(
            (stats.allocations, stats.reallocations),
            (0, 0),
            "{preset} {changes:?} on {threads} threads: {stats:?}"
        );
    });
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    // One test, since the counter is the process's; the pools live as long as it, since a thread
    // that starts or ends allocates.
    let pools = [1, 2].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    for pool in &pools {
        pool.broadcast(|_| ());
    }
    for pool in &pools {
        allocates_nothing("default", &[], pool);
        allocates_nothing("smoke", &[], pool);
        allocates_nothing("mlp", &[], pool);
        allocates_nothing("entropy-mixing", &[], pool);
        allocates_nothing("entropy-mixing", &[("intervene.mixing.sham", "true")], pool);
        allocates_nothing("nanda", &[("task.p", "53")], pool);
        let epochs = [("optim.replacement", "false"), ("optim.schedule", "cosine")];
        allocates_nothing("default", &epochs, pool);
    }
}
