//! Longest-prefix match over IPv4 and IPv6, for routes, owners of addresses and permitted sources.
//!
//! An [`Lpm`] is immutable: to change a prefix, build a new one. Both families are a [`Poptrie`] over the address as an
//! integer; this file only separates the families and collects prefixes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::poptrie::{Poptrie, Prefix};

/// An immutable longest-prefix-match table over IPv4 and IPv6. Equal tables were built from the same prefixes; a clone
/// shares everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lpm<V> {
    v4: Poptrie<u32, V>,
    v6: Poptrie<u128, V>,
}

impl<V: Copy + Eq> Lpm<V> {
    /// The value of the longest prefix that contains the address.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }

    /// How many different prefixes it was built from.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held on the heap.
    pub fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}

impl<V: Copy + Eq> FromIterator<(IpNet, V)> for Lpm<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(prefixes: I) -> Self {
        let mut builder = LpmBuilder::new();
        for (prefix, value) in prefixes {
            builder.insert(prefix, value);
        }
        builder.build()
    }
}

/// Collects prefixes for an [`Lpm`]; a later value for the same prefix replaces the earlier.
#[derive(Clone, Debug)]
pub struct LpmBuilder<V> {
    v4: Vec<Prefix<u32, V>>,
    v6: Vec<Prefix<u128, V>>,
}

impl<V: Copy + Eq> LpmBuilder<V> {
    pub fn new() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }

    /// Host bits are cut off: `10.0.0.7/24` is `10.0.0.0/24`.
    pub fn insert(&mut self, prefix: IpNet, value: V) {
        let len = prefix.prefix_len();
        match prefix.network() {
            IpAddr::V4(network) => self.v4.push(Prefix { bits: network.to_bits(), len, value }),
            IpAddr::V6(network) => self.v6.push(Prefix { bits: network.to_bits(), len, value }),
        }
    }

    pub fn build(&self) -> Lpm<V> {
        Lpm { v4: Poptrie::new(&self.v4), v6: Poptrie::new(&self.v6) }
    }
}

impl<V: Copy + Eq> Default for LpmBuilder<V> {
    fn default() -> Self {
        Self::new()
    }
}
