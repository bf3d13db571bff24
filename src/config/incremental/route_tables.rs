//! A file that differs from its last version in its route tables alone.
//!
//! One idea: the common start and end of two texts mean the same in both, if all between is whole items of one list,
//! and nothing else in the file depends on those. Then only these items are read: a changed route in a
//! large network need not wait for the rest of the file. Where it is not certain that a file read
//! whole would give the same, or there is any diagnostic, it is read whole.

use std::ops::Range;
use std::sync::Arc;

use crate::config::schema::{self, Document};
use crate::config::validate;
use crate::config::yaml::diagnostic::{Location, Report, Step};
use crate::config::yaml::tree;
use crate::config::yaml::values::RangeOrTag;
use crate::model::{RouteTable, RouteTableIx};

use super::Memory;
use super::pieces::{Item, List, split};

/// The positions of the items of `routeTables` in a text.
#[derive(Clone)]
pub(super) struct Extents {
    text: Arc<str>,
    items: Vec<Range<usize>>,
    /// How far their dashes are indented.
    indent: usize,
    /// Of the whole file.
    nodes: usize,
}

/// The changed route tables of a file's next version, and what to remember. None if more may have changed.
pub(super) fn changed(text: &str, earlier: &Memory) -> Option<(Vec<(RouteTableIx, RouteTable)>, Memory)> {
    let before = earlier.tables.as_ref()?;
    if *before.text == *text {
        return Some((Vec::new(), earlier.clone()));
    }
    let (first, items) = before.changed_items(text)?;
    let mut memory = earlier.clone();
    let mut nodes = before.nodes;
    let mut tables = Vec::new();
    for (index, new) in (first..).zip(&items) {
        let old = &before.text[before.items[index].clone()];
        let (was, is) = (memory.route_table(old)?, memory.route_table(new)?);
        nodes = nodes + is.nodes - was.nodes;
        if old != *new {
            tables.push((RouteTableIx(index), route_table(&was, &is)?));
            memory.forget_route_table(old);
        }
    }
    memory.tables = Some(before.with(text, first, &items, nodes));
    tree::fits(text.len(), nodes).then_some((tables, memory))
}

/// Whether nothing but the route tables depends on what a file says of them. Rules about routes of gateways' subnets
/// concern both, and service tags are numbered in the order of their first use. A test may take a route out.
pub(super) fn are_independent(document: &Document) -> bool {
    let subnets = document.virtual_networks.iter().flat_map(|vnet| &vnet.subnets);
    let mut names = subnets.filter_map(|subnet| subnet.name.as_ref());
    // A file of rules may have changed, too.
    let is_file = |vm: &schema::VirtualMachine| {
        vm.guest.nftables.as_ref().is_some_and(|rules| matches!(rules.value, schema::Nftables::File(_)))
    };
    let reads = document.service_tags.is_some() || document.virtual_machines.iter().any(|vm| is_file(vm));
    let mut edits = document.tests.iter().flat_map(|test| &test.without);
    !reads
        && !edits.any(|edit| edit.path.value.starts_with("routeTables"))
        && !names.any(|name| name.value == "GatewaySubnet")
}

/// The route table of a changed item, if nothing else depends on the change.
fn route_table(was: &Item<schema::RouteTable>, is: &Item<schema::RouteTable>) -> Option<RouteTable> {
    let name = |item: &Item<schema::RouteTable>| item.value.name.as_ref().map(|name| name.value.clone());
    let is_tag = |route: &schema::Route| {
        route.destination.as_ref().is_some_and(|destination| matches!(destination.value, RangeOrTag::Tag(_)))
    };
    if name(was)? != name(is)? || is.value.routes.iter().any(is_tag) {
        return None;
    }
    let mut report = Report::default();
    let root = report.site(Location { line: 1, column: 1, len: 1 }, None, Step::Root);
    report.adopt(is.part, Arc::clone(&is.sites), (root, 0), 0);
    let table = validate::route_table(&is.value, &mut report);
    report.is_empty().then_some(table)
}

impl Extents {
    /// Of a list that was taken out of a text.
    pub(super) fn of(text: &str, list: &List<'_>, nodes: usize) -> Self {
        let start = |item: &str| item.as_ptr() as usize - text.as_ptr() as usize;
        let items = list.items.iter().map(|(_, item)| start(item)..start(item) + item.len());
        Self { text: text.into(), items: items.collect(), indent: list.indent, nodes }
    }

    /// All items between which the next version of the text differs, as it has them, and the index of the first.
    fn changed_items<'t>(&self, text: &'t str) -> Option<(usize, Vec<&'t str>)> {
        let changed = difference(self.text.as_bytes(), text.as_bytes());
        // An item that ends where the difference begins may have grown by a line, which is indented as the next item
        // is.
        let touched = |at: usize| self.items.partition_point(|item| item.end < at);
        let (first, last) = (touched(changed.start.saturating_sub(self.indent)), touched(changed.end));
        let (start, end) = (self.items.get(first)?.start, self.items.get(last)?.end);
        if changed.start < start {
            return None;
        }
        let span = text.get(start..(text.len() + end).checked_sub(self.text.len())?)?;
        let items = self.items_of(span)?;
        (items.len() == last - first + 1).then_some((first, items))
    }

    /// The items that a span of the text consists of, if it is nothing else.
    fn items_of<'t>(&self, span: &'t str) -> Option<Vec<&'t str>> {
        let list = format!("routeTables:\n{span}");
        let (rest, lists) = split(&list)?;
        let [List { indent, items, .. }] = &lists[..] else { return None };
        let whole = rest.trim_end_matches('\n') == "routeTables: []" && *indent == self.indent;
        let mut left = span;
        let items = items.iter().map(|(_, item)| {
            let (item, after) = left.split_at(item.len());
            left = after;
            item
        });
        whole.then(|| items.collect())
    }

    /// The same with other items in place of some.
    fn with(&self, text: &str, first: usize, items: &[&str], nodes: usize) -> Self {
        let (mut extents, mut end) = (Vec::with_capacity(self.items.len()), self.items[first].start);
        extents.extend_from_slice(&self.items[..first]);
        let lengths = items.iter().map(|item| item.len());
        let after = self.items[first + items.len()..].iter().map(ExactSizeIterator::len);
        for length in lengths.chain(after) {
            extents.push(end..end + length);
            end += length;
        }
        Self { text: text.into(), items: extents, indent: self.indent, nodes }
    }
}

/// What of a text is not at either end of another one.
fn difference(old: &[u8], new: &[u8]) -> Range<usize> {
    let same = |(a, b): &(&u8, &u8)| a == b;
    let start = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[start..], &new[start..]);
    let behind = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    start..start + old.len() - behind
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::config::load;

    const FILE: &str = "\
name: l
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.1.0/24}]}
routeTables:
  - name: one
    routes:
      - {name: a, addressPrefix: 10.8.0.0/16, nextHopType: None}
  # About the next one.
  - name: two
    routes:
      - {name: b, addressPrefix: 10.9.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
  - name: three
    routes: []
virtualMachines:
  - {name: m, networkInterfaces: [{subnet: v/s}]}
";

    /// The changed tables of the file after this replacement.
    fn changed_by(this: &str, that: &str) -> Option<Vec<usize>> {
        changed_of(FILE, this, that)
    }

    fn changed_of(file: &str, this: &str, that: &str) -> Option<Vec<usize>> {
        let before = load(file, "l.yaml").unwrap();
        let text = file.replace(this, that);
        let (tables, memory) = changed(&text, &before.memory)?;
        let mut network = before.network.clone();
        let indices = tables.iter().map(|(at, _)| at.0).collect();
        network.reroute(tables);
        assert_eq!(network, load(&text, "l.yaml").unwrap().network);
        // And back, by what was remembered of it.
        let (tables, _) = changed(file, &memory).unwrap();
        network.reroute(tables);
        assert_eq!(network, before.network);
        Some(indices)
    }

    #[test]
    fn changed_route_tables_are_read_alone() {
        assert_eq!(changed_by("10.8.0.0/16", "10.7.0.0/16"), Some(vec![0]));
        assert_eq!(changed_by("nextHopIpAddress: 10.0.1.4", "nextHopIpAddress: 10.0.1.77"), Some(vec![1]));
        assert_eq!(changed_by("10.", "10."), Some(vec![]));
        assert_eq!(changed_by("routes: []\n", "disableBgpRoutePropagation: true\n"), Some(vec![2]));
        let more = "nextHopType: None}\n      - {name: c, addressPrefix: 10.6.0.0/16, nextHopType: Internet}\n";
        assert_eq!(changed_by("nextHopType: None}\n", more), Some(vec![0]));
        assert_eq!(changed_by("  # About the next one.\n", ""), Some(vec![0]), "its text ends at the next dash");
        assert_eq!(
            changed_by("nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4", "nextHopType: None"),
            Some(vec![1])
        );
    }

    #[test]
    fn tables_are_read_alone_unless_a_test_takes_one_out_or_a_warning_stays() {
        let by_test = |without: &str| {
            let file =
                FILE.to_owned() + &format!("tests: [{{from: m, to: 10.0.1.1, expect: blocked, without: {without}}}]\n");
            changed_of(&file, "10.8.0.0/16", "10.7.0.0/16")
        };
        assert_eq!(by_test("virtualNetworks/v/subnets/s"), Some(vec![0]));
        assert_eq!(by_test("routeTables/one/routes/a"), None);
        assert_eq!(by_test("{emulation: {workers: 1}, routeTables/two: null}"), None);
        assert_eq!(by_test("virtualNetworks/v/subnets/gone"), None, "its path leads nowhere: each reading warns of it");
    }

    #[test]
    fn any_other_change_needs_a_full_read() {
        for (this, that) in [
            ("name: l\n", "name: k\n"),
            ("name: two", "name: zwei"),
            ("  - name: three\n    routes: []\n", ""),
            ("  - name: three\n", "  - name: four\n    routes: []\n  - name: three\n"),
            ("10.8.0.0/16", "Storage"),
            ("10.8.0.0/16", "10.8.0.0/99"),
            ("nextHopType: None", "nextHopType: Nowhere"),
            ("routes: []\n", "routes: []\nemulation: {workers: 1}\n"),
            ("virtualMachines:\n", ""),
            ("{name: m", "{name: n"),
        ] {
            let before = load(FILE, "l.yaml").unwrap();
            let text = FILE.replace(this, that);
            assert_ne!(text, FILE);
            assert!(changed(&text, &before.memory).is_none(), "{text}");
        }
        let with_gateway =
            FILE.replace("name: s, addressPrefix: 10.0.1.0/24", "name: GatewaySubnet, addressPrefix: 10.0.1.0/24");
        let with_gateway =
            with_gateway.replace("virtualMachines:\n  - {name: m, networkInterfaces: [{subnet: v/s}]}\n", "");
        let before = load(&with_gateway, "l.yaml").unwrap();
        assert!(changed(&with_gateway, &before.memory).is_none(), "its rules look at tables");
    }
}
