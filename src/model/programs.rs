//! What a network runs in its nodes: programs (`run:`), rule sets that `nft` loads (`guest: {nftables: …}`), and the programs
//! of its tests (`exec:`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::network::{Network, PowerState};
use super::public_address::Internet;
use super::test_case::Question;

/// What a node runs while the lab is up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// With its arguments; empty for none.
    pub command: Vec<String>,
    pub sandbox: Sandbox,
}

/// What a program may do beyond its node's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sandbox {
    /// Read files, and write to temporary ones of its own.
    #[default]
    Machine,
    /// Whatever the lab's user may do.
    None,
}

impl Program {
    pub fn is_none(&self) -> bool {
        self.command.is_empty()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.command.join(" "))?;
        match self.sandbox {
            Sandbox::None if !self.is_none() => f.write_str("  [sandbox: none]"),
            Sandbox::None | Sandbox::Machine => Ok(()),
        }
    }
}

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
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        let machines = self.virtual_machines.iter().filter(|vm| vm.power_state == PowerState::Running);
        let all = machines.map(|vm| (vm.name.as_str(), &vm.run));
        let all = all.chain(self.internet.as_ref().map(|internet| (Internet::NAME, &internet.run)));
        let all = all.chain(self.sites.iter().map(|site| (site.name.as_str(), &site.run)));
        let all = all.chain(self.private_clouds.iter().map(|cloud| (cloud.name.as_str(), &cloud.run)));
        let segments = self.private_clouds.iter().flat_map(|cloud| &cloud.segments);
        let all = all.chain(segments.map(|segment| (segment.node.as_str(), &segment.run)));
        all.filter(|(_, program)| !program.is_none())
    }

    /// The same network with nothing to run, and nothing to write outside the topology's directory.
    #[must_use]
    pub fn without_code(mut self) -> Self {
        for vm in &mut self.virtual_machines {
            vm.run = Program::default();
            vm.guest_filter = None;
        }
        for log in self.flow_logs.iter_mut().filter(|log| log.outside().is_some()) {
            log.storage_path = None;
        }
        self.internet.iter_mut().for_each(|internet| internet.run = Program::default());
        self.sites.iter_mut().for_each(|site| site.run = Program::default());
        for cloud in &mut self.private_clouds {
            cloud.run = Program::default();
            cloud.segments.iter_mut().for_each(|segment| segment.run = Program::default());
        }
        for test in &mut self.tests {
            if let Question::Exec(_) = test.question {
                test.conduct.skip.get_or_insert_with(|| "the programs of the file are left out".to_owned());
            }
        }
        self
    }

    /// The programs that tests run, by node.
    pub fn programs_of_tests(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.tests.iter().filter_map(|test| match &test.question {
            Question::Exec(exec) if test.conduct.skip.is_none() => Some((exec.on.as_str(), &exec.program)),
            _ => None,
        })
    }
}
