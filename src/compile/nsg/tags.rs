//! Service tags as one subnet's interfaces see them (TAG-02): the same tag means other addresses elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::azure::address::{IPV6_ROUTER, PLATFORM};
use crate::compile::memo::Same;
use crate::compile::routes::Target;
use crate::compile::routes::prefixes::difference;
use crate::compile::routes::user_routes::UserRoutes;
use crate::compile::routes::vnet_context::Surroundings;
use crate::model::{AddressPrefix, Network, ServiceTag};

use super::groups::Groups;
use super::platform;

/// What tag(Internet) never holds, in any VNet (TAG-10).
const NOT_PUBLIC: [Ipv4Net; 9] = [
    v4(0, 0, 8),
    v4(10, 0, 8),
    v4(100, 64, 10),
    v4(127, 0, 8),
    v4(169, 254, 16),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(224, 0, 3),
    Ipv4Net::new_assert(PLATFORM, 32),
];

/// All public IPv6.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The tags of one subnet, expanded to the fewest prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Tags {
    virtual_network: Arc<[IpNet]>,
    internet: Arc<[IpNet]>,
}

/// All that a subnet's tags follow from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct TagSources {
    pub(in crate::compile) surroundings: Same<Surroundings>,
    pub(in crate::compile) table: Option<Same<UserRoutes>>,
}

impl Tags {
    pub(in crate::compile) fn of(sources: &TagSources) -> Self {
        let virtual_network = virtual_network(sources);
        let everything = [IpNet::from(Ipv4Net::default()), GLOBAL_UNICAST.into()];
        let excluded: Vec<_> = NOT_PUBLIC.map(IpNet::from).into_iter().chain(virtual_network.iter().copied()).collect();
        let internet = IpNet::aggregate(&difference(&everything, &excluded));
        Self { internet: internet.into(), virtual_network: virtual_network.into() }
    }
}

/// What an address field of a rule names, in any subnet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Field {
    /// What is the same everywhere, as the fewest prefixes.
    everywhere: Arc<[IpNet]>,
    virtual_network: bool,
    internet: bool,
}

/// What the address fields of rules mean. Fields that mean the same share one list, since a tag may have ten thousand
/// prefixes and many rules may name it.
pub(in crate::compile) struct AddressLists<'a> {
    network: &'a Network,
    pub(in crate::compile) groups: Groups,
    fields: HashMap<Vec<AddressPrefix>, Field, RandomState>,
    expanded: HashMap<(Field, Same<Tags>), Arc<[IpNet]>, RandomState>,
}

impl<'a> AddressLists<'a> {
    pub(in crate::compile) fn new(network: &'a Network) -> Self {
        Self { network, groups: Groups::of(network), fields: HashMap::default(), expanded: HashMap::default() }
    }

    pub(in crate::compile) fn field(&mut self, written: &[AddressPrefix]) -> Field {
        if let Some(known) = self.fields.get(written) {
            return known.clone();
        }
        let named = |prefix| named(self.network, &self.groups, prefix);
        let has = |tag| written.contains(&AddressPrefix::Tag(tag));
        let field = Field {
            everywhere: IpNet::aggregate(&written.iter().flat_map(named).collect()).into(),
            virtual_network: has(ServiceTag::VirtualNetwork),
            internet: has(ServiceTag::Internet),
        };
        self.fields.insert(written.to_vec(), field.clone());
        field
    }

    /// The fewest prefixes that cover what a field names in the subnets that have these tags.
    pub(in crate::compile) fn expand(&mut self, field: &Field, tags: &Same<Tags>) -> Arc<[IpNet]> {
        let own = [(field.virtual_network, &tags.virtual_network), (field.internet, &tags.internet)];
        let own = own.into_iter().filter(|(named, _)| *named).map(|(_, list)| list);
        let mut lists = own.chain((!field.everywhere.is_empty()).then_some(&field.everywhere));
        match (lists.next(), lists.next()) {
            (None, _) => Arc::clone(&field.everywhere),
            (Some(only), None) => Arc::clone(only),
            (Some(first), Some(second)) => {
                let all = || [first, second].into_iter().chain(lists).flat_map(|list| list.iter().copied()).collect();
                let list = self.expanded.entry((field.clone(), tags.clone()));
                Arc::clone(list.or_insert_with(|| IpNet::aggregate(&all()).into()))
            }
        }
    }
}

/// The prefixes that stand in a field's place in every subnet.
fn named(network: &Network, groups: &Groups, field: &AddressPrefix) -> Vec<IpNet> {
    match field {
        AddressPrefix::Any => vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
        AddressPrefix::Prefix(prefix) => vec![*prefix],
        AddressPrefix::Group(group) => groups.addresses(*group).to_vec(),
        AddressPrefix::Tag(ServiceTag::VirtualNetwork | ServiceTag::Internet) => Vec::new(),
        AddressPrefix::Tag(ServiceTag::AzureLoadBalancer) => azure_load_balancer(),
        AddressPrefix::Tag(ServiceTag::Published(tag)) => network.service_tag(*tag).prefixes.to_vec(),
        AddressPrefix::Tag(ServiceTag::Platform(service)) => platform::addresses(*service),
    }
}

/// The VNet's space, the peers that access is allowed to, what its gateways lead to, the platform, and what the
/// subnet's routes say belongs to the network (TAG-01, TAG-03 to TAG-06). A peer's own peers are not in it (TAG-08).
fn virtual_network(TagSources { surroundings, table }: &TagSources) -> Vec<IpNet> {
    let own = surroundings.space.iter().copied();
    let peers = surroundings.peers.iter().filter(|peer| peer.access).flat_map(|peer| peer.space.iter().copied());
    let gateway = surroundings.gateways.routes.iter().map(|route| route.prefix);
    let routes = table.iter().flat_map(|table| &table.rows).filter(|row| match row.target {
        Target::Appliance(_) | Target::Spread | Target::Gateway(_) | Target::Own => row.tag.is_none(),
        Target::Vnet(_) | Target::Internet | Target::Service | Target::None => false,
    });
    let routes = routes.flat_map(|row| row.route.prefixes.iter().copied());
    let all = own.chain(peers).chain(gateway).chain(routes).chain([IpAddr::from(PLATFORM).into()]);
    IpNet::aggregate(&all.collect())
}

/// The load balancer's probes, not its clients (TAG-12).
fn azure_load_balancer() -> Vec<IpNet> {
    vec![IpAddr::from(PLATFORM).into(), IpAddr::from(IPV6_ROUTER).into()]
}

const fn v4(a: u8, b: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length)
}
