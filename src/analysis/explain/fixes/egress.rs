//! Packets that cannot leave the fabric.

use std::net::IpAddr;

use crate::analysis::change::{Change, Flow};
use crate::analysis::query::Probe;
use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::{Access, Direction, NicIx, NsgIx, OutboundRule, SecurityProtocol, SecurityRule, TransportProtocol};

use super::{Case, Diagnosis, ProposedFix};

impl Case<'_> {
    /// The source has no outbound translation (SNAT-03), or is not the interface's own address (UDR-18).
    pub(super) fn no_outbound(&self, leg: &Leg) -> Option<Diagnosis> {
        let names = self.names;
        let src = self.walk.last.src;
        let Sender::Nic(ix) = names.compiled.sender(leg.from) else { return None };
        let nic = names.network.nic(ix);
        if !nic.addresses.contains(&src) {
            let node = names.node(leg.from);
            let cause =
                format!("{src} is no address of NIC {}: no outbound translation applies to it", names.nic(leg.from));
            // An answer to the guest's own address would not reach the client.
            if self.request.is_some() {
                return Some(self.astray(cause));
            }
            let mut edit = self.edit();
            edit.masquerade_in_guest(nic.virtual_machine);
            return Some(Diagnosis::with_fix(
                cause,
                format!("let the guest of {node} put its own address in its place"),
                edit,
            ));
        }
        if let Some(diagnosis) = self.of_other_protocol(ix, src) {
            return Some(diagnosis);
        }
        let subnet = subnet_name(names.network, nic.subnet);
        let cause = if let Some(balancer) = self.behind(leg.from) {
            let why = if balancer.is_public() {
                "which has no ports for what it begins, and so lost default outbound access"
            } else {
                "which is internal, and so lost default outbound access (LB-44)"
            };
            format!("{} is behind load balancer {}, {why}", names.node(leg.from), balancer.name)
        } else if names.network.subnet(nic.subnet).has_default_outbound_access() {
            format!("{} has a public address on another IP configuration, and none for {src}", names.node(leg.from))
        } else {
            format!("subnet {subnet} has defaultOutboundAccess off, no NAT gateway, and {src} no public address")
        };
        Some(self.given_outbound(cause, (ix, src)))
    }

    /// A NAT gateway or a public address; one that is there already before a new one.
    fn given_outbound(&self, cause: String, (ix, src): (NicIx, IpAddr)) -> Diagnosis {
        let network = self.names.network;
        let at = network.nic(ix).subnet;
        let subnet = subnet_name(network, at);
        let text = format!("give subnet {subnet} a natGateway, or {src} a publicIPAddress");
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut edit = self.edit();
        let carried = src.is_ipv4() && !matches!(self.seen(), Probe::Ping);
        if let Some(gateway) = carried.then(|| edit.give_nat_gateway(at)).flatten() {
            match network.nat_gateways.get(gateway.0) {
                Some(own) => first.push((format!("give subnet {subnet} NAT gateway {}", own.name), edit)),
                None => last.push((text.clone(), edit)),
            }
        }
        let mut edit = self.edit();
        if let Some(public) = edit.give_public_ip(ix, src) {
            first.push((format!("give {src} the public IP {public}"), edit));
        }
        let fixes = first.into_iter().chain(last);
        let fixes = fixes.map(|(text, edit)| Diagnosis::with_fix(cause.clone(), text, edit));
        fixes.reduce(Diagnosis::or).unwrap_or_else(|| self.prose(cause, text))
    }

    /// An outbound rule of the sender's pool that is for the other protocol only, and may be for both (SNAT-05).
    fn of_other_protocol(&self, ix: NicIx, src: IpAddr) -> Option<Diagnosis> {
        let protocol = match self.seen() {
            Probe::Ping => return None,
            Probe::Tcp(_) => TransportProtocol::Tcp,
            Probe::Udp(_) => TransportProtocol::Udp,
        };
        self.names.network.load_balancers.iter().enumerate().find_map(|(at, balancer)| {
            let is_member = |rule: &OutboundRule| {
                balancer.pools[rule.pool].members.iter().any(|member| (member.nic, member.address) == (ix, src))
            };
            let rules = &balancer.outbound_rules;
            let rule_at = rules.iter().position(|rule| !rule.takes(protocol) && is_member(rule))?;
            let rule = &rules[rule_at];
            let uses = |other: &OutboundRule| other.frontends.iter().any(|frontend| rule.frontends.contains(frontend));
            if rules.iter().any(|other| other.takes(protocol) && uses(other)) {
                return None;
            }
            let (node, own) = (&self.names.network.vm(self.names.network.nic(ix).virtual_machine).name, &balancer.name);
            let cause = format!(
                "{node} is behind load balancer {own}: its outbound rule {} is not for {}",
                rule.name,
                format!("{protocol:?}").to_uppercase()
            );
            let text = format!("have outbound rule {} of load balancer {own} carry TCP and UDP", rule.name);
            let mut edit = self.edit();
            edit.network.load_balancers[at].outbound_rules[rule_at].protocol = None;
            let path = format!("loadBalancers[{at}].outboundRules[{rule_at}].protocol");
            edit.changes.push(Change { path, value: Some("All".to_owned()) });
            Some(Diagnosis::with_fix(cause, text, edit))
        })
    }

    /// A public address without a security group: inbound traffic is denied (PIP-04).
    pub(super) fn closed(&self, nic: NicId) -> Option<Diagnosis> {
        let subnet = subnet_name(self.names.network, self.names.home(nic)?);
        let cause =
            format!("neither NIC {} nor subnet {subnet} has an NSG: its public address is closed", self.names.nic(nic));
        let seen = &self.walk.last;
        let text = format!("attach an NSG that allows {} from {}", self.seen(), seen.src);
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Some(self.prose(cause, text)) };
        let flow = Flow { src: seen.src, dst: seen.dst, probe: self.seen(), answering: self.request.is_some() };
        let mut edit = self.edit();
        edit.open_with_nsg(ix, &flow);
        let new = Diagnosis::with_fix(cause.clone(), text, edit);
        Some(match self.unattached_group() {
            Some(nsg) => {
                let mut edit = self.edit();
                edit.attach_nsg(nsg, self.names.network.nic(ix).subnet);
                let name = &self.names.network.network_security_groups[nsg.0].name;
                Diagnosis::with_fix(cause, format!("attach NSG {name} to subnet {subnet}"), edit).or(new)
            }
            None => new,
        })
    }

    /// A group that nothing has, with a rule that allows inbound packets of this protocol and port.
    fn unattached_group(&self) -> Option<NsgIx> {
        let network = self.names.network;
        let (protocol, port) = match self.seen() {
            Probe::Ping => (SecurityProtocol::Icmp, 0),
            Probe::Tcp(port) => (SecurityProtocol::Tcp, port),
            Probe::Udp(port) => (SecurityProtocol::Udp, port),
        };
        let allows = |rule: &SecurityRule| {
            rule.direction == Direction::Inbound
                && rule.access == Access::Allow
                && [SecurityProtocol::Any, protocol].contains(&rule.protocol)
                && rule.destination_ports.iter().any(|range| (range.first..=range.last).contains(&port))
        };
        let subnets = network.virtual_networks.iter().flat_map(|vnet| &vnet.subnets);
        let used: Vec<_> = subnets
            .filter_map(|subnet| subnet.network_security_group)
            .chain(network.network_interfaces.iter().filter_map(|nic| nic.network_security_group))
            .collect();
        let unattached = (0..).map(NsgIx).zip(&network.network_security_groups).filter(|(nsg, _)| !used.contains(nsg));
        unattached.into_iter().find(|(_, group)| group.rules.iter().any(allows)).map(|(nsg, _)| nsg)
    }

    pub(super) fn prose(&self, cause: String, text: String) -> Diagnosis {
        self.commands(cause, text, Vec::new())
    }

    /// Commands for the user to run inside a guest.
    pub(super) fn commands(&self, cause: String, text: String, commands: Vec<String>) -> Diagnosis {
        let network = self.names.network.clone();
        let fix = ProposedFix { text, changes: Vec::new(), commands, is_meant: false, probed: Vec::new(), network };
        Diagnosis { cause, fixes: vec![fix], alternatives: Vec::new() }
    }
}
