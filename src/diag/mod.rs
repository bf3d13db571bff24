//! Answers about a network, as data: who is routed where, and why a packet arrives or not.
//!
//! One idea: diagnosis is forwarding, watched. A question becomes a synthetic packet, `dataplane::process` decides it
//! with a recording observer, and what is left is to put names on the steps. There is no second evaluator, no printing
//! and no I/O here.

mod branches;
mod change;
mod circuits;
mod connections;
mod cure;
mod explain;
mod filter;
mod flow_log;
mod flow_verify;
mod forecast;
mod guest_rules;
mod judge;
mod lint;
mod live;
mod load_balancers;
mod masquerade;
mod names;
mod next_hop;
mod nodes;
mod outbound;
mod outside;
mod peerings;
mod plan;
mod public_addresses;
mod query;
mod reach;
mod reasons;
mod routes;
mod rules;
mod sighting;
mod snat;
mod standin;
mod story;
mod target;
mod traffic;
mod trip;
mod unprobed;
mod verify;
mod walk;
mod watcher;
mod yaml_path;

pub use branches::Branch;
pub use change::Change;
pub use circuits::{AuthorizationRow, CircuitRow, LinkRow, ReachRow, circuits};
pub use connections::{ConnectionRow, connections};
pub use explain::{Explanation, Fix, Obstacle, Verdict, explain, explain_with};
pub use filter::{Filter, FilterError, Host, parse_filter, pattern};
pub use flow_log::{FlowLogs, LoggedRecord, RuleNames, hour, target_name};
pub use flow_verify::{FlowAccess, FlowProtocol, FlowVerifyAnswer, FlowVerifyQuery, flow_verify};
pub use forecast::{Forecast, Ruling, Site, forecast, forecast_with};
pub use guest_rules::{GuestMet, GuestRules, Hook, Lost, RulesThere, Settled};
pub use judge::{Observed, Problem, ProblemKind, judge, packets_decide};
pub use lint::{Finding, lint};
pub use live::{FollowedFlow, LiveExplanation, explain_live};
pub use load_balancers::{BackendRow, FlowCounts, HealthState, load_balancers};
pub use names::service_endpoint;
pub use next_hop::{NextHopAnswer, NextHopQuery, next_hop};
pub use peerings::{AddressSpace, PeeringRow, Reference, peerings};
pub use plan::{Action, Effect, ObjectChange, Plan, PropertyChange, TouchedFlows, plan};
pub use public_addresses::{PublicAddressRow, public_addresses, public_addresses_of};
pub use query::{Place, Probe, Query, parse_end, parse_port, parse_query, unknown};
pub use reach::{Difference, Pair, Reach, Shift, Way, differences, reach, reach_among, reach_with};
pub use routes::{RouteRow, routes};
pub use rules::{Association, EffectiveGroup, RuleRow, rules};
pub use sighting::{FragmentWords, IcmpWords, PacketWords, Sighting, sighting};
pub use snat::{PortUse, SnatRow, snat};
pub use story::{Hop, Path, Step, StepKind};
pub use target::subnet;
pub use traffic::{Traffic, boundaries, traffic};
pub use verify::{Retraced, Verification, retrace, verify};
