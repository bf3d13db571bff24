//! Which packets pass an interface: flow records, then administrators' rules, then security groups, with what tags mean.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use vnet::dataplane::DropReason;
use vnet::model::{
    Access, AddressPrefix, AdminAccess, AdminRule, AsgIx, Direction, NicIx, Nsg, NsgIx, PlatformService, PortRange,
    RouteNextHop, SecurityProtocol, SecurityRule, ServiceTag, SubnetIx,
};

use super::super::state::{Packet, Says};
use super::super::topology::{Kind, Sent};

use super::{Admission, Party, Twin, address, any_contains};

impl Twin<'_> {
    /// NSG-20..25: a record first, else the rules.
    pub(super) fn admit(&mut self, party: Party, inbound: bool, packet: &Packet) -> Result<Admission, DropReason> {
        let twin = Twin::new(self.network);
        let rules = |inbound| twin.flushing_rules(party, inbound);
        let allowed = |inbound, first: &Sent| twin.flushing_allow(party, inbound, first);
        match self.state.ask(party, inbound, packet, rules, allowed) {
            Says::Pass => return Ok(Admission::Record),
            Says::Refuse { inbound } => return Err(denied(inbound)),
            Says::Nothing => {}
        }
        // NSG-30
        if !inbound && is_platform_service(&packet.sent) {
            return self.serve(party, &packet.sent);
        }
        if self.is_strict(party) && packet.is_mid_stream() {
            return Err(DropReason::TcpState);
        }
        self.ask_rules(party, inbound, &packet.sent)
    }

    /// NSG-23: what the groups that flush say now; an administrator's last word stands before theirs.
    fn flushing_allow(&self, party: Party, inbound: bool, sent: &Sent) -> bool {
        self.first_admin_match(self.subnet(party), inbound, sent) == Some(AdminAccess::AlwaysAllow)
            || self.flushing(party).all(|nsg| self.first_match(nsg, party, inbound, sent).0 == Access::Allow)
    }

    fn flushing(&self, party: Party) -> impl Iterator<Item = NsgIx> {
        self.groups(party).into_iter().filter(|nsg| self.nsg(*nsg).flush_connection)
    }

    /// NSG-23: their rules in one direction as they concern the party, in words that change with their meaning alone.
    pub(super) fn flushing_rules(&self, party: Party, inbound: bool) -> Option<String> {
        let field = |field: &[AddressPrefix]| {
            let mut all = BTreeSet::new();
            for part in field {
                match part {
                    AddressPrefix::Group(group) => {
                        let members = self.members(*group).flat_map(|nic| &self.network.nic(nic).addresses);
                        all.extend(members.map(|address| format!("{address:?}")));
                    }
                    AddressPrefix::Any | AddressPrefix::Prefix(_) | AddressPrefix::Tag(_) => {
                        all.insert(format!("{part:?}"));
                    }
                }
            }
            all
        };
        let rule = |rule: &SecurityRule| {
            let ports = (&rule.source_ports, &rule.destination_ports);
            format!("{:?}", (rule.protocol, rule.access, field(&rule.source), field(&rule.destination), ports))
        };
        let subnet = self.network.subnet(self.subnet(party)).network_security_group;
        let group = |nsg: NsgIx| {
            let rules: Vec<_> = self.rules(nsg, party, direction(inbound)).into_iter().map(rule).collect();
            format!("{}: {}", if Some(nsg) == subnet { "subnet" } else { "NIC" }, rules.join(", "))
        };
        let groups: Vec<_> = self.flushing(party).map(group).collect();
        (!groups.is_empty()).then(|| groups.join("; "))
    }

    /// NSG-10, ADM-01: what the admin rules leave open, every NSG present must allow.
    fn ask_rules(&self, party: Party, inbound: bool, sent: &Sent) -> Result<Admission, DropReason> {
        let subnet = self.subnet(party);
        match self.first_admin_match(subnet, inbound, sent) {
            Some(AdminAccess::Deny) => return Err(DropReason::AdminRule),
            // PEER-22: it stands in for the NSGs, so it is the explicit yes that a link may ask for.
            Some(AdminAccess::AlwaysAllow) => return Ok(Admission::Rules { custom: true }),
            // ADM-03
            Some(AdminAccess::Allow) | None => {}
        }
        let nsgs = self.groups(party);
        let mut custom = !nsgs.is_empty();
        for nsg in nsgs {
            match self.first_match(nsg, party, inbound, sent) {
                (Access::Allow, by_user) => custom &= by_user,
                (Access::Deny, _) => return Err(denied(inbound)),
            }
        }
        Ok(Admission::Rules { custom })
    }

    /// NSG-30: every list in which a rule names the service by its tag may deny it; others do not concern it.
    fn serve(&mut self, party: Party, sent: &Sent) -> Result<Admission, DropReason> {
        let subnet = self.subnet(party);
        let names = |field: &[AddressPrefix]| {
            field.iter().any(|field| match field {
                AddressPrefix::Tag(ServiceTag::Platform(service)) => {
                    let (addresses, port) = place(*service);
                    sent.dst_port == port && addresses.iter().any(|own| address(own) == sent.dst)
                }
                AddressPrefix::Any | AddressPrefix::Prefix(_) | AddressPrefix::Tag(_) | AddressPrefix::Group(_) => {
                    false
                }
            })
        };
        let served = Ok(Admission::Rules { custom: false });
        let mut admin = self.admin_rules(subnet, Direction::Outbound).into_iter();
        let first = admin.find(|rule| names(&rule.destination) && self.matches(rule, subnet, sent));
        let by_admin = first.map(|rule| rule.access);
        let is_denied = self.groups(party).into_iter().any(|nsg| {
            let mut rules = self.rules(nsg, party, Direction::Outbound).into_iter();
            let found = rules.find(|rule| names(&rule.destination) && self.matches(rule, subnet, sent));
            found.is_some_and(|rule| rule.access == Access::Deny)
        });
        match by_admin {
            Some(AdminAccess::Deny) => Err(DropReason::AdminRule),
            Some(AdminAccess::AlwaysAllow) => {
                if is_denied {
                    *self.state.met.entry("a service always allowed before a denial").or_default() += 1;
                }
                served
            }
            Some(AdminAccess::Allow) | None if is_denied => Err(DropReason::NsgOutbound),
            Some(AdminAccess::Allow) | None => served,
        }
    }

    /// Those of its NIC and its subnet, where there are any.
    fn groups(&self, party: Party) -> Vec<NsgIx> {
        let of_nic = match party {
            Party::Nic(nic) => self.network.nic(nic).network_security_group,
            Party::Behind(_) => None,
        };
        [of_nic, self.network.subnet(self.subnet(party)).network_security_group].into_iter().flatten().collect()
    }

    fn nsg(&self, nsg: NsgIx) -> &Nsg {
        &self.network.network_security_groups[nsg.0]
    }

    /// NSG-21: `tcpStateTracking: on`, unless the interface has `disableTcpStateTracking`.
    fn is_strict(&self, party: Party) -> bool {
        let wants = match party {
            Party::Nic(nic) => !self.network.nic(nic).disable_tcp_state_tracking,
            Party::Behind(_) => true,
        };
        self.network.emulation.tcp_state_tracking && wants
    }

    /// NSG-24
    pub(super) fn timeout(&self, party: Party) -> Duration {
        self.network.vnet(self.subnet(party).vnet).flow_timeout
    }

    fn first_admin_match(&self, subnet: SubnetIx, inbound: bool, sent: &Sent) -> Option<AdminAccess> {
        let mut rules = self.admin_rules(subnet, direction(inbound)).into_iter();
        rules.find(|rule| self.matches(rule, subnet, sent)).map(|rule| rule.access)
    }

    /// ADM-02: all rules that the VNet's groups get: managers in file order, then by priority, then by collection.
    fn admin_rules(&self, subnet: SubnetIx, direction: Direction) -> Vec<&AdminRule> {
        let mut all = Vec::new();
        for (m, manager) in self.network.network_managers.iter().enumerate() {
            let collections = manager.security_admin_configurations.iter().flat_map(|own| &own.rule_collections);
            for (c, collection) in collections.enumerate() {
                let mut groups = collection.applies_to_groups.iter().map(|group| &manager.network_groups[*group]);
                if groups.any(|group| group.static_members.contains(&subnet.vnet)) {
                    all.extend(collection.rules.iter().map(|rule| ((m, rule.priority, c), rule)));
                }
            }
        }
        all.retain(|(_, rule)| rule.direction == direction);
        all.sort_by_key(|(rank, _)| *rank);
        all.into_iter().map(|(_, rule)| rule).collect()
    }

    /// NSG-02: by priority, those that concern the party.
    fn rules(&self, nsg: NsgIx, party: Party, direction: Direction) -> Vec<&SecurityRule> {
        let rules = self.nsg(nsg).rules.iter();
        let mut mine: Vec<_> = rules.filter(|rule| rule.direction == direction && self.concerns(rule, party)).collect();
        mine.sort_by_key(|rule| rule.priority);
        mine
    }

    /// NSG-02: the matching rule of the lowest priority; NSG-06: what the default rules say when none matches.
    fn first_match(&self, nsg: NsgIx, party: Party, inbound: bool, sent: &Sent) -> (Access, bool) {
        let subnet = self.subnet(party);
        let mut mine = self.rules(nsg, party, direction(inbound)).into_iter();
        if let Some(rule) = mine.find(|rule| self.matches(rule, subnet, sent)) {
            return (rule.access, true);
        }
        let tag = |tag, address| self.in_tag(tag, subnet, address);
        let within = tag(ServiceTag::VirtualNetwork, sent.src) && tag(ServiceTag::VirtualNetwork, sent.dst);
        let by_default = if inbound {
            within || tag(ServiceTag::AzureLoadBalancer, sent.src)
        } else {
            within || tag(ServiceTag::Internet, sent.dst)
        };
        (if by_default { Access::Allow } else { Access::Deny }, false)
    }

    /// ASG-04: a rule for groups, seen from the interface, concerns their members alone.
    fn concerns(&self, rule: &SecurityRule, party: Party) -> bool {
        let facing = match rule.direction {
            Direction::Inbound => &rule.destination,
            Direction::Outbound => &rule.source,
        };
        facing.iter().any(|field| match field {
            AddressPrefix::Group(group) => self.members(*group).any(|nic| Party::Nic(nic) == party),
            AddressPrefix::Any | AddressPrefix::Prefix(_) | AddressPrefix::Tag(_) => true,
        })
    }

    fn members(&self, group: AsgIx) -> impl Iterator<Item = NicIx> {
        self.network.application_security_groups[group.0].members.iter().copied()
    }

    fn matches<A>(&self, rule: &SecurityRule<A>, subnet: SubnetIx, sent: &Sent) -> bool {
        let protocol = match rule.protocol {
            SecurityProtocol::Any => true,
            SecurityProtocol::Tcp => sent.kind == Kind::Tcp,
            SecurityProtocol::Udp => sent.kind == Kind::Udp,
            SecurityProtocol::Icmp => sent.kind == Kind::Ping,
            SecurityProtocol::Esp => sent.kind == Kind::Esp,
            SecurityProtocol::Ah => false,
        };
        protocol
            && self.any_address(&rule.source, subnet, sent.src)
            && self.any_address(&rule.destination, subnet, sent.dst)
            && port_matches(&rule.source_ports, sent, sent.src_port)
            && port_matches(&rule.destination_ports, sent, sent.dst_port)
    }

    fn any_address(&self, fields: &[AddressPrefix], subnet: SubnetIx, address: IpAddr) -> bool {
        fields.iter().any(|field| match field {
            AddressPrefix::Any => true,
            AddressPrefix::Prefix(prefix) => prefix.contains(&address),
            AddressPrefix::Tag(tag) => self.in_tag(*tag, subnet, address),
            // ASG-05
            AddressPrefix::Group(group) => {
                self.members(*group).any(|nic| self.network.nic(nic).addresses.contains(&address))
            }
        })
    }

    fn in_tag(&self, tag: ServiceTag, subnet: SubnetIx, address: IpAddr) -> bool {
        let platform = self::address(PLATFORM);
        match tag {
            // TAG-01..04, TAG-06
            ServiceTag::VirtualNetwork => {
                let own = any_contains(&self.network.vnet(subnet.vnet).address_space, address);
                let peered = self
                    .connected(subnet.vnet)
                    .any(|link| link.allow_virtual_network_access && any_contains(&link.remote_address_space, address));
                let routed = self.user_routes(subnet).into_iter().any(|(prefix, rank, next_hop)| {
                    let is_written = rank == 9;
                    let counts = !matches!(next_hop, RouteNextHop::Internet | RouteNextHop::None);
                    is_written && counts && prefix.contains(&address)
                });
                own || peered || routed || address == platform
            }
            // TAG-10
            ServiceTag::Internet => {
                is_public(address) && address != platform && !self.in_tag(ServiceTag::VirtualNetwork, subnet, address)
            }
            // TAG-13
            ServiceTag::Published(tag) => any_contains(&self.network.service_tag(tag).prefixes, address),
            ServiceTag::Platform(service) => place(service).0.iter().any(|own| self::address(own) == address),
            // TAG-12
            ServiceTag::AzureLoadBalancer => {
                address == platform || address == "fe80::1234:5678:9abc".parse::<IpAddr>().unwrap()
            }
        }
    }
}

/// FAB-12
pub(super) const PLATFORM: &str = "168.63.129.16";
pub(super) const METADATA: &str = "169.254.169.254";

/// NSG-30: a service's addresses and port.
fn place(service: PlatformService) -> (&'static [&'static str], u16) {
    match service {
        PlatformService::Dns => (&[PLATFORM], 53),
        PlatformService::Imds => (&[METADATA], 80),
        PlatformService::Lkm => (&["20.118.99.224", "40.83.235.53", "23.102.135.246"], 1688),
    }
}

/// NSG-30, FAB-12: the services, and the ports of the guest's agent.
fn is_platform_service(sent: &Sent) -> bool {
    let at = |service| {
        let (addresses, port): (&[&str], u16) = place(service);
        port == sent.dst_port && addresses.iter().any(|own| address(own) == sent.dst)
    };
    let agent = sent.dst == address(PLATFORM) && [80, 443, 32526].contains(&sent.dst_port);
    match sent.kind {
        Kind::Tcp => agent || PlatformService::ALL.into_iter().any(at),
        Kind::Udp => agent || at(PlatformService::Dns),
        Kind::Ping | Kind::Esp => false,
    }
}

/// FAB-12: names and metadata.
pub(super) fn is_served(sent: &Sent) -> bool {
    let asked = (sent.dst, sent.dst_port);
    match sent.kind {
        Kind::Udp => asked == (address(PLATFORM), 53),
        Kind::Tcp => [(address(PLATFORM), 53), (address(METADATA), 80)].contains(&asked),
        Kind::Ping | Kind::Esp => false,
    }
}

/// NSG-15
fn denied(inbound: bool) -> DropReason {
    if inbound { DropReason::NsgInbound } else { DropReason::NsgOutbound }
}

fn direction(inbound: bool) -> Direction {
    if inbound { Direction::Inbound } else { Direction::Outbound }
}

/// NSG-07: a restricted port field never matches a packet without ports.
fn port_matches(ranges: &[PortRange], sent: &Sent, port: u16) -> bool {
    let has_ports = matches!(sent.kind, Kind::Tcp | Kind::Udp);
    ranges.contains(&PortRange::ALL)
        || has_ports && ranges.iter().any(|range| range.first <= port && port <= range.last)
}

fn is_public(address: IpAddr) -> bool {
    let private = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"];
    let private = private.iter().chain(&["192.168.0.0/16", "224.0.0.0/3"]);
    match address {
        IpAddr::V4(_) => {
            !private.map(|prefix| prefix.parse::<IpNet>().unwrap()).any(|prefix| prefix.contains(&address))
        }
        IpAddr::V6(_) => "2000::/3".parse::<IpNet>().unwrap().contains(&address),
    }
}
