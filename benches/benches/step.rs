//! Whole training steps of the presets, from drawing the batch to the new weights, on one thread;
//! and the entropy of the batch, apart.
//!
//! `cargo bench -p plateau-benches --bench step`; `plateau bench step` does the same for any
//! experiment.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use experiments::{config::Config, presets, train::Trainer};

fn step(c: &mut Criterion) {
    for (preset, changes) in [
        ("default", vec![]),
        ("nanda", vec![("task.p", "97"), ("optim.batch", "512"), ("model.mlp_bias", "true")]),
        ("mlp", vec![]),
    ] {
        let changes: Vec<(String, String)> =
            changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let text = presets::preset(preset).expect("a preset");
        let config = Config::from_toml_with(text, preset, &changes).expect("a valid preset");
        let mut trainer = Trainer::new(&config);
        let mut group = c.benchmark_group(format!("step/{preset}"));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        one.install(|| trainer.forward(0)).expect("finite");
        group.bench_function("entropy", |b| {
            b.iter(|| one.install(|| trainer.entropy(0)).expect("finite"));
        });
        group.throughput(Throughput::Elements(trainer.flops()));
        let mut s = 0;
        group.bench_function("step", |b| {
            b.iter(|| {
                one.install(|| {
                    trainer.forward(s).expect("finite");
                    trainer.update(s).expect("finite");
                });
                s += 1;
            });
        });
        group.finish();
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
