//! What a file expects of its own network: one question an entry of `tests:`, and how it is asked.
//!
//! Each kind of question is a type of its own; what all have in common is here and in [`Conduct`]. Which answer is right is
//! decided elsewhere: this module knows neither the model's answers nor real packets.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::test_questions::{
    BgpTest, DnsTest, DuringTest, ExecTest, FlowsTest, HttpTest, LatencyTest, RoutesTest, RulesTest, ThroughputTest,
};
use super::{Customer, NicIx, VmIx};

/// One entry of `tests:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    /// As the file names it, or what it asks in words.
    pub name: String,
    pub question: Question,
    /// Whether the model's answer is of no interest.
    pub packets_only: bool,
    pub conduct: Conduct,
    /// What the test shows, as paths in the file: without these it fails.
    pub without: Vec<String>,
}

/// What a test asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Reach(ReachTest),
    Http(HttpTest),
    Dns(DnsTest),
    Exec(ExecTest),
    Routes(RoutesTest),
    Rules(RulesTest),
    Bgp(BgpTest),
    Flows(FlowsTest),
    Latency(LatencyTest),
    Throughput(ThroughputTest),
    During(DuringTest),
}

/// How a test is asked, and what its failure means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// Further attempts after one that fails.
    pub retry: u32,
    /// How long an answer may take; None for what is usual for its kind.
    pub timeout: Option<Duration>,
    /// How long to wait before it is asked.
    pub after: Duration,
    pub severity: TestSeverity,
    /// Why it is not asked.
    pub skip: Option<String>,
}

/// What a test that fails is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TestSeverity {
    #[default]
    Error,
    /// It is told, and the run does not fail.
    Warning,
}

/// Two machines and a kind of packet between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestEnds {
    pub from: Endpoint,
    pub to: Endpoint,
    pub probe: Probe,
}

/// Which machine reaches which, by which path and which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachTest {
    pub ends: TestEnds,
    pub expect: Verdict,
    /// Machines that forward the packet: in this order, others may stand between them.
    pub via: Vec<VmIx>,
    /// The same for the answer.
    pub via_return: Vec<VmIx>,
    /// Machines that forward neither.
    pub not_via: Vec<VmIx>,
    /// A rule that must decide: `securityRules/x`, `defaultSecurityRules/x` or `ruleCollections/x/y`.
    pub rule: Option<String>,
}

impl TestCase {
    /// The machines between which packets go, if the test is about packets.
    pub fn ends(&self) -> Option<&TestEnds> {
        match &self.question {
            Question::Reach(test) => Some(&test.ends),
            Question::Http(test) => Some(&test.ends),
            Question::Flows(test) => Some(&test.ends),
            Question::Latency(test) => Some(&test.ends),
            Question::Throughput(test) => Some(&test.ends),
            Question::During(test) => Some(&test.ends),
            Question::Dns(_) | Question::Exec(_) | Question::Routes(_) | Question::Rules(_) | Question::Bgp(_) => None,
        }
    }

    /// Its reachability, if it asks for that.
    pub fn reach(&self) -> Option<&ReachTest> {
        if let Question::Reach(test) = &self.question { Some(test) } else { None }
    }
}

impl Question {
    /// The key that a file writes it under; `reach` where it writes `expect`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Reach(_) => "reach",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Exec(_) => "exec",
            Self::Routes(_) => "routes",
            Self::Rules(_) => "rules",
            Self::Bgp(_) => "bgp",
            Self::Flows(_) => "flows",
            Self::Latency(_) => "latency",
            Self::Throughput(_) => "throughput",
            Self::During(_) => "during",
        }
    }
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
