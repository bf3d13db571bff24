//! The edge of the fabric out of public addresses, NAT gateways and subnets (SNAT-01 to SNAT-04, NAT-01, PIP-01).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::compile::routes::prefixes::difference;
use crate::compile::{Ids, Sender, edge_id};
use crate::dataplane::{CloudEgress, Edge, Egress, IdleReset, PoolId, PortPool, Ports, PublicOwner};
use crate::model::{
    DEFAULT_OUTBOUND, Internet, LoadBalancer, MANAGED_SNAT, NatGateway, Network, NetworkInterface, SubnetIx, unroutable,
};

use super::{balancer, outbound};

/// What the platform's own outbound access does with an idle flow (SNAT-02): as a NAT gateway by default, without
/// resets.
const DEFAULT_IDLE_SECS: u16 = 240;

/// None where the network has no Internet.
pub(in crate::compile) fn of(network: &Network, ids: &Ids) -> Option<Edge> {
    let internet = ids.nic(Sender::Internet)?;
    let hosts = network.internet.iter().flat_map(hosts).map(|range| (range, ())).collect();
    let (mut pools, public) = pools(network);
    let default_outbound = PoolId(pools.len() as u32 - 1);
    let mut allocated = outbound::allocate(network, &mut pools);
    let frontends = balancer::numbered(network).filter_map(|(id, at)| {
        let frontend = &network.load_balancers[at.balancer].frontends[at.frontend];
        let public = frontend.subnet().is_none();
        public.then(|| (IpNet::from(frontend.address), PublicOwner::Frontend(id)))
    });
    let (senders, _) = ids.slots();
    let mut instances = Vec::new();
    let mut egress = vec![Egress::default(); senders.len()];
    for (id, sender) in ids.senders() {
        let Some((subnet, nic)) = sender.guest(network) else { continue };
        let nic = nic.map(|nic| network.nic(nic));
        let balanced = sender.nic().and_then(|nic| allocated.remove(&nic)).unwrap_or_default();
        let balanced = balanced.into();
        egress[id.0 as usize] = Egress { balanced, ..self::egress(network, subnet, nic, default_outbound) };
        instances.extend(
            egress[id.0 as usize]
                .instances
                .iter()
                .map(|(private, public)| (IpNet::from(*public), PublicOwner::Instance { nic: id, private: *private })),
        );
    }
    let snat = managed_snat(network, ids, &mut pools, &mut egress);
    let public = public.into_iter().chain(snat).chain(instances).chain(frontends).collect();
    Some(Edge { internet, hosts, public, pools, egress })
}

/// The ports that private clouds share, if one of them needs any (AVS-11).
fn managed_snat(
    network: &Network,
    ids: &Ids,
    pools: &mut Vec<PortPool>,
    egress: &mut [Egress],
) -> Option<(IpNet, PublicOwner)> {
    let pool = PoolId(pools.len() as u32);
    let mut some = false;
    for (circuit, _) in network.circuits().filter(|(circuit, _)| network.translated_cloud(*circuit).is_some()) {
        let Some(own) = ids.nic(Sender::Edge(circuit)) else { continue };
        egress[own.0 as usize].cloud = Some(CloudEgress { pool, gateway: edge_id(network, circuit) });
        some = true;
    }
    some.then(|| {
        pools.push(PortPool {
            ports: Box::new([Ports::all(MANAGED_SNAT.into())]),
            preallocated: false,
            echoes: false,
            tcp_idle_secs: DEFAULT_IDLE_SECS,
            idle_reset: IdleReset::None,
        });
        (IpAddr::from(MANAGED_SNAT).into(), PublicOwner::Pool(pool))
    })
}

/// What the Internet has: its own addresses, and through the host what that carries over IPv4.
fn hosts(internet: &Internet) -> Vec<IpNet> {
    let mut all: Vec<_> = internet.addresses.iter().copied().map(IpNet::from).collect();
    if internet.host_egress {
        all.extend(difference(&[Ipv4Net::default().into()], &unroutable().collect::<Vec<_>>()));
    }
    all
}

/// The pools of the NAT gateways in their order, then the one of default outbound access; and the owner of each
/// address.
fn pools(network: &Network) -> (Vec<PortPool>, Vec<(IpNet, PublicOwner)>) {
    let gateways = network.nat_gateways.iter().map(|gateway| pool(network, gateway));
    let shared = PortPool {
        ports: Box::new([Ports::all(DEFAULT_OUTBOUND.into())]),
        preallocated: false,
        echoes: false,
        tcp_idle_secs: DEFAULT_IDLE_SECS,
        idle_reset: IdleReset::None,
    };
    let pools: Vec<_> = gateways.chain([shared]).collect();
    let owner = |(id, pool): (u32, &PortPool)| {
        let address = |ports: &Ports| (ports.address.into(), PublicOwner::Pool(PoolId(id)));
        pool.ports.iter().map(address).collect::<Vec<_>>()
    };
    let public = (0..).zip(&pools).flat_map(owner).collect();
    (pools, public)
}

/// All addresses of its prefixes serve, the first and the last included.
fn pool(network: &Network, gateway: &NatGateway) -> PortPool {
    let addresses = gateway.addresses.iter().map(|address| network.public_ip(*address).address.into());
    let prefixes = gateway.prefixes.iter().map(|prefix| network.public_ip_prefixes[prefix.0].prefix);
    let ranges = addresses.chain(prefixes).filter_map(|range| match range {
        IpNet::V4(range) => Some(range),
        IpNet::V6(_) => None,
    });
    PortPool {
        ports: ranges
            .flat_map(|range| (range.network().to_bits()..=range.broadcast().to_bits()).map(Ipv4Addr::from))
            .map(|address| Ports::all(address.into()))
            .collect(),
        preallocated: false,
        echoes: false,
        tcp_idle_secs: u16::try_from(gateway.idle_timeout.as_secs()).unwrap_or(u16::MAX),
        idle_reset: IdleReset::OnNextPacket,
    }
}

/// The outbound translations of a sender. A NAT gateway without an address serves none. Default outbound access is
/// for senders with nothing else: a public address on any interface of a machine is something else (SNAT-04), and so is
/// a load balancer, even an internal one, which gives no outbound access (LB-44).
fn egress(network: &Network, subnet: SubnetIx, nic: Option<&NetworkInterface>, shared: PoolId) -> Egress {
    let of_subnet = network.subnet(subnet);
    let gateway = of_subnet.nat_gateway.filter(|gateway| {
        let gateway = network.nat_gateway(*gateway);
        !gateway.addresses.is_empty() || !gateway.prefixes.is_empty()
    });
    let instances = nic.into_iter().flat_map(|nic| &nic.public_addresses);
    let machine = nic.map(|nic| network.vm(nic.virtual_machine));
    let mut siblings = machine.into_iter().flat_map(|machine| &machine.network_interfaces);
    let balanced = nic.is_some_and(|nic| is_balanced(network, nic));
    let explicit = balanced || gateway.is_some() || siblings.any(|nic| !network.nic(*nic).public_addresses.is_empty());
    Egress {
        nat_gateway: gateway.map(|gateway| PoolId(gateway.0 as u32)),
        instances: instances.map(|one| (one.private, network.public_ip(one.public).address)).collect(),
        balanced: Box::default(),
        default_outbound: (!explicit && of_subnet.has_default_outbound_access()).then_some(shared),
        cloud: None,
    }
}

/// Whether an interface is behind a load balancer.
fn is_balanced(network: &Network, nic: &NetworkInterface) -> bool {
    let mut backends = network.load_balancers.iter().flat_map(LoadBalancer::backends);
    backends.any(|backend| std::ptr::eq(network.nic(backend.nic), nic))
}
