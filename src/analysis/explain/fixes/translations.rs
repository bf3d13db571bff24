//! Packets that the translating device between a source and the Internet cannot carry, or has no flow for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::analysis::walk::outbound::Outbound;
use crate::compile::Sender;
use crate::dataplane::DropReason;
use crate::model::{ConnectionIx, GatewayIx, NatMode, NatRule, NicIx, Remote, SubnetIx};

use super::{Case, Diagnosis};

impl Case<'_> {
    pub(super) fn untranslated(&self, leg: &Leg, reason: DropReason) -> Option<Diagnosis> {
        let names = self.names;
        if reason != DropReason::NotTranslatable {
            let device = names.device(leg.from, leg.src, self.walk.last.dst)?;
            return Some(Diagnosis::without_fix(match reason {
                DropReason::SnatExhausted => {
                    format!("{device} has no source port left to {} (SNAT-05)", self.walk.last.dst)
                }
                DropReason::Unsolicited => format!("{device} has no flow that this packet belongs to (NAT-03)"),
                _ => format!(
                    "{device} has no mapping of this flow any more: it was idle too long, or has never begun there (NAT-04)"
                ),
            }));
        }
        let ix = match names.compiled.sender(leg.from) {
            Sender::Nic(ix) => ix,
            Sender::CircuitLink(..) | Sender::Segment(..) => {
                let cause = format!("managed SNAT translates {} for TCP and UDP only (AVS-11)", self.walk.last.src);
                return Some(self.prose(cause, "ask with TCP or UDP".to_owned()));
            }
            _ => return None,
        };
        let src = self.walk.last.src;
        let outbound = names.outbound(ix, src);
        let device = outbound.to_string();
        match outbound {
            Outbound::NatGateway(_) => Some(self.behind_nat_gateway(ix, &device)),
            Outbound::Public(_) => None,
            Outbound::Balancer(_) | Outbound::Default => Some(self.prose(
                format!("{device} translates {src} and carries TCP and UDP over IPv4 only (SNAT-08)"),
                format!(
                    "ask with {}, or give {src} a publicIPAddress, which carries the rest",
                    self.translated_to(names.network.nic(ix).subnet)
                ),
            )),
        }
    }

    /// What a translating device carries to the destination: TCP to an Azure service leaves by the subnet's service
    /// endpoint instead (SYS-11), where no lab has anything.
    fn translated_to(&self, subnet: SubnetIx) -> &'static str {
        if self.names.service(subnet, self.walk.last.dst).is_some() { "UDP" } else { "TCP or UDP" }
    }

    /// The destination is what an ingress NAT rule of a gateway makes of a site's range, and no connection has the rule
    /// (VPN-15). A connection to that range may have it, if it has no other for the range.
    pub(super) fn by_unnamed_nat_rule(&self) -> Option<Diagnosis> {
        let (network, IpAddr::V4(dst)) = (self.names.network, self.walk.dst) else { return None };
        let gateways = (0..).map(GatewayIx).zip(&network.virtual_network_gateways);
        gateways.into_iter().find_map(|(at, gateway)| {
            let is_ingress = |rule: &NatRule| rule.mode == NatMode::IngressSnat;
            let own = || (0..).map(ConnectionIx).zip(&network.connections).filter(move |(_, one)| one.gateway == at);
            let mut rules = gateway.nat_rules.iter().enumerate();
            let (ix, rule) = rules.find(|(ix, rule)| {
                is_ingress(rule) && rule.external.contains(&dst) && !own().any(|(_, one)| one.nat_rules.contains(ix))
            })?;
            let cause = format!(
                "{dst} is what NAT rule {} of gateway {} makes of {}, and no connection has this rule (VPN-15)",
                rule.name, gateway.name, rule.internal
            );
            let fixes = own().filter_map(|(over, connection)| {
                let Remote::Local(local) = connection.remote else { return None };
                let internal = IpNet::from(rule.internal);
                let overlaps = |range: &IpNet| range.contains(&internal) || internal.contains(range);
                let others: Vec<_> = connection
                    .nat_rules
                    .iter()
                    .map(|ix| &gateway.nat_rules[*ix])
                    .filter(|one| is_ingress(one))
                    .collect();
                let leads = network.local_gateway(local).address_space.iter().any(overlaps);
                if !leads || others.iter().any(|other| overlaps(&other.internal.into())) {
                    return None;
                }
                let mut edit = self.edit();
                edit.network.connections[over.0].nat_rules.push(ix);
                let path = format!("connections[{}].ingressNatRules", over.0);
                let (path, value) = match others.len() {
                    0 => (path, format!("[{}]", rule.name)),
                    count => (format!("{path}[{count}]"), rule.name.clone()),
                };
                edit.change(path, Some(value));
                let text = format!("name NAT rule {} in connection {}", rule.name, connection.name);
                Some(Diagnosis::with_fix(cause.clone(), text, edit))
            });
            fixes.reduce(Diagnosis::or)
        })
    }

    /// SNAT-01: a NAT gateway is used before an interface's own public address; either gives outbound access.
    fn behind_nat_gateway(&self, ix: NicIx, device: &str) -> Diagnosis {
        let network = self.names.network;
        let nic = network.nic(ix);
        let src = self.walk.last.src;
        let subnet = subnet_name(network, nic.subnet);
        let carries = format!("{device} of subnet {subnet} carries TCP and UDP over IPv4 only (NAT-02)");
        let protocols = self.translated_to(nic.subnet);
        let Some(own) = self.names.own_public(ix, src) else {
            let text =
                format!("ask with {protocols}, or give {src} a publicIPAddress in a subnet without a natGateway");
            return self.prose(carries, text);
        };
        let cause = format!("{carries}, and it comes before public IP {own} of the interface (SNAT-01)");
        let ways = format!(
            "to leave by {own}, take natGateway off subnet {subnet}; to leave by the NAT gateway, ask with {protocols}"
        );
        let mut others = network.network_interfaces.iter().filter(|other| other.subnet == nic.subnet);
        // The other machines would lose their outbound access.
        if others.any(|other| other.public_addresses.is_empty()) {
            return self.prose(cause, format!("{ways}; others in the subnet have no other way out"));
        }
        let mut edit = self.edit();
        edit.detach_nat_gateway(nic.subnet);
        Diagnosis::with_fix(cause, ways, edit)
    }
}
