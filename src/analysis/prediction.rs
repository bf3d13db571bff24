//! The model's prediction for a test's packet and its answer, without the reasons that `explain` finds.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::dataplane::{Admission, NicId, Step};
use crate::model::{Endpoint, Internet, Network, TestEnds, Verdict};

use super::query::names::Names;
use super::query::{Query, QueryEnd, resolve};
use super::walk::branches::{Branch, Branches};
use super::walk::guest_rules::{GuestMet, GuestRules};
use super::walk::round_trip::RoundTrip;
use super::walk::{ScratchFlows, Walk};

/// The model's answer to a question that real packets can check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    pub verdict: Verdict,
    /// A drop reason's name, `GuestNotForwarding`, `NoHost`, `NoRouteOnPremises`, `Loop`, `WrongHost` or `WrongSource`.
    pub dropped: Option<String>,
    pub from: Site,
    pub to: Site,
    /// The machines that forward the packet, in order, as far as it comes.
    pub via: Vec<String>,
    /// The machines that forward its answer.
    pub via_return: Vec<String>,
    /// Every path that a flow's hash may choose, where there are several. The fields above are then about one that does
    /// not arrive, if there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// Guests on the path whose own rules are not evaluated: the fields above hold if these let everything pass
    /// unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guest_rules: Vec<GuestMet>,
    /// The rules that were evaluated, for the packet and then for its answer.
    pub rulings: Vec<Ruling>,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub address: IpAddr,
    /// Index in [`Network::attachments`]; None for an address that no machine has.
    pub attachment: Option<usize>,
}

/// A rule that was evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// `securityRules/x` or `defaultSecurityRules/x`.
    pub rule: String,
    /// `NSG app on subnet spoke1/app, rule securityRules/https`.
    pub object: String,
    pub allow: bool,
}

/// Walks the packet and its answer.
pub fn forecast(network: &Network, compiled: &Compiled, query: &Query) -> Result<Forecast, String> {
    forecast_with(network, compiled, &GuestRules::of(network), query)
}

/// The same with the guests' own rules as they are known.
pub fn forecast_with(
    network: &Network,
    compiled: &Compiled,
    guests: &GuestRules,
    query: &Query,
) -> Result<Forecast, String> {
    let ends = resolve(network, compiled, query)?;
    let names = Names { network, compiled };
    let branches = Branches::take(names, &mut ScratchFlows::new(), &ends, query.probe);
    let trip = branches.worst();
    let site = |nic: Option<NicId>, address| {
        let port = nic.map(|nic| compiled.snapshot.nic(nic).port);
        let at = port.and_then(|port| compiled.ids().attachment(port));
        let attachment = at.and_then(|at| network.attachments().iter().position(|other| *other == at));
        Site { address, attachment }
    };
    let blocked = trip.blocked();
    let met = guests.met(names, &branches);
    Ok(Forecast {
        verdict: if met.is_empty() { branches.verdict() } else { Verdict::Depends },
        dropped: blocked.and_then(|walk| walk.outcome.reason()).map(str::to_owned),
        from: site(Some(ends.source), ends.source_address),
        to: site(ends.destination.nic, ends.destination.address),
        via: names.via(&trip.forward),
        via_return: trip.back.as_ref().map(|walk| names.via(walk)).unwrap_or_default(),
        branches: branches.named(names),
        guest_rules: met,
        rulings: branches.trips().iter().flat_map(RoundTrip::walks).flat_map(|walk| rulings(names, walk)).collect(),
    })
}

fn rulings(names: Names<'_>, walk: &Walk) -> Vec<Ruling> {
    let steps = walk.legs.iter().flat_map(|leg| &leg.steps);
    let ruling = |step: &Step| match *step {
        Step::Admit { nic, admission: Admission::Rule { place, acl, rule, allow }, .. } => Some(Ruling {
            rule: names.compiled.rule(acl, rule).name.clone(),
            object: names.rule(nic, place, acl, rule),
            allow,
        }),
        _ => None,
    };
    steps.filter_map(ruling).collect()
}

impl Query {
    /// The question of a test.
    pub fn of(network: &Network, test: &TestEnds) -> Self {
        let place = |endpoint| match endpoint {
            Endpoint::Vm(vm) => QueryEnd::Node { name: network.vm(vm).name.clone(), nic: None },
            Endpoint::Nic(nic) => {
                let nic = network.nic(nic);
                QueryEnd::Node { name: network.vm(nic.virtual_machine).name.clone(), nic: Some(nic.name.clone()) }
            }
            Endpoint::Address(address) => QueryEnd::Address(address),
            Endpoint::Internet => QueryEnd::Node { name: Internet::NAME.to_owned(), nic: None },
            Endpoint::Outside(customer) => {
                QueryEnd::Node { name: network.name_of_customer(customer).to_owned(), nic: None }
            }
        };
        Self { source: place(test.from), destination: place(test.to), probe: test.probe }
    }
}
