//! A virtual machine of a lab: one namespace, one TUN an interface, and the settings a guest in Azure has.
//!
//! One idea: a guest's settings come from the model, as by DHCP in Azure. The programs in the guest are the user's.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::azure::address::{IPV6_ROUTER, PLATFORM};
use crate::lab::error::{During, Result};
use crate::model::{Internet, Masquerade, Network, NetworkInterface, VirtualMachine};
use crate::platform::DOMAIN;
use crate::sys::netlink::Netlink;
use crate::sys::netns::Netns;
use crate::sys::nftables;
use crate::sys::tun::Tun;

use super::device::{DefaultRoute, Device, Queues, set};
use super::mark::{Mark, title};

/// Settings of every guest, below `/proc/sys/net`.
const SETTINGS: [(&str, &str); 6] = [
    // The fabric may bring a packet in on one interface and take its answer from another.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // An appliance sends packets back the way they came; its neighbours could not do better.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
];

/// Gives a new machine's namespace the settings that every guest has.
pub(in crate::lab) fn settle(namespace: &Netns, mark: &Mark, forwarding: bool, masquerade: Masquerade) -> Result<()> {
    let inside = || mark.set().and_then(|()| apply_settings(forwarding));
    let settled = namespace.run(inside).and_then(|settled| settled);
    settled.during(|| "cannot set up the guest".into())?;
    // Without it no connection is tracked, as in any host that has no such rules.
    if masquerade == Masquerade::Off { Ok(()) } else { set_masquerade(namespace, masquerade) }
}

/// Makes an interface in a machine's namespace, ready to use.
pub(in crate::lab) fn plug(namespace: &Netns, device: &Device, queues: &Queues) -> Result<Tun> {
    let made = queues.router.as_ref().map(|router| router.open(namespace, device, queues)).transpose()?;
    let inside = namespace.run(|| {
        let tun = made.map_or_else(|| device.open(queues), Ok)?;
        device.configure(queues.kind)?;
        Ok(tun)
    });
    inside.during(|| "cannot enter the guest".into())?
}

/// Changes one setting below `/proc/sys/net` of a namespace.
pub(in crate::lab) fn set_setting(namespace: &Netns, setting: &str, value: &str) -> Result<()> {
    let done = namespace.run(|| set(setting, value)).and_then(|done| done);
    done.during(|| "cannot set up the guest".into())
}

/// Whether the guest's kernel forwards.
pub(in crate::lab) fn set_forwarding(namespace: &Netns, forwarding: bool) -> Result<()> {
    let set = namespace.run(|| write_forwarding(forwarding)).and_then(|set| set);
    set.during(|| "cannot set whether the guest forwards".into())
}

/// When the guest puts its own address in place of the source of what it forwards.
pub(in crate::lab) fn set_masquerade(namespace: &Netns, masquerade: Masquerade) -> Result<()> {
    let set = namespace.run(|| nftables::set_masquerade(masquerade.spared())).and_then(|set| set);
    set.during(|| "cannot set whether the guest masquerades".into())
}

/// How an interface is set up, under the name that its guest knows it by.
pub(in crate::lab) fn device(network: &Network, nic: &NetworkInterface, name: &str) -> Device {
    let gateways = if nic.primary { gateways(network, nic) } else { Vec::new() };
    let mtu = network.emulation.mtu.into();
    let mut device = Device { mtu, ..Device::new(name, addresses(network, nic), DefaultRoute::Via(gateways)) };
    let routes = &network.vm(nic.virtual_machine).guest_routes;
    let own = routes.iter().filter(|route| std::ptr::eq(network.nic(route.nic), nic));
    device.via = own.map(|route| (route.prefix, route.next_hop)).collect();
    // Where probes come from: an interface that is not the primary one has no other way there.
    if nic.addresses.iter().any(IpAddr::is_ipv6) {
        device.routes.push(IpAddr::from(IPV6_ROUTER).into());
    }
    device
}

/// The Internet's node: its addresses, each by itself, and everything else through the fabric.
pub(in crate::lab) fn internet(internet: &Internet) -> Device {
    let addresses = internet.addresses.iter().copied().map(IpNet::from).collect();
    Device::new(Internet::INTERFACE, addresses, DefaultRoute::IfNone)
}

/// Names of all machines, as every guest's `/etc/hosts`.
pub(in crate::lab) fn hosts(network: &Network) -> String {
    let mut text = title(&network.name) + "\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
    for nic in network.network_interfaces.iter().filter(|nic| nic.primary) {
        let name = &network.vm(nic.virtual_machine).name;
        let mut families = Vec::new();
        for address in &nic.addresses {
            // One address a family: the primary one.
            if !families.contains(&address.is_ipv6()) {
                families.push(address.is_ipv6());
                let _ = writeln!(text, "{address} {name}");
            }
        }
    }
    for customer in network.customers() {
        let (name, addresses) = (network.name_of_customer(customer), network.addresses_of_customer(customer));
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            if let Some(address) = addresses.iter().find(|address| family(address)) {
                let _ = writeln!(text, "{address} {name}");
            }
        }
    }
    let internet = network.internet.iter().flat_map(|internet| &internet.addresses);
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if let Some(address) = internet.clone().find(|address| family(address)) {
            let _ = writeln!(text, "{address} {}", Internet::NAME);
        }
    }
    text
}

/// A machine's `/etc/resolv.conf`, as by DHCP (FAB-12): the servers of its primary interface, or else of the virtual
/// network, or else the platform. None where that would not answer. All servers are near, so the timeout is short.
pub(in crate::lab) fn resolver(network: &Network, machine: &VirtualMachine) -> Option<String> {
    let nic = machine.network_interfaces.iter().map(|nic| network.nic(*nic)).find(|nic| nic.primary)?;
    let of_vnet = &network.vnet(nic.subnet.vnet).dns_servers;
    let servers = if nic.dns_servers.is_empty() { of_vnet } else { &nic.dns_servers };
    let options = "options timeout:1 attempts:2\n";
    if servers.is_empty() || servers[..] == [PLATFORM] {
        let text = format!("nameserver {PLATFORM}\nsearch {DOMAIN}\n{options}");
        return network.emulation.platform_services.then_some(text);
    }
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    Some(text + options)
}

/// The interface's addresses with its subnet's prefix lengths.
pub(in crate::lab) fn addresses(network: &Network, nic: &NetworkInterface) -> Vec<IpNet> {
    let on_link = |address: &IpAddr| {
        let prefix = prefix_of(network, nic, *address)?;
        IpNet::new(*address, prefix.prefix_len()).ok()
    };
    nic.addresses.iter().filter_map(on_link).collect()
}

/// The first address of the subnet (ADR-01), and for IPv6 the router's link-local one: one a family.
fn gateways(network: &Network, nic: &NetworkInterface) -> Vec<IpAddr> {
    let ipv4 = nic.addresses.iter().find(|address| address.is_ipv4());
    let ipv4 = ipv4.and_then(|address| match prefix_of(network, nic, *address)? {
        IpNet::V4(prefix) => Some(Ipv4Addr::from_bits(prefix.network().to_bits() + 1).into()),
        IpNet::V6(_) => None,
    });
    let ipv6 = nic.addresses.iter().any(IpAddr::is_ipv6).then_some(IPV6_ROUTER.into());
    ipv4.into_iter().chain(ipv6).collect()
}

fn prefix_of(network: &Network, nic: &NetworkInterface, address: IpAddr) -> Option<IpNet> {
    network.subnet(nic.subnet).prefixes.iter().copied().find(|prefix| prefix.contains(&address))
}

fn apply_settings(forwarding: bool) -> io::Result<()> {
    for (setting, value) in SETTINGS {
        set(setting, value)?;
    }
    // Every user may ping. In a user namespace only its one group can be named.
    set("ipv4/ping_group_range", "0 2147483647").or_else(|_| set("ipv4/ping_group_range", "0 0"))?;
    // A new namespace forwards if the computer does (`net.core.devconf_inherit_init_net`), as one with Docker does.
    write_forwarding(forwarding)?;
    let mut netlink = Netlink::open()?;
    let lo = netlink.link("lo")?;
    netlink.up(lo)
}

fn write_forwarding(forwarding: bool) -> io::Result<()> {
    let value = if forwarding { "1" } else { "0" };
    set("ipv4/ip_forward", value)?;
    // The kernel takes a host for willing to be redirected (RFC 1122) whenever it stops being a router.
    set("ipv4/conf/all/accept_redirects", "0")?;
    set("ipv6/conf/all/forwarding", value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sys::caps;

    /// NIC-05: whatever the computer does.
    #[test]
    fn nic_05_only_a_guest_that_should_forwards() {
        if !caps::permit_namespaces() {
            return;
        }
        for forwarding in [false, true] {
            for inherited in ["0", "1"] {
                let namespace = Netns::create().unwrap();
                let settled = || {
                    set("ipv4/ip_forward", inherited).unwrap();
                    apply_settings(forwarding).unwrap();
                    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()
                };
                let forwards = namespace.run(settled).unwrap() == "1\n";
                assert_eq!(forwards, forwarding, "{inherited} before");
            }
        }
    }
}
