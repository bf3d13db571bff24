//! Address allocation: static ones are reserved first, dynamic ones take the lowest that is free (ADR-01, 08, 09).

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::schema::IpVersion;
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{Leases, Subnet, SubnetIx, VnetIx};

use super::address::{bits, is_reserved};

/// The addresses in use. Subnets of one virtual network are apart, so that an address in it is unambiguous.
pub(super) struct Pool<'a> {
    leases: &'a Leases,
    taken: HashMap<(VnetIx, IpAddr), At>,
    /// Every address of a range below this number is taken.
    next: HashMap<(SubnetIx, IpNet), u128>,
}

impl<'a> Pool<'a> {
    /// With the addresses that interfaces have already.
    pub(super) fn of(leases: &'a Leases) -> Self {
        Self { leases, taken: HashMap::new(), next: HashMap::new() }
    }

    pub(super) fn leases(&self) -> &'a Leases {
        self.leases
    }

    /// Takes a stated address, if the subnet has it to give.
    pub(super) fn reserve(&mut self, ix: SubnetIx, subnet: &Subnet, address: &Spanned<IpAddr>, report: &mut Report) {
        if subnet.prefixes.is_empty() {
            return; // The subnet's error is already reported.
        }
        let Some(range) = subnet.prefixes.iter().find(|range| range.contains(&address.value)) else {
            let ranges: Vec<String> = subnet.prefixes.iter().map(ToString::to_string).collect();
            report
                .error(address.at, format!("{} is not in subnet `{}`", address.value, subnet.name))
                .code("PrivateIPAddressNotInSubnet")
                .rule("ADR-08")
                .expected(format!("an address in {}", ranges.join(" or ")));
            return;
        };
        if is_reserved(address.value, range) {
            let which = if range.addr().is_ipv4() {
                "the first four addresses and the last"
            } else {
                "the first four addresses"
            };
            report
                .error(address.at, format!("{} is reserved in subnet `{}`", address.value, subnet.name))
                .code("PrivateIPAddressInReservedRange")
                .rule("ADR-08")
                .expected(format!("another address of {range}: Azure keeps {which}"));
            return;
        }
        if let Some(first) = self.taken.insert((ix.vnet, address.value), address.at) {
            let line = report.location(first).line;
            report
                .error(address.at, format!("{} is taken already", address.value))
                .rule("ADR-09")
                .help(format!("line {line} has it too"));
        }
    }

    /// The first of the addresses already allocated, if this subnet still has it free.
    pub(super) fn keep(
        &mut self,
        ix: SubnetIx,
        subnet: &Subnet,
        version: IpVersion,
        held: &[IpAddr],
        at: At,
    ) -> Option<Spanned<IpAddr>> {
        let ours = |address: &IpAddr| {
            let range = subnet.prefixes.iter().find(|range| range.contains(address));
            range.is_some_and(|range| !is_reserved(*address, range))
        };
        let mut held =
            held.iter().copied().filter(|address| address.is_ipv4() == (version == IpVersion::V4)).filter(ours);
        let value = held.find(|address| !self.taken.contains_key(&(ix.vnet, *address)))?;
        self.taken.insert((ix.vnet, value), at);
        Some(Spanned { value, at })
    }

    /// The lowest free address of the family.
    pub(super) fn allocate(
        &mut self,
        ix: SubnetIx,
        subnet: &Subnet,
        version: IpVersion,
        at: At,
        report: &mut Report,
    ) -> Option<IpAddr> {
        let mut ranges = subnet.prefixes.iter().filter(|range| range.addr().is_ipv4() == (version == IpVersion::V4));
        let free = ranges.find_map(|range| self.lowest(ix, range));
        if let Some(address) = free {
            self.taken.insert((ix.vnet, address), at);
        } else if !subnet.prefixes.is_empty() {
            report
                .error(at, format!("subnet `{}` has no free address left for this", subnet.name))
                .rule("ADR-09")
                .help("make the subnet larger, or put the interface elsewhere");
        }
        free
    }

    fn lowest(&mut self, ix: SubnetIx, range: &IpNet) -> Option<IpAddr> {
        let (first, last) = (bits(range.network()), bits(range.broadcast()));
        let mut number = self.next.get(&(ix, *range)).copied().unwrap_or(first + 4);
        let address = loop {
            if number > last {
                break None;
            }
            let address = address(number, range);
            number += 1;
            if !is_reserved(address, range) && !self.taken.contains_key(&(ix.vnet, address)) {
                break Some(address);
            }
        };
        self.next.insert((ix, *range), number);
        address
    }
}

/// The number as an address of the range's family.
fn address(number: u128, range: &IpNet) -> IpAddr {
    match range {
        IpNet::V4(_) => IpAddr::V4((number as u32).into()),
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}
