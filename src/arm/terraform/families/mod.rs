//! Which resource of ARM a type of Terraform is, what its ID is made of, and which of its attributes go where.
//!
//! Attributes that changed their name between versions 3 and 4 of the provider stand under both.

mod balancer;
mod compute;
mod gateway;
mod network;
mod other;
mod wan;

use std::rc::Rc;

use crate::arm::{Node, Resource, ResourceId, json};

use super::instances::Instance;
use super::shape::{As, Rule, set, shaped, text};

/// A type of Terraform's provider `azurerm`.
pub(super) struct Family {
    pub(super) terraform: &'static str,
    pub(super) arm: &'static str,
    pub(super) named: Named,
    pub(super) rules: &'static [Rule],
    /// What Azure's API has and the provider does not ask for.
    pub(super) fixed: &'static [(&'static str, &'static str)],
}

/// What the name and the ID of a resource are made of.
pub(super) enum Named {
    /// Its own name.
    Own,
    /// The names of its parents, by attribute, and its own.
    Under(&'static [&'static str]),
    /// The ID of its parent, by attribute, and its own name.
    Of(&'static str),
}

const TABLES: &[&[Family]] =
    &[network::FAMILIES, compute::FAMILIES, balancer::FAMILIES, gateway::FAMILIES, other::FAMILIES, wan::FAMILIES];

fn family(kind: &str) -> Option<&'static Family> {
    TABLES.iter().flat_map(|table| table.iter()).find(|family| family.terraform == kind)
}

/// Attributes that are lists of IDs; all others are one value.
pub(super) fn is_list(key: &str) -> bool {
    key.ends_with("_ids") || matches!(key, "address_prefixes" | "address_space" | "dns_servers")
}

/// Whether an attribute is a block, or several of them.
pub(super) fn is_block(kind: &str, key: &str) -> bool {
    let is_one = |(from, _, how): &&Rule| *from == key && matches!(how, As::One(_) | As::Each(_));
    family(kind).is_some_and(|family| family.rules.iter().any(|rule| is_one(&rule)))
}

/// Whether an attribute says something about the network, and not only where it is and what it is called.
pub(super) fn says_something(kind: &str, key: &str) -> bool {
    let is_used = |family: &Family| family.rules.iter().any(|(from, ..)| *from == key);
    family(kind).is_some_and(is_used) && !["location", "tags", "zone", "zones"].contains(&key)
}

/// The ID, as Terraform knows it or as Azure will make it.
pub(super) fn id(instance: &Instance) -> Option<String> {
    if let Some(id) = instance.text("id").filter(|id| id.starts_with('/')) {
        return Some(id.to_owned());
    }
    if instance.kind.starts_with("azapi_resource") {
        return other::azapi_id(instance);
    }
    let group = || {
        let group = instance.text("resource_group_name").unwrap_or("lab");
        format!("/subscriptions/{}/resourceGroups/{group}", instance.subscription)
    };
    if instance.kind == "azurerm_resource_group" {
        return Some(format!("/subscriptions/{}/resourceGroups/{}", instance.subscription, instance.text("name")?));
    }
    let family = family(&instance.kind)?;
    let name = own_name(instance)?;
    let mut types = family.arm.split('/');
    let namespace = types.next()?;
    let parents = match family.named {
        Named::Of(parent) => {
            let last = family.arm.rsplit('/').next()?;
            return Some(format!("{}/{last}/{name}", instance.text(parent)?));
        }
        Named::Under(parents) => parents,
        Named::Own => &[],
    };
    let names = parents.iter().map(|parent| instance.text(parent)).chain([Some(name)]);
    let pairs: Option<Vec<String>> = types.zip(names).map(|(kind, name)| Some(format!("/{kind}/{}", name?))).collect();
    Some(format!("{}/providers/{namespace}{}", group(), pairs?.concat()))
}

/// A circuit's peering is called by its type.
fn own_name(instance: &Instance) -> Option<&str> {
    let key = if instance.kind == "azurerm_express_route_circuit_peering" { "peering_type" } else { "name" };
    instance.text(key)
}

/// The resources of ARM that one of Terraform is: none for what only joins others, mostly one.
pub(super) fn resources(instance: &Rc<Instance>) -> Vec<Resource> {
    let is_azure = instance.kind.starts_with("azurerm_") || instance.kind.starts_with("azapi_resource");
    if !is_azure || super::joins::is_join(&instance.kind) || instance.kind == "azurerm_resource_group" {
        return Vec::new();
    }
    if instance.kind.starts_with("azapi_resource") {
        return other::azapi(instance).into_iter().collect();
    }
    let (Some(family), Some(id)) = (family(&instance.kind), id(instance)) else {
        // A data source of another kind is no part of the network.
        return if instance.is_data { Vec::new() } else { vec![not_known(instance)] };
    };
    let mut body = shaped(&instance.values, family.rules);
    for (path, value) in family.fixed {
        set(&mut body, path, text(&instance.values.at, *value));
    }
    let mut made = vec![Resource {
        name: name_in(&id),
        id: ResourceId::new(id),
        kind: family.arm.to_owned(),
        at: instance.values.at.clone(),
        body,
        existing: instance.is_data,
    }];
    if let Some(resource) = made.first_mut() {
        match instance.kind.as_str() {
            "azurerm_route_server" => made.extend(other::route_server(instance)),
            kind if kind.starts_with("azurerm_lb_") => balancer::frontends_and_pools(instance, &mut resource.body),
            "azurerm_virtual_network_gateway" => gateway::addresses(instance, resource),
            _ => {}
        }
    }
    made
}

/// `hub/app` of `…/virtualNetworks/hub/subnets/app`.
fn name_in(id: &str) -> String {
    let after = id.rfind("/providers/").map_or(id, |at| &id[at + "/providers/".len()..]);
    after.split('/').skip(2).step_by(2).collect::<Vec<_>>().join("/")
}

/// What the program does not emulate keeps Terraform's name, so that the summary names it.
fn not_known(instance: &Instance) -> Resource {
    let kind = format!("terraform/{}", instance.kind);
    Resource {
        id: ResourceId::new(format!("/{kind}/{}", instance.address)),
        kind,
        name: instance.text("name").unwrap_or(&instance.address).to_owned(),
        at: instance.values.at.clone(),
        body: shaped(&instance.values, &[("location", "location", As::Same)]),
        existing: instance.is_data,
    }
}

/// A text of JSON, or an object.
fn object_of(node: &Node) -> Option<Node> {
    match node.text() {
        Some(text) => json::parse(&node.at.file, text).ok().map(|parsed| parsed.moved(&node.at)),
        None => Some(node.clone()),
    }
}
