//! `plateau bench`: how long a training step takes here, and how fast the matrix products are,
//! beside the FMA peak of this machine measured in the same run.

use crate::cli::{say, trainer};
use crate::config::Config;
use crate::pool;
use crate::record::RESULTS;
use crate::train::Trainer;
use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use kernels::Buffer;
use kernels::matmul::{self, Dims, Start};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Milliseconds of a training step, from drawing the batch to the new weights; the entropy of
    /// the batch apart.
    Step(StepArgs),
    /// GFLOP/s of the matrix products at the workloads' shapes.
    Matmul(MatmulArgs),
}

/// `plateau bench step`.
#[derive(Args)]
pub struct StepArgs {
    /// A preset, an experiment file, or a run folder (its newest checkpoint is measured).
    experiment: String,
    /// Changes a field by its path, as in `--set optim.batch=2822`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Threads of the kernels.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Measures the throughput of so many single-threaded runs side by side, each of its own seed,
    /// against that of one alone.
    #[arg(long, conflicts_with = "threads", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// `plateau bench matmul`.
#[derive(Args)]
pub struct MatmulArgs {
    /// One shape as M,K,N (X is M×K, W is K×N), in place of the workloads' shapes.
    #[arg(long, value_name = "M,K,N", value_parser = parse_shape)]
    shape: Option<Dims>,
    /// The forms to measure.
    #[arg(long, value_delimiter = ',', default_value = "nn,nt,tn")]
    form: Vec<Form>,
    /// Threads of the kernels.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// A form of the product: see `kernels/src/matmul.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// X·W
    Nn,
    /// dY·Wᵀ
    Nt,
    /// Xᵀ·dY
    Tn,
}

fn parse_shape(text: &str) -> Result<Dims, String> {
    let numbers: Option<Vec<usize>> = text
        .split(',')
        .map(|part| part.trim().parse().ok().filter(|n| (1..=1 << 28).contains(n)))
        .collect();
    match numbers.as_deref() {
        Some(&[m, k, n]) if [m * k, k * n, m * n].iter().all(|&len| len <= 1 << 28) => {
            Ok(Dims { m, k, n })
        }
        Some(&[_, _, _]) => Err("a matrix of more than 2^28 elements (1 GiB)".to_string()),
        _ => Err("expected three whole numbers from 1 on, as in 512,128,128".to_string()),
    }
}

/// The smallest, the median and the largest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (min, max) = (values[0], values[values.len() - 1]);
        Spread { min, median: values[values.len() / 2], max }
    }
}

#[derive(Serialize)]
struct StepResult {
    preset: String,
    threads: u16,
    batch: usize,
    parameters: usize,
    /// A training step, from drawing the batch to the new weights, without the entropy.
    ms: Spread,
    /// The median time that H̃ of the batch takes on top.
    entropy_ms: f64,
    gflops: f64,
    peak_gflops: f64,
}

#[derive(Serialize)]
struct ThroughputResult {
    preset: String,
    batch: usize,
    parameters: usize,
    jobs: u16,
    /// Medians over the rounds; a step includes the entropy of its batch.
    steps_per_second: Throughput,
    /// The median over the rounds of all / one.
    speed_up: f64,
}

#[derive(Serialize)]
struct Throughput {
    one: f64,
    all: f64,
}

#[derive(Serialize)]
struct MatmulRow {
    m: usize,
    k: usize,
    n: usize,
    form: Form,
    threads: u16,
    gflops: Spread,
    peak_gflops: f64,
}

/// Runs a bench and prints its result.
///
/// # Errors
/// If the experiment cannot be read.
pub fn run(command: &BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Step(args) => match args.jobs {
            Some(jobs) => throughput(args, jobs),
            None => pool::install(args.threads.into(), || step(args))?,
        },
        BenchCommand::Matmul(args) => pool::install(args.threads.into(), || matmul(args))?,
    }
}

fn step(args: &StepArgs) -> Result<()> {
    const WARM: u64 = 10;
    const TIME: Duration = Duration::from_secs(3);
    let (config, mut trainer, first) = trainer(&args.experiment, &args.set, None)?;
    let (mut steps, mut entropies) = (Vec::new(), Vec::new());
    let mut peaks = vec![fma_peak()];
    let begun = Instant::now();
    for s in first.. {
        let start = Instant::now();
        trainer.forward(s)?;
        let forward = start.elapsed();
        let start = Instant::now();
        trainer.entropy(s)?;
        let entropy = start.elapsed();
        let start = Instant::now();
        trainer.update(s)?;
        let step = forward + start.elapsed();
        if s >= first + WARM {
            steps.push(1e3 * step.as_secs_f64());
            entropies.push(1e3 * entropy.as_secs_f64());
        }
        if begun.elapsed() > TIME && steps.len() >= 5 {
            break;
        }
    }
    peaks.push(fma_peak());
    let ms = Spread::of(steps);
    let result = StepResult {
        preset: config.name.clone(),
        threads: args.threads,
        batch: trainer.batch(),
        parameters: trainer.model().parameter_count(),
        ms,
        entropy_ms: Spread::of(entropies).median,
        gflops: trainer.flops() as f64 / ms.median / 1e6,
        peak_gflops: Spread::of(peaks).max,
    };
    if args.json {
        return say(&(serde_json::to_string_pretty(&result)? + "\n"));
    }
    say(&format!(
        "{}: batch {}, {} parameters, {} thread{}\n\
         step    {:.3} ms (min {:.3}, max {:.3}), from drawing the batch to the new weights\n\
         entropy {:.3} ms on top, {:.1} % of the step\n\
         {:.0} GFLOP/s, {:.0} % of the {:.0} that fused multiply-adds reach here\n",
        result.preset,
        result.batch,
        result.parameters,
        result.threads,
        if result.threads == 1 { "" } else { "s" },
        ms.median,
        ms.min,
        ms.max,
        result.entropy_ms,
        100.0 * result.entropy_ms / ms.median,
        result.gflops,
        100.0 * result.gflops / result.peak_gflops,
        result.peak_gflops,
    ))
}

/// One run alone and `jobs` together, in turn, so that a drift of the clock meets both.
fn throughput(args: &StepArgs, jobs: u16) -> Result<()> {
    const ROUNDS: u16 = 6;
    const TIME: Duration = Duration::from_millis(500);
    let (config, trainer, step) = trainer(&args.experiment, &args.set, None)?;
    if step > 0 {
        bail!("--jobs measures runs that begin: name a preset or an experiment file");
    }
    // All threads before any job: jobs wait for each other.
    let pools = (0..jobs).map(|_| pool::start(1)).collect::<Result<Vec<_>>>()?;
    let (name, barrier) = (config.name.clone(), Barrier::new(jobs.into()));
    // Steps per second, (alone, with the others), in each round.
    let job = move |number: u16| -> Result<Vec<(f64, f64)>> {
        let seed = config.seed.wrapping_add(number.into());
        let mut trainer = Trainer::new(&Config { seed, ..config.clone() });
        let prepared = trainer.prepare(Path::new("runs"), Path::new(RESULTS));
        let mut steps = 0..;
        let mut measure = || -> Result<f64> {
            if let Err(e) = &prepared {
                bail!("seed {seed}: {e:#}");
            }
            let (start, mut done) = (Instant::now(), 0_u32);
            for step in steps.by_ref() {
                trainer.forward(step)?;
                trainer.entropy(step)?;
                trainer.update(step)?;
                done += 1;
                if start.elapsed() > TIME {
                    break;
                }
            }
            Ok(f64::from(done) / start.elapsed().as_secs_f64())
        };
        let mut round = |round| {
            barrier.wait();
            let alone = if round % jobs == number { measure() } else { Ok(0.0) };
            barrier.wait();
            Ok((alone?, measure()?))
        };
        round(0).ok(); // to warm up
        // Every round, before an error ends the job: the others wait for it.
        (0..ROUNDS).map(round).collect::<Vec<_>>().into_iter().collect()
    };
    let job = Arc::new(job);
    let (sender, receiver) = mpsc::channel();
    for (number, pool) in (0..).zip(&pools) {
        let (job, sender) = (job.clone(), sender.clone());
        // Nobody listens any more once another job has failed.
        pool.spawn(move || drop(sender.send(job(number))));
    }
    drop(sender);
    let measured = receiver.iter().collect::<Result<Vec<_>>>()?;
    let sum = |round: usize, which: fn(&(f64, f64)) -> f64| -> f64 {
        measured.iter().map(|job| which(&job[round])).sum()
    };
    let rounds = 0..usize::from(ROUNDS);
    let (one, all): (Vec<f64>, Vec<f64>) =
        rounds.map(|round| (sum(round, |m| m.0), sum(round, |m| m.1))).unzip();
    let speed_ups = one.iter().zip(&all).map(|(one, all)| all / one).collect();
    let result = ThroughputResult {
        preset: name,
        batch: trainer.batch(),
        parameters: trainer.model().parameter_count(),
        jobs,
        steps_per_second: Throughput { one: Spread::of(one).median, all: Spread::of(all).median },
        speed_up: Spread::of(speed_ups).median,
    };
    if args.json {
        return say(&(serde_json::to_string_pretty(&result)? + "\n"));
    }
    let Throughput { one, all } = result.steps_per_second;
    say(&format!(
        "{}: batch {}, {} parameters, 1 thread each, entropy at every step\n\
         one run {one:.1} steps/s, {jobs} side by side {all:.1}: {:.2} times the throughput\n",
        result.preset, result.batch, result.parameters, result.speed_up,
    ))
}

/// The workloads' products: batches of last positions, full batches of p = 97 and p = 113, the
/// Collatz models' rows.
fn workload_shapes() -> Vec<Dims> {
    let pairs = [
        (128, 128),
        (128, 384),
        (128, 512),
        (512, 128),
        (128, 97),
        (128, 120),
        (256, 256),
        (256, 1024),
        (1024, 256),
    ];
    let rows = [512, 1536, 2822, 4096, 4704];
    rows.iter().flat_map(|&m| pairs.iter().map(move |&(k, n)| Dims { m, k, n })).collect()
}

fn matmul(args: &MatmulArgs) -> Result<()> {
    let shapes = args.shape.map_or_else(workload_shapes, |shape| vec![shape]);
    let mut rows = Vec::new();
    for dims in shapes {
        for &form in &args.form {
            let peak = fma_peak();
            rows.push(measure_matmul(dims, form, args.threads, peak));
        }
    }
    if args.json {
        return say(&(serde_json::to_string_pretty(&rows)? + "\n"));
    }
    let mut text = String::from("   M     K     N  form  GFLOP/s    min    max   peak  share\n");
    for r in &rows {
        let form = format!("{:?}", r.form).to_lowercase();
        let Spread { min, median, max } = r.gflops;
        writeln!(
            text,
            "{:>4}  {:>4}  {:>4}  {form:<4} {median:>8.1} {min:>6.1} {max:>6.1} {:>6.1}  {:>4.0}%",
            r.m,
            r.k,
            r.n,
            r.peak_gflops,
            100.0 * median / r.peak_gflops
        )?;
    }
    say(&text)
}

fn measure_matmul(dims: Dims, form: Form, threads: u16, peak_gflops: f64) -> MatmulRow {
    let Dims { m, k, n } = dims;
    let (mut x, mut w, mut y) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
    let mut once = || match form {
        Form::Nn => matmul::matmul_nn(&x, &w, &mut y, dims, Start::Zero),
        Form::Nt => matmul::matmul_nt(&y, &w, &mut x, dims, Start::Zero),
        Form::Tn => matmul::matmul_tn(&x, &y, &mut w, dims, Start::Zero),
    };
    once();
    let start = Instant::now();
    once();
    // Blocks of about 2 ms, so that the clock's own cost does not count.
    let per_block = (0.002 / start.elapsed().as_secs_f64().max(1e-9)).ceil() as u32;
    let block = |_| {
        let start = Instant::now();
        (0..per_block).for_each(|_| once());
        dims.flops() as f64 * f64::from(per_block) / start.elapsed().as_secs_f64() / 1e9
    };
    let gflops = Spread::of((0..9).map(block).collect());
    MatmulRow { m, k, n, form, threads, gflops, peak_gflops }
}

/// Values in [−½, ½) without structure, in a buffer as a tape has it: (len).
pub fn noise(len: usize, seed: u32) -> Buffer {
    let mut state = seed;
    let mut values = Buffer::zeros(len);
    values.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    });
    values
}

/// The best of five bursts of nothing but fused multiply-adds on registers, in GFLOP/s.
/// Measured on the threads of the current pool, once the system has had time to give each its core.
pub fn fma_peak() -> f64 {
    const ROUNDS: u64 = 100_000;
    let burst = || {
        let start = Instant::now();
        let flops: u64 = rayon::broadcast(|_| kernels::lanes::fma_burst(ROUNDS)).into_iter().sum();
        flops as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(20) {
        burst();
    }
    (0..5).map(|_| burst()).fold(0.0, f64::max)
}
