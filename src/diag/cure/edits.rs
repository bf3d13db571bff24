//! Edits that take something off a subnet, and the rule that admits the platform's probes.

use std::net::IpAddr;

use crate::compile::RuleOwner;
use crate::diag::change::{Change, Edit, make_room, unused_rule};
use crate::diag::yaml_path;
use crate::model::{
    Access, AddressPrefix, Direction, NsgIx, PortRange, SecurityProtocol, SecurityRule, ServiceTag, SubnetIx,
};

impl Edit {
    pub(super) fn detach_table(&mut self, subnet: SubnetIx) {
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].route_table = None;
        self.remove(format!("{}.routeTable", yaml_path::subnet(subnet)));
    }

    pub(super) fn detach_nat_gateway(&mut self, subnet: SubnetIx) {
        self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet].nat_gateway = None;
        self.remove(format!("{}.natGateway", yaml_path::subnet(subnet)));
    }

    fn remove(&mut self, path: String) {
        self.changes.push(Change { path, value: None });
    }

    /// Admits probes of a port at these addresses, before a rule of this priority; false where there is no room for it.
    pub(super) fn admit_probes(&mut self, nsg: NsgIx, below: u16, port: u16, prober: IpAddr, at: &[IpAddr]) -> bool {
        let rules = &mut self.network.network_security_groups[nsg.0].rules;
        let rival = |rule: &SecurityRule| rule.direction == Direction::Inbound;
        let Some((priority, moved)) = make_room(rules, rival, (100, below)) else { return false };
        let name = unused_rule("allow-probes", rules);
        let ports = PortRange { first: port, last: port };
        let (source, source_text) = match prober {
            IpAddr::V4(_) => (AddressPrefix::Prefix(prober.into()), prober.to_string()),
            // A file has the link-local one by its tag alone.
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
