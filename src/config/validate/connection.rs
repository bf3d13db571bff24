//! Connections: from a gateway into a tunnel, and the far end (VPN-03, VPN-20, BGP-09).

use crate::config::schema::Document;
use crate::config::schema::gateway::{self as written, ConnectionType};
use crate::config::yaml::diagnostic::{At, Report};
use crate::model::{
    CircuitIx, Connection, GatewayIx, GatewayKind, GatewaySku, LocalGatewayIx, LocalNetworkGateway, Remote,
    VirtualNetworkGateway,
};

use super::express_route::Circuits;
use super::names::{Names, or_unnamed};
use super::vpn_nat;

/// Where connections may lead.
pub(super) struct Remotes<'a> {
    pub(super) gateways: &'a Names,
    pub(super) locals: &'a Names,
    pub(super) circuits: &'a Circuits,
}

pub(super) fn connection(
    written: &written::Connection,
    document: &Document,
    remotes: &Remotes<'_>,
    made: &[VirtualNetworkGateway],
    local: &[LocalNetworkGateway],
    report: &mut Report,
) -> Option<Connection> {
    let gateway = remotes.gateways.find(&written.gateway, report).map(GatewayIx);
    let remote = remote(written, remotes, report);
    let (gateway, remote) = (gateway?, remote?);
    check_type(written, &made[gateway.0], report);
    if remote == Remote::Gateway(gateway) {
        report.error(written.at, "a connection from a gateway to itself").rule("VPN-20").expected("two gateways");
    }
    let enable_bgp = written.enable_bgp.as_ref().filter(|flag| flag.value);
    if let Some(flag) = enable_bgp {
        let far = match remote {
            // Settings with a mistake have had their error.
            Remote::Local(far)
                if document.local_network_gateways[far.0].bgp.is_some() && local[far.0].bgp.is_none() =>
            {
                None
            }
            Remote::Local(_) | Remote::Gateway(_) | Remote::Circuit(_) | Remote::Client(_) => Some(remote),
        };
        if let Some(far) = far {
            check_bgp(flag.at, &made[gateway.0], far, (made, local), report);
        }
    }
    if let Some(flag) = written.bypass.as_ref().filter(|flag| flag.value) {
        report
            .warning(flag.at, "FastPath is not emulated: packets for the virtual network pass the gateway")
            .rule("ER-17")
            .help("in Azure they would pass the routes of GatewaySubnet by");
    }
    let policy_based = written.policy_based.as_ref().filter(|flag| flag.value);
    if let Some(flag) = policy_based.filter(|_| !matches!(remote, Remote::Local(_))) {
        report
            .error(flag.at, "traffic selectors are made of a local network gateway's ranges, and there is none")
            .rule("VPN-16")
            .expected("`connectionType: IPsec`, or none");
    }
    let text = |name: &crate::config::schema::Name| name.as_ref().map(|text| text.value.clone());
    Some(Connection {
        name: or_unnamed(&written.name),
        gateway,
        instance: 0,
        remote,
        shared_key: text(&written.shared_key),
        enable_bgp: enable_bgp.is_some(),
        mode: written.mode,
        policy_based: policy_based.is_some(),
        routing_weight: written.routing_weight.as_ref().map_or(0, |weight| weight.value),
        authorization_key: text(&written.authorization_key),
        nat_rules: vpn_nat::named(written, &made[gateway.0], (remote, local), report),
    })
}

/// The far end that a connection's type asks for, and no other.
fn remote(written: &written::Connection, remotes: &Remotes<'_>, report: &mut Report) -> Option<Remote> {
    let kind = written.kind.as_ref()?;
    let ends = [
        ("localNetworkGateway2", &written.local_gateway),
        ("virtualNetworkGateway2", &written.far_gateway),
        ("peer", &written.circuit),
    ];
    let (wanted, remote) = match kind.value {
        ConnectionType::IPsec => {
            (ends[0].0, remotes.locals.find(ends[0].1, report).map(|ix| Remote::Local(LocalGatewayIx(ix))))
        }
        ConnectionType::Vnet2Vnet => {
            (ends[1].0, remotes.gateways.find(ends[1].1, report).map(|ix| Remote::Gateway(GatewayIx(ix))))
        }
        ConnectionType::ExpressRoute => {
            (ends[2].0, remotes.circuits.names.find(ends[2].1, report).map(|ix| Remote::Circuit(CircuitIx(ix))))
        }
        ConnectionType::Other => {
            report
                .error(kind.at, "point-to-site clients have no connection of their own")
                .rule("VPN-42")
                .expected("IPsec, Vnet2Vnet or ExpressRoute; or an entry of `vpnClients`");
            return None;
        }
    };
    if ends.iter().any(|(key, end)| end.is_some() != (*key == wanted)) {
        report.error(written.at, format!("this connection leads to a `{wanted}`")).rule("VPN-03").expected(wanted);
    }
    remote
}

/// VPN-03.
fn check_type(written: &written::Connection, gateway: &VirtualNetworkGateway, report: &mut Report) {
    let Some(kind) = &written.kind else { return };
    let fits = match gateway.kind {
        GatewayKind::Vpn => matches!(kind.value, ConnectionType::IPsec | ConnectionType::Vnet2Vnet),
        GatewayKind::ExpressRoute { .. } => kind.value == ConnectionType::ExpressRoute,
    };
    if !fits {
        report
            .error(kind.at, format!("gateway `{}` is of another type", gateway.name))
            .rule("VPN-03")
            .expected("ExpressRoute from an ExpressRoute gateway, IPsec or Vnet2Vnet from a VPN gateway");
    }
    if let Some(policies) = written.ipsec_policies.as_ref().filter(|policies| policies.value > 0)
        && gateway.sku == GatewaySku::Basic
    {
        report
            .error(policies.at, format!("gateway `{}` of SKU Basic has no custom IPsec policies", gateway.name))
            .rule("VPN-05")
            .expected("no `ipsecPolicies`, or a gateway with `sku: VpnGw1` or larger");
    }
    if let Some(weight) = written.routing_weight.as_ref().filter(|weight| weight.value > 0)
        && gateway.kind == GatewayKind::Vpn
    {
        report
            .warning(weight.at, "`routingWeight` has no effect on a VPN connection")
            .rule("VPN-39")
            .expected("none, or a connection to a circuit");
    }
}

/// BGP-09.
fn check_bgp(
    at: At,
    gateway: &VirtualNetworkGateway,
    remote: Remote,
    (gateways, local): (&[VirtualNetworkGateway], &[LocalNetworkGateway]),
    report: &mut Report,
) {
    let (far, name, keys) = match remote {
        Remote::Gateway(far) => (gateways[far.0].bgp, &gateways[far.0].name, "`enableBgp: true`"),
        Remote::Local(far) => (local[far.0].bgp, &local[far.0].name, "`bgpSettings`"),
        // BGP is spoken over every circuit.
        Remote::Circuit(_) | Remote::Client(_) => return,
    };
    for (end, name, keys) in [(gateway.bgp, &gateway.name, "`enableBgp: true`"), (far, name, keys)] {
        if end.is_none() {
            report
                .error(at, format!("BGP over this connection needs it at both ends, and `{name}` has none"))
                .rule("BGP-09")
                .expected(format!("{keys} on `{name}`"));
        }
    }
    if let (Some(near), Some(far)) = (gateway.bgp, far)
        && near.asn == far.asn
    {
        report
            .warning(at, format!("both ends are AS {}: no BGP session comes up", near.asn))
            .rule("BGP-13")
            .expected("an AS number for each");
    }
}
