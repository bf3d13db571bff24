//! Names: unique in their list, compared without regard to case (ARM-03), looked up with a suggestion.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use crate::config::schema::{Name, Reference};
use crate::config::yaml::diagnostic::{At, Report, clip};

/// The names of one list and their indices.
pub(super) struct Names {
    /// The singular, for messages.
    what: &'static str,
    by_name: HashMap<String, usize, RandomState>,
    written: Vec<String>,
}

impl Names {
    /// Takes the names in order and reports those that occur twice.
    pub(super) fn of<'a>(what: &'static str, names: impl Iterator<Item = &'a Name>, report: &mut Report) -> Self {
        let mut all = Self { what, by_name: HashMap::default(), written: Vec::new() };
        let mut sites = Vec::new();
        for (index, name) in names.enumerate() {
            sites.push(name.as_ref().map(|name| name.at));
            let Some(name) = name else { continue };
            match all.by_name.entry(name.value.to_lowercase()) {
                Entry::Vacant(free) => {
                    free.insert(index);
                    all.written.push(name.value.clone());
                }
                Entry::Occupied(first) => {
                    let line = sites[*first.get()].map_or(0, |at| report.location(at).line);
                    report
                        .error(name.at, format!("there is another {what} `{}`", clip(&name.value)))
                        .rule("ARM-03")
                        .help(format!("the first is on line {line}; names compare without regard to case"));
                }
            }
        }
        all
    }

    /// The index a reference names; an unknown name is reported.
    pub(super) fn find(&self, reference: &Reference, report: &mut Report) -> Option<usize> {
        let reference = reference.as_ref()?;
        let [name] = &reference.value;
        self.named(name, reference.at, report)
    }

    /// The index of a name, if there is such.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    pub(super) fn named(&self, name: &str, at: At, report: &mut Report) -> Option<usize> {
        let index = self.index(name);
        if index.is_none() {
            let diagnostic = report.error(at, format!("there is no {} `{}`", self.what, clip(name)));
            diagnostic.did_you_mean(name, self.written.iter().map(String::as_str));
            if diagnostic.help.is_none() && self.written.len() <= 8 {
                let names = if self.written.is_empty() { "none".to_owned() } else { self.written.join(", ") };
                diagnostic.help(format!("the file has: {names}"));
            }
        }
        index
    }
}

/// A name where a missing one has been reported already.
pub(super) fn or_unnamed(name: &Name) -> String {
    name.as_ref().map_or_else(|| "(unnamed)".to_owned(), |name| name.value.clone())
}

/// Reports a list that is longer than Azure allows.
pub(super) fn within(len: usize, max: usize, what: &str, rule: &'static str, at: At, report: &mut Report) {
    if len > max {
        report.error(at, format!("{len} {what} are too many")).rule(rule).expected(format!("at most {max}"));
    }
}
