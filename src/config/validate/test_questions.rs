//! What a test asks beside reachability: every name is one of the network's, and every question can be asked.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::schema::test_case::{EndpointName, Protocol, TestCase};
use crate::config::schema::test_questions::{
    Asked, Bgp, Dns, During, Ends, Exec, Flows, Http, Latency, Patterns, RoutePattern, RulePattern,
};
use crate::config::yaml::diagnostic::{At, Spanned, clip, nearest};
use crate::model::{
    self, BgpPeer, BgpTest, BitRate, DnsExpectation, DnsTest, DuringTest, Endpoint, ExecTest, FlowsTest, HttpTest,
    Internet, LatencyTest, PeerState, Probe, Program, Question, RecordType, RouteState, RoutesTest, RulesTest,
    SubnetIx, TestEnds, ThroughputTest, VnetIx, counted,
};

use super::test_case::Reader;
use super::test_words::{Url, in_short, listed, word};

/// Connections that a test of flows opens.
const FLOWS: u16 = 32;
/// How long packets go on after a change.
const AFTER_CHANGE: Duration = Duration::from_secs(2);
const OK: u16 = 200;
/// A load takes a port that is free, which the model is asked about.
const FREE_PORT: u16 = 49152;

impl Reader<'_> {
    /// The question that stands under a key of its own, and what it asks in words.
    pub(super) fn question(
        &mut self,
        test: &TestCase,
        key: &str,
        (asked, own): &(Asked, Ends),
    ) -> Option<(Question, String)> {
        let ends = self.merged(test, own);
        let on = word(ends.from.as_ref());
        let between = || format!("{on} to {}", word(ends.to.as_ref()));
        if !matches!(asked, Asked::Flows(_) | Asked::Latency(_) | Asked::Throughput(_) | Asked::During(_)) {
            self.refuse_far_end(key, &ends);
        }
        Some(match asked {
            Asked::Http(http) => {
                let question = self.http(test, &ends, http)?;
                let title = format!("{on}: {} answers {}", http.url.as_ref()?.value, question.status);
                (Question::Http(question), title)
            }
            Asked::Dns(dns) => {
                let question = self.dns(test, &ends, dns)?;
                let title = format!("{on}: {} record of {}", question.record, question.name);
                (Question::Dns(question), title)
            }
            Asked::Exec(exec) => {
                let question = self.exec(test, &ends, exec)?;
                let title = format!("{on}: {} ends with {}", clip(&in_short(&question.program.command)), question.exit);
                (Question::Exec(question), title)
            }
            Asked::Routes(patterns) => {
                let question = self.routes(test, &ends, patterns)?;
                let title = listed(&question.contains, &question.absent);
                (Question::Routes(question), format!("routes of {on}: {title}"))
            }
            Asked::Rules(patterns) => {
                let question = self.rules(test, &ends, patterns)?;
                let title = listed(&question.contains, &question.absent);
                (Question::Rules(question), format!("rules of {on}: {title}"))
            }
            Asked::Bgp(bgp) => {
                let question = self.bgp(test, &ends, bgp)?;
                let title = format!("{on}: session with {} is {}", question.peer, question.state);
                (Question::Bgp(question), title)
            }
            Asked::Flows(flows) => {
                let question = self.flows(test, &ends, flows)?;
                let title = format!("{}: flows have {} or more", between(), counted(question.at_least, "machine"));
                (Question::Flows(question), title)
            }
            Asked::Latency(latency) => {
                let question = self.latency(test, &ends, latency)?;
                (Question::Latency(question), format!("{}: latency", between()))
            }
            Asked::Throughput(above) => {
                let question = self.throughput(test, &ends, above.as_ref()?.value)?;
                let title = format!("{}: more than {}", between(), question.above);
                (Question::Throughput(question), title)
            }
            Asked::During(during) => {
                let question = self.during(test, &ends, during)?;
                let title =
                    format!("{}: at most {} lost while {} is applied", between(), question.loss, question.apply);
                (Question::During(question), title)
            }
        })
    }

    /// The ends that the test names, or its question does.
    fn merged(&mut self, test: &TestCase, own: &Ends) -> Ends {
        fn twice<T>(outer: Option<&Spanned<T>>, inner: Option<&Spanned<T>>) -> Option<At> {
            outer.and(inner).map(|inner| inner.at)
        }
        let twice = [
            twice(test.from.as_ref(), own.from.as_ref()),
            twice(test.to.as_ref(), own.to.as_ref()),
            twice(test.protocol.as_ref(), own.protocol.as_ref()),
            twice(test.port.as_ref(), own.port.as_ref()),
        ];
        for at in twice.into_iter().flatten() {
            self.report.error(at, "the test says this already, beside the question").help("remove one of the two");
        }
        Ends {
            from: own.from.clone().or_else(|| test.from.clone()),
            to: own.to.clone().or_else(|| test.to.clone()),
            protocol: own.protocol.clone().or_else(|| test.protocol.clone()),
            port: own.port.clone().or_else(|| test.port.clone()),
        }
    }

    fn refuse_far_end(&mut self, key: &str, ends: &Ends) {
        let keys = [
            ("to", ends.to.as_ref().map(|to| to.at)),
            ("protocol", ends.protocol.as_ref().map(|protocol| protocol.at)),
            ("port", ends.port.as_ref().map(|port| port.at)),
        ];
        for (name, at) in keys.into_iter().filter_map(|(name, at)| Some((name, at?))) {
            self.report.error(at, format!("`{name}` has no meaning in a test of `{key}`")).help("remove it");
        }
    }

    /// What a question needs and nothing names.
    fn missing(&mut self, test: &TestCase, what: &str, expected: &str) {
        self.report.error(test.at, format!("this test needs `{what}`")).expected(expected);
    }

    fn http(&mut self, test: &TestCase, ends: &Ends, http: &Http) -> Option<HttpTest> {
        let from = self.start(test, ends);
        let url = http.url.as_ref()?;
        let Some(place) = Url::parse(&url.value) else {
            let message = format!("`{}` is not the URL of a page", clip(&url.value));
            let diagnostic = self.report.error(url.at, message);
            diagnostic.expected("http:// or https:// with a machine or an address, such as http://db:8080/status");
            if !url.value.contains("://") {
                diagnostic.help(format!("did you mean `http://{}`?", clip(&url.value)));
            }
            return None;
        };
        let name = match place.host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => EndpointName::Address(address),
            Err(_) => EndpointName::Node { name: place.host.to_owned(), nic: None },
        };
        let to = self.endpoint(&Spanned { value: name, at: url.at })?;
        Some(HttpTest {
            ends: TestEnds { from: from?, to, probe: Probe::Tcp(place.port) },
            secure: place.secure,
            host: place.host.to_owned(),
            path: place.path.to_owned(),
            status: http.status.as_ref().map_or(OK, |status| status.value),
            body: http.body.as_ref().map(|body| body.value.clone()),
        })
    }

    fn dns(&mut self, test: &TestCase, ends: &Ends, dns: &Dns) -> Option<DnsTest> {
        let on = match self.start(test, ends) {
            None => None,
            Some(Endpoint::Vm(vm)) => Some(vm),
            Some(Endpoint::Nic(nic)) => Some(self.network.nic(nic).virtual_machine),
            Some(Endpoint::Address(_) | Endpoint::Internet | Endpoint::Outside(_)) => {
                let at = ends.from.as_ref().map_or(test.at, |from| from.at);
                self.report.error(at, "names are asked of a machine's own servers").expected("a virtual machine");
                None
            }
        };
        let name = dns.name.as_ref()?;
        let is_address = name.value.parse::<IpAddr>().is_ok();
        let of_answer = dns.answer.first().and_then(|answer| answer.value.parse::<IpAddr>().ok());
        let record = match (&dns.record, of_answer) {
            (Some(record), _) => record.value,
            (None, _) if is_address => RecordType::Ptr,
            (None, Some(IpAddr::V6(_))) => RecordType::Aaaa,
            (None, _) => RecordType::A,
        };
        if let (RecordType::A | RecordType::Aaaa, true) = (record, is_address) {
            self.report
                .error(name.at, format!("an address has no {record} record"))
                .help("leave `type` out, or ask for a name");
        }
        let absent = dns.absent.as_ref().filter(|absent| absent.value);
        if let (Some(absent), false) = (absent, dns.answer.is_empty()) {
            self.report
                .error(absent.at, "a name cannot be absent and have an answer")
                .help("remove `absent`, or `answer`");
        }
        let expect = match (absent, &dns.answer[..]) {
            (Some(_), _) => DnsExpectation::Absent,
            (None, []) => DnsExpectation::Some,
            (None, answers) => {
                DnsExpectation::Records(answers.iter().map(|answer| answer.value.to_lowercase()).collect())
            }
        };
        Some(DnsTest { on: on?, name: name.value.clone(), record, expect })
    }

    fn exec(&mut self, test: &TestCase, ends: &Ends, exec: &Exec) -> Option<ExecTest> {
        let on = self.start(test, ends);
        let sandbox_of = |program: &Program| program.sandbox;
        let (on, sandbox) = match on? {
            Endpoint::Vm(vm) => (self.network.vm(vm).name.clone(), sandbox_of(&self.network.vm(vm).run)),
            Endpoint::Outside(customer) => {
                (self.network.name_of_customer(customer).to_owned(), sandbox_of(self.network.program(customer)))
            }
            Endpoint::Internet => {
                let sandbox = self.network.internet.as_ref().map(|internet| sandbox_of(&internet.run));
                (Internet::NAME.to_owned(), sandbox.unwrap_or_default())
            }
            Endpoint::Nic(_) | Endpoint::Address(_) => {
                let at = ends.from.as_ref().map_or(test.at, |from| from.at);
                self.report
                    .error(at, "a program runs in a machine, whatever its interfaces")
                    .expected("a machine's name");
                return None;
            }
        };
        Some(ExecTest {
            on,
            program: Program { command: exec.command.as_ref()?.value.clone(), sandbox },
            exit: exec.exit.as_ref().map_or(0, |exit| exit.value),
            stdout: exec.stdout.as_ref().map(|stdout| stdout.value.clone()),
        })
    }

    fn routes(&mut self, test: &TestCase, ends: &Ends, patterns: &Patterns<RoutePattern>) -> Option<RoutesTest> {
        let on = self.place(test, ends);
        self.check_patterns(test, patterns.given);
        let pattern = |pattern: &Spanned<RoutePattern>| {
            let RoutePattern { prefix, next_hop_type, next_hop_ip, source, state } = pattern.value;
            let state = state.unwrap_or(RouteState::Active);
            Some(model::RoutePattern { prefix: prefix?, next_hop_type, next_hop_ip, source, state })
        };
        let all = |list: &[Spanned<RoutePattern>]| list.iter().filter_map(pattern).collect();
        Some(RoutesTest { on: on?.1, contains: all(&patterns.contains), absent: all(&patterns.absent) })
    }

    fn rules(&mut self, test: &TestCase, ends: &Ends, patterns: &Patterns<RulePattern>) -> Option<RulesTest> {
        let on = self.place(test, ends);
        self.check_patterns(test, patterns.given);
        let known = self.rule_names();
        let names: Vec<&str> = known.iter().filter_map(|name| name.rsplit('/').next()).collect();
        for pattern in patterns.contains.iter().chain(&patterns.absent) {
            let Some(name) = &pattern.value.name else { continue };
            let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
            if known.iter().any(|known| bare(known) == bare(&name.value)) {
                continue;
            }
            // A topology without what the test shows may lack the rule, too.
            let message = format!("there is no rule `{}`: no interface can have it", clip(&name.value));
            let near = nearest(bare(&name.value).as_str(), names.iter().copied());
            let diagnostic = self.report.warning(name.at, message);
            if let Some(near) = near {
                diagnostic.help(format!("did you mean `{near}`?"));
            }
        }
        let pattern = |pattern: &Spanned<RulePattern>| {
            let RulePattern { name, access, direction, priority } = pattern.value.clone();
            Some(model::RulePattern { name: name?.value, access, direction, priority })
        };
        let all = |list: &[Spanned<RulePattern>]| list.iter().filter_map(pattern).collect();
        Some(RulesTest { on: on?.0, contains: all(&patterns.contains), absent: all(&patterns.absent) })
    }

    fn check_patterns(&mut self, test: &TestCase, given: bool) {
        if !given {
            self.missing(test, "contains` or `absent", "at least one that must be there, or must not");
        }
    }

    fn bgp(&mut self, test: &TestCase, ends: &Ends, bgp: &Bgp) -> Option<BgpTest> {
        let (nodes, connections) = (self.speakers(), self.connections());
        let on = match &ends.from {
            None => {
                self.missing(test, "on", "a gateway, a site or a route server");
                None
            }
            Some(Spanned { value, at }) => {
                let name = word(Some(&Spanned { value: value.clone(), at: *at }));
                let known: Vec<&str> = nodes.iter().map(String::as_str).collect();
                let found = known.iter().find(|known| known.eq_ignore_ascii_case(&name));
                if found.is_none() {
                    self.unknown("gateway, site or route server", &name, &known, *at);
                }
                found.map(|found| (*found).to_owned())
            }
        };
        let written = bgp.peer.as_ref()?;
        let peer = if let Ok(address) = written.value.parse::<IpAddr>() {
            Some(BgpPeer::Address(address))
        } else {
            let known: Vec<&str> = nodes.iter().chain(&connections).map(String::as_str).collect();
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(&written.value));
            if found.is_none() {
                self.unknown("peer or connection", &written.value, &known, written.at);
            }
            found.map(|found| BgpPeer::Name((*found).to_owned()))
        };
        let ranges = |list: &[Spanned<_>]| list.iter().map(|range| range.value).collect();
        Some(BgpTest {
            on: on?,
            peer: peer?,
            state: bgp.state.as_ref().map_or(PeerState::Connected, |state| state.value),
            prefixes: ranges(&bgp.prefixes),
            absent: ranges(&bgp.absent),
        })
    }

    fn flows(&mut self, test: &TestCase, ends: &Ends, flows: &Flows) -> Option<FlowsTest> {
        let port = match (&ends.port, &ends.protocol) {
            (Some(port), None | Some(Spanned { value: Protocol::Tcp, .. })) => Some(port.value),
            (None, _) => {
                self.missing(test, "port", "a TCP port: flows are connections");
                None
            }
            (Some(_), Some(protocol)) => {
                self.report.error(protocol.at, "flows are TCP connections").help("remove `protocol`");
                None
            }
        };
        let over = self.machines(&flows.over);
        let at_least = flows.at_least.as_ref()?;
        let count = flows.count.as_ref().map_or(FLOWS.max(at_least.value), |count| count.value);
        if count < at_least.value {
            let message = format!("{count} flows cannot have {} machines", at_least.value);
            self.report.error(at_least.at, message).help("raise `count`, or lower `atLeast`");
        }
        if !over.is_empty() && over.len() < usize::from(at_least.value) {
            let message = format!("`over` names {}, fewer than `atLeast`", counted(over.len(), "machine"));
            self.report.error(at_least.at, message).help("name more machines, or leave `over` out");
        }
        let ends = self.traffic(test, ends, Probe::Tcp(port?))?;
        Some(FlowsTest { ends, count, at_least: at_least.value.into(), over })
    }

    fn latency(&mut self, test: &TestCase, ends: &Ends, latency: &Latency) -> Option<LatencyTest> {
        self.refuse_ports("latency", ends);
        let value = |time: &Option<Spanned<Duration>>| time.as_ref().map(|time| time.value);
        let (below, p99) = (value(&latency.below), value(&latency.p99));
        if below.or(p99).is_none() {
            self.missing(test, "below` or `p99", "a time such as 5ms");
        }
        Some(LatencyTest { ends: self.traffic(test, ends, Probe::Udp(FREE_PORT))?, below, p99 })
    }

    fn throughput(&mut self, test: &TestCase, ends: &Ends, above: BitRate) -> Option<ThroughputTest> {
        self.refuse_ports("throughput", ends);
        Some(ThroughputTest { ends: self.traffic(test, ends, Probe::Tcp(FREE_PORT))?, above })
    }

    /// The load chooses its ports itself.
    fn refuse_ports(&mut self, key: &str, ends: &Ends) {
        let ports = [ends.port.as_ref().map(|port| port.at), ends.protocol.as_ref().map(|protocol| protocol.at)];
        for at in ports.into_iter().flatten() {
            self.report.error(at, format!("a test of `{key}` takes a free port of its own")).help("remove it");
        }
    }

    fn during(&mut self, test: &TestCase, ends: &Ends, during: &During) -> Option<DuringTest> {
        let protocol = ends.protocol.as_ref().map(|protocol| protocol.value);
        let probe = match (protocol, &ends.port) {
            (None | Some(Protocol::Icmp), None) => Some(Probe::Ping),
            (None | Some(Protocol::Tcp), Some(port)) => Some(Probe::Tcp(port.value)),
            (Some(protocol), _) => {
                let at = ends.protocol.as_ref().map_or(test.at, |protocol| protocol.at);
                let message = match protocol {
                    Protocol::Tcp => "a connection needs a `port`",
                    Protocol::Udp | Protocol::Icmp => "during a change pings go, or a TCP connection to a `port`",
                };
                self.report.error(at, message).expected("a port alone, or neither port nor protocol");
                None
            }
        };
        let apply = during.apply.as_ref()?;
        let leaves = apply.value.starts_with('/') || apply.value.split('/').any(|part| part == "..");
        if leaves {
            self.report
                .error(apply.at, format!("`{}` is outside the topology's directory", clip(&apply.value)))
                .expected("a file beside the topology, or below it");
        }
        Some(DuringTest {
            ends: self.traffic(test, ends, probe?)?,
            apply: apply.value.clone(),
            loss: during.loss.as_ref().map_or(0, |loss| loss.value),
            span: during.span.as_ref().map_or(AFTER_CHANGE, |span| span.value),
        })
    }

    /// Both ends.
    fn traffic(&mut self, test: &TestCase, ends: &Ends, probe: Probe) -> Option<TestEnds> {
        let from = self.start(test, ends);
        if ends.to.is_none() {
            self.missing(test, "to", "a machine, MACHINE/INTERFACE or an address");
        }
        let to = ends.to.as_ref().and_then(|to| self.endpoint(to));
        Some(TestEnds { from: from?, to: to?, probe })
    }

    fn start(&mut self, test: &TestCase, ends: &Ends) -> Option<Endpoint> {
        if ends.from.is_none() {
            self.missing(test, "from", "a machine, MACHINE/INTERFACE or an address");
        }
        ends.from.as_ref().and_then(|from| self.sender(from))
    }

    /// A machine's subnet, or a subnet; with its name for `rules`.
    fn place(&mut self, test: &TestCase, ends: &Ends) -> Option<(String, SubnetIx)> {
        let Some(Spanned { value, at }) = &ends.from else {
            self.missing(test, "on", "a machine, MACHINE/INTERFACE or VNET/SUBNET");
            return None;
        };
        let EndpointName::Node { name, nic } = value else {
            self.report
                .error(*at, "an address is not a place with routes or rules")
                .expected("a machine or VNET/SUBNET");
            return None;
        };
        let network = self.network;
        let same = |known: &str, name: &str| known.eq_ignore_ascii_case(name);
        let is_machine = network.virtual_machines.iter().any(|vm| same(&vm.name, name));
        let vnet = network.virtual_networks.iter().position(|vnet| same(&vnet.name, name));
        if let (Some(vnet), false, Some(subnet)) = (vnet, is_machine, nic) {
            let subnets = &network.virtual_networks[vnet].subnets;
            let found = subnets.iter().position(|known| same(&known.name, subnet));
            if found.is_none() {
                let names: Vec<_> = subnets.iter().map(|subnet| subnet.name.as_str()).collect();
                self.unknown(&format!("subnet of `{name}`"), subnet, &names, *at);
            }
            return found.map(|subnet| {
                let place = format!("{}/{}", network.virtual_networks[vnet].name, subnets[subnet].name);
                (place, SubnetIx { vnet: VnetIx(vnet), subnet })
            });
        }
        if !is_machine {
            let vnets = network.virtual_networks.iter();
            let subnets = vnets.flat_map(|vnet| vnet.subnets.iter().map(|it| format!("{}/{}", vnet.name, it.name)));
            let machines = network.virtual_machines.iter().map(|vm| vm.name.clone());
            let known: Vec<String> = machines.chain(subnets).collect();
            self.unknown("machine or subnet", name, &known.iter().map(String::as_str).collect::<Vec<_>>(), *at);
            return None;
        }
        let vm = self.machine(name, *at)?;
        let nic = match nic {
            Some(nic) => self.interface(vm, nic, *at)?,
            None => *network.vm(vm).network_interfaces.iter().find(|nic| network.nic(**nic).primary)?,
        };
        let place = format!("{}/{}", network.vm(vm).name, network.nic(nic).name);
        Some((place, network.nic(nic).subnet))
    }

    /// Every node that may speak BGP.
    fn speakers(&self) -> Vec<String> {
        let network = self.network;
        let gateways = network.virtual_network_gateways.iter().map(|gateway| gateway.name.clone());
        let sites = network.sites.iter().map(|site| site.name.clone());
        let servers = network.route_servers.iter().map(|server| server.name.clone());
        let clouds = network.private_clouds.iter().map(|cloud| cloud.name.clone());
        let circuits = network.express_route_circuits.iter().map(|circuit| circuit.name.clone());
        gateways.chain(sites).chain(servers).chain(clouds).chain(circuits).collect()
    }

    fn connections(&self) -> Vec<String> {
        let peers = self.network.route_servers.iter().flat_map(|server| &server.connections);
        let connections = self.network.connections.iter().map(|connection| connection.name.clone());
        connections.chain(peers.map(|peer| peer.name.clone())).collect()
    }
}
