//! Carries out the runs of a plan that have no row yet, several at once, each on one thread.
//!
//! ```text
//! waiting → running → recorded          its row is in runs.csv
//!                   ↘ failed            its sentence; the others go on
//!                   ↘ stopped           Ctrl-C: a checkpoint, to go on from
//!                   ↘ elsewhere         another process holds its folder, or that of one that it needs
//! ```
//!
//! A run that needs another's trajectory waits until that one is recorded, and fails with it. Killed at
//! any moment, the next start goes on from rows and run folders.

use super::display::{Board, Display, REDRAW};
use super::plan::Planned;
use crate::cli::tell;
use crate::profile::Profile;
use crate::record::provenance::Provenance;
use crate::record::{Record, Results};
use crate::run::RunError;
use crate::run::folder::RunFolder;
use crate::run::meta::Meta;
use crate::train::{self, Conduct, Outcome};
use anyhow::{Result, anyhow, bail};
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Condvar, Mutex};
use std::thread;

/// How runs are carried out, none of which changes a result.
pub struct How<'a> {
    /// The folder that run folders are made in.
    pub out: &'a Path,
    /// Runs at a time.
    pub jobs: usize,
    /// Whether the checkpoints of recorded runs are removed.
    pub tidy: bool,
    /// Set to stop every run at its next step with a checkpoint.
    pub stop: &'a AtomicBool,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its turn has not come.
    Waiting,
    /// It is being carried out.
    Running,
    /// Its row is in runs.csv.
    Recorded,
    /// It cannot be carried out, and why.
    Failed(String),
    /// It was stopped, with a checkpoint.
    Stopped,
    /// Another process is making it, or what it needs.
    Elsewhere,
}

enum Event {
    Begun(usize),
    Said(usize, String),
    Ended(usize),
}

/// The plan's state, shared by the threads.
struct Queue<'a> {
    plan: &'a [Planned],
    stop: &'a AtomicBool,
    all: Mutex<Vec<Status>>,
    changed: Condvar,
}

impl Queue<'_> {
    /// The next run that can begin, marked as running; waits for one that others may still make possible.
    /// `None` if there is none, or all is to stop. Tells of those that can no longer begin.
    fn take(&self, events: &Sender<Event>) -> Option<usize> {
        let mut all = self.all.lock().expect("no panic holds it");
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let mut blocked = false;
            for place in 0..all.len() {
                if all[place] != Status::Waiting {
                    continue;
                }
                let needed = self.plan[place].needs;
                let status = match needed.map(|needed| &all[needed]) {
                    None | Some(Status::Recorded) => Status::Running,
                    Some(Status::Failed(_)) => {
                        let needed = self.plan[needed.expect("it has a state")].label();
                        Status::Failed(format!("it needs {needed}, which failed"))
                    }
                    Some(Status::Elsewhere) => Status::Elsewhere,
                    Some(Status::Waiting | Status::Running | Status::Stopped) => {
                        blocked = true;
                        continue;
                    }
                };
                all[place] = status;
                if all[place] == Status::Running {
                    let _ = events.send(Event::Begun(place));
                    return Some(place);
                }
                let _ = events.send(Event::Ended(place));
            }
            if !blocked {
                return None;
            }
            all = self.changed.wait(all).expect("no panic holds it");
        }
    }

    fn end(&self, place: usize, status: Status, events: &Sender<Event>) {
        self.all.lock().expect("no panic holds it")[place] = status;
        self.changed.notify_all();
        let _ = events.send(Event::Ended(place));
    }

    fn snapshot(&self) -> Vec<Status> {
        self.all.lock().expect("no panic holds it").clone()
    }
}

/// Carries out what is not recorded yet and returns how far each run of the plan is.
///
/// # Errors
/// If the results cannot be read or written. A run that fails is no error: the others go on.
pub fn carry_out(plan: &[Planned], results: &Results, how: &How) -> Result<Vec<Status>> {
    results.prepare()?;
    let all = remake_donors(plan, recorded(plan, results)?, how.out);
    let queue = Queue { plan, stop: how.stop, all: Mutex::new(all), changed: Condvar::new() };
    if how.tidy {
        tidy(plan, 0..plan.len(), &queue.snapshot(), how.out);
    }
    let left = queue.snapshot().iter().filter(|status| **status == Status::Waiting).count();
    let board = Board::new(plan.len());
    let mut display = Display::new(plan, &board);
    let (events, inbox) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..how.jobs.min(left) {
            let (events, queue, board) = (events.clone(), &queue, &board);
            scope.spawn(move || {
                while let Some(place) = queue.take(&events) {
                    let status = one(place, &plan[place], results, how, board, &events);
                    queue.end(place, status, &events);
                    if how.tidy {
                        // Its own, and those of the run that it needed.
                        let places = [Some(place), plan[place].needs].into_iter().flatten();
                        tidy(plan, places, &queue.snapshot(), how.out);
                    }
                }
            });
        }
        drop(events); // the inbox is closed when the last thread has ended
        let mut told = false;
        loop {
            let event = inbox.recv_timeout(REDRAW);
            let all = queue.snapshot();
            match event {
                Ok(Event::Begun(place)) => display.begin(place),
                Ok(Event::Said(place, what)) => {
                    display.say(&format!("{}: {what}", plan[place].label()));
                }
                Ok(Event::Ended(place)) => display.end(place, &all),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if how.stop.load(Ordering::Relaxed) && !told {
                told = true;
                display.say("stopping: each run ends at its next step, with a checkpoint");
            }
            display.draw(&all);
        }
    });
    display.close();
    Ok(queue.snapshot())
}

/// The state of a plan before anything is done: recorded or waiting.
///
/// # Errors
/// If runs.csv cannot be read.
pub fn recorded(plan: &[Planned], results: &Results) -> Result<Vec<Status>> {
    let rows = results.rows()?;
    let rows: HashSet<(String, u64)> = rows.into_iter().map(|row| (row.hash, row.seed)).collect();
    let state = |run: &Planned| match rows.contains(&run.key()) {
        true => Status::Recorded,
        false => Status::Waiting,
    };
    Ok(plan.iter().map(state).collect())
}

/// Records every complete run that has a folder under `out` but no row. Returns how many those are, and how
/// many runs of the plan are recorded now.
///
/// A folder that cannot be read is named and left out.
///
/// # Errors
/// If the results cannot be read or written.
pub fn collect(plan: &[Planned], results: &Results, out: &Path) -> Result<(usize, usize)> {
    results.prepare()?;
    let all = recorded(plan, results)?;
    let mut found = 0;
    for (run, _) in plan.iter().zip(&all).filter(|(_, status)| **status == Status::Waiting) {
        let dir = run.folder(out);
        let of_folder = || match Meta::read(&dir)? {
            Some(meta) if meta.finished => record(&dir, run).map(Some),
            _ => anyhow::Ok(None),
        };
        match of_folder() {
            Ok(Some((record, made))) => {
                results.add(&record, &made)?;
                found += 1;
            }
            Ok(None) => {}
            Err(e) => tell(&format!("{} is left out: {e:#}", run.label())),
        }
    }
    let before = all.iter().filter(|status| **status == Status::Recorded).count();
    Ok((found, before + found))
}

/// Carries out one run, on this thread and one that the kernels have, and records it.
fn one(
    place: usize,
    run: &Planned,
    results: &Results,
    how: &How,
    board: &Board,
    events: &Sender<Event>,
) -> Status {
    let carry_out = || -> Result<Status> {
        let folder = match RunFolder::create_or_open(how.out, &run.config) {
            Err(RunError::Locked { .. }) => return Ok(Status::Elsewhere),
            folder => folder?,
        };
        let conduct = Conduct {
            threads: 1,
            command: crate::cli::command_line(),
            profile: Profile::default(),
            results: results.dir().parent().unwrap_or(results.dir()),
            stop: how.stop,
            note: &|sentence| drop(events.send(Event::Said(place, sentence.to_owned()))),
            progress: &|progress| board.note(place, progress),
        };
        if let Outcome::Stopped(_) = train::run(&run.config, &folder, &conduct)? {
            return Ok(Status::Stopped);
        }
        let (record, made) = record(folder.path(), run)?;
        results.add(&record, &made)?;
        Ok(Status::Recorded)
    };
    // A panic is a defect, but of one run: the others need not be lost with it.
    let outcome = catch_unwind(AssertUnwindSafe(carry_out));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(anyhow!("panicked: {text}"))
    });
    outcome.unwrap_or_else(|e| Status::Failed(format!("{e:#}")))
}

/// A recorded run whose checkpoint a run still to be made wants, and which is gone, as on a fresh clone, waits to
/// be made again. Its row will be the same.
fn remake_donors(plan: &[Planned], mut all: Vec<Status>, out: &Path) -> Vec<Status> {
    for place in (0..plan.len()).rev().filter(|&place| plan[place].needs.is_some()) {
        let gone = plan[place].donors(out).iter().any(|checkpoint| !checkpoint.exists());
        if gone && all[place] == Status::Waiting {
            let needed = plan[place].needs.expect("it needs one");
            // A complete folder without the checkpoint would say that there is nothing to do. One that another
            // process holds is being made.
            if all[needed] == Status::Recorded
                && let Ok((held, _)) = RunFolder::open(&plan[needed].folder(out))
            {
                let _ = fs::remove_dir_all(held.path());
            }
            all[needed] = Status::Waiting;
        }
    }
    all
}

/// Removes the checkpoints of those runs that are recorded and that no run still to be made needs; what cannot be removed is no loss.
fn tidy(plan: &[Planned], places: impl IntoIterator<Item = usize>, all: &[Status], out: &Path) {
    let to_make = plan.iter().zip(all).filter(|(_, status)| **status != Status::Recorded);
    let needed: HashSet<usize> = to_make.filter_map(|(run, _)| run.needs).collect();
    let done = |place: &usize| all[*place] == Status::Recorded && !needed.contains(place);
    for place in places.into_iter().filter(done) {
        let checkpoints = plan[place].folder(out).join("checkpoints");
        for file in fs::read_dir(checkpoints).into_iter().flatten().flatten() {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// The record of a planned run, and who made it.
fn record(dir: &Path, planned: &Planned) -> Result<(Record, Provenance)> {
    let record = Record::read(dir, planned.group, planned.intervention)?;
    if (record.row.hash.as_str(), record.row.seed) != (&planned.hash, planned.config.seed) {
        bail!("{}: is not the run {}", dir.display(), planned.config.run_id());
    }
    let made = Provenance::read(dir, &record.row)?;
    Ok((record, made))
}
