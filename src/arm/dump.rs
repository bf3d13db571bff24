//! What Azure says of resources that are there: the output of `az … list` and `az … show`, of REST, and of Resource Graph.
//!
//! One idea: whatever is around it, an object with an ARM id is a resource. Its type stands beside the id, or follows from
//! it.

use super::store::parts;
use super::{Mistake, Node, Resource, ResourceId, Value};

/// Where the resources of a document's list stand.
const LISTS: [&str; 3] = ["data", "value", "resources"];

/// Whether a document is a list of resources, or one.
pub fn is_dump(document: &Node) -> bool {
    match &document.value {
        Value::List(items) => items.iter().all(|item| matches!(item.value, Value::Object(_) | Value::List(_))),
        Value::Object(_) if document.get("virtualNetworks").is_some() || document.get("$schema").is_some() => false,
        Value::Object(_) => {
            LISTS.iter().any(|list| matches!(document.get(list).map(|list| &list.value), Some(Value::List(_))))
                || id_of(document).is_some()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => false,
    }
}

/// The resources of a dump.
pub fn read(document: &Node) -> Result<Vec<Resource>, Vec<Mistake>> {
    let (mut resources, mut mistakes) = (Vec::new(), Vec::new());
    collect(document, &mut resources, &mut mistakes);
    if mistakes.is_empty() { Ok(resources) } else { Err(mistakes) }
}

fn collect(node: &Node, resources: &mut Vec<Resource>, mistakes: &mut Vec<Mistake>) {
    if let Value::List(items) = &node.value {
        for item in items {
            collect(item, resources, mistakes);
        }
        return;
    }
    if id_of(node).is_none()
        && let Some(list) = LISTS.iter().find_map(|list| node.get(list))
        && matches!(list.value, Value::List(_))
    {
        return collect(list, resources, mistakes);
    }
    match resource(node) {
        Some(resource) => resources.push(resource),
        None => mistakes.push(Mistake {
            at: node.at.clone(),
            message: "this is no resource: it has no ARM id".to_owned(),
            expected: Some("an object with an `id` such as /subscriptions/…/virtualNetworks/hub".to_owned()),
            help: Some("keep the `id` of each resource: `az network vnet list -o json` prints it".to_owned()),
        }),
    }
}

fn resource(node: &Node) -> Option<Resource> {
    let text = |key| node.get(key).and_then(Node::text).filter(|text: &&str| !text.is_empty());
    let id = match id_of(node) {
        Some(id) => id.to_owned(),
        None => made_id(text("type")?, text("name")?, text("resourceGroup")),
    };
    let parts = parts(&id)?;
    // Resource Graph writes types in small letters; the id has Azure's own spelling.
    let (kind, name) = (parts.kind.clone(), parts.names.join("/"));
    Some(Resource { kind, name, at: node.at.clone(), body: node.clone(), existing: false, id: ResourceId::new(id) })
}

/// The id that a resource would have, of which only type and name are known.
fn made_id(kind: &str, name: &str, group: Option<&str>) -> String {
    let (namespace, types) = kind.split_once('/').unwrap_or((kind, ""));
    let pairs: Vec<_> = types.split('/').zip(name.split('/')).map(|(kind, name)| format!("{kind}/{name}")).collect();
    let group = group.unwrap_or("unnamed");
    format!("/subscriptions/unnamed/resourceGroups/{group}/providers/{namespace}/{}", pairs.join("/"))
}

fn id_of(node: &Node) -> Option<&str> {
    node.get("id").and_then(Node::text).filter(|id| parts(id).is_some())
}
