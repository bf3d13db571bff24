//! The subscription and tenant of a virtual network, as far as the file has them (ADR-12, ADR-13).
//!
//! A label says it, or the ARM id that the virtual network or a reference to it has. Where nothing says it, nothing is
//! checked.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::schema::{self, Document, Name};
use crate::config::yaml::diagnostic::{At, Report, clip};
use crate::model::VnetIx;

use super::Scope;
use super::names::or_unnamed;

#[derive(Default)]
pub(super) struct Accounts {
    /// By virtual network.
    subscriptions: Vec<Option<String>>,
    tenants: Vec<Option<String>>,
}

impl Accounts {
    pub(super) fn of(document: &Document, scope: &Scope, report: &mut Report) -> Self {
        let vnets = &document.virtual_networks;
        let value = |name: &Name| name.as_ref().map(|name| name.value.clone());
        let mut accounts = Self {
            subscriptions: vnets.iter().map(|vnet| value(&vnet.subscription)).collect(),
            tenants: vnets.iter().map(|vnet| value(&vnet.tenant)).collect(),
        };
        for (reference, subscription) in references(document) {
            if let Some(vnet) = scope.virtual_networks.index(&reference[0]) {
                accounts.note(VnetIx(vnet), subscription, vnets, report);
            }
        }
        accounts.settle_tenants(vnets, report);
        accounts
    }

    pub(super) fn subscription(&self, vnet: VnetIx) -> Option<&str> {
        self.subscriptions.get(vnet.0)?.as_deref()
    }

    pub(super) fn tenant(&self, vnet: VnetIx) -> Option<&str> {
        self.tenants.get(vnet.0)?.as_deref()
    }

    /// An ARM id says where a virtual network is.
    fn note(
        &mut self,
        vnet: VnetIx,
        (subscription, at): (&str, At),
        vnets: &[Arc<schema::VirtualNetwork>],
        report: &mut Report,
    ) {
        match &self.subscriptions[vnet.0] {
            None => self.subscriptions[vnet.0] = Some(subscription.to_owned()),
            Some(known) if known.eq_ignore_ascii_case(subscription) => {}
            Some(known) => {
                let name = or_unnamed(&vnets[vnet.0].name);
                let (known, subscription) = (clip(known), clip(subscription));
                report
                    .error(at, format!("virtual network `{name}` is in subscription `{known}`, not `{subscription}`"))
                    .rule("ADR-12")
                    .expected("one subscription for a virtual network, wherever the file names it");
            }
        }
    }

    /// A subscription belongs to one tenant: what one of its virtual networks says holds for all.
    fn settle_tenants(&mut self, vnets: &[Arc<schema::VirtualNetwork>], report: &mut Report) {
        let mut of: HashMap<String, String> = HashMap::new();
        for (vnet, subscription) in vnets.iter().zip(&self.subscriptions) {
            let (Some(subscription), Some(tenant)) = (subscription, &vnet.tenant) else { continue };
            let known = of.entry(subscription.to_lowercase()).or_insert_with(|| tenant.value.clone());
            if !known.eq_ignore_ascii_case(&tenant.value) {
                let (subscription, known) = (clip(subscription), clip(known));
                report
                    .error(tenant.at, format!("subscription `{subscription}` belongs to tenant `{known}` already"))
                    .rule("PEER-42")
                    .expected("one tenant for all virtual networks of a subscription");
            }
        }
        for (tenant, subscription) in self.tenants.iter_mut().zip(&self.subscriptions) {
            let known = subscription.as_ref().and_then(|subscription| of.get(&subscription.to_lowercase()));
            *tenant = tenant.take().or_else(|| known.cloned());
        }
    }
}

/// The names and subscriptions of all references that are ARM ids below a virtual network.
fn references(document: &Document) -> impl Iterator<Item = (Vec<String>, (&str, At))> {
    let links = document.virtual_networks.iter().flat_map(|vnet| &vnet.peerings).filter_map(|link| {
        let (names, subscription) = (link.remote.as_ref()?, link.remote_subscription.as_ref()?);
        Some((names.value.to_vec(), (subscription.as_str(), names.at)))
    });
    let nics = document.virtual_machines.iter().flat_map(|vm| &vm.network_interfaces);
    let subnets = nics.flat_map(|nic| &nic.ip_configurations).filter_map(|configuration| {
        let (names, subscription) = (configuration.subnet.as_ref()?, configuration.subscription.as_ref()?);
        Some((names.value.to_vec(), (subscription.as_str(), names.at)))
    });
    links.chain(subnets)
}
