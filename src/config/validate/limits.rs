//! How many there may be: Azure's limits on virtual networks, interfaces and addresses (LIM-01, 06, 10).

use std::collections::HashMap;

use crate::config::schema::Document;
use crate::config::yaml::diagnostic::Report;
use crate::model::{NetworkInterface, VirtualNetwork, VnetIx};

use super::account::Accounts;
use super::names::within;

/// One constant each; tests override them.
pub(super) struct Limits {
    /// LIM-01, in one region of one subscription.
    vnets: usize,
    /// LIM-10, likewise.
    nics: usize,
    /// LIM-06, ADR-14.
    addresses_of_vnet: usize,
    /// LIM-06, PEER-45: a virtual network with all that it is peered with.
    addresses_of_group: usize,
}

impl Limits {
    pub(super) const AZURE: Self =
        Self { vnets: 1_000, nics: 65_536, addresses_of_vnet: 65_536, addresses_of_group: 128_000 };

    pub(super) fn check(
        &self,
        document: &Document,
        vnets: &[VirtualNetwork],
        nics: &[NetworkInterface],
        accounts: &Accounts,
        report: &mut Report,
    ) {
        let place = |vnet: VnetIx| (vnets[vnet.0].location.as_str(), accounts.subscription(vnet));
        let nics: Vec<_> = nics.iter().filter(|nic| nic.subnet.vnet.0 < vnets.len()).collect();
        let of_place = most((0..vnets.len()).map(|vnet| place(VnetIx(vnet))));
        within(of_place, self.vnets, "virtual networks in one region", "LIM-01", document.at, report);
        let of_place = most(nics.iter().map(|nic| place(nic.subnet.vnet)));
        within(of_place, self.nics, "network interfaces in one region", "LIM-10", document.at, report);

        let mut addresses = vec![0; vnets.len()];
        for nic in nics {
            addresses[nic.subnet.vnet.0] += nic.addresses.len();
        }
        for (i, (vnet, document)) in vnets.iter().zip(&document.virtual_networks).enumerate() {
            let (own, what) = (addresses[i], "private addresses in one virtual network");
            within(own, self.addresses_of_vnet, what, "LIM-06", document.at, report);
            let peers: usize = vnet.peerings.iter().filter_map(|link| addresses.get(link.remote.0)).sum();
            let what = "private addresses in a virtual network and its peers";
            within(own + peers, self.addresses_of_group, what, "LIM-06", document.at, report);
        }
    }
}

/// How many the most frequent one has.
fn most<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> usize {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::config::schema::{self, Lists};
    use crate::config::yaml::tree;

    /// The rules that a small world breaks: a hub with three addresses and two spokes with two each.
    fn broken(limits: &Limits) -> Vec<&'static str> {
        let text = "\
virtualNetworks:
- {name: h, location: w, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24}],
   virtualNetworkPeerings: [{name: ha, remoteVirtualNetwork: a}, {name: hb, remoteVirtualNetwork: b}]}
- {name: a, location: w, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}]}
- {name: b, location: e, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24}]}
virtualMachines:
- {name: vh, networkInterfaces: [{ipConfigurations: [{subnet: h/s}, {subnet: h/s}, {subnet: h/s}]}]}
- {name: va, networkInterfaces: [{subnet: a/s}, {subnet: a/s}]}
- {name: vb, networkInterfaces: [{ipConfigurations: [{subnet: b/s}, {subnet: b/s}]}]}
";
        let network = load(text, "l.yaml").expect("a good file").network;
        let mut report = Report::default();
        let node = tree::parse(text, &mut report).expect("YAML");
        let document = schema::document(&node, Lists::default(), &mut report).expect("a document");
        let (vnets, nics) = (&network.virtual_networks, &network.network_interfaces);
        limits.check(&document, vnets, nics, &Accounts::default(), &mut report);
        report
            .into_result()
            .map_or_else(|errors| errors.0.iter().filter_map(|error| error.rule).collect(), |_| Vec::new())
    }

    #[test]
    fn lim_06_lim_10_peer_45_the_last_that_fits_and_the_first_that_does_not() {
        let fits = || Limits { vnets: 2, nics: 3, addresses_of_vnet: 3, addresses_of_group: 7 };
        assert_eq!(broken(&fits()), Vec::<&str>::new());
        assert_eq!(broken(&Limits { vnets: 1, ..fits() }), ["LIM-01"], "two in one region");
        assert_eq!(broken(&Limits { nics: 2, ..fits() }), ["LIM-10"], "three in one region");
        assert_eq!(broken(&Limits { addresses_of_vnet: 2, ..fits() }), ["LIM-06"]);
        assert_eq!(broken(&Limits { addresses_of_group: 6, ..fits() }), ["LIM-06"], "the hub with both spokes");
        let Limits { addresses_of_group, nics, .. } = Limits::AZURE;
        assert_eq!((addresses_of_group, nics), (128_000, 65_536));
    }
}
