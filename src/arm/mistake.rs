//! A mistake in a document: where it is, what is wrong, what was expected, what to do.

use std::fmt;

use super::tree::Place;

/// What keeps a document from being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub at: Place,
    pub message: String,
    pub expected: Option<String>,
    pub help: Option<String>,
}

impl Mistake {
    pub fn new(at: &Place, message: impl Into<String>) -> Self {
        Self { at: at.clone(), message: message.into(), expected: None, help: None }
    }

    #[must_use]
    pub fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    #[must_use]
    pub fn helped(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.at, self.message)
    }
}

impl std::error::Error for Mistake {}
