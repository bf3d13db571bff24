//! The resources of one or several documents, by id, with child resources joined to their parents.
//!
//! A subnet may stand in its virtual network, apart from it, or twice. Here it is always an item of the parent's list: the
//! one that stands apart completes the one within. References are resolved by id, without regard to case (ARM-03). There
//! are no files here and nothing is printed: whatever needs resources by id can use it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Key, Node, Place, Resource, ResourceId, Value};

/// A resource, and what kind of document it came from.
#[derive(Clone, Debug)]
pub struct Entry {
    pub resource: Resource,
    pub source: Source,
}

/// What a document says about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What is to be made: an address beside `Dynamic` means nothing.
    Template,
    /// What is there: every address is allocated.
    Dump,
}

/// Resources by id.
#[derive(Clone, Debug, Default)]
pub struct Store {
    entries: Vec<Entry>,
    by_id: HashMap<ResourceId, usize, RandomState>,
    /// Children of resources that no document has.
    orphans: Vec<Resource>,
}

/// An id in parts: what is before the provider, the types, and the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    pub resource_group: Option<&'a str>,
    /// `Microsoft.Network/virtualNetworks/subnets`
    pub kind: String,
    pub names: Vec<&'a str>,
}

impl Store {
    /// Resources of all documents. Of two with one id the later completes the earlier.
    pub fn of(resources: impl IntoIterator<Item = (Source, Resource)>) -> Self {
        let mut store = Self::default();
        let (mut tops, mut children) = (Vec::new(), Vec::new());
        for (source, resource) in resources {
            let depth = resource.kind.matches('/').count();
            if depth <= 1 { tops.push((source, resource)) } else { children.push((depth, source, resource)) }
        }
        for (source, resource) in tops {
            store.add(source, resource);
        }
        // Outer ones first: a rule needs its collection.
        children.sort_by_key(|(depth, ..)| *depth);
        for (_, source, resource) in children {
            store.join(source, resource);
        }
        store
    }

    fn add(&mut self, source: Source, resource: Resource) {
        let Some(known) = self.by_id.get(&resource.id) else {
            self.by_id.insert(resource.id.clone(), self.entries.len());
            return self.entries.push(Entry { resource, source });
        };
        let entry = &mut self.entries[*known];
        entry.resource.existing &= resource.existing;
        if !resource.existing {
            entry.source = source;
        }
        complete(&mut entry.resource.body, resource.body);
    }

    fn join(&mut self, source: Source, resource: Resource) {
        if !is_joined(&resource.kind) {
            return self.add(source, resource);
        }
        let Some(parts) = parts(resource.id.as_str()).filter(|parts| parts.names.len() > 1) else {
            return self.orphans.push(resource);
        };
        let types: Vec<String> = parts.kind.split('/').skip(1).map(str::to_owned).collect();
        let names: Vec<String> = parts.names.iter().map(|name| (*name).to_owned()).collect();
        let top = ancestor(resource.id.as_str(), names.len() - 1).map(ResourceId::new);
        let Some(at) = top.and_then(|top| self.by_id.get(&top).copied()) else {
            return self.orphans.push(resource);
        };
        let mut body = &mut self.entries[at].resource.body;
        for (kind, name) in types[1..types.len() - 1].iter().zip(&names[1..]) {
            body = item(body, kind, name, &resource.at);
        }
        let child = item(body, &types[types.len() - 1], &names[names.len() - 1], &resource.at);
        child.at = resource.at.clone();
        complete(child, resource.body);
    }

    /// All resources, in the order of the documents.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Those of one type.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.resource.kind.eq_ignore_ascii_case(kind))
    }

    /// Children of resources that no document has.
    pub fn orphans(&self) -> &[Resource] {
        &self.orphans
    }

    pub fn find(&self, id: &str) -> Option<&Entry> {
        self.by_id.get(&ResourceId::new(id)).map(|at| &self.entries[*at])
    }
}

/// Types whose children are items of a list of theirs. A child of any other type is a resource by itself.
fn is_joined(kind: &str) -> bool {
    const PARENTS: [&str; 9] = [
        "virtualNetworks",
        "networkSecurityGroups",
        "routeTables",
        "loadBalancers",
        "virtualNetworkGateways",
        "expressRouteCircuits",
        "virtualHubs",
        "networkInterfaces",
        "privateClouds",
    ];
    /// Of a private cloud, what says something about networks.
    const CLOUD: [&str; 3] = ["authorizations", "globalReachConnections", "workloadNetworks"];
    /// Of the hubs of a virtual WAN, which have their type in common with route servers.
    const WAN: [&str; 3] = ["hubVirtualNetworkConnections", "hubRouteTables", "routingIntent"];
    let mut types = kind.split('/').skip(1);
    let parent = types.next().unwrap_or_default();
    let child = types.next().unwrap_or_default();
    let is_cloud = parent.eq_ignore_ascii_case("privateClouds");
    let apart = WAN.iter().any(|known| known.eq_ignore_ascii_case(child));
    if apart || (is_cloud && !CLOUD.iter().any(|known| known.eq_ignore_ascii_case(child))) {
        return false;
    }
    PARENTS.iter().any(|known| known.eq_ignore_ascii_case(parent)) && !kind.to_ascii_lowercase().contains("/providers/")
}

/// The item of this name in a parent's list; it is made where there is none.
fn item<'a>(parent: &'a mut Node, list: &str, name: &str, at: &Place) -> &'a mut Node {
    // A flat object has its lists beside its name, ARM's has them in `properties`.
    let inside = entry_mut(parent, "properties").is_some();
    let holder = if inside { slot(parent, "properties", at) } else { parent };
    let list = slot(holder, list, at);
    if !matches!(list.value, Value::List(_)) {
        list.value = Value::List(Vec::new());
    }
    let Value::List(items) = &mut list.value else { unreachable!("it was made a list above") };
    let known = items.iter().position(|item| item.get("name").and_then(Node::text).is_some_and(|own| same(own, name)));
    let index = known.unwrap_or_else(|| {
        let key = Key { at: at.clone(), text: "name".to_owned() };
        let named = (key, Node { at: at.clone(), value: Value::Text(name.to_owned()) });
        items.push(Node { at: at.clone(), value: Value::Object(vec![named]) });
        items.len() - 1
    });
    &mut items[index]
}

fn same(one: &str, other: &str) -> bool {
    one.rsplit('/').next().unwrap_or(one).eq_ignore_ascii_case(other)
}

fn entry_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Object(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(name, _)| name.text.eq_ignore_ascii_case(key)).map(|(_, node)| node)
}

/// The value of a key; it is made where there is none.
fn slot<'a>(node: &'a mut Node, key: &str, at: &Place) -> &'a mut Node {
    if !matches!(node.value, Value::Object(_)) {
        node.value = Value::Object(Vec::new());
    }
    let Value::Object(entries) = &mut node.value else { unreachable!("it was made an object above") };
    let known = entries.iter().position(|(name, _)| name.text.eq_ignore_ascii_case(key));
    let index = known.unwrap_or_else(|| {
        let value = Node { at: at.clone(), value: Value::Object(Vec::new()) };
        entries.push((Key { at: at.clone(), text: key.to_owned() }, value));
        entries.len() - 1
    });
    &mut entries[index].1
}

/// Adds to an object what another says of the same resource; where both say something, the other is right. A list of named
/// items is completed item by item.
fn complete(known: &mut Node, other: Node) {
    let Node { at, value } = other;
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if key.text.eq_ignore_ascii_case("name") && entry_mut(known, "name").is_some() {
                    continue;
                }
                // Of two spellings of one object, a flat one and ARM's, the keys meet.
                let flat = !key.text.eq_ignore_ascii_case("properties")
                    && entry_mut(known, &key.text).is_none()
                    && entry_mut(known, "properties").is_some_and(|inner| entry_mut(inner, &key.text).is_some());
                let holder = if flat { slot(known, "properties", &key.at) } else { &mut *known };
                let fresh = entry_mut(holder, &key.text).is_none();
                let held = slot(holder, &key.text, &key.at);
                if fresh { *held = value } else { complete(held, value) }
            }
        }
        Value::List(items) if items.iter().all(|item| item.get("name").is_some()) && !items.is_empty() => {
            if !matches!(known.value, Value::List(_)) {
                known.value = Value::List(Vec::new());
            }
            let Value::List(held) = &mut known.value else { unreachable!("it was made a list above") };
            for value in items {
                let name = value.get("name").and_then(Node::text).unwrap_or_default();
                let own = |held: &&mut Node| held.get("name").and_then(Node::text).is_some_and(|own| same(own, name));
                match held.iter_mut().find(own) {
                    Some(held) => complete(held, value),
                    None => held.push(value),
                }
            }
        }
        Value::Null => {}
        value => *known = Node { at, value },
    }
}

/// Takes an id apart; none if it is no ARM id.
pub fn parts(id: &str) -> Option<Parts<'_>> {
    let segments: Vec<&str> = id.trim_matches('/').split('/').collect();
    let provider = segments.iter().rposition(|segment| segment.eq_ignore_ascii_case("providers"))?;
    let group = segments.windows(2).find(|pair| pair[0].eq_ignore_ascii_case("resourceGroups")).map(|pair| pair[1]);
    let namespace = segments.get(provider + 1)?;
    let rest = &segments[provider + 2..];
    if rest.is_empty() || !rest.len().is_multiple_of(2) || rest.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    let types: Vec<&str> = rest.iter().step_by(2).copied().collect();
    let names = rest.iter().skip(1).step_by(2).copied().collect();
    Some(Parts { resource_group: group, kind: format!("{namespace}/{}", types.join("/")), names })
}

/// The id of a resource's parent, `up` levels above.
pub fn ancestor(id: &str, up: usize) -> Option<&str> {
    let mut id = id.trim_end_matches('/');
    for _ in 0..2 * up {
        id = &id[..id.rfind('/')?];
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_pairs_of_types_and_names() {
        let of =
            |rest: &str| parts(&format!("/subscriptions/1/resourceGroups/rg/providers/A.B/{rest}")).map(|it| it.kind);
        assert_eq!(of("c/x").as_deref(), Some("A.B/c"));
        assert_eq!(of("c/x/d/y/").as_deref(), Some("A.B/c/d"));
        for rest in ["", "c", "c/x/d", "c//d/y", "c/x//y"] {
            assert_eq!(of(rest), None, "{rest}");
        }
        assert!(parts("/subscriptions/1/resourceGroups/rg").is_none());
    }
}
