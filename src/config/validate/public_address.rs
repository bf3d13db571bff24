//! Public addresses, NAT gateways and the Internet (SNAT, NAT, PIP, LIM-08, LIM-25).
//!
//! One idea: a public address belongs to one user at most, so every use is a claim, and the second claim is the
//! mistake.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::schema::{self, Allocation, Document, IpVersion, Reference, public_address as written};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    Internet, Leases, NatGateway, NatGatewayIx, NetworkInterface, OWNERLESS, PublicIpAddress, PublicIpIx,
    PublicIpPrefix, PublicIpSku, PublicPrefixIx, VirtualNetwork, is_routable,
};

use super::names::{Names, or_unnamed, within};

/// Where public addresses are taken from that a file does not state: documentation ranges (RFC 5737, RFC 3849).
const DYNAMIC_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 0);
const DYNAMIC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfeed, 0, 0, 0, 0, 0);
/// Addresses of either range, from the fifth on.
const DYNAMIC: std::ops::Range<u8> = 4..254;

/// The Internet's addresses if the file has none: addresses that no service tag of ours has (RFC 2544, RFC 3849).
const INTERNET: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1))];

/// NAT-04, where the file says nothing.
const IDLE_MINUTES: u64 = 4;

/// Everything public that a file writes down.
pub(super) struct Public<'a> {
    names: Names,
    pub(super) addresses: Vec<PublicIpAddress>,
    pub(super) prefixes: Vec<PublicIpPrefix>,
    pub(super) nat_gateways: Vec<NatGateway>,
    pub(super) internet: Option<Internet>,
    gateway_names: Names,
    /// Those written inside an IP configuration, by where they stand.
    inline: HashMap<*const written::PublicIpAddress, PublicIpIx>,
    /// By address: its owner, for messages.
    claims: HashMap<PublicIpIx, String>,
    written: Vec<&'a written::PublicIpAddress>,
}

impl<'a> Public<'a> {
    pub(super) fn of(document: &'a Document, leases: &Leases, report: &mut Report) -> Self {
        let mut written: Vec<_> = document.public_ip_addresses.iter().collect();
        let listed = written.len();
        let configurations = document.virtual_machines.iter().flat_map(|vm| &vm.network_interfaces);
        let configurations = configurations.flat_map(|nic| &nic.ip_configurations);
        written.extend(configurations.filter_map(|configuration| match &configuration.public.as_ref()?.value {
            written::InstanceAddress::Inline(written) => Some(&**written),
            written::InstanceAddress::Named(_) => None,
        }));
        let names = Names::of("public IP address", written.iter().map(|written| &written.name), report);
        let inline = written.iter().enumerate().skip(listed);
        let inline = inline.map(|(i, written)| (std::ptr::from_ref(*written), PublicIpIx(i))).collect();
        let prefixes = prefixes(document, report);
        let internet = internet(document, report);
        let mut taken: BTreeSet<IpAddr> = internet.iter().flat_map(|internet| internet.addresses.clone()).collect();
        taken.extend(OWNERLESS.map(IpAddr::from));
        let addresses = addresses(&written, leases, &prefixes, taken, report);
        let mut public = Self {
            names,
            addresses,
            prefixes,
            nat_gateways: Vec::new(),
            internet,
            gateway_names: Names::of("NAT gateway", document.nat_gateways.iter().map(|gateway| &gateway.name), report),
            inline,
            claims: HashMap::new(),
            written,
        };
        let prefix_names =
            Names::of("public IP prefix", document.public_ip_prefixes.iter().map(|prefix| &prefix.name), report);
        let mut served = HashSet::new();
        let gateways = document.nat_gateways.iter();
        public.nat_gateways =
            gateways.map(|gateway| public.nat_gateway(gateway, &prefix_names, &mut served, report)).collect();
        public
    }

    /// The gateway that a subnet names.
    pub(super) fn find_gateway(&self, reference: &Reference, report: &mut Report) -> Option<NatGatewayIx> {
        self.gateway_names.find(reference, report).map(NatGatewayIx)
    }

    /// The public address of an IP configuration, which is its alone.
    pub(super) fn find(
        &mut self,
        public: &Spanned<written::InstanceAddress>,
        holder: &str,
        report: &mut Report,
    ) -> Option<PublicIpIx> {
        let ix = match &public.value {
            written::InstanceAddress::Named([name]) => self.names.named(name, public.at, report).map(PublicIpIx)?,
            written::InstanceAddress::Inline(written) => *self.inline.get(&std::ptr::from_ref(&**written))?,
        };
        self.claim(ix, holder.to_owned(), public.at, report);
        Some(ix)
    }

    /// One of the listed ones, for an owner other than an IP configuration of a machine.
    pub(super) fn find_named(
        &mut self,
        reference: &Spanned<[String; 1]>,
        holder: &str,
        report: &mut Report,
    ) -> Option<PublicIpIx> {
        let [name] = &reference.value;
        let ix = self.names.named(name, reference.at, report).map(PublicIpIx)?;
        self.claim(ix, holder.to_owned(), reference.at, report);
        Some(ix)
    }

    /// Which of a configuration's addresses it stands in front of: the one of its own IP version.
    pub(super) fn version_for(&self, ix: PublicIpIx, versions: &[IpVersion], at: At, report: &mut Report) -> IpVersion {
        let PublicIpAddress { name, address, .. } = &self.addresses[ix.0];
        let version = if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        if !versions.contains(&version) {
            report
                .error(at, format!("public IP address `{name}`, {address}, is of the other IP version"))
                .rule("PIP-01")
                .expected("a public and a private address of one version");
        }
        version
    }

    fn nat_gateway(
        &mut self,
        gateway: &written::NatGateway,
        prefixes: &Names,
        served: &mut HashSet<usize>,
        report: &mut Report,
    ) -> NatGateway {
        let name = or_unnamed(&gateway.name);
        let holder = format!("NAT gateway `{name}`");
        let mut addresses = Vec::new();
        for reference in &gateway.addresses {
            let [public] = &reference.value;
            let Some(ix) = self.names.named(public, reference.at, report).map(PublicIpIx) else { continue };
            self.claim(ix, holder.clone(), reference.at, report);
            self.check_gateway_address(ix, reference.at, report);
            addresses.push(ix);
        }
        let mut ranges = Vec::new();
        for reference in &gateway.prefixes {
            let [prefix] = &reference.value;
            let Some(ix) = prefixes.named(prefix, reference.at, report) else { continue };
            if !served.insert(ix) {
                report
                    .error(reference.at, format!("public IP prefix `{prefix}` serves a NAT gateway already"))
                    .rule("NAT-02")
                    .expected("a prefix for each gateway");
            }
            ranges.push(PublicPrefixIx(ix));
        }
        let held = |prefix: &PublicPrefixIx| match self.prefixes[prefix.0].prefix {
            IpNet::V4(prefix) => 1_usize << (32 - prefix.prefix_len()),
            IpNet::V6(_) => 0,
        };
        let all = addresses.len() + ranges.iter().map(held).sum::<usize>();
        within(all, 16, "public addresses of one NAT gateway", "NAT-02", gateway.at, report);
        let minutes = gateway.idle_minutes.as_ref().map_or(IDLE_MINUTES, |minutes| minutes.value);
        NatGateway { name, addresses, prefixes: ranges, idle_timeout: Duration::from_secs(60 * minutes) }
    }

    fn check_gateway_address(&self, ix: PublicIpIx, at: At, report: &mut Report) {
        let PublicIpAddress { name, address, sku } = &self.addresses[ix.0];
        if *sku == PublicIpSku::Basic {
            report
                .error(at, format!("public IP address `{name}` is Basic, a NAT gateway takes Standard ones"))
                .rule("NAT-06")
                .expected("`sku: {name: Standard}`");
        }
        if address.is_ipv6() {
            report.error(at, format!("{address} cannot serve a NAT gateway")).rule("NAT-02").expected("IPv4 addresses");
        }
    }

    fn claim(&mut self, ix: PublicIpIx, holder: String, at: At, report: &mut Report) {
        let name = &self.addresses[ix.0].name;
        if let Some(first) = self.claims.get(&ix) {
            report
                .error(at, format!("public IP address `{name}` is already allocated to {first}"))
                .code("PublicIPAddressInUse")
                .rule("PIP-01")
                .expected("a public address of its own");
            return;
        }
        self.claims.insert(ix, holder);
    }

    /// NAT-06: a NAT gateway and a Basic public address do not stand in one subnet.
    pub(super) fn check_subnets(
        &self,
        vnets: &[VirtualNetwork],
        nics: &[NetworkInterface],
        document: &Document,
        report: &mut Report,
    ) {
        let documents = document.virtual_machines.iter().flat_map(|vm| &vm.network_interfaces);
        for (nic, written) in nics.iter().zip(documents) {
            let subnet = vnets.get(nic.subnet.vnet.0).and_then(|vnet| vnet.subnets.get(nic.subnet.subnet));
            let basic = nic.public_addresses.iter().find(|one| self.addresses[one.public.0].sku == PublicIpSku::Basic);
            let (Some(subnet), Some(basic)) = (subnet.filter(|subnet| subnet.nat_gateway.is_some()), basic) else {
                continue;
            };
            let name = &self.addresses[basic.public.0].name;
            let message =
                format!("public IP address `{name}` is Basic, and subnet `{}` has a NAT gateway", subnet.name);
            report
                .error(written.at, message)
                .code("SubnetWithNatGatewayAndBasicSkuResourceNotAllowed")
                .rule("NAT-06")
                .expected("`sku: {name: Standard}`");
        }
    }

    /// PIP-06: what is retired.
    pub(super) fn warn(&self, report: &mut Report) {
        let basic = self.written.iter().filter_map(|written| written.sku.as_ref());
        for sku in basic.filter(|sku| sku.value == PublicIpSku::Basic) {
            report
                .warning(sku.at, "Basic public addresses were retired on 30 September 2025")
                .rule("PIP-06")
                .expected("`sku: {name: Standard}`, which is closed to the Internet until an NSG allows it");
        }
    }
}

/// The gateway of a subnet, which is not one that gateways live in (NAT-01).
pub(super) fn subnet_gateway(
    subnet: &schema::Subnet,
    public: &Public<'_>,
    report: &mut Report,
) -> Option<NatGatewayIx> {
    let reference = subnet.nat_gateway.as_ref()?;
    if subnet.name.as_ref().is_some_and(|name| name.value == "GatewaySubnet") {
        report.error(reference.at, "GatewaySubnet takes no NAT gateway").rule("NAT-01").help("leave `natGateway` out");
    }
    public.find_gateway(&subnet.nat_gateway, report)
}

fn prefixes(document: &Document, report: &mut Report) -> Vec<PublicIpPrefix> {
    let mut known: Vec<IpNet> = Vec::new();
    let read = |written: &written::PublicIpPrefix| {
        let prefix = written.prefix.as_ref();
        if let Some(prefix) = prefix {
            check_prefix(prefix, written.length.as_ref(), &known, report);
            known.push(prefix.value);
        }
        // Without a range the report has an error and the network will not be used.
        let prefix = prefix.map_or_else(|| IpAddr::from(Ipv4Addr::UNSPECIFIED).into(), |prefix| prefix.value);
        PublicIpPrefix { name: or_unnamed(&written.name), prefix }
    };
    document.public_ip_prefixes.iter().map(read).collect()
}

fn check_prefix(prefix: &Spanned<IpNet>, length: Option<&Spanned<u8>>, known: &[IpNet], report: &mut Report) {
    let range = prefix.value;
    if !is_routable(range.addr()) || OWNERLESS.iter().any(|address| range.contains(&IpAddr::from(*address))) {
        report
            .error(prefix.at, format!("{range} cannot be public"))
            .rule("NAT-02")
            .expected("a range of public addresses");
    }
    if let Some(other) = known.iter().find(|other| other.contains(&range) || range.contains(*other)) {
        report.error(prefix.at, format!("{range} overlaps {other}")).rule("NAT-02").expected("prefixes apart");
    }
    if let Some(length) = length.filter(|length| length.value != range.prefix_len()) {
        report
            .error(length.at, format!("`prefixLength` is {}, and `ipPrefix` {range}", length.value))
            .expected("the same");
    }
}

/// Static ones first, then those already allocated, then the lowest that are free: as for private addresses (ADR-09).
fn addresses(
    written: &[&written::PublicIpAddress],
    leases: &Leases,
    prefixes: &[PublicIpPrefix],
    mut taken: BTreeSet<IpAddr>,
    report: &mut Report,
) -> Vec<PublicIpAddress> {
    for stated in written.iter().filter_map(|written| written.address.as_ref()) {
        check_stated(stated, &mut taken, report);
        if let Some(prefix) = prefixes.iter().find(|prefix| prefix.prefix.contains(&stated.value)) {
            report
                .error(stated.at, format!("{} is of public IP prefix `{}`", stated.value, prefix.name))
                .expected("an address beside the prefixes");
        }
    }
    let free = |address: IpAddr, taken: &BTreeSet<IpAddr>| {
        !taken.contains(&address) && !prefixes.iter().any(|range| range.prefix.contains(&address))
    };
    let mut made = Vec::new();
    for written in written {
        let name = or_unnamed(&written.name);
        let version = written.version.as_ref().map_or(IpVersion::V4, |version| version.value);
        let stated = written.address.as_ref().map(|stated| stated.value);
        let held = || leases.held_by_public_address(&name).filter(|address| free(*address, &taken));
        let next = || DYNAMIC.map(|n| dynamic(version, n)).find(|address| free(*address, &taken));
        let address = stated.or_else(held).or_else(next);
        if address.is_none() {
            report.error(written.at, "no public address is left").expected("an `ipAddress`");
        }
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        taken.insert(address);
        check_allocation(written, address, report);
        let sku = written.sku.as_ref().map_or_else(PublicIpSku::default, |sku| sku.value);
        made.push(PublicIpAddress { name, address, sku });
    }
    made
}

fn check_stated(stated: &Spanned<IpAddr>, taken: &mut BTreeSet<IpAddr>, report: &mut Report) {
    let address = stated.value;
    if !is_routable(address) {
        report
            .error(stated.at, format!("{address} is not a public address"))
            .rule("PIP-01")
            .expected("an address that the Internet carries, such as 203.0.113.10");
    }
    if !taken.insert(address) {
        report
            .error(stated.at, format!("{address} is taken already"))
            .rule("PIP-01")
            .expected("another public address");
    }
}

fn check_allocation(written: &written::PublicIpAddress, address: IpAddr, report: &mut Report) {
    let is_standard = written.sku.as_ref().is_none_or(|sku| sku.value == PublicIpSku::Standard);
    if let Some(method) = &written.allocation
        && method.value == Allocation::Dynamic
        && is_standard
    {
        report
            .error(method.at, "a Standard public address is allocated statically")
            .rule("PIP-01")
            .expected("`publicIPAllocationMethod: Static`");
    }
    if let Some(version) = &written.version
        && (version.value == IpVersion::V4) != address.is_ipv4()
    {
        report.error(version.at, format!("{address} is of the other IP version")).rule("PIP-01");
    }
}

fn dynamic(version: IpVersion, n: u8) -> IpAddr {
    match version {
        IpVersion::V4 => Ipv4Addr::from_bits(DYNAMIC_V4.to_bits() + u32::from(n)).into(),
        IpVersion::V6 => Ipv6Addr::from_bits(DYNAMIC_V6.to_bits() + u128::from(n)).into(),
    }
}

fn internet(document: &Document, report: &mut Report) -> Option<Internet> {
    let internet = document.internet.as_ref()?;
    let named = document.virtual_machines.iter().filter_map(|vm| vm.name.as_ref());
    for name in named.filter(|name| name.value.eq_ignore_ascii_case(Internet::NAME)) {
        report.error(name.at, "`internet` is the node of the Internet").expected("another name for this machine");
    }
    let stated = internet.value.addresses.as_ref();
    let mut addresses = Vec::new();
    for stated in stated.iter().flat_map(|stated| &stated.value) {
        if !is_routable(stated.value)
            || addresses.contains(&stated.value)
            || OWNERLESS.iter().any(|address| stated.value == IpAddr::from(*address))
        {
            report
                .error(stated.at, format!("{} cannot stand here", stated.value))
                .rule("UDR-15")
                .expected("public addresses, each once");
        }
        addresses.push(stated.value);
    }
    if addresses.is_empty() {
        addresses.extend(INTERNET);
    }
    Some(Internet { addresses, run: internet.value.run.clone(), host_egress: internet.value.host_egress })
}
