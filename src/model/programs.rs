//! What a network runs in its nodes: programs (`run:`), and rule sets that `nft` loads (`guest: {nftables: …}`).

use serde::{Deserialize, Serialize};

use super::network::{Network, PowerState};
use super::public_address::Internet;

/// Whether the code of a file runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunPolicy {
    /// Whatever it is.
    Always,
    /// If the user has agreed to it.
    #[default]
    Agreed,
    /// It is left out.
    Never,
}

impl Network {
    /// The programs of the file, by node; a machine that does not run has none.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &[String])> {
        let machines = self.virtual_machines.iter().filter(|vm| vm.power_state == PowerState::Running);
        let all = machines.map(|vm| (vm.name.as_str(), &vm.run));
        let all = all.chain(self.internet.as_ref().map(|internet| (Internet::NAME, &internet.run)));
        let all = all.chain(self.sites.iter().map(|site| (site.name.as_str(), &site.run)));
        let all = all.chain(self.private_clouds.iter().map(|cloud| (cloud.name.as_str(), &cloud.run)));
        all.filter(|(_, command)| !command.is_empty()).map(|(node, command)| (node, command.as_slice()))
    }

    /// The same network with nothing to run.
    #[must_use]
    pub fn without_code(mut self) -> Self {
        for vm in &mut self.virtual_machines {
            vm.run.clear();
            vm.guest_filter = None;
        }
        self.internet.iter_mut().for_each(|internet| internet.run.clear());
        self.sites.iter_mut().for_each(|site| site.run.clear());
        self.private_clouds.iter_mut().for_each(|cloud| cloud.run.clear());
        self
    }
}
