//! Values by prefix, to ask for the longest prefix that holds an address.
//!
//! The entries keep their order and can be compared. The table beside them answers: a question costs the same for ten
//! prefixes and for 10,000, where a look at each prefix costs 4 ns. The first question makes the table: a change of
//! routes that raises no question does not pay for it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;

/// A map that does not change. Copies share it.
#[derive(Clone)]
pub struct PrefixMap<T> {
    entries: Arc<BTreeMap<IpNet, T>>,
    table: Arc<OnceLock<IpNetworkTable<IpNet>>>,
}

impl<T> PrefixMap<T> {
    /// The value of the longest prefix that holds an address.
    pub fn longest(&self, address: IpAddr) -> Option<&T> {
        let table = self.table.get_or_init(|| table(self.entries.keys()));
        let (_, prefix) = table.longest_match(address)?;
        self.entries.get(prefix)
    }
}

fn table<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> IpNetworkTable<IpNet> {
    let mut table = IpNetworkTable::new();
    for prefix in prefixes {
        let network = IpNetwork::new(prefix.network(), prefix.prefix_len());
        table.insert(network.expect("a network's address has no host bits"), *prefix);
    }
    table
}

impl<T> From<BTreeMap<IpNet, T>> for PrefixMap<T> {
    fn from(entries: BTreeMap<IpNet, T>) -> Self {
        Self { entries: Arc::new(entries), table: Arc::default() }
    }
}

impl<T: PartialEq> PartialEq for PrefixMap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T: Eq> Eq for PrefixMap<T> {}

impl<T: fmt::Debug> fmt::Debug for PrefixMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_prefix_of_either_version_answers() {
        let texts = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "fd00::/8", "fd00::1/128"];
        let map = PrefixMap::from(
            texts.map(|text| (text.parse::<IpNet>().unwrap(), text)).into_iter().collect::<BTreeMap<_, _>>(),
        );
        let longest = |address: &str| map.longest(address.parse().unwrap()).copied();
        assert_eq!(longest("10.1.2.3"), Some("10.1.2.3/32"));
        assert_eq!(longest("10.1.2.4"), Some("10.1.0.0/16"));
        assert_eq!(longest("192.0.2.1"), Some("0.0.0.0/0"));
        assert_eq!(longest("fd00::2"), Some("fd00::/8"));
        assert_eq!(longest("2001:db8::1"), None);
    }

    proptest! {
        #[test]
        fn it_answers_as_a_look_at_each_prefix_does(
            prefixes in proptest::collection::vec((any::<u32>(), 0..=32_u8), 0..40),
            addresses in proptest::collection::vec(any::<u32>(), 20),
        ) {
            // Few different bits, so that prefixes hold each other.
            let few = |bits: u32| std::net::Ipv4Addr::from(bits & 0xc0c0_c0c3);
            let prefix = |(bits, len)| IpNet::from(ipnet::Ipv4Net::new(few(bits), len).unwrap().trunc());
            let entries: BTreeMap<_, _> = prefixes.into_iter().map(prefix).map(|prefix| (prefix, prefix)).collect();
            let map = PrefixMap::from(entries.clone());
            for address in addresses.into_iter().map(few).map(IpAddr::from) {
                let holding = entries.keys().filter(|prefix| prefix.contains(&address));
                prop_assert_eq!(map.longest(address), holding.max_by_key(|prefix| prefix.prefix_len()));
            }
        }
    }
}
