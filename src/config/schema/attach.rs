//! Devices in namespaces that exist already (`attach:`).

use std::path::PathBuf;

use crate::config::yaml::decode::{Fields, list_of, mismatch, record, text};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::address_with_length;
use crate::model::AttachNamespace;

use super::{Prefixes, flag};

#[derive(Clone)]
pub(in crate::config) struct Attach {
    pub at: At,
    pub namespace: Option<Spanned<AttachNamespace>>,
    pub interface: Option<Spanned<String>>,
    pub addresses: Prefixes,
    pub configure: bool,
}

pub(super) fn attach(node: &Node, report: &mut Report) -> Option<Attach> {
    record(node, report, "an attachment", |f| Attach {
        at: f.at,
        namespace: attached_to(f),
        interface: f.required("interface", interface_name),
        addresses: f.optional("addresses", list_of(address_with_length)),
        configure: flag(f, "configure", true),
    })
}

/// `namespace` or `container`.
fn attached_to(f: &mut Fields<'_>) -> Option<Spanned<AttachNamespace>> {
    f.require_one(["namespace", "container"]);
    let namespace = f.optional("namespace", attach_namespace);
    let container = f.optional("container", container);
    if f.has("namespace") && f.has("container") {
        f.report
            .error(f.key("container"), "both `namespace` and `container` are given")
            .expected("one of them: a device stands in one namespace");
    }
    namespace.or(container)
}

/// A name or an id as Docker and Podman take it.
fn container(node: &Node, report: &mut Report) -> Option<AttachNamespace> {
    let name = text(node, report)?;
    let fits = (1..=255).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !fits {
        mismatch(node, report, "a container", "its name or id: letters, digits, `_`, `.` and `-`");
    }
    fits.then_some(AttachNamespace::Container { name, process: None })
}

fn attach_namespace(node: &Node, report: &mut Report) -> Option<AttachNamespace> {
    let written = text(node, report)?;
    let namespace = if written.starts_with('/') {
        Some(AttachNamespace::Path(PathBuf::from(&written)))
    } else if let Some(pid) = written.strip_prefix("pid:") {
        pid.parse().ok().filter(|pid| *pid > 0).map(AttachNamespace::Pid)
    } else {
        let name =
            !written.is_empty() && written.len() <= 255 && !written.contains('/') && written != "." && written != "..";
        name.then(|| AttachNamespace::Name(written.clone()))
    };
    if namespace.is_none() || written.contains('\0') {
        mismatch(node, report, "a network namespace", "a name as `ip netns` has it, an absolute path, or pid:NUMBER");
        return None;
    }
    namespace
}

/// What the kernel takes as a device's name.
fn interface_name(node: &Node, report: &mut Report) -> Option<String> {
    let name = text(node, report)?;
    let fits = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'));
    if !fits {
        mismatch(node, report, "an interface's name", "1 to 15 characters without `/`, `:`, `%` and spaces");
    }
    fits.then_some(name)
}
