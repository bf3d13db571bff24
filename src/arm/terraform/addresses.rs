//! Private addresses that another resource reads before Azure has allocated them, such as a route's next hop.
//!
//! One from the end of the subnet is chosen, and the resource that has it gets the same: what a plan wires together stays wired.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::arm::{Key, Node, Value};

use super::instances::Instance;
use super::shape::text;

/// Blocks that have an address.
const BLOCKS: [&str; 2] = ["ip_configuration", "frontend_ip_configuration"];
pub(super) const ADDRESS: &str = "private_ip_address";

/// The chosen addresses, by the resource that has them and the place of the block.
#[derive(Debug, Default)]
pub(super) struct Chosen(BTreeMap<(String, usize), Ipv4Addr>);

/// One block of a resource that has an address.
pub(super) struct Block<'a> {
    owner: &'a Instance,
    place: usize,
    values: &'a Node,
}

impl<'a> Block<'a> {
    /// The block that `private_ip_address` or `ip_configuration[1].private_ip_address` is of.
    pub(super) fn of(owner: &'a Instance, path: &[&str]) -> Option<Self> {
        let (last, before) = path.split_last()?;
        // Of `nic[count.index].private_ip_address` a plan keeps `nic`, and the attribute that it is for.
        if !last.ends_with("address") || *last == "ip_address" {
            return None;
        }
        let place = before.iter().find_map(|step| step.trim_matches(['[', ']']).parse().ok()).unwrap_or(0);
        let key = BLOCKS.into_iter().find(|key| owner.values.get(key).is_some())?;
        let values = owner.values.get(key)?.items().get(place)?;
        Some(Self { owner, place, values })
    }

    /// What Terraform knows of it.
    pub(super) fn address(&self) -> Option<Node> {
        self.values.get(ADDRESS).filter(|node| node.text().is_some_and(|text| !text.is_empty())).cloned()
    }

    pub(super) fn subnet(&self) -> Option<&'a str> {
        self.values.get("subnet_id").and_then(Node::text)
    }
}

impl Chosen {
    /// The address of a block in this range: from the end, where no one else allocates.
    pub(super) fn choose(
        &mut self,
        block: &Block<'_>,
        range: Ipv4Net,
        is_taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Node> {
        let key = (block.owner.address.clone(), block.place);
        let address = if let Some(known) = self.0.get(&key) {
            *known
        } else {
            let is_free = |address: &Ipv4Addr| !is_taken(*address) && self.0.values().all(|it| it != address);
            // The first four belong to Azure, as does the last.
            let (first, last) = (u32::from(range.network()).saturating_add(4), u32::from(range.broadcast()));
            let found = (first..last).rev().map(Ipv4Addr::from).find(is_free)?;
            self.0.insert(key, found);
            found
        };
        Some(text(&block.values.at, address.to_string()))
    }

    /// Whether the address of a resource was chosen.
    pub(super) fn has(&self, instance: &Instance) -> bool {
        self.0.keys().any(|(owner, _)| *owner == instance.address)
    }

    /// Writes the addresses into the resource that has them. Returns what is to be said of each.
    pub(super) fn give(&self, instance: &mut Instance) -> Vec<String> {
        let own = self.0.iter().filter(|((owner, _), _)| *owner == instance.address);
        let mut said = Vec::new();
        for ((owner, place), address) in own {
            let Some((key, block)) = block_mut(&mut instance.values, *place) else { continue };
            let at = block.at.clone();
            if let Value::Object(entries) = &mut block.value {
                entries.retain(|(known, _)| known.text != ADDRESS);
                entries.push((Key::new(&at, ADDRESS), text(&at, address.to_string())));
            }
            said.push(format!(
                "Terraform knows `{owner}.{key}[{place}].{ADDRESS}` only after the apply, so {address} was chosen."
            ));
        }
        said
    }
}

fn block_mut(values: &mut Node, place: usize) -> Option<(&'static str, &mut Node)> {
    let Value::Object(entries) = &mut values.value else { return None };
    let (key, list) = entries
        .iter_mut()
        .find_map(|(key, node)| Some((BLOCKS.into_iter().find(|block| *block == key.text)?, node)))?;
    let Value::List(blocks) = &mut list.value else { return None };
    Some((key, blocks.get_mut(place)?))
}

/// The first IPv4 range of a subnet, or of a network's block with this name.
pub(super) fn range_of(subnet: &Node) -> Option<Ipv4Net> {
    let listed = subnet.get("address_prefixes").map(Node::items).unwrap_or_default().iter();
    subnet.get("address_prefix").into_iter().chain(listed).find_map(|range| range.text()?.parse().ok())
}

/// The private addresses that a resource has already.
pub(super) fn known(instance: &Instance) -> impl Iterator<Item = Ipv4Addr> {
    let blocks = BLOCKS.into_iter().filter_map(|key| instance.values.get(key)).flat_map(Node::items);
    blocks.filter_map(|block| block.get(ADDRESS)?.text()?.parse().ok())
}
