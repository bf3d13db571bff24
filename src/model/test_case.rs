//! What a file expects of its own network: which machine reaches which, by which path and which rule.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Customer, NicIx, VmIx};

/// One entry of `tests:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    /// As the file names it, or what it asks in words.
    pub name: String,
    pub from: Endpoint,
    pub to: Endpoint,
    pub probe: Probe,
    pub expect: Verdict,
    /// Machines that forward the packet: in this order, others may stand between them.
    pub via: Vec<VmIx>,
    /// The same for the answer.
    pub via_return: Vec<VmIx>,
    /// Machines that forward neither.
    pub not_via: Vec<VmIx>,
    /// A rule that must decide: `securityRules/x`, `defaultSecurityRules/x` or `ruleCollections/x/y`.
    pub rule: Option<String>,
    /// Whether the model's answer is of no interest.
    pub packets_only: bool,
    /// What the test shows, as paths in the file: without these it fails.
    pub without: Vec<String>,
}

/// Where a test's packet starts or ends. As a start, an address belongs to an interface or an attached VNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Whichever interface the guest's routes choose.
    Vm(VmIx),
    Nic(NicIx),
    Address(IpAddr),
    /// The node of the Internet.
    Internet,
    /// A site or a private cloud.
    Outside(Customer),
}

/// A packet to ask with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Probe {
    /// An ICMP echo request.
    Ping,
    /// A connection attempt.
    Tcp(u16),
    Udp(u16),
}

/// Whether a question arrives and its answer comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    Reachable,
    Blocked,
    /// Some flows arrive and others do not, by the appliance that their hash chooses (RSEL-06). No file expects it.
    Depends,
    /// Another machine that has the same address gets the question or the answer.
    WrongHost,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping => f.write_str("ping"),
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reachable => "reachable",
            Self::Blocked => "blocked",
            Self::Depends => "depends",
            Self::WrongHost => "wrong host",
        })
    }
}
