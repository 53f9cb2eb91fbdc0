//! The command line. Results go to stdout, progress to stderr; a closed pipe ends quietly.
//!
//! Exit codes: 0 done (also: the run was complete before), 1 a sentence on stderr says what went
//! wrong, 2 the command line could not be understood, 130 stopped by Ctrl-C with a checkpoint.

use crate::audit::{self, AuditArgs};
use crate::bench::{self, BenchCommand};
use crate::config::{Config, set::split_assignment};
use crate::forecast::command::{ForecastArgs, LIBRARY, Online, forecast_command};
use crate::predict::{self, PredictArgs};
use crate::presets::{PRESETS, preset};
use crate::profile::Profile;
use crate::record::RESULTS;
use crate::report;
use crate::run::folder::{self, RunFolder, State};
use crate::run::{checkpoint, meta, write_whole};
use crate::spectrum_file::{EntropyArgs, entropy_command};
use crate::study::{self, StudyArgs};
use crate::sweep::{self, SweepCommand};
use crate::train::{self, Conduct, Outcome, Progress, Summary, Trainer};
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A laptop laboratory for delayed generalisation (grokking).
///
/// Without a command: trains the default one-layer transformer on (a + b) mod 97 until it groks,
/// measures its spectral entropy at every step, and leaves a run folder with a report.
#[derive(Parser)]
#[command(name = "plateau", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Carries out one run: a preset or an experiment file. A complete run is not repeated, an
    /// incomplete one is taken up from its last checkpoint.
    Run(RunArgs),
    /// Lists the presets, with the figure that each reproduces.
    Presets,
    /// Goes on with an incomplete run, bit for bit.
    Resume(ResumeArgs),
    /// Rebuilds the report of one or more runs, or grades a study again by its records.
    Report(ReportArgs),
    /// Says when a run will grok, from its entropy so far and from runs that have grokked.
    Forecast(ForecastArgs),
    /// What a model of sequences writes for the test examples of its run, and how much of it is right.
    Predict(PredictArgs),
    /// Spectral entropy of anyone's activations: a .npy or .safetensors matrix, rows = samples.
    Entropy(EntropyArgs),
    /// The ledger of one training step: every op with its formula, source, work, time, share of what
    /// this machine can do, error against an f64 reference, and gradient check.
    Audit(AuditArgs),
    /// Measures training steps or matrix products on this machine.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// All runs that a paper's claims need, several at once, one thread each. What is recorded is not
    /// run again, what was interrupted goes on.
    Study(StudyArgs),
    /// Many runs of one experiment, for any engine with an array index.
    #[command(subcommand)]
    Sweep(SweepCommand),
}

#[derive(Args)]
struct RunArgs {
    /// A preset (see `plateau presets`) or an experiment file (.toml).
    #[arg(required_unless_present = "plan")]
    experiment: Option<String>,
    /// A plan (see `plateau sweep plan`), in place of an experiment: the run of its line --index.
    #[arg(long, value_name = "FILE", requires = "index")]
    #[arg(conflicts_with_all = ["experiment", "seed", "steps", "set"])]
    plan: Option<PathBuf>,
    /// The line of the plan, from 0.
    #[arg(long, value_name = "I", requires = "plan", conflicts_with = "experiment")]
    index: Option<usize>,
    /// The seed, in place of the file's.
    #[arg(long)]
    seed: Option<u64>,
    /// The number of steps, in place of the file's.
    #[arg(long)]
    steps: Option<u64>,
    /// Changes a field by its path, as in `--set optim.lr=3e-4`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The folder that run folders are made in.
    #[arg(long, default_value = "runs")]
    out: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct ResumeArgs {
    /// The run folder.
    dir: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Default)]
struct Common {
    /// Threads of the kernels; they change no bit of the result. Default: all cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
    /// Writes where the time goes, op by op, as Chrome trace events, for https://ui.perfetto.dev or
    /// chrome://tracing: the start, and the first 30 steps that are made. Changes no bit of the run.
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// The steps to profile, TO not among them, in place of the first 30.
    #[arg(long, value_name = "FROM..TO", requires = "profile", value_parser = parse_steps)]
    profile_steps: Option<Range<u64>>,
}

impl Common {
    fn profile(&self, config: &Config) -> Result<Profile> {
        let on = |path: &PathBuf| Profile::to(path, self.profile_steps.clone(), config.steps);
        self.profile.as_ref().map_or(Ok(Profile::default()), on)
    }
}

fn parse_steps(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| {
        let number = |text: &str| text.replace('_', "").parse().ok();
        Some(number(from)?..number(to)?)
    });
    let wanted = || "expected two steps, the first below the second, as in 990..1010".to_string();
    range.filter(|range| !range.is_empty()).ok_or_else(wanted)
}

#[derive(Args)]
struct ReportArgs {
    /// Run folders, or the folder of a study's results.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Writes a picture, too: the curves of accuracy and entropy of a run, or a study's --figure.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The picture of a study: E3 is the first of claim E3, E3.2 its second.
    #[arg(long, value_name = "CLAIM", requires = "svg")]
    figure: Option<String>,
    /// Puts a study's verdicts between the marks `<!-- verdicts NAME -->` and `<!-- end -->` of this file.
    #[arg(long, value_name = "FILE.md")]
    readme: Option<PathBuf>,
}

/// The command that this process was started by; of the program its name, for its folder is nobody's business.
pub fn command_line() -> Vec<String> {
    let mut words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut() {
        let name = Path::new(&*program).file_name().map(|name| name.to_string_lossy().into_owned());
        *program = name.unwrap_or_default();
    }
    words
}

/// Writes to stdout; a closed pipe is the reader's right.
pub(crate) fn say(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("cannot write to stdout"),
    }
}

/// Writes a line to stderr; nobody has to read it.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    if let Err(sentence) = meta::simd_check() {
        tell(&format!("plateau: {sentence}"));
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(e) => {
            tell(&format!("plateau: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let done = ExitCode::SUCCESS;
    match cli.command {
        None => {
            let config = read_config("default", &[])?;
            carry_out(&config, Path::new("runs"), &Common::default())
        }
        Some(Command::Run(args)) => {
            let mut changes = assignments(&args.set)?;
            let number = |path: &str, value: u64| (path.to_string(), value.to_string());
            changes.extend(args.seed.map(|seed| number("seed", seed)));
            changes.extend(args.steps.map(|steps| number("steps", steps)));
            let config = match (&args.experiment, &args.plan, args.index) {
                (_, Some(plan), Some(index)) => sweep::line::config(plan, index)?,
                (experiment, ..) => {
                    read_config(experiment.as_deref().unwrap_or_default(), &changes)?
                }
            };
            carry_out(&config, &args.out, &args.common)
        }
        Some(Command::Presets) => list_presets().map(|()| done),
        Some(Command::Resume(args)) => {
            let (folder, config) = RunFolder::open(&args.dir)?;
            carry_on(&config, &folder, &args.common, args.common.profile(&config)?)
        }
        Some(Command::Report(args)) => write_reports(&args).map(|()| done),
        Some(Command::Forecast(args)) => forecast_command(&args).map(|()| done),
        Some(Command::Predict(args)) => predict::run(&args).map(|()| done),
        Some(Command::Entropy(args)) => entropy_command(&args).map(|()| done),
        Some(Command::Audit(args)) => audit::run(&args).map(|()| done),
        Some(Command::Bench(command)) => bench::run(&command).map(|()| done),
        Some(Command::Study(args)) => study::run(&args),
        Some(Command::Sweep(command)) => sweep::run(&command).map(|()| done),
    }
}

/// The (path, value) of every `--set`.
pub(crate) fn assignments(set: &[String]) -> Result<Vec<(String, String)>> {
    set.iter().map(|assignment| Ok(split_assignment(assignment)?)).collect()
}

/// The config of a preset's name or a file's path.
pub(crate) fn read_config(experiment: &str, changes: &[(String, String)]) -> Result<Config> {
    if let Some(text) = preset(experiment) {
        return Ok(Config::from_toml_with(text, &format!("preset {experiment}"), changes)?);
    }
    let path = Path::new(experiment);
    if !path.exists() {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        bail!("{experiment} is neither a file nor a preset; the presets are {}", names.join(", "));
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {experiment}"))?;
    if text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("sweep")) {
        bail!("{experiment}: has a [sweep] table, which `plateau sweep plan {experiment}` reads");
    }
    Ok(Config::from_toml_with(&text, experiment, changes)?)
}

/// The config of an experiment or run folder, and whether it is a run folder.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn experiment(experiment: &str, set: &[String]) -> Result<(Config, bool)> {
    let changes = assignments(set)?;
    let dir = Path::new(experiment);
    if !dir.join("config.toml").exists() {
        return Ok((read_config(experiment, &changes)?, false));
    }
    if !changes.is_empty() {
        bail!("a run folder is measured as it is, without --set");
    }
    Ok((folder::read_config(dir)?, true))
}

/// The trainer of an experiment or run folder, standing before the update of `step`: the experiment's
/// initial weights or the run's newest checkpoint up to there, trained on from it. Without `step`, the
/// initial weights, or the run's newest checkpoint.
///
/// # Errors
/// If the experiment or a checkpoint cannot be read, or the run has no such step.
pub(crate) fn trainer(
    experiment: &str,
    set: &[String],
    step: Option<u64>,
) -> Result<(Config, Trainer, u64)> {
    let (config, is_run) = self::experiment(experiment, set)?;
    let dir = Path::new(experiment);
    if let Some(step) = step.filter(|&step| step > config.steps) {
        bail!("--step {step}: {} has steps 0 to {}", config.name, config.steps);
    }
    let mut trainer = Trainer::new(&config);
    let runs = if is_run { dir.join("../..") } else { PathBuf::from("runs") };
    trainer.prepare(&runs, Path::new(RESULTS))?;
    let mut reached = 0;
    if is_run {
        let upto = step.unwrap_or(u64::MAX);
        let found = checkpoint::newest_upto(&dir.join("checkpoints"), &config.run_id(), upto)?;
        found.skipped.iter().for_each(|sentence| tell(sentence));
        match found.checkpoint {
            Some(checkpoint) => {
                reached = checkpoint.step;
                trainer.restore(checkpoint)?;
            }
            None if step.is_none() => {
                bail!("{experiment}: the run folder has no checkpoint that can be measured")
            }
            None => {}
        }
    }
    let step = step.unwrap_or(reached);
    if step > reached {
        tell(&format!("training from step {reached} to step {step}"));
    }
    for s in reached..step {
        trainer.forward(s)?;
        trainer.update(s)?;
    }
    Ok((config, trainer, step))
}

fn list_presets() -> Result<()> {
    let mut text = String::new();
    for (name, source) in PRESETS {
        let config = Config::from_toml(source, name)?;
        let took = seconds_here(&config)
            .map_or("not run here".to_string(), |s| format!("took {} here", clock(s)));
        writeln!(text, "{name:<18} {} steps, {took}\n  {}", config.steps, config.figure)?;
    }
    say(&text)
}

/// How long this config, with any seed, took under `runs`, if it was finished there.
fn seconds_here(config: &Config) -> Option<f64> {
    let runs = std::fs::read_dir(Path::new("runs").join(&config.name)).ok()?.flatten();
    let same = format!("{}-s", config.hash());
    runs.filter(|run| run.file_name().to_string_lossy().starts_with(&same))
        .filter_map(|run| meta::Meta::read(&run.path()).ok().flatten())
        .find(|meta| meta.finished)
        .map(|meta| meta.seconds)
}

fn carry_out(config: &Config, out: &Path, common: &Common) -> Result<ExitCode> {
    let profile = common.profile(config)?;
    if !out.join(&config.name).join(config.run_id()).exists() {
        // Before there is a folder: a run that cannot begin leaves none.
        if config.intervene.is_some() {
            Trainer::new(config).prepare(out, Path::new(RESULTS))?;
        }
    }
    let folder = RunFolder::create_or_open(out, config)?;
    carry_on(config, &folder, common, profile)
}

/// The flag that Ctrl-C sets. A second Ctrl-C does not wait for anything.
pub(crate) fn stop_on_ctrl_c() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("Ctrl-C could not be caught")?;
    Ok(&STOP)
}

/// Carries a run through, shows its progress, writes its report.
fn carry_on(
    config: &Config,
    folder: &RunFolder,
    common: &Common,
    profile: Profile,
) -> Result<ExitCode> {
    let stop = stop_on_ctrl_c()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = common.threads.map_or(cores, usize::from);
    let display = Display::new(config, folder, threads)?;
    let conduct = Conduct {
        threads,
        command: command_line(),
        profile,
        results: Path::new(RESULTS),
        stop,
        note: &|sentence| display.note(sentence),
        progress: &|progress| display.show(progress),
    };
    let outcome = train::run(config, folder, &conduct);
    display.close();
    let (summary, note) = match outcome? {
        Outcome::Stopped(step) => {
            let dir = folder.path().display();
            tell(&format!("stopped at step {step}; go on with: plateau resume {dir}"));
            return Ok(ExitCode::from(130));
        }
        Outcome::AlreadyComplete(mut summary) => {
            summary.run = folder.path().display().to_string(); // it may have been moved
            (summary, "this run was complete before; ")
        }
        Outcome::Complete(summary) => (summary, ""),
    };
    let page = report::write_report(folder.path())?;
    if common.json {
        say(&(serde_json::to_string_pretty(&summary)? + "\n"))?;
    } else {
        say(&describe(&summary, note, &page))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A run's result in words.
fn describe(s: &Summary, note: &str, page: &Path) -> String {
    let at = |t: Option<u64>, what: &str| match t {
        Some(step) => format!("{what} at step {step}"),
        None => format!("{what} never"),
    };
    format!(
        "{note}{} steps: {}, {}, {}\n\
         train accuracy {:.4}, test accuracy {:.4}, normalised entropy {:.4}\n\
         {:.2} ms per step\n\
         run    {}\nreport {}\n",
        s.steps,
        at(s.t_memorise, "memorised"),
        at(s.t_collapse, "entropy collapsed"),
        at(s.t_grok, "grokked"),
        s.r#final.train_acc,
        s.r#final.test_acc,
        s.r#final.normalised_entropy,
        s.ms_per_step,
        s.run,
        page.display(),
    )
}

fn write_reports(args: &ReportArgs) -> Result<()> {
    use report::study;
    let written = |path: &Path| say(&format!("{}\n", path.display()));
    if args.dirs.len() > 1 && (args.svg.is_some() || args.readme.is_some()) {
        bail!("--svg and --readme are for one folder, not {}", args.dirs.len());
    }
    for dir in &args.dirs {
        if !study::is_results(dir) {
            if args.figure.is_some() || args.readme.is_some() {
                bail!("{}: --figure and --readme are for a study's results", dir.display());
            }
            written(&report::write_report(dir)?)?;
            if let Some(file) = &args.svg {
                let run = report::Run::read(dir)?;
                let picture = report::curves_svg(&run, report::chart::Scale::Linear);
                write_whole(file, picture.as_bytes())?;
                written(file)?;
            }
            continue;
        }
        let graded = study::graded(dir)?;
        written(&study::write(dir, &graded)?)?;
        if let Some(file) = &args.svg {
            let Some(name) = &args.figure else {
                bail!("--svg of a study needs --figure, as in --figure E3")
            };
            let picture = report::figure_svg(study::find(&graded, name)?);
            write_whole(file, picture.as_bytes())?;
            written(file)?;
        }
        if let Some(file) = &args.readme {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let text = study::with_verdicts(&text, study::name(dir)?, &graded)
                .with_context(|| file.display().to_string())?;
            write_whole(file, text.as_bytes())?;
            written(file)?;
        }
    }
    Ok(())
}

/// The live display: a bar on a terminal, a line now and then elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    last: Mutex<(Instant, u64)>,
    begun: Mutex<Option<(Instant, u64)>>,
    forecast: Mutex<Online>,
}

/// How often a bar is redrawn, and a line printed where there is no terminal.
const REDRAW: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(15);

impl Display {
    fn new(config: &Config, folder: &RunFolder, threads: usize) -> Result<Display> {
        let complete = folder.state()? == State::Complete;
        if !complete {
            tell(&format!(
                "{}, seed {}: {} parameters, {} training examples, {} steps; {}, {} thread{}\n{}",
                config.name,
                config.seed,
                config.parameters(),
                config.train_count(),
                config.steps,
                meta::simd_level(),
                threads,
                if threads == 1 { "" } else { "s" },
                folder.path().display(),
            ));
        }
        let bar = (io::stderr().is_terminal() && !complete).then(|| {
            let style = ProgressStyle::with_template("{bar:12} {pos}/{len} {wide_msg}")
                .expect("a valid template")
                .progress_chars("━━─");
            ProgressBar::new(config.steps).with_style(style)
        });
        let now = Instant::now();
        let forecast = Online::new(config, &folder.metrics(), Path::new(LIBRARY));
        let (begun, forecast) = (Mutex::new(None), Mutex::new(forecast));
        Ok(Display { bar, last: Mutex::new((now, 0)), begun, forecast })
    }

    fn note(&self, sentence: &str) {
        match &self.bar {
            Some(bar) => bar.println(sentence),
            None => tell(sentence),
        }
    }

    fn show(&self, p: Progress) {
        let now = Instant::now();
        let begun = *self.begun.lock().expect("no panic holds it").get_or_insert((now, p.step));
        let mut forecast = self.forecast.lock().expect("no panic holds it");
        if !p.evaluation.is_empty()
            && let Some(sentence) = forecast.observe(p.step - 1, p.evaluation)
        {
            self.note(&sentence);
        }
        let pause = if self.bar.is_some() { REDRAW } else { LINE };
        let mut last = self.last.lock().expect("no panic holds it");
        if (now - last.0 < pause && p.step < p.steps) || p.step == begun.1 {
            return;
        }
        *last = (now, p.step);
        let rate = (p.step - begun.1) as f64 / (now - begun.0).as_secs_f64().max(1e-9);
        let left = ((p.steps - p.step) as f64 / rate.max(1e-9)).min(1e9);
        let phase = match (p.milestones.t_memorise, p.milestones.t_grok) {
            (_, Some(step)) => format!(", grokked at {step}"),
            (Some(step), None) if forecast.words().is_empty() => format!(", memorised at {step}"),
            (Some(step), None) => format!(", memorised at {step}, {}", forecast.words()),
            (None, None) => String::new(),
        };
        let message = format!(
            "train {:.3} test {:.3} H̃ {:.3} {rate:.0} steps/s {} left{phase}",
            p.accuracy.0,
            p.accuracy.1,
            p.entropy,
            clock(left),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_length(p.steps);
                bar.set_position(p.step);
                bar.set_message(message);
            }
            None => tell(&format!("{}/{} {message}", p.step, p.steps)),
        }
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds as 4s, 3m20s or 2h05m.
pub(crate) fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn time_left_is_short_to_read() {
        assert_eq!([4.2, 200.0, 7500.0].map(clock), ["4s", "3m20s", "2h05m"]);
    }
}
