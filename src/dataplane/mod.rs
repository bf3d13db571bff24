//! The forwarding plane: immutable tables, the state that packets change, and the pipeline that decides a packet's leg.
//!
//! One idea: [`process`] is a pure function of a published [`Snapshot`], the [`Flows`] and a packet. It returns a
//! [`Verdict`] and reports its reasons to an [`Observer`]. Once warm it allocates nothing; it never logs and never
//! blocks. It knows ids, not names; no clock, no file descriptor, no counter.
//!
//! There are two tiers, and both give the same verdict; `tests/dataplane/paths.rs` compares them:
//!
//! ```text
//!  packet --> Paths::process
//!               |
//!               |  whole TCP or UDP, and the path of its flow is known
//!               +--> fast path: pipeline/fast_path
//!               |      from memory: route, peering, receiver, load balancer's rule
//!               |      asked for every packet: filters, flow records, port mappings, size
//!               |
//!               |  any other packet
//!               +--> full walk: process, in pipeline/mod.rs
//!                      all of that is asked, step by step
//!
//!  packet, while a trace is on --> process: always the full walk
//! ```
//!
//! A flow's first packet takes the full walk; its second finds the path. A publish of new tables ends all known paths.

mod drop_reason;
mod observer;
mod pattern;
mod pipeline;
pub mod platform;
mod recorder;
mod state;
mod tables;
mod trail;

pub use drop_reason::DropReason;
pub use observer::{Admission, Direction, FilterPlace, Followed, Observer, PacketEnd, Quiet, Step, Translation};
pub use pattern::{Pattern, Side};
pub use pipeline::{End, Flows, Opening, Paths, evaluate, opening, process, reset_end};
pub use recorder::Recorder;
pub use state::flow::{
    Cursor, Deciders, Denial, FlowEvent, FlowLimits, FlowRecord, FlowState, FlowTable, FlowTerms, Follow, Passing,
    Room, RuleId, RulesMark, Share, Signal, Standing, TableFull, Traffic,
};
pub use state::fragment::FragmentTable;
pub use state::loops::{LoopTable, RoutingLoop};
pub use state::nat::{
    BalancedFlow, ExpiredConnection, FollowedMapping, Full, Held, IdleReset, MAPPED, Mapped, MappingBucket,
    MappingLookup, MappingSide, NatLimits, NatTable, Outbound, PortPool, Ports, PortsExhausted, TcpSegment,
};
pub use tables::acl::{Acl, AclMatch, AclRule, Action, ProtocolMatch};
pub use tables::balancer::{BalancingRule, Frontend, FrontendId, Keyed, Member, Takes};
pub use tables::edge::{Balanced, CloudEgress, Edge, Egress, PoolId, PublicOwner};
pub use tables::gateway::{Gateway, GatewayId, Selectors};
pub use tables::lpm::{Lpm, LpmBuilder};
pub use tables::snapshot::{
    AclId, Fib, FibId, Filters, Ingress, Link, NextHop, Nic, NicId, Owner, PortId, RouteId, Snapshot, SpreadId,
    SubnetId, SubnetSet, Vnet, VnetId,
};
pub use tables::spread::Spread;
pub use tables::tunnel_nat::{AddressMap, PortMap, TunnelNat};
pub use trail::UsedMapping;

use trail::Trail;

/// Nanoseconds on the caller's monotonic clock. Pure code takes it as an argument and never asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// The decision on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Forward(PortId),
    Drop(DropReason),
}
