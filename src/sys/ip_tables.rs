//! The rules of the older ip_tables and ip6_tables, which `iptables-legacy` makes and nf_tables does not show.
//!
//! A table is read only where the namespace has it, since the request itself would make it. Layouts are those of the
//! kernel's `linux/netfilter_ipv4/ip_tables.h`.

#![expect(unsafe_code, reason = "IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::packet_filter::{Hook, Rules};

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`, of both versions.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const NAME_LEN: usize = 32;
/// Name, mask of hooks, five entries, five underflows, and how many entries of how many bytes.
const INFO_LEN: usize = NAME_LEN + 4 + 5 * 4 + 5 * 4 + 4 + 4;
/// Name and size, padded.
const ENTRIES_HEAD: usize = 40;
/// Of a table that is read.
const LARGEST: usize = 16 << 20;
/// `-NF_DROP - 1`.
const DROP: i32 = -1;

/// What differs between the versions.
struct Version {
    names: &'static str,
    level: i32,
    any: &'static str,
    ipv4: bool,
    /// Where an entry says where its target is; where the next entry is follows.
    target: usize,
}

const VERSIONS: [Version; 2] = [
    Version {
        names: "/proc/thread-self/net/ip_tables_names",
        level: libc::SOL_IP,
        any: "0.0.0.0:0",
        ipv4: true,
        target: 88,
    },
    Version {
        names: "/proc/thread-self/net/ip6_tables_names",
        level: libc::SOL_IPV6,
        any: "[::]:0",
        ipv4: false,
        target: 140,
    },
];

/// The rules of the calling thread's namespace. One user's own chains count at every hook that jumps.
pub(super) fn rules() -> io::Result<Vec<Rules>> {
    let mut rules = Vec::new();
    for version in &VERSIONS {
        // Without the file there is no such module, or nothing that we may see.
        let names = fs::read_to_string(version.names).unwrap_or_default();
        for table in names.lines() {
            let (info, blob) = version.read(table)?;
            let counts = count(&info, &blob, version.target);
            let here = |(hooks, count)| Rules { ipv4: version.ipv4, ipv6: !version.ipv4, hooks, count };
            rules.extend(counts.into_iter().map(here));
        }
    }
    Ok(rules)
}

impl Version {
    /// A table's description, and its entries.
    fn read(&self, table: &str) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let socket = UdpSocket::bind(self.any)?;
        let mut info = vec![0; INFO_LEN];
        let name = table.as_bytes();
        let name = &name[..name.len().min(NAME_LEN - 1)];
        info[..name.len()].copy_from_slice(name);
        get(&socket, self.level, GET_INFO, &mut info)?;
        let size = word(&info, INFO_LEN - 4).unwrap_or(0) as usize;
        if size > LARGEST {
            return Err(io::Error::other(format!("table {table} has {size} bytes of rules")));
        }
        let mut blob = vec![0; ENTRIES_HEAD + size];
        blob[..name.len()].copy_from_slice(name);
        blob[NAME_LEN..NAME_LEN + 4].copy_from_slice(&(size as u32).to_ne_bytes());
        get(&socket, self.level, GET_ENTRIES, &mut blob)?;
        Ok((info, blob.split_off(ENTRIES_HEAD)))
    }
}

fn get(socket: &UdpSocket, level: i32, option: i32, buffer: &mut [u8]) -> io::Result<()> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the buffer, which is that long and lives through the call.
    let done =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &raw mut length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

/// Rules by the hooks where they stand.
fn count(info: &[u8], blob: &[u8], target: usize) -> BTreeMap<Vec<Hook>, usize> {
    let entries = entries(blob, target);
    let valid = word(info, NAME_LEN).unwrap_or(0);
    let mut counts = BTreeMap::new();
    let (mut own, mut jumping) = (entries.len(), Vec::new());
    for (index, hook) in Hook::ALL.into_iter().enumerate().filter(|(index, _)| valid & 1 << index != 0) {
        let (Some(first), Some(policy)) = (word(info, 36 + 4 * index), word(info, 56 + 4 * index)) else { continue };
        let here = || entries.iter().filter(|entry| (first..policy).contains(&entry.at));
        let drops = entries.iter().any(|entry| entry.at == policy && entry.verdict == Some(DROP));
        let rules = here().count() + usize::from(drops);
        own -= here().count() + 1;
        if rules > 0 {
            counts.insert(vec![hook], rules);
        }
        if here().any(|entry| entry.verdict.is_some_and(|to| to >= 0)) {
            jumping.push(hook);
        }
    }
    // A chain of the user's begins with an entry that is its name and ends with its return; the table ends with an error.
    let heads = entries.iter().filter(|entry| entry.is_error).count().saturating_sub(1);
    let own = own.saturating_sub(1 + 2 * heads);
    if own > 0 && !jumping.is_empty() {
        *counts.entry(jumping).or_default() += own;
    }
    counts
}

struct Entry {
    at: u32,
    /// Of a standard target: below 0 what becomes of the packet, else where to go on.
    verdict: Option<i32>,
    is_error: bool,
}

fn entries(blob: &[u8], target: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = 0;
    let short = |at: usize| Some(usize::from(u16::from_ne_bytes(*blob.get(at..)?.first_chunk()?)));
    while let (Some(offset), Some(next)) = (short(at + target), short(at + target + 2)) {
        // A size and a name of 29 bytes with the target's revision, then its own data.
        let name = blob.get(at + offset + 2..at + offset + 31).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let verdict = if name.is_empty() { word(blob, at + offset + 32).map(u32::cast_signed) } else { None };
        entries.push(Entry { at: at as u32, verdict, is_error: name == b"ERROR" });
        if next == 0 {
            break;
        }
        at += next;
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of 152 bytes: where its target and the next entry are, the target's name, and its verdict.
    fn entry(name: &[u8], verdict: i32) -> Vec<u8> {
        let mut bytes = vec![0; 152];
        bytes[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        bytes[90..92].copy_from_slice(&152_u16.to_ne_bytes());
        bytes[114..114 + name.len()].copy_from_slice(name);
        bytes[144..148].copy_from_slice(&verdict.to_ne_bytes());
        bytes
    }

    /// One rule at the hook and two in the chain that it jumps to; policies, heads, returns and the end are none.
    #[test]
    fn rules_of_own_chains_count_where_the_jump_is() {
        const ACCEPT: i32 = -2;
        const RETURN: i32 = -5;
        let own_chain = 3 * 152;
        let input = [entry(b"", own_chain), entry(b"", ACCEPT)];
        let own = [entry(b"ERROR", 0), entry(b"", DROP), entry(b"", ACCEPT), entry(b"", RETURN)];
        let blob = [&input[..], &own, &[entry(b"ERROR", 0)]].concat().concat();
        let mut info = vec![0; INFO_LEN];
        let at = Hook::ALL.iter().position(|hook| *hook == Hook::Input).expect("it is one");
        info[NAME_LEN..][..4].copy_from_slice(&(1_u32 << at).to_ne_bytes());
        info[56 + 4 * at..][..4].copy_from_slice(&152_u32.to_ne_bytes());
        assert_eq!(count(&info, &blob, 88), BTreeMap::from([(vec![Hook::Input], 3)]));
    }
}
