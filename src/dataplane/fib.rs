//! Longest-prefix match over IPv4 and IPv6.
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// An immutable longest-prefix-match table over IPv4 and IPv6.
#[derive(Debug)]
pub struct Lpm<V> {
    v4: PrefixMap<Ipv4Net, V>,
    v6: PrefixMap<Ipv6Net, V>,
}

impl<V: Copy + Eq> Lpm<V> {
    /// The value of the longest prefix that contains the address.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(_, value)| *value),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(_, value)| *value),
        }
    }

    /// How many prefixes it was built from.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V: Copy + Eq> FromIterator<(IpNet, V)> for Lpm<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(prefixes: I) -> Self {
        let mut builder = LpmBuilder::new();
        prefixes.into_iter().for_each(|(prefix, value)| builder.insert(prefix, value));
        builder.build()
    }
}

/// Collects prefixes for an [`Lpm`]; a later value for the same prefix replaces the earlier.
#[derive(Clone, Debug)]
pub struct LpmBuilder<V> {
    prefixes: Vec<(IpNet, V)>,
}

impl<V: Copy + Eq> LpmBuilder<V> {
    pub fn new() -> Self {
        Self { prefixes: Vec::new() }
    }

    /// Host bits are cut off: `10.0.0.7/24` is `10.0.0.0/24`.
    pub fn insert(&mut self, prefix: IpNet, value: V) {
        self.prefixes.push((prefix.trunc(), value));
    }

    pub fn build(&self) -> Lpm<V> {
        let mut lpm = Lpm { v4: PrefixMap::new(), v6: PrefixMap::new() };
        for (prefix, value) in &self.prefixes {
            match prefix {
                IpNet::V4(prefix) => lpm.v4.insert(*prefix, *value),
                IpNet::V6(prefix) => lpm.v6.insert(*prefix, *value),
            };
        }
        lpm
    }
}

impl<V: Copy + Eq> Default for LpmBuilder<V> {
    fn default() -> Self {
        Self::new()
    }
}
