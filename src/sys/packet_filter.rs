//! Counts the packet filter and address translation rules of the calling thread's network namespace.
//!
//! One idea: the hooks at which rules stand tell whether they may decide a packet; the rules themselves are not read.
//! nf_tables answers over netlink, as for `nft` and today's `iptables`; [`super::ip_tables`] reads the older tables.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;

use netlink_packet_core::NLM_F_DUMP;

use super::ip_tables;
use super::netfilter::{Netfilter, as_number, as_text, attributes, get};

/// The hook at which a rule stands, on a packet's path through a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Before the packet is routed; at a device's ingress, too.
    Prerouting,
    Input,
    Forward,
    Output,
    /// After it is routed; at a device's egress, too.
    Postrouting,
}

impl Hook {
    pub const ALL: [Self; 5] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];
}

/// Rules that stand at the same places. A chain that drops what no rule lets pass counts as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    pub ipv4: bool,
    pub ipv6: bool,
    pub hooks: Vec<Hook>,
    pub count: usize,
}

/// `NFNL_SUBSYS_NFTABLES`, and its requests for all chains and all rules.
const GET_CHAINS: u16 = 10 << 8 | 4;
const GET_RULES: u16 = 10 << 8 | 7;
/// Rules that are counted: a set of rules may be of any length.
const MOST: usize = 100_000;

const INET: u8 = 1;
const IPV4: u8 = 2;
const NETDEV: u8 = 5;
const IPV6: u8 = 10;
/// `NF_DROP`, as a policy.
const DROP: u32 = 0;

/// By family, table and name.
type ChainName = (u8, String, String);

#[derive(Default)]
struct Chain {
    /// None for one that others jump to.
    hook: Option<Hook>,
    drops: bool,
    rules: usize,
    jumps: HashSet<String>,
    /// A map of verdicts may jump anywhere in the table.
    jumps_anywhere: bool,
}

/// The rules, but for those of one table of the family `inet`, which the caller knows.
pub fn rules(known: Option<&str>) -> io::Result<Vec<Rules>> {
    let mut rules = unless_unsupported(nf_tables(known))?;
    rules.extend(ip_tables::rules()?);
    Ok(rules)
}

/// A kernel without it has no rules.
fn unless_unsupported(rules: io::Result<Vec<Rules>>) -> io::Result<Vec<Rules>> {
    match rules.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => Ok(Vec::new()),
        _ => rules,
    }
}

fn nf_tables(known: Option<&str>) -> io::Result<Vec<Rules>> {
    let mut chains: HashMap<ChainName, Chain> = HashMap::new();
    let is_known = |family, table: &str| family == INET && known == Some(table);
    Netfilter::open()?.ask((GET_CHAINS, NLM_F_DUMP, 0), &[], |answer| {
        let (Some(table), Some(name)) = (answer.get(1).map(as_text), answer.get(3).map(as_text)) else {
            return ControlFlow::Continue(());
        };
        let number = answer.get(4).and_then(|hook| get(hook, 1)).and_then(as_number);
        let hook = number.and_then(|number| hook(answer.family, number));
        let drops = answer.get(5).and_then(as_number) == Some(DROP);
        if !is_known(answer.family, &table) {
            chains.insert((answer.family, table, name), Chain { hook, drops, ..Chain::default() });
        }
        if chains.len() < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    let mut counted = 0;
    Netfilter::open()?.ask((GET_RULES, NLM_F_DUMP, 0), &[], |answer| {
        let (Some(table), Some(name)) = (answer.get(1).map(as_text), answer.get(2).map(as_text)) else {
            return ControlFlow::Continue(());
        };
        if let Some(chain) = chains.get_mut(&(answer.family, table, name)) {
            chain.rules += 1;
            chain.note_jumps(answer.get(4).unwrap_or_default());
        }
        counted += 1;
        if counted < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(by_place(&chains))
}

impl Chain {
    /// Where its rule's expressions jump to.
    fn note_jumps(&mut self, expressions: &[u8]) {
        for (_, expression) in attributes(expressions) {
            let (Some(name), Some(data)) = (get(expression, 1).map(as_text), get(expression, 2)) else { continue };
            match name.as_str() {
                "immediate" => {
                    let verdict = get(data, 2).and_then(|data| get(data, 2));
                    self.jumps.extend(verdict.and_then(|verdict| get(verdict, 2)).map(as_text));
                }
                // Into the register of verdicts.
                "lookup" => self.jumps_anywhere |= get(data, 3).and_then(as_number) == Some(0),
                _ => {}
            }
        }
    }
}

/// A kernel's number of a hook; those of bridges and ARP do not see what is routed.
fn hook(family: u8, number: u32) -> Option<Hook> {
    match (family, number) {
        (NETDEV | INET | IPV4 | IPV6, 0) | (INET, 5) => Some(Hook::Prerouting),
        (INET | IPV4 | IPV6, 1) => Some(Hook::Input),
        (INET | IPV4 | IPV6, 2) => Some(Hook::Forward),
        (INET | IPV4 | IPV6, 3) => Some(Hook::Output),
        (NETDEV, 1) | (INET | IPV4 | IPV6, 4) => Some(Hook::Postrouting),
        _ => None,
    }
}

/// Each chain's rules at every hook that a packet may come to them from.
fn by_place(chains: &HashMap<ChainName, Chain>) -> Vec<Rules> {
    let mut hooks: HashMap<&ChainName, HashSet<Hook>> = HashMap::new();
    for (name, chain) in chains {
        let Some(hook) = chain.hook else { continue };
        let mut met = HashSet::new();
        let mut next = vec![name];
        while let Some(name) = next.pop() {
            let Some(chain) = chains.get(name) else { continue };
            if !met.insert(name) {
                continue;
            }
            hooks.entry(name).or_default().insert(hook);
            let here = |other: &&ChainName| (other.0, &other.1) == (name.0, &name.1);
            let jumped = |other: &&ChainName| chain.jumps_anywhere || chain.jumps.contains(&other.2);
            if chain.jumps_anywhere || !chain.jumps.is_empty() {
                next.extend(chains.keys().filter(here).filter(jumped).filter(|other| chains[*other].hook.is_none()));
            }
        }
    }
    let rules = hooks.into_iter().filter_map(|(name, at)| {
        let chain = &chains[name];
        let count = chain.rules + usize::from(chain.drops);
        let mut hooks: Vec<_> = at.into_iter().collect();
        hooks.sort_unstable();
        (count > 0).then_some(Rules { ipv4: name.0 != IPV6, ipv6: name.0 != IPV4, hooks, count })
    });
    rules.collect()
}
