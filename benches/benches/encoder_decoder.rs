//! Training steps of the Collatz encoder-decoder, and their floor as `floor.rs` has it.
//!
//! `cargo bench -p plateau-benches --bench encoder_decoder -- [--threads N] [--ops] [LAYERS,D_MODEL,HEADS,D_MLP … | -]`:
//! the columns of `benches/record.py`, like the peer `peers/encoder_decoder_torch.py`; with `--ops` also where the
//! time of a step goes, op by op, to stderr.

use benches::collatz::{CASES, Collatz};
use benches::{on, yardstick};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

/// Milliseconds of single steps, after some that are not counted.
fn steps(collatz: &mut Collatz) -> Vec<f64> {
    (0..3).for_each(|_| collatz.step());
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed().as_secs_f64() < 3.0 || times.len() < 5 {
        let start = Instant::now();
        collatz.step();
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Prints the milliseconds of each kind of op with its shapes, the largest first: forward and backward.
fn ops(collatz: &mut Collatz) {
    let rounds = 5;
    let mut spent: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    let names: Vec<String> = {
        let tape = &collatz.net.tape;
        let shapes = |op: &dyn autograd::Op| {
            op.inputs()
                .iter()
                .map(|&x| format!("{:?}", tape.shape(x)))
                .collect::<Vec<_>>()
                .join(" ")
        };
        tape.ops().map(|op| format!("{} {}", op.name(), shapes(op))).collect()
    };
    for _ in 0..rounds {
        let mut last = Instant::now();
        let mut lap = |name: &str, which: usize| {
            spent.entry(name.to_owned()).or_default()[which] += 1e3 * last.elapsed().as_secs_f64();
            last = Instant::now();
        };
        collatz.net.tape.forward_with(|i| lap(&names[i], 0));
        let loss = collatz.net.loss.loss;
        collatz.net.tape.backward_with(loss, &[1.0], |i| lap(&names[i], 1));
        collatz.update();
        lap("adamw", 1);
    }
    let mut spent: Vec<_> = spent.into_iter().collect();
    spent.sort_by(|a, b| b.1.iter().sum::<f64>().total_cmp(&a.1.iter().sum()));
    for (name, [forward, backward]) in spent {
        let rounds = f64::from(rounds);
        eprintln!("{:9.3} {:9.3}  {name}", forward / rounds, backward / rounds);
    }
}

fn measure(case: &str, threads: usize, with_ops: bool) {
    let mut collatz = Collatz::new(case);
    let times = on(threads, || steps(&mut collatz));
    let (moved, held) = yardstick::step_bytes(&collatz.net.tape);
    let (peak, bandwidth) = on(threads, || (yardstick::fma_peak(), yardstick::bandwidth(held)));
    let flops = collatz.flops() as f64;
    let print = |what: &str, peer: &str, unit: &str, [low, middle, high]: [f64; 3]| {
        println!(
            "{what},\"{case}\",,{threads},{peer},{unit},{low:.5},{middle:.5},{high:.5},{peak:.1}"
        );
    };
    let spread = [times[0], times[times.len() / 2], times[times.len() - 1]];
    print("encoder_decoder", "plateau", "ms", spread);
    print("floor", "flops", "GFLOP", [flops / 1e9; 3]);
    print("floor", "moved", "MB", [moved as f64 / 1e6; 3]);
    print("floor", "held", "MB", [held as f64 / 1e6; 3]);
    print("floor", "bandwidth", "GB/s", [bandwidth; 3]);
    print("floor", "floor", "ms", [flops / peak / 1e6 + moved as f64 / bandwidth / 1e6; 3]);
    if with_ops {
        on(threads, || ops(&mut collatz));
    }
}

fn main() {
    let (mut threads, mut with_ops, mut cases) = (1, false, Vec::new());
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => {
                threads = args.next().and_then(|n| n.parse().ok()).expect("a number of threads");
            }
            "--ops" => with_ops = true,
            _ => cases.push(arg),
        }
    }
    println!("what,case,form,threads,peer,unit,min,median,max,peak");
    if cases == ["-"] {
        for line in std::io::stdin().lock().lines() {
            measure(line.expect("a line").trim(), threads, with_ops);
            println!();
        }
        return;
    }
    if cases.is_empty() {
        cases = CASES.map(String::from).into();
    }
    cases.iter().for_each(|case| measure(case, threads, with_ops));
}
