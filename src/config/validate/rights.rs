//! Whether the principal may make the file's peerings (PEER-41 to PEER-43), refused in Azure's words.
//!
//! A link needs a right on its own VNet and one on the other; without the second it is not made at all. Each side's
//! rights come from the roles in its subscription. A virtual network without a subscription is not checked.

use std::sync::Arc;

use crate::config::schema;
use crate::config::schema::principal::Principal;
use crate::config::yaml::diagnostic::{At, Report};
use crate::model::{DeploymentModel, LinkIx, Links, LostLink, VirtualNetwork, VnetIx};

use super::account::Accounts;
use super::names::or_unnamed;

const WRITE: &str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings/write";
const DELETE: &str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings/delete";
const PEER: &str = "Microsoft.Network/virtualNetworks/peer/action";
const PEER_CLASSIC: &str = "Microsoft.ClassicNetwork/virtualNetworks/peer/action";

pub(super) struct Rights<'a> {
    pub principal: &'a Principal,
    pub accounts: &'a Accounts,
    pub vnets: &'a [VirtualNetwork],
}

impl Rights<'_> {
    /// Of what a file changes of these links: those that it leaves as they are need no right.
    pub(super) fn check(
        &self,
        documents: &[Arc<schema::VirtualNetwork>],
        (existing, lost): (&Links, &[LostLink]),
        report: &mut Report,
    ) {
        for (own, (vnet, document)) in self.vnets.iter().zip(documents).enumerate() {
            for (place, (link, written)) in vnet.peerings.iter().zip(&document.peerings).enumerate() {
                let Some(reference) = &written.remote else { continue };
                let is_one = link.remote.0 < self.vnets.len() && link.remote != VnetIx(own);
                if is_one && !existing.stays(self.vnets, LinkIx { vnet: VnetIx(own), link: place }) {
                    self.check_link(VnetIx(own), link.remote, &link.name, reference.at, report);
                }
            }
        }
        // The side of a classic virtual network is Azure's.
        let classic = |vnet: VnetIx| self.vnets[vnet.0].deployment_model == DeploymentModel::Classic;
        for (own, link) in existing.removed(self.vnets, lost).filter(|(own, _)| !classic(*own)) {
            self.check_own(own, link, DELETE, documents[own.0].at, report);
        }
    }

    fn check_own(&self, own: VnetIx, link: &str, action: &str, at: At, report: &mut Report) -> bool {
        let (client, scope) = (or_unnamed(&self.principal.name), self.link_scope(own, link));
        let may = self.may(own, action);
        if !may {
            let message = format!(
                "The client '{client}' does not have authorization to perform action '{action}' over scope '{scope}' or \
                 the scope is invalid"
            );
            report.error(at, message).code("AuthorizationFailed").rule("PEER-41").help(self.role_for(own));
        }
        may
    }

    fn check_link(&self, own: VnetIx, remote: VnetIx, link: &str, at: At, report: &mut Report) {
        let (client, scope) = (or_unnamed(&self.principal.name), self.link_scope(own, link));
        if !self.check_own(own, link, WRITE, at, report) {
            return;
        }
        if let (Some(tenant), Some(subscription)) = (self.foreign_tenant(remote), self.accounts.subscription(remote)) {
            let current = self.accounts.tenant(own).or(self.first_tenant()).unwrap_or_default();
            let message = format!(
                "The client has permission to perform action '{PEER}' on scope '{scope}', however the current tenant \
                 '{current}' is not authorized to access linked subscription '{subscription}'"
            );
            let help = format!("a guest user may be in both tenants: add `{tenant}` to `principal.tenants`");
            report.error(at, message).code("LinkedAuthorizationFailed").rule("PEER-42").help(help);
            return;
        }
        let classic = self.vnets[remote.0].deployment_model == DeploymentModel::Classic;
        let action = if classic { PEER_CLASSIC } else { PEER };
        if !self.may(remote, action) {
            let message = format!(
                "The client '{client}' has permission to perform action '{WRITE}' on scope '{scope}'; however, it does not \
                 have permission to perform action '{action}' on the linked scope(s) '{}' or the linked scope(s) are \
                 invalid",
                self.scope(remote)
            );
            report.error(at, message).code("LinkedAuthorizationFailed").rule("PEER-43").help(self.role_for(remote));
        }
    }

    fn may(&self, vnet: VnetIx, action: &str) -> bool {
        let Some(subscription) = self.accounts.subscription(vnet) else { return true };
        let roles = self.principal.roles.iter();
        let mut here = roles.filter(|role| {
            role.subscription.as_ref().is_some_and(|scope| scope.value.eq_ignore_ascii_case(subscription))
        });
        self.foreign_tenant(vnet).is_none()
            && here.any(|role| role.actions.iter().any(|pattern| matches(pattern, action)))
    }

    /// The virtual network's tenant, if the principal is not signed in to it.
    fn foreign_tenant(&self, vnet: VnetIx) -> Option<&str> {
        let tenants = self.principal.tenants.as_ref()?;
        let tenant = self.accounts.tenant(vnet)?;
        (!tenants.value.iter().any(|own| own.value.eq_ignore_ascii_case(tenant))).then_some(tenant)
    }

    fn first_tenant(&self) -> Option<&str> {
        Some(self.principal.tenants.as_ref()?.value.first()?.value.as_str())
    }

    fn role_for(&self, vnet: VnetIx) -> String {
        let subscription = self.accounts.subscription(vnet).unwrap_or_default();
        let role = match self.vnets[vnet.0].deployment_model {
            DeploymentModel::ResourceManager => "Network Contributor",
            DeploymentModel::Classic => "Classic Network Contributor",
        };
        format!("`principal.roles` needs {{subscription: {subscription}, role: {role}}}")
    }

    fn link_scope(&self, own: VnetIx, link: &str) -> String {
        format!("{}/virtualNetworkPeerings/{link}", self.scope(own))
    }

    fn scope(&self, vnet: VnetIx) -> String {
        let subscription = self.accounts.subscription(vnet).map(|own| format!("/subscriptions/{own}"));
        format!("{}/virtualNetworks/{}", subscription.unwrap_or_default(), self.vnets[vnet.0].name)
    }
}

/// Whether an action is one of those that a role's pattern names; `*` stands for any part, in ARM's case.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_lowercase(), action.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = action.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_actions() {
        for pattern in ["*", "Microsoft.Network/*", "*/action", "microsoft.network/*/peer/*", PEER, "*/peer*n"] {
            assert!(matches(pattern, PEER), "{pattern}");
        }
        for pattern in ["", "*/read", "Microsoft.ClassicNetwork/*", "Microsoft.Network", "*/peer"] {
            assert!(!matches(pattern, PEER), "{pattern}");
        }
    }
}
