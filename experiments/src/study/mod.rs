//! Studies: all runs that a paper's claims need, carried out, recorded and graded.
//!
//! ```text
//! a study's table (entropy)  →  plan  →  runner: run folders  →  record: runs.csv, curves/
//! runs.csv, curves/  →  grade: verdicts.json  →  report.html
//! ```
//!
//! A study is data: groups of runs, and the claims that each group serves. It knows nothing of kernels.

pub mod collatz;
pub mod cost;
mod display;
mod draw;
pub mod entropy;
pub mod grade;
pub mod plan;
pub mod runner;

use crate::cli::{clock, say, stop_on_ctrl_c, tell};
use crate::config::Config;
use crate::observe::evaluate::Evaluator;
use crate::pool;
use crate::record::{Files, RESULTS, Results, Row};
use crate::report::{self, page::whole};
use crate::sweep::line::{self, Line};
use crate::train::Trainer;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use grade::Claim;
use plan::{Group, Planned, Scale};
use runner::{How, Status};
use serde_json::Map;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A study, as data.
#[derive(Clone, Copy)]
pub struct Study {
    /// Its name on the command line.
    pub name: &'static str,
    /// The claims that it grades.
    pub claims: &'static [Claim],
    /// The columns of its results' files.
    pub files: Files,
    /// Whether what measuring the entropy costs is measured with it, on this machine.
    pub cost: bool,
    /// The runs that they need, in the order in which they are carried out.
    pub groups: fn(Scale) -> Vec<Group>,
}

impl Study {
    /// The numbers of its claims.
    pub fn ids(&self) -> Vec<&'static str> {
        self.claims.iter().map(|claim| claim.id).collect()
    }

    /// The name of its folder under `results`: a scale's rows never mix with another's.
    pub fn folder(&self, scale: Scale) -> String {
        match scale {
            Scale::Laptop => self.name.to_owned(),
            _ => format!("{}-{}", self.name, scale.name()),
        }
    }
}

/// Every study.
pub const ALL: [Study; 2] = [entropy::ENTROPY, collatz::COLLATZ];

/// The studies there are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// Spectral entropy collapse (arXiv:2604.13123).
    Entropy,
    /// The long delay to arithmetic generalisation (arXiv:2604.13082).
    Collatz,
}

impl Which {
    fn study(self) -> Study {
        match self {
            Which::Entropy => entropy::ENTROPY,
            Which::Collatz => collatz::COLLATZ,
        }
    }
}

/// `plateau study`.
#[derive(Args)]
pub struct StudyArgs {
    /// The study.
    study: Which,
    /// How much of it is carried out.
    #[arg(long, default_value = "laptop")]
    scale: Scale,
    /// Only the runs that these claims need, as in `--claims E1,E3`.
    #[arg(long, value_delimiter = ',')]
    claims: Vec<String>,
    /// Only these groups of runs, and what they need.
    #[arg(long, value_delimiter = ',', conflicts_with = "claims")]
    groups: Vec<String>,
    /// Runs at a time, each on one thread. Default: the number of cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// The folder that run folders are made in.
    #[arg(long, default_value = "runs")]
    out: PathBuf,
    /// The folder that results are kept in.
    #[arg(long, default_value = RESULTS)]
    results: PathBuf,
    /// Removes the checkpoints of runs that are recorded and that no other run of this command needs.
    #[arg(long)]
    tidy: bool,
    /// Says what would be done, and how long it would take here.
    #[arg(long)]
    dry_run: bool,
    /// Prints the runs as a plan, one a line, recorded or not, for `plateau run --plan`.
    #[arg(long, conflicts_with = "dry_run")]
    plan: bool,
    /// Records the complete runs found in the run folders, and carries out none.
    #[arg(long, conflicts_with_all = ["dry_run", "plan"])]
    collect: bool,
}

/// Carries out a study, or says what that would be.
///
/// # Errors
/// If the study cannot begin: no such claim or group, or results that cannot be read or written. A run
/// that fails is reported, and makes the exit code 1 once the others are done.
pub fn run(args: &StudyArgs) -> Result<ExitCode> {
    let study = args.study.study();
    let groups = (study.groups)(args.scale);
    let groups = plan::select(groups, &study.ids(), &args.claims, &args.groups)?;
    let plan = plan::plan(&groups)?;
    let results = Results::new(args.results.join(study.folder(args.scale)), study.files);
    if args.dry_run {
        return dry_run(args, &groups, &plan, &results).map(|()| ExitCode::SUCCESS);
    }
    if args.plan {
        let line = |(index, run): (usize, &Planned)| {
            let group = ("group".to_owned(), run.group.into());
            Line::new(index, &run.config, Map::from_iter([group]))
        };
        let lines: Vec<Line> = plan.iter().enumerate().map(line).collect();
        return say(&line::write(&lines)).map(|()| ExitCode::SUCCESS);
    }
    if args.collect {
        let (found, done) = runner::collect(&plan, &results, &args.out)?;
        tell(&format!("{found} runs recorded, {done} of {} are", plan.len()));
        return finish(&study, args, &plan, &results).map(|()| ExitCode::SUCCESS);
    }
    let stop = stop_on_ctrl_c()?;
    let how = How { out: &args.out, jobs: args.jobs(), tidy: args.tidy, stop };
    let all = runner::carry_out(&plan, &results, &how)?;
    let count = |is: fn(&Status) -> bool| all.iter().filter(|status| is(status)).count();
    let done = count(|status| *status == Status::Recorded);
    if stop.load(Ordering::Relaxed) && done < plan.len() {
        let dir = results.dir().display();
        tell(&format!(
            "stopped; {done} of {} runs are recorded in {dir}; go on with the same command",
            plan.len()
        ));
        return Ok(ExitCode::from(130));
    }
    finish(&study, args, &plan, &results)?;
    let failed = count(|status| matches!(status, Status::Failed(_)));
    let elsewhere = count(|status| *status == Status::Elsewhere);
    match (failed, elsewhere) {
        (0, 0) => Ok(ExitCode::SUCCESS),
        (0, _) => {
            bail!(
                "{elsewhere} runs are being made by another process or need one that is: start again when \
                 it is done"
            )
        }
        _ => bail!("{failed} of {} runs failed, see above", plan.len()),
    }
}

impl StudyArgs {
    fn jobs(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or(cores, usize::from)
    }
}

/// What follows when every run that can be made is recorded: a line a group, the verdicts of the claims
/// that were asked for, verdicts.json and the page.
fn finish(study: &Study, args: &StudyArgs, plan: &[Planned], results: &Results) -> Result<()> {
    let rows: HashMap<(String, u64), Row> =
        results.rows()?.into_iter().map(|row| ((row.hash.clone(), row.seed), row)).collect();
    let width = name_width(plan);
    let mut text = format!(
        "study {}, {} scale: {}\n{:<width$} {:>7} {:>8}  T_grok: mean [range]\n",
        study.name,
        args.scale.name(),
        results.dir().join("runs.csv").display(),
        "group",
        "runs",
        "grokked"
    );
    for (group, runs) in by_group(plan) {
        let done: Vec<&Row> = runs.iter().filter_map(|run| rows.get(&run.key())).collect();
        let t_grok: Vec<u64> = done.iter().filter_map(|row| row.t_grok).collect();
        let grokked = match (t_grok.iter().min(), t_grok.iter().max()) {
            (Some(&min), Some(&max)) => {
                let mean = t_grok.iter().sum::<u64>() as f64 / t_grok.len() as f64;
                format!("{} [{}, {}]", whole(mean.round() as u64), whole(min), whole(max))
            }
            _ => "never".to_owned(),
        };
        let of = |some: usize, all: usize| format!("{some}/{all}");
        writeln!(
            text,
            "{group:<width$} {:>7} {:>8}  {grokked}",
            of(done.len(), runs.len()),
            of(t_grok.len(), done.len())
        )?;
    }
    if study.cost && cost::read(results)?.is_empty() {
        cost::measure(results)?;
    }
    let graded = report::study::graded(results.dir())?;
    let page = report::study::write(results.dir(), &graded)?;
    let asked =
        |id: &str| args.claims.is_empty() || args.claims.iter().any(|c| c.eq_ignore_ascii_case(id));
    for claim in graded.iter().filter(|claim| asked(claim.id)) {
        let name = claim.verdict.name();
        write!(text, "\n{} {name}: {}\n    paper  {}\n", claim.id, claim.claim, claim.paper)?;
        if !claim.measured.is_empty() {
            writeln!(text, "    here   {}", claim.measured)?;
        }
        if !claim.controls.is_empty() {
            writeln!(text, "    other  {}", claim.controls)?;
        }
        writeln!(text, "    why    {}", claim.why)?;
    }
    writeln!(text, "\nreport {}", page.display())?;
    say(&text)
}

/// The width of a column of the groups' names.
fn name_width(plan: &[Planned]) -> usize {
    plan.iter().map(|run| run.group.len()).max().unwrap_or(0).max(14)
}

/// The runs of each group, in the plan's order.
fn by_group(plan: &[Planned]) -> Vec<(&'static str, Vec<&Planned>)> {
    let mut groups: Vec<(&str, Vec<&Planned>)> = Vec::new();
    for run in plan {
        match groups.last_mut() {
            Some((group, runs)) if *group == run.group => runs.push(run),
            _ => groups.push((run.group, vec![run])),
        }
    }
    groups
}

/// Prints a line a group: its runs, those that are done, the time that the others take here.
fn dry_run(args: &StudyArgs, groups: &[Group], plan: &[Planned], results: &Results) -> Result<()> {
    let all = runner::recorded(plan, results)?;
    let state: HashMap<(String, u64), &Status> =
        plan.iter().zip(&all).map(|(run, status)| (run.key(), status)).collect();
    let width = name_width(plan);
    let mut text = format!(
        "{:<width$} {:<9} {:>5} {:>5} {:>5} {:>7} {:>8} {:>8}  {}\n",
        "group", "seeds", "runs", "done", "left", "steps", "ms/step", "time", "claims"
    );
    let mut measured = BTreeMap::new();
    let (mut to_make, mut seconds) = (0, 0.0);
    for (name, runs) in by_group(plan) {
        let group = groups.iter().find(|group| group.name == name).expect("the plan is theirs");
        let left = runs.iter().filter(|run| *state[&run.key()] == Status::Waiting).count();
        let config = &runs[0].config;
        let (mut per_step, mut time) = ("-".to_owned(), "-".to_owned());
        if left > 0 {
            let kind = format!("{:?} {:?} {:?}", config.task, config.model, config.optim.batch);
            let ms = match measured.get(&kind) {
                Some(ms) => *ms,
                None => *measured.entry(kind).or_insert(ms_per_step(&undisturbed(group)?)?),
            };
            let of_group = 1e-3 * ms * (left as u64 * config.steps) as f64;
            (per_step, time) = (format!("{ms:.2}"), clock(of_group));
            (to_make, seconds) = (to_make + left, seconds + of_group);
        }
        let seeds = format!("{}-{}", group.seeds.start, group.seeds.end - 1);
        writeln!(
            text,
            "{name:<width$} {seeds:<9} {:>5} {:>5} {left:>5} {:>7} {per_step:>8} {time:>8}  {}",
            runs.len(),
            runs.len() - left,
            whole(config.steps),
            group.claims.join(" ")
        )?;
    }
    let jobs = args.jobs();
    let runs =
        if jobs == 1 { "one run at a time".to_owned() } else { format!("{jobs} runs at a time") };
    writeln!(
        text,
        "{to_make} of {} runs are left: at most {} with {runs} (times are those of one thread, \
         measured just now, for every step)",
        plan.len(),
        clock(seconds / jobs.min(to_make.max(1)) as f64)
    )?;
    say(&text)
}

/// A run of the group without its interventions, which cost little and may need another run.
fn undisturbed(group: &Group) -> Result<Config> {
    let mut group = group.clone();
    group.changes.retain(|(path, _)| !path.starts_with("intervene."));
    group.wanted().next().context("a group has a run")?.config()
}

/// Milliseconds of a step on one thread here, entropy and evaluations included: a quick look.
fn ms_per_step(config: &Config) -> Result<f64> {
    const LOOK: Duration = Duration::from_millis(150);
    pool::install(1, || {
        let mut trainer = Trainer::new(config);
        let mut step = 0;
        let mut make = |steps: u64| -> Result<()> {
            for _ in 0..steps {
                trainer.forward(step)?;
                if step % config.spectral.every == 0 {
                    trainer.entropy(step)?;
                }
                trainer.update(step)?;
                step += 1;
            }
            Ok(())
        };
        make(3)?;
        let (begun, mut made) = (Instant::now(), 0);
        while begun.elapsed() < LOOK {
            make(1)?;
            made += 1;
        }
        let of_step = begun.elapsed().as_secs_f64() / f64::from(made);
        let mut evaluator = Evaluator::new(config);
        let begun = Instant::now();
        let (tape, data) = (&trainer.model().tape, trainer.data());
        evaluator.evaluate(tape, data).map_err(anyhow::Error::msg)?;
        let of_evaluation = begun.elapsed().as_secs_f64();
        Ok(1e3 * (of_step + of_evaluation / config.eval.every as f64))
    })?
}
