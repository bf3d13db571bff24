//! The cause behind a drop, and the smallest change that removes it.
//!
//! One idea: a drop reason is a symptom. A default rule that denies, a system route to None and an appliance address
//! without a machine may all mean one missing peering link. The topology is checked before the rule or the route is
//! blamed.

mod alternatives;
mod answers;
mod appliances;
mod balancers;
mod balancing_rules;
mod beyond;
mod chains;
mod circuits;
mod clients;
mod edits;
mod egress;
mod filters;
mod forced;
mod forwarders;
mod gateways;
mod overlaps;
pub(in crate::analysis) mod overridden_routes;
mod premises;
mod probes;
mod relays;
mod routing;
mod sessions;
mod subnets;
mod tables;
mod translations;
mod tunnels;

use std::net::IpAddr;

use crate::analysis::change::{Change, Edit};
use crate::analysis::query::names::{Names, holds};
use crate::analysis::query::{Ends, Probe};
use crate::analysis::walk::{Leg, Outcome, Walk};
use crate::dataplane::{DropReason, NicId};
use crate::model::{Network, ProbeKey, VnetIx, is_routable};

/// What is wrong, and the change that mends it.
pub(in crate::analysis) struct Diagnosis {
    pub(in crate::analysis) cause: String,
    /// All are tried, and the best is named; of equal ones the first.
    pub(in crate::analysis) fixes: Vec<ProposedFix>,
    /// Tried only where each of those does harm.
    pub(in crate::analysis) alternatives: Vec<ProposedFix>,
}

/// A changed network. Without changes, the fix is described in words only.
pub(in crate::analysis) struct ProposedFix {
    pub(in crate::analysis) text: String,
    pub(in crate::analysis) changes: Vec<Change>,
    /// Commands for the user's shell, where the change is made inside a guest.
    pub(in crate::analysis) commands: Vec<String>,
    /// What the rest of the file shows to be meant: better than a change that opens less.
    pub(in crate::analysis) is_meant: bool,
    /// Backends that probes reach after the change; from then on they count as healthy, as in a file.
    pub(in crate::analysis) probed: Vec<ProbeKey>,
    pub(in crate::analysis) network: Network,
}

/// A walk that does not arrive.
pub(in crate::analysis) struct Case<'a> {
    pub(in crate::analysis) names: Names<'a>,
    pub(in crate::analysis) ends: &'a Ends,
    pub(in crate::analysis) probe: Probe,
    pub(in crate::analysis) walk: &'a Walk,
    /// The request's path, where the answer is what is dropped.
    pub(in crate::analysis) request: Option<&'a Walk>,
}

impl Case<'_> {
    pub(in crate::analysis) fn diagnose(&self) -> Diagnosis {
        let leg = self.walk.last();
        let diagnosis = match self.walk.outcome {
            Outcome::Delivered(nic) => Diagnosis::without_fix(format!("delivered to {}", self.names.nic(nic))),
            Outcome::GuestDrops(nic) => self.guest(nic),
            Outcome::NoHost(nic) => self.no_host(nic),
            Outcome::NoRoute(nic) => self.unadvertised(nic),
            Outcome::Loop(nic) => self.circle(nic),
            Outcome::WrongHost { nic, meant } => self.wrong_host(nic, meant),
            Outcome::WrongSource { asked, .. } => self.elsewhere(&asked),
            Outcome::Dropped(reason) => self.overridden_route().unwrap_or_else(|| self.dropped(leg, reason)),
        };
        let cause = match self.request {
            Some(_) => format!("on the way back: {}", diagnosis.cause),
            None => diagnosis.cause,
        };
        Diagnosis { cause, alternatives: self.alternatives(leg), ..diagnosis }
    }

    fn dropped(&self, leg: &Leg, reason: DropReason) -> Diagnosis {
        let arrived = leg.arrived().unwrap_or(leg.from);
        let found = match reason {
            DropReason::NsgOutbound | DropReason::NsgInbound | DropReason::AdminRule => {
                leg.denial().map(|denial| self.denied(leg, denial))
            }
            DropReason::DistributedFirewall => leg.denial().map(|denial| self.denied_in_cloud(denial)),
            DropReason::TrafficSelector => Some(self.not_selected(leg)),
            DropReason::GatewayUnavailable if let Some(gateway) = leg.gateway() => self.no_tunnel(gateway),
            DropReason::NoInternet if is_routable(self.walk.last.dst) => Some(self.on_the_internet(leg)),
            DropReason::NextHopNone | DropReason::NoInternet | DropReason::GatewayUnavailable => self.unrouted(leg),
            DropReason::NoRoute => Some(self.apart(leg)),
            DropReason::NextHopUnreachable => self.unreachable(leg),
            DropReason::PeeringAccess | DropReason::ForwardedTraffic => self.flag(leg, reason),
            DropReason::SubnetNotPeered => self.unpeered(leg),
            DropReason::NotForwarding => Some(self.not_forwarding(arrived)),
            DropReason::SpoofedSource => Some(self.spoofed(leg.from)),
            DropReason::NodeDown => self.stopped(arrived),
            DropReason::NoEndpoint => Some(self.no_owner()),
            DropReason::NoService => Some(self.no_service(leg)),
            DropReason::NoOutbound => self.no_outbound(leg),
            DropReason::NoSecurityGroup => self.closed(arrived),
            DropReason::NoBalancingRule | DropReason::NoHealthyBackend => self.unbalanced(leg, reason),
            DropReason::Hairpin => self.hairpin(leg),
            DropReason::SnatExhausted
            | DropReason::NotTranslatable
            | DropReason::NoMapping
            | DropReason::Unsolicited => self.untranslated(leg, reason),
            // A property of the packet, or a feature that this router does not emulate: the reason's own text says it
            // best.
            DropReason::Malformed
            | DropReason::BadChecksum
            | DropReason::BlockedProtocol
            | DropReason::Multicast
            | DropReason::LinkLocal
            | DropReason::Ipv6Control
            | DropReason::Fragment
            | DropReason::TcpState
            | DropReason::PeeringNotConnected
            | DropReason::TooBig
            | DropReason::FlowLimit
            | DropReason::NetworkFlowLimit
            | DropReason::QueueFull => None,
        };
        found
            .unwrap_or_else(|| Diagnosis::without_fix(format!("{}: {}", self.names.nic(arrived), reason.explanation())))
    }

    /// The probe with the port that the packet has at this point: a load balancer may have translated it.
    fn seen(&self) -> Probe {
        let last = &self.walk.last;
        self.probe.at(if self.request.is_some() { last.src_port } else { last.dst_port })
    }

    /// The interface that the packet is for.
    fn target(&self) -> Option<NicId> {
        if self.request.is_some() { Some(self.ends.source) } else { self.ends.destination.nic }
    }

    /// The VNet of an address: its owner's, else one whose address space contains it.
    fn home(&self, address: IpAddr) -> Option<VnetIx> {
        let ends = [
            Some((self.ends.source, self.ends.source_address)),
            self.ends.destination.nic.map(|nic| (nic, self.ends.destination.address)),
        ];
        let end = ends.into_iter().flatten().find(|(_, own)| *own == address);
        end.and_then(|(nic, _)| self.names.home(nic)).map(|subnet| subnet.vnet).or_else(|| {
            let vnets = &self.names.network.virtual_networks;
            vnets.iter().position(|vnet| holds(vnet, address)).map(VnetIx)
        })
    }

    fn edit(&self) -> Edit {
        Edit::of(self.names.network)
    }

    fn vnet_name(&self, vnet: VnetIx) -> &str {
        &self.names.network.vnet(vnet).name
    }
}

impl ProposedFix {
    fn of(text: String, edit: Edit) -> Self {
        Self {
            text,
            changes: edit.changes,
            commands: Vec::new(),
            is_meant: false,
            probed: Vec::new(),
            network: edit.network,
        }
    }
}

impl Diagnosis {
    fn without_fix(cause: String) -> Self {
        Self { cause, fixes: Vec::new(), alternatives: Vec::new() }
    }

    /// With the edit that mends it and the text of that, where there is one.
    fn of(cause: String, fix: Option<(String, Edit)>) -> Self {
        match fix {
            Some((text, edit)) => Self::with_fix(cause, text, edit),
            None => Self::without_fix(cause),
        }
    }

    fn with_fix(cause: String, text: String, edit: Edit) -> Self {
        Self { cause, fixes: vec![ProposedFix::of(text, edit)], alternatives: Vec::new() }
    }

    /// Its fixes are what the rest of the file shows to be meant.
    fn meant(mut self) -> Self {
        self.fixes.iter_mut().for_each(|fix| fix.is_meant = true);
        self
    }

    /// With another diagnosis' fixes behind its own.
    fn or(mut self, other: Self) -> Self {
        self.fixes.extend(other.fixes);
        self
    }
}
