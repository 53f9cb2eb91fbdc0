//! `--profile`: where a run's time goes, as Chrome trace events, which Perfetto and chrome://tracing
//! draw.
//!
//! ```text
//! {"name":"linear logits","cat":"forward","ph":"X","ts":µs,"dur":µs,"pid":1,"tid":1,"args":{…}}
//! ```
//!
//! The loop calls [`Profile::lap`] wherever one thing ends and the next begins: one reading of the
//! clock closes a span and opens the next, so spans of a step neither overlap nor leave a gap. Times
//! are whole multiples of 1/8 µs, which a binary fraction holds exactly: no reader's rounding can
//! push a span into its neighbour. Where nothing is profiled, no clock is read.

use crate::config::Config;
use crate::run::meta::Meta;
use crate::run::{check_writable, write_whole};
use anyhow::{Context, Result, bail};
use autograd::{Op, Tape, Var};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How many steps are profiled where the command line does not say which.
pub const STEPS: u64 = 30;
/// As many as a profile may hold: its events, some fifty a step, stay in memory until it is written.
pub const MOST_STEPS: u64 = 10_000;

const TICK_NS: u128 = 125;
const TICKS_PER_US: f64 = 8.0;

/// What a span of time was spent on.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    /// The forward of the tape's op of this number.
    Forward(usize),
    /// The backward of the tape's op of this number.
    Backward(usize),
    /// Anything else: its category and its name.
    Part(&'static str, &'static str),
    /// A whole step, from its evaluation, if it has one, to its checkpoint.
    Step,
}

/// A profile being taken; by default none is.
#[derive(Clone, Debug, Default)]
pub struct Profile(Option<Recording>);

#[derive(Clone, Debug)]
struct Recording {
    path: PathBuf,
    steps: Option<Range<u64>>, // None until it is known where the run begins
    origin: Instant,           // time 0 of the trace
    open: bool,                // spans are being recorded
    step: Option<u64>,
    step_event: usize, // where among the events the current step's is
    lap_began: u64,    // ticks since the origin, as all times here
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    span: Span,
    step: Option<u64>, // None: before the first step
    began: u64,
    ended: u64,
}

impl Recording {
    fn now(&self) -> u64 {
        (self.origin.elapsed().as_nanos() / TICK_NS) as u64
    }
}

impl Profile {
    /// A profile to be written to `path`, of these steps or of the first [`STEPS`] that are made,
    /// for a run of `length` steps. Its time begins now.
    ///
    /// # Errors
    /// If the file could not be written, or the run has no such steps.
    pub fn to(path: &Path, steps: Option<Range<u64>>, length: u64) -> Result<Profile> {
        if let Some(steps) = steps.as_ref().filter(|steps| steps.start > length) {
            bail!("the steps {}..{} are not in a run of {length}", steps.start, steps.end);
        }
        let window = steps.as_ref().map_or(STEPS, |s| s.end.min(length + 1) - s.start);
        if window > MOST_STEPS {
            bail!("a profile of {window} steps: at most {MOST_STEPS}, as in 0..{MOST_STEPS}");
        }
        check_writable(path).context("the profile")?;
        Ok(Profile(Some(Recording {
            path: path.to_owned(),
            steps,
            origin: Instant::now(),
            open: true,
            step: None,
            step_event: 0,
            lap_began: 0,
            events: Vec::new(),
        })))
    }

    /// Whether a profile was asked for.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Settles which steps are profiled of a run that begins, or goes on, at step `first`, and makes
    /// room for their events.
    ///
    /// # Errors
    /// If they are all behind it.
    pub fn plan(&mut self, first: u64, length: u64, ops: usize) -> Result<()> {
        let Some(r) = &mut self.0 else { return Ok(()) };
        let steps = r.steps.get_or_insert(first..first + STEPS);
        if steps.end <= first {
            bail!("the run goes on at step {first}, after {}..{}", steps.start, steps.end);
        }
        let count = steps.end.min(length + 1).saturating_sub(steps.start.max(first)) as usize;
        r.events.reserve(count * (2 * ops + 12));
        Ok(())
    }

    /// Refuses to profile across a step at which the tape changes: the events know their ops by number.
    ///
    /// # Errors
    /// If one of `changes` is within the planned steps, their first apart.
    pub fn refuse_changes(&self, changes: &[u64]) -> Result<()> {
        let steps = self.0.as_ref().and_then(|r| r.steps.clone()).unwrap_or_default();
        match changes.iter().find(|&&step| steps.start < step && step < steps.end) {
            None => Ok(()),
            Some(step) => bail!(
                "a profile shows one tape, and at step {step} an intervention starts or ends: \
                 profile steps before or from there, not {}..{}",
                steps.start,
                steps.end
            ),
        }
    }

    /// Ends a span, and begins the next. One reading of the clock; none outside the steps profiled.
    pub fn lap(&mut self, span: Span) {
        if let Some(r) = self.0.as_mut().filter(|r| r.open) {
            let now = r.now();
            r.events.push(Event { span, step: r.step, began: r.lap_began, ended: now });
            r.lap_began = now;
        }
    }

    /// Begins a step.
    pub fn begin_step(&mut self, step: u64) {
        let Some(r) = &mut self.0 else { return };
        r.open = r.steps.as_ref().is_some_and(|steps| steps.contains(&step));
        if r.open {
            let now = r.now();
            r.step = Some(step);
            r.step_event = r.events.len();
            r.lap_began = now;
            // What encloses comes before what it encloses, as some readers want it.
            r.events.push(Event { span: Span::Step, step: r.step, began: now, ended: now });
        }
    }

    /// Ends the step, where its last span ended. True if no later one is to be profiled: then the
    /// profile can be written.
    pub fn end_step(&mut self) -> bool {
        let Some(r) = self.0.as_mut().filter(|r| r.open) else { return false };
        r.events[r.step_event].ended = r.lap_began;
        r.step.map(|step| step + 1) >= r.steps.as_ref().map(|steps| steps.end)
    }

    /// Writes the file, whole or not at all, and ends the profile. Says where it is; says nothing if
    /// there was no profile, or it has been written before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, tape: &Tape, config: &Config, meta: &Meta) -> Result<Option<String>> {
        let Some(r) = self.0.take() else { return Ok(None) };
        write_whole(&r.path, render(&r.events, tape, config, meta).as_bytes())?;
        let steps = r.events.iter().filter(|e| matches!(e.span, Span::Step)).count();
        Ok(Some(format!(
            "profile of the start and {steps} step{}: {}; open it in https://ui.perfetto.dev or \
             chrome://tracing",
            if steps == 1 { "" } else { "s" },
            r.path.display()
        )))
    }
}

/// The file: one event a line.
fn render(events: &[Event], tape: &Tape, config: &Config, meta: &Meta) -> String {
    let about = json!({
        "run": config.name, "seed": config.seed, "version": meta.version, "commit": meta.commit,
        "dirty": meta.dirty, "cpu": meta.cpu, "simd": meta.simd, "threads": meta.threads,
    });
    let name = |of: &str, name: String| json!({"name": of, "ph": "M", "pid": 1, "tid": 1, "args": {"name": name}});
    let ops: Vec<OpText> =
        tape.ops().zip(tape.op_flops()).map(|(op, flops)| op_text(tape, op, flops)).collect();
    let named = [
        name("process_name", format!("plateau {}, seed {}", config.name, config.seed)),
        name("thread_name", "training".to_string()),
    ];
    let mut text = format!(
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{about},\"traceEvents\":[\n{},\n{}",
        named[0], named[1]
    );
    for event in events {
        text.push_str(",\n");
        text.push_str(&trace_event(event, &ops).to_string());
    }
    text.push_str("\n]}\n");
    text
}

/// What the events of an op say of it.
struct OpText {
    name: String,
    reads: Vec<String>,
    writes: Vec<String>,
    flops: (u64, u64),
}

fn op_text(tape: &Tape, op: &dyn Op, flops: (u64, u64)) -> OpText {
    let (inputs, outputs) = (op.inputs(), op.outputs());
    let shape = |&x: &Var| {
        let (rows, cols) = tape.shape(x);
        format!("{} {rows}x{cols}", tape.name(x)).trim_start().to_string()
    };
    // Where the result has no name, as on the table of unique rows, the parameter read tells it.
    let named = outputs.iter().chain(&inputs).map(|&x| tape.name(x)).find(|name| !name.is_empty());
    OpText {
        name: [op.name(), named.unwrap_or_default()].join(" ").trim_end().to_string(),
        reads: inputs.iter().map(shape).collect(),
        writes: outputs.iter().map(shape).collect(),
        flops,
    }
}

fn trace_event(event: &Event, ops: &[OpText]) -> Value {
    let &Event { span, step, began, ended } = event;
    let dur = (ended - began) as f64 / TICKS_PER_US;
    let mut args = json!({});
    if let Some(step) = step {
        args["step"] = step.into();
    }
    let mut op_args = |op: usize, flops: u64| {
        args["op"] = op.into();
        args["reads"] = ops[op].reads.clone().into();
        args["writes"] = ops[op].writes.clone().into();
        args["flops"] = flops.into();
        if dur > 0.0 {
            args["GFLOP/s"] = ((flops as f64 / dur / 100.0).round() / 10.0).into();
        }
    };
    let (category, name) = match span {
        Span::Forward(op) => {
            op_args(op, ops[op].flops.0);
            ("forward", ops[op].name.clone())
        }
        Span::Backward(op) => {
            op_args(op, ops[op].flops.1);
            ("backward", format!("{}, backward", ops[op].name))
        }
        Span::Part(category, name) => (category, name.to_string()),
        Span::Step => ("step", step.map_or(String::new(), |step| format!("step {step}"))),
    };
    json!({
        "name": name, "cat": category, "ph": "X", "ts": began as f64 / TICKS_PER_US, "dur": dur,
        "pid": 1, "tid": 1, "args": args,
    })
}
