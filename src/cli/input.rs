//! What a command is given as a topology: a topology file, or an ARM document that one is made from.
//!
//! One idea: whatever was given, the rest of the program sees the text of a topology file. [`Input`] remembers where a made
//! text came from, so that a mistake is shown in the file that was given.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::arm::{self, Mistake, Note, NoteKind, Origins, Place, Summary};
use crate::config::{self, Diagnostic, Location, Severity};
use crate::model::counted;
use crate::sys::files;

use super::context::{Context, Messages};
use super::document::{self, Documents};
use super::exit::Exit;
use super::failure::Failure;
use super::import;
use super::source_text::SourceText;

/// A topology's text and what to call it.
#[derive(Clone)]
pub(super) struct Input {
    pub text: String,
    pub name: String,
    imported: Option<Arc<Imported>>,
    /// The text with its lines marked, once a diagnostic is drawn over it.
    source: Arc<OnceLock<SourceText>>,
}

/// What a made text came from.
pub(super) struct Imported {
    origins: Origins,
    pub notes: Vec<Note>,
    pub summary: Summary,
    /// The texts of the documents, by name.
    texts: HashMap<Arc<str>, SourceText>,
    /// What to call the made text, where a place in it stands in none of the documents.
    made: String,
}

impl Input {
    /// A topology file's text.
    pub(super) fn plain(text: String, name: String) -> Self {
        Self { text, name, imported: None, source: Arc::default() }
    }

    /// What it was made from, if it is not a topology file itself.
    pub(super) fn imported(&self) -> Option<&Imported> {
        self.imported.as_deref()
    }

    /// The file, line and column of a diagnostic, in the file that was given.
    pub(super) fn place(&self, diagnostic: &Diagnostic) -> (&str, Location) {
        self.place_of(&diagnostic.path, diagnostic.location)
    }

    /// The same of what has a path in the topology, and a location in its text.
    pub(super) fn place_of(&self, path: &str, location: Location) -> (&str, Location) {
        let found = self.imported.as_ref().and_then(|imported| imported.origins.find(path));
        match found {
            Some(place) => (&place.file, self.location(place)),
            None => (self.imported.as_ref().map_or(&self.name, |imported| &imported.made), location),
        }
    }

    /// Draws a diagnostic over the file that was given.
    pub(super) fn render(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let (file, location) = self.place(diagnostic);
        let moved = Diagnostic { location, ..diagnostic.clone() };
        let given = self.imported.as_ref().and_then(|imported| imported.texts.get(file));
        let text = given.unwrap_or_else(|| self.source.get_or_init(|| SourceText::new(self.text.clone())));
        moved.render_line(around(text, location), file, colour)
    }

    fn location(&self, place: &Place) -> Location {
        let text = self.imported.as_ref().and_then(|imported| imported.texts.get(&place.file));
        let (line, column) = (place.line as usize, place.column as usize);
        let len = text.map_or(1, |text| length(text.line_from(line, column), column));
        Location { line, column, len }
    }

    /// Says in one line what became of the documents, where their notes are not shown one by one.
    pub(super) fn tell(&self, context: &Context) {
        let Some(imported) = self.imported() else { return };
        // Without a file that is linked to, every answer may be wrong.
        let missing: Vec<_> = imported.notes.iter().filter(|note| note.kind == NoteKind::NotRead).cloned().collect();
        let _ = io::stderr().lock().write_all(import::notes(&missing, false, context).as_bytes());
        let gaps = imported.notes.iter().filter(|note| note.kind != NoteKind::MadeUp).count();
        if gaps > 0 {
            let total = totals(&imported.summary);
            context.messages.note(&format!(
                "{}: {total}; `vnet import {}` shows {}",
                self.name,
                self.name,
                counted(gaps, "warning")
            ));
        }
    }
}

/// The line of a location, with what is shown before it.
fn around(text: &SourceText, location: Location) -> (&str, usize) {
    text.line_from(location.line, location.column.saturating_sub(config::SOURCE_WIDTH).max(1))
}

/// How long the value at a column is, of a line that begins at another one.
fn length((line, from): (&str, usize), column: usize) -> usize {
    let mut rest = line.chars().skip(column - from);
    match rest.next() {
        Some('"') => 2 + rest.take_while(|c| *c != '"').count(),
        Some(c) if c.is_ascii_alphanumeric() => 1 + rest.take_while(|c| c.is_ascii_alphanumeric() || *c == '.').count(),
        _ => 1,
    }
}

/// `12 resources used, 3 cosmetic, 1 not emulated`
pub(super) fn totals(summary: &Summary) -> String {
    let total = summary.total();
    format!(
        "{} used, {} cosmetic, {} not emulated",
        counted(total.used, "resource"),
        total.cosmetic,
        total.not_emulated
    )
}

/// Reads what a command was given; `-` is stdin.
pub(super) fn read(file: &Path, context: &Context) -> Result<Input, Failure> {
    let documents = Documents::read(&[file.to_owned()])?;
    if documents.is_topology() {
        let (name, text) = documents.into_topology()?;
        return Ok(Input::plain(text, name));
    }
    let input = import(documents, &document::Choices::default(), context)?;
    input.tell(context);
    Ok(input)
}

/// What is there before a Terraform plan; none if the file is no plan.
pub(super) fn before(file: &Path, context: &Context) -> Result<Option<Input>, Failure> {
    if file == Path::new("-") {
        return Ok(None);
    }
    let documents = Documents::read(&[file.to_owned()])?;
    let choices = document::Choices { before: true, ..document::Choices::default() };
    documents.is_plan().then(|| import(documents, &choices, context)).transpose()
}

/// Makes a topology of documents.
pub(super) fn import(
    mut documents: Documents,
    choices: &document::Choices,
    context: &Context,
) -> Result<Input, Failure> {
    let mistaken = |mistakes: &[Mistake], documents: &Documents| {
        for mistake in mistakes {
            show(mistake, documents, &context.messages);
        }
        Failure::new(Exit::Usage, "")
    };
    let (name, head) = (documents.lab_name(), documents.head());
    let stored = documents.store(choices);
    let (store, mut notes) = stored.map_err(|all| mistaken(&all, &documents))?;
    let input = documents.name();
    let options =
        arm::Options { input: &input, name: name.as_deref(), head: &head, is_service_tag: &config::is_service_tag };
    let made = arm::convert(&store, &options).map_err(|refused| {
        // What was left out may be why.
        notes.extend(refused.notes);
        notes.retain(|note| note.kind != NoteKind::MadeUp);
        let _ = io::stderr().lock().write_all(import::notes(&notes, false, context).as_bytes());
        mistaken(&[refused.mistake], &documents)
    })?;
    notes.extend(made.notes);
    let name = input;
    let texts = documents.into_texts().into_iter().map(|(name, text)| (name, SourceText::new(text))).collect();
    let made_name = format!("{name} as imported");
    let imported = Imported { origins: made.origins, notes, summary: made.summary, texts, made: made_name };
    Ok(Input { text: made.text, name, imported: Some(Arc::new(imported)), source: Arc::default() })
}

/// Draws a mistake of a document over it.
fn show(mistake: &Mistake, documents: &Documents, messages: &Messages) {
    let Mistake { at, message, expected, help } = mistake;
    let text = SourceText::new(documents.text(&at.file).unwrap_or_default());
    let (line, column) = (at.line as usize, at.column as usize);
    let location = Location { line, column, len: length(text.line_from(line, column), column) };
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        code: None,
        rule: None,
        message: message.clone(),
        path: String::new(),
        location,
        expected: expected.clone(),
        help: help.clone(),
    };
    // Without stderr there is nowhere to report.
    let _ =
        writeln!(io::stderr().lock(), "{}", diagnostic.render_line(around(&text, location), &at.file, messages.colour));
}

/// Where a file can be read again, from anywhere; none for stdin, and for what is no topology file.
pub(super) fn path(file: &Path, input: &Input) -> Option<PathBuf> {
    if file == Path::new("-") || input.imported.is_some() { None } else { std::path::absolute(file).ok() }
}

/// A file's text of at most so many bytes, and what to call it; `-` is stdin.
pub(super) fn read_text(file: &Path, limit: u64) -> Result<(String, String), Failure> {
    let (text, name) = if file == Path::new("-") {
        (files::read_bounded(io::stdin(), limit).and_then(files::text), "stdin".to_owned())
    } else {
        (files::read_text(file, limit), file.display().to_string())
    };
    match text {
        Ok(text) => Ok((text, name)),
        Err(error) => Err(Failure::usage(format_args!("cannot read {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is underlined of a value in a document.
    #[test]
    fn a_value_is_as_long_as_it_is_written() {
        for (line, column, expected) in [
            (r#""name": "web","#, 1, 6),
            (r#""name": "web","#, 9, 5),
            (r#""open"#, 1, 6),
            ("10.1.0.4, x", 1, 8),
            ("a = 65001}", 5, 5),
            ("a = [1]", 5, 1),
            ("a", 2, 1),
        ] {
            assert_eq!(length((line, 1), column), expected, "{line} at {column}");
        }
        // Of a long line only the end is at hand.
        assert_eq!(length((r#"x: "web""#, 101), 104), 5);
    }

    #[test]
    fn a_long_line_is_shown_from_shortly_before_the_place() {
        let text = SourceText::new(format!("{}\nshort\n", "0123456789".repeat(1000)));
        let at = |line, column| around(&text, Location { line, column, len: 1 });
        // Lines have marks 4,096 bytes apart.
        let columns = [1, 4096, 4097].map(|column| at(1, column + config::SOURCE_WIDTH).1);
        assert_eq!(columns, [1, 1, 4097]);
        assert_eq!((at(1, 4097).1, at(1, 9000).0.len()), (1, 10_000 - 8192));
        assert_eq!(at(2, 3), ("short", 1));
    }
}
