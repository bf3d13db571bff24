//! Load balancers (LB-01 to LB-45): their frontends want addresses or have public ones, their pools get members.
//!
//! Interfaces name their pools, so the members of a pool are known only when all interfaces are made; the
//! rules come after that.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::schema::load_balancer::{self as written, PartReference};
use crate::config::schema::{Allocation, Document, IpVersion, Reference};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    Backend, BackendPool, Frontend, FrontendIx, FrontendSite, LoadBalancer, NetworkInterface, PublicIpAddress,
    PublicIpIx, PublicIpSku, SubnetIx, VnetIx,
};

use super::machine::{Holder, Wish};
use super::names::{Names, or_unnamed};
use super::public_address::Public;
use super::{Scope, balancing_rules as rules};

/// A frontend with an unknown subnet keeps its place: the report has an error, and the network will not be used.
const NOWHERE: SubnetIx = SubnetIx { vnet: VnetIx(usize::MAX), subnet: usize::MAX };

/// A pool or a rule: its load balancer, and its index there.
pub(super) type PoolIx = (usize, usize);

/// The load balancers of a file while they are put together.
pub(super) struct Balancers {
    names: Names,
    /// Of each load balancer.
    pools: Vec<Names>,
    nat_rules: Vec<Names>,
    /// Of each inbound NAT rule, the IP configurations that name it.
    led: Vec<Vec<Vec<Backend>>>,
    six: Vec<Six>,
    all: Vec<LoadBalancer>,
}

/// Which pools and inbound NAT rules of a load balancer are for IPv6.
struct Six {
    pools: Vec<bool>,
    nat_rules: Vec<bool>,
}

impl Balancers {
    /// Without members and rules; and the addresses that the frontends want.
    pub(super) fn of(
        document: &Document,
        scope: &Scope,
        public: &mut Public<'_>,
        report: &mut Report,
    ) -> (Self, Vec<Wish>) {
        let balancers = &document.load_balancers;
        let names = Names::of("load balancer", balancers.iter().map(|balancer| &balancer.name), report);
        let (mut pools, mut nat_rules, mut led) = (Vec::new(), Vec::new(), Vec::new());
        let (mut six, mut all, mut wishes) = (Vec::new(), Vec::new(), Vec::new());
        for (ix, balancer) in balancers.iter().enumerate() {
            check(balancer, report);
            pools.push(Names::of("backend pool", balancer.pools.iter().map(|pool| &pool.name), report));
            nat_rules.push(Names::of("inbound NAT rule", balancer.nat_rules.iter().map(|rule| &rule.name), report));
            led.push(vec![Vec::new(); balancer.nat_rules.len()]);
            let owner = or_unnamed(&balancer.name);
            let mut frontends = Vec::new();
            for (frontend, written) in balancer.frontends.iter().enumerate() {
                let at = FrontendIx { balancer: ix, frontend };
                let (made, wish) = self::frontend(written, at, &owner, (scope, &mut *public), report);
                wishes.extend(wish);
                frontends.push(made);
            }
            check_sites(balancer, &frontends, report);
            six.push(Six::of(balancer, &frontends));
            let without_members = |pool: &written::BackendPool| BackendPool {
                name: or_unnamed(&pool.name),
                members: Vec::new(),
                listed: pool.addresses.iter().filter_map(|one| Some(one.address.as_ref()?.value)).collect(),
            };
            all.push(LoadBalancer {
                name: or_unnamed(&balancer.name),
                frontends,
                pools: balancer.pools.iter().map(without_members).collect(),
                probes: Vec::new(),
                rules: Vec::new(),
                nat_rules: Vec::new(),
                outbound_rules: Vec::new(),
            });
        }
        (Self { names, pools, nat_rules, led, six, all }, wishes)
    }

    /// The pools that an IP configuration names, which is in this virtual network.
    pub(super) fn find_pools(&self, references: &[PartReference], vnet: VnetIx, report: &mut Report) -> Vec<PoolIx> {
        self.find(&self.pools, references, vnet, report)
    }

    /// The inbound NAT rules that it names.
    pub(super) fn find_nat_rules(
        &self,
        references: &[PartReference],
        vnet: VnetIx,
        report: &mut Report,
    ) -> Vec<PoolIx> {
        self.find(&self.nat_rules, references, vnet, report)
    }

    /// Whether a pool is for addresses over IPv6: where one IP configuration has both.
    pub(super) fn takes_six(&self, (balancer, pool): PoolIx) -> bool {
        self.six[balancer].pools[pool]
    }

    /// The same of an inbound NAT rule.
    pub(super) fn leads_to_six(&self, (balancer, rule): PoolIx) -> bool {
        self.six[balancer].nat_rules[rule]
    }

    /// Parts of load balancers that serve this virtual network.
    fn find(
        &self,
        parts: &[Names],
        references: &[PartReference],
        vnet: VnetIx,
        report: &mut Report,
    ) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for reference in references {
            let [balancer, part] = &reference.value;
            let Some(balancer) = self.names.named(balancer, reference.at, report) else { continue };
            let Some(part) = parts[balancer].named(part, reference.at, report) else { continue };
            let home = self.all[balancer].frontends.first().and_then(Frontend::subnet).map(|subnet| subnet.vnet);
            if home.is_some_and(|home| home != vnet && home != NOWHERE.vnet) {
                report
                    .error(
                        reference.at,
                        format!("load balancer `{}` is in another virtual network", self.all[balancer].name),
                    )
                    .code("NetworkInterfaceAndInternalLoadBalancerMustUseSameVnet")
                    .rule("LB-05")
                    .expected("a pool of a load balancer with its frontends in the interface's own");
            }
            found.push((balancer, part));
        }
        found
    }

    pub(super) fn join(&mut self, (balancer, pool): PoolIx, backend: Backend) {
        self.all[balancer].pools[pool].members.push(backend);
    }

    /// An IP configuration is the target of an inbound NAT rule.
    pub(super) fn lead(&mut self, (balancer, rule): PoolIx, backend: Backend) {
        self.led[balancer][rule].push(backend);
    }

    pub(super) fn frontend_mut(&mut self, at: FrontendIx) -> &mut Frontend {
        &mut self.all[at.balancer].frontends[at.frontend]
    }

    pub(super) fn frontend_name(&self, at: FrontendIx) -> (&str, &str) {
        let balancer = &self.all[at.balancer];
        (&balancer.name, &balancer.frontends[at.frontend].name)
    }

    /// With the rules, once all interfaces have addresses.
    pub(super) fn finish(
        mut self,
        document: &Document,
        nics: &[NetworkInterface],
        report: &mut Report,
    ) -> Vec<LoadBalancer> {
        for (ix, written) in document.load_balancers.iter().enumerate() {
            check_members(&self.all[ix], nics, written, report);
            for (pool, written) in self.all[ix].pools.iter_mut().zip(&written.pools) {
                set_admin_states(pool, written, report);
            }
            let (pools, led) = (&self.pools[ix], &self.led[ix]);
            rules::finish(&mut self.all[ix], written, (pools, led), nics, report);
        }
        self.all
    }
}

impl Six {
    /// By the frontends that rules join them to.
    fn of(balancer: &written::LoadBalancer, frontends: &[Frontend]) -> Self {
        let is_six = |reference: &Spanned<[String; 1]>| {
            let mut named = frontends.iter().filter(|one| one.name.eq_ignore_ascii_case(&reference.value[0]));
            named.any(|frontend| frontend.address.is_ipv6())
        };
        let frontend_is_six = |frontend: &Reference| frontend.as_ref().is_some_and(is_six);
        let takes_six = |pool: &written::BackendPool| {
            let is_it = |reference: &Reference| {
                let named = reference.as_ref().map(|reference| reference.value[0].as_str());
                named.zip(pool.name.as_ref()).is_some_and(|(named, name)| named.eq_ignore_ascii_case(&name.value))
            };
            balancer.rules.iter().any(|rule| is_it(&rule.pool) && frontend_is_six(&rule.frontend))
                || balancer.nat_rules.iter().any(|rule| is_it(&rule.pool) && frontend_is_six(&rule.frontend))
                || balancer.outbound_rules.iter().any(|rule| is_it(&rule.pool) && rule.frontends.iter().any(is_six))
        };
        Self {
            pools: balancer.pools.iter().map(takes_six).collect(),
            nat_rules: balancer.nat_rules.iter().map(|rule| frontend_is_six(&rule.frontend)).collect(),
        }
    }
}

fn check(balancer: &written::LoadBalancer, report: &mut Report) {
    if let Some(sku) = balancer.sku.as_ref().filter(|sku| sku.value == PublicIpSku::Basic) {
        report
            .error(sku.at, "Basic load balancers were retired on 30 September 2025")
            .rule("LB-05")
            .expected("`sku: {name: Standard}`, or none");
    }
    if balancer.frontends.is_empty() {
        report
            .error(balancer.at, format!("load balancer `{}` needs a frontend", or_unnamed(&balancer.name)))
            .rule("LB-06")
            .expected("an entry in `frontendIPConfigurations`");
    }
}

/// A private one wants an address; a public one has one.
fn frontend(
    frontend: &written::Frontend,
    at: FrontendIx,
    owner: &str,
    (scope, public): (&Scope, &mut Public<'_>),
    report: &mut Report,
) -> (Frontend, Option<Wish>) {
    let name = or_unnamed(&frontend.name);
    if let Some(reference) = &frontend.public {
        if frontend.subnet.is_some() {
            report
                .error(frontend.at, "a frontend is in a subnet or has a public address")
                .rule("LB-06")
                .expected("`subnet` or `publicIPAddress`");
        }
        let holder = format!("frontend `{owner}/{name}`");
        let found = public.find_named(reference, &holder, report);
        let address = found.map_or(Ipv4Addr::UNSPECIFIED.into(), |ix| public.addresses[ix.0].address);
        check_public(found.map(|ix| &public.addresses[ix.0]), reference.at, report);
        let site = FrontendSite::Public(found.unwrap_or(PublicIpIx(usize::MAX)));
        return (Frontend { name, site, address }, None);
    }
    if frontend.subnet.is_none() {
        report
            .error(frontend.at, format!("frontend `{name}` has neither a subnet nor a public address"))
            .rule("LB-06")
            .expected("`subnet: VNET/SUBNET` or `publicIPAddress: NAME`");
        return (Frontend { name, site: FrontendSite::Private(NOWHERE), address: Ipv4Addr::UNSPECIFIED.into() }, None);
    }
    let found = scope.subnet(&frontend.subnet, report);
    let contradicts = frontend.address.as_ref().zip(frontend.version.as_ref());
    if let Some((address, version)) =
        contradicts.filter(|(address, version)| address.value.is_ipv6() != (version.value == IpVersion::V6))
    {
        report.error(version.at, format!("{} is of the other IP version", address.value)).rule("LB-06");
    }
    let is_six = frontend.address.as_ref().is_some_and(|address| address.value.is_ipv6())
        || frontend.version.as_ref().is_some_and(|version| version.value == IpVersion::V6);
    if let Some(method) = frontend.allocation.as_ref().filter(|method| method.value == Allocation::Static)
        && frontend.address.is_none()
    {
        report.error(method.at, "Static allocation needs a `privateIPAddress`").rule("ADR-09");
    }
    let wish = |subnet| Wish {
        holder: Holder::Frontend(at),
        subnet,
        version: if is_six { IpVersion::V6 } else { IpVersion::V4 },
        stated: frontend.address.clone(),
        public: None,
        pools: Vec::new(),
        nat_rules: Vec::new(),
        at: frontend.at,
    };
    // Of its IP version, until it has one.
    let address = if is_six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let site = FrontendSite::Private(found.unwrap_or(NOWHERE));
    (Frontend { name, site, address }, found.map(wish))
}

fn check_public(public: Option<&PublicIpAddress>, at: At, report: &mut Report) {
    let Some(PublicIpAddress { name, sku, .. }) = public else { return };
    if *sku == PublicIpSku::Basic {
        report
            .error(at, format!("public IP address `{name}` is Basic, a load balancer takes Standard ones"))
            .rule("LB-05")
            .expected("`sku: {name: Standard}`");
    }
}

/// LB-05: all private in one virtual network, or all public.
fn check_sites(balancer: &written::LoadBalancer, frontends: &[Frontend], report: &mut Report) {
    let known = |frontend: &&Frontend| frontend.subnet().is_none_or(|subnet| subnet != NOWHERE);
    let Some(first) = frontends.iter().find(known) else { return };
    for (made, written) in frontends.iter().zip(&balancer.frontends).filter(|(made, _)| known(made)) {
        match (made.subnet(), first.subnet()) {
            (Some(one), Some(other)) if one.vnet != other.vnet => {
                report
                    .error(written.at, "the frontends of one load balancer are in different virtual networks")
                    .rule("LB-05")
                    .expected("one virtual network");
            }
            (Some(_), None) | (None, Some(_)) => {
                report
                    .error(written.at, "a load balancer has private frontends or public ones")
                    .rule("LB-05")
                    .expected("frontends of one kind");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// LB-05, LB-45: all backends of a load balancer are in one virtual network; an internal one was checked before.
fn check_members(
    balancer: &LoadBalancer,
    nics: &[NetworkInterface],
    written: &written::LoadBalancer,
    report: &mut Report,
) {
    let home = |backend: Backend| nics[backend.nic.0].subnet.vnet;
    let mut homes = balancer.backends().map(home);
    let Some(first) = homes.next() else { return };
    if balancer.frontends.iter().any(|frontend| frontend.subnet().is_none()) && homes.any(|other| other != first) {
        report
            .error(written.at, format!("the backends of `{}` are in different virtual networks", balancer.name))
            .rule("LB-45")
            .expected("one virtual network");
    }
}

fn set_admin_states(pool: &mut BackendPool, written: &written::BackendPool, report: &mut Report) {
    for written in &written.addresses {
        let Some(address) = &written.address else { continue };
        let mut members = pool.members.iter_mut().filter(|member| member.address == address.value);
        let Some(member) = members.next() else {
            report
                .error(address.at, format!("pool `{}` has no address {}", pool.name, address.value))
                .rule("LB-16")
                .expected("the address of an interface that names this pool")
                .help("interfaces join a pool by `loadBalancerBackendAddressPools`");
            continue;
        };
        member.admin = written.admin;
    }
}
