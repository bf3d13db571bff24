//! The names that resources have in the file: their own where they can, since people and rules refer to them.
//!
//! Azure compares names within a resource group, and allows some that a machine's host name cannot be. A file has one list
//! for each type. A name that the file cannot have is changed. References are by id, so they follow.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::arm::ResourceId;
use crate::arm::store::{ancestor, parts};

/// What a name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Letters, digits, `.`, `-` and `_`.
    Resource(usize),
    /// A host's: letters, digits and `-`.
    Label(usize),
}

/// Names by id, and those that are taken in each list.
#[derive(Default)]
pub(super) struct Names {
    by_id: HashMap<ResourceId, String, RandomState>,
    taken: HashSet<(&'static str, String), RandomState>,
}

impl Names {
    /// The name of a resource in a list: its own, or the nearest that is allowed and free.
    pub(in crate::arm) fn assign(&mut self, list: &'static str, id: &str, own: &str, rule: Rule) -> String {
        let group = parts(id).and_then(|parts| parts.resource_group.map(str::to_owned));
        let name = self.free(list, own, group.as_deref(), rule);
        self.by_id.insert(ResourceId::new(id), name.clone());
        name
    }

    /// A name for what has no id.
    pub(in crate::arm) fn free(&mut self, list: &'static str, own: &str, group: Option<&str>, rule: Rule) -> String {
        let own = rule.fit(own);
        let grouped = group.map(|group| rule.fit(&format!("{own}-{group}")));
        let numbered = (2..).map(|number| rule.numbered(&own, number));
        let mut candidates = [Some(own.clone()), grouped].into_iter().flatten().chain(numbered);
        let free = |name: &String| !self.taken.contains(&(list, name.to_lowercase()));
        let name = candidates.find(free).unwrap_or(own);
        self.taken.insert((list, name.to_lowercase()));
        name
    }

    pub(in crate::arm) fn of(&self, id: &str) -> Option<&str> {
        self.by_id.get(&ResourceId::new(id)).map(String::as_str)
    }

    /// The name by which the file refers to a resource: `hub` for a virtual network, `hub/app` for its subnet. `children`
    /// are the names below the first one.
    pub(in crate::arm) fn reference(&self, id: &str, children: &[&str]) -> Option<String> {
        if let Some(name) = self.of(id) {
            return Some(name.to_owned());
        }
        let top = self.of(ancestor(id, children.len())?)?;
        let children = children.iter().map(|name| Rule::Resource(80).fit(name));
        Some([top.to_owned()].into_iter().chain(children).collect::<Vec<_>>().join("/"))
    }
}

impl Rule {
    /// The name itself, or what is left of it.
    pub(in crate::arm) fn fit(self, name: &str) -> String {
        let (max, allowed): (usize, fn(char) -> bool) = match self {
            Self::Resource(max) => (max, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')),
            Self::Label(max) => (max, |c| c.is_ascii_alphanumeric() || c == '-'),
        };
        let replaced: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(max).collect();
        let ends = |c: char| matches!(c, '-' | '.');
        let fitted = match self {
            Self::Resource(_) => replaced.trim_start_matches(|c| ends(c) || c == '_').trim_end_matches(ends),
            Self::Label(_) => replaced.trim_matches('-'),
        };
        match fitted {
            "" => "unnamed".to_owned(),
            host if self != Self::Resource(0) && host.eq_ignore_ascii_case("localhost") => "local-host".to_owned(),
            fitted => fitted.to_owned(),
        }
    }

    fn numbered(self, name: &str, number: usize) -> String {
        let (Self::Resource(max) | Self::Label(max)) = self;
        let suffix = format!("-{number}");
        let kept: String = name.chars().take(max.saturating_sub(suffix.len())).collect();
        format!("{}{suffix}", kept.trim_end_matches(['-', '.']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_only_where_they_must() {
        for (rule, own, fitted) in [
            (Rule::Resource(80), "hub_1.a", "hub_1.a"),
            (Rule::Resource(80), "a b/c-", "a-b-c"),
            (Rule::Label(63), "my_vm.1", "my-vm-1"),
            (Rule::Label(4), "abcd-efg", "abcd"),
            (Rule::Label(63), "___", "unnamed"),
        ] {
            assert_eq!(rule.fit(own), fitted);
        }
    }

    #[test]
    fn two_of_one_name_in_two_resource_groups_are_told_apart() {
        let mut names = Names::default();
        let id = |group: &str| {
            format!("/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Network/virtualNetworks/hub")
        };
        for (group, name) in [("one", "hub"), ("two", "hub-two")] {
            assert_eq!(names.assign("virtualNetworks", &id(group), "hub", Rule::Resource(64)), name);
        }
        let subnet = format!("{}/subnets/app", id("TWO"));
        assert_eq!(names.reference(&subnet, &["app"]).as_deref(), Some("hub-two/app"));
    }
}
