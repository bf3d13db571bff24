//! `vnet import`: a topology file from what exists already.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anstyle::AnsiColor;
use clap::Args;
use serde::Serialize;

use crate::arm::{Note, NoteKind, Summary};
use crate::model::counted;

use super::context::Context;
use super::document::{Choices, Documents};
use super::failure::Failure;
use super::input::{self, Imported, Input};
use super::table::Table;
use super::{Exit, Outcome, topology};

/// Of notes that say the same, this many are shown with their places.
const SHOWN: usize = 3;

/// Make a topology file from ARM templates, Bicep, Terraform, and what `az` or Resource Graph print
///
/// Reads ARM templates, and Bicep if the `bicep` program is installed. Reads the JSON that `az ... list`, `az ... show`,
/// `az group export`, `az graph query` and REST return. Reads plans and states from `terraform show -json`. Several files
/// together describe one network. For a directory, all its JSON files are read. Prints the topology file, a note for each
/// thing that was made up, left out or unknown, and a table that counts the resources. Every command that takes a topology
/// file takes these files, too. Exit code 0 if everything was used, 3 with warnings, 2 with errors.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  az network vnet list -o json | vnet import -\n  \
    vnet import azuredeploy.json --parameters vmCount=3 --out lab.vnet.yaml\n  vnet up azuredeploy.json\n  \
    vnet reach -t dump.json --diff plan.json")]
pub(super) struct Import {
    /// Templates, dumps, plans or directories of them; - for stdin
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// A template's parameters: NAME=VALUE, or a file of parameters; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE|FILE")]
    parameters: Vec<String>,
    /// Where to write the topology file, instead of stdout
    #[arg(short = 'f', long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Of a Terraform plan, take what is there before it
    #[arg(long)]
    before: bool,
    /// Treat properties that are not known as errors
    #[arg(long)]
    strict: bool,
}

/// A made file, and what became of the documents.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    topology: &'a str,
    notes: Vec<NoteRow<'a>>,
    types: Vec<TypeRow<'a>>,
}

#[derive(Serialize)]
struct NoteRow<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    kind: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TypeRow<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    used: usize,
    cosmetic: usize,
    not_emulated: usize,
}

impl Import {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let documents = Documents::read(&self.files)?;
        if documents.is_topology() {
            let message = format!("{} is a topology file already", documents.name());
            return Err(Failure::usage(message).help("use it as it is: vnet up FILE"));
        }
        let choices = Choices { parameters: self.parameters.clone(), before: self.before };
        let input = input::import(documents, &choices, context)?;
        let Some(imported) = input.imported() else { return Ok(Exit::Fine) };
        self.write(&input, imported, context)?;
        if !context.output.is_data() {
            let report = report(imported, self.strict, context);
            // Without stderr there is nowhere to report.
            let _ = io::stderr().lock().write_all(report.as_bytes());
        }
        let unknown = imported.notes.iter().any(|note| note.kind == NoteKind::Unknown);
        if self.strict && unknown {
            return Ok(Exit::Usage);
        }
        topology::load(&input, context)?;
        let warns = imported.notes.iter().any(|note| note.kind != NoteKind::MadeUp);
        Ok(if warns { Exit::Warnings } else { Exit::Fine })
    }

    fn write(&self, input: &Input, imported: &Imported, context: &Context) -> Result<(), Failure> {
        let Some(file) = &self.out else {
            let answer = Answer::of(&input.text, imported);
            context.output.text(&answer, &types_table(&answer.types), || input.text.clone())?;
            return Ok(());
        };
        let written = fs::write(file, &input.text);
        written.map_err(|error| Failure::usage(format_args!("cannot write {}: {error}", file.display())))
    }
}

impl<'a> Answer<'a> {
    fn of(topology: &'a str, imported: &'a Imported) -> Self {
        let note = |note: &'a Note| NoteRow {
            file: &note.at.file,
            line: note.at.line,
            column: note.at.column,
            kind: word(note.kind),
            message: &note.message,
        };
        Self { topology, notes: imported.notes.iter().map(note).collect(), types: types(&imported.summary) }
    }
}

fn word(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::MadeUp => "madeUp",
        NoteKind::NotRead => "notRead",
        NoteKind::NotEmulated => "notEmulated",
        NoteKind::Unknown => "unknown",
    }
}

fn types(summary: &Summary) -> Vec<TypeRow<'_>> {
    let rows = summary.0.iter();
    rows.map(|(kind, counts)| TypeRow {
        kind,
        used: counts.used,
        cosmetic: counts.cosmetic,
        not_emulated: counts.not_emulated,
    })
    .collect()
}

fn types_table(types: &[TypeRow<'_>]) -> Table {
    Table::new(&["Type", "Used", "Cosmetic", "Not emulated"]).rows(
        types.iter().map(|row| {
            [row.kind.to_owned(), row.used.to_string(), row.cosmetic.to_string(), row.not_emulated.to_string()]
        }),
    )
}

/// The notes with their places, those that say the same together, and the table of types.
pub(super) fn report(imported: &Imported, strict: bool, context: &Context) -> String {
    let mut text = notes(&imported.notes, strict, context);
    let _ = writeln!(text, "{}", context.output.render(&types_table(&types(&imported.summary))).trim_end());
    let _ = writeln!(text, "{}", input::totals(&imported.summary));
    text
}

pub(super) fn notes(notes: &[Note], strict: bool, context: &Context) -> String {
    let mut groups: Vec<(&Note, Vec<&Note>)> = Vec::new();
    let mut known = HashMap::new();
    for note in notes {
        let group = *known.entry((note.kind, &note.message)).or_insert(groups.len());
        match groups.get_mut(group) {
            Some((_, others)) => others.push(note),
            None => groups.push((note, Vec::new())),
        }
    }
    let mut text = String::new();
    for (first, others) in groups {
        for note in std::iter::once(first).chain(others.iter().copied()).take(SHOWN) {
            line(&mut text, note, strict, context);
        }
        if others.len() >= SHOWN {
            let _ = writeln!(text, "  the same in {}", counted(others.len() + 1 - SHOWN, "further place"));
        }
    }
    text
}

fn line(text: &mut String, note: &Note, strict: bool, context: &Context) {
    let (colour, label) = match note.kind {
        NoteKind::MadeUp => (AnsiColor::Cyan, "note"),
        NoteKind::Unknown if strict => (AnsiColor::Red, "error"),
        NoteKind::NotRead | NoteKind::NotEmulated | NoteKind::Unknown => (AnsiColor::Yellow, "warning"),
    };
    let style = context.output.paint(colour);
    let place = &note.at;
    let _ = writeln!(text, "{}:{}:{}: {style}{label}{style:#}: {}", place.file, place.line, place.column, note.message);
}
