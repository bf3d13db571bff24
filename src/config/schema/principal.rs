//! `principal:` as written: the identity that deploys the file, and its rights in each subscription.

use crate::config::yaml::decode::{Fields, list_of, record, text, word};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::tree::Node;

use super::Name;

pub(in crate::config) struct Principal {
    pub name: Name,
    /// Those it is signed in to, its own first; None for all.
    pub tenants: Option<Spanned<Vec<Spanned<String>>>>,
    pub roles: Vec<Role>,
}

/// What it may do in one subscription.
pub(in crate::config) struct Role {
    pub subscription: Name,
    /// Patterns of actions, of one of Azure's roles or a custom one.
    pub actions: Vec<String>,
}

type Actions = &'static [&'static str];

/// Azure's roles, reduced to what concerns networks.
const ROLES: &[(&str, Actions)] = &[
    ("Owner", &["*"]),
    ("Contributor", &["*"]),
    ("Network Contributor", &["Microsoft.Network/*"]),
    ("Classic Network Contributor", &["Microsoft.ClassicNetwork/*"]),
    ("Reader", &["*/read"]),
];

pub(in crate::config) fn principal(node: &Node, report: &mut Report) -> Option<Principal> {
    record(node, report, "a principal", |f| Principal {
        name: f.optional("name", text),
        tenants: f.optional("tenants", list_of(text)),
        roles: f.list("roles", role),
    })
}

fn role(node: &Node, report: &mut Report) -> Option<Role> {
    record(node, report, "a role", |f| Role { subscription: f.required("subscription", text), actions: actions(f) })
}

/// `role` or `actions`.
fn actions(f: &mut Fields<'_>) -> Vec<String> {
    let at = f.at;
    let (has_role, has_actions) = (f.has("role"), f.has("actions"));
    let built_in = f.optional("role", word(ROLES));
    let custom = f.optional("actions", list_of(text));
    if has_role == has_actions {
        f.report
            .error(
                at,
                if has_role { "both `role` and `actions` are given" } else { "a role needs `role` or `actions`" },
            )
            .expected("`role: Network Contributor`, or the `actions` of a role of your own");
    }
    let built_in = built_in.into_iter().flat_map(|role| role.value.iter().map(ToString::to_string));
    let custom = custom.into_iter().flat_map(|actions| actions.value).map(|action| action.value);
    built_in.chain(custom).collect()
}
