//! TUNs in namespaces that exist already: one device hangs on one thing.

use std::collections::HashMap;

use crate::config::schema;
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{Attach, AttachNamespace, SubnetIx, VirtualNetwork, VnetIx};

use super::allocation::Pool;
use super::names::or_unnamed;

/// The devices that are in use.
#[derive(Default)]
pub(super) struct Attachments {
    taken: HashMap<(AttachNamespace, String), At>,
}

impl Attachments {
    /// A whole virtual network behind one TUN; its addresses are reserved like an interface's.
    pub(super) fn virtual_network(
        &mut self,
        ix: VnetIx,
        document: &schema::VirtualNetwork,
        vnet: &VirtualNetwork,
        pool: &mut Pool<'_>,
        report: &mut Report,
    ) -> Option<Attach> {
        let attach = document.attach.as_ref()?;
        if vnet.subnets.is_empty() {
            report
                .error(attach.at, format!("virtual network `{}` has no subnet", or_unnamed(&document.name)))
                .expected(
                    "at least one subnet: it gives the packets of an attached virtual network their routes and rules",
                );
        }
        let addresses: Vec<_> = attach.addresses.iter().flat_map(|addresses| &addresses.value).collect();
        for address in &addresses {
            let stated = Spanned { value: address.value.addr(), at: address.at };
            let holds =
                |subnet: &crate::model::Subnet| subnet.prefixes.iter().any(|range| range.contains(&stated.value));
            match vnet.subnets.iter().position(holds) {
                Some(subnet) => pool.reserve(SubnetIx { vnet: ix, subnet }, &vnet.subnets[subnet], &stated, report),
                None if vnet.subnets.iter().any(|subnet| subnet.prefixes.is_empty()) => {}
                None => {
                    report
                        .error(
                            stated.at,
                            format!("{} is in no subnet of virtual network `{}`", stated.value, vnet.name),
                        )
                        .code("PrivateIPAddressNotInSubnet")
                        .rule("ADR-08");
                }
            }
        }
        let addresses = addresses.into_iter().map(|address| address.value).collect();
        self.device(attach, addresses, report)
    }

    /// One interface; its addresses are those of its IP configurations.
    pub(super) fn network_interface(&mut self, attach: &schema::Attach, report: &mut Report) -> Option<Attach> {
        if let Some(addresses) = &attach.addresses {
            report
                .error(addresses.at, "an interface's addresses come from its IP configurations")
                .help("remove `addresses`; state `privateIPAddress` on the interface");
        }
        self.device(attach, Vec::new(), report)
    }

    fn device(&mut self, attach: &schema::Attach, addresses: Vec<ipnet::IpNet>, report: &mut Report) -> Option<Attach> {
        let (namespace, interface) = (attach.namespace.as_ref()?, attach.interface.as_ref()?);
        let device = (namespace.value.clone(), interface.value.clone());
        if let Some(first) = self.taken.insert(device, interface.at) {
            let line = report.location(first).line;
            report
                .error(interface.at, format!("`{}` of this namespace is attached already", interface.value))
                .help(format!("line {line} attaches it; one device hangs on one thing"));
        }
        let configure = attach.configure;
        Some(Attach { namespace: namespace.value.clone(), interface: interface.value.clone(), addresses, configure })
    }
}
