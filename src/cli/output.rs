//! Data on stdout, in the format asked for: `table` for people, `json` and `yaml` for programs, `tsv` for `cut`.
//!
//! One idea: a subcommand hands over the same answer twice, as a value to serialise and as rows to read, and does not
//! care which is printed. A reader that closes the pipe early is no error: `vnet drops | head -1` ends quietly.

use std::io::{self, ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use super::Outcome;
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::yaml;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns with a heading, as `az -o table`
    Table,
    Json,
    Yaml,
    /// Tab-separated rows without a heading
    Tsv,
    /// For people, as `table`
    #[value(hide = true)]
    Text,
    #[value(hide = true)]
    Svg,
    #[value(hide = true)]
    Html,
    #[value(hide = true)]
    Dot,
    #[value(hide = true)]
    Mermaid,
}

impl Format {
    /// What only `graph` prints.
    pub(super) fn is_picture(self) -> bool {
        match self {
            Self::Text | Self::Svg | Self::Html | Self::Dot | Self::Mermaid => true,
            Self::Table | Self::Json | Self::Yaml | Self::Tsv => false,
        }
    }
}

/// Where data goes.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    pub(super) fn new(format: Format, colour: bool) -> Self {
        Self { format, colour }
    }

    /// Prints a listing.
    pub(crate) fn rows<T: Serialize>(&self, value: &T, table: &Table) -> Outcome {
        self.text(value, table, || self.render(table))
    }

    /// Prints an answer that people read as prose; `table` is what is left of it in tsv.
    pub(crate) fn text<T: Serialize>(&self, value: &T, table: &Table, text: impl FnOnce() -> String) -> Outcome {
        let text = match self.format {
            Format::Table | Format::Text | Format::Svg | Format::Html | Format::Dot | Format::Mermaid => text(),
            Format::Json => serde_json::to_string_pretty(value).map_err(unserialisable)? + "\n",
            Format::Yaml => yaml::to_string(value).map_err(unserialisable)?,
            Format::Tsv => table.tab_separated(),
        };
        print(&text)?;
        Ok(Exit::Fine)
    }

    /// Prints an answer for programs.
    pub(crate) fn data<T: Serialize>(&self, value: &T) -> Outcome {
        self.rows(value, &Table::new(&[]))
    }

    /// Prints the rows of a listing that is followed; false once stdout has no reader. In json each is one line.
    pub(crate) fn more<T: Serialize>(&self, rows: &[T], table: &Table) -> Result<bool, Failure> {
        self.more_text(rows, table, || self.render(table) + "\n")
    }

    /// The same for rows that people read as prose.
    pub(crate) fn more_text<T: Serialize>(
        &self,
        rows: &[T],
        table: &Table,
        text: impl FnOnce() -> String,
    ) -> Result<bool, Failure> {
        let text = match self.format {
            Format::Table | Format::Text | Format::Svg | Format::Html | Format::Dot | Format::Mermaid => text(),
            Format::Json => rows
                .iter()
                .map(|row| serde_json::to_string(row).map(|line| line + "\n"))
                .collect::<Result<String, _>>()
                .map_err(unserialisable)?,
            Format::Yaml => yaml::to_string(rows).map_err(unserialisable)?,
            Format::Tsv => table.tab_separated(),
        };
        print(&text)
    }

    /// Whether what is printed is for programs: then what there is to say is part of it, not a message beside it.
    pub(crate) fn is_data(&self) -> bool {
        match self.format {
            Format::Json | Format::Yaml => true,
            Format::Table | Format::Tsv | Format::Text | Format::Svg | Format::Html | Format::Dot | Format::Mermaid => {
                false
            }
        }
    }

    /// The format that was asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// A colour for a word of prose, or none.
    pub(crate) fn paint(&self, colour: AnsiColor) -> Style {
        if self.colour { Style::new().bold().fg_color(Some(colour.into())) } else { Style::new() }
    }

    /// Whether text for people has colours.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// A table with its heading.
    pub(crate) fn render(&self, table: &Table) -> String {
        table.render(if self.colour { Style::new().bold() } else { Style::new() })
    }
}

/// Prints text as it is; false if stdout has no reader.
pub(crate) fn print(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Unavailable, format_args!("cannot write to stdout: {error}"))),
    }
}

fn unserialisable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, format_args!("cannot serialise the answer: {error}"))
}
