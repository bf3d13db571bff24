//! What a file says of a guest's kernel, checked: routes and packet filter rules of its own.

use std::path::Component;

use ipnet::IpNet;

use crate::config::schema::{self, GuestRoute as Written, Nftables};
use crate::config::yaml::diagnostic::Report;
use crate::config::{Files, Named};
use crate::model::{GuestFilter, GuestRoute, NetworkInterface, NicIx, VirtualNetwork};

use super::machine::Addressed;
use super::names::or_unnamed;

/// A machine's routes; `first` is the index of the first of its interfaces. Subnets and the default route come by
/// themselves (NIC-08).
pub(super) fn routes(
    document: &schema::VirtualMachine,
    (first, nics): (usize, &[NetworkInterface]),
    vnets: &[VirtualNetwork],
    report: &mut Report,
) -> Vec<GuestRoute> {
    let machine = or_unnamed(&document.name);
    let mut routes: Vec<GuestRoute> = Vec::new();
    for written in &document.guest.routes {
        let Written { at, destination: Some(destination), next_hop: Some(next_hop) } = written else { continue };
        let (prefix, hop) = (destination.value, next_hop.value);
        if nics.iter().any(|nic| nic.attach.is_some()) {
            report
                .error(*at, format!("`{machine}` is attached: the routes of its namespace are not ours"))
                .help("set them there");
            return Vec::new();
        }
        if prefix.prefix_len() == 0 {
            report
                .error(destination.at, "a guest's default route leads to its primary interface")
                .rule("NIC-08")
                .help("say `primary: true` on the interface that it is to lead to");
            continue;
        }
        if prefix.addr().is_ipv4() != hop.is_ipv4() {
            report
                .error(next_hop.at, format!("{hop} is no next hop for {prefix}"))
                .expected("one of the same IP version");
            continue;
        }
        if routes.iter().any(|other| other.prefix == prefix) {
            report.error(destination.at, format!("`{machine}` has a route for {prefix} already")).expected("one each");
            continue;
        }
        let reaches = |nic: &NetworkInterface| prefixes(vnets, nic).any(|subnet| subnet.contains(&hop));
        if let Some(index) = nics.iter().position(reaches) {
            routes.push(GuestRoute { prefix, next_hop: hop, nic: NicIx(first + index) });
            continue;
        }
        let known: Vec<_> = nics.iter().flat_map(|nic| prefixes(vnets, nic)).map(ToString::to_string).collect();
        report
            .error(next_hop.at, format!("no interface of `{machine}` reaches the next hop {hop}"))
            .expected(format!("an address of its subnets ({}), such as the first of one", known.join(", ")));
    }
    routes
}

/// The most bytes of a rule set.
const MOST: usize = 1 << 20;

/// Gives machines their packet filter rules.
pub(super) fn filters(document: &schema::Document, machines: &mut Addressed, files: Files<'_>, report: &mut Report) {
    for (document, machine) in document.virtual_machines.iter().zip(&mut machines.virtual_machines) {
        let attached = machine.network_interfaces.iter().any(|nic| machines.network_interfaces[nic.0].attach.is_some());
        machine.guest_filter = filter(document, attached, files, report);
    }
}

/// A machine's rules. A file of them is in the topology's directory: it moves with the topology.
fn filter(
    document: &schema::VirtualMachine,
    attached: bool,
    files: Files<'_>,
    report: &mut Report,
) -> Option<GuestFilter> {
    let written = document.guest.nftables.as_ref()?;
    let machine = or_unnamed(&document.name);
    if attached {
        report
            .error(written.at, format!("`{machine}` is attached: the rules of its namespace are not ours"))
            .help("load them there");
        return None;
    }
    let (file, text) = match &written.value {
        Nftables::Text(text) => (None, text.clone()),
        Nftables::File(path) => {
            let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            let shown = path.display();
            if !inside {
                report
                    .error(written.at, format!("{shown} is not in the topology's directory"))
                    .expected("a file in that directory or below it, without `..`")
                    .help("copy it there, and name it by its relative path");
                return None;
            }
            match files(Named::Nftables(path)) {
                Ok(text) => (Some(shown.to_string()), text),
                Err(error) => {
                    report
                        .error(written.at, format!("cannot read the rules of `{machine}`, {shown}: {error}"))
                        .help("make that file beside the topology, or write the rules in its place as `nftables: |`");
                    return None;
                }
            }
        }
    };
    if text.len() > MOST {
        report
            .error(written.at, format!("the rules of `{machine}` are too long"))
            .expected(format!("at most {MOST} bytes"));
        return None;
    }
    if let Some(line) = includes(&text) {
        report
            .error(written.at, format!("the rules of `{machine}` include another file in their line {line}"))
            .expected("rules that are all in one text")
            .help("put the text of that file there");
        return None;
    }
    Some(GuestFilter { file, text })
}

/// The first line with a statement that has `nft` read another file: that may be anywhere.
fn includes(text: &str) -> Option<usize> {
    let has = |line: &str| {
        let statements = line.split([';', '{', '}']).map(str::trim_start);
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        statements.filter_map(|statement| statement.strip_prefix("include")).any(ends)
    };
    text.lines().position(has).map(|line| line + 1)
}

fn prefixes<'a>(vnets: &'a [VirtualNetwork], nic: &NetworkInterface) -> impl Iterator<Item = &'a IpNet> + use<'a> {
    let subnet = vnets.get(nic.subnet.vnet.0).and_then(|vnet| vnet.subnets.get(nic.subnet.subnet));
    subnet.into_iter().flat_map(|subnet| &subnet.prefixes)
}
