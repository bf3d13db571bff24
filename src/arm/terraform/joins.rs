//! Resources that belong together: children into the lists of their parents, associations into what they change.

use std::collections::HashMap;
use std::rc::Rc;

use crate::arm::{Key, Node, Note, Resource, ResourceId, Value};

use super::instances::Instance;
use super::shape::{append, keyed, set};

/// An association: the attribute that says what is changed, and what goes where.
struct Join {
    terraform: &'static str,
    changes: &'static str,
    value: &'static str,
    path: &'static str,
    how: How,
}

enum How {
    /// `{id}` at the path.
    Id,
    /// `{id}` in the list at the path.
    Listed,
    /// The same in the IP configurations: in the named one, or in all.
    Configurations,
    /// The value as it is.
    Plain,
}

const JOINS: &[Join] = &[
    join("azurerm_subnet_route_table_association", "subnet_id", "route_table_id", "properties.routeTable", How::Id),
    join(
        "azurerm_subnet_network_security_group_association",
        "subnet_id",
        "network_security_group_id",
        "properties.networkSecurityGroup",
        How::Id,
    ),
    join("azurerm_subnet_nat_gateway_association", "subnet_id", "nat_gateway_id", "properties.natGateway", How::Id),
    join(
        "azurerm_network_interface_security_group_association",
        "network_interface_id",
        "network_security_group_id",
        "properties.networkSecurityGroup",
        How::Id,
    ),
    join(
        "azurerm_network_interface_application_security_group_association",
        "network_interface_id",
        "application_security_group_id",
        "properties.applicationSecurityGroups",
        How::Configurations,
    ),
    join(
        "azurerm_network_interface_backend_address_pool_association",
        "network_interface_id",
        "backend_address_pool_id",
        "properties.loadBalancerBackendAddressPools",
        How::Configurations,
    ),
    join(
        "azurerm_network_interface_nat_rule_association",
        "network_interface_id",
        "nat_rule_id",
        "properties.loadBalancerInboundNatRules",
        How::Configurations,
    ),
    join(
        "azurerm_nat_gateway_public_ip_association",
        "nat_gateway_id",
        "public_ip_address_id",
        "properties.publicIpAddresses",
        How::Listed,
    ),
    join(
        "azurerm_nat_gateway_public_ip_prefix_association",
        "nat_gateway_id",
        "public_ip_prefix_id",
        "properties.publicIpPrefixes",
        How::Listed,
    ),
    join(
        "azurerm_virtual_network_dns_servers",
        "virtual_network_id",
        "dns_servers",
        "properties.dhcpOptions.dnsServers",
        How::Plain,
    ),
];

/// An address of a backend pool, which is no association but changes its pool all the same.
const POOL_ADDRESS: &str = "azurerm_lb_backend_address_pool_address";

/// Parents whose lists take their children. Others stay apart, as they do in ARM.
const TAKES_CHILDREN: &[&str] = &[
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Network/routeTables",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/loadBalancers",
    "Microsoft.Network/virtualNetworkGateways",
    "Microsoft.Network/expressRouteCircuits",
];

const fn join(
    terraform: &'static str,
    changes: &'static str,
    value: &'static str,
    path: &'static str,
    how: How,
) -> Join {
    Join { terraform, changes, value, path, how }
}

pub(super) fn is_join(kind: &str) -> bool {
    kind == POOL_ADDRESS || JOINS.iter().any(|join| join.terraform == kind)
}

/// The resources with all that belongs to them.
pub(super) fn joined(apart: Vec<Resource>, instances: &[Rc<Instance>], notes: &mut Vec<Note>) -> Vec<Resource> {
    let mut apart = apart;
    let places: HashMap<ResourceId, usize> =
        apart.iter().enumerate().map(|(at, resource)| (resource.id.clone(), at)).collect();
    for instance in instances.iter().filter(|instance| is_join(&instance.kind)) {
        if !apply(instance, &mut apart, &places) {
            let message = format!("`{}` joins nothing that is known here, so it was left out.", instance.address);
            notes.push(Note::made_up(&instance.values.at, message));
        }
    }
    into_parents(apart, &places)
}

/// Children go into their parents, in place of a block of the same name.
fn into_parents(apart: Vec<Resource>, places: &HashMap<ResourceId, usize>) -> Vec<Resource> {
    let mut slots: Vec<Option<Resource>> = apart.into_iter().map(Some).collect();
    for at in 0..slots.len() {
        let parent = slots[at].as_ref().and_then(parent_id).and_then(|id| places.get(&id)).copied();
        let Some(parent) = parent.filter(|parent| *parent != at) else { continue };
        let takes = slots[parent].as_ref().is_some_and(|it| TAKES_CHILDREN.contains(&it.kind.as_str()) && !it.existing);
        if !takes {
            continue;
        }
        if let (Some(child), Some(Some(parent))) = (slots[at].take(), slots.get_mut(parent)) {
            adopt(&mut parent.body, child);
        }
    }
    slots.into_iter().flatten().collect()
}

fn parent_id(child: &Resource) -> Option<ResourceId> {
    (child.kind.matches('/').count() == 2)
        .then(|| outer(child.id.as_str()))
        .flatten()
        .map(|(id, ..)| ResourceId::new(id))
}

/// `(parent, list, name)` of an ID.
fn outer(id: &str) -> Option<(&str, &str, &str)> {
    let (rest, name) = id.rsplit_once('/')?;
    let (parent, list) = rest.rsplit_once('/')?;
    Some((parent, list, name))
}

fn adopt(parent: &mut Node, child: Resource) {
    let id = child.id.as_str().to_owned();
    let Some((_, list, name)) = outer(&id) else { return };
    let mut item = child.body;
    let named = Node { at: child.at.clone(), value: Value::Text(name.to_owned()) };
    if let Value::Object(entries) = &mut item.value {
        entries.insert(0, (Key::new(&child.at, "name"), named));
    }
    match named_item(parent, list, name) {
        Some(known) => *known = item,
        None => append(parent, &format!("properties.{list}"), item),
    }
}

/// The item of a list in `properties` with this name.
fn named_item<'n>(body: &'n mut Node, list: &str, name: &str) -> Option<&'n mut Node> {
    let properties = value_mut(body, "properties")?;
    let Value::List(items) = &mut value_mut(properties, list)?.value else { return None };
    items.iter_mut().find(|item| item.get("name").and_then(Node::text).is_some_and(|it| it.eq_ignore_ascii_case(name)))
}

fn value_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Value::Object(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(known, _)| known.text.eq_ignore_ascii_case(key)).map(|(_, node)| node)
}

/// The object behind an ID: a resource, or a block of one.
fn target<'n>(id: &str, apart: &'n mut [Resource], places: &HashMap<ResourceId, usize>) -> Option<&'n mut Node> {
    if let Some(at) = places.get(&ResourceId::new(id)) {
        return apart.get_mut(*at).map(|resource| &mut resource.body);
    }
    let (parent, list, name) = outer(id)?;
    let at = places.get(&ResourceId::new(parent))?;
    named_item(&mut apart.get_mut(*at)?.body, list, name)
}

fn apply(instance: &Instance, apart: &mut [Resource], places: &HashMap<ResourceId, usize>) -> bool {
    if instance.kind == POOL_ADDRESS {
        return pool_address(instance, apart, places);
    }
    let Some(join) = JOINS.iter().find(|join| join.terraform == instance.kind) else { return false };
    let (Some(changed), Some(value)) = (instance.text(join.changes), instance.values.get(join.value)) else {
        return false;
    };
    let Some(body) = target(changed, apart, places) else { return false };
    match join.how {
        How::Id => set(body, join.path, keyed(value, "id")),
        How::Listed => append(body, join.path, keyed(value, "id")),
        How::Plain => set(body, join.path, value.clone()),
        How::Configurations => {
            let wanted = instance.text("ip_configuration_name");
            let list = value_mut(body, "properties").and_then(|it| value_mut(it, "ipConfigurations"));
            let Some(Node { value: Value::List(items), .. }) = list else { return false };
            let is_wanted = |item: &&mut Node| wanted.is_none() || item.get("name").and_then(Node::text) == wanted;
            items.iter_mut().filter(is_wanted).for_each(|item| append(item, join.path, keyed(value, "id")));
        }
    }
    true
}

fn pool_address(instance: &Instance, apart: &mut [Resource], places: &HashMap<ResourceId, usize>) -> bool {
    use super::shape::As::{Id, Same};
    let Some(pool) = instance.text("backend_address_pool_id").and_then(|id| target(id, apart, places)) else {
        return false;
    };
    let address = super::shape::shaped(
        &instance.values,
        &[
            ("name", "name", Same),
            ("ip_address", "properties.ipAddress", Same),
            ("virtual_network_id", "properties.virtualNetwork", Id),
            ("backend_address_ip_configuration_id", "properties.loadBalancerFrontendIPConfiguration", Id),
        ],
    );
    append(pool, "properties.loadBalancerBackendAddresses", address);
    true
}
