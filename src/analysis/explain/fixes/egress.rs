//! Packets that cannot leave the fabric.

use crate::analysis::change::Flow;
use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::Probe;

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
        let text = format!("give subnet {subnet} a natGateway, or {src} a publicIPAddress");
        let mut edit = self.edit();
        let carried = src.is_ipv4() && !matches!(self.seen(), Probe::Ping);
        if carried && edit.give_nat_gateway(nic.subnet).is_some() {
            return Some(Diagnosis::with_fix(cause, text, edit));
        }
        Some(self.prose(cause, text))
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
        Some(Diagnosis::with_fix(cause, text, edit))
    }

    pub(super) fn prose(&self, cause: String, text: String) -> Diagnosis {
        self.commands(cause, text, Vec::new())
    }

    /// Commands for the user to run inside a guest.
    pub(super) fn commands(&self, cause: String, text: String, commands: Vec<String>) -> Diagnosis {
        let network = self.names.network.clone();
        let fix = ProposedFix { text, changes: Vec::new(), commands, is_meant: false, probed: Vec::new(), network };
        Diagnosis { cause, fixes: vec![fix] }
    }
}
