//! Addresses that an expression asks for before Azure has allocated them, and what Azure makes for a private cloud.
//!
//! The expression reads one, and the resource then gets the same: what a template wires together stays wired.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::arm::{Key, Node, ResourceId, Value};

use super::deployment::Instance;
use super::machine::Machine;
use super::unique;

/// What has addresses in subnets. A firewall's is the next hop of most routes.
const HAVE_PRIVATE: [&str; 4] = [
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/loadBalancers",
    "Microsoft.Network/azureFirewalls",
    "Microsoft.Network/applicationGateways",
];

/// An address that an expression has read: where in the resource's properties it stands, the last step being its key.
pub(super) struct Allocated {
    path: Vec<String>,
    pub(super) address: String,
}

impl Machine<'_> {
    /// The address at a path of a resource's properties; none if the resource has no addresses or they cannot be known.
    pub(super) fn allocated(&self, instance: &Instance, body: &Node, path: &[String]) -> Option<String> {
        let path =
            if path.first().is_some_and(|key| key.eq_ignore_ascii_case("properties")) { &path[1..] } else { path };
        let key = path.last()?.to_ascii_lowercase();
        if !["ipaddress", "privateipaddress", "expressrouteid", "expressrouteauthorizationkey"].contains(&key.as_str())
        {
            return None;
        }
        let same = |allocated: &&Allocated| {
            allocated.path.iter().map(|key| key.to_lowercase()).eq(path.iter().map(|key| key.to_lowercase()))
        };
        if let Some(allocated) =
            self.addresses.borrow().get(&instance.id).and_then(|allocated| allocated.iter().find(same))
        {
            return Some(allocated.address.clone());
        }
        let address = match key.as_str() {
            "ipaddress" if instance.is_a("Microsoft.Network/publicIPAddresses") => self.next_public(),
            "privateipaddress" if HAVE_PRIVATE.iter().any(|kind| instance.is_a(kind)) => {
                self.private_address(body, path)?
            }
            "expressrouteid" if instance.is_a("Microsoft.AVS/privateClouds") => circuit_of_cloud(instance.id.as_str()),
            "expressrouteauthorizationkey" if instance.is_a("Microsoft.AVS/privateClouds/authorizations") => {
                unique::guid(instance.id.as_str())
            }
            _ => return None,
        };
        let allocated = Allocated { path: path.to_vec(), address: address.clone() };
        self.addresses.borrow_mut().entry(instance.id.clone()).or_default().push(allocated);
        Some(address)
    }

    /// From the end of the subnet, where no one else allocates.
    fn private_address(&self, body: &Node, path: &[String]) -> Option<String> {
        let mut configuration = body.get("properties")?;
        for step in path.split_last()?.1 {
            configuration = part(configuration, step)?;
        }
        let subnet = configuration.get("subnet")?.get("id")?.text()?;
        let range = self.prefix_of(subnet)?;
        let mut taken = self.taken.borrow_mut();
        let count = taken.entry(ResourceId::new(subnet)).or_insert(0);
        *count += 1;
        let address = Ipv4Addr::from(u32::from(range.broadcast()).checked_sub(*count)?);
        // The first four belong to Azure.
        (u32::from(address) > u32::from(range.network()).saturating_add(3)).then(|| address.to_string())
    }

    /// The IPv4 range of a subnet that the template has, on its own or in its network.
    fn prefix_of(&self, subnet: &str) -> Option<Ipv4Net> {
        let found = |id: &str| {
            let instances = self.index.borrow().get(&ResourceId::new(id)).cloned().unwrap_or_default();
            instances.into_iter().find(|instance| !instance.is_running())
        };
        if let Some(own) = found(subnet) {
            return prefix(&self.deployed(&own).ok()?.body);
        }
        let (rest, name) = subnet.rsplit_once('/')?;
        let network = found(rest.rsplit_once('/')?.0)?;
        let deployed = self.deployed(&network).ok()?;
        let subnets = deployed.body.get("properties")?.get("subnets")?;
        let named =
            |subnet: &&Node| subnet.get("name").and_then(Node::text).is_some_and(|it| it.eq_ignore_ascii_case(name));
        prefix(subnets.items().iter().find(named)?)
    }

    /// The resource with the addresses that expressions have read.
    pub(super) fn with_addresses(&self, instance: &Instance, mut body: Node) -> Node {
        for allocated in self.addresses.borrow().get(&instance.id).into_iter().flatten() {
            let Some((key, steps)) = allocated.path.split_last() else { continue };
            let at = body.at.clone();
            let text = |text: &str| Node { at: at.clone(), value: Value::Text(text.to_owned()) };
            let mut place = child(&mut body, "properties");
            for step in steps {
                place = place.and_then(|node| child(node, step));
            }
            let Some(Value::Object(entries)) = place.map(|node| &mut node.value) else { continue };
            entries.push((Key::new(&at, key), text(&allocated.address)));
            if key.eq_ignore_ascii_case("privateIPAddress") {
                entries.retain(|(known, _)| !known.text.eq_ignore_ascii_case("privateIPAllocationMethod"));
                entries.push((Key::new(&at, "privateIPAllocationMethod"), text("Static")));
            }
        }
        body
    }
}

/// The id of the circuit that Azure makes with a private cloud: in Azure it is in another subscription.
pub fn circuit_of_cloud(cloud: &str) -> String {
    let (group, name) = (cloud.split("/providers/").next().unwrap_or_default(), cloud.rsplit('/').next());
    format!("{group}/providers/Microsoft.Network/expressRouteCircuits/{}-circuit", name.unwrap_or_default())
}

fn prefix(subnet: &Node) -> Option<Ipv4Net> {
    let properties = subnet.get("properties")?;
    let listed = properties.get("addressPrefixes").map(Node::items).unwrap_or_default().iter();
    properties.get("addressPrefix").into_iter().chain(listed).find_map(|prefix| prefix.text()?.parse().ok())
}

fn part<'n>(node: &'n Node, step: &str) -> Option<&'n Node> {
    match &node.value {
        Value::List(items) => items.get(step.parse::<usize>().ok()?),
        _ => node.get(step),
    }
}

/// The part of a value. Properties are made where a resource has none.
fn child<'n>(node: &'n mut Node, step: &str) -> Option<&'n mut Node> {
    let at = node.at.clone();
    match &mut node.value {
        Value::List(items) => items.get_mut(step.parse::<usize>().ok()?),
        Value::Object(entries) => {
            let known = entries.iter().position(|(key, _)| key.text.eq_ignore_ascii_case(step));
            if known.is_none() && step == "properties" {
                entries.push((Key::new(&at, step), Node { at: at.clone(), value: Value::Object(Vec::new()) }));
            }
            let place = known.or_else(|| entries.len().checked_sub(1).filter(|_| step == "properties"))?;
            Some(&mut entries[place].1)
        }
        _ => None,
    }
}
