//! The floor of a training step: what no arrangement of the same work can beat.
//!
//! ```text
//! floor = flops ÷ FMA peak + bytes ÷ bandwidth
//! ```
//! flops are those of the step's formulas with what the loss does not read left out, as
//! `plateau bench step` counts them (forward, backward, AdamW). bytes are what has to go through
//! memory once: each value on the tape is written in the forward and read in the backward, each
//! gradient is written and read; each parameter is read forward and backward and its gradient
//! written, then AdamW reads p, g, m, v and writes p, m, v. Both yardsticks are measured in the same
//! run on as many threads, the triad in a working set as large as the step's.
//!
//! `cargo bench -p plateau-benches --bench floor -- [--threads N] [BATCH or PRESET …]`, CSV rows for each: of
//! the peers' model at a batch, or of a preset. How many rows sequences have is the first batch's.
//! The bound is the sum, as if nothing overlapped; where arithmetic hides the traffic a step may
//! come below it.

use benches::{on, shapes, yardstick};
use experiments::train::Trainer;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let threads = args.iter().position(|arg| arg == "--threads");
    let threads: usize = threads.map_or(1, |at| args[at + 1].parse().expect("a number of threads"));
    let cases: Vec<&String> = args
        .iter()
        .enumerate()
        .filter(|&(i, arg)| arg != "--threads" && (i == 0 || args[i - 1] != "--threads"))
        .map(|(_, arg)| arg)
        .collect();
    let all = ["512", "2822", "4704"].map(String::from);
    println!("what,case,form,threads,peer,unit,min,median,max,peak");
    for case in if cases.is_empty() { all.iter().collect() } else { cases } {
        let (what, config) = match case.parse::<usize>() {
            Ok(_) => ("floor", shapes::nanda(case)),
            Err(_) => ("sequence-floor", shapes::config(case, &[])),
        };
        let mut trainer = Trainer::new(&config);
        trainer.draw(0);
        trainer.load();
        let (moved, held) = yardstick::step_bytes(&trainer.model().tape);
        let (peak, bandwidth) = on(threads, || (yardstick::fma_peak(), yardstick::bandwidth(held)));
        let flops = trainer.flops() as f64;
        let print = |peer: &str, unit: &str, x: f64| {
            println!("{what},{case},,{threads},{peer},{unit},{x:.5},{x:.5},{x:.5},{peak:.1}");
        };
        print("flops", "GFLOP", flops / 1e9);
        print("moved", "MB", moved as f64 / 1e6);
        print("held", "MB", held as f64 / 1e6);
        print("bandwidth", "GB/s", bandwidth);
        print("floor", "ms", flops / peak / 1e6 + moved as f64 / bandwidth / 1e6);
    }
}
