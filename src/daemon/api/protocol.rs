//! What may be asked of a running router, and what it answers.
//!
//! The field names are also those of `-o json`: what a user's script sees is what crossed the socket. The version rises
//! whenever a field changes its meaning or goes away, so that an old daemon and a new `vnet` say so instead of guessing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::analysis::{
    BackendRow, CircuitRow, ConnectionRow, EffectiveGroup, Explanation, FlowVerifyAnswer, FlowVerifyQuery, Forecast,
    LiveExplanation, NextHopAnswer, NextHopQuery, PeeringRow, Plan, PrivateCloudRow, Probe, PublicAddressRow, Query,
    Reach, Retraced, RouteRow, Sighting, SnatRow,
};
use crate::bgp::topology::{self, PeerRow};
use crate::daemon::engine::rule_numbers::RuleLabel;
use crate::daemon::events::Event;
use crate::daemon::outage::Outage;
use crate::model::{PowerState, Side};

/// Spoken on both sides, or not at all.
pub const VERSION: u32 = 1;

/// A question: one line from the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    Status,
    /// Effective routes of `NODE`, `NODE/NIC` or `VNET/SUBNET`.
    Routes {
        target: String,
    },
    /// Effective security rules of `NODE`, `NODE/NIC` or `VNET/SUBNET`.
    Rules {
        target: String,
    },
    /// Rules of the whole lab that have decided nothing.
    UnusedRules,
    NextHop(NextHopQuery),
    FlowVerify(FlowVerifyQuery),
    /// By where packets went to; or by flow.
    Drops {
        by_flow: bool,
    },
    Counters,
    /// What happened lately.
    Events,
    /// How the programs of the file are.
    Programs,
    /// Flow records, from where an earlier page ended.
    Flows {
        filter: FlowFilter,
        from: Option<u64>,
    },
    /// A packet's way from `source` to `destination`, as a user writes them.
    Explain {
        source: String,
        destination: String,
    },
    /// The same for the flow that was used last, by the records that it has.
    ExplainLive(Query),
    /// The same for the flow from one source port alone, seen to come from these interfaces.
    Retrace {
        query: Query,
        source_port: u16,
        seen: Vec<String>,
    },
    /// Reachability of all pairs: with one kind of packet, or with all that the router's rules and these boundaries
    /// tell apart.
    Reach {
        probe: Option<Probe>,
        boundaries: BTreeSet<u16>,
        /// Among these; among all where it is empty.
        nodes: Vec<String>,
    },
    /// What packets would do, one by one; few enough for one line.
    Forecast(Vec<Query>),
    Peerings,
    /// The backends of all load balancers.
    LoadBalancers,
    /// Ports of public addresses.
    Snat,
    /// Public addresses and their users.
    PublicAddresses,
    /// Tunnels of gateways.
    Connections,
    /// ExpressRoute circuits.
    Circuits,
    /// Sessions and routes of BGP.
    Bgp(BgpQuestion),
    /// Answered again and again, until the client goes or says that it is enough by closing its half of the
    /// connection: then it gets what there is to tell, and the end.
    Follow(Topic),
    Change(Change),
    /// End: the router stops once it has sent [`Response::Stopping`].
    Shutdown,
}

/// A question about BGP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpQuestion {
    pub what: BgpTopic,
    /// A gateway's or a site's; all without.
    pub node: Option<String>,
    /// The one that is told; all without.
    pub peer: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BgpTopic {
    Peers,
    Learned,
    /// Advertised by peers, and not used.
    Refused,
    Advertised,
}

/// What can be followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Topic {
    /// All rows, then those that changed.
    Drops { by_flow: bool },
    /// All rows, then those that changed.
    Counters,
    /// Those that are remembered, then each as it happens.
    Events,
    /// Flows: those that are there, a page at a time, while their beginnings and ends are told from the first answer on.
    Flows { filter: FlowFilter },
    /// Packets that a filter wants. The first answer comes before any packet: from then on none is overlooked.
    Trace { filter: String },
    /// The same as a capture file, piece by piece.
    Capture(Capture),
}

/// Something to do to the running network. Done whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    Apply(Apply),
    /// Bring both sides of one peering up to date, or of all: `VNET/LINK`, or the link's name alone.
    SyncPeering {
        link: Option<String>,
    },
    RemovePeering {
        link: String,
    },
    /// Break a link of a circuit for a while, or both.
    FailCircuit {
        circuit: String,
        side: Option<Side>,
        seconds: u64,
    },
    /// Take an instance of a gateway away for a while: the first is 0.
    FailOver {
        gateway: String,
        instance: usize,
        seconds: u64,
    },
}

/// A topology to put in place of the running one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Apply {
    pub text: String,
    /// A list of service tags in place of the file that the text names, with at least the tags that it uses; none where
    /// that file can be read beside it.
    #[serde(default)]
    pub service_tags: Option<String>,
    /// Packet filter rules of guests, by the files that the text names; those that are missing are read beside it.
    #[serde(default)]
    pub nftables: BTreeMap<PathBuf, String>,
    /// What to call it.
    pub file: String,
    /// Where to read it again; none for one that was piped in.
    pub path: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Bring all peerings up to date as well.
    pub sync: bool,
    /// Leave out the programs and packet filter rules of the text.
    #[serde(default)]
    pub no_run: bool,
    /// The user has agreed to them.
    #[serde(default)]
    pub agreed: bool,
}

/// An answer: one line from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    Status(Box<Status>),
    Routes(Vec<RouteRow>),
    Rules(Vec<EffectiveGroup>),
    UnusedRules(Vec<RuleLabel>),
    NextHop(NextHopAnswer),
    FlowVerify(FlowVerifyAnswer),
    Explanation(Box<Explanation>),
    LiveExplanation(Box<LiveExplanation>),
    Retraced(Retraced),
    Reach(Reach),
    /// In the order of the questions.
    Forecast(Vec<Result<Forecast, String>>),
    Drops(Vec<DropCount>),
    Counters(Vec<InterfaceCounters>),
    Events(Vec<Event>),
    Programs(Vec<ProgramStatus>),
    Flows(FlowPage),
    FlowChanges(FlowChanges),
    Peerings(Vec<PeeringRow>),
    LoadBalancers(Vec<BackendRow>),
    Snat(Vec<SnatRow>),
    PublicAddresses(Vec<PublicAddressRow>),
    Connections(Vec<ConnectionRow>),
    Circuits(Vec<CircuitRow>),
    BgpPeers(Vec<PeerRow>),
    BgpRoutes(Vec<topology::RouteRow>),
    Traced(Traced),
    Captured(Captured),
    Changed(Changed),
    /// What went away, or came back.
    Outage(Outage),
    Stopping,
    Refused(Refusal),
    /// Asked for rightly, and the system would not: nothing was changed.
    Failed(Refusal),
}

/// What a change did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    pub lab: String,
    /// False for a dry run, and where there was nothing to do.
    pub applied: bool,
    /// Of the tables in force now.
    pub generation: u64,
    #[serde(flatten)]
    pub plan: Plan,
    /// Interfaces with a new device, since theirs was gone.
    #[serde(default)]
    pub restored: Vec<String>,
    pub warnings: Vec<String>,
}

/// Why a question has no answer, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub message: String,
    pub help: Option<String>,
}

impl Refusal {
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), help: None }
    }
}

/// A running lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub name: String,
    /// The topology file as it was given.
    pub file: String,
    pub pid: u32,
    pub uptime_seconds: u64,
    /// Rises with every change that was published to the workers.
    pub generation: u64,
    pub workers: usize,
    /// What the interfaces of its machines are: `tun`, `tap` or `veth`.
    #[serde(default)]
    pub device: String,
    /// Interfaces of machines that are TUNs whatever the others are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tun_interfaces: Vec<String>,
    /// Flows that the kernel carries now, each direction by itself; none where it carries none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_flows: Option<usize>,
    /// Why it carries none though the file asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_carried: Option<String>,
    /// What packets keep of their offloads and are carried uncut for: `off`, `tcp` or `tcp+udp`.
    pub offload: String,
    /// Flow records in use.
    pub flows: usize,
    #[serde(default)]
    pub load_balancers: Vec<BalancerStatus>,
    /// What is wrong with the router itself.
    #[serde(default)]
    pub alerts: Vec<String>,
    #[serde(default)]
    pub flow_logs: Vec<FlowLogStatus>,
    /// What happened to logged flows and is in no log.
    #[serde(default)]
    pub flow_events_lost: u64,
    #[serde(default)]
    pub programs: Vec<ProgramStatus>,
    #[serde(default)]
    pub private_clouds: Vec<PrivateCloudRow>,
    pub nodes: Vec<Node>,
}

/// A program that the file starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    pub node: String,
    /// In one line.
    pub command: String,
    /// How it ended; none while it runs.
    pub ended: Option<String>,
    /// Whether it ended with an error, or could not be started.
    pub failed: bool,
    /// Where its output goes.
    pub log: PathBuf,
}

/// How a load balancer is, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancerStatus {
    pub name: String,
    /// Backends of its rules, each once.
    pub backends: usize,
    /// Those of them that are down, or get no new flows, by one rule at least.
    pub down: Vec<String>,
}

/// One flow log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowLogStatus {
    pub name: String,
    /// The end of its target's ARM id.
    pub target: String,
    pub enabled: bool,
    /// The directory that its files are below.
    pub storage_path: PathBuf,
    /// Written since the lab is up.
    pub records: u64,
    /// Why the last record could not be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A machine, or a VNet that hangs on one TUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub name: String,
    /// As `ip netns` names it, or a path.
    pub namespace: String,
    #[serde(default)]
    pub power_state: PowerState,
    pub network_interfaces: Vec<NodeInterface>,
}

/// One TUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInterface {
    pub name: String,
    /// `VNET/SUBNET`, or `VNET` for a whole VNet.
    pub subnet: String,
    pub addresses: Vec<IpAddr>,
    /// In front of some of these.
    #[serde(default)]
    pub public_addresses: Vec<IpAddr>,
    /// What its guest calls it; empty where that is not known.
    #[serde(default)]
    pub device: String,
    /// False once its device has vanished.
    pub alive: bool,
}

/// Packets that went by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    pub packets: Vec<Sighting>,
    /// Packets that were wanted and are not shown: they came faster than they could be told.
    pub missed: u64,
}

/// Packets for a capture file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// Machines and interfaces that it is about; all where it is empty. The filter asks for them, too.
    pub nodes: Vec<String>,
    pub filter: String,
    /// End after this many packets.
    pub count: Option<u64>,
    /// Bytes that are kept of a packet.
    pub snap: u32,
    /// Write super-packets as the packets that they are on a wire.
    pub cut: bool,
}

/// A piece of a capture file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// These follow the message as they are, then `end`: in JSON they would cost more than to make them.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// What ends the file if no piece follows.
    #[serde(skip)]
    pub end: Vec<u8>,
    /// The lengths of both.
    pub lengths: [usize; 2],
    pub packets: u64,
    /// Packets that found no room, in all.
    pub missed: u64,
    /// It has as many packets as were asked for.
    pub full: bool,
}

/// How often one interface's packets were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DropCount {
    pub node: String,
    pub nic: String,
    pub reason: String,
    pub packets: u64,
    /// It happens in every lab: guests' kernels do it by themselves.
    pub harmless: bool,
    /// What is remembered of the packets; none of those that came too long ago.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<DroppedFlow>,
    pub explanation: String,
}

/// Packets that were dropped, as they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroppedFlow {
    pub protocol: String,
    /// By flow alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    pub destination_address: IpAddr,
    pub destination_port: u16,
    /// The interface with the rule that refused them, or without room for a record; of a network that has used its share,
    /// its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// One interface's totals: `tx` is towards the guest, `rx` from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceCounters {
    pub node: String,
    pub nic: String,
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub drops: u64,
    /// Those of them that happen in every lab: no list shows them without being asked to.
    #[serde(default)]
    pub harmless_drops: u64,
    pub alive: bool,
}

/// Which flows; all without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowFilter {
    /// `NODE` or `NODE/NIC`.
    pub node: Option<String>,
    /// At either end, as is the port.
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub protocol: Option<String>,
    pub state: Option<String>,
}

/// Some flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowPage {
    pub flows: Vec<FlowRow>,
    /// Where to go on; none at the end.
    pub next: Option<u64>,
}

/// What happened to flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowChanges {
    pub changes: Vec<FlowChange>,
    /// Events that are not shown: they came faster than they could be told.
    pub missed: u64,
}

/// What happened to one interface's flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowChange {
    /// When, in UTC.
    pub time: String,
    pub event: FlowEventKind,
    #[serde(flatten)]
    pub flow: FlowRow,
}

/// What happens to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowEventKind {
    /// It was there before the client followed.
    Running,
    Begun,
    Ended,
    /// A packet that would have begun one was refused by a rule.
    Denied,
}

/// One interface's record of one flow: its ends are those of the packet that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRow {
    pub node: String,
    /// Of a VNet that hangs on one TUN, its subnet.
    pub nic: String,
    /// Of that packet: `Inbound` or `Outbound`.
    pub direction: String,
    pub protocol: String,
    pub source_address: IpAddr,
    /// An echo's identifier is both its ports.
    pub source_port: u16,
    pub destination_address: IpAddr,
    pub destination_port: u16,
    pub state: String,
    /// `Deny` for a packet that a rule refused, here or at the other end, and for a flow that `flushConnection` has ended.
    pub access: String,
    /// `MACHINE/INTERFACE` of the other end, where its rule refuses what this one sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_at: Option<String>,
    /// What the far side knows in place of this interface's own address and port: a load balancer's, or a public address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_port: Option<u16>,
    pub age_seconds: f64,
    pub idle_seconds: f64,
    /// From the guest.
    pub packets_sent: u64,
    pub bytes_sent: u64,
    /// To the guest.
    pub packets_received: u64,
    pub bytes_received: u64,
    /// The rules that let it pass, of each NSG asked: `app securityRules/https`; of a denied one, the rule that denies it.
    pub rules: Vec<String>,
}
