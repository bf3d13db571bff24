//! A topology file as a deployment template: the same network in Azure.
//!
//! One idea: the file has ARM's own words, so an object goes over as it is, with its keys in `properties`, names as
//! `resourceId` and lists of children by the same rule. A table for each type names only what is otherwise. What Azure has
//! nothing like is named in a note.

mod bicep;
mod machine;
mod others;
mod tables;

use serde_json::{Map, Value, json};

pub use bicep::bicep;
use tables::{Give, LISTS, Table};

/// A template, and what of the file is not in it.
#[derive(Clone, Debug)]
pub struct Export {
    pub template: Value,
    /// In the order of the file.
    pub omissions: Vec<Omission>,
}

/// Something that a template does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// The path in the file, such as `virtualMachines[0].run`.
    pub path: String,
    pub message: String,
}

/// The version of each interface of Azure's that the template asks for.
const NETWORK: &str = "2024-05-01";
const COMPUTE: &str = "2024-07-01";
const SCHEMA: &str = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#";

/// Makes a template of a topology file, which is valid, given as JSON.
pub fn export(file: &Value) -> Export {
    let mut exporter = Exporter { file, resources: Vec::new(), omissions: Vec::new(), at: String::new() };
    for (list, kind, table) in LISTS {
        for (index, item) in exporter.items(list).iter().enumerate() {
            exporter.at = format!("{list}[{index}]");
            exporter.resource(kind, item, table);
        }
    }
    for (index, machine) in exporter.items("virtualMachines").iter().enumerate() {
        exporter.at = format!("virtualMachines[{index}]");
        exporter.machine(machine);
    }
    exporter.flow_logs();
    exporter.leave_out();
    let Exporter { resources, omissions, .. } = exporter;
    let has_machines = resources.iter().any(|one| one["type"] == machine::KIND);
    let mut template = json!({
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "resources": resources,
    });
    if has_machines {
        template["parameters"] = machine::parameters();
    }
    if file.get("flowLogs").is_some_and(|logs| !is_nothing(logs)) {
        template["parameters"]["storageId"] =
            json!({ "type": "string", "metadata": { "description": "The id of the flow logs' storage account." } });
    }
    Export { template, omissions }
}

/// Keys of a file that no template has.
const NOT_AZURE: [(&str, &str); 8] = [
    ("sites", "sites stand on-premises: the template has only what Azure knows of them"),
    ("vpnClients", "a client is a computer elsewhere: the template has only the pool of its gateway"),
    ("networkManagers", "network managers are not exported"),
    ("internet", "the Internet is there already"),
    ("emulation", "`emulation` is of the lab alone"),
    ("serviceTags", "Azure has its own list of service tags"),
    ("principal", "`principal` is of the lab alone"),
    ("tests", "`tests` are of the lab alone"),
];

struct Exporter<'a> {
    file: &'a Value,
    resources: Vec<Value>,
    omissions: Vec<Omission>,
    /// The object that is being exported, by its path.
    at: String,
}

impl Exporter<'_> {
    fn items(&self, list: &str) -> Vec<Value> {
        self.file[list].as_array().into_iter().flatten().map(flat).collect()
    }

    fn leave_out(&mut self) {
        for (key, message) in NOT_AZURE {
            if self.file.get(key).is_some_and(|value| !is_nothing(value)) {
                self.omissions.push(Omission { path: key.to_owned(), message: message.to_owned() });
            }
        }
    }

    /// Says that a key of the object that is being exported is not in the template.
    fn omit(&mut self, key: &str, message: &str) {
        let omission = Omission { path: format!("{}.{key}", self.at), message: message.to_owned() };
        if !self.omissions.contains(&omission) {
            self.omissions.push(omission);
        }
    }

    /// Adds a resource and those of its children that are resources of their own.
    fn resource(&mut self, kind: &str, item: &Value, table: &Table) {
        let name = text(&item["name"]);
        let (mut properties, mut beside, mut needs) = (Map::new(), Map::new(), Vec::new());
        let item = (table.complete)(self, item);
        for (key, value) in item.as_object().into_iter().flatten() {
            if key == "name" || is_nothing(value) {
                continue;
            }
            match table.give(key) {
                Give::Beside => {
                    beside.insert(key.clone(), value.clone());
                }
                Give::Apart(child) => {
                    let kind = format!("{kind}/{key}");
                    for one in value.as_array().into_iter().flatten() {
                        let mut one = flat(one);
                        one["name"] = Value::String(format!("{name}/{}", text(&one["name"])));
                        self.resource(&kind, &one, child);
                    }
                }
                give => {
                    let value = self.value(&name, key, value, give, &mut needs);
                    properties.extend(value.map(|value| (key.clone(), value)));
                }
            }
        }
        if let Some(key) = self.cloud_key(&item, &mut needs) {
            properties.insert("authorizationKey".to_owned(), key);
        }
        let version = if kind.starts_with("Microsoft.AVS/") { others::AVS } else { NETWORK };
        let mut resource = json!({ "type": kind, "apiVersion": version, "name": name });
        if kind.matches('/').count() == 1 {
            let location = text(&item["location"]);
            let location = if location.is_empty() { self.location_of(Some(&item)) } else { location };
            resource["location"] = Value::String(location);
        } else {
            // A child needs its parent. The inner network of a private cloud is there with the cloud.
            let (kind, depth) = (kind.replace("/workloadNetworks", ""), name.matches('/').count());
            let parents: Vec<_> = name.split('/').take(depth.min(kind.matches('/').count() - 1)).collect();
            needs.extend(kind.rsplit_once('/').map(|(parent, _)| id(parent, &parents)));
        }
        put(&mut resource, beside, properties, needs);
        self.resources.push(resource);
    }

    /// The region of the first virtual network: a file has it only there.
    fn location(&self) -> String {
        self.items("virtualNetworks").first().map_or_else(|| "westeurope".to_owned(), |vnet| text(&vnet["location"]))
    }

    /// The value that stands in the template; none where Azure has nothing like it.
    fn value(&mut self, owner: &str, key: &str, value: &Value, give: Give, needs: &mut Vec<String>) -> Option<Value> {
        Some(match give {
            Give::Space if value.is_array() => json!({ "addressPrefixes": value }),
            Give::Name if value.is_string() => json!({ "name": value, "tier": value }),
            Give::Ref(kind) => json!({ "id": reference(kind, value, needs) }),
            Give::Refs(kind) => {
                let ids = value.as_array()?.iter().map(|one| json!({ "id": reference(kind, one, needs) }));
                Value::Array(ids.collect())
            }
            Give::Part(kind) => {
                let name = last(value);
                json!({ "id": id(kind, &[owner, &name]) })
            }
            Give::Parts(kind) => {
                let ids = value.as_array()?.iter().map(|one| json!({ "id": id(kind, &[owner, &last(one)]) }));
                Value::Array(ids.collect())
            }
            Give::Items(table) => {
                let items = value.as_array()?.iter().map(|one| self.item(owner, &flat(one), table, needs));
                Value::Array(items.collect())
            }
            Give::Lab => {
                self.omit(key, &format!("`{key}` is of the lab alone"));
                return None;
            }
            Give::Elsewhere(place) => {
                self.omit(key, &format!("{place} keeps `{key}`, and no template reaches it"));
                return None;
            }
            Give::Made => {
                self.omit(key, &format!("Azure makes `{key}` itself"));
                return None;
            }
            Give::Circuit => json!({ "id": self.circuit(value, needs).0 }),
            Give::Same | Give::Space | Give::Name | Give::Beside | Give::Apart(_) => value.clone(),
        })
    }

    /// A child that stands in its parent.
    fn item(&mut self, owner: &str, item: &Value, table: &Table, needs: &mut Vec<String>) -> Value {
        let mut properties = Map::new();
        let item = (table.complete)(self, item);
        for (key, value) in
            item.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !is_nothing(value))
        {
            let value = self.value(owner, key, value, table.give(key), needs);
            properties.extend(value.map(|value| (key.clone(), value)));
        }
        json!({ "name": item["name"], "properties": properties })
    }
}

/// Writes what a resource needs, once each, and its properties.
fn put(resource: &mut Value, beside: Map<String, Value>, properties: Map<String, Value>, mut needs: Vec<String>) {
    for (key, value) in beside {
        resource[key] = value;
    }
    needs.sort();
    needs.dedup();
    if !needs.is_empty() {
        resource["dependsOn"] = json!(needs);
    }
    resource["properties"] = Value::Object(properties);
}

/// `[resourceId('Microsoft.Network/virtualNetworks/subnets', 'hub', 'app')]`
fn id(kind: &str, names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    format!("[resourceId('{kind}', {})]", names.join(", "))
}

/// The id of what a value names: a name, an ARM id, or an object with one. Its top resource is needed first.
fn reference(kind: &str, value: &Value, needs: &mut Vec<String>) -> String {
    let names = names(kind, value);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let top: Vec<&str> = kind.splitn(3, '/').take(2).collect();
    needs.extend(names.first().map(|name| id(&top.join("/"), &[name])));
    id(kind, &names)
}

fn names(kind: &str, value: &Value) -> Vec<String> {
    let written = value.get("id").map_or_else(|| text(value), text);
    if !written.starts_with('/') {
        return written.split('/').map(str::to_owned).collect();
    }
    let depth = kind.matches('/').count();
    let segments: Vec<&str> = written.trim_end_matches('/').split('/').collect();
    let tail = segments.len().saturating_sub(2 * depth);
    segments[tail..].iter().skip(1).step_by(2).map(|name| (*name).to_owned()).collect()
}

/// The last name of a reference.
fn last(value: &Value) -> String {
    let written = value.get("id").map_or_else(|| text(value), text);
    written.rsplit('/').next().unwrap_or_default().to_owned()
}

/// An object with its `properties` beside its name.
fn flat(value: &Value) -> Value {
    let mut flat = value.clone();
    if let Value::Object(own) = &mut flat
        && let Some(Value::Object(inner)) = own.remove("properties")
    {
        own.extend(inner);
    }
    flat
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Object(_) => false,
    }
}
