//! Kinds of packets that no rule distinguishes, so that one packet of each answers for all.
//!
//! One idea: reachability on a port can only change where a port range of some rule begins or ends. The source port is
//! the guest's own choice.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Network, PortRange};

use super::query::Probe;

/// A packet and, for TCP and UDP, the last destination port of the range that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Traffic {
    pub probe: Probe,
    last: u16,
}

/// The ports at which a network's rules may decide differently: the first port of each range, and the one after its
/// last.
pub fn boundaries(network: &Network) -> BTreeSet<u16> {
    let rules = network.network_security_groups.iter().flat_map(|nsg| &nsg.rules).map(|rule| &rule.destination_ports);
    let admin = network.rule_collections().flat_map(|(_, collection)| &collection.rules);
    let policies = network.private_clouds.iter().flat_map(|cloud| &cloud.firewall.policies);
    let firewall = policies.flat_map(|policy| &policy.rules).flat_map(|rule| rule.services.iter().flatten());
    let edges = |range: &PortRange| [Some(range.first), range.last.checked_add(1)];
    rules
        .chain(admin.map(|rule| &rule.destination_ports))
        .chain(firewall.map(|service| &service.destination_ports))
        .flatten()
        .flat_map(edges)
        .flatten()
        .filter(|&port| port > 0)
        .collect()
}

/// What to ask about: one kind of packet, or all that this network's rules and these boundaries distinguish.
pub fn traffic(network: &Network, probe: Option<Probe>, mut others: BTreeSet<u16>) -> Vec<Traffic> {
    others.extend(boundaries(network));
    probe.map_or_else(|| Traffic::all(others), |probe| vec![Traffic::only(probe)])
}

impl Traffic {
    /// Only this packet.
    fn only(probe: Probe) -> Self {
        let last = match probe {
            Probe::Ping => 0,
            Probe::Tcp(port) | Probe::Udp(port) => port,
        };
        Self { probe, last }
    }

    /// A ping, and all of TCP and UDP in runs of ports that begin at the boundaries.
    fn all(mut boundaries: BTreeSet<u16>) -> Vec<Self> {
        boundaries.insert(1);
        let ends = boundaries.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
        let runs: Vec<(u16, u16)> = boundaries.iter().copied().zip(ends).collect();
        let of = |probe: fn(u16) -> Probe| runs.iter().map(move |&(first, last)| Self { probe: probe(first), last });
        std::iter::once(Self::only(Probe::Ping)).chain(of(Probe::Tcp)).chain(of(Probe::Udp)).collect()
    }
}

/// `ping`, `tcp/443` or `tcp/444-65535`.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last;
        match self.probe {
            Probe::Tcp(port) | Probe::Udp(port) if port != last => write!(f, "{}-{last}", self.probe),
            Probe::Ping | Probe::Tcp(_) | Probe::Udp(_) => self.probe.fmt(f),
        }
    }
}

impl FromStr for Traffic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}`: expected ping, tcp/PORT or udp/FIRST-LAST");
        let port = |text: &str| text.parse::<u16>().map_err(|_| error());
        if text == "ping" {
            return Ok(Self::only(Probe::Ping));
        }
        let (protocol, ports) = text.split_once('/').ok_or_else(error)?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (port(first)?, port(last)?);
        let probe = match protocol {
            "tcp" => Probe::Tcp(first),
            "udp" => Probe::Udp(first),
            _ => return Err(error()),
        };
        Ok(Self { probe, last })
    }
}

impl From<Traffic> for String {
    fn from(traffic: Traffic) -> Self {
        traffic.to_string()
    }
}

impl TryFrom<String> for Traffic {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_begin_at_the_boundaries_and_leave_no_gap() {
        let all: Vec<_> = Traffic::all([443, 444, 8000].into()).iter().map(ToString::to_string).collect();
        let tcp = ["tcp/1-442", "tcp/443", "tcp/444-7999", "tcp/8000-65535"];
        assert_eq!(all[..5], [&["ping"][..], &tcp].concat());
        assert_eq!(all[5..], tcp.map(|run| run.replace("tcp", "udp")));
        for text in all {
            assert_eq!(text.parse::<Traffic>().map(|traffic| traffic.to_string()), Ok(text));
        }
    }
}
