//! Whether a link may use the gateways of its remote (PEER-30, PEER-39): Azure's checks, in Azure's order.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::schema;
use crate::config::yaml::diagnostic::Report;
use crate::model::{VirtualNetwork, VnetIx};

/// The first thing that forbids it.
struct Refusal {
    code: Option<&'static str>,
    rule: &'static str,
    message: String,
    help: &'static str,
}

/// `gateways`: the virtual networks that have one.
pub(super) fn check(
    documents: &[Arc<schema::VirtualNetwork>],
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
