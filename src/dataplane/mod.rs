//! The forwarding plane: immutable tables, flow records and the pipeline that decides a packet's leg.
//!
//! One idea: [`process`] is a pure function of a published [`Snapshot`], the [`Flows`] and a packet; its answer is a
//! [`Verdict`], its reasons go to an [`Observer`]. It allocates nothing once warm, never logs, never blocks. It knows
//! ids, not names; no clock, no file descriptor, no counter.

mod acl;
mod balancer;
mod drop_reason;
mod edge;
mod flow;
mod fragment;
mod gateway;
mod lock;
mod loops;
mod lpm;
mod nat;
mod observer;
mod pattern;
mod pipeline;
pub mod platform;
mod poptrie;
mod recorder;
mod snapshot;
mod spread;
mod tunnel_nat;

pub use acl::{Acl, AclMatch, AclRule, Action, ProtocolMatch};
pub use balancer::{BalancingRule, Frontend, FrontendId, Keyed, Member, Takes};
pub use drop_reason::DropReason;
pub use edge::{Balanced, Edge, Egress, PoolId, PublicOwner};
pub use flow::{
    Cursor, Deciders, Denial, FlowEvent, FlowLimits, FlowRecord, FlowState, FlowTable, FlowTerms, Follow, Passing,
    Room, RuleId, RulesMark, Share, Signal, TableFull, Traffic,
};
pub use fragment::FragmentTable;
pub use gateway::{Gateway, GatewayId, Selectors};
pub use loops::{LoopTable, RoutingLoop};
pub use lpm::{Lpm, LpmBuilder};
pub use nat::{
    Asking, Full, Held, Mapped, NatLimits, NatTable, Outbound, Parted, Pin, Place, PortPool, Ports, PortsExhausted,
    Said, Told,
};
pub use observer::{Admission, Direction, FilterPlace, Observer, PacketEnd, Quiet, Step, Translation};
pub use pattern::{Pattern, Side};
pub use pipeline::{End, Flows, Paths, judge, part, process};
pub use recorder::Recorder;
pub use snapshot::{
    AclId, Fib, FibId, Filters, Ingress, Link, NextHop, Nic, NicId, Owner, PortId, RouteId, Snapshot, SpreadId,
    SubnetId, SubnetSet, Vnet, VnetId,
};
pub use spread::Spread;
pub use tunnel_nat::{AddressMap, PortMap, TunnelNat};

/// Nanoseconds on the caller's monotonic clock. Pure code takes it as an argument and never asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Forward(PortId),
    Drop(DropReason),
}
