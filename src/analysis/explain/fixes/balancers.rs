//! Packets that a load balancer drops: no rule matches, or no backend is healthy.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::analysis::change::{Change, Edit};
use crate::analysis::views::load_balancers::load_balancers;
use crate::analysis::walk::Leg;
use crate::analysis::yaml_path;
use crate::compile::Sender;
use crate::dataplane::{DropReason, NextHop, NicId};
use crate::model::{AdminState, Backend, FrontendIx, FrontendRule, LoadBalancer, NicIx, PowerState};

use super::{Case, Diagnosis};

impl Case<'_> {
    pub(super) fn unbalanced(&self, leg: &Leg, reason: DropReason) -> Option<Diagnosis> {
        let at = self.frontend(leg)?;
        Some(if reason == DropReason::NoBalancingRule { self.unruled(at) } else { self.none_up(at) })
    }

    /// Each backend, and why it is down.
    fn none_up(&self, at: FrontendIx) -> Diagnosis {
        let names = self.names;
        let balancer = &names.network.load_balancers[at.balancer];
        let name = format!("load balancer {}, frontend {}", balancer.name, balancer.frontends[at.frontend].name);
        // Of the rule that takes the flow: others may have other backends and probes.
        let (address, asked) = (balancer.frontends[at.frontend].address, self.walk.last);
        let takes = [address.to_string(), format!("{}/{}", SocketAddr::new(address, asked.dst_port), asked.protocol)];
        let rows = load_balancers(names.network, names.compiled, names.compiled.learned().health.as_ref(), None);
        let down = rows.iter().filter(|row| row.load_balancer == balancer.name && takes.contains(&row.frontend));
        let mut down: Vec<_> =
            down.filter(|row| !row.eligible).map(|row| format!("{} ({})", row.backend, row.reason)).collect();
        down.sort_unstable();
        down.dedup();
        let because =
            if down.is_empty() { "its pool is empty".to_owned() } else { format!("down: {}", down.join(", ")) };
        let cause = format!("{name}: no backend is up; {because}");
        let found = if down.is_empty() { self.without_members(at, &cause) } else { self.unprobed(at, &cause) };
        let found = found.or_else(|| self.all_stopped(at, &cause)).or_else(|| self.set_down(at, &cause));
        found.unwrap_or_else(|| {
            let text = if down.is_empty() {
                format!("put an interface into the backend pool of load balancer {}", balancer.name)
            } else {
                format!("have one backend of load balancer {} answer its probe", balancer.name)
            };
            self.prose(cause, text)
        })
    }

    /// One running backend is enough.
    fn all_stopped(&self, at: FrontendIx, cause: &str) -> Option<Diagnosis> {
        let network = self.names.network;
        let rules = network.load_balancers[at.balancer].rules_at(at.frontend);
        let backends = rules.flat_map(|rule| match rule {
            FrontendRule::Balance(rule) => network.load_balancers[at.balancer].pools[rule.pool].members.clone(),
            FrontendRule::Nat(_, target) => vec![target.backend],
        });
        let backends: Vec<_> = backends.collect();
        let machine = |backend: &Backend| network.nic(backend.nic).virtual_machine;
        let stopped = |backend: &Backend| network.vm(machine(backend)).power_state == PowerState::Stopped;
        let first = backends.first().filter(|_| backends.iter().all(stopped))?;
        let mut edit = self.edit();
        edit.start(machine(first));
        Some(Diagnosis::with_fix(cause.to_owned(), format!("start machine {}", network.vm(machine(first)).name), edit))
    }

    /// An administrator set it down (LB-16); its probe decides again.
    fn set_down(&self, at: FrontendIx, cause: &str) -> Option<Diagnosis> {
        let network = self.names.network;
        let balancer = &network.load_balancers[at.balancer];
        let (rule, backend) = self.rules_for(at).find_map(|rule| {
            let mut members = balancer.pools[rule.pool].members.iter();
            let running = |backend: &&Backend| network.is_running(backend.nic);
            Some((rule, *members.find(|backend| running(backend) && backend.admin == AdminState::Down)?))
        })?;
        let pool = &balancer.pools[rule.pool];
        let mut edit = self.edit();
        edit.leave_to_probe(at.balancer, rule.pool, backend.address)?;
        let text = format!("take adminState Down off {} in backend pool {}", backend.address, pool.name);
        let mut diagnosis = Diagnosis::with_fix(cause.to_owned(), text, edit);
        let probe = rule.probe.map(|probe| &balancer.probes[probe]);
        for fix in &mut diagnosis.fixes {
            fix.probed.extend(probe.map(|probe| network.probe_key(balancer, probe, backend)));
        }
        Some(diagnosis)
    }

    /// Machines that may be meant as members of an empty pool: for a route's next hop those that forward, else those
    /// that run a program. They are in the frontend's virtual network, and in no other pool of such a load balancer.
    fn without_members(&self, at: FrontendIx, cause: &str) -> Option<Diagnosis> {
        const TRIED: usize = 4;
        let network = self.names.network;
        let balancer = &network.load_balancers[at.balancer];
        let (frontend, rule) = (&balancer.frontends[at.frontend], self.rules_for(at).next()?);
        let is_next_hop = self.walk.last.dst != frontend.address;
        let taken: Vec<_> = network
            .load_balancers
            .iter()
            .filter(|other| other.is_public() == balancer.is_public())
            .flat_map(|other| other.backends().map(|backend| backend.nic))
            .collect();
        let home = frontend.subnet().map(|subnet| subnet.vnet);
        let home = home.or_else(|| Some(network.nic(balancer.backends().next()?.nic).subnet.vnet));
        let asking = self.home(self.walk.first.src).map(|_| self.walk.first.src);
        let mut all: Vec<_> = (0..network.network_interfaces.len()).map(NicIx).collect();
        all.retain(|ix| {
            let nic = network.nic(*ix);
            let machine = network.vm(nic.virtual_machine);
            let serves = if is_next_hop {
                nic.enable_ip_forwarding && machine.guest_forwarding
            } else {
                !nic.enable_ip_forwarding && !machine.run.is_none()
            };
            let is_asking = asking.is_some_and(|asking| nic.addresses.contains(&asking));
            let fits = home.is_none_or(|home| nic.subnet.vnet == home) && nic.public_addresses.is_empty();
            serves && fits && nic.primary && network.is_running(*ix) && !is_asking && !taken.contains(ix)
        });
        // Those in the frontend's own subnet first.
        all.sort_by_key(|ix| frontend.subnet().is_some_and(|subnet| network.nic(*ix).subnet != subnet));
        let fixes = all.into_iter().take(TRIED).filter_map(|ix| {
            let mut addresses = network.nic(ix).addresses.iter();
            let address = *addresses.find(|address| address.is_ipv4() == frontend.address.is_ipv4())?;
            let backend = Backend { nic: ix, address, admin: AdminState::None };
            let mut edit = self.edit();
            edit.join_pool(at.balancer, rule.pool, backend);
            let node = &network.vm(network.nic(ix).virtual_machine).name;
            let pool = &balancer.pools[rule.pool].name;
            let mut diagnosis =
                Diagnosis::with_fix(cause.to_owned(), format!("put {node} into backend pool {pool}"), edit);
            let probe = rule.probe.map(|probe| &balancer.probes[probe]);
            for fix in &mut diagnosis.fixes {
                fix.probed.extend(probe.map(|probe| network.probe_key(balancer, probe, backend)));
            }
            Some(diagnosis)
        });
        fixes.reduce(Diagnosis::or)
    }

    /// LB-40: the flow's hash chose the sending backend itself.
    pub(super) fn hairpin(&self, leg: &Leg) -> Option<Diagnosis> {
        let names = self.names;
        let frontend = self.frontend(leg)?;
        let (node, name) = (names.node(leg.from), names.frontend(frontend));
        let cause =
            format!("{node} is a backend of {name}, and its own flow comes back to it, which its guest drops (LB-40)");
        let address = names.network.load_balancers[frontend.balancer].frontends[frontend.frontend].address;
        let text = format!("give the guest of {node} the frontend's address, so that its own requests stay there");
        Some(self.commands(
            cause,
            text,
            vec![format!("vnet exec {node} -- ip address add {} dev lo", IpNet::from(address))],
        ))
    }

    /// The frontend that the packet is for, or that its next hop names.
    fn frontend(&self, leg: &Leg) -> Option<FrontendIx> {
        let mut frontends = self.names.network.frontends();
        match leg.route() {
            Some((_, _, NextHop::Frontend(id))) => frontends.nth(id.0 as usize).map(|(at, _)| at),
            _ => frontends.find(|(_, frontend)| frontend.address == self.walk.dst).map(|(at, _)| at),
        }
    }

    /// The load balancer of a sender that has no other outbound access (LB-44, SNAT-07).
    pub(super) fn behind(&self, sender: NicId) -> Option<&LoadBalancer> {
        let Sender::Nic(nic) = self.names.compiled.sender(sender) else { return None };
        self.names.balancer_of(nic)
    }
}

impl Edit {
    /// Takes an administrative state off a member of a pool.
    fn leave_to_probe(&mut self, balancer: usize, at: usize, address: IpAddr) -> Option<()> {
        let pool = &mut self.network.load_balancers[balancer].pools[at];
        let listed = pool.listed.iter().position(|listed| *listed == address)?;
        pool.members.iter_mut().find(|member| member.address == address)?.admin = AdminState::None;
        let list = format!("loadBalancers[{balancer}].backendAddressPools[{at}].loadBalancerBackendAddresses");
        self.changes.push(Change { path: format!("{list}[{listed}].adminState"), value: None });
        Some(())
    }

    fn join_pool(&mut self, balancer: usize, at: usize, backend: Backend) {
        let network = &mut self.network;
        let configuration = yaml_path::ip_configuration(network, backend.nic, backend.address);
        let path = format!("{configuration}.loadBalancerBackendAddressPools");
        let pools = network.load_balancers.iter().flat_map(|one| &one.pools).flat_map(|pool| &pool.members);
        // In the short form one list is for all addresses.
        let is_own =
            |member: &&Backend| yaml_path::ip_configuration(network, member.nic, member.address) == configuration;
        let others = pools.filter(is_own).count();
        let owner = &network.load_balancers[balancer];
        let name = format!("{}/{}", owner.name, owner.pools[at].name);
        let members = &mut network.load_balancers[balancer].pools[at].members;
        members.push(backend);
        members.sort_by_key(|member| member.nic.0);
        self.changes.push(match others {
            0 => Change { path, value: Some(format!("[{name}]")) },
            _ => Change { path: format!("{path}[{others}]"), value: Some(name) },
        });
    }
}
