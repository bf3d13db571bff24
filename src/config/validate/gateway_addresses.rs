//! A gateway's addresses in its GatewaySubnet: as the file states them, as dumps of Azure do, or where Azure puts them
//! (BGP-04).
//!
//! What is left out keeps clear of what another gateway of the subnet states.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::config::schema::gateway::{InstanceBgp, VirtualNetworkGateway};
use crate::config::yaml::diagnostic::{At, Report};
use crate::model::{self, GatewayKind};

/// The first that Azure gives to an instance of a VPN gateway, and to one of an ExpressRoute gateway.
const FIRST_OF_VPN: u32 = 4;
const FIRST_OF_EXPRESS_ROUTE: u32 = 12;

/// Where a gateway stands.
pub(super) struct Addresses {
    pub(super) instances: [IpAddr; 2],
    /// The first that BGP is spoken at.
    pub(super) bgp: IpAddr,
}

impl Addresses {
    /// Of a gateway in a range with others, which state these.
    pub(super) fn of(
        written: &VirtualNetworkGateway,
        (kind, both_active): (GatewayKind, bool),
        range: Ipv4Net,
        others: &[IpAddr],
        report: &mut Report,
    ) -> Self {
        let express_route = kind != GatewayKind::Vpn;
        let stated = agreed(written, report);
        check(&stated, range, report);
        if express_route && range.prefix_len() > 28 {
            report
                .error(written.at, format!("the GatewaySubnet {range} is too small for an ExpressRoute gateway"))
                .rule("ADR-11")
                .expected("a /28, or better a /27");
        }
        let free = |address: &IpAddr| !others.contains(address);
        let first = if express_route { FIRST_OF_EXPRESS_ROUTE } else { FIRST_OF_VPN };
        let end = (range.broadcast().to_bits() - range.network().to_bits()).max(first);
        let mut upward = (first..end).chain(FIRST_OF_VPN..first).map(|n| nth(range, n)).filter(free);
        let usual = [upward.next(), upward.next()].map(|address| address.unwrap_or(nth(range, first)));
        let two = express_route || both_active;
        match (two, &stated[..]) {
            (_, []) => {
                let mut downward = (FIRST_OF_VPN..end).rev().map(|n| nth(range, n)).filter(free);
                let last = downward.next().unwrap_or(usual[0]);
                Self { instances: usual, bgp: if two { usual[0] } else { last } }
            }
            (true, [(one, _), (other, _)]) => Self { instances: [*one, *other], bgp: *one },
            (false, [(one, _)]) => Self { instances: usual, bgp: *one },
            (_, [(_, at), ..]) => {
                let (has, wants) = (stated.len(), if two { "two" } else { "one" });
                report
                    .error(*at, format!("{has} BGP addresses, and the gateway has {wants}"))
                    .rule("BGP-04")
                    .expected("one address for each active instance, or none");
                Self { instances: usual, bgp: usual[0] }
            }
        }
    }
}

/// What other gateways of the same virtual network state.
pub(super) fn stated_beside(all: &[VirtualNetworkGateway], own: usize) -> Vec<IpAddr> {
    let vnet = |one: &VirtualNetworkGateway| {
        let short = one.virtual_network.as_ref().map(|reference| &reference.value[0]);
        let full = || one.configurations.first()?.subnet.as_ref().map(|reference| &reference.value[0]);
        short.or_else(full).map(|name| name.to_lowercase())
    };
    let here = vnet(&all[own]);
    let others = all.iter().enumerate().filter(|(at, other)| *at != own && vnet(other) == here);
    others.flat_map(|(_, other)| stated(other)).collect()
}

fn stated(written: &VirtualNetworkGateway) -> impl Iterator<Item = IpAddr> {
    let joined = written.bgp.iter().filter_map(|bgp| bgp.value.addresses.as_ref());
    let by_instance = by_instance(written).into_iter().flat_map(|one| &one.default).map(|address| address.value);
    joined.flat_map(|joined| joined.value.iter().copied()).chain(by_instance)
}

/// `bgpPeeringAddress` and `defaultBgpIpAddresses` say the same; where both stand, the latter knows which instance has
/// which.
fn agreed(written: &VirtualNetworkGateway, report: &mut Report) -> Vec<(IpAddr, At)> {
    let by_instance = by_instance(written).into_iter().flat_map(|one| &one.default);
    let by_instance: Vec<_> = by_instance.map(|address| (address.value, address.at)).collect();
    let Some(joined) = written.bgp.as_ref().and_then(|bgp| bgp.value.addresses.as_ref()) else { return by_instance };
    if by_instance.is_empty() {
        return joined.value.iter().map(|address| (*address, joined.at)).collect();
    }
    let set: HashSet<_> = by_instance.iter().map(|(address, _)| *address).collect();
    if set != joined.value.iter().copied().collect() {
        report
            .error(joined.at, "`bgpPeeringAddress` and `defaultBgpIpAddresses` are not the same")
            .rule("BGP-04")
            .expected("either of them, or both with the same addresses");
    }
    by_instance
}

/// In the order of the instances, which `ipconfigurationId` says, or else the place in the list.
fn by_instance(written: &VirtualNetworkGateway) -> Vec<&InstanceBgp> {
    let Some(bgp) = &written.bgp else { return Vec::new() };
    let place = |id: &str| {
        let name = id.rsplit('/').next()?;
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        written.configurations.iter().position(|one| one.name.as_ref().is_some_and(|known| is(&known.value)))
    };
    let instances = &bgp.value.instances;
    let stated = |one: &InstanceBgp| one.configuration.as_ref().and_then(|id| place(&id.value));
    let mut order: Vec<_> = instances.iter().enumerate().map(|(at, one)| (stated(one).unwrap_or(at), at)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| &instances[at]).collect()
}

fn check(stated: &[(IpAddr, At)], range: Ipv4Net, report: &mut Report) {
    let mut known = HashSet::new();
    for (value, at) in stated {
        let (message, rule) = match value {
            IpAddr::V4(address) if !range.contains(address) => {
                (format!("is not in the GatewaySubnet {range}"), "BGP-04")
            }
            IpAddr::V6(_) => (format!("is not in the GatewaySubnet {range}"), "BGP-04"),
            IpAddr::V4(address) if is_reserved(*address, range) => {
                ("is Azure's own in any subnet".to_owned(), "ADR-01")
            }
            IpAddr::V4(_) if !known.insert(*value) => ("is stated twice".to_owned(), "BGP-04"),
            IpAddr::V4(_) => continue,
        };
        let expected = format!("an address from {} on that is not in use", nth(range, FIRST_OF_VPN));
        report.error(*at, format!("{value} {message}")).rule(rule).expected(expected);
    }
}

fn is_reserved(address: Ipv4Addr, range: Ipv4Net) -> bool {
    address.to_bits() - range.network().to_bits() < FIRST_OF_VPN || address == range.broadcast()
}

/// Whether what a gateway states is what another of its subnet, which stands already, states too.
pub(super) fn check_other(
    written: &VirtualNetworkGateway,
    other: &model::VirtualNetworkGateway,
    beside: &[IpAddr],
    report: &mut Report,
) {
    let taken = other.addresses();
    if let Some(address) = stated(written).find(|address| beside.contains(address) && taken.contains(address)) {
        report
            .error(written.at, format!("{address} is an address of gateway `{}` already", other.name))
            .rule("BGP-04")
            .expected("another `bgpPeeringAddress` of one of the two");
    }
}

/// Those that BGP is spoken at besides, of each instance (BGP-05).
pub(super) fn custom(written: &VirtualNetworkGateway, two: bool, report: &mut Report) -> [Vec<IpAddr>; 2] {
    let Some(bgp) = &written.bgp else { return [Vec::new(), Vec::new()] };
    let instances = by_instance(written);
    let mut known = HashSet::new();
    for address in instances.iter().flat_map(|one| &one.custom) {
        let fits = matches!(address.value, IpAddr::V4(own) if matches!(own.octets(), [169, 254, 21 | 22, _]));
        if !fits {
            report
                .error(address.at, format!("{} cannot be a custom BGP address of a gateway", address.value))
                .rule("BGP-05")
                .expected("an address from 169.254.21.0 to 169.254.22.255");
        } else if !known.insert(address.value) {
            report
                .error(address.at, format!("{} is stated twice", address.value))
                .rule("BGP-05")
                .expected("one of its own");
        }
    }
    if instances.len() > 1 + usize::from(two) {
        report
            .error(bgp.at, "more `bgpPeeringAddresses` than active instances")
            .rule("BGP-04")
            .expected("one entry for each of `ipConfigurations`");
    }
    let of = |instance: usize| {
        let own = instances.get(instance).into_iter().flat_map(|one| &one.custom);
        own.map(|address| address.value).collect()
    };
    [of(0), of(1)]
}

fn nth(range: Ipv4Net, n: u32) -> IpAddr {
    Ipv4Addr::from_bits(range.network().to_bits() + n).into()
}
