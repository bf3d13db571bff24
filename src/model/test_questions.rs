//! What a test may ask beside reachability: pages, names, programs, routes, rules, sessions, shares of flows, speed, and what
//! a change costs.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Direction, NextHopType, Program, RouteSource, RouteState, SubnetIx, TestEnds, VmIx};

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTest {
    pub ends: TestEnds,
    pub secure: bool,
    /// As the URL names the server.
    pub host: String,
    /// With the query, from the first `/` on.
    pub path: String,
    pub status: u16,
    /// A part of what the page says.
    pub body: Option<String>,
}

/// What a name server answers to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTest {
    pub on: VmIx,
    /// A name, or for [`RecordType::Ptr`] an address.
    pub name: String,
    pub record: RecordType,
    pub expect: DnsExpectation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsExpectation {
    /// There are records.
    Some,
    /// These records, in any order.
    Records(Vec<String>),
    /// There are none.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    A,
    Aaaa,
    Ptr,
}

/// What a program says and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecTest {
    /// The node that it runs in.
    pub on: String,
    pub program: Program,
    pub exit: u8,
    /// A part of its output.
    pub stdout: Option<String>,
}

/// Effective routes of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutesTest {
    pub on: SubnetIx,
    pub contains: Vec<RoutePattern>,
    pub absent: Vec<RoutePattern>,
}

/// A route as far as a test says what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    pub prefix: IpNet,
    pub next_hop_type: Option<NextHopType>,
    pub next_hop_ip: Option<IpAddr>,
    pub source: Option<RouteSource>,
    pub state: RouteState,
}

/// Effective security rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesTest {
    /// `MACHINE`, `MACHINE/INTERFACE` or `VNET/SUBNET`.
    pub on: String,
    pub contains: Vec<RulePattern>,
    pub absent: Vec<RulePattern>,
}

/// A rule as far as a test says what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePattern {
    /// `securityRules/x`, or the name alone.
    pub name: String,
    pub access: Option<RuleAccess>,
    pub direction: Option<Direction>,
    pub priority: Option<u16>,
}

/// What a rule does, as effective rules say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAccess {
    Allow,
    Deny,
    AlwaysAllow,
}

/// A session, and what it has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpTest {
    /// A gateway, a site or a route server.
    pub on: String,
    pub peer: BgpPeer,
    pub state: PeerState,
    /// Ranges that the peer advertises and that are used.
    pub prefixes: Vec<IpNet>,
    /// Ranges of which neither is true.
    pub absent: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BgpPeer {
    Address(IpAddr),
    /// Of the node at the other end, or of the connection that leads to it.
    Name(String),
}

/// A session's state in Azure's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerState {
    Unknown,
    Stopped,
    Idle,
    Connecting,
    Connected,
}

/// How flows are shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowsTest {
    pub ends: TestEnds,
    /// TCP connections that are opened.
    pub count: u16,
    /// Machines that must have some of them.
    pub at_least: usize,
    /// These machines are looked at; where it is empty, the backends, or for a machine's address those on the way.
    pub over: Vec<VmIx>,
}

/// How long a packet is on its way, there and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyTest {
    pub ends: TestEnds,
    /// For half of the exchanges.
    pub below: Option<Duration>,
    /// For 99 of 100.
    pub p99: Option<Duration>,
}

/// How much one TCP connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThroughputTest {
    pub ends: TestEnds,
    pub above: BitRate,
}

/// Bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u64);

/// What packets lose while another file is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuringTest {
    pub ends: TestEnds,
    /// As the topology names it, from its own directory.
    pub apply: String,
    /// Packets that may be lost.
    pub loss: u32,
    /// How long packets go on after the change.
    pub span: Duration,
}

impl RecordType {
    pub fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ptr => 12,
            Self::Aaaa => 28,
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ptr => "PTR",
        })
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)?;
        self.next_hop_type.map_or(Ok(()), |hop| write!(f, " {hop}"))?;
        self.next_hop_ip.map_or(Ok(()), |address| write!(f, " {address}"))?;
        self.source.map_or(Ok(()), |source| write!(f, " of source {source}"))?;
        match self.state {
            RouteState::Active => Ok(()),
            RouteState::Invalid => f.write_str(" that is Invalid"),
        }
    }
}

impl fmt::Display for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.direction.map_or(Ok(()), |direction| write!(f, " {direction:?}"))?;
        self.access.map_or(Ok(()), |access| write!(f, " {access}"))?;
        self.priority.map_or(Ok(()), |priority| write!(f, " of priority {priority}"))
    }
}

impl fmt::Display for RuleAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
            Self::AlwaysAllow => "AlwaysAllow",
        })
    }
}

impl fmt::Display for BgpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Stopped => "Stopped",
            Self::Idle => "Idle",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
        })
    }
}

impl fmt::Display for BitRate {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.0 as f64;
        match self.0 {
            1_000_000_000.. => write!(f, "{:.2} Gbit/s", rate / 1e9),
            1_000_000.. => write!(f, "{:.1} Mbit/s", rate / 1e6),
            _ => write!(f, "{:.1} kbit/s", rate / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// As an answer to a test names what it did not find.
    #[test]
    fn patterns_say_what_they_ask_for_and_no_more() {
        let any = RoutePattern {
            prefix: "10.0.0.0/8".parse().unwrap(),
            next_hop_type: None,
            next_hop_ip: None,
            source: None,
            state: RouteState::Active,
        };
        assert_eq!(any.to_string(), "10.0.0.0/8");
        let one = RoutePattern {
            next_hop_type: Some(NextHopType::VirtualAppliance),
            next_hop_ip: Some(IpAddr::from([10, 0, 1, 4])),
            source: Some(RouteSource::User),
            state: RouteState::Invalid,
            ..any
        };
        assert_eq!(one.to_string(), "10.0.0.0/8 VirtualAppliance 10.0.1.4 of source User that is Invalid");
        let any = RulePattern { name: "ssh".to_owned(), access: None, direction: None, priority: None };
        assert_eq!(any.to_string(), "ssh");
        let (access, direction) = (Some(RuleAccess::AlwaysAllow), Some(Direction::Inbound));
        let one = RulePattern { access, direction, priority: Some(100), ..any };
        assert_eq!(one.to_string(), "ssh Inbound AlwaysAllow of priority 100");
    }

    #[test]
    fn a_rate_has_the_unit_that_suits_it() {
        for (rate, words) in [
            (64_000, "64.0 kbit/s"),
            (999_900, "999.9 kbit/s"),
            (1_000_000, "1.0 Mbit/s"),
            (999_900_000, "999.9 Mbit/s"),
            (1_000_000_000, "1.00 Gbit/s"),
            (13_700_000_000, "13.70 Gbit/s"),
        ] {
            assert_eq!(BitRate(rate).to_string(), words);
        }
    }
}
