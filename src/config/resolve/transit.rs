//! Whether a link may use the gateways of its remote (PEER-30, PEER-39): Azure's checks, in Azure's order.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::diagnostic::Report;
use crate::config::document;
use crate::model::{VirtualNetwork, VnetIx};

/// The first thing that forbids it.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    code: Option<&'static str>,
    rule: &'static str,
    message: String,
    help: &'static str,
}

/// `gateways`: the virtual networks that have one.
pub(super) fn check(
    documents: &[Arc<document::VirtualNetwork>],
    vnets: &[VirtualNetwork],
    gateways: &HashSet<VnetIx>,
    report: &mut Report,
) {
    for (own, document) in documents.iter().enumerate() {
        for (link, written) in document.peerings.iter().enumerate() {
            let Some(flag) = written.use_remote_gateways.as_ref().filter(|flag| flag.value) else { continue };
            let Some(Refusal { code, rule, message, help }) = refusal(VnetIx(own), link, vnets, gateways) else {
                continue;
            };
            let diagnostic = report.error(flag.at, message).rule(rule).help(help);
            if let Some(code) = code {
                diagnostic.code(code);
            }
        }
    }
}

fn refusal(own: VnetIx, link: usize, vnets: &[VirtualNetwork], gateways: &HashSet<VnetIx>) -> Option<Refusal> {
    let vnet = &vnets[own.0];
    let peering = &vnet.peerings[link];
    let remote = vnets.get(peering.remote.0)?;
    let (name, remote_name) = (format!("{}/{}", vnet.name, peering.name), &remote.name);
    if let Some(back) = remote.peerings.iter().find(|back| back.remote == own && !back.allow_gateway_transit) {
        return Some(Refusal {
            code: None,
            rule: "PEER-30",
            message: format!(
                "Peering {name} cannot have UseRemoteGateways flag set to true, because corresponding remote peering \
                 {remote_name}/{} has AllowGatewayTransit flag set to false",
                back.name
            ),
            help: "set `allowGatewayTransit: true` on the other link first",
        });
    }
    if !gateways.contains(&peering.remote) {
        return Some(Refusal {
            code: Some("RemoteVnetHasNoGateways"),
            rule: "PEER-30",
            message: format!(
                "Peering {name} cannot have UseRemoteGateway flag set to true because remote virtual network \
                 {remote_name} referenced by the peering does not have any gateways"
            ),
            help: "leave `useRemoteGateways` out",
        });
    }
    if gateways.contains(&own) {
        return Some(Refusal {
            code: None,
            rule: "PEER-39",
            message: format!(
                "Peering {name} cannot have UseRemoteGateways flag set to true, because virtual network {} has a gateway \
                 of its own",
                vnet.name
            ),
            help: "a virtual network has its own gateway or a remote one, not both",
        });
    }
    let other = vnet.peerings[..link].iter().find(|other| other.use_remote_gateways)?;
    Some(Refusal {
        code: None,
        rule: "PEER-30",
        message: format!(
            "Peering {name} cannot have UseRemoteGateways flag set to true, because another peering {}/{} already has \
             UseRemoteGateways flag set to true",
            vnet.name, other.name
        ),
        help: "only one link of a virtual network may have it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    /// A spoke with two hubs; each hub's link allows transit or not. The flag under test is set by hand: a file with it
    /// does not load while there are no gateways.
    fn refused(link: usize, transit: [bool; 2], flags: [bool; 2], gateways: &[usize]) -> Option<String> {
        let hub = |i: usize| {
            format!(
                "  - {{name: h{i}, location: westeurope, addressSpace: [10.{i}.0.0/16], virtualNetworkPeerings: [{{name: \
                 h{i}-s, remoteVirtualNetwork: s, allowGatewayTransit: {}}}]}}\n",
                transit[i - 1]
            )
        };
        let text = format!(
            "virtualNetworks:\n  - name: s\n    location: westeurope\n    addressSpace: [10.0.0.0/16]\n    \
             virtualNetworkPeerings: [{{name: s-h1, remoteVirtualNetwork: h1}}, {{name: s-h2, remoteVirtualNetwork: \
             h2}}]\n{}{}",
            hub(1),
            hub(2)
        );
        let mut vnets = load(&text, "t.yaml").expect("a good file").network.virtual_networks;
        for (link, flag) in vnets[0].peerings.iter_mut().zip(flags) {
            link.use_remote_gateways = flag;
        }
        let gateways = gateways.iter().copied().map(VnetIx).collect();
        refusal(VnetIx(0), link, &vnets, &gateways).map(|refusal| refusal.message)
    }

    #[test]
    fn cs_71_peer_30_transit_is_allowed_first() {
        let why = refused(0, [false, true], [true, false], &[]).expect("refused");
        assert!(
            why.ends_with("corresponding remote peering h1/h1-s has AllowGatewayTransit flag set to false"),
            "{why}"
        );
        assert_eq!(refused(0, [true, true], [true, false], &[1]), None);
    }

    #[test]
    fn cs_25_peer_30_the_remote_has_a_gateway() {
        let why = refused(0, [true, true], [true, false], &[2]).expect("refused");
        assert!(
            why.ends_with("remote virtual network h1 referenced by the peering does not have any gateways"),
            "{why}"
        );
    }

    #[test]
    fn peer_39_its_own_gateway_or_a_remote_one() {
        let why = refused(0, [true, true], [true, false], &[0, 1]).expect("refused");
        assert!(why.ends_with("because virtual network s has a gateway of its own"), "{why}");
    }

    #[test]
    fn cs_25_peer_30_only_one_link_uses_remote_gateways() {
        let why = refused(1, [true, true], [true, true], &[1, 2]).expect("refused");
        assert!(why.ends_with("another peering s/s-h1 already has UseRemoteGateways flag set to true"), "{why}");
        assert_eq!(refused(0, [true, true], [true, true], &[1, 2]), None);
    }
}
