//! Whole training steps of the workloads, from drawing the batch to the new weights, on one thread and
//! two; and the entropy of the batch, apart.
//!
//! `cargo bench -p plateau-benches --bench step [-- FILTER]`; "Gelem/s" reads GFLOP/s. `plateau bench
//! step` does the same for any experiment.

use benches::{on, shapes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use experiments::train::Trainer;
use std::time::Duration;

fn step(c: &mut Criterion) {
    for (name, config) in shapes::workloads().into_iter().chain(shapes::sequences()) {
        let mut trainer = Trainer::new(&config);
        let mut group = c.benchmark_group(format!("step/{name}"));
        let mut s = 0;
        for threads in [1, 2] {
            on(threads, || trainer.forward(0)).expect("finite");
            group.bench_function(format!("entropy/{threads}"), |b| {
                on(threads, || b.iter(|| trainer.entropy(0).expect("finite")));
            });
            group.throughput(Throughput::Elements(trainer.flops()));
            group.bench_function(format!("step/{threads}"), |b| {
                on(threads, || {
                    b.iter(|| {
                        trainer.forward(s).expect("finite");
                        trainer.update(s).expect("finite");
                        s += 1;
                    });
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    targets = step
}
criterion_main!(benches);
