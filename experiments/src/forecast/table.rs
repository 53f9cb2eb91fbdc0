//! A table of comma-separated values as the studies write them: a header, then a row a line; no cell
//! holds a comma or a quote.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;

/// A table, read whole.
pub(super) struct Table {
    path: String,
    header: Vec<String>,
    cells: Vec<String>, // (rows, header.len())
}

/// One row of it.
pub(super) struct Row<'a> {
    table: &'a Table,
    number: usize,
}

impl Table {
    pub(super) fn read(path: &Path) -> Result<Table> {
        let at = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {at}"))?;
        let mut lines = text.lines();
        let split = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let header = lines.next().map(split).with_context(|| format!("{at}: is empty"))?;
        let mut cells = Vec::new();
        for (i, line) in lines.enumerate() {
            let row = split(line);
            let (found, wanted) = (row.len(), header.len());
            ensure!(
                found == wanted,
                "{at}, line {}: {found} cells, expected {wanted} as in the header",
                i + 2
            );
            cells.extend(row);
        }
        Ok(Table { path: at, header, cells })
    }

    /// The place of the column of this name.
    pub(super) fn column(&self, name: &str) -> Result<usize> {
        let place = self.header.iter().position(|cell| cell == name);
        place.with_context(|| format!("{}: no column '{name}' in the header", self.path))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.cells.len() / self.header.len()).map(|number| Row { table: self, number })
    }
}

impl Row<'_> {
    pub(super) fn text(&self, column: usize) -> &str {
        &self.table.cells[self.number * self.table.header.len() + column]
    }

    /// A number, or `None` for an empty cell.
    pub(super) fn number(&self, column: usize) -> Result<Option<f64>> {
        match self.text(column) {
            "" => Ok(None),
            text => text.parse().map(Some).or_else(|_| self.refuse(column, "a number")),
        }
    }

    pub(super) fn whole(&self, column: usize) -> Result<u64> {
        self.text(column).parse().or_else(|_| self.refuse(column, "a whole number"))
    }

    fn refuse<T>(&self, column: usize, wanted: &str) -> Result<T> {
        let Table { path, header, .. } = self.table;
        let (line, name, found) = (self.number + 2, &header[column], self.text(column));
        bail!("{path}, line {line}: {name} is '{found}', expected {wanted}")
    }
}
