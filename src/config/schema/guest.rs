//! What a file says of a machine's own kernel: routes, packet filter rules, masquerading.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::yaml::decode::{boolean, mismatch, record};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{address, prefix};
use crate::model::Masquerade;

use super::path;

/// What a file may say about a guest.
#[derive(Default)]
pub(in crate::config) struct Guest {
    pub forwarding: Option<bool>,
    pub masquerade: Masquerade,
    pub nftables: Option<Spanned<Nftables>>,
    pub routes: Vec<GuestRoute>,
}

/// Where a guest's packet filter rules are.
pub(in crate::config) enum Nftables {
    File(PathBuf),
    Text(String),
}

/// A route of a guest's kernel.
pub(in crate::config) struct GuestRoute {
    pub at: At,
    pub destination: Option<Spanned<IpNet>>,
    pub next_hop: Option<Spanned<IpAddr>>,
}

pub(super) fn guest(node: &Node, report: &mut Report) -> Option<Guest> {
    record(node, report, "a guest", |f| Guest {
        forwarding: f.optional("forwarding", boolean).map(|flag| flag.value),
        masquerade: f.optional("masquerade", masquerade).map_or(Masquerade::Off, |masquerade| masquerade.value),
        nftables: f.optional("nftables", nftables),
        routes: f.list("routes", guest_route),
    })
}

/// A file's path, or the rules themselves: these have several lines, or begin with a command of nft's.
fn nftables(node: &Node, report: &mut Report) -> Option<Nftables> {
    const COMMANDS: [&str; 8] = ["table", "flush", "add", "create", "delete", "destroy", "define", "include"];
    let rules = match &node.value {
        Value::Scalar { text, .. } if text.trim().is_empty() => None,
        // A boolean or a number is neither.
        Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "true" | "false") || text.parse::<f64>().is_ok() =>
        {
            None
        }
        Value::Scalar { text, .. } => Some(text),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    };
    let Some(text) = rules else {
        mismatch(
            node,
            report,
            "a rule set of nftables",
            "a file beside the topology, such as rules.nft, or the rules as a text",
        );
        return None;
    };
    let is_command = text.split_once(char::is_whitespace).is_some_and(|(first, _)| COMMANDS.contains(&first));
    if is_command || text.contains('\n') {
        return Some(Nftables::Text(text.clone()));
    }
    path(node, report).map(Nftables::File)
}

fn guest_route(node: &Node, report: &mut Report) -> Option<GuestRoute> {
    record(node, report, "a route of a guest", |f| GuestRoute {
        at: f.at,
        destination: f.required("addressPrefix", prefix),
        next_hop: f.required("nextHopIpAddress", address),
    })
}

/// A boolean, or `all`.
fn masquerade(node: &Node, report: &mut Report) -> Option<Masquerade> {
    match &node.value {
        Value::Scalar { text, .. } if text.eq_ignore_ascii_case("all") => Some(Masquerade::All),
        Value::Scalar { plain: true, .. } | Value::Null | Value::List(_) | Value::Map(_) => {
            boolean(node, report).map(|on| if on { Masquerade::Internet } else { Masquerade::Off })
        }
        Value::Scalar { plain: false, .. } => {
            mismatch(node, report, "a way to masquerade", "true (towards the Internet), all or false");
            None
        }
    }
}
