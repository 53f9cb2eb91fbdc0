//! Whole training steps of the workloads, from drawing the batch to the new weights, on one thread and
//! two; and the entropy of the batch, apart.
//!
//! `cargo bench -p plateau-benches --bench step [-- FILTER]`; "Gelem/s" reads GFLOP/s. `plateau bench
//! step` does the same for any experiment. Before a step is timed its ops, AdamW and the entropy are
//! compared with f64, as `plateau audit` does, and the parameters that it leaves, on one thread and two,
//! with those that were compared.

use benches::{on, same_bits, shapes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use experiments::audit;
use experiments::config::Config;
use experiments::train::Trainer;
use std::time::Duration;

/// Of the entropy, which both compute in f64.
const ENTROPY_ERROR: f64 = 1e-9;

/// # Panics
/// If the first step does not compute what it should.
fn check(name: &str, config: &Config) {
    let mut checked = Trainer::new(config);
    let checks = on(1, || audit::check(&mut checked, config, 0, None)).expect("finite");
    checks.passed().unwrap_or_else(|error| panic!("{name}: {error}"));
    let error = checks.entropy_error;
    assert!(error < ENTROPY_ERROR, "{name}: the entropy is off by {error:e}");
    for threads in [1, 2] {
        let mut trainer = Trainer::new(config);
        on(threads, || trainer.forward(0).and_then(|_| trainer.update(0))).expect("finite");
        let (ours, theirs) = (&trainer.model().tape, &checked.model().tape);
        for (&p, &q) in ours.params().iter().zip(theirs.params()) {
            same_bits(&format!("{name}, {}", ours.name(p)), ours.value(p), theirs.value(q));
        }
    }
}

fn step(c: &mut Criterion) {
    for (name, config) in shapes::workloads().into_iter().chain(shapes::sequences()) {
        check(&name, &config);
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
