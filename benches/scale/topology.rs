//! The network, and how it changes: VNets in turns around three hubs, a table and an NSG for each 24th and 20th of
//! them.

use std::fmt::Write as _;

pub(crate) const HUBS: usize = 3;
pub(crate) const SPOKES: usize = 997;
pub(crate) const NICS: usize = 5 * (HUBS + SPOKES);
pub(crate) const TABLES: usize = 24;
pub(crate) const ROUTES: usize = 400;

/// An address in the last route of the first table.
pub(crate) const BEHIND: &str = "20.1.143.1";
/// An interface in a spoke, in a subnet with that table.
pub(crate) const SENDER: usize = TABLES;
/// The interfaces that are its next hop in turns: the first two of the hub's first subnet.
pub(crate) const APPLIANCES: [usize; 2] = [0, 2 * (HUBS + SPOKES)];

/// An interface's attachment, as text after its subnet.
pub(crate) type Place<'a> = &'a dyn Fn(usize) -> String;

/// The network in a given step: one route differs. With an attachment given, every interface has a TUN.
pub(crate) fn whole(name: &str, step: usize, place: Option<Place<'_>>) -> String {
    of_size(name, HUBS + SPOKES, step, place)
}

/// The same with so many VNets.
pub(crate) fn of_size(name: &str, vnets: usize, step: usize, place: Option<Place<'_>>) -> String {
    let mut text = format!("name: {name}\nemulation: {{workers: 2}}\nvirtualNetworks:\n");
    for vnet in 0..vnets {
        virtual_network(&mut text, vnets, vnet);
    }
    text += "routeTables:\n";
    for table in 0..TABLES {
        let _ = writeln!(text, "  - name: t{table}\n    routes:");
        for route in 0..ROUTES {
            // The first appliance of the table's hub, and for the last route of the first table this step's.
            let last = if (table, route) == (0, ROUTES - 1) { 4 + step % 2 } else { 4 };
            let prefix = format!("{}.{}.{}.0/24", 20 + table, route / 256, route % 256);
            let hop = format!("10.{}.{}.{last}", table % HUBS / 64, table % HUBS % 64 * 4);
            let _ = writeln!(
                text,
                "      - {{name: r{route}, addressPrefix: {prefix}, nextHopType: VirtualAppliance, nextHopIpAddress: {hop}}}"
            );
        }
    }
    text += "networkSecurityGroups:\n";
    for nsg in 0..20 {
        let _ = writeln!(text, "  - name: g{nsg}\n    securityRules:");
        for rule in 0..20 {
            let _ = writeln!(
                text,
                "      - {{name: r{rule}, priority: {}, direction: Inbound, access: Allow, protocol: Tcp, \
                 sourceAddressPrefix: VirtualNetwork, sourcePortRange: '*', destinationAddressPrefix: '*', \
                 destinationPortRange: {}}}",
                100 + rule,
                1000 + nsg * 20 + rule
            );
        }
    }
    text += "virtualMachines:\n";
    for nic in 0..5 * vnets {
        let (vnet, attach) = (nic % vnets, place.map(|place| place(nic)));
        let subnet = if (nic / vnets).is_multiple_of(2) { "app" } else { "db" };
        let _ = writeln!(
            text,
            "  - {{name: m{nic}, networkInterfaces: [{{subnet: v{vnet}/{subnet}{}}}]}}",
            attach.unwrap_or_default()
        );
    }
    text
}

fn virtual_network(text: &mut String, vnets: usize, vnet: usize) {
    let range = |third: usize, length: u8| format!("10.{}.{}.0/{length}", vnet / 64, vnet % 64 * 4 + third);
    let hub = vnet % HUBS;
    let peers: Vec<usize> = if vnet < HUBS {
        (0..HUBS).filter(|other| *other != vnet).chain((HUBS..vnets).filter(|spoke| spoke % HUBS == vnet)).collect()
    } else {
        vec![hub]
    };
    let _ = writeln!(
        text,
        "  - name: v{vnet}\n    location: westeurope\n    addressSpace: [{}]\n    subnets:\n      \
         - {{name: app, addressPrefix: {}, routeTable: t{}, networkSecurityGroup: g{}}}\n      \
         - {{name: db, addressPrefix: {}, routeTable: t{}, networkSecurityGroup: g{}}}\n    virtualNetworkPeerings:",
        range(0, 22),
        range(0, 24),
        vnet % TABLES,
        vnet % 20,
        range(1, 24),
        vnet % TABLES,
        (vnet + 1) % 20
    );
    for peer in peers {
        let _ = writeln!(
            text,
            "      - {{name: v{vnet}-v{peer}, remoteVirtualNetwork: v{peer}, allowForwardedTraffic: true}}"
        );
    }
}
