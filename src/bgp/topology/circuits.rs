//! What the customers of circuits advertise, and over which of their two links.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Advertisement, CLOUD_ASN, CircuitIx, Customer, Learned, Network, Side};

use super::expressroute_rib::{Exchange, NextRouter, underlay};

/// The AS number of a circuit's customer, if it has one.
pub(super) fn customer_asn(network: &Network, circuit: CircuitIx) -> Option<u32> {
    match network.customer(circuit)? {
        Customer::Cloud(_) | Customer::Segment(..) => Some(CLOUD_ASN),
        Customer::Site(_) => Some(network.circuit(circuit).peering.as_ref()?.peer_asn),
    }
}

/// What a circuit's customer advertises over links that are up: learned by its sessions, else configured in the file.
pub(super) fn advertisements<'a>(
    network: &Network,
    learned: &'a Learned,
    circuit: CircuitIx,
) -> Cow<'a, BTreeMap<IpNet, Advertisement>> {
    let up: Vec<_> = Side::BOTH.into_iter().filter(|side| learned.link_is_up(network, circuit, *side)).collect();
    if let Some(heard) = learned.bgp.by_circuit.get(&network.circuit(circuit).name) {
        // A session ends a moment after its link.
        return if up.len() == 2 { Cow::Borrowed(heard) } else { Cow::Owned(over((network, circuit), &up, heard)) };
    }
    let Some(asn) = customer_asn(network, circuit) else { return Cow::default() };
    let mut all: BTreeMap<IpNet, Advertisement> = BTreeMap::new();
    for side in up {
        let (prefixes, prepend) = network.advertised_over_link(circuit, side).unwrap_or_default();
        let (as_path, link) = (vec![asn; 1 + usize::from(prepend)], network.circuit_link_name(circuit, side));
        for prefix in prefixes {
            all.entry(prefix).or_default().add(as_path.clone(), link.clone());
        }
    }
    Cow::Owned(all)
}

/// The part advertised over these links.
fn over(
    (network, circuit): (&Network, CircuitIx),
    links: &[Side],
    heard: &BTreeMap<IpNet, Advertisement>,
) -> BTreeMap<IpNet, Advertisement> {
    let links: Vec<_> = links.iter().map(|side| network.circuit_link_name(circuit, *side)).collect();
    let left = heard.iter().map(|(prefix, advertised)| {
        let over = advertised.over.iter().filter(|link| links.contains(link)).cloned().collect();
        (*prefix, Advertisement { as_path: advertised.as_path.clone(), over })
    });
    left.filter(|(_, advertised)| !advertised.over.is_empty()).collect()
}

/// The links that an edge uses for each prefix of its customer: those that advertise it.
pub(crate) fn to_customer(
    (network, learned): (&Network, &Learned),
    exchange: &Exchange,
    circuit: CircuitIx,
) -> BTreeMap<IpNet, Vec<Side>> {
    let advertised = advertisements(network, learned, circuit);
    let links = Side::BOTH.map(|side| (side, network.circuit_link_name(circuit, side)));
    let over = |prefix: &IpNet| {
        let is_used = |link: &String| advertised.get(prefix).is_some_and(|advertised| advertised.over.contains(link));
        links.iter().filter(|(_, link)| is_used(link)).map(|(side, _)| *side).collect()
    };
    let all = exchange.edge(circuit).into_iter();
    let own = all.filter(|(_, paths)| paths.iter().any(|path| matches!(path.next, NextRouter::Customer(_))));
    own.map(|(prefix, _)| (prefix, over(&prefix))).collect()
}

/// Over which of its links each circuit leads to its customer's prefixes.
#[derive(Debug)]
pub struct CustomerLinks(Vec<BTreeMap<IpNet, Vec<Side>>>);

impl CustomerLinks {
    pub fn of(network: &Network, learned: &Learned, exchange: &Exchange) -> Self {
        Self(network.circuits().map(|(ix, _)| to_customer((network, learned), exchange, ix)).collect())
    }

    /// The addresses that listings show for a path over a circuit: of each link that leads there (SYS-09a, ER-02), and
    /// of both where the path does not end at the customer.
    pub fn underlay(&self, circuit: CircuitIx, prefix: &IpNet) -> Vec<IpAddr> {
        let sides = self.0[circuit.0].get(prefix);
        let leads = |side: &Side| sides.is_none_or(|sides| sides.contains(side));
        Side::BOTH.into_iter().zip(underlay(circuit)).filter(|(side, _)| leads(side)).map(|(_, it)| it).collect()
    }
}
