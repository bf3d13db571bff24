//! Resources into the text of a topology file that says the same.
//!
//! One idea: the result is a text, as a person would have written it, and where each value of it came from. Everything that
//! reads topology files reads it, and a mistake is shown in the source. Each family of types has a file: a table of its
//! properties and the code that turns them into the file's words.

mod express_route;
mod filter;
mod gateway;
mod hub_routes;
mod load_balancer;
mod machine;
mod names;
mod others;
mod private_access;
mod private_cloud;
mod public_address;
mod route_server;
mod scale_set;
mod site;
mod stand_in;
mod table;
pub(super) mod text;
mod virtual_hub;
mod virtual_network;

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::notes::{Fate, Note, NoteKind, Summary};
use super::store::{Entry, Parts, Source, Store, ancestor, parts};
use super::{Mistake, Node, Place, ResourceId};
use names::{Names, Rule};
use table::{id_of, scalar};
use text::{Map, Origins, Out};

/// The lists of a file, in the order in which they stand there.
pub const LISTS: [&str; 18] = [
    "virtualNetworks",
    "networkSecurityGroups",
    "applicationSecurityGroups",
    "routeTables",
    "publicIPAddresses",
    "publicIPPrefixes",
    "natGateways",
    "loadBalancers",
    "privateEndpoints",
    "virtualNetworkGateways",
    "localNetworkGateways",
    "connections",
    "expressRouteCircuits",
    "privateClouds",
    "routeServers",
    "sites",
    "flowLogs",
    "virtualMachines",
];

/// What a conversion needs besides the resources.
pub struct Options<'a> {
    /// What to call all that was given, where a mistake is in none of the resources.
    pub input: &'a str,
    /// The lab's name.
    pub name: Option<&'a str>,
    /// Lines for the head of the file.
    pub head: &'a [String],
    /// Whether the list of service tags has one of this name.
    pub is_service_tag: &'a dyn Fn(&str) -> bool,
}

/// A topology file made from resources.
#[derive(Clone, Debug)]
pub struct Topology {
    pub text: String,
    pub origins: Origins,
    /// In the order of the sources.
    pub notes: Vec<Note>,
    pub summary: Summary,
}

/// A type of resources, the list that they stand in, and what makes an item of one.
struct Type {
    kind: &'static str,
    list: &'static str,
    rule: Rule,
    convert: fn(&mut Converter<'_>, &Entry) -> Option<Out>,
}

const TYPES: [Type; 17] = [
    Type {
        kind: "Microsoft.Network/virtualNetworks",
        list: "virtualNetworks",
        rule: Rule::Resource(64),
        convert: virtual_network::virtual_network,
    },
    Type {
        kind: "Microsoft.Network/networkSecurityGroups",
        list: "networkSecurityGroups",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(filter::nsg(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/applicationSecurityGroups",
        list: "applicationSecurityGroups",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(filter::asg(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/routeTables",
        list: "routeTables",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(filter::route_table(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/publicIPAddresses",
        list: "publicIPAddresses",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(public_address::public_address(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/publicIPPrefixes",
        list: "publicIPPrefixes",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(public_address::public_prefix(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/natGateways",
        list: "natGateways",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(public_address::nat_gateway(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/loadBalancers",
        list: "loadBalancers",
        rule: Rule::Resource(80),
        convert: load_balancer::load_balancer,
    },
    Type {
        kind: "Microsoft.Network/privateEndpoints",
        list: "privateEndpoints",
        rule: Rule::Resource(64),
        convert: private_access::private_endpoint,
    },
    Type {
        kind: "Microsoft.Network/virtualNetworkGateways",
        list: "virtualNetworkGateways",
        rule: Rule::Resource(80),
        convert: gateway::gateway,
    },
    Type {
        kind: "Microsoft.Network/localNetworkGateways",
        list: "localNetworkGateways",
        rule: Rule::Resource(80),
        convert: site::local_gateway,
    },
    Type {
        kind: "Microsoft.Network/connections",
        list: "connections",
        rule: Rule::Resource(80),
        convert: gateway::connection,
    },
    Type {
        kind: "Microsoft.Network/expressRouteCircuits",
        list: "expressRouteCircuits",
        rule: Rule::Resource(80),
        convert: |converter, one| Some(express_route::circuit(converter, one)),
    },
    Type {
        kind: "Microsoft.Network/virtualHubs",
        list: "routeServers",
        rule: Rule::Label(32),
        convert: route_server::route_server,
    },
    Type {
        kind: private_cloud::KIND,
        list: "privateClouds",
        rule: Rule::Label(32),
        convert: private_cloud::private_cloud,
    },
    Type {
        kind: "Microsoft.Network/networkWatchers/flowLogs",
        list: "flowLogs",
        rule: Rule::Resource(80),
        convert: others::flow_log,
    },
    Type {
        kind: "Microsoft.Compute/virtualMachines",
        list: "virtualMachines",
        rule: Rule::Label(63),
        convert: machine::machine,
    },
];

/// Why there is no topology file, and what became of the documents until then.
#[derive(Clone, Debug)]
pub struct Refused {
    pub mistake: Mistake,
    pub notes: Vec<Note>,
}

/// Makes the topology file of all resources. Without a virtual network there is none.
pub fn convert(store: &Store, options: &Options<'_>) -> Result<Topology, Refused> {
    let mut converter = Converter::new(store, options);
    converter.name_all();
    for entry in store.entries() {
        converter.entry(entry);
    }
    scale_set::all(&mut converter);
    machine::lone_interfaces(&mut converter);
    virtual_network::remotes(&mut converter);
    virtual_hub::all(&mut converter);
    for orphan in store.orphans() {
        let message = format!("the parent of `{}` is not among the resources: it is left out", orphan.name);
        converter.note(&orphan.at, NoteKind::NotEmulated, message);
        converter.summary.count(&orphan.kind, Fate::NotEmulated);
    }
    converter.finish()
}

/// A conversion under way.
struct Converter<'a> {
    store: &'a Store,
    options: &'a Options<'a>,
    names: Names,
    notes: Vec<Note>,
    noted: HashSet<(u32, u32, String), RandomState>,
    summary: Summary,
    lists: HashMap<&'static str, Vec<Out>, RandomState>,
    /// Virtual networks with a gateway or a route server.
    with_gateway: HashSet<ResourceId, RandomState>,
    /// Virtual networks that only a peering names.
    remotes: Vec<virtual_network::Remote>,
    /// Interfaces that a machine has.
    held: HashSet<ResourceId, RandomState>,
    /// How many addresses were made up.
    made_up: u8,
}

impl<'a> Converter<'a> {
    fn new(store: &'a Store, options: &'a Options<'a>) -> Self {
        Self {
            store,
            options,
            names: Names::default(),
            notes: Vec::new(),
            noted: HashSet::default(),
            summary: Summary::default(),
            lists: HashMap::default(),
            with_gateway: gateway::homes(store),
            remotes: Vec::new(),
            held: machine::held(store),
            made_up: 0,
        }
    }

    fn name_all(&mut self) {
        self.names.free("virtualMachines", "internet", None, Rule::Label(63));
        for entry in self.store.entries().filter(|entry| !entry.resource.existing) {
            let resource = &entry.resource;
            let Some(kind) = type_of(&resource.kind) else { continue };
            let is_hub = virtual_hub::is_hub(entry);
            if kind.list == "routeServers" && !is_hub && !route_server::is_one(&resource.body) {
                continue;
            }
            let own = resource.name.rsplit('/').next().unwrap_or(&resource.name);
            let (list, rule) = match kind.rule {
                // A network stands for it.
                _ if is_hub => (TYPES[0].list, TYPES[0].rule),
                // Machines, sites and route servers are hosts of one lab.
                Rule::Label(_) => ("virtualMachines", kind.rule),
                Rule::Resource(_) => (kind.list, kind.rule),
            };
            let name = self.names.assign(list, resource.id.as_str(), own, rule);
            if name != own {
                let message = format!("`{own}` is called `{name}` here: a file does not have the name as it is");
                self.note(&resource.at, NoteKind::MadeUp, message);
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let resource = &entry.resource;
        if resource.existing {
            return;
        }
        let Some(kind) = type_of(&resource.kind) else { return others::entry(self, entry) };
        match (kind.convert)(self, entry) {
            Some(item) => {
                self.push(kind.list, item);
                self.summary.count(&resource.kind, Fate::Used);
            }
            None => self.summary.count(&resource.kind, Fate::NotEmulated),
        }
    }

    fn push(&mut self, list: &'static str, item: Out) {
        self.lists.entry(list).or_default().push(item);
    }

    fn note(&mut self, at: &Place, kind: NoteKind, message: String) {
        if self.noted.insert((at.line, at.column, format!("{}{message}", at.file))) {
            self.notes.push(Note { at: at.clone(), kind, message });
        }
    }

    /// The name that an id has in the file.
    fn reference(&self, id: &str) -> Option<String> {
        let parts = parts(id)?;
        let depth = parts.names.len() - 1;
        let top = self.store.find(ancestor(id, depth)?).filter(|entry| !entry.resource.existing)?;
        self.names.reference(id, &own_spelling(&top.resource.body, &parts))
    }

    /// The name of a resource.
    fn own_name(&self, entry: &Entry) -> Out {
        let resource = &entry.resource;
        let name = self.names.of(resource.id.as_str()).unwrap_or(&resource.name).to_owned();
        let at = resource.body.get("name").map_or(&resource.at, |name| &name.at);
        Out::scalar(name).at(at)
    }

    /// The name of an object of a list; that of a child is behind its parent's.
    fn child_name(&mut self, node: &Node) -> Out {
        let Some(name) = node.get("name") else { return Out::scalar("unnamed").at(&node.at) };
        let written = scalar(name).unwrap_or_default();
        let own = written.rsplit('/').next().unwrap_or(&written);
        let fitted = Rule::Resource(80).fit(own);
        if fitted != own {
            let message = format!("`{own}` is called `{fitted}` here: a file does not have the name as it is");
            self.note(&name.at, NoteKind::MadeUp, message);
        }
        Out::scalar(fitted).at(&name.at)
    }

    /// A range with no bits set behind its length, as Azure takes it.
    fn range(&mut self, node: &Node) -> Option<Out> {
        let written = scalar(node)?;
        let Ok(range) = written.parse::<IpNet>() else { return Some(Out::scalar(written).at(&node.at)) };
        if range != range.trunc() {
            let message = format!("`{range}` has bits set beyond its prefix length: it is {} here", range.trunc());
            self.note(&node.at, NoteKind::MadeUp, message);
        }
        Some(Out::scalar(range.trunc().to_string()).at(&node.at))
    }

    fn finish(mut self) -> Result<Topology, Refused> {
        let order = |note: &Note| (note.at.file.clone(), note.at.line, note.at.column);
        self.notes.sort_by_key(order);
        if self.lists.get("virtualNetworks").is_none_or(Vec::is_empty) {
            return Err(Refused { mistake: self.no_network(), notes: self.notes });
        }
        let mut file = Map::new();
        if let Some(name) = self.options.name {
            file.push(("name".to_owned(), Out::scalar(Rule::Label(32).fit(name))));
        }
        let is_public = ["publicIPAddresses", "natGateways"].iter().any(|list| self.lists.contains_key(list));
        if is_public {
            file.push(("internet".to_owned(), Out::map(Map::new())));
        }
        for list in LISTS {
            if let Some(items) = self.lists.remove(list) {
                file.push((list.to_owned(), Out::list(items)));
            }
        }
        let (text, origins) = text::write(self.options.head, Out::map(file));
        Ok(Topology { text, origins, notes: self.notes, summary: self.summary })
    }

    fn no_network(&self) -> Mistake {
        let first = self.store.entries().next().map(|entry| &entry.resource.at);
        let first = first.or_else(|| self.store.orphans().first().map(|orphan| &orphan.at)).cloned();
        Mistake {
            at: first.unwrap_or_else(|| Place { file: self.options.input.into(), line: 1, column: 1 }),
            message: "there is no virtual network among the resources".to_owned(),
            expected: Some("at least one resource of type Microsoft.Network/virtualNetworks".to_owned()),
            help: Some("add the output of `az network vnet list -o json`".to_owned()),
        }
    }
}

fn type_of(kind: &str) -> Option<&'static Type> {
    TYPES.iter().find(|known| known.kind.eq_ignore_ascii_case(kind))
}

/// The names of an id's children as their parents write them: a reference may do so in another case.
fn own_spelling<'a>(top: &'a Node, parts: &Parts<'a>) -> Vec<&'a str> {
    let name = |child: &'a Node| child.get("name")?.text()?.rsplit('/').next();
    let mut parent = Some(top);
    let children = parts.kind.split('/').skip(2).zip(&parts.names[1..]);
    let own = children.map(|(list, written)| {
        let is = |child: &&'a Node| name(child).is_some_and(|own| own.eq_ignore_ascii_case(written));
        parent = parent.and_then(|parent| table::items(parent, list).iter().find(is));
        parent.and_then(name).unwrap_or(written)
    });
    own.collect()
}

/// The last name of an id, for what stands in the same resource.
fn part(node: &Node) -> Option<Out> {
    let name = parts(id_of(node)?)?.names.last().copied()?.to_owned();
    Some(Out::scalar(Rule::Resource(80).fit(&name)).at(&node.at))
}

/// A key and its value.
fn entry(key: &str, value: Out) -> (String, Out) {
    (key.to_owned(), value)
}

/// Whether an address of this document is allocated: a template's dynamic ones are not.
fn is_allocated(source: Source, node: &Node) -> bool {
    source == Source::Dump || table::is(node, "privateIPAllocationMethod", "Static")
}
