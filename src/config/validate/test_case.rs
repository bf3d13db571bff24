//! `tests:`: every name is an endpoint of the network, and no test expects the impossible.

use std::net::IpAddr;

use crate::config::schema::test_case::{EndpointName, Protocol, RULE_KINDS, TestCase};
use crate::config::yaml::diagnostic::{At, Report, Spanned, clip, nearest};
use crate::model::{
    self, Conduct, Endpoint, Internet, Network, NicIx, Probe, Question, ReachTest, TestEnds, Verdict, VmIx,
};

use super::test_words::word;

/// NSG-06, as `compile` names them.
const DEFAULT_RULES: [&str; 6] = [
    "AllowVnetInBound",
    "AllowAzureLoadBalancerInBound",
    "DenyAllInBound",
    "AllowVnetOutBound",
    "AllowInternetOutBound",
    "DenyAllOutBound",
];

/// The tests that can be asked.
pub(super) fn test_cases(tests: &[TestCase], network: &Network, report: &mut Report) -> Vec<model::TestCase> {
    tests.iter().filter_map(|test| Reader { network, report: &mut *report }.test_case(test)).collect()
}

pub(super) struct Reader<'a> {
    pub(super) network: &'a Network,
    pub(super) report: &'a mut Report,
}

impl Reader<'_> {
    fn test_case(&mut self, test: &TestCase) -> Option<model::TestCase> {
        let asked = match &test.questions[..] {
            [] => self.reach(test).map(|reach| {
                let title = title(test, reach.ends.probe, reach.expect);
                (Question::Reach(reach), title)
            }),
            [(key, question), more @ ..] => {
                for (other, question) in more {
                    let message = format!("a test asks one thing: `{key}` or `{other}`");
                    self.report.error(question.at, message).help("make two tests of it");
                }
                self.refuse_reach(test, key);
                self.question(test, key, &question.value)
            }
        };
        let (question, title) = asked?;
        Some(model::TestCase {
            name: test.name.as_ref().map_or(title, |name| name.value.clone()),
            conduct: self.conduct(test, &question),
            question,
            packets_only: test.packets_only,
            without: test.without.iter().map(|edit| edit.path.value.clone()).collect(),
        })
    }

    fn reach(&mut self, test: &TestCase) -> Option<ReachTest> {
        let from = test.from.as_ref().and_then(|from| self.sender(from));
        let to = test.to.as_ref().and_then(|to| self.endpoint(to));
        let probe = self.probe(test);
        let [via, via_return, not_via] =
            [&test.via, &test.via_return, &test.not_via].map(|machines| self.machines(machines));
        let rule = test.rule.as_ref().and_then(|rule| self.rule(rule));
        self.check_ways(test);
        if let (true, Some(rule)) = (test.packets_only, &test.rule) {
            let message = "which rule decides is the model's answer, and `packetsOnly` leaves that out";
            self.report.error(rule.at, message).help("remove `rule`, or `packetsOnly`");
        }
        let ends = TestEnds { from: from?, to: to?, probe: probe? };
        Some(ReachTest { ends, expect: test.expect.as_ref()?.value, via, via_return, not_via, rule })
    }

    /// What belongs to reachability has no place beside another question.
    fn refuse_reach(&mut self, test: &TestCase, key: &str) {
        let first = |list: &[Spanned<String>]| list.first().map(|first| first.at);
        let keys = [
            ("expect", test.expect.as_ref().map(|expect| expect.at)),
            ("via", first(&test.via)),
            ("viaReturn", first(&test.via_return)),
            ("notVia", first(&test.not_via)),
            ("rule", test.rule.as_ref().map(|rule| rule.at)),
        ];
        for (name, at) in keys.into_iter().filter_map(|(name, at)| Some((name, at?))) {
            let message = format!("`{name}` is for reachability: `{key}` says itself what it expects");
            self.report.error(at, message).help(format!("remove it, or make a second test without `{key}`"));
        }
    }

    fn conduct(&mut self, test: &TestCase, question: &Question) -> Conduct {
        let value = |time: &Option<Spanned<_>>| time.as_ref().map(|time| time.value);
        if let (Some(timeout), Question::Latency(_) | Question::Throughput(_) | Question::During(_)) =
            (&test.timeout, question)
        {
            let message = format!("a test of `{}` takes its own time", question.kind());
            self.report.error(timeout.at, message).help("remove `timeout`");
        }
        Conduct {
            retry: test.retry.as_ref().map_or(0, |retry| retry.value),
            timeout: value(&test.timeout),
            after: value(&test.after).unwrap_or_default(),
            severity: test.severity.as_ref().map(|severity| severity.value).unwrap_or_default(),
            skip: test.skip.as_ref().map(|skip| skip.value.clone()).filter(|why| !why.is_empty()),
        }
    }

    /// Names of all rules that interfaces may have.
    pub(super) fn rule_names(&self) -> Vec<String> {
        let [own, default, admin] = RULE_KINDS;
        let groups = &self.network.network_security_groups;
        let own = groups.iter().flat_map(|nsg| &nsg.rules).map(|rule| format!("{own}/{}", rule.name));
        let admin = self.network.rule_collections().flat_map(|(_, collection)| {
            collection.rules.iter().map(move |rule| format!("{admin}/{}/{}", collection.name, rule.name))
        });
        own.chain(DEFAULT_RULES.map(|rule| format!("{default}/{rule}"))).chain(admin).collect()
    }

    /// Icmp without a port and Tcp with one, unless the file says more.
    fn probe(&mut self, test: &TestCase) -> Option<Probe> {
        let port = test.port.as_ref().map(|port| port.value);
        match (test.protocol.as_ref().map(|protocol| protocol.value), port) {
            (None | Some(Protocol::Icmp), None) => Some(Probe::Ping),
            (None | Some(Protocol::Tcp), Some(port)) => Some(Probe::Tcp(port)),
            (Some(Protocol::Udp), Some(port)) => Some(Probe::Udp(port)),
            (Some(Protocol::Icmp), Some(_)) => {
                let at = test.port.as_ref().map_or(test.at, |port| port.at);
                self.report.error(at, "ICMP has no ports").help("leave `port` out, or ask with Tcp or Udp");
                None
            }
            (Some(Protocol::Tcp | Protocol::Udp), None) => {
                self.report.error(test.at, "a test with Tcp or Udp needs a `port`").expected("a port from 1 to 65535");
                None
            }
        }
    }

    /// An endpoint that can send packets.
    pub(super) fn sender(&mut self, end: &Spanned<EndpointName>) -> Option<Endpoint> {
        if let EndpointName::Address(address) = end.value
            && !self.is_owned(address)
        {
            let message = format!("no interface in this network has the address {address}");
            self.report.error(end.at, message).expected("a machine, MACHINE/INTERFACE or an address that one has");
            return None;
        }
        self.endpoint(end)
    }

    fn is_owned(&self, address: IpAddr) -> bool {
        let attached = self.network.virtual_networks.iter().filter(|vnet| vnet.attach.is_some());
        let mut prefixes = attached.flat_map(|vnet| &vnet.subnets).flat_map(|subnet| &subnet.prefixes);
        prefixes.any(|prefix| prefix.contains(&address))
            || self.network.network_interfaces.iter().any(|nic| nic.addresses.contains(&address))
            || self.network.internet.iter().any(|internet| internet.addresses.contains(&address))
            || self.network.customers().any(|one| self.network.addresses_of_customer(one).contains(&address))
    }

    pub(super) fn endpoint(&mut self, end: &Spanned<EndpointName>) -> Option<Endpoint> {
        match &end.value {
            EndpointName::Address(address) => Some(Endpoint::Address(*address)),
            EndpointName::Node { name, nic: None } if self.is_internet(name) => Some(Endpoint::Internet),
            EndpointName::Node { name, nic: None } => match self.network.customer_named(name) {
                Some(customer) => Some(Endpoint::Outside(customer)),
                None => self.machine(name, end.at).map(Endpoint::Vm),
            },
            EndpointName::Node { name, nic: Some(nic) } => {
                let vm = self.machine(name, end.at)?;
                self.interface(vm, nic, end.at).map(Endpoint::Nic)
            }
        }
    }

    fn is_internet(&self, name: &str) -> bool {
        self.network.internet.is_some() && name.eq_ignore_ascii_case(Internet::NAME)
    }

    pub(super) fn machine(&mut self, name: &str, at: At) -> Option<VmIx> {
        let machines = &self.network.virtual_machines;
        let found = machines.iter().position(|vm| vm.name.eq_ignore_ascii_case(name)).map(VmIx);
        if found.is_none() {
            let names: Vec<_> = machines.iter().map(|vm| vm.name.as_str()).collect();
            self.unknown("virtual machine", name, &names, at);
        }
        found
    }

    pub(super) fn interface(&mut self, vm: VmIx, name: &str, at: At) -> Option<NicIx> {
        let machine = self.network.vm(vm);
        let nics = &machine.network_interfaces;
        let found = nics.iter().copied().find(|nic| self.network.nic(*nic).name.eq_ignore_ascii_case(name));
        if found.is_none() {
            let names: Vec<_> = nics.iter().map(|nic| self.network.nic(*nic).name.as_str()).collect();
            self.unknown(&format!("interface of `{}`", machine.name), name, &names, at);
        }
        found
    }

    pub(super) fn machines(&mut self, names: &[Spanned<String>]) -> Vec<VmIx> {
        names.iter().filter_map(|name| self.machine(&name.value, name.at)).collect()
    }

    /// As Azure spells it; some group or collection must have it.
    fn rule(&mut self, rule: &Spanned<[String; 2]>) -> Option<String> {
        let [kind, name] = &rule.value;
        let [_, default, admin] = RULE_KINDS;
        let (what, known): (_, Vec<String>) = if kind == default {
            ("default security rule", DEFAULT_RULES.map(str::to_owned).to_vec())
        } else if kind == admin {
            let rules = self.network.rule_collections().flat_map(|(_, collection)| {
                collection.rules.iter().map(|rule| format!("{}/{}", collection.name, rule.name))
            });
            ("security admin rule", rules.collect())
        } else {
            let groups = &self.network.network_security_groups;
            ("security rule", groups.iter().flat_map(|nsg| &nsg.rules).map(|rule| rule.name.clone()).collect())
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let found = known.iter().find(|known| known.eq_ignore_ascii_case(name));
        if found.is_none() {
            self.unknown(what, name, &known, rule.at);
        }
        found.map(|found| format!("{kind}/{found}"))
    }

    pub(super) fn unknown(&mut self, what: &str, name: &str, known: &[&str], at: At) {
        let near = nearest(name, known.iter().copied());
        let diagnostic = self.report.error(at, format!("there is no {what} `{}`", clip(name)));
        if let Some(near) = near {
            diagnostic.help(format!("did you mean `{near}`?"));
        } else if known.len() <= 8 {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            diagnostic.help(format!("the file has: {known}"));
        }
    }

    /// A machine cannot be on the way and off it.
    fn check_ways(&mut self, test: &TestCase) {
        for name in &test.not_via {
            let same = |other: &&Spanned<String>| other.value.eq_ignore_ascii_case(&name.value);
            if test.via.iter().chain(&test.via_return).any(|other| same(&other)) {
                let message = format!("`{}` is asked to be on the way, too", clip(&name.value));
                self.report.error(name.at, message).help("remove it from `notVia`, or from `via` and `viaReturn`");
            }
        }
    }
}

/// What a test asks, in words.
fn title(test: &TestCase, probe: Probe, expect: Verdict) -> String {
    format!("{} to {}, {probe}: {expect}", word(test.from.as_ref()), word(test.to.as_ref()))
}
