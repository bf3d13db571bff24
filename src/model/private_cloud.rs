//! Azure VMware Solution's private clouds: a /22 that is split in a fixed way, and segments behind it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::programs::Program;
use super::{Attachment, CircuitIx, DistributedFirewall, Network};

/// Index of a private cloud in [`Network::private_clouds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloudIx(pub usize);

/// The public address that managed SNAT gives to all private clouds. As that of default outbound access it has no owner.
pub const MANAGED_SNAT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 253);

/// The AS number of private clouds: one of four bytes (AVS-07).
pub const CLOUD_ASN: u32 = 398_656;

/// A private cloud; its circuit is Microsoft's own, made with it (AVS-05).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateCloud {
    pub name: String,
    /// A /22.
    pub block: Ipv4Net,
    pub circuit: CircuitIx,
    /// The name of its Tier-0 router, and those of its Tier-1 routers (AVS-06).
    pub tier0: String,
    pub tier1: Vec<String>,
    pub segments: Vec<Segment>,
    pub firewall: DistributedFirewall,
    pub internet: CloudInternet,
    pub run: Program,
}

/// A router of NSX-T in a private cloud (AVS-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Between the Tier-1 routers and the circuit's edge.
    Zero,
    /// The router of segments, by its index in [`PrivateCloud::tier1`].
    One(usize),
}

/// How the workloads of a private cloud reach the Internet (AVS-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloudInternet {
    /// By a default route from Azure or on-premises, if the circuit brings one.
    #[default]
    Disabled,
    /// By Azure's own source translation, in the cloud: managed SNAT.
    Enabled,
}

impl fmt::Display for CloudInternet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disabled => "Disabled",
            Self::Enabled => "Enabled",
        })
    }
}

/// A segment of NSX-T, behind a Tier-1 router (AVS-06). One that lists its machines is here once for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub name: String,
    /// The machine of this entry. None stands for all workloads of the segment.
    pub machine: Option<String>,
    /// What the node of its workloads is called: `sddc-web`, or `sddc-web1` of one machine.
    pub node: String,
    pub prefix: Ipv4Net,
    /// Its Tier-1 router, by its index in [`PrivateCloud::tier1`].
    pub router: usize,
    /// Those that answer.
    pub addresses: Vec<Ipv4Addr>,
    pub run: Program,
}

impl Segment {
    /// The address of its Tier-1 router in it: ARM's `subnet.gatewayAddress`.
    pub fn gateway_address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.prefix.network().to_bits() + 1)
    }
}

/// The networks that the cloud advertises, by offset into its block and prefix length (AVS-02).
const NETWORKS: [(u32, u8); 7] = [
    // Management.
    (0, 26),
    // HCX management.
    (64, 26),
    // NSX's name server.
    (192, 32),
    // Management of the hosts, and their moves.
    (256, 25),
    (256 + 128, 25),
    // Replication.
    (512, 25),
    // HCX uplink.
    (768, 26),
];
/// The networks that ARM names: management, provisioning and vMotion (AVS-03).
const NAMED: [(u32, u8); 3] = [(0, 26), (256, 25), (256 + 128, 25)];
/// A cloud's first cluster has three hosts; they have the addresses from the fourth on, in each of their networks.
const HOSTS: std::ops::Range<u32> = 4..7;
/// Where the links of the circuit are (AVS-02).
const PEERING: [u32; 2] = [224, 228];
/// Where NSX-T takes the links between its Tier-0 router and its Tier-1 routers from: a /31 for each, which no router
/// advertises (AVS-06).
const ROUTER_LINKS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// AVS-04.
const VCENTER: u32 = 2;
const NSXT_MANAGER: u32 = 3;

impl PrivateCloud {
    /// Whether it uses a route that its circuit advertises: a default route unless Azure has managed SNAT there (AVS-11).
    pub fn takes(&self, prefix: &IpNet) -> bool {
        self.internet == CloudInternet::Disabled || prefix.prefix_len() > 0
    }

    /// ARM's `endpoints.vcsa`.
    pub fn vcenter(&self) -> Ipv4Addr {
        self.address(VCENTER)
    }

    /// ARM's `endpoints.nsxtManager`.
    pub fn nsxt_manager(&self) -> Ipv4Addr {
        self.address(NSXT_MANAGER)
    }

    /// ARM's `managementNetwork`: of vCenter and NSX-T Manager.
    pub fn management_network(&self) -> Ipv4Net {
        self.named(0)
    }

    /// ARM's `provisioningNetwork`: of the hosts' own addresses, which cold migration uses.
    pub fn provisioning_network(&self) -> Ipv4Net {
        self.named(1)
    }

    /// ARM's `vmotionNetwork`
    pub fn vmotion_network(&self) -> Ipv4Net {
        self.named(2)
    }

    /// The hosts' own addresses.
    pub fn hosts(&self) -> Vec<Ipv4Addr> {
        hosts_of(self.provisioning_network())
    }

    /// Where the hosts take machines that move.
    pub fn vmotion_hosts(&self) -> Vec<Ipv4Addr> {
        hosts_of(self.vmotion_network())
    }

    /// The networks that Azure makes in its block.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        NETWORKS.iter().map(|(offset, length)| IpNet::V4(self.range(*offset, *length)))
    }

    /// What it advertises to its circuit.
    pub fn prefixes(&self) -> Vec<IpNet> {
        self.networks().chain(self.ranges().map(|segment| IpNet::V4(segment.prefix))).collect()
    }

    /// The place in the file of an entry's segment.
    pub fn place(&self, segment: usize) -> usize {
        self.ranges().take_while(|other| other.prefix != self.segments[segment].prefix).count()
    }

    /// Every segment once.
    pub fn ranges(&self) -> impl Iterator<Item = &Segment> {
        let is_first = |at: usize| self.segments[..at].iter().all(|before| before.prefix != self.segments[at].prefix);
        self.segments.iter().enumerate().filter(move |(at, _)| is_first(*at)).map(|(_, segment)| segment)
    }

    /// Each router, the Tier-0 router first.
    pub fn routers(&self) -> impl Iterator<Item = Tier> + use<> {
        [Tier::Zero].into_iter().chain((0..self.tier1.len()).map(Tier::One))
    }

    pub fn router_name(&self, tier: Tier) -> &str {
        match tier {
            Tier::Zero => &self.tier0,
            Tier::One(router) => &self.tier1[router],
        }
    }

    /// The router's addresses, with the range of the network that each is in. The first is that of a link between the
    /// tiers: a kernel answers from it where no other one is nearer.
    pub fn router_addresses(&self, tier: Tier) -> Vec<Ipv4Net> {
        let link = |router: usize, end: u32| {
            let number = u32::try_from(2 * router).unwrap_or(u32::MAX / 2) + end;
            Ipv4Net::new_assert(Ipv4Addr::from_bits(ROUTER_LINKS.to_bits().saturating_add(number)), 31)
        };
        match tier {
            Tier::Zero => (0..self.tier1.len()).map(|router| link(router, 0)).collect(),
            Tier::One(router) => {
                let segments = self.ranges().filter(|segment| segment.router == router);
                let own = segments.map(|it| Ipv4Net::new_assert(it.gateway_address(), it.prefix.prefix_len()));
                [link(router, 1)].into_iter().chain(own).collect()
            }
        }
    }

    /// The ranges of its circuit's two links.
    pub fn links(block: Ipv4Net) -> [Ipv4Net; 2] {
        PEERING.map(|offset| range(block, offset, 30))
    }

    /// Those of the cloud's own node that answer: its managers and its hosts.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let managers = [self.vcenter(), self.nsxt_manager()].into_iter();
        managers.chain(self.hosts()).chain(self.vmotion_hosts()).map(IpAddr::V4).collect()
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.block.network().to_bits() + offset)
    }

    fn named(&self, which: usize) -> Ipv4Net {
        let (offset, length) = NAMED[which];
        self.range(offset, length)
    }

    fn range(&self, offset: u32, length: u8) -> Ipv4Net {
        range(self.block, offset, length)
    }
}

fn hosts_of(network: Ipv4Net) -> Vec<Ipv4Addr> {
    HOSTS.map(|host| Ipv4Addr::from_bits(network.network().to_bits() + host)).collect()
}

fn range(block: Ipv4Net, offset: u32, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(block.network().to_bits() + offset), length)
}

impl Network {
    pub fn cloud(&self, cloud: CloudIx) -> &PrivateCloud {
        &self.private_clouds[cloud.0]
    }

    pub fn segment(&self, cloud: CloudIx, segment: usize) -> &Segment {
        &self.cloud(cloud).segments[segment]
    }

    /// Every private cloud with its index.
    pub fn clouds(&self) -> impl Iterator<Item = (CloudIx, &PrivateCloud)> {
        (0..).map(CloudIx).zip(&self.private_clouds)
    }

    /// The private cloud at the end of a circuit.
    pub fn cloud_on(&self, circuit: CircuitIx) -> Option<(CloudIx, &PrivateCloud)> {
        self.clouds().find(|(_, cloud)| cloud.circuit == circuit)
    }

    /// The ranges of the segments of a circuit's private cloud: its managers and hosts reach them by the circuit's edge.
    pub fn segments_behind(&self, circuit: CircuitIx) -> impl Iterator<Item = IpNet> {
        let cloud = self.cloud_on(circuit).map(|(_, cloud)| cloud);
        cloud.into_iter().flat_map(PrivateCloud::ranges).map(|segment| IpNet::V4(segment.prefix))
    }

    /// The routers of private clouds and their segments. A cloud without a segment has no Tier-1 router, and nothing to
    /// forward.
    pub fn cloud_attachments(&self) -> impl Iterator<Item = Attachment> {
        self.clouds().filter(|(_, cloud)| !cloud.segments.is_empty()).flat_map(|(ix, cloud)| {
            let routers = cloud.routers().map(move |tier| Attachment::CloudRouter(ix, tier));
            routers.chain((0..cloud.segments.len()).map(move |segment| Attachment::Segment(ix, segment)))
        })
    }

    /// The cloud at the end of a circuit that Azure translates the sources of, where there is an Internet.
    pub fn translated_cloud(&self, circuit: CircuitIx) -> Option<&PrivateCloud> {
        self.internet.as_ref()?;
        let translated = |cloud: &&PrivateCloud| cloud.circuit == circuit && cloud.internet == CloudInternet::Enabled;
        self.private_clouds.iter().find(translated)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// AVS-02, AVS-04: as Azure splits the block.
    #[test]
    fn avs_02_a_block_is_split() {
        let block = "10.175.0.0/22".parse().unwrap();
        let segment = Segment {
            name: "s".to_owned(),
            machine: None,
            node: "sddc-s".to_owned(),
            prefix: "10.176.1.0/24".parse().unwrap(),
            router: 0,
            addresses: vec![],
            run: Program::default(),
        };
        let cloud = PrivateCloud {
            name: "sddc".to_owned(),
            block,
            circuit: CircuitIx(0),
            tier0: "sddc-T0".to_owned(),
            tier1: vec!["sddc-T1".to_owned()],
            segments: vec![segment.clone()],
            firewall: DistributedFirewall::default(),
            internet: CloudInternet::Disabled,
            run: Program::default(),
        };
        let prefixes: Vec<_> = cloud.prefixes().iter().map(ToString::to_string).collect();
        let expected = [
            "10.175.0.0/26",
            "10.175.0.64/26",
            "10.175.0.192/32",
            "10.175.1.0/25",
            "10.175.1.128/25",
            "10.175.2.0/25",
            "10.175.3.0/26",
            "10.176.1.0/24",
        ];
        assert_eq!(prefixes, expected);
        assert_eq!((cloud.vcenter(), cloud.nsxt_manager()), ([10, 175, 0, 2].into(), [10, 175, 0, 3].into()));
        let named = [cloud.management_network(), cloud.provisioning_network(), cloud.vmotion_network()];
        assert_eq!(named.map(|network| network.to_string()), ["10.175.0.0/26", "10.175.1.0/25", "10.175.1.128/25"]);
        assert!(named.iter().all(|network| cloud.prefixes().contains(&IpNet::V4(*network))), "each is advertised");
        let hosts = |all: Vec<Ipv4Addr>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(hosts(cloud.hosts()), "10.175.1.4 10.175.1.5 10.175.1.6");
        assert_eq!(hosts(cloud.vmotion_hosts()), "10.175.1.132 10.175.1.133 10.175.1.134");
        assert_eq!(PrivateCloud::links(block).map(|link| link.to_string()), ["10.175.0.224/30", "10.175.0.228/30"]);
        let [everything, some] = ["0.0.0.0/0", "10.0.0.0/8"].map(|prefix| prefix.parse().unwrap());
        let managed = PrivateCloud { internet: CloudInternet::Enabled, ..cloud.clone() };
        assert!(cloud.takes(&everything) && cloud.takes(&some) && managed.takes(&some));
        assert!(!managed.takes(&everything), "Azure's own translation serves it (AVS-11)");
        let second = Segment { name: "t".to_owned(), prefix: "10.176.2.0/25".parse().unwrap(), router: 1, ..segment };
        let tier1 = vec!["sddc-T1".to_owned(), "sddc-T1-2".to_owned()];
        let two = PrivateCloud { tier1, segments: vec![cloud.segments[0].clone(), second], ..cloud };
        let of = |tier| two.router_addresses(tier).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        // Each link between the tiers has both of its ends.
        assert_eq!(of(Tier::Zero), "100.64.0.0/31 100.64.0.2/31");
        assert_eq!(of(Tier::One(0)), "100.64.0.1/31 10.176.1.1/24");
        assert_eq!(of(Tier::One(1)), "100.64.0.3/31 10.176.2.1/25");
    }
}
