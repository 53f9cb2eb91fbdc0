//! After the first step, a training step allocates nothing.

use autograd::optim::{AdamW, AdamWConfig, Schedule};
use experiments::{config::Config, presets, train::Trainer};
use models::config::{Act, EncoderDecoderConfig, Norm, PositionEmbedding, SequenceInit, Tie};
use models::{Packed, SequencePairs, SequenceShape, encoder_decoder};
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

/// A step of an encoder-decoder, sequences of other lengths each time.
fn sequences_allocate_nothing(encoder_layers: usize, pool: &rayon::ThreadPool) {
    let config = EncoderDecoderConfig {
        encoder_layers,
        decoder_layers: 2,
        d_model: 64,
        n_heads: 2,
        d_mlp: 256,
        norm: Norm::Pre,
        final_norm: true,
        act: Act::Gelu,
        positions: PositionEmbedding::Learned,
        scale_embedding: true,
        tie: Tie::All,
        unembed_bias: true,
        init: SequenceInit::Pytorch,
    };
    let sequences = |longest: usize| -> Packed {
        (0..600).map(|i| vec![(i % 9) as u32; 1 + i * i % longest]).collect()
    };
    let pairs = SequencePairs { source: sequences(6), target: sequences(7), bos: 9 };
    let shape = SequenceShape { d_vocab: 11, source: 6, target: 7 };
    pool.install(|| {
        let mut net = encoder_decoder(&config, shape, 100, true, None);
        let optim = AdamWConfig {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-9,
            weight_decay: 0.01,
            no_decay: vec![],
            clip: Some(0.01),
            warmup: 0,
            schedule: Schedule::Constant,
            steps: 6,
        };
        let mut adamw = AdamW::new(optim, &net.tape);
        let rows: Vec<u32> = (0..600).collect();
        let mut step = |s: usize| {
            net.load(&rows[s * 100..][..100], &pairs);
            net.tape.forward();
            net.tape.backward(net.loss.loss);
            assert!(adamw.step(&mut net.tape, s as u64));
        };
        step(0);
        let region = Region::new(ALLOCATOR);
        (1..6).for_each(&mut step);
        let stats = region.change();
        assert_eq!((stats.allocations, stats.reallocations), (0, 0), "{encoder_layers}: {stats:?}");
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
        sequences_allocate_nothing(2, pool);
        sequences_allocate_nothing(0, pool);
        allocates_nothing("default", &[], pool);
        allocates_nothing("smoke", &[], pool);
        allocates_nothing("mlp", &[], pool);
        allocates_nothing("collatz-smoke", &[], pool);
        allocates_nothing("collatz-smoke", &[("task.sampler", "short_carry")], pool);
        allocates_nothing("collatz-1x1", &[], pool);
        allocates_nothing("entropy-mixing", &[], pool);
        allocates_nothing("entropy-mixing", &[("intervene.mixing.sham", "true")], pool);
        allocates_nothing("nanda", &[("task.p", "53")], pool);
        let epochs = [("optim.replacement", "false"), ("optim.schedule", "cosine")];
        allocates_nothing("default", &epochs, pool);
    }
}
