//! Virtual machines and their interfaces (NIC-01, ADR-08 to ADR-10, ADR-13).
//!
//! Addresses need two passes over all machines, static ones before dynamic ones; so the interfaces are first written
//! down with the addresses that they want, then the pool serves the wishes, then the interfaces are made.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::schema::{self, Allocation, Document, IpConfiguration, IpVersion};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    AdminState, Backend, FrontendIx, InstanceAddress, NetworkInterface, NicIx, PrivateEndpoint, PublicIpIx, SubnetIx,
    VirtualMachine, VirtualNetwork, VmIx,
};

use super::account::Accounts;
use super::allocation::Pool;
use super::attach::Attachments;
use super::load_balancer::{Balancers, PoolIx};
use super::names::{Names, or_unnamed, within};
use super::public_address::Public;
use super::{Scope, guest, private_access};

/// The objects that have addresses, once allocated.
pub(super) struct Addressed {
    pub virtual_machines: Vec<VirtualMachine>,
    pub network_interfaces: Vec<NetworkInterface>,
    pub private_endpoints: Vec<PrivateEndpoint>,
    pub balancers: Balancers,
}

/// A requested address; an interface's primary one comes first.
pub(super) struct Wish {
    pub holder: Holder,
    pub subnet: SubnetIx,
    pub version: IpVersion,
    /// What the file says, or what the holder has.
    pub stated: Option<Spanned<IpAddr>>,
    /// What stands in front of it.
    pub public: Option<PublicIpIx>,
    /// The pools that it is a backend of.
    pub pools: Vec<PoolIx>,
    /// The inbound NAT rules that lead to it.
    pub nat_rules: Vec<PoolIx>,
    pub at: At,
}

/// The requester, by the index in its list.
#[derive(Clone, Copy)]
pub(super) enum Holder {
    Nic(usize),
    PrivateEndpoint(usize),
    Frontend(FrontendIx),
}

pub(super) fn machines(
    document: &Document,
    vnets: &[VirtualNetwork],
    accounts: &Accounts,
    (scope, public): (&Scope, &mut Public<'_>),
    mut attachments: Attachments,
    pool: Pool<'_>,
    report: &mut Report,
) -> Addressed {
    let documents = &document.virtual_machines;
    Names::of("virtual machine", documents.iter().map(|vm| &vm.name), report);
    let (private_endpoints, mut wishes) = private_access::private_endpoints(&document.private_endpoints, scope, report);
    let (balancers, frontends) = Balancers::of(document, scope, public, report);
    let (virtual_machines, network_interfaces) = (Vec::new(), Vec::new());
    let mut machines = Addressed { virtual_machines, network_interfaces, private_endpoints, balancers };
    for (vm, document) in documents.iter().enumerate() {
        let first = machines.network_interfaces.len();
        let primary = check(document, report);
        for (index, nic) in document.network_interfaces.iter().enumerate() {
            let name = nic.name.as_ref().map_or_else(|| format!("eth{index}"), |name| name.value.clone());
            let holder = format!("network interface `{}/{name}`", or_unnamed(&document.name));
            let claims = Claims { vnets, scope, holder, public: &mut *public, balancers: &machines.balancers };
            let (subnet, ip_configurations) = wish(first + index, nic, claims, &mut wishes, report);
            machines.network_interfaces.push(NetworkInterface {
                name,
                virtual_machine: VmIx(vm),
                subnet,
                addresses: Vec::new(),
                ip_configurations,
                public_addresses: Vec::new(),
                primary: index == primary,
                enable_ip_forwarding: nic.enable_ip_forwarding,
                disable_tcp_state_tracking: nic.disable_tcp_state_tracking,
                network_security_group: scope.nsg(&nic.network_security_group, report),
                dns_servers: nic.dns_servers.clone(),
                attach: nic.attach.as_ref().and_then(|attach| attachments.network_interface(attach, report)),
            });
        }
        let nics = &machines.network_interfaces[first..];
        check_region(document, nics, vnets, report);
        check_subscription(document, nics, accounts, report);
        let forwards = nics.iter().any(|nic| nic.enable_ip_forwarding);
        let guest_routes = guest::routes(document, (first, nics), vnets, report);
        machines.virtual_machines.push(VirtualMachine {
            name: or_unnamed(&document.name),
            network_interfaces: (first..machines.network_interfaces.len()).map(NicIx).collect(),
            run: document.run.clone(),
            power_state: document.power_state,
            guest_forwarding: document.guest.forwarding.unwrap_or(forwards),
            guest_masquerade: document.guest.masquerade,
            guest_filter: None,
            guest_routes,
        });
    }
    wishes.extend(frontends);
    grant(wishes, vnets, pool, &mut machines, report);
    machines
}

/// Serves the wishes: all static ones, then dynamic ones that have their address already, then the others in file order
/// (ADR-09).
fn grant(
    mut wishes: Vec<Wish>,
    vnets: &[VirtualNetwork],
    mut pool: Pool<'_>,
    machines: &mut Addressed,
    report: &mut Report,
) {
    let subnet = |ix: SubnetIx| &vnets[ix.vnet.0].subnets[ix.subnet];
    for wish in &wishes {
        if let Some(stated) = &wish.stated {
            pool.reserve(wish.subnet, subnet(wish.subnet), stated, report);
        }
    }
    for wish in wishes.iter_mut().filter(|wish| wish.stated.is_none()) {
        let leases = pool.leases();
        let held = match wish.holder {
            Holder::Nic(nic) => {
                let nic = &machines.network_interfaces[nic];
                leases.held(&machines.virtual_machines[nic.virtual_machine.0].name, &nic.name)
            }
            Holder::PrivateEndpoint(endpoint) => {
                leases.held_by_private_endpoint(&machines.private_endpoints[endpoint].name)
            }
            Holder::Frontend(at) => {
                let (balancer, frontend) = machines.balancers.frontend_name(at);
                leases.held_by_frontend(balancer, frontend)
            }
        };
        wish.stated = pool.keep(wish.subnet, subnet(wish.subnet), wish.version, held, wish.at);
    }
    for wish in wishes {
        let address = match wish.stated {
            Some(stated) => Some(stated.value),
            None => pool.allocate(wish.subnet, subnet(wish.subnet), wish.version, wish.at, report),
        };
        match wish.holder {
            Holder::Nic(index) => {
                let nic = &mut machines.network_interfaces[index];
                nic.addresses.extend(address);
                if let Some(address) = address {
                    let backend = Backend { nic: NicIx(index), address, admin: AdminState::None };
                    wish.pools.into_iter().for_each(|pool| machines.balancers.join(pool, backend));
                    wish.nat_rules.into_iter().for_each(|rule| machines.balancers.lead(rule, backend));
                }
                let instance = wish.public.zip(address);
                nic.public_addresses.extend(instance.map(|(public, private)| InstanceAddress { private, public }));
            }
            Holder::PrivateEndpoint(endpoint) => {
                let endpoint = &mut machines.private_endpoints[endpoint];
                endpoint.address = address.unwrap_or(endpoint.address);
            }
            Holder::Frontend(at) => {
                let frontend = machines.balancers.frontend_mut(at);
                frontend.address = address.unwrap_or(frontend.address);
            }
        }
    }
}

/// What concerns the machine as a whole; the index of its primary interface.
fn check(vm: &schema::VirtualMachine, report: &mut Report) -> usize {
    let nics = &vm.network_interfaces;
    if nics.is_empty() {
        report
            .error(vm.at, format!("virtual machine `{}` needs an interface", or_unnamed(&vm.name)))
            .expected("`networkInterfaces: [{subnet: VNET/SUBNET}]`");
    }
    Names::of("network interface", nics.iter().map(|nic| &nic.name), report);
    let attached = nics.iter().filter(|nic| nic.attach.is_some()).count();
    if attached > 0
        && let Some(nic) = nics.iter().find(|nic| nic.attach.is_none())
    {
        report
            .error(nic.at, format!("this interface of `{}` has no `attach`, another one has", or_unnamed(&vm.name)))
            .expected("`attach` on every interface of a machine or on none");
    }
    primary(nics.iter().map(|nic| nic.primary.as_ref()), "interface", report)
}

/// The one that says `primary: true`, or else the first.
fn primary<'a>(flags: impl Iterator<Item = Option<&'a Spanned<bool>>>, what: &str, report: &mut Report) -> usize {
    let mut primaries =
        flags.enumerate().filter_map(|(i, flag)| flag.filter(|flag| flag.value).map(|flag| (i, flag.at)));
    let first = primaries.next().map_or(0, |(i, _)| i);
    for (_, at) in primaries {
        report.error(at, format!("another {what} is primary already")).expected("`primary: true` once");
    }
    first
}

/// The context of an interface's requests, and the name that it claims public addresses by.
struct Claims<'a, 'd> {
    vnets: &'a [VirtualNetwork],
    scope: &'a Scope,
    holder: String,
    public: &'a mut Public<'d>,
    balancers: &'a Balancers,
}

/// Writes down what the interface wants; the subnet it is in, and its entries in `ipConfigurations`, the primary first.
fn wish(
    nic: usize,
    document: &schema::NetworkInterface,
    claims: Claims<'_, '_>,
    wishes: &mut Vec<Wish>,
    report: &mut Report,
) -> (SubnetIx, Vec<usize>) {
    let Claims { vnets, scope, holder, public, balancers } = claims;
    let configurations = &document.ip_configurations;
    Names::of("IP configuration", configurations.iter().map(|configuration| &configuration.name), report);
    within(configurations.len(), 256, "addresses of one interface", "ADR-14", document.at, report);
    if configurations.is_empty() {
        report.error(document.at, "an interface needs an IP configuration").expected("an entry in `ipConfigurations`");
    }
    let first =
        primary(configurations.iter().map(|configuration| configuration.primary.as_ref()), "IP configuration", report);
    let mut subnet = None;
    // The primary's address comes first.
    let order: Vec<_> = std::iter::once(first).chain((0..configurations.len()).filter(|i| *i != first)).collect();
    for (i, configuration) in order.iter().filter_map(|at| configurations.get(*at)).enumerate() {
        let Some(found) = scope.subnet(&configuration.subnet, report) else { continue };
        check_subnet(found, *subnet.get_or_insert(found), configuration, vnets, report);
        let versions = versions(configuration, document.full_form, &vnets[found.vnet.0].subnets[found.subnet].prefixes);
        check_configuration(configuration, i == 0 && document.full_form, versions[0], report);
        let mut in_front = configuration.public.as_ref().and_then(|written| {
            let ix = public.find(written, &holder, report)?;
            let version = public.version_for(ix, &versions, written.at, report);
            Some((version, ix))
        });
        let pools = balancers.find_pools(&configuration.backend_pools, found.vnet, report);
        let nat_rules = balancers.find_nat_rules(&configuration.nat_rules, found.vnet, report);
        let is_only = versions.len() == 1;
        for version in versions {
            // An entry with an address of each IP version joins a pool by the one that the pool takes.
            let (pools, nat_rules) = (pools.iter().copied(), nat_rules.iter().copied());
            let fits = |six: bool| is_only || six == (version == IpVersion::V6);
            let stated = configuration.address.clone().filter(|address| version_of(address.value) == version);
            let public = in_front.take_if(|(of, _)| *of == version).map(|(_, ix)| ix);
            wishes.push(Wish {
                holder: Holder::Nic(nic),
                subnet: found,
                version,
                stated,
                public,
                pools: pools.filter(|pool| fits(balancers.takes_six(*pool))).collect(),
                nat_rules: nat_rules.filter(|rule| fits(balancers.leads_to_six(*rule))).collect(),
                at: configuration.at,
            });
        }
    }
    // Without a subnet the report has an error and the network will not be used.
    let subnet = subnet.unwrap_or(SubnetIx { vnet: crate::model::VnetIx(usize::MAX), subnet: usize::MAX });
    (subnet, if document.full_form { order } else { Vec::new() })
}

/// ARM's form asks for one address an entry; the short form for one of each family that the subnet has.
fn versions(configuration: &IpConfiguration, full_form: bool, prefixes: &[IpNet]) -> Vec<IpVersion> {
    let stated = configuration.address.as_ref().map(|address| version_of(address.value));
    if full_form {
        let version = configuration.version.as_ref().map(|version| version.value);
        return vec![version.or(stated).unwrap_or(IpVersion::V4)];
    }
    let six = prefixes.iter().any(|prefix| matches!(prefix, IpNet::V6(_))) || stated == Some(IpVersion::V6);
    if six { vec![IpVersion::V4, IpVersion::V6] } else { vec![IpVersion::V4] }
}

fn check_configuration(configuration: &IpConfiguration, primary: bool, version: IpVersion, report: &mut Report) {
    let name = |version| if version == IpVersion::V4 { "IPv4" } else { "IPv6" };
    if primary && version == IpVersion::V6 {
        report
            .error(configuration.at, "the primary IP configuration is IPv6")
            .rule("FAB-16")
            .expected("an IPv4 configuration as the primary: IPv6 never stands alone");
    }
    let stated = configuration.address.as_ref();
    if let (Some(address), Some(written)) = (stated, &configuration.version)
        && version_of(address.value) != written.value
    {
        report
            .error(address.at, format!("{} is not an {} address", address.value, name(written.value)))
            .help("`privateIPAddressVersion` says so");
    }
    // Dynamic with an address is how Azure exports a machine: the address it has now, and that is kept.
    if let Some(method) = configuration.allocation.as_ref().filter(|method| method.value == Allocation::Static)
        && stated.is_none()
    {
        report.error(method.at, "Static allocation needs a `privateIPAddress`").rule("ADR-09");
    }
}

fn check_subnet(
    found: SubnetIx,
    first: SubnetIx,
    configuration: &IpConfiguration,
    vnets: &[VirtualNetwork],
    report: &mut Report,
) {
    let at = configuration.subnet.as_ref().map_or(configuration.at, |reference| reference.at);
    let subnet = &vnets[found.vnet.0].subnets[found.subnet];
    let kept = [("GatewaySubnet", "gateways", "ADR-10"), ("RouteServerSubnet", "a route server", "ARS-01")];
    for (name, holds, rule) in kept.into_iter().filter(|(name, ..)| subnet.name == *name) {
        report.error(at, format!("{name} holds {holds} and nothing else")).rule(rule).help("use another subnet");
    }
    if found != first {
        report.error(at, "the IP configurations of one interface are in different subnets").expected("one subnet");
    }
}

/// ADR-13: a machine is in one region.
fn check_region(vm: &schema::VirtualMachine, nics: &[NetworkInterface], vnets: &[VirtualNetwork], report: &mut Report) {
    let locations = nics.iter().map(|nic| vnets.get(nic.subnet.vnet.0).map(|vnet| vnet.location.as_str()));
    let Some(first) = locations.clone().next().flatten() else { return };
    for (location, nic) in locations.zip(&vm.network_interfaces) {
        if let Some(location) =
            location.filter(|location| *location != first && !location.is_empty() && !first.is_empty())
        {
            report
                .error(nic.at, format!("virtual machine `{}` is in {first} and in {location}", or_unnamed(&vm.name)))
                .rule("ADR-13")
                .expected("all its interfaces in virtual networks of one region");
        }
    }
}

/// ADR-13: and in one subscription, as far as the file says so.
fn check_subscription(
    vm: &schema::VirtualMachine,
    nics: &[NetworkInterface],
    accounts: &Accounts,
    report: &mut Report,
) {
    let known = nics.iter().zip(&vm.network_interfaces);
    let mut known = known.filter_map(|(nic, written)| Some((accounts.subscription(nic.subnet.vnet)?, written.at)));
    let Some((first, _)) = known.next() else { return };
    for (other, at) in known.filter(|(other, _)| !other.eq_ignore_ascii_case(first)) {
        report
            .error(at, format!("virtual machine `{}` is in subscription {first} and in {other}", or_unnamed(&vm.name)))
            .rule("ADR-13")
            .expected("all its interfaces in virtual networks of one subscription");
    }
}

fn version_of(address: IpAddr) -> IpVersion {
    if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 }
}
