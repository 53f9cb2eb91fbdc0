//! A CSV file whose columns are the fields of a struct.
//!   first line  the columns' names;  cells: numbers in their shortest exact form, empty = not there
//! A file has all columns of the struct, or some of them in the same order: the others are empty. No cell holds a comma, a quote or a line break, so none is quoted; reading and writing again gives the
//! same bytes.

use crate::run::RunError;
use std::path::Path;

/// A row: its columns' names, its cells.
pub trait Columns: Sized {
    /// The columns' names, in order.
    const NAMES: &'static [&'static str];
    /// One cell a column.
    fn cells(&self) -> Vec<String>;
    /// The row of these cells, as many as columns. The error names the column.
    ///
    /// # Errors
    /// A sentence, if a cell cannot be read.
    fn from_cells(cells: &[&str]) -> Result<Self, String>;
}

/// A value that fits into a cell.
pub trait Cell: Sized {
    /// As text.
    fn write(&self) -> String;
    /// From text; `None` if it is no such value.
    fn read(text: &str) -> Option<Self>;
}

impl Cell for String {
    fn write(&self) -> String {
        self.clone()
    }
    fn read(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

impl Cell for u64 {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<u64> {
        text.parse().ok()
    }
}

impl Cell for f64 {
    fn write(&self) -> String {
        format!("{self:?}") // the shortest form that reads back to the same f64
    }
    fn read(text: &str) -> Option<f64> {
        text.parse().ok()
    }
}

impl<T: Cell> Cell for Option<T> {
    fn write(&self) -> String {
        self.as_ref().map_or(String::new(), Cell::write)
    }
    fn read(text: &str) -> Option<Option<T>> {
        if text.is_empty() { Some(None) } else { T::read(text).map(Some) }
    }
}

/// Declares a struct whose fields are the columns of a file.
macro_rules! columns {
    ($(#[$about:meta])* pub struct $name:ident {
        $($(#[$doc:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $crate::record::table::Columns for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            fn cells(&self) -> Vec<String> {
                vec![$($crate::record::table::Cell::write(&self.$field)),*]
            }

            fn from_cells(cells: &[&str]) -> Result<$name, String> {
                let mut named = cells.iter().zip(Self::NAMES);
                Ok($name { $($field: $crate::record::table::next(&mut named)?,)* })
            }
        }
    };
}
pub(crate) use columns;

/// Reads the next cell of a row.
pub(crate) fn next<'a, T: Cell>(
    cells: &mut impl Iterator<Item = (&'a &'a str, &'a &'static str)>,
) -> Result<T, String> {
    let (text, name) = cells.next().ok_or("a cell is missing")?;
    T::read(text).ok_or_else(|| format!("{name} = {text:?} cannot be read"))
}

/// The whole file, of these columns.
///
/// # Panics
/// If there is no such column.
pub fn write<T: Columns>(rows: &[T], columns: &[&str]) -> String {
    let place = |name: &&str| T::NAMES.iter().position(|known| known == name);
    let places: Vec<usize> =
        columns.iter().map(|name| place(name).expect("a column of the table")).collect();
    let line = |row: &T| {
        let cells = row.cells();
        places.iter().map(|&i| cells[i].as_str()).collect::<Vec<_>>().join(",")
    };
    let lines = std::iter::once(columns.join(",")).chain(rows.iter().map(line));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// The rows of a file's text, which has these columns; `path` begins each error.
///
/// # Errors
/// If the first line is not the columns' names, or a row has other cells.
pub fn read<T: Columns>(path: &Path, text: &str, columns: &[&str]) -> Result<Vec<T>, RunError> {
    let wrong = |sentence: String| RunError::content(path, sentence);
    let mut lines = text.lines();
    let (found, names) = (lines.next().unwrap_or_default(), columns.join(","));
    if found != names {
        return Err(wrong(format!(
            "line 1: expected the columns {names}; a file of another version is read by the version that \
             wrote it, or moved away and made again"
        )));
    }
    let places: Vec<Option<usize>> =
        T::NAMES.iter().map(|name| columns.iter().position(|column| column == name)).collect();
    let row = |(i, line): (usize, &str)| {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != columns.len() {
            let (some, all) = (cells.len(), columns.len());
            return Err(wrong(format!("line {}: {some} cells, expected {all}", i + 2)));
        }
        let all: Vec<&str> = places.iter().map(|place| place.map_or("", |i| cells[i])).collect();
        T::from_cells(&all).map_err(|sentence| wrong(format!("line {}: {sentence}", i + 2)))
    };
    lines.enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    columns! {
        /// A row with every kind of cell.
        pub struct Sample {
            /// Text.
            pub name: String,
            /// A whole number.
            pub step: u64,
            /// A number that may not be there.
            pub value: Option<f64>,
        }
    }

    #[test]
    fn reading_and_writing_again_changes_no_byte() {
        let text = "name,step,value\n12e4,7,0.1\nb,18446744073709551615,\nc,0,1e-300\nd,1,3.0\n";
        let rows: Vec<Sample> = read(Path::new("a.csv"), text, Sample::NAMES).unwrap();
        assert_eq!(rows[0], Sample { name: "12e4".into(), step: 7, value: Some(0.1) });
        assert_eq!(rows[1].value, None);
        assert_eq!(write(&rows, Sample::NAMES), text);
        assert_eq!(write::<Sample>(&[], Sample::NAMES), "name,step,value\n");
    }

    #[test]
    fn columns_that_a_file_lacks_are_empty() {
        let (text, columns) = ("name,step\na,7\n", ["name", "step"]);
        let rows: Vec<Sample> = read(Path::new("a.csv"), text, &columns).unwrap();
        assert_eq!(rows, [Sample { name: "a".into(), step: 7, value: None }]);
        assert_eq!(write(&rows, &columns), text);
        let without = read::<Sample>(Path::new("a.csv"), "name\na\n", &["name"]).unwrap_err();
        assert_eq!(without.to_string(), "a.csv: line 2: step = \"\" cannot be read");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_column() {
        let sentence = |text: &str| {
            read::<Sample>(Path::new("a.csv"), text, Sample::NAMES).unwrap_err().to_string()
        };
        let expected =
            "a.csv: line 1: expected the columns name,step,value; a file of another version";
        assert!(sentence("").starts_with(expected));
        assert!(sentence("name,step\n").starts_with(expected));
        let torn = "name,step,value\na,1,2.0\nb,2";
        assert_eq!(sentence(torn), "a.csv: line 3: 2 cells, expected 3");
        let wrong = "name,step,value\na,1.5,2.0\n";
        assert_eq!(sentence(wrong), "a.csv: line 2: step = \"1.5\" cannot be read");
    }
}
