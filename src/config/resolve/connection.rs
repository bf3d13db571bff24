//! Connections: what leads from a gateway into a tunnel, and to whom (VPN-03, VPN-20, BGP-09).

use super::names::{Names, or_unnamed};
use crate::config::diagnostic::{At, Report};
use crate::config::document::Document;
use crate::config::gateway::{self as written, ConnectionType};
use crate::model::{Connection, GatewayIx, LocalGatewayIx, LocalNetworkGateway, Remote, VirtualNetworkGateway};

pub(super) fn connection(
    written: &written::Connection,
    document: &Document,
    (gateways, locals): (&Names, &Names),
    made: &[VirtualNetworkGateway],
    local: &[LocalNetworkGateway],
    report: &mut Report,
) -> Option<Connection> {
    let gateway = gateways.find(&written.gateway, report).map(GatewayIx);
    let kind = written.kind.as_ref()?;
    let (wanted, other) = match kind.value {
        ConnectionType::IPsec => ("localNetworkGateway2", &written.far_gateway),
        ConnectionType::Vnet2Vnet => ("virtualNetworkGateway2", &written.local_gateway),
        ConnectionType::Other => {
            report
                .error(kind.at, "there are no such connections here yet")
                .rule("VPN-03")
                .expected("IPsec or Vnet2Vnet");
            return None;
        }
    };
    let remote = match kind.value {
        ConnectionType::Vnet2Vnet => {
            gateways.find(&written.far_gateway, report).map(|ix| Remote::Gateway(GatewayIx(ix)))
        }
        ConnectionType::IPsec | ConnectionType::Other => {
            locals.find(&written.local_gateway, report).map(|ix| Remote::Local(LocalGatewayIx(ix)))
        }
    };
    let present = match kind.value {
        ConnectionType::Vnet2Vnet => written.far_gateway.is_some(),
        ConnectionType::IPsec | ConnectionType::Other => written.local_gateway.is_some(),
    };
    if !present || other.is_some() {
        report.error(written.at, format!("this connection leads to a `{wanted}`")).rule("VPN-03").expected(wanted);
    }
    let (gateway, remote) = (gateway?, remote?);
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
            Remote::Local(_) | Remote::Gateway(_) => Some(remote),
        };
        if let Some(far) = far {
            check_bgp(flag.at, &made[gateway.0], far, (made, local), report);
        }
    }
    let shared_key = written.shared_key.as_ref().map(|key| key.value.clone());
    let name = or_unnamed(&written.name);
    Some(Connection { name, gateway, remote, shared_key, enable_bgp: enable_bgp.is_some(), mode: written.mode })
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
            .warning(at, format!("both ends are AS {}: they take no routes from each other", near.asn))
            .rule("BGP-13")
            .expected("an AS number for each");
    }
}
