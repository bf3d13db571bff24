//! The forwarding plane: immutable tables, flow records and the pipeline that decides a packet's leg.
//!
//! One idea: [`process`] is a pure function of a published [`Snapshot`], the [`Flows`] and a packet; its answer is a
//! [`Verdict`], its reasons go to an [`Observer`]. It allocates nothing once warm, never logs, never blocks. It knows
//! ids, not names; no clock, no file descriptor, no counter.

mod drop_reason;
mod observer;
mod pattern;
mod pipeline;
pub mod platform;
mod recorder;
mod state;
mod tables;

pub use drop_reason::DropReason;
pub use observer::{Admission, Direction, FilterPlace, Observer, PacketEnd, Quiet, Step, Translation};
pub use pattern::{Pattern, Side};
pub use pipeline::{End, Flows, Paths, judge, part, process};
pub use recorder::Recorder;
pub use state::flow::{
    Cursor, Deciders, Denial, FlowEvent, FlowLimits, FlowRecord, FlowState, FlowTable, FlowTerms, Follow, Passing,
    Room, RuleId, RulesMark, Share, Signal, TableFull, Traffic,
};
pub use state::fragment::FragmentTable;
pub use state::loops::{LoopTable, RoutingLoop};
pub use state::nat::{
    Asking, Full, Held, Mapped, NatLimits, NatTable, Outbound, Parted, Pin, Place, PortPool, Ports, PortsExhausted,
    Said, Told,
};
pub use tables::acl::{Acl, AclMatch, AclRule, Action, ProtocolMatch};
pub use tables::balancer::{BalancingRule, Frontend, FrontendId, Keyed, Member, Takes};
pub use tables::edge::{Balanced, Edge, Egress, PoolId, PublicOwner};
pub use tables::gateway::{Gateway, GatewayId, Selectors};
pub use tables::lpm::{Lpm, LpmBuilder};
pub use tables::snapshot::{
    AclId, Fib, FibId, Filters, Ingress, Link, NextHop, Nic, NicId, Owner, PortId, RouteId, Snapshot, SpreadId,
    SubnetId, SubnetSet, Vnet, VnetId,
};
pub use tables::spread::Spread;
pub use tables::tunnel_nat::{AddressMap, PortMap, TunnelNat};

/// Nanoseconds on the caller's monotonic clock. Pure code takes it as an argument and never asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Forward(PortId),
    Drop(DropReason),
}
