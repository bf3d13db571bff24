//! What one evaluation shares: its bounds, and what it has to say.
//!
//! Every value made costs; when the budget is spent, everything fails, and one mistake says why. So the time and the memory
//! of the most hostile template are bounded.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::arm::{Mistake, Node, Note, NoteKind, Place, ResourceId, Value, json};

use super::Context;
use super::addresses::Allocated;
use super::deployment::Instance;
use super::expression::Expression;

/// The most that an evaluation may cost: values made, texts counted by length.
pub const MOST_WORK: usize = 1_000_000;
/// How many calls, variables and nested values may be under way at once.
const DEEPEST: usize = 250;
/// A list or object that is kept may have this many levels.
const DEEPEST_VALUE: usize = 100;
/// The longest text that an expression may make.
pub(super) const LONGEST_TEXT: usize = 1 << 20;
/// Azure's own limit.
pub(super) const MOST_COPIES: i64 = 800;
const MOST_NOTES: usize = 500;

/// Why an expression has no value.
#[derive(Debug)]
pub(super) enum Fault {
    /// In this expression.
    Here { message: String, help: Option<String> },
    /// In what it uses: a variable, a resource.
    There(Box<Mistake>),
}

pub(super) type Outcome<T> = Result<T, Fault>;

pub(super) fn fault(message: impl Into<String>) -> Fault {
    Fault::Here { message: message.into(), help: None }
}

impl From<Mistake> for Fault {
    fn from(mistake: Mistake) -> Self {
        Self::There(Box::new(mistake))
    }
}

impl Fault {
    /// As a mistake of the text at this place.
    pub(super) fn at(self, at: &Place, written: &str) -> Mistake {
        match self {
            Self::There(mistake) => *mistake,
            Self::Here { message, help } => {
                let mut shown: String = written.chars().take(160).collect();
                if shown.len() < written.len() {
                    shown.push('…');
                }
                let mistake = Mistake::new(at, format!("{message}, in `{}`.", shown.replace(['\n', '\r'], " ")));
                Mistake { help, ..mistake }
            }
        }
    }
}

/// One evaluation.
pub(super) struct Machine<'a> {
    pub(super) context: &'a Context<'a>,
    spent: Cell<usize>,
    depth: Cell<usize>,
    notes: RefCell<Vec<Note>>,
    mistakes: RefCell<Vec<Mistake>>,
    /// The file of the first template.
    pub(super) root: String,
    /// Expressions by their text, for a `copy` meets the same ones in each turn.
    pub(super) expressions: RefCell<HashMap<String, Rc<Expression>>>,
    /// A nested template may deploy a resource again.
    pub(super) index: RefCell<HashMap<ResourceId, Vec<Rc<Instance>>>>,
    /// Addresses that expressions read, and how many were taken from the end of each subnet.
    pub(super) addresses: RefCell<HashMap<ResourceId, Vec<Allocated>>>,
    pub(super) taken: RefCell<HashMap<ResourceId, u32>>,
    /// How many addresses and ranges were made up.
    publics: Cell<u8>,
    subnets: Cell<u8>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(context: &'a Context<'a>, document: &Node) -> Self {
        Self {
            context,
            spent: Cell::new(0),
            depth: Cell::new(0),
            notes: RefCell::default(),
            mistakes: RefCell::default(),
            root: document.at.file.to_string(),
            expressions: RefCell::default(),
            index: RefCell::default(),
            addresses: RefCell::default(),
            taken: RefCell::default(),
            publics: Cell::new(0),
            subnets: Cell::new(0),
        }
    }

    /// Pays for so many values.
    pub(super) fn charge(&self, values: usize) -> Outcome<()> {
        let spent = self.spent.get().saturating_add(values);
        if spent > MOST_WORK {
            // What is refused is not done: only the asking counts.
            self.spent.set(self.spent.get().max(MOST_WORK) + 1);
            return Err(fault(format!("The template makes more than {MOST_WORK} values")));
        }
        self.spent.set(spent);
        Ok(())
    }

    pub(super) fn exhausted(&self) -> bool {
        self.spent.get() > MOST_WORK
    }

    /// Pays for a copy of a value, which must not be too deep.
    pub(super) fn copy(&self, node: &Node) -> Outcome<Node> {
        self.weigh(node, DEEPEST_VALUE)?;
        Ok(node.clone())
    }

    pub(super) fn weigh(&self, node: &Node, levels: usize) -> Outcome<()> {
        if levels == 0 {
            return Err(fault(format!("A value has more than {DEEPEST_VALUE} levels")));
        }
        let text = if let Value::Text(text) = &node.value { text.len() / 64 } else { 0 };
        self.charge(1 + text)?;
        node.items().iter().try_for_each(|item| self.weigh(item, levels - 1))?;
        node.entries().iter().try_for_each(|(_, node)| self.weigh(node, levels - 1))
    }

    /// Pays for a value that will be kept, and bounds its depth.
    pub(super) fn keep(&self, node: &Node) -> Outcome<()> {
        self.weigh(node, DEEPEST_VALUE)
    }

    /// Pays for a copy of a part of a document, whose depth is bounded already.
    pub(super) fn weigh_part(&self, node: &Node) -> Outcome<()> {
        self.weigh(node, json::DEEPEST + 1)
    }

    /// A public address that no one else has.
    pub(super) fn next_public(&self) -> String {
        self.publics.set(self.publics.get() % 250 + 1);
        format!("203.0.113.{}", self.publics.get())
    }

    pub(super) fn next_subnet(&self) -> String {
        self.subnets.set(self.subnets.get().wrapping_add(1));
        format!("10.0.{}.0/24", self.subnets.get())
    }

    /// Does something one level deeper.
    pub(super) fn deeper<T>(&self, act: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let depth = self.depth.get();
        if depth >= DEEPEST {
            return Err(fault(format!("Values use each other more than {DEEPEST} deep")));
        }
        self.depth.set(depth + 1);
        let outcome = act();
        self.depth.set(depth);
        outcome
    }

    /// Says what was made up, once.
    pub(super) fn note(&self, at: &Place, message: impl Into<String>) {
        self.remember(Note::made_up(at, message));
    }

    /// Says that a file was not read, once.
    pub(super) fn not_read(&self, at: &Place, message: String) {
        self.remember(Note { at: at.clone(), kind: NoteKind::NotRead, message });
    }

    fn remember(&self, note: Note) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MOST_NOTES && notes.iter().all(|known| known.message != note.message) {
            notes.push(note);
        }
    }

    /// Keeps a mistake, once.
    pub(super) fn report(&self, mistake: Mistake) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MOST_NOTES && !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }

    pub(super) fn finish(self) -> (Vec<Note>, Vec<Mistake>) {
        self.context.work.set(self.spent.get());
        let exhausted = self.exhausted();
        let mut mistakes = self.mistakes.into_inner();
        if exhausted {
            // The rest follows from the first.
            let first = mistakes.iter().position(|mistake| mistake.message.contains("makes more than")).unwrap_or(0);
            mistakes = mistakes.drain(first..).take(1).collect();
        }
        (self.notes.into_inner(), mistakes)
    }
}
