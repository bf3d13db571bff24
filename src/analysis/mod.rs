//! Answers about a network, as data: which route a packet takes, and why it arrives or not.
//!
//! One idea: diagnosis is forwarding, watched. A question becomes a synthetic packet, which `dataplane::process`
//! decides with a recording observer. This module only puts names on the recorded steps. There is no second evaluator,
//! no printing and no I/O here.

mod change;
mod explain;
mod flow_filter;
pub mod graph;
mod lint;
mod plan;
mod prediction;
mod query;
mod reach;
mod region;
mod shares;
mod test_verdict;
mod traffic;
mod views;
mod walk;
mod yaml_path;

pub use crate::flow_log::{FlowLogs, LoggedRecord, RuleNames, hour, target_name};
pub use change::Change;
pub use explain::live::{FollowedFlow, LiveExplanation, explain_live};
pub use explain::traced_leg::{FragmentWords, IcmpWords, PacketWords, Sighting, sighting};
pub use explain::verify::{Retraced, Verification, retrace, verify};
pub use explain::{Explanation, Fix, Obstacle, Verdict, explain, explain_with};
pub use flow_filter::{Filter, FilterError, Host, parse_filter, pattern};
pub use lint::{Finding, lint};
pub use plan::{Action, Effect, ObjectChange, Plan, PropertyChange, TouchedFlows, plan};
pub use prediction::{Forecast, Ruling, Site, forecast, forecast_with};
pub use query::names::{refuser, service_endpoint};
pub use query::target::subnet;
pub use query::{Probe, Query, QueryEnd, parse_end, parse_port, parse_query, unknown};
pub use reach::{Difference, Pair, PathSummary, Reach, Shift, differences, reach, reach_among, reach_with};
pub use shares::{Share, shares};
pub use test_verdict::{Observed, Problem, ProblemKind, judge, packets_decide};
pub use traffic::{Traffic, boundaries, traffic};
pub use views::circuits::{AuthorizationRow, CircuitRow, LinkRow, ReachRow, circuits};
pub use views::connections::{ConnectionRow, connections};
pub use views::flow_verify::{FlowAccess, FlowProtocol, FlowVerifyAnswer, FlowVerifyQuery, flow_verify};
pub use views::load_balancers::{BackendRow, FlowCounts, HealthState, load_balancers};
pub use views::next_hop::{NextHopAnswer, NextHopQuery, next_hop};
pub use views::peerings::{AddressSpace, PeeringRow, Reference, peerings};
pub use views::private_clouds::{
    AdminCredentials, CloudRouterRow, Endpoints, PrivateCloudRow, SegmentRow, private_clouds,
};
pub use views::public_addresses::{PublicAddressRow, public_addresses, public_addresses_of};
pub use views::routes::{RouteRow, routes, routes_of};
pub use views::rules::{Association, EffectiveGroup, RuleRow, rules};
pub use views::snat::{PortUse, SnatRow, snat};
pub use walk::branches::Branch;
pub use walk::guest_rules::{GuestMet, GuestRules, Hook, LastSeen, PacketResult, RulesThere};
pub use walk::narration::{Hop, Path, Step, StepKind};
