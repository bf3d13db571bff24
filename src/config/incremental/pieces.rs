//! Reads a file's longest lists item by item, and remembers the items for the file's next version.
//!
//! One idea: in block style an item of a list at the top of a file begins at its dash and ends before the next one, so
//! it means the same at any position, and one with the same text need not be read again. The rest of the file, with
//! these lists empty, is read as a whole. Where it is not certain that a file read as one would give the same, or there
//! is any diagnostic, it is read as one.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::schema::{self, Document, Lists, Long, RouteTable, filter};
use crate::config::yaml::diagnostic::{At, Location, PartId, Report, Sites};
use crate::config::yaml::tree::{self, Node, Value};

use super::Memory;
use super::route_tables::Extents;

/// By their text.
pub(super) type Known<T> = HashMap<Arc<str>, Arc<Item<T>>, RandomState>;

/// An item as it was written.
pub(super) struct Item<T> {
    pub(super) value: Arc<T>,
    at: At,
    pub(super) part: PartId,
    pub(super) sites: Sites,
    pub(super) nodes: usize,
}

/// The keys of the lists that make a file large.
const LONG: [&str; 4] = ["virtualNetworks", "routeTables", "networkSecurityGroups", "virtualMachines"];

/// Reads a file in pieces. `None` is for a file that needs a full read.
pub(super) fn document(text: &str, earlier: &Memory) -> Option<(Document, Report, Memory)> {
    let (rest, lists) = split(text)?;
    let mut report = Report::default();
    let rest = tree::parse_rest(&rest, text, &mut report)?;
    let sites = lists.iter().map(|list| list.site(&rest.node, &mut report)).collect::<Option<Vec<_>>>()?;
    let mut reading =
        Reading { lists: lists.iter().zip(sites).collect(), report, nodes: rest.nodes, parts: earlier.parts };
    let (virtual_networks, networks) = reading.list(LONG[0], &earlier.virtual_networks, schema::virtual_network)?;
    let (route_tables, tables) = reading.list(LONG[1], &earlier.route_tables, schema::route_table)?;
    let (network_security_groups, groups) = reading.list(LONG[2], &earlier.network_security_groups, filter::nsg)?;
    let (virtual_machines, machines) = reading.list(LONG[3], &earlier.virtual_machines, schema::virtual_machine)?;
    let Reading { mut report, nodes, parts, .. } = reading;
    let tables_at = lists.iter().find(|list| list.key == LONG[1]).map(|list| Extents::of(text, list, nodes));
    let lists = Lists { virtual_networks, route_tables, network_security_groups, virtual_machines };
    let document = schema::document(&rest.node, lists, &mut report)?;
    let memory = Memory {
        virtual_networks: networks,
        route_tables: tables,
        network_security_groups: groups,
        virtual_machines: machines,
        parts,
        tables: tables_at,
        network: None,
    };
    (tree::fits(text.len(), nodes) && report.is_empty()).then_some((document, report, memory))
}

struct Reading<'t> {
    lists: Vec<(&'t List<'t>, At)>,
    report: Report,
    nodes: usize,
    parts: usize,
}

impl Reading<'_> {
    /// The items of a list, if it is one of those that were taken out, and what to remember of them.
    fn list<T>(
        &mut self,
        key: &str,
        earlier: &Known<T>,
        read: fn(&Node, &mut Report) -> Option<T>,
    ) -> Option<(Option<Long<T>>, Known<T>)> {
        let mut known = Known::default();
        let Some(&(list, at)) = self.lists.iter().find(|(list, _)| list.key == key) else { return Some((None, known)) };
        let mut values = Vec::with_capacity(list.items.len());
        for (index, (line, text)) in list.items.iter().enumerate() {
            // The second of two that say the same is another one.
            let before = earlier.get_key_value(*text).filter(|_| !known.contains_key(*text));
            let (text, item) = match before {
                Some((text, item)) => (Arc::clone(text), Arc::clone(item)),
                None => ((*text).into(), Arc::new(Item::of(text, &mut self.parts, read)?)),
            };
            self.nodes += item.nodes;
            self.report.adopt(item.part, Arc::clone(&item.sites), (at, index), line - 1);
            if index == 0 && list.indent == 0 {
                // A list that is not indented begins behind its first dash.
                let first = self.report.location(item.at);
                self.report.set_location(at, Location { len: 1, ..first });
            }
            values.push(Arc::clone(&item.value));
            known.entry(text).or_insert(item);
        }
        Some((Some(values), known))
    }
}

impl<T> Item<T> {
    /// `parts`: how many have had a number.
    fn of(text: &str, parts: &mut usize, read: fn(&Node, &mut Report) -> Option<T>) -> Option<Self> {
        *parts += 1;
        let part = PartId(*parts);
        let mut report = Report::of_part(part);
        let tree::Piece { node, nodes } = tree::parse_item(text, &mut report)?;
        let value = Arc::new(read(&node, &mut report)?);
        Some(Self { value, at: node.at, part, sites: report.into_sites()?, nodes })
    }
}

impl Memory {
    /// A route table by its text, read if it is new.
    pub(super) fn route_table(&mut self, text: &str) -> Option<Arc<Item<RouteTable>>> {
        if let Some(known) = self.route_tables.get(text) {
            return Some(Arc::clone(known));
        }
        let item = Arc::new(Item::of(text, &mut self.parts, schema::route_table)?);
        self.route_tables.insert(text.into(), Arc::clone(&item));
        Some(item)
    }

    pub(super) fn forget_route_table(&mut self, text: &str) {
        self.route_tables.remove(text);
    }
}

/// A list that was taken out of a file. Lines count from one.
pub(super) struct List<'t> {
    key: &'static str,
    /// Of its key.
    line: usize,
    /// How far its dashes are indented.
    pub(super) indent: usize,
    /// The line of each item's dash, and its text up to the next one.
    pub(super) items: Vec<(usize, &'t str)>,
}

impl List<'_> {
    /// Its site among what is left of the file; none if its key was not one of the file's at all.
    fn site(&self, rest: &Node, report: &mut Report) -> Option<At> {
        let Value::Map(entries) = &rest.value else { return None };
        let is_here = |at: At| matches!(report.location(at), Location { line, column: 1, .. } if line == self.line);
        let (_, list) = entries.iter().find(|(key, _)| key.value == self.key && is_here(key.at))?;
        let Value::List(items) = &list.value else { return None };
        let (line, column) = (self.items.first().filter(|_| items.is_empty())?.0, self.indent + 1);
        report.set_location(list.at, Location { line, column, len: 1 });
        Some(list.at)
    }
}

/// Takes the long lists out of a file: in what is left they are empty, and every line is where it was.
pub(super) fn split(text: &str) -> Option<(String, Vec<List<'_>>)> {
    if !text.ends_with('\n') || text.bytes().any(|byte| matches!(byte, b'\t' | b'\r')) {
        return None;
    }
    let mut rest = String::new();
    let mut lists: Vec<List<'_>> = Vec::new();
    let mut is_open = false;
    // Where the item begins that has not ended.
    let (mut start, mut offset) = (0, 0);
    for (line, content) in (1..).zip(text.split_inclusive('\n')) {
        let end = offset + content.len();
        let indent = content.bytes().take_while(|byte| *byte == b' ').count();
        let bare = &content[indent..];
        if let Some(list) = lists.last_mut().filter(|_| is_open) {
            if indent == list.indent && is_dash(bare) {
                finish(list, &text[start..offset]);
                list.items.push((line, ""));
                start = offset;
            }
            is_open = indent > list.indent || is_dash(bare) || bare.starts_with(['\n', '#']);
            if is_open && indent < list.indent && is_dash(bare) {
                return None;
            }
            if !is_open {
                finish(list, &text[start..offset]);
            }
        }
        if is_open {
            rest.push('\n');
        } else if let Some((key, indent)) = opens(content, &text[end..]) {
            rest.push_str(key);
            rest.push_str(": []\n");
            lists.push(List { key, line, indent, items: Vec::new() });
            (is_open, start) = (true, end);
        } else {
            rest.push_str(content);
        }
        offset = end;
    }
    if let Some(list) = lists.last_mut().filter(|_| is_open) {
        finish(list, &text[start..]);
    }
    (!lists.is_empty()).then_some((rest, lists))
}

/// Whether a line is the key of a long list, and what follows begins it: the key, and how far its dashes are indented.
fn opens(line: &str, next: &str) -> Option<(&'static str, usize)> {
    let key = line.trim_end().strip_suffix(':')?;
    let key = LONG.into_iter().find(|long| *long == key)?;
    let indent = next.bytes().take_while(|byte| *byte == b' ').count();
    is_dash(&next[indent..]).then_some((key, indent))
}

fn is_dash(text: &str) -> bool {
    text.starts_with("- ") || text.starts_with("-\n")
}

/// Gives the last item its text.
fn finish<'t>(list: &mut List<'t>, text: &'t str) {
    if let Some((_, last)) = list.items.last_mut() {
        *last = text;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::config::incremental::reroute;
    use crate::config::{Context, Errors, Loaded, check, load_next, no_files, whole_document, with_all_warnings};
    use crate::model::{Existing, Network};

    /// Every file that tests have, good or bad.
    fn files() -> Vec<String> {
        let directories = ["config", "tests/golden/config"].map(|dir| Path::new(env!("CARGO_MANIFEST_DIR")).join(dir));
        let entries = directories.iter().flat_map(|dir| fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        let files = files.map(|path| fs::read_to_string(path).unwrap()).filter(|text| text.len() < 10_000);
        let script = BLOCKS.replace("'echo a;", "|\n        echo a").replace("echo b'", "echo b");
        files.chain([BLOCKS.to_owned(), script]).collect()
    }

    /// Every kind of long list, over many lines and on one.
    const BLOCKS: &str = "\
name: l
# Two networks.
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
    - name: s
      addressPrefix: 10.0.1.0/24
      routeTable: t
  # The other one.

  - {name: w, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
routeTables:
- name: t
  routes:
    - {name: r, addressPrefix: 10.9.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
    - name: q
      addressPrefix: 10.8.0.0/16
      nextHopType: None
networkSecurityGroups:
  - name: g
    securityRules:
      - {name: a, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '443'}
emulation: {workers: 2}
virtualMachines:
  - name: a
    networkInterfaces: [{subnet: v/s}]
    run:
      - sh
      - -c
      - 'echo a;
        echo b'
  - {name: b, networkInterfaces: [{subnet: w/s, networkSecurityGroup: g}]}
tests:
  - {from: a, to: b, expect: blocked}
";

    fn loaded(text: &str, earlier: &Memory) -> Result<Loaded, Errors> {
        load_next(text, "l.yaml", &Existing::default(), &no_files, earlier)
    }

    fn as_one(text: &str) -> Result<Loaded, Errors> {
        let mut report = Report::default();
        let document = whole_document(text, &mut report);
        let context = Context { file: "l.yaml", existing: &Existing::default(), files: &no_files };
        Ok(with_all_warnings(check(document, report, context)?, text))
    }

    /// All that can be seen of what was read.
    fn seen(loaded: Result<Loaded, Errors>) -> String {
        match loaded {
            Err(errors) => format!("{errors:#?}"),
            Ok(Loaded { network, warnings, locations, .. }) => {
                let mut paths = locations.paths();
                paths.sort();
                paths.dedup();
                let places: Vec<_> = paths.into_iter().map(|path| (locations.find(&path), path)).collect();
                format!("{network:#?}\n{warnings:#?}\n{places:#?}")
            }
        }
    }

    #[test]
    fn a_file_says_the_same_in_pieces_and_as_one() {
        let mut in_pieces = 0;
        for text in files() {
            assert_eq!(seen(loaded(&text, &Memory::default())), seen(as_one(&text)), "{text}");
            in_pieces += usize::from(document(&text, &Memory::default()).is_some());
        }
        assert!(in_pieces > 10, "{in_pieces}");
    }

    #[test]
    fn what_stays_is_not_read_again() {
        let before = loaded(BLOCKS, &Memory::default()).unwrap();
        let changed = BLOCKS.replace("nextHopType: None", "nextHopType: Internet").replace("# Two", "\n\n# Two");
        let after = loaded(&changed, &before.memory).unwrap();
        assert_eq!(after.memory.parts - before.memory.parts, 1, "the route table");
        assert_eq!(seen(Ok(after)), seen(as_one(&changed)));
    }

    /// What a hand may do to a file.
    #[derive(Clone, Debug)]
    enum Edit {
        Delete(Index),
        Repeat(Index, Index),
        Insert(Index, &'static str),
        Append(Index, &'static str),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let lines =
            ["---", "...", "- x", "  - {name: y}", "routeTables:", "virtualNetworks:", "# note", "", "x: |", "   "];
        let ends = ["\"", "'", " #", ":", " &a", " *a", "[", "}", ",", "\t", " !t", " |", " x", "\r", "\u{feff}", "é"];
        prop_oneof![
            any::<Index>().prop_map(Edit::Delete),
            (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Repeat(from, to)),
            (any::<Index>(), prop::sample::select(lines.to_vec())).prop_map(|(at, line)| Edit::Insert(at, line)),
            (any::<Index>(), prop::sample::select(ends.to_vec())).prop_map(|(at, end)| Edit::Append(at, end)),
        ]
    }

    fn edited(text: &str, edit: &Edit) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.push(String::new());
        match edit {
            Edit::Delete(at) => drop(lines.remove(at.index(lines.len()))),
            Edit::Repeat(from, to) => {
                let line = lines[from.index(lines.len())].clone();
                lines.insert(to.index(lines.len()), line);
            }
            Edit::Insert(at, line) => lines.insert(at.index(lines.len()), (*line).to_owned()),
            Edit::Append(at, end) => {
                let at = at.index(lines.len());
                lines[at].push_str(end);
            }
        }
        lines.join("\n")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn an_edited_file_says_the_same_in_pieces_and_as_one(
            file in any::<Index>(),
            edits in prop::collection::vec((edit(), prop::bool::weighted(0.7)), 1..12),
        ) {
            let files = files();
            let mut text = if edits.len() % 2 == 0 { BLOCKS.to_owned() } else { file.get(&files).clone() };
            let (mut memory, mut network) = (Memory::default(), None::<Arc<Network>>);
            for (edit, stays) in edits {
                let next = edited(&text, &edit);
                if let Some((after, later)) = network.as_ref().and_then(|before| reroute(&next, before, &memory)) {
                    let whole = as_one(&next).unwrap();
                    prop_assert_eq!((&after, &whole.warnings[..]), (&whole.network, &[][..]), "{}", next);
                    let after = Arc::new(after);
                    (memory, network) = (later.followed_by(Arc::clone(&after)), Some(after));
                }
                let outcome = loaded(&next, &memory);
                if let Ok(loaded) = &outcome {
                    let after = Arc::new(loaded.network.clone());
                    (memory, network) = (loaded.memory.clone().followed_by(Arc::clone(&after)), Some(after));
                }
                prop_assert_eq!(seen(outcome), seen(as_one(&next)), "{}", next);
                if !stays {
                    continue;
                }
                text = next;
            }
        }
    }
}
