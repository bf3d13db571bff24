//! Flow logs: the targets of which a network watcher records flows, and the files (DIAG-07, DIAG-08).

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::{NicIx, NsgIx, SubnetIx, VnetIx};

/// One flow log; a target has at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLog {
    pub name: String,
    pub target: FlowLogTarget,
    pub enabled: bool,
    /// Where its files go, from the topology's directory; None for the lab's own, which goes with the lab.
    pub storage_path: Option<PathBuf>,
    /// Days after which files go; None for as long as there is room.
    pub retention_days: Option<u16>,
}

impl FlowLog {
    /// Where it writes, if that is not sure to be below the topology's directory.
    pub fn outside(&self) -> Option<&Path> {
        let outside =
            |path: &&PathBuf| !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        self.storage_path.as_ref().filter(outside).map(PathBuf::as_path)
    }
}

/// The target of a log. A security group's log has that group's decisions, the others have all of their interfaces'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowLogTarget {
    Nsg(NsgIx, NsgLogVersion),
    Vnet(VnetIx),
    Subnet(SubnetIx),
    Nic(NicIx),
}

/// Version 2 adds states and counters (DIAG-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NsgLogVersion {
    V1,
    V2,
}

/// How flow logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLogPace {
    /// After how long a record is cut: Azure's minute.
    pub record: Duration,
    /// The interval of records about a flow that continues: Azure's five minutes.
    pub continuation: Duration,
    /// Bytes that the files of one log may take; older ones go before.
    pub room: u64,
}

impl Default for FlowLogPace {
    /// Azure's times, and 64 MiB.
    fn default() -> Self {
        Self { record: Duration::from_secs(60), continuation: Duration::from_secs(300), room: 64 << 20 }
    }
}
