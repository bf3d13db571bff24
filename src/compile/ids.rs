//! The numbers of senders and of TUNs.
//!
//! One idea: flow records name a sender by its number and workers a device, so a number must go on meaning the same
//! while a network changes under them. The owner of a running network hands its numbers in; a file by itself is
//! numbered in its order. An unused number leaves a gap.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::dataplane::{NicId, PortId, Share};
use crate::model::{Attachment, CloudIx, Network, NicIx, SubnetIx, VnetIx};

use super::{RuleIds, Sender};

/// The numbers of one network's senders and TUNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// By [`NicId`].
    senders: Vec<Option<Sender>>,
    /// By [`PortId`].
    attachments: Vec<Option<Attachment>>,
    nics: HashMap<Sender, NicId, RandomState>,
    ports: HashMap<Attachment, PortId, RandomState>,
    rules: RuleIds,
    /// By virtual network; empty where they are counted in the file's order.
    shares: Vec<Share>,
}

impl Ids {
    /// By [`NicId`] and by [`PortId`]. Every sender and attachment of the network must be there once.
    pub fn new(senders: Vec<Option<Sender>>, attachments: Vec<Option<Attachment>>, rules: RuleIds) -> Self {
        let nics = senders.iter().zip((0..).map(NicId)).filter_map(|(sender, id)| Some(((*sender)?, id))).collect();
        let ports = attachments.iter().zip((0..).map(PortId));
        let ports = ports.filter_map(|(attachment, id)| Some(((*attachment)?, id))).collect();
        Self { senders, attachments, nics, ports, rules, shares: Vec::new() }
    }

    /// With the shares of the flow table that its virtual networks have, in the file's order.
    #[must_use]
    pub fn sharing(self, shares: Vec<Share>) -> Self {
        Self { shares, ..self }
    }

    /// Without gaps: senders as [`senders`] lists them, TUNs as [`Network::attachments`] does.
    pub fn in_file_order(network: &Network) -> Self {
        let attachments = network.attachments().into_iter().map(Some).collect();
        Self::new(senders(network).into_iter().map(Some).collect(), attachments, RuleIds::in_file_order(network))
    }

    /// The same for a network with other rules, which are numbered in its order, and with senders and machines that are
    /// new or run now: for a plan of a change, which counts nothing.
    #[must_use]
    pub fn as_edited(&self, network: &Network) -> Self {
        let started = network.attachments().into_iter().filter(|attachment| self.port(*attachment).is_none());
        let attachments = self.attachments.iter().copied().chain(started.map(Some)).collect();
        let new = senders(network).into_iter().filter(|sender| self.nic(*sender).is_none());
        let senders = self.senders.iter().copied().chain(new.map(Some)).collect();
        Self::new(senders, attachments, RuleIds::in_file_order(network)).sharing(self.shares.clone())
    }

    /// The sender with a number, if any.
    pub fn sender(&self, nic: NicId) -> Option<Sender> {
        self.senders.get(nic.0 as usize).copied().flatten()
    }

    pub fn attachment(&self, port: PortId) -> Option<Attachment> {
        self.attachments.get(port.0 as usize).copied().flatten()
    }

    pub fn nic(&self, sender: Sender) -> Option<NicId> {
        self.nics.get(&sender).copied()
    }

    pub fn port(&self, attachment: Attachment) -> Option<PortId> {
        self.ports.get(&attachment).copied()
    }

    /// What the flow records in a virtual network count against.
    pub fn share(&self, vnet: VnetIx) -> Share {
        self.shares.get(vnet.0).copied().unwrap_or(Share(vnet.0 as u16))
    }

    /// The same for a private cloud, counted from the other end.
    pub fn share_of_cloud(&self, cloud: CloudIx) -> Share {
        Share(u16::MAX - cloud.0 as u16)
    }

    pub fn rules(&self) -> &RuleIds {
        &self.rules
    }

    /// All senders with a number, in its order.
    pub fn senders(&self) -> impl Iterator<Item = (NicId, Sender)> {
        self.senders.iter().zip((0..).map(NicId)).filter_map(|(sender, id)| Some((id, (*sender)?)))
    }

    /// Everything up to the highest number, gaps included.
    pub(super) fn slots(&self) -> (&[Option<Sender>], &[Option<Attachment>]) {
        (&self.senders, &self.attachments)
    }
}

/// The senders of a network: its interfaces, then the subnets of attached VNets, in file order; then the Internet,
/// gateways, sites' tunnels, the platform, circuits and route servers.
pub fn senders(network: &Network) -> Vec<Sender> {
    let nics = (0..network.network_interfaces.len()).map(|i| Sender::Nic(NicIx(i)));
    let attached = network.virtual_networks.iter().enumerate().filter(|(_, vnet)| vnet.attach.is_some());
    let subnets = attached.flat_map(|(i, vnet)| {
        (0..vnet.subnets.len()).map(move |subnet| Sender::Subnet(SubnetIx { vnet: VnetIx(i), subnet }))
    });
    let internet = network.internet.as_ref().map(|_| Sender::Internet);
    let beyond = network.attachments().into_iter().filter_map(|attachment| match attachment {
        Attachment::Nic(_) | Attachment::Vnet(_) | Attachment::Internet => None,
        other => Sender::at(other),
    });
    nics.chain(subnets).chain(internet).chain(beyond).collect()
}
