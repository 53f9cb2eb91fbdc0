//! Sequence tasks: what is written is what is read, and accuracies are those of a second program.

use experiments::config::TaskConfig;
use experiments::config::sequence::DigitOrder::{LeastSignificant, MostSignificant};
use experiments::config::sequence::{
    CollatzConfig, CollatzOp, DigitOrder, GcdConfig, Sampler, TrainSet,
};
use experiments::observe::accuracy::{accuracy, dump, figures_csv};
use experiments::seed::{Seed, below};
use experiments::tasks::int2int;
use experiments::tasks::sequences::{Numerals, Sequences, split};
use models::Packed;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tests::{scratch, stderr, stdout};

/// A table of sources of one to three integers and targets of one, in base 2 to 60 or 1000.
fn tables() -> impl Strategy<Value = (Sequences, Vec<(Vec<u64>, u64)>)> {
    let base = prop_oneof![2..60u32, Just(1000)];
    let order = prop_oneof![Just(MostSignificant), Just(LeastSignificant)];
    let integer = || prop_oneof![0..100u64, any::<u64>()];
    let rows = prop::collection::vec((prop::collection::vec(integer(), 1..4), integer()), 0..20);
    (base, order, rows).prop_map(|(base, order, rows)| {
        let numerals = Numerals::new(base, order);
        let mut table = Sequences::empty(numerals);
        for (source, target) in &rows {
            table.source.push(|to| {
                for (i, &n) in source.iter().enumerate() {
                    if i > 0 {
                        to.push(numerals.bos());
                    }
                    numerals.write(n, to);
                }
            });
            table.target.push(|to| numerals.write(*target, to));
        }
        (table, rows)
    })
}

proptest! {
    #[test]
    fn a_table_survives_being_written_and_read((table, rows) in tables()) {
        let all: Vec<u32> = (0..table.rows() as u32).collect();
        let text = int2int::write(&table, &all);
        prop_assert_eq!(text.lines().count(), rows.len());
        let read = int2int::read(&text, table.numerals).unwrap();
        prop_assert_eq!(&read, &table);
        // The text does not depend on the order, and every side is the numbers that it was made of.
        let other = Numerals::new(table.numerals.base(), MostSignificant);
        prop_assert_eq!(int2int::write(&int2int::read(&text, other).unwrap(), &all), text);
        for (i, (source, target)) in rows.iter().enumerate() {
            let integers = read.source.row(i as u32).split(|&t| t == read.numerals.bos());
            let integers: Vec<_> = integers.map(|digits| read.numerals.read(digits).unwrap()).collect();
            prop_assert_eq!(&integers, source);
            prop_assert_eq!(read.numerals.read(read.target.row(i as u32)), Some(*target));
        }
    }

    #[test]
    fn no_text_is_read_with_a_panic(text in "[-+V0-9 \t\n]{0,40}") {
        let _ = int2int::read(&text, Numerals::new(8, MostSignificant));
    }
}

/// Predictions that are right, or wrong in one of several ways.
fn predictions(table: &Sequences, rows: &[u32]) -> Packed {
    let mut rng = Seed(1).stream("test", 0);
    let mut all = Packed::default();
    for &row in rows {
        all.push(|to| {
            let begin = to.len();
            to.extend_from_slice(table.target.row(row));
            let digits = to.len() - begin;
            match below(&mut rng, 8) {
                0 => to[begin + below(&mut rng, digits)] = 0,
                1 => to.truncate(begin + digits - 1),
                2 => to.push(1),
                3 => to.truncate(begin),
                4 => to[begin..].fill(table.numerals.pad()),
                _ => {}
            }
        });
    }
    all
}

fn python() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    Command::new(&python)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success())
        .then_some(python)
}

fn recompute(python: &str, dir: &Path, options: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("audit/accuracy.py");
    let files = ["dump.csv", "figures.csv"].map(|name| dir.join(name));
    Command::new(python).arg(script).args(files).args(options).output().expect("python starts")
}

#[test]
fn every_accuracy_is_what_python_makes_of_the_dump() {
    let Some(python) = python() else {
        println!("skipped: no python3");
        return;
    };
    let dir = scratch("accuracy");
    for (op, iterations, base, order, test) in [
        (Some(("3n+1", CollatzOp::ThreePlus)), 1, 8, MostSignificant, 5000),
        (Some(("3n+1", CollatzOp::ThreePlus)), 2, 2, LeastSignificant, 700),
        (Some(("5n+1", CollatzOp::FivePlus)), 1, 24, MostSignificant, 700),
        (Some(("7n+1", CollatzOp::SevenPlus)), 3, 3, MostSignificant, 700),
        (Some(("1-n", CollatzOp::OneMinus)), 1, 9, MostSignificant, 700),
        (Some(("3n-1", CollatzOp::ThreeMinus)), 1, 3, LeastSignificant, 700),
        (None, 1, 10, MostSignificant, 700),
    ] {
        let (train, sampler) = (TrainSet::Online, Sampler::Uniform);
        let config = match op {
            Some((_, op)) => {
                let max = 10_000;
                TaskConfig::Collatz(CollatzConfig {
                    op,
                    iterations,
                    max,
                    base,
                    source_base: (base == 9).then_some(24),
                    order,
                    test,
                    train,
                    sampler,
                    renew: None,
                })
            }
            None => TaskConfig::Gcd(GcdConfig { max: 100, base, order, test, train }),
        };
        let table = Sequences::new(&config);
        let rows = split(table.rows(), test, TrainSet::Online, Seed(0)).test;
        let predictions = predictions(&table, &rows);
        let figures = accuracy(&config, &table, &rows, &predictions);
        assert!(figures.len() >= 7 && figures[0].share.of == test, "{figures:?}");
        fs::write(dir.join("dump.csv"), dump(&config, &table, &rows, &predictions)).unwrap();
        fs::write(dir.join("figures.csv"), figures_csv(&figures)).unwrap();
        let (iterations, base) = (iterations.to_string(), base.to_string());
        let order = match order {
            DigitOrder::MostSignificant => "most_significant",
            DigitOrder::LeastSignificant => "least_significant",
        };
        let mut options = vec!["--base", &base, "--order", order, "--kind"];
        match op {
            Some((op, _)) if base == "9" => {
                options.extend(["collatz", "--op", op, "--source-base", "24"]);
            }
            None => options.push("gcd"),
            Some((op, _)) => options.extend(["collatz", "--op", op, "--iterations", &iterations]),
        }
        let output = recompute(&python, &dir, &options);
        assert!(output.status.success(), "{config:?}: {}", stderr(&output));
        let said = format!("{} figures of {test} predictions agree\n", figures.len());
        assert_eq!(stdout(&output), said);
        // It does not with one hit more or less.
        let mut off = figures.clone();
        off.last_mut().unwrap().share.hits ^= 1;
        fs::write(dir.join("figures.csv"), figures_csv(&off)).unwrap();
        let output = recompute(&python, &dir, &options);
        assert!(!output.status.success() && stderr(&output).contains(&off.last().unwrap().name));
    }
    fs::remove_dir_all(dir).unwrap();
}
