//! Edits that detach something from a subnet or give it outbound access, and rules that allow the platform's probes and
//! clients.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::analysis::change::{Change, Edit, Flow, make_room, unused, unused_rule};
use crate::analysis::yaml_path;
use crate::compile::RuleOwner;
use crate::dataplane;
use crate::model::{
    Access, AddressPrefix, Direction, InstanceAddress, NatGateway, NatGatewayIx, Network, NicIx, Nsg, NsgIx, OWNERLESS,
    PortRange, PublicIpIx, PublicIpPrefix, PublicIpSku, PublicPrefixIx, RouteDestination, RouteTableIx,
    SecurityProtocol, SecurityRule, ServiceTag, SubnetIx,
};

impl Edit {
    pub(super) fn detach_table(&mut self, subnet: SubnetIx) {
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].route_table = None;
        self.remove(format!("{}.routeTable", yaml_path::subnet(subnet)));
    }

    pub(super) fn attach_table(&mut self, subnet: SubnetIx, table: RouteTableIx) {
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].route_table = Some(table);
        let name = self.network.route_tables[table.0].name.clone();
        self.changes.push(Change { path: format!("{}.routeTable", yaml_path::subnet(subnet)), value: Some(name) });
    }

    /// Gives a route another range.
    pub(super) fn widen(&mut self, table: RouteTableIx, route: usize, range: IpNet) {
        let path = format!("{}.addressPrefix", yaml_path::route(table, route));
        Arc::make_mut(&mut self.network.route_tables[table.0]).routes[route].destination =
            RouteDestination::Prefix(range);
        self.changes.push(Change { path, value: Some(range.to_string()) });
    }

    pub(super) fn detach_nat_gateway(&mut self, subnet: SubnetIx) {
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].nat_gateway = None;
        self.remove(format!("{}.natGateway", yaml_path::subnet(subnet)));
    }

    /// The NAT gateway of another subnet of the virtual network, one that no subnet has, or a new one. None where a NAT
    /// gateway is not allowed (NAT-06).
    pub(super) fn give_nat_gateway(&mut self, subnet: SubnetIx) -> Option<NatGatewayIx> {
        let network = &mut self.network;
        let mut publics = network.network_interfaces.iter().filter(|nic| nic.subnet == subnet);
        let is_basic = |ix: PublicIpIx| network.public_ip(ix).sku == PublicIpSku::Basic;
        if publics.any(|nic| nic.public_addresses.iter().any(|one| is_basic(one.public))) {
            return None;
        }
        let shared = network.vnet(subnet.vnet).subnets.iter().find_map(|subnet| subnet.nat_gateway);
        let gateway = match shared.or_else(|| unused_nat_gateway(network)) {
            Some(gateway) => gateway,
            None => self.add_nat_gateway(&self.network.subnet(subnet).name.clone())?,
        };
        let name = self.network.nat_gateways[gateway.0].name.clone();
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].nat_gateway = Some(gateway);
        self.changes.push(Change { path: format!("{}.natGateway", yaml_path::subnet(subnet)), value: Some(name) });
        Some(gateway)
    }

    /// An unused public address in front of a private one; None where there is none.
    pub(super) fn give_public_ip(&mut self, nic: NicIx, private: IpAddr) -> Option<String> {
        let network = &mut self.network;
        let fits = |ix: &PublicIpIx| {
            let public = network.public_ip(*ix);
            public.sku == PublicIpSku::Standard && public.address.is_ipv4() == private.is_ipv4()
        };
        let public = network.unused_public_ips().find(fits)?;
        let name = network.public_ip(public).name.clone();
        network.network_interfaces[nic.0].public_addresses.push(InstanceAddress { private, public });
        let path = format!("{}.publicIPAddress", yaml_path::ip_configuration(network, nic, private));
        self.changes.push(Change { path, value: Some(name.clone()) });
        Some(name)
    }

    /// A new NAT gateway with two public addresses, from a range that the file does not use.
    fn add_nat_gateway(&mut self, subnet: &str) -> Option<NatGatewayIx> {
        let network = &mut self.network;
        // Searches down from the end of a documentation range (RFC 5737); its middle is allocated automatically.
        let range = |low: u8| IpNet::from(Ipv4Net::new_assert([203, 0, 113, low].into(), 31));
        let is_free = |range: &IpNet| {
            let addresses = network.public_ip_addresses.iter().map(|one| one.address);
            let answering = network.internet.iter().flat_map(|internet| internet.addresses.iter().copied());
            let taken = addresses.chain(answering).any(|address| range.contains(&address));
            let overlaps = |other: &IpNet| other.contains(range) || range.contains(other);
            let default = OWNERLESS.iter().any(|address| range.contains(&IpAddr::from(*address)));
            !taken && !default && !network.public_ip_prefixes.iter().any(|one| overlaps(&one.prefix))
        };
        let prefix = (0..=127).rev().map(|half| range(2 * half)).find(is_free)?;
        let stem = format!("{subnet}-out");
        let name = unused(&stem, || network.nat_gateways.iter().map(|one| one.name.as_str()));
        let range_name = unused(&stem, || network.public_ip_prefixes.iter().map(|one| one.name.as_str()));
        let (at, range_at) = (network.nat_gateways.len(), network.public_ip_prefixes.len());
        let changes = [
            (format!("publicIPPrefixes[{range_at}]"), format!("{{name: {range_name}, ipPrefix: {prefix}}}")),
            (format!("natGateways[{at}]"), format!("{{name: {name}, publicIpPrefixes: [{range_name}]}}")),
        ];
        network.public_ip_prefixes.push(PublicIpPrefix { name: range_name, prefix });
        let prefixes = vec![PublicPrefixIx(range_at)];
        network.nat_gateways.push(NatGateway {
            name,
            addresses: Vec::new(),
            prefixes,
            idle_timeout: Duration::from_secs(4 * 60),
        });
        self.changes.extend(changes.map(|(path, value)| Change { path, value: Some(value) }));
        Some(NatGatewayIx(at))
    }

    /// Attaches a group to a subnet that has none.
    pub(super) fn attach_nsg(&mut self, nsg: NsgIx, subnet: SubnetIx) {
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].network_security_group = Some(nsg);
        let name = self.network.network_security_groups[nsg.0].name.clone();
        let path = format!("{}.networkSecurityGroup", yaml_path::subnet(subnet));
        self.changes.push(Change { path, value: Some(name) });
    }

    /// An NSG for an interface that has none, with one rule that allows a flow (PIP-04).
    pub(super) fn open_with_nsg(&mut self, nic: NicIx, flow: &Flow) {
        const FIRST_PRIORITY: u16 = 100;
        let groups = &mut self.network.network_security_groups;
        let at = NsgIx(groups.len());
        let machine = &self.network.virtual_machines[self.network.network_interfaces[nic.0].virtual_machine.0].name;
        let name = unused(&format!("{machine}-nsg"), || groups.iter().map(|one| one.name.as_str()));
        groups.push(Nsg { name: name.clone(), rules: Vec::new(), flush_connection: false });
        self.network.network_interfaces[nic.0].network_security_group = Some(at);
        self.allow(at, dataplane::Direction::Inbound, FIRST_PRIORITY + 1, flow);
        let rule = self.changes.pop().and_then(|rule| rule.value).unwrap_or_default();
        let group = format!("{{name: {name}, securityRules: [{rule}]}}");
        let path = format!("{}.networkSecurityGroup", yaml_path::nic(&self.network, nic));
        self.changes.push(Change { path: yaml_path::nsg(at), value: Some(group) });
        self.changes.push(Change { path, value: Some(name) });
    }

    /// Gives a rule a priority before another's, and returns it; None where none is free.
    pub(super) fn advance(&mut self, owner: RuleOwner, rule: usize, below: u16) -> Option<u16> {
        let (priority, moved) = match owner {
            RuleOwner::Nsg(nsg) => {
                let rules = &mut self.network.network_security_groups[nsg.0].rules;
                let direction = rules[rule].direction;
                advance(rules, rule, |other| other.direction == direction, (100, below))
            }
            RuleOwner::Collection(at) => {
                advance(&mut self.network.rule_collection_mut(at).rules, rule, |_| true, (1, below))
            }
            RuleOwner::Firewall { .. } => None,
        }?;
        self.note_moved(owner, &moved);
        self.note_moved(owner, &[(rule, priority)]);
        Some(priority)
    }

    fn remove(&mut self, path: String) {
        self.changes.push(Change { path, value: None });
    }

    /// Allows probes of a port at these addresses, before a rule of this priority; false where no priority is free.
    pub(super) fn admit_probes(&mut self, nsg: NsgIx, below: u16, port: u16, prober: IpAddr, at: &[IpAddr]) -> bool {
        let rules = &mut self.network.network_security_groups[nsg.0].rules;
        let rival = |rule: &SecurityRule| rule.direction == Direction::Inbound;
        let Some((priority, moved)) = make_room(rules, rival, (100, below)) else { return false };
        let name = unused_rule("allow-probes", rules);
        let ports = PortRange { first: port, last: port };
        let (source, source_text) = match prober {
            IpAddr::V4(_) => (AddressPrefix::Prefix(prober.into()), prober.to_string()),
            // A file can name the link-local prober only by its tag.
            IpAddr::V6(_) => (AddressPrefix::Tag(ServiceTag::AzureLoadBalancer), "AzureLoadBalancer".to_owned()),
        };
        let addresses = at.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let destination = match at {
            [_] => format!("destinationAddressPrefix: {addresses}"),
            _ => format!("destinationAddressPrefixes: [{addresses}]"),
        };
        let path = yaml_path::rule(RuleOwner::Nsg(nsg), rules.len());
        let value = format!(
            "{{name: {name}, priority: {priority}, direction: Inbound, access: Allow, protocol: Tcp, \
             sourceAddressPrefix: {source_text}, sourcePortRange: '*', {destination}, destinationPortRange: '{port}'}}"
        );
        rules.push(SecurityRule {
            name,
            priority,
            direction: Direction::Inbound,
            access: Access::Allow,
            protocol: SecurityProtocol::Tcp,
            source: vec![source],
            source_ports: vec![PortRange::ALL],
            destination: at.iter().map(|address| AddressPrefix::Prefix((*address).into())).collect(),
            destination_ports: vec![ports],
        });
        self.note_moved(RuleOwner::Nsg(nsg), &moved);
        self.changes.push(Change { path, value: Some(value) });
        true
    }
}

/// A NAT gateway that no subnet has.
fn unused_nat_gateway(network: &Network) -> Option<NatGatewayIx> {
    let used = |gateway: &NatGatewayIx| {
        let mut subnets = network.virtual_networks.iter().flat_map(|vnet| &vnet.subnets);
        subnets.any(|subnet| subnet.nat_gateway == Some(*gateway))
    };
    (0..network.nat_gateways.len()).map(NatGatewayIx).find(|gateway| !used(gateway))
}

/// A rule's new priority before another's, and the rules that make room for it.
fn advance<A>(
    rules: &mut [SecurityRule<A>],
    rule: usize,
    is_rival: impl Fn(&SecurityRule<A>) -> bool,
    range: (u16, u16),
) -> Option<(u16, Vec<(usize, u16)>)> {
    let name = rules[rule].name.clone();
    let (priority, moved) = make_room(rules, |other| other.name != name && is_rival(other), range)?;
    rules[rule].priority = priority;
    Some((priority, moved))
}
