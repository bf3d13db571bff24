//! Azure VMware Solution's private clouds: a /22 that is split in a fixed way, and segments behind it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::programs::Program;
use super::{CircuitIx, Network};

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
    pub segments: Vec<Segment>,
    pub internet: CloudInternet,
    pub run: Program,
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

/// A segment of NSX-T, behind a Tier-1 router (AVS-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub name: String,
    pub prefix: Ipv4Net,
    /// Those that answer.
    pub addresses: Vec<Ipv4Addr>,
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

    /// What it advertises to its circuit.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let networks = NETWORKS.iter().map(|(offset, length)| self.range(*offset, *length));
        networks.chain(self.segments.iter().map(|segment| segment.prefix)).map(IpNet::V4).collect()
    }

    /// The ranges of its circuit's two links.
    pub fn links(block: Ipv4Net) -> [Ipv4Net; 2] {
        PEERING.map(|offset| range(block, offset, 30))
    }

    /// Those that answer: its managers, the machines of its segments, and its hosts.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let workloads = self.segments.iter().flat_map(|segment| &segment.addresses).copied();
        let own = [self.vcenter(), self.nsxt_manager()].into_iter().chain(workloads);
        own.chain(self.hosts()).chain(self.vmotion_hosts()).map(IpAddr::V4).collect()
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
        let segment = Segment { name: "s".to_owned(), prefix: "10.176.1.0/24".parse().unwrap(), addresses: vec![] };
        let cloud = PrivateCloud {
            name: "sddc".to_owned(),
            block,
            circuit: CircuitIx(0),
            segments: vec![segment],
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
    }
}
