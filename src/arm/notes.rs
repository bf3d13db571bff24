//! What became of a document's resources and properties, so that nothing of it is lost in silence.

use std::collections::BTreeMap;

use super::Place;

/// Something that a reader of the result should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: Place,
    pub kind: NoteKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// The document does not say it, or says it otherwise: the file has something in its place.
    MadeUp,
    /// What the document refers to was not given or not read, a file or a resource: what it says is missing.
    NotRead,
    /// It would matter to packets, and this program does not do it.
    NotEmulated,
    /// Neither the converter nor perhaps Azure knows it.
    Unknown,
}

impl Note {
    pub(super) fn not_read(at: &Place, message: impl Into<String>) -> Self {
        Self { at: at.clone(), kind: NoteKind::NotRead, message: message.into() }
    }

    pub(super) fn made_up(at: &Place, message: impl Into<String>) -> Self {
        Self { at: at.clone(), kind: NoteKind::MadeUp, message: message.into() }
    }
}

/// How many resources of each type were used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary(pub BTreeMap<String, Counts>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub used: usize,
    /// They say nothing about a packet's way.
    pub cosmetic: usize,
    pub not_emulated: usize,
}

/// What becomes of a resource as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Used,
    Cosmetic,
    NotEmulated,
}

impl Summary {
    pub(super) fn count(&mut self, kind: &str, fate: Fate) {
        let counts = self.0.entry(kind.to_owned()).or_default();
        match fate {
            Fate::Used => counts.used += 1,
            Fate::Cosmetic => counts.cosmetic += 1,
            Fate::NotEmulated => counts.not_emulated += 1,
        }
    }

    /// Of all types.
    pub fn total(&self) -> Counts {
        self.0.values().fold(Counts::default(), |all, one| Counts {
            used: all.used + one.used,
            cosmetic: all.cosmetic + one.cosmetic,
            not_emulated: all.not_emulated + one.not_emulated,
        })
    }
}
