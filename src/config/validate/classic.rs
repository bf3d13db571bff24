//! Peerings with classic virtual networks: one link, and Azure keeps the other side (PEER-44).

use crate::config::schema;
use crate::config::yaml::diagnostic::Report;
use crate::model::{DeploymentModel, Peering, PeeringExtent, PeeringState, VirtualNetwork, VnetIx};

use super::peering::UNKNOWN;

/// Gives each classic virtual network its side of the peerings that others have with it.
pub(super) fn imply(vnets: &mut [VirtualNetwork]) {
    let links = vnets
        .iter()
        .enumerate()
        .flat_map(|(own, vnet)| vnet.peerings.iter().map(move |link| (VnetIx(own), link.remote, link.name.clone())));
    let links: Vec<_> = links.filter(|(_, remote, _)| *remote != UNKNOWN).collect();
    for (own, remote, name) in links {
        let [near, far] = [own, remote].map(|vnet| vnets[vnet.0].deployment_model);
        if (near, far) == (DeploymentModel::ResourceManager, DeploymentModel::Classic) {
            vnets[remote.0].peerings.push(implied(own, name));
        }
    }
}

/// A side without a link has no flag that could forbid anything.
fn implied(remote: VnetIx, name: String) -> Peering {
    Peering {
        name,
        remote,
        implied: true,
        state: PeeringState::Initiated,
        extent: PeeringExtent::CompleteVnets,
        remote_address_space: Vec::new(),
        allow_virtual_network_access: true,
        allow_forwarded_traffic: true,
        allow_gateway_transit: true,
        use_remote_gateways: false,
    }
}

/// What a link may not be where one end is classic.
pub(super) fn check(
    link: &Peering,
    written: &schema::Peering,
    [own, remote]: [&VirtualNetwork; 2],
    report: &mut Report,
) {
    let Some(reference) = &written.remote else { return };
    match [own, remote].map(|vnet| vnet.deployment_model) {
        [DeploymentModel::ResourceManager, DeploymentModel::ResourceManager] => {}
        [DeploymentModel::Classic, DeploymentModel::Classic] => {
            report
                .error(
                    reference.at,
                    format!("`{}` and `{}` are both classic: they cannot be peered", own.name, remote.name),
                )
                .rule("PEER-44")
                .expected("at least one virtual network of the Resource Manager");
        }
        [DeploymentModel::Classic, DeploymentModel::ResourceManager] => {
            report
                .error(reference.at, format!("virtual network `{}` is classic, it has no links of its own", own.name))
                .rule("PEER-44")
                .expected("one link, on the virtual network of the Resource Manager")
                .help(format!("write it in `{}`: {{name: …, remoteVirtualNetwork: {}}}", remote.name, own.name));
        }
        [DeploymentModel::ResourceManager, DeploymentModel::Classic] => {
            if let (PeeringExtent::Subnets(_), Some(complete)) = (&link.extent, &written.peer_complete_vnets) {
                report
                    .error(complete.at, format!("`{}` is classic: it is peered complete or not at all", remote.name))
                    .rule("PEER-44")
                    .expected("no `peerCompleteVnets`");
            }
        }
    }
}
