//! Destinations outside of the virtual networks, with what is known of the path to them.
//!
//! One idea: Azure has delivered the packet. Whether a machine answers there is up to the lab: the Internet node, a
//! site or a private cloud lists the addresses that answer.

use std::net::IpAddr;

use crate::analysis::query::names::Names;
use crate::analysis::walk::branches::Branches;
use crate::analysis::walk::{Leg, ScratchFlows};
use crate::compile::{Sender, compile_next};
use crate::dataplane::{NicId, PacketEnd, Step};
use crate::model::{Customer, Network, OWNERLESS, Remote};

use super::{Case, Diagnosis};

impl Case<'_> {
    /// A public address that the lab's Internet node does not have.
    pub(super) fn on_the_internet(&self, leg: &Leg) -> Diagnosis {
        if let Some(diagnosis) = self.past_the_gateway(leg) {
            return diagnosis;
        }
        let (names, dst) = (self.names, self.walk.last.dst);
        let mut edit = self.edit();
        edit.add_to_internet(dst);
        let route = leg.route().map(|(fib, route, hop)| names.route(leg.router(), fib, route, hop));
        let by = route.map_or_else(String::new, |route| format!(" by {route}"));
        let leaves = self.leaves_as(&edit.network).map_or_else(String::new, |seen| format!(", as {seen}"));
        let lacks = match names.network.internet {
            None => "this network has no node `internet`",
            Some(_) => "the node `internet` has no such address",
        };
        let cause = format!(
            "{dst} is beyond the edge: the packet leaves{by}{leaves}; {lacks}, so that no machine of the lab answers"
        );
        if OWNERLESS.iter().any(|address| dst == IpAddr::from(*address)) {
            return Diagnosis::without_fix(cause);
        }
        Diagnosis::with_fix(cause, format!("give the node `internet` the address {dst}, or `egress: host`"), edit)
    }

    /// The packet's public source, if it could reach the Internet node: `203.0.113.10 (NAT gateway out)`.
    fn leaves_as(&self, network: &Network) -> Option<String> {
        let ids = self.names.compiled.ids().as_edited(network);
        let compiled = compile_next(network, self.names.compiled.learned(), ids, 0, self.names.compiled);
        let names = Names { network, compiled: &compiled };
        let trips = Branches::take(names, &mut ScratchFlows::new(), self.ends, self.probe);
        let steps = trips.worst().forward.legs.iter().flat_map(|leg| &leg.steps);
        let mut public = steps.filter_map(|step| match step {
            Step::Translate(translation) if matches!(translation.end, PacketEnd::Source) => Some(translation.public()),
            _ => None,
        });
        let (address, port) = public.next_back()?;
        Some(format!("{address} ({})", names.public(address, Some(port))))
    }

    /// The packet has left Azure.
    pub(super) fn no_host(&self, nic: NicId) -> Diagnosis {
        let (names, dst) = (self.names, self.walk.last.dst);
        let (network, node) = (names.network, names.node(nic));
        let arrives = format!("the packet arrives at {node} over {}", names.nic(nic));
        let mut edit = self.edit();
        let range = match names.customer(names.compiled.sender(nic)) {
            Some(Customer::Site(at)) => {
                let range = network.site(at).address_space.iter().find(|range| range.contains(&dst));
                range.inspect(|_| edit.add_to_site(at, dst)).map(ToString::to_string)
            }
            Some(Customer::Segment(at, segment)) => {
                let own = network.segment(at, segment);
                let is_host =
                    IpAddr::from(own.prefix.network()) != dst && ipnet::IpNet::from(own.prefix).contains(&dst);
                is_host.then(|| {
                    edit.add_to_segment(at, segment, dst);
                    format!("segment {}", own.name)
                })
            }
            Some(Customer::Cloud(_)) | None => None,
        };
        if let Some(range) = range {
            let cause =
                format!("{dst} is beyond the edge, in {range} of {node}: {arrives}, whose `addresses` do not list it");
            return Diagnosis::with_fix(cause, format!("list {dst} among the addresses of {node}"), edit);
        }
        let cause = format!("{dst} is in no range of {node}: {arrives}, where no machine has it");
        let Sender::Tunnel(over) = names.compiled.sender(nic) else { return Diagnosis::without_fix(cause) };
        match self.to_the_right_site(over) {
            Some((says, fix)) => Diagnosis::of(format!("{says}; {arrives}"), Some(fix)),
            None => Diagnosis::without_fix(cause),
        }
    }

    /// An address that no virtual network, site or private cloud of the file has; perhaps it is behind a local network
    /// gateway without a site.
    pub(super) fn unknown(&self, leg: &Leg) -> String {
        let (names, dst) = (self.names, self.walk.last.dst);
        let network = names.network;
        let route = leg.route().map(|(fib, route, hop)| names.route(leg.router(), fib, route, hop));
        let end = route.map_or_else(|| "no route leads there".to_owned(), |route| format!("{route} is all there is"));
        match self.behind_local_gateway(dst) {
            Some(place) => format!("{dst} is beyond the edge, {place}, and {end}"),
            None if network.virtual_network_gateways.is_empty() => {
                format!("{dst} is in no range of this network, and {end}")
            }
            None => format!("{dst} is in no range of this network or of what its gateways lead to, and {end}"),
        }
    }

    /// `in the range of local network gateway dc-lng (198.51.100.50), which connection hub-dc leads to`.
    pub(super) fn behind_local_gateway(&self, address: IpAddr) -> Option<String> {
        let network = self.names.network;
        network.connections.iter().find_map(|connection| {
            let Remote::Local(at) = connection.remote else { return None };
            let local = network.local_gateway(at);
            let has = local.address_space.iter().any(|range| range.contains(&address));
            has.then(|| {
                format!(
                    "in the range of local network gateway {} ({}), which connection {} of gateway {} leads to",
                    local.name,
                    local.gateway_ip,
                    connection.name,
                    network.gateway(connection.gateway).name
                )
            })
        })
    }
}
