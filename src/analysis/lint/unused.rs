//! Route tables and security groups that nothing refers to.

use crate::analysis::yaml_path;
use crate::model::{Network, NsgIx, RouteTableIx, Subnet};

use super::Finding;

pub(super) fn findings(network: &Network) -> Vec<Finding> {
    let subnets = || network.virtual_networks.iter().flat_map(|vnet| &vnet.subnets);
    let tables = network.route_tables.iter().enumerate().map(|(i, table)| (RouteTableIx(i), table));
    let tables = tables.filter(|(ix, _)| !subnets().any(|subnet: &Subnet| subnet.route_table == Some(*ix)));
    let tables = tables.map(|(ix, table)| Finding {
        code: "unused-route-table",
        rule: "UDR-01",
        message: format!("no subnet has route table {}: its routes steer nothing", table.name),
        path: yaml_path::table(ix),
        help: format!("give a subnet `routeTable: {}`, or remove the table", table.name),
    });
    let used = |nsg: NsgIx| {
        let nics = network.network_interfaces.iter().map(|nic| nic.network_security_group);
        nics.chain(subnets().map(|subnet| subnet.network_security_group)).any(|used| used == Some(nsg))
    };
    let nsgs = network.network_security_groups.iter().enumerate().map(|(i, nsg)| (NsgIx(i), nsg));
    let nsgs = nsgs.filter(|(ix, _)| !used(*ix)).map(|(ix, nsg)| Finding {
        code: "unused-security-group",
        rule: "NSG-10",
        message: format!(
            "no subnet and no interface has network security group {}: its rules filter nothing",
            nsg.name
        ),
        path: yaml_path::nsg(ix),
        help: format!("give a subnet or an interface `networkSecurityGroup: {}`, or remove the group", nsg.name),
    });
    tables.chain(nsgs).collect()
}
