//! The resources of a plan or a state as Terraform has them: address, type, values.

use std::rc::Rc;

use crate::arm::{Key, Node, Value};

const WITHOUT_SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";

/// One resource of Terraform; of `count` or `for_each` one.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// `module.hub.azurerm_subnet.app[0]`
    pub(super) address: String,
    /// `module.hub`, or nothing at the root.
    pub(super) module: String,
    pub(super) kind: String,
    pub(super) name: String,
    /// What stands in the brackets.
    pub(super) index: Option<String>,
    /// It exists outside of this configuration.
    pub(super) is_data: bool,
    /// Where the whole configuration goes, for IDs that are worked out.
    pub(super) subscription: Rc<str>,
    pub(super) values: Node,
}

impl Instance {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(Node::text).filter(|text| !text.is_empty())
    }
}

/// The subscription that the known IDs name is the one of all.
pub(super) fn in_one_subscription(instances: &mut [Rc<Instance>], known: &[Rc<Instance>]) {
    let named = |instance: &Rc<Instance>| {
        let rest = instance.text("id")?.strip_prefix("/subscriptions/")?;
        rest.split('/').next().map(Rc::<str>::from)
    };
    let Some(subscription) = known.iter().chain(instances.iter()).find_map(named) else { return };
    for instance in instances {
        *instance = Rc::new(Instance { subscription: Rc::clone(&subscription), ..(**instance).clone() });
    }
}

/// Of `values`, `planned_values`: a root module with modules in it.
pub(super) fn of_values(values: &Node) -> Vec<Rc<Instance>> {
    let mut found = Vec::new();
    if let Some(root) = values.get("root_module") {
        in_module(root, &mut found);
    }
    found
}

fn in_module(module: &Node, found: &mut Vec<Rc<Instance>>) {
    let place = module.get("address").and_then(Node::text).unwrap_or_default();
    for node in module.get("resources").map(Node::items).unwrap_or_default() {
        let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        found.push(Rc::new(Instance {
            address: text("address"),
            module: place.to_owned(),
            kind: text("type"),
            name: text("name"),
            index: node.get("index").map(index),
            is_data: text("mode") == "data",
            subscription: WITHOUT_SUBSCRIPTION.into(),
            values: values_at(node, node.get("values")),
        }));
    }
    for child in module.get("child_modules").map(Node::items).unwrap_or_default() {
        in_module(child, found);
    }
}

/// Of a file `terraform.tfstate`, version 4.
pub(super) fn of_state_file(document: &Node) -> Vec<Rc<Instance>> {
    let mut found = Vec::new();
    for resource in document.get("resources").map(Node::items).unwrap_or_default() {
        let text = |key: &str| resource.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        let (module, kind, name) = (text("module"), text("type"), text("name"));
        let is_data = text("mode") == "data";
        for node in resource.get("instances").map(Node::items).unwrap_or_default() {
            let index = node.get("index_key").map(index);
            let brackets = index.as_ref().map(|index| format!("[{index}]")).unwrap_or_default();
            let data = if is_data { "data." } else { "" };
            let place = if module.is_empty() { String::new() } else { format!("{module}.") };
            found.push(Rc::new(Instance {
                address: format!("{place}{data}{kind}.{name}{brackets}"),
                module: module.clone(),
                kind: kind.clone(),
                name: name.clone(),
                index,
                is_data,
                subscription: WITHOUT_SUBSCRIPTION.into(),
                values: values_at(node, node.get("attributes")),
            }));
        }
    }
    found
}

/// As it stands in an address: a number, or a text in quotes.
fn index(node: &Node) -> String {
    node.to_json().to_string()
}

/// The values, at the place of the resource.
fn values_at(resource: &Node, values: Option<&Node>) -> Node {
    let entries: Vec<(Key, Node)> = values.map(Node::entries).unwrap_or_default().to_vec();
    Node { at: resource.at.clone(), value: Value::Object(entries) }
}
