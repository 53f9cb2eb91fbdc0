//! What a plateau is, and the map of where there is one: C0, C1.
//!
//! ```text
//! a(t)      the highest test accuracy up to step t: a dip ends no plateau
//! stretch   a longest [s, t] with .10 ≤ a(s), a(t) < .90 and a(t) − a(s) ≤ .05
//! plateau   the longest of all, if it has at least 1,000 steps and a quarter of T_90 (of the whole run, where it
//!           never came to .90)
//! jump      any stretch of at least 1,000 steps and a quarter of T_80 after whose end accuracy rises by .20 or more
//!           within half its length
//! ```
//! The numbers were written down before any run of the map was looked at, but for the first two. The jump was amended
//! on 2026-11-25, after the map of one layer and before any joint run: it had to end the longest stretch, which had to
//! last a quarter of T_90. That misses stairs, and the paper's own curve is one (.53 to .68 after step 42,000, .76 to
//! .86 after 66,000, .90 at 100,000). Of the map's cells the amendment moves one, `map-renewed`, from "creeps".

use super::{REGIMES, Regime};
use crate::record::{Evaluation, Record};
use crate::report::page::whole;
use crate::study::draw::{curves, over_steps, paths};
use crate::study::grade::{Evidence, FEWEST, Finding, Verdict, mean_of, seeds_of, show};
use std::fmt::Write;

/// The longest stretch over which a run hardly learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Its first and its last step.
    pub steps: [u64; 2],
    /// Test accuracy at its start.
    pub level: f64,
    /// How much the accuracy rises within half the stretch's length after its end.
    pub rise: f64,
    /// Whether it ends in a jump.
    pub jumps: bool,
}

impl Stretch {
    fn length(&self) -> u64 {
        self.steps[1] - self.steps[0]
    }

    /// Long enough for a plateau of a run that takes so many steps.
    fn lasts(&self, whole: u64) -> bool {
        self.length() >= 1_000 && 4 * self.length() >= whole
    }
}

/// How a run comes to its accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// To .90 without a plateau.
    Smooth,
    /// To .90 over a plateau that ends in a jump.
    Jump,
    /// Over a plateau that does not end in one, or not at all to .90.
    Creeps,
    /// Never to .10.
    Never,
}

impl Course {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Course::Smooth => "smooth",
            Course::Jump => "plateau and jump",
            Course::Creeps => "creeps",
            Course::Never => "never",
        }
    }
}

/// (step, highest test accuracy so far).
fn climbs(record: &Record) -> Vec<(u64, f64)> {
    let mut best = 0.0_f64;
    let mut climb = |e: &Evaluation| {
        best = best.max(e.test_acc?);
        Some((e.step, best))
    };
    record.curves.iter().filter_map(&mut climb).collect()
}

/// The first step with such a test accuracy.
pub fn reaches(record: &Record, accuracy: f64) -> Option<u64> {
    climbs(record).into_iter().find(|&(_, acc)| acc >= accuracy).map(|(step, _)| step)
}

/// The longest stretch that ends in a jump, or of all where none does; none if the accuracy never was between
/// .10 and .90.
pub fn stretch(record: &Record) -> Option<Stretch> {
    let longest_from_first = |s: &Stretch| (s.jumps, s.length(), u64::MAX - s.steps[0]);
    stretches(record).into_iter().max_by_key(longest_from_first)
}

/// From every evaluation between .10 and .90 on, as long as test accuracy rises by no more than .05.
fn stretches(record: &Record) -> Vec<Stretch> {
    let climbs = climbs(record);
    let between: Vec<(u64, f64)> =
        climbs.iter().copied().filter(|&(_, acc)| (0.10..0.90).contains(&acc)).collect();
    let at = |step: u64| climbs.iter().rev().find(|(s, _)| *s <= step).map_or(0.0, |(_, acc)| *acc);
    let t_80 = reaches(record, 0.80).unwrap_or(record.row.steps);
    let beginning = |i: usize| {
        let (from, level) = between[i];
        let until = between[i..].iter().rev().find(|(_, acc)| acc - level <= 0.05)?.0;
        let rise = at(until + (until - from) / 2) - at(until);
        let mut stretch = Stretch { steps: [from, until], level, rise, jumps: false };
        stretch.jumps = rise >= 0.20 && stretch.lasts(t_80);
        Some(stretch)
    };
    (0..between.len()).filter_map(beginning).collect()
}

/// The course of a run.
pub fn course(record: &Record) -> Course {
    match (stretch(record), reaches(record, 0.90)) {
        (None, None) => Course::Never,
        (None, Some(_)) => Course::Smooth,
        (Some(stretch), Some(_)) if stretch.jumps => Course::Jump,
        (Some(stretch), Some(t_90)) if !stretch.lasts(t_90) => Course::Smooth,
        _ => Course::Creeps,
    }
}

/// Steps to an accuracy, in the tables' form.
fn steps(record: &Record, accuracy: f64) -> String {
    reaches(record, accuracy).map_or("–".to_owned(), whole)
}

/// C0: the map.
pub(super) fn map(evidence: &Evidence) -> Finding {
    let cells = evidence.beginning("map-");
    if cells.is_empty() {
        return Finding::not_testable("needs the runs of the map");
    }
    let courses: Vec<Course> = cells.iter().map(|record| course(record)).collect();
    let count = |wanted: Course| courses.iter().filter(|course| **course == wanted).count();
    let [smooth, jump, creeps, never] =
        [Course::Smooth, Course::Jump, Course::Creeps, Course::Never].map(count);
    // Which choice decides: the share of cells of each reading that come to .90 smoothly.
    let share = |word: &str| {
        // Cells of the grid alone: map, data, norm, initialisation, rate, depth.
        let is_in = |group: &str| {
            let parts: Vec<&str> = group.split('-').collect();
            parts.len() == 6 && parts.contains(&word)
        };
        let of: Vec<bool> = cells
            .iter()
            .zip(&courses)
            .filter(|(record, _)| is_in(&record.row.group))
            .map(|(_, course)| *course == Course::Smooth)
            .collect();
        let smooth = of.iter().filter(|s| **s).count();
        format!("{word} {smooth} of {}", of.len())
    };
    let words =
        ["online", "fixed", "pre", "post", "xavier", "pytorch", "fast", "slow", "1", "2", "6"];
    let by_choice = words.map(share).into_iter().filter(|of| !of.ends_with("of 0"));
    let by_choice = by_choice.collect::<Vec<_>>().join(", ");
    let mut note = "The stretch is the longest over which test accuracy rises by at most .05 between .10 and .90, of those \
                    that end in a jump where one does; the level is that at its start, the rise what follows within \
                    half its length.\n\
                    | data, norm, initialisation, rate, layers | course | T at .50 | .70 | .90 | stretch from | to | level \
                    | rise | train | test |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (record, course) in cells.iter().zip(&courses) {
        let (row, name) = (&record.row, record.row.group.trim_start_matches("map-"));
        let [t_50, t_70, t_90] = [0.5, 0.7, 0.9].map(|accuracy| steps(record, accuracy));
        let longest = stretch(record).map_or("– | – | – | –".to_owned(), |s| {
            let [from, until] = s.steps.map(whole);
            format!("{from} | {until} | {:.2} | {:.2}", s.level, s.rise)
        });
        let _ = writeln!(
            note,
            "| {} | {} | {t_50} | {t_70} | {t_90} | {longest} | {:.3} | {:.3} |",
            name.replace('-', ", "),
            course.name(),
            row.train_acc_final.unwrap_or(f64::NAN),
            row.acc_final.unwrap_or(f64::NAN)
        );
    }
    let kind = |record: &Record| {
        let row = &record.row;
        format!(
            "{}, {}",
            row.reading,
            if row.weight_decay > Some(0.5) { "decay 1" } else { &row.norm }
        )
    };
    let figure = |title: &str, reading: fn(&Evaluation) -> Option<f64>| {
        over_steps(title, "accuracy", paths(&cells, kind, |record| record.curve(reading)))
    };
    Finding {
        measured: format!(
            "{} of {} cells: {smooth} reach .90 smoothly, {jump} over a plateau and a jump, {creeps} creep, {never} never come \
             to .10; smooth: {by_choice}",
            cells.len(),
            super::map().len()
        ),
        estimate: None,
        seeds: 1,
        controls: String::new(),
        verdict: match (jump, smooth + creeps + never) {
            (_, 0) => Verdict::Reproduced,
            (0, _) => Verdict::NotReproduced,
            _ => Verdict::Partly,
        },
        why: match jump {
            0 => {
                "No cell of the map has the plateau and the jump that the paper prints.".to_owned()
            }
            n => format!("{n} of {} cells have a plateau that ends in a jump.", cells.len()),
        },
        figures: vec![
            figure("Test accuracy of every cell", |e| e.test_acc),
            figure("Train accuracy of every cell", |e| e.train_acc),
        ],
        note,
    }
}

/// The joint runs of a regime.
pub(super) fn joint<'a>(evidence: &'a Evidence, regime: &Regime) -> Vec<&'a Record> {
    evidence.groups(&[&regime.group("joint")])
}

/// C1.
pub(super) fn long_plateau(evidence: &Evidence) -> Finding {
    let of: Vec<Vec<&Record>> = REGIMES.iter().map(|regime| joint(evidence, regime)).collect();
    if of.iter().any(|runs| runs.len() < FEWEST) {
        return Finding::not_testable("needs three joint runs in either regime");
    }
    let jumps = |runs: &Vec<&Record>| runs.iter().all(|record| course(record) == Course::Jump);
    let held: Vec<bool> = of.iter().map(jumps).collect();
    let words = REGIMES.iter().zip(&of).map(|(regime, runs)| {
        let courses: Vec<&str> = runs.iter().map(|record| course(record).name()).collect();
        let times = [0.5, 0.7, 0.9].map(|accuracy| {
            let times: Vec<f64> =
                runs.iter().filter_map(|r| reaches(r, accuracy)).map(|t| t as f64).collect();
            format!("{} ({} of {})", show(mean_of(&times), 0), times.len(), runs.len())
        });
        let last: Vec<f64> = runs.iter().filter_map(|r| r.row.acc_final).collect();
        format!(
            "{}: {}; test accuracy .50 at {}, .70 at {}, .90 at {}, at the end {}",
            regime.name,
            courses.join(", "),
            times[0],
            times[1],
            times[2],
            show(mean_of(&last), 3)
        )
    });
    let words: Vec<String> = words.collect();
    let mut figures = Vec::new();
    for (regime, runs) in REGIMES.iter().zip(&of) {
        let mut series = curves(runs, "train accuracy", |e| e.train_acc);
        series.extend(curves(runs, "test accuracy", |e| e.test_acc));
        series.extend(curves(runs, "probe: n mod 16", |e| e.probe_mod16));
        let untrained = |record: &Record| {
            let first = record.curves.first().and_then(|e| e.probe_mod16);
            record.curve(|e| e.probe_mod16.and(first))
        };
        series.extend(paths(runs, |_| "probe, untrained encoder".to_owned(), untrained));
        series.extend(curves(runs, "H̃ of the encoder", |e| e.entropy_encoder));
        series.extend(curves(runs, "H̃ of the decoder", |e| e.entropy));
        figures.push(over_steps(
            format!("What is known when: joint runs, {}", regime.name),
            "accuracy, or H̃",
            series,
        ));
    }
    Finding {
        measured: words.join("; "),
        estimate: None,
        seeds: seeds_of(of.iter().flatten().copied()),
        controls: "train accuracy, on the first training set, stands in the picture".to_owned(),
        verdict: super::claims::verdict(&held),
        why: match held.iter().filter(|held| **held).count() {
            2 => "Every joint run waits on a plateau and jumps.".to_owned(),
            1 => "A plateau and a jump are there under some of the choices that the paper leaves open.".to_owned(),
            _ => "In neither regime do all runs wait on a plateau and jump.".to_owned(),
        },
        figures,
        note: "In the regime with a plateau the waits end when the training set is renewed, at the same steps in all \
               seeds: it was built so. Models of 1+1 layers and width 128: nothing here says that 6+6 layers behave alike."
            .to_owned(),
    }
}
