//! Linked templates: from an address or a relative path to a file of the caller's.
//!
//! A link never leads out of the directory of the first template, and nothing is fetched.

use std::sync::Arc;

use crate::arm::{Mistake, Node, json};

use super::LARGEST;
use super::machine::Machine;

/// How many of an address's last parts may name the file.
const PARTS: usize = 5;

impl Machine<'_> {
    /// The document that a `templateLink` or `parametersLink` means. None for an address elsewhere, of which a warning is given.
    pub(super) fn linked(&self, link: &Node, root: &str) -> Result<Option<Node>, Mistake> {
        let relative = link.get("relativePath").and_then(Node::text);
        let address = link.get("uri").and_then(Node::text);
        let candidates = match (relative, address) {
            (Some(path), _) => vec![relative_path(link, path, root)?],
            (None, Some(address)) => from_address(link, address)?,
            (None, None) => {
                let message = "This link has neither `relativePath` nor `uri`; a template spec is not known here.";
                return Err(
                    Mistake::new(&link.at, message).helped("Put the template's file in the directory, and link to it.")
                );
            }
        };
        let from: &str = &link.at.file;
        let bases = if relative.is_some() || from == root { vec![from] } else { vec![root, from] };
        let mut why = String::new();
        for candidate in &candidates {
            for base in &bases {
                match (self.context.files)(candidate, base) {
                    // An address elsewhere whose last part is the same is another file.
                    Ok((name, _)) if relative.is_none() && [from, root].map(plain).contains(&plain(&name)) => {}
                    Ok((name, text)) => return document(link, &name, &text).map(Some),
                    Err(reason) => why = reason,
                }
            }
        }
        if let Some(address) = address.filter(|_| relative.is_none()) {
            let advice = "what it deploys is missing. Save the file in the template's directory to have it";
            self.not_read(
                &link.at,
                format!("Nothing is read from the network, so `{address:.200}` was not: {advice}."),
            );
            return Ok(None);
        }
        let shown = relative.unwrap_or_default();
        let message = format!("The linked file `{shown:.200}` cannot be read: {}.", why.trim_end_matches('.'));
        Err(Mistake::new(&link.at, message).expecting("a file in the directory of the template"))
    }
}

/// A file's name without the parts that lead nowhere.
fn plain(name: &str) -> String {
    name.trim_start_matches("./").replace("/./", "/")
}

fn document(link: &Node, name: &Arc<str>, text: &str) -> Result<Node, Mistake> {
    if text.len() > LARGEST {
        return Err(Mistake::new(&link.at, format!("The linked file {name} is longer than {LARGEST} bytes.")));
    }
    json::parse(name, text)
}

fn outside(link: &Node, shown: &str) -> Mistake {
    Mistake::new(&link.at, format!("The link `{shown:.200}` leads out of the template's directory."))
        .expecting("a file in that directory or below it")
}

/// A path from the directory of the file that the link stands in.
fn relative_path(link: &Node, path: &str, root: &str) -> Result<String, Mistake> {
    let directory = |file: &str| plain(file).matches('/').count();
    // How many directories the linking file is below the first template.
    let mut depth = directory(&link.at.file).saturating_sub(directory(root));
    let path = path.replace('\\', "/");
    if path.starts_with('/') || path.contains(':') {
        return Err(outside(link, &path));
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or_else(|| outside(link, &path))?,
            _ => depth += 1,
        }
    }
    Ok(path)
}

/// The last parts of an address, the longest path first.
fn from_address(link: &Node, address: &str) -> Result<Vec<String>, Mistake> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let parts: Vec<_> = path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || address.to_ascii_lowercase().starts_with("file:") {
        return Err(outside(link, address));
    }
    let longest = parts.len().min(PARTS);
    Ok((1..=longest).rev().map(|length| parts[parts.len() - length..].join("/")).collect())
}
