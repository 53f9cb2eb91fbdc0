//! Int2Int's text files (Charton, arXiv:2502.17513, <https://github.com/f-charton/Int2Int>): an example a
//! line, words between blanks, a tab between input and output.
//!
//! ```text
//! side      words                                                              Int2Int's data type
//! integer   its sign, + or −, then its digits in base b, most significant first           int
//! several   V and how many, then each of them                                          int[n]
//!
//! V2 + 1 24 + 16<TAB>+ 16          gcd(1024, 16) = 16 in base 1000
//! ```
//!
//! Here a side of several integers is their digits with BOS between. Files have the most significant digit
//! first whatever the table's order is; digits are turned on the way. The sign may be missing where a
//! side is one integer, so `3 3<TAB>1 2 2` is read, too; it is always written. A negative integer is
//! refused, because the vocabulary has no sign. Int2Int skips a line that has not exactly one tab; here
//! that is an error, as is anything else.

use super::sequences::{Numerals, Sequences};
use crate::config::sequence::DigitOrder;
use std::fmt::Write;

/// The examples of these rows, a line each.
pub fn write(sequences: &Sequences, rows: &[u32]) -> String {
    let mut text = String::new();
    for &row in rows {
        write_side(sequences.numerals, sequences.source.row(row), &mut text);
        text.push('\t');
        write_side(sequences.numerals, sequences.target.row(row), &mut text);
        text.push('\n');
    }
    text
}

fn write_side(numerals: Numerals, tokens: &[u32], text: &mut String) {
    let integers = tokens.split(|&token| token == numerals.bos());
    let count = integers.clone().count();
    if count > 1 {
        write!(text, "V{count} ").expect("a string takes everything");
    }
    for (i, digits) in integers.enumerate() {
        text.push_str(if i == 0 { "+" } else { " +" });
        let digit = |digit: &u32| write!(text, " {digit}").expect("a string takes everything");
        match numerals.order() {
            DigitOrder::MostSignificant => digits.iter().for_each(digit),
            DigitOrder::LeastSignificant => digits.iter().rev().for_each(digit),
        }
    }
}

/// Reads a file's text: integers in the base of `numerals`, in the table in its order.
///
/// ```
/// use experiments::config::sequence::DigitOrder::MostSignificant;
/// use experiments::tasks::{int2int, sequences::Numerals};
/// let thousands = Numerals::new(1000, MostSignificant);
/// let table = int2int::read("V2 + 1 24 + 16\t+ 16\n", thousands).unwrap();
/// assert_eq!(table.source.row(0), [1, 24, thousands.bos(), 16]);
/// assert_eq!(table.target.row(0), [16]);
/// ```
///
/// # Errors
/// The line, counted from 1, what stands there, and what was expected.
pub fn read(text: &str, numerals: Numerals) -> Result<Sequences, String> {
    let mut all = Sequences::empty(numerals);
    for (i, line) in text.lines().enumerate() {
        let at = |sentence: String| format!("line {}: {sentence}", i + 1);
        let (source, target) = match *line.split('\t').collect::<Vec<_>>() {
            [source, target] => (source, target),
            ref parts => {
                let tabs = parts.len() - 1;
                return Err(at(format!("{tabs} tabs: expected one, between input and output")));
            }
        };
        for (packed, side, name) in
            [(&mut all.source, source, "input"), (&mut all.target, target, "output")]
        {
            let tokens = read_side(side, numerals).map_err(|e| at(format!("the {name} {e}")))?;
            packed.push(|to| to.extend(tokens));
        }
    }
    Ok(all)
}

fn read_side(side: &str, numerals: Numerals) -> Result<Vec<u32>, String> {
    let mut words = side.split_whitespace().peekable();
    let count = match words.peek().and_then(|word| word.strip_prefix('V')) {
        None => None,
        Some(count) => {
            let found = count.parse::<usize>().ok().filter(|&count| count > 0);
            words.next();
            Some(found.ok_or_else(|| format!("has V{count}: expected V and a number above 0"))?)
        }
    };
    let (mut tokens, mut integers) = (Vec::new(), 0);
    while let Some(&word) = words.peek() {
        match word {
            "+" => words.next(),
            "-" => return Err("has a negative integer: the vocabulary has no sign".to_string()),
            _ if count.is_none() && integers == 0 => None,
            _ => return Err(format!("has {word:?}: expected the sign of an integer, +")),
        };
        if integers > 0 {
            tokens.push(numerals.bos());
        }
        integers += 1;
        let begin = tokens.len();
        while let Some(word) = words.next_if(|word| !matches!(*word, "+" | "-")) {
            let digit = word.parse::<u32>().ok().filter(|&digit| digit < numerals.base());
            let digit = digit.ok_or_else(|| {
                format!("has {word:?}: expected a digit below {}", numerals.base())
            })?;
            tokens.push(digit);
        }
        if tokens.len() == begin {
            return Err(format!("has no digits in its integer {integers}"));
        }
        if numerals.order() == DigitOrder::LeastSignificant {
            tokens[begin..].reverse();
        }
    }
    match (count, integers) {
        (_, 0) => Err("is empty: expected an integer".to_string()),
        (None, 2..) => Err(format!("has {integers} integers: expected V{integers} in front")),
        (Some(count), _) if count != integers => {
            Err(format!("has V{count} in front of {integers}: expected as many integers"))
        }
        _ => Ok(tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DigitOrder::{LeastSignificant, MostSignificant};

    #[test]
    fn int2ints_own_example_is_read_and_written() {
        // The README of Int2Int: GCD(1024, 16) = 16 in base 1000.
        let text = "V2 + 1 24 + 16\t+ 16\n";
        for (order, expected) in [(MostSignificant, [1, 24]), (LeastSignificant, [24, 1])] {
            let table = read(text, Numerals::new(1000, order)).unwrap();
            assert_eq!(table.source.row(0)[..2], expected);
            assert_eq!(write(&table, &[0]), text);
        }
    }

    #[test]
    fn a_sign_may_be_missing_and_blanks_do_not_count() {
        let octal = Numerals::new(8, MostSignificant);
        let table = read("3 3\t1 2 2\r\n + 1 1 \t+ 3 4", octal).unwrap();
        assert_eq!(write(&table, &[1, 0]), "+ 1 1\t+ 3 4\n+ 3 3\t+ 1 2 2\n");
        assert_eq!(read("", octal).unwrap().rows(), 0);
    }

    #[test]
    fn what_is_not_int2ints_is_refused_with_its_line() {
        for (line, sentence) in [
            ("", "0 tabs: expected one, between input and output"),
            ("+ 1\t+ 2\t+ 3", "2 tabs: expected one, between input and output"),
            ("\t+ 1", "the input is empty: expected an integer"),
            ("+ 1\t ", "the output is empty: expected an integer"),
            ("+\t+ 1", "the input has no digits in its integer 1"),
            ("+ 1 8\t+ 1", "the input has \"8\": expected a digit below 8"),
            ("+ 1\t+ x", "the output has \"x\": expected a digit below 8"),
            ("+ 1\t- 1", "the output has a negative integer: the vocabulary has no sign"),
            ("+ 1 + 2\t+ 1", "the input has 2 integers: expected V2 in front"),
            ("V2 + 1\t+ 1", "the input has V2 in front of 1: expected as many integers"),
            ("V2 1 2\t+ 1", "the input has \"1\": expected the sign of an integer, +"),
            ("Vx + 1\t+ 1", "the input has Vx: expected V and a number above 0"),
            ("V0\t+ 1", "the input has V0: expected V and a number above 0"),
        ] {
            let text = format!("+ 1\t+ 4\n{line}\n");
            let said = read(&text, Numerals::new(8, MostSignificant)).unwrap_err();
            assert_eq!(said, format!("line 2: {sentence}"), "{line:?}");
        }
    }
}
