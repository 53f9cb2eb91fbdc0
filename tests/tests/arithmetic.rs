//! Sequence tasks: what is written is what is read.

use experiments::config::sequence::DigitOrder::{LeastSignificant, MostSignificant};
use experiments::tasks::int2int;
use experiments::tasks::sequences::{Numerals, Sequences};
use proptest::prelude::*;

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
            let integers = read.source.row(i).split(|&t| t == read.numerals.bos());
            let integers: Vec<_> = integers.map(|digits| read.numerals.read(digits).unwrap()).collect();
            prop_assert_eq!(&integers, source);
            prop_assert_eq!(read.numerals.read(read.target.row(i)), Some(*target));
        }
    }

    #[test]
    fn no_text_is_read_with_a_panic(text in "[-+V0-9 \t\n]{0,40}") {
        let _ = int2int::read(&text, Numerals::new(8, MostSignificant));
    }
}
