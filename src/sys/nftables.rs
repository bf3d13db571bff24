//! Address translation in the calling thread's network namespace, by nf_tables over netlink.
//!
//! One idea: one table of our own, put or removed whole in one transaction, so that a user's own rules beside it stay
//! as they are. Messages are written by hand: three objects do not need a library, and no program has to be installed.
//! Layouts are those of the kernel's `linux/netfilter/nf_tables.h`.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};

use super::netfilter::{Netfilter, attribute, message, nested, number, text};

/// The table's name in a guest's namespace.
pub const TABLE: &str = "vnet";
const CHAIN: &str = "postrouting";

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`, as a message's type and as a batch's subject.
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;

/// IPv4 and IPv6 in one table.
const FAMILY_INET: u8 = 1;
const HOOK_POSTROUTING: u32 = 4;
/// `NF_IP_PRI_NAT_SRC`.
const PRIORITY_SOURCE_NAT: u32 = 100;
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const NETWORK_HEADER: u32 = 1;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;
const META_IIF: u32 = 4;
const META_IIFNAME: u32 = 6;
const META_FAMILY: u32 = 15;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// `IFNAMSIZ`.
const DEVICE_NAME_LEN: usize = 16;

/// Has the kernel put the outgoing interface's address in place of the source of everything it forwards but to the spared
/// destinations, or for None leave all sources alone. The answer of a kernel without nf_tables, or without its address
/// translation, is `Unsupported`.
pub fn set_masquerade(spared: Option<&[IpNet]>) -> io::Result<()> {
    let rules = |spared: &[IpNet]| {
        let last = [not_from_here(), expression("masq", &[])].concat();
        spared.iter().map(|range| [towards(range), accept()].concat()).chain([last]).collect()
    };
    put(TABLE, spared.map(rules))
}

/// The same for everything that came in by one device, in a table of its name.
pub fn set_masquerade_from(device: &str, on: bool) -> io::Result<()> {
    put(device, on.then(|| vec![[from(device), expression("masq", &[])].concat()]))
}

/// A table of this name with one chain of these rules, or none.
fn put(name: &str, rules: Option<Vec<Vec<u8>>>) -> io::Result<()> {
    let mut batch = Batch::default();
    let table = attribute(1, &text(name));
    // Made if it was not there, so that there is one to delete.
    batch.add(NEW_TABLE, NLM_F_CREATE, &table);
    batch.add(DELETE_TABLE, 0, &table);
    if let Some(rules) = rules {
        batch.add(NEW_TABLE, NLM_F_CREATE, &table);
        batch.add(NEW_CHAIN, NLM_F_CREATE, &chain(name));
        for expressions in rules {
            batch.add(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, &rule(name, &expressions));
        }
    }
    batch.commit().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel has no address translation by nf_tables (CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ)",
        ),
        _ => error,
    })
}

fn chain(table: &str) -> Vec<u8> {
    let hook = [number(1, HOOK_POSTROUTING), number(2, PRIORITY_SOURCE_NAT)].concat();
    [attribute(1, &text(table)), attribute(3, &text(CHAIN)), nested(4, &hook), attribute(7, &text("nat"))].concat()
}

fn rule(table: &str, expressions: &[u8]) -> Vec<u8> {
    [attribute(1, &text(table)), attribute(2, &text(CHAIN)), nested(4, expressions)].concat()
}

/// `meta iif != 0`: what the guest itself sends came in nowhere (known here since Linux 5.7).
fn not_from_here() -> Vec<u8> {
    meta(META_IIF, NOT_EQUAL, &[0; 4])
}

/// `meta iifname DEVICE`.
fn from(device: &str) -> Vec<u8> {
    let mut name = device.as_bytes().to_vec();
    name.resize(DEVICE_NAME_LEN, 0);
    meta(META_IIFNAME, EQUAL, &name)
}

/// `ip daddr RANGE`, or `ip6 daddr RANGE`.
fn towards(range: &IpNet) -> Vec<u8> {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    // `NFPROTO_IPV4` and `NFPROTO_IPV6`; where the header has the destination.
    let (family, offset, length) = if range.addr().is_ipv4() { (2, 16, 4_u32) } else { (10, 24, 16) };
    let load = [number(1, REGISTER), number(2, NETWORK_HEADER), number(3, offset), number(4, length)].concat();
    let (mask, flips) = (bytes(range.netmask()), vec![0; length as usize]);
    let mask = [
        number(1, REGISTER),
        number(2, REGISTER),
        number(3, length),
        nested(4, &attribute(1, &mask)),
        nested(5, &attribute(1, &flips)),
    ];
    let (load, mask) = (expression("payload", &load), expression("bitwise", &mask.concat()));
    [meta(META_FAMILY, EQUAL, &[family]), load, mask, compare(EQUAL, &bytes(range.network()))].concat()
}

fn accept() -> Vec<u8> {
    let verdict = nested(2, &number(1, ACCEPT));
    expression("immediate", &[number(1, REGISTER_VERDICT), nested(2, &verdict)].concat())
}

fn meta(key: u32, relation: u32, value: &[u8]) -> Vec<u8> {
    let load = [number(1, REGISTER), number(2, key)].concat();
    [expression("meta", &load), compare(relation, value)].concat()
}

fn compare(relation: u32, value: &[u8]) -> Vec<u8> {
    let data = [number(1, REGISTER), number(2, relation), nested(3, &attribute(1, value))].concat();
    expression("cmp", &data)
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[attribute(1, &text(name)), nested(2, data)].concat())
}

/// Messages that take effect together or not at all.
#[derive(Default)]
struct Batch {
    messages: Vec<u8>,
    last: u32,
}

impl Batch {
    fn add(&mut self, kind: u16, flags: u16, attributes: &[u8]) {
        self.last += 1;
        let body = [&[FAMILY_INET, 0, 0, 0], attributes].concat();
        self.messages.extend(message(kind, flags | NLM_F_ACK, self.last, &body));
    }

    fn commit(self) -> io::Result<()> {
        let frame = [&[0, 0][..], &SUBSYSTEM.to_be_bytes()].concat();
        let datagram =
            [message(BATCH_BEGIN, 0, 0, &frame), self.messages, message(BATCH_END, 0, self.last + 1, &frame)];
        Netfilter::open()?.send(&datagram.concat(), self.last)
    }
}
