//! Readers for what stands in a single field: addresses, prefixes, ports, names and references.
//!
//! Syntax only: whether an address lies in its subnet, or a name exists, is for `resolve`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::PortRange;

use super::decode::{Fields, list_of, list_or_none, mismatch, record, text};
use super::diagnostic::{Report, Spanned, clip};
use super::tree::{Node, Value};

/// A range with zero host bits.
pub(in crate::config) fn prefix(node: &Node, report: &mut Report) -> Option<IpNet> {
    let net = address_with_length(node, report)?;
    if net != net.trunc() {
        report
            .error(node.at, format!("`{net}` has bits set beyond its prefix length"))
            .expected("a range's first address")
            .help(format!("did you mean `{}`?", net.trunc()));
        return None;
    }
    Some(net)
}

/// An address with its prefix length, as an interface has it.
pub(in crate::config) fn address_with_length(node: &Node, report: &mut Report) -> Option<IpNet> {
    let text = text(node, report)?;
    let net = text.parse();
    if net.is_err() {
        let diagnostic = mismatch(node, report, "an address range", "a range such as 10.0.0.0/16 or fd00::/48");
        if let Ok(address) = text.parse::<IpAddr>() {
            let length = if address.is_ipv4() { 32 } else { 128 };
            diagnostic.help(format!("did you mean `{address}/{length}`?"));
        }
    }
    net.ok()
}

pub(in crate::config) fn address(node: &Node, report: &mut Report) -> Option<IpAddr> {
    let text = text(node, report)?;
    let address = text.parse();
    if address.is_err() {
        mismatch(node, report, "an IP address", "an address such as 10.0.0.4 or fd00::4");
    }
    address.ok()
}

/// `addressSpace`: ARM's `{addressPrefixes: […]}`, or the plain list.
pub(in crate::config) fn address_space(node: &Node, report: &mut Report) -> Option<Vec<Spanned<IpNet>>> {
    prefixes(node, report, list_of(prefix))
}

/// The same, and perhaps without any.
pub(in crate::config) fn address_space_or_none(node: &Node, report: &mut Report) -> Option<Vec<Spanned<IpNet>>> {
    prefixes(node, report, list_or_none(prefix))
}

fn prefixes<T>(node: &Node, report: &mut Report, list: impl Fn(&Node, &mut Report) -> Option<T>) -> Option<T> {
    match &node.value {
        Value::Map(_) => {
            let read = |fields: &mut Fields<'_>| fields.required("addressPrefixes", &list);
            record(node, report, "an address space", read)?.map(|list| list.value)
        }
        Value::Null | Value::Scalar { .. } | Value::List(_) => list(node, report),
    }
}

/// A range, or what may be the name of a service tag.
#[derive(Clone, Debug)]
pub(in crate::config) enum RangeOrTag {
    Range(IpNet),
    Tag(String),
}

impl fmt::Display for RangeOrTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Tag(name) => clip(name).fmt(f),
        }
    }
}

/// What an address field of a security rule holds.
#[derive(Clone, Debug)]
pub(in crate::config) enum AddressField {
    /// `*`
    Any,
    Some(RangeOrTag),
}

/// `*`, a range, a single address or a service tag.
pub(in crate::config) fn address_field(node: &Node, report: &mut Report) -> Option<AddressField> {
    let text = text(node, report)?;
    if text == "*" {
        return Some(AddressField::Any);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(AddressField::Some(RangeOrTag::Range(address.into())));
    }
    range_or_tag(node, report).map(AddressField::Some)
}

pub(in crate::config) fn range_or_tag(node: &Node, report: &mut Report) -> Option<RangeOrTag> {
    let text = text(node, report)?;
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains([':', '/']) {
        return Some(RangeOrTag::Tag(text));
    }
    prefix(node, report).map(RangeOrTag::Range)
}

/// `*`, `443` or `1000-2000`.
pub(in crate::config) fn port_range(node: &Node, report: &mut Report) -> Option<PortRange> {
    let text = text(node, report)?;
    let range = match text.split_once('-') {
        None if text == "*" => Some(PortRange::ALL),
        None => text.parse().ok().map(|port| PortRange { first: port, last: port }),
        Some((first, last)) => match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Some(PortRange { first, last }),
            _ => None,
        },
    };
    if range.is_none() {
        mismatch(
            node,
            report,
            "a range of ports",
            "*, a port such as 443, or a range such as 1000-2000; from 0 to 65535",
        )
        .code("SecurityRuleInvalidPortRange")
        .rule("NSG-01");
    }
    range
}

/// A resource's name: up to `max` letters, digits, `.`, `-` and `_` (NSG-03).
pub(in crate::config) fn resource_name(max: usize) -> impl Fn(&Node, &mut Report) -> Option<String> {
    move |node, report| {
        let name = text(node, report)?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = name.len() <= max
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(word)
            && name.chars().all(|c| word(c) || c == '.' || c == '-');
        if !fits {
            report.error(node.at, format!("`{}` cannot be a name here", clip(&name))).rule("NSG-03").expected(format!(
                "1 to {max} letters, digits, `.`, `-` or `_`, beginning with a letter or digit and ending with one or `_`"
            ));
        }
        fits.then_some(name)
    }
}

/// Whether a name can be a host's and a part of a namespace's.
pub(in crate::config) fn is_dns_label(name: &str, max: usize) -> bool {
    !name.is_empty()
        && name.len() <= max
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A name that becomes a host's name and a part of a namespace's.
pub(in crate::config) fn dns_label(max: usize) -> impl Fn(&Node, &mut Report) -> Option<String> {
    move |node, report| {
        let name = text(node, report)?;
        let fits = is_dns_label(&name, max) && !name.eq_ignore_ascii_case("localhost");
        if !fits {
            report.error(node.at, format!("`{}` cannot be a host's name", clip(&name))).expected(format!(
                "1 to {max} letters, digits or `-`, with `-` neither first nor last, and not `localhost`"
            ));
        }
        fits.then_some(name)
    }
}

/// A region, as ARM normalises it: `West US` is `westus`.
pub(in crate::config) fn location(node: &Node, report: &mut Report) -> Option<String> {
    let name: String = text(node, report)?.chars().filter(|c| *c != ' ').collect::<String>().to_lowercase();
    let fits = !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric());
    if !fits {
        mismatch(node, report, "a region", "a region such as westeurope or West US");
    }
    fits.then_some(name)
}

/// A reference: a name, an ARM id, or `{id: …}`. `kinds` are the ARM types on the way to the resource, so that the
/// parts of `virtualNetworks`, `subnets` come as `[vnet, subnet]`, from `vnet/subnet` as from an ARM id.
pub(in crate::config) fn reference<const N: usize>(
    kinds: [&'static str; N],
) -> impl Fn(&Node, &mut Report) -> Option<[String; N]> {
    move |node, report| {
        let (node_at, written) = match &node.value {
            Value::Map(_) => {
                let id = record(node, report, "a reference", |fields| fields.required("id", text))??;
                (id.at, id.value)
            }
            Value::Null | Value::Scalar { .. } | Value::List(_) => (node.at, text(node, report)?),
        };
        let parts = if written.starts_with('/') {
            parts_of_id(&written, kinds)
        } else {
            let parts: Vec<String> = written.split('/').map(str::to_owned).collect();
            parts.try_into().ok().filter(|parts: &[String; N]| parts.iter().all(|part| !part.is_empty()))
        };
        if parts.is_none() {
            let names = kinds.map(|kind| kind.trim_end_matches('s').to_uppercase());
            let ids = kinds.map(|kind| format!("{kind}/{}", kind.trim_end_matches('s').to_uppercase()));
            report.error(node_at, format!("`{}` names nothing of this kind", clip(&written))).expected(format!(
                "{} or an ARM id that ends in /{}",
                names.join("/"),
                ids.join("/")
            ));
        }
        parts
    }
}

/// The subscription in a reference that is an ARM id.
pub(in crate::config) fn subscription_of(reference: Option<&Node>) -> Option<String> {
    let id = match &reference?.value {
        Value::Scalar { text, .. } => text,
        Value::Map(entries) => {
            let (_, id) = entries.iter().find(|(key, _)| key.value == "id")?;
            return subscription_of(Some(id));
        }
        Value::Null | Value::List(_) => return None,
    };
    let mut segments = id.strip_prefix('/')?.split('/');
    segments.find(|segment| segment.eq_ignore_ascii_case("subscriptions"))?;
    segments.next().filter(|subscription| !subscription.is_empty()).map(str::to_owned)
}

/// The names in an ARM id's last segments, if those are of the types `kinds`.
pub(in crate::config) fn parts_of_id<const N: usize>(id: &str, kinds: [&'static str; N]) -> Option<[String; N]> {
    let segments: Vec<&str> = id.trim_end_matches('/').split('/').collect();
    let tail = segments.len().checked_sub(2 * N).map(|start| &segments[start..])?;
    let typed =
        tail.chunks_exact(2).zip(kinds).all(|(pair, kind)| pair[0].eq_ignore_ascii_case(kind) && !pair[1].is_empty());
    let names: Vec<String> = tail.chunks_exact(2).map(|pair| pair[1].to_owned()).collect();
    if typed { names.try_into().ok() } else { None }
}
