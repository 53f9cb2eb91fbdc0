//! What a study shows while it runs, on stderr: on a terminal a line for each run that is going on and one
//! for the whole; elsewhere a line for each run that ends, and one for the whole now and then.

use super::plan::Planned;
use super::runner::Status;
use crate::cli::{clock, tell};
use crate::train::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often lines are redrawn on a terminal, and printed elsewhere if nothing else was.
pub const REDRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(60);

/// How far a run has come. Its thread writes here at every step, so nothing is allocated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// The step at which this process took it up.
    from: Option<u64>,
    step: u64,
    /// Steps in all, as far as is known.
    steps: u64,
    accuracy: (f64, f64),
    entropy: f64,
    t_grok: Option<u64>,
}

/// The progress of every run of a plan.
pub struct Board {
    reached: Vec<Mutex<Reached>>,
}

impl Board {
    /// Nothing has begun.
    pub fn new(runs: usize) -> Board {
        Board { reached: (0..runs).map(|_| Mutex::default()).collect() }
    }

    /// Takes in a step of the run in this place.
    pub fn note(&self, place: usize, p: Progress) {
        let mut reached = self.reached[place].lock().expect("no panic holds it");
        let from = Some(reached.from.unwrap_or(p.step - 1));
        let (accuracy, entropy, t_grok) = (p.accuracy, p.entropy, p.milestones.t_grok);
        *reached = Reached { from, step: p.step, steps: p.steps, accuracy, entropy, t_grok };
    }

    fn read(&self, place: usize) -> Reached {
        *self.reached[place].lock().expect("no panic holds it")
    }
}

/// The lines on stderr. One thread has it.
pub struct Display<'a> {
    plan: &'a [Planned],
    board: &'a Board,
    begun: Instant,
    printed: Instant,
    terminal: Option<Terminal>,
}

struct Terminal {
    bars: MultiProgress,
    total: ProgressBar,
    running: Vec<(usize, ProgressBar)>, // place in the plan
}

impl<'a> Display<'a> {
    /// A display of this plan.
    pub fn new(plan: &'a [Planned], board: &'a Board) -> Display<'a> {
        let terminal = io::stderr().is_terminal().then(|| {
            let bars = MultiProgress::new();
            let total = bars.add(ProgressBar::new(plan.len() as u64).with_style(style()));
            Terminal { bars, total, running: Vec::new() }
        });
        let now = Instant::now();
        Display { plan, board, begun: now, printed: now, terminal }
    }

    /// Prints a sentence above the bars.
    pub fn say(&mut self, sentence: &str) {
        self.printed = Instant::now();
        match &self.terminal {
            Some(terminal) => drop(terminal.bars.println(sentence)), // nobody has to read it
            None => tell(sentence),
        }
    }

    /// A run begins.
    pub fn begin(&mut self, place: usize) {
        if let Some(terminal) = &mut self.terminal {
            let bar = ProgressBar::new(self.plan[place].config.steps).with_style(style());
            let bar = terminal.bars.insert_before(&terminal.total, bar);
            terminal.running.push((place, bar));
        }
    }

    /// A run has ended.
    pub fn end(&mut self, place: usize, all: &[Status]) {
        if let Some(terminal) = &mut self.terminal {
            let (ended, running) = terminal.running.drain(..).partition(|(of, _)| *of == place);
            terminal.running = running;
            for (_, bar) in ended {
                bar.finish_and_clear();
                terminal.bars.remove(&bar);
            }
        }
        let label = self.plan[place].label();
        let reached = self.board.read(place);
        let sentence = match &all[place] {
            Status::Recorded => match reached.t_grok {
                Some(step) => format!("{label}: grokked at {step}"),
                None => format!("{label}: done"),
            },
            Status::Failed(sentence) => format!("{label} failed: {sentence}"),
            Status::Elsewhere => format!("{label}: another process is making it"),
            Status::Stopped => format!("{label}: stopped at step {}", reached.step),
            Status::Waiting | Status::Running => return,
        };
        let failed = matches!(all[place], Status::Failed(_));
        match (&self.terminal, failed) {
            (Some(_), false) => {}
            (Some(_), true) => self.say(&sentence),
            (None, _) => self.say(&format!("{sentence}; {}", self.total(all))),
        }
    }

    /// Shows how far everything is.
    pub fn draw(&mut self, all: &[Status]) {
        match &self.terminal {
            Some(terminal) => {
                for (place, bar) in &terminal.running {
                    let r = self.board.read(*place);
                    let phase = r.t_grok.map_or(String::new(), |t| format!(", grokked at {t}"));
                    if r.steps > 0 {
                        bar.set_length(r.steps);
                    }
                    bar.set_position(r.step);
                    bar.set_message(format!(
                        "{}: train {:.3} test {:.3} H̃ {:.3}{phase}",
                        self.plan[*place].label(),
                        r.accuracy.0,
                        r.accuracy.1,
                        r.entropy
                    ));
                }
                terminal.total.set_position(count(all, |s| *s == Status::Recorded) as u64);
                terminal.total.set_message(self.total(all));
            }
            None if self.printed.elapsed() >= LINE => {
                let line = self.total(all);
                self.say(&line);
            }
            None => {}
        }
    }

    /// Takes the bars away.
    pub fn close(&self) {
        if let Some(terminal) = &self.terminal {
            let _ = terminal.bars.clear();
        }
    }

    /// The whole in a line.
    fn total(&self, all: &[Status]) -> String {
        let running = count(all, |s| *s == Status::Running);
        let waiting = count(all, |s| *s == Status::Waiting);
        let mut line = format!("{} of {} done", count(all, |s| *s == Status::Recorded), all.len());
        for (number, what) in [
            (running, "running"),
            (count(all, |s| matches!(s, Status::Failed(_))), "failed"),
            (waiting, "to come"),
        ] {
            if number > 0 {
                line += &format!(", {number} {what}");
            }
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        match left(self.plan, all, |place| self.board.read(place), seconds) {
            Some(left) if running + waiting > 0 => line + &format!(", about {} left", clock(left)),
            _ => line,
        }
    }
}

/// Seconds until every run that waits or runs is done, from the steps made in so many seconds. A run may end
/// before its last step, so those that wait are expected to make the share that ended ones have made.
fn left(
    plan: &[Planned],
    all: &[Status],
    reached: impl Fn(usize) -> Reached,
    seconds: f64,
) -> Option<f64> {
    let (mut here, mut made, mut wanted) = (0, 0, 0);
    for (place, status) in all.iter().enumerate() {
        let r = reached(place);
        let Some(from) = r.from else { continue };
        here += r.step - from;
        if *status == Status::Recorded {
            made += r.step;
            wanted += plan[place].config.steps;
        }
    }
    let share = if wanted == 0 { 1.0 } else { made as f64 / wanted as f64 };
    let to_make = all.iter().enumerate().map(|(place, status)| {
        let (at_most, r) = (plan[place].config.steps, reached(place));
        match status {
            Status::Waiting => at_most as f64 * share,
            // It has grokked, and its end is known.
            Status::Running if (1..at_most).contains(&r.steps) => (r.steps - r.step) as f64,
            Status::Running => (at_most as f64 * share - r.step as f64).max(0.0),
            _ => 0.0,
        }
    });
    (here > 0).then(|| to_make.sum::<f64>() * seconds / here as f64)
}

fn count(all: &[Status], is: impl Fn(&Status) -> bool) -> usize {
    all.iter().filter(|&status| is(status)).count()
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:12} {pos}/{len} {wide_msg}")
        .expect("a valid template")
        .progress_chars("━━─")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;

    #[test]
    fn the_time_left_follows_from_steps_made_and_the_share_that_runs_make() {
        let config = |steps| {
            let smoke = preset("smoke").unwrap();
            crate::config::Config { steps, ..crate::config::Config::from_toml(smoke, "").unwrap() }
        };
        let planned = |steps| Planned {
            group: "a",
            intervention: "none",
            hash: String::new(),
            config: config(steps),
            needs: None,
        };
        let plan = [planned(1000), planned(1000), planned(1000), planned(500)];
        let made = |from, step| Reached { from, step, ..Reached::default() };
        // One ended at 500 of 1000, having been taken up at 100; one is at 200; two wait.
        let reached = [made(Some(100), 500), made(Some(0), 200), made(None, 0), made(None, 0)];
        let all = [Status::Recorded, Status::Running, Status::Waiting, Status::Waiting];
        // 600 steps in 3 s; (500 − 200) + 500 + 250 are expected
        let seconds = left(&plan, &all, |place| reached[place], 3.0);
        assert_eq!(seconds, Some(1050.0 * 3.0 / 600.0));
        // The second has grokked and will end at 700.
        let known = |place: usize| Reached { steps: [0, 700, 0, 0][place], ..reached[place] };
        assert_eq!(left(&plan, &all, known, 3.0), Some(1250.0 * 3.0 / 600.0));
        assert_eq!(left(&plan, &all, |_| Reached::default(), 3.0), None);
    }
}
