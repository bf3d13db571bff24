//! What Azure says of resources that are there: the output of `az … list` and `az … show`, of REST, and of Resource Graph.
//!
//! One idea: whatever is around it, an object with an ARM id is a resource. Its type stands beside the id, or follows from
//! it.

use super::store::parts;
use super::{Mistake, Node, Note, Resource, ResourceId, Value};

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

/// The resources of a dump, which has many and large ones: they are moved; and what is to be said of them.
pub fn read(document: Node) -> Result<(Vec<Resource>, Vec<Note>), Vec<Mistake>> {
    let (mut resources, mut mistakes) = (Vec::new(), Vec::new());
    let notes = unread_pages(&document).into_iter().collect();
    collect(document, &mut resources, &mut mistakes);
    if mistakes.is_empty() { Ok((resources, notes)) } else { Err(mistakes) }
}

/// An answer in pages says how to ask for the next one: Resource Graph by a token, REST by a link.
fn unread_pages(document: &Node) -> Option<Note> {
    let is_there = |key: &&str| document.get(key).and_then(Node::text).is_some_and(|text| !text.is_empty());
    let key = ["skip_token", "$skipToken", "skipToken", "nextLink"].into_iter().find(is_there)?;
    let next = document.get(key).filter(|_| id_of(document).is_none())?;
    let message = "this is one page of an answer, and there are more: ask for the others, too (`az graph query --first \
                   1000 --skip-token …`), and give all of them";
    Some(Note::not_read(&next.at, message))
}

fn collect(node: Node, resources: &mut Vec<Resource>, mistakes: &mut Vec<Mistake>) {
    let is_list = |node: &Node| matches!(node.value, Value::List(_));
    let holds = |list: &&str| node.get(list).is_some_and(is_list) && id_of(&node).is_none();
    let list = LISTS.into_iter().find(holds);
    match (node.value, list) {
        (Value::List(items), _) => items.into_iter().for_each(|item| collect(item, resources, mistakes)),
        (Value::Object(entries), Some(list)) => {
            let held = entries.into_iter().find(|(key, _)| key.text.eq_ignore_ascii_case(list));
            if let Some((_, held)) = held {
                collect(held, resources, mistakes);
            }
        }
        (value, _) => match resource(Node { at: node.at, value }) {
            Ok(resource) => resources.push(resource),
            Err(node) => mistakes.push(Mistake {
                at: node.at,
                message: "this is no resource: it has no ARM id".to_owned(),
                expected: Some("an object with an `id` such as /subscriptions/…/virtualNetworks/hub".to_owned()),
                help: Some("keep the `id` of each resource: `az network vnet list -o json` prints it".to_owned()),
            }),
        },
    }
}

/// The object itself where it is none.
fn resource(node: Node) -> Result<Resource, Node> {
    let text = |key| node.get(key).and_then(Node::text).filter(|text: &&str| !text.is_empty());
    let id =
        id_of(&node).map(str::to_owned).or_else(|| Some(made_id(text("type")?, text("name")?, text("resourceGroup"))));
    // Resource Graph writes types in small letters; the id has Azure's own spelling.
    let known = id.as_deref().and_then(parts).map(|parts| (parts.names.join("/"), parts.kind));
    let (Some(id), Some((name, kind))) = (id, known) else { return Err(node) };
    Ok(Resource { kind, name, at: node.at.clone(), body: node, existing: false, id: ResourceId::new(id) })
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
