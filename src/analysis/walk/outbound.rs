//! Outbound translation of a source, in Azure's order (SNAT-01), and the names of the devices that a packet meets at
//! the edge.

use std::fmt;
use std::net::IpAddr;

use crate::analysis::query::names::Names;
use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::{LoadBalancer, NicIx};

/// The first outbound method that a source has.
pub(in crate::analysis) enum Outbound<'a> {
    NatGateway(&'a str),
    /// A public address of its own.
    Public(&'a str),
    /// The outbound rules of the load balancer that it is a backend of.
    Balancer(&'a str),
    Default,
}

impl fmt::Display for Outbound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NatGateway(name) => write!(f, "NAT gateway {name}"),
            Self::Public(name) => write!(f, "public IP {name}"),
            Self::Balancer(name) => write!(f, "load balancer {name}"),
            Self::Default => f.write_str("default outbound access"),
        }
    }
}

impl<'a> Names<'a> {
    pub(in crate::analysis) fn outbound(self, ix: NicIx, src: IpAddr) -> Outbound<'a> {
        let nic = self.network.nic(ix);
        // A NAT gateway is for IPv4 (NAT-02).
        if let Some(gateway) = self.network.subnet(nic.subnet).nat_gateway.filter(|_| src.is_ipv4()) {
            return Outbound::NatGateway(&self.network.nat_gateways[gateway.0].name);
        }
        if let Some(own) = self.own_public(ix, src) {
            return Outbound::Public(own);
        }
        self.balancer_of(ix).map_or(Outbound::Default, |balancer| Outbound::Balancer(&balancer.name))
    }

    /// The public address that an interface has for one of its private ones.
    pub(in crate::analysis) fn own_public(self, ix: NicIx, private: IpAddr) -> Option<&'a str> {
        let own = self.network.nic(ix).public_addresses.iter().find(|own| own.private == private)?;
        Some(&self.network.public_ip(own.public).name)
    }

    /// The load balancer that an interface is a backend of: a public one, if it has one, since only that translates.
    pub(in crate::analysis) fn balancer_of(self, ix: NicIx) -> Option<&'a LoadBalancer> {
        let balancers = self.network.load_balancers.iter();
        let mut own = balancers.filter(|balancer| balancer.backends().any(|backend| backend.nic == ix));
        let first = own.clone().next();
        own.find(|balancer| balancer.is_public()).or(first)
    }

    /// The device that translates between a sender and a destination: the frontend that is asked, or the sender's
    /// outbound method.
    pub(in crate::analysis) fn device(self, from: NicId, src: IpAddr, dst: IpAddr) -> Option<String> {
        if let Some((at, _)) = self.network.frontends().find(|(_, frontend)| frontend.address == dst) {
            return Some(self.frontend(at));
        }
        match self.compiled.sender(from) {
            Sender::Nic(ix) => Some(self.outbound(ix, src).to_string()),
            Sender::Internet => Some(self.public(dst, None)).filter(|name| *name != dst.to_string()),
            _ => None,
        }
    }
}
