//! Rows under headings, in the look of `az -o table`: padded columns, a line of dashes below each heading, two
//! characters longer than it.

use std::fmt::Write;

use anstyle::Style;

/// A table to print. Every row has as many cells as there are columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows: Vec::new() }
    }

    /// A table with columns that are only known at run time; each row has a cell for each.
    pub(crate) fn matrix(columns: Vec<String>, rows: Vec<Vec<String>>) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == columns.len()), "a cell for each column");
        Self { columns, rows: rows.into_iter().map(|row| row.into_iter().map(in_one_line).collect()).collect() }
    }

    /// Adds rows; each has as many cells as there are columns.
    pub(crate) fn rows<const N: usize>(mut self, rows: impl IntoIterator<Item = [String; N]>) -> Self {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.extend(rows.into_iter().map(|row| row.map(in_one_line).into()));
        self
    }

    pub(crate) fn render(&self, heading: Style) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.columns[column].chars().count() + 2]).max().unwrap_or_default()
            })
            .collect();
        let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut text = String::new();
        let _ = writeln!(text, "{heading}{}{heading:#}", line(&self.columns, &widths));
        let _ = writeln!(text, "{}", line(&dashes, &widths));
        for row in &self.rows {
            let _ = writeln!(text, "{}", line(row, &widths));
        }
        text
    }

    pub(crate) fn tab_separated(&self) -> String {
        self.rows.iter().map(|row| row.join("\t") + "\n").collect()
    }
}

/// A row is always one line: a text of several lines loses their ends.
fn in_one_line(cell: String) -> String {
    if cell.contains(char::is_control) { cell.replace(char::is_control, " ").trim().to_owned() } else { cell }
}

/// Cells padded to their columns' widths, two spaces apart, without trailing space.
fn line<S: AsRef<str>>(cells: &[S], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(text, "{:<width$}  ", cell.as_ref());
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line() {
        let table = Table::new(&["Text"]).rows([["set -e\n\tfalse\n".to_owned()]]);
        assert_eq!(table.tab_separated(), "set -e  false\n");
        let table = Table::matrix(vec!["Text".to_owned()], vec![vec!["a\r\nb".to_owned()]]);
        assert_eq!(table.render(Style::new()), "Text\n------\na  b\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a-long-name", "1"], ["b", ""]];
        let table = Table::new(&["Node", "Packets"]).rows(rows.map(|row| row.map(str::to_owned)));
        assert_eq!(table.render(Style::new()), "Node         Packets\n-----------  ---------\na-long-name  1\nb\n",);
        assert_eq!(table.tab_separated(), "a-long-name\t1\nb\t\n");
    }
}
