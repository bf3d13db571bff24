//! Which machines forward a packet, observed at the machines themselves.
//!
//! One idea: a guest that forwards sends a packet on with a smaller hop limit than it came with. So captures at each
//! machine show which machines forwarded it, and the hop limits give their order. A capture may be limited to packets
//! to or from given addresses, and remembers a bounded number of flows. [`super::translated`] knows which of them are
//! one flow, under the names that guests give it.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lab::error::{During, Result};
use crate::sys::netns::Netns;
use crate::sys::sniffer::Sniffer;

/// How long a watcher waits for a packet before it checks whether to end.
const PATIENCE: Duration = Duration::from_millis(20);
/// Packets that may still be waiting when a watcher ends: a socket's buffer holds about 300.
const REMAINDER: usize = 1000;
/// Flows that one watcher remembers.
const CAPACITY: usize = 1 << 16;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Packets of one direction. An echo's identifier stands in both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::lab) struct Flow {
    pub(in crate::lab) protocol: u8,
    pub(in crate::lab) src: (IpAddr, u16),
    pub(in crate::lab) dst: (IpAddr, u16),
}

impl Flow {
    pub(in crate::lab) fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Self {
        Self { protocol: TCP, src, dst }
    }

    pub(in crate::lab) fn udp(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Self {
        Self { protocol: UDP, src, dst }
    }

    pub(in crate::lab) fn echo(src: IpAddr, dst: IpAddr, id: u16) -> Self {
        Self { protocol: if dst.is_ipv4() { ICMP } else { ICMPV6 }, src: (src, id), dst: (dst, id) }
    }

    pub(in crate::lab) fn answer(self) -> Self {
        Self { src: self.dst, dst: self.src, ..self }
    }
}

/// The hop limits a flow's packets were seen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hops {
    most: u8,
    least: u8,
}

/// What one machine saw.
struct Sightings {
    machine: String,
    flows: HashMap<Flow, Hops>,
    /// Nothing was missed.
    complete: bool,
}

/// Watchers at work.
pub(in crate::lab) struct Watch {
    stop: Arc<AtomicBool>,
    watchers: Vec<JoinHandle<Sightings>>,
}

/// What all of them saw.
pub(in crate::lab) struct Seen(Vec<Sightings>);

impl Watch {
    /// Begins in these machines' namespaces; what passes from now on is seen, to and from these addresses or all.
    pub(in crate::lab) fn start(machines: &[(String, Netns)], addresses: Option<BTreeSet<IpAddr>>) -> Result<Self> {
        let addresses = Arc::new(addresses);
        let mut watch = Self { stop: Arc::default(), watchers: Vec::new() };
        for (machine, namespace) in machines {
            let sniffer = namespace.run(|| Sniffer::open(PATIENCE)).and_then(|opened| opened);
            let sniffer = sniffer.during(|| format!("cannot watch packets in {machine}"))?;
            let (stop, addresses) = (Arc::clone(&watch.stop), Arc::clone(&addresses));
            let machine = machine.clone();
            let look = move || look(machine, &sniffer, addresses.as_ref().as_ref(), &stop);
            let watcher = thread::Builder::new().name("vnet-watch".into()).spawn(look);
            watch.watchers.push(watcher.during(|| "cannot start a thread".into())?);
        }
        Ok(watch)
    }

    /// Ends, once everything that passed before was looked at.
    pub(in crate::lab) fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        Seen(self.watchers.drain(..).filter_map(|watcher| watcher.join().ok()).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// The machines that forwarded a flow under one of its names, in order; None if a packet may have been missed.
    pub(in crate::lab) fn way(&self, names: &[Flow]) -> Option<Vec<String>> {
        if self.0.iter().any(|sightings| !sightings.complete) {
            return None;
        }
        let met = self.met(names).into_iter().filter(|(_, hops)| hops.least < hops.most);
        Some(met.map(|(machine, _)| machine.to_owned()).collect())
    }

    /// The machines that saw a flow under one of its names, in order.
    fn met(&self, names: &[Flow]) -> Vec<(&str, Hops)> {
        let hops = |sightings: &Sightings| {
            let seen = names.iter().filter_map(|name| sightings.flows.get(name)).copied();
            seen.reduce(|a, b| Hops { most: a.most.max(b.most), least: a.least.min(b.least) })
        };
        let met = self.0.iter().filter_map(|sightings| Some((sightings.machine.as_str(), hops(sightings)?)));
        let mut met: Vec<_> = met.collect();
        met.sort_by_key(|(_, hops)| std::cmp::Reverse(hops.most));
        met
    }

    /// Where a packet that `from` sent was seen last, or the answer of `to`: the machine, whether it sent it on, and whether it
    /// was the answer. None if no machine but the sender saw it.
    pub(in crate::lab) fn last_seen(
        &self,
        names: &[Flow],
        (from, to): (&str, Option<&str>),
    ) -> Option<(String, bool, bool)> {
        let last = |names: &[Flow], sender: Option<&str>| {
            let mut met = self.met(names).into_iter().filter(|(machine, _)| Some(*machine) != sender);
            met.next_back().map(|(machine, hops)| (machine.to_owned(), hops.least < hops.most))
        };
        let answers: Vec<_> = names.iter().map(|name| name.answer()).collect();
        let answered = last(&answers, to).filter(|(machine, _)| machine != from);
        answered.map(|(machine, sent_on)| (machine, sent_on, true)).or_else(|| {
            let (machine, sent_on) = last(names, Some(from))?;
            Some((machine, sent_on, false))
        })
    }

    /// All flows that a machine saw.
    pub(in crate::lab) fn flows(&self, machine: &str) -> impl Iterator<Item = Flow> {
        let there = self.0.iter().filter(move |sightings| sightings.machine == machine);
        there.flat_map(|sightings| sightings.flows.keys().copied())
    }

    /// Whether a machine was watched all the time and never saw a flow.
    pub(in crate::lab) fn missed(&self, machine: &str, flow: Flow) -> bool {
        let mut watched = self.0.iter().filter(|sightings| sightings.machine == machine);
        watched.any(|sightings| sightings.complete && !sightings.flows.contains_key(&flow))
    }

    /// Whether a machine saw a flow at all.
    pub(in crate::lab) fn passed(&self, machine: &str, flow: Flow) -> bool {
        self.0.iter().any(|sightings| sightings.machine == machine && sightings.flows.contains_key(&flow))
    }
}

#[cfg(test)]
impl Seen {
    /// What machines saw: a flow, with the most and the fewest hops that it had left.
    pub(super) fn told(saw: &[(&str, Flow, [u8; 2])]) -> Self {
        let sightings = |(machine, flow, [most, least]): &(&str, Flow, [u8; 2])| Sightings {
            machine: (*machine).to_owned(),
            flows: HashMap::from([(*flow, Hops { most: *most, least: *least })]),
            complete: true,
        };
        Self(saw.iter().map(sightings).collect())
    }
}

fn look(machine: String, sniffer: &Sniffer, addresses: Option<&BTreeSet<IpAddr>>, stop: &AtomicBool) -> Sightings {
    let mut sightings = Sightings { machine, flows: HashMap::new(), complete: true };
    // Headers suffice: two IP headers' room for options and the ports.
    let mut buffer = [0; 128];
    let mut remainder = REMAINDER;
    while remainder > 0 {
        // Asked before the read: what came before the end is read to the last, what others send meanwhile is not.
        let ending = stop.load(Ordering::Relaxed);
        remainder -= usize::from(ending);
        match sniffer.read(&mut buffer) {
            Ok(Some(packet)) => sightings.note(packet, addresses),
            Ok(None) if ending => break,
            Ok(None) => {}
            Err(_) => {
                sightings.complete = false;
                break;
            }
        }
    }
    sightings.complete &= sniffer.lost().is_ok_and(|lost| lost == 0);
    sightings
}

impl Sightings {
    fn note(&mut self, packet: &[u8], addresses: Option<&BTreeSet<IpAddr>>) {
        let Some((flow, hops)) = parse(packet) else { return };
        let has = |address: &IpAddr| addresses.is_none_or(|addresses| addresses.contains(address));
        if !has(&flow.src.0) && !has(&flow.dst.0) {
            return;
        }
        if let Some(known) = self.flows.get_mut(&flow) {
            *known = Hops { most: known.most.max(hops), least: known.least.min(hops) };
        } else if self.flows.len() < CAPACITY {
            self.flows.insert(flow, Hops { most: hops, least: hops });
        } else {
            self.complete = false;
        }
    }
}

/// A first fragment or a whole packet without IPv6 extensions, as probes are, and its hop limit.
fn parse(packet: &[u8]) -> Option<(Flow, u8)> {
    let (hops, protocol, src, dst, rest): (_, _, IpAddr, IpAddr, _) = match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            let src = Ipv4Addr::from(*header[12..].first_chunk::<4>()?);
            let dst = Ipv4Addr::from(*header[16..].first_chunk::<4>()?);
            (header[8], header[9], src.into(), dst.into(), packet.get(usize::from(header[0] & 0x0f) * 4..)?)
        }
        6 => {
            let header = packet.first_chunk::<40>()?;
            let src = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
            let dst = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
            (header[7], header[6], src.into(), dst.into(), &packet[40..])
        }
        _ => return None,
    };
    let field = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk::<2>()?));
    let (src_port, dst_port) = match (protocol, rest.first()?) {
        (TCP | UDP, _) => (field(0)?, field(2)?),
        // Echo requests and replies; errors quote other packets.
        (ICMP, 0 | 8) | (ICMPV6, 128 | 129) => (field(4)?, field(4)?),
        _ => return None,
    };
    Some((Flow { protocol, src: (src, src_port), dst: (dst, dst_port) }, hops))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn udp(hops: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, hops, UDP, 0, 0, 10, 0, 0, 4, 10, 0, 0, 5];
        packet.extend([0xc0, 0, 0, 53, 0, 8, 0, 0]);
        packet
    }

    #[test]
    fn a_machine_that_sends_on_with_fewer_hops_has_forwarded() {
        let flow = Flow::udp((Ipv4Addr::new(10, 0, 0, 4).into(), 0xc000), (Ipv4Addr::new(10, 0, 0, 5).into(), 53));
        assert_eq!(parse(&udp(64)), Some((flow, 64)));
        for length in 0..28 {
            assert!(parse(&udp(64)[..length]).is_none_or(|(parsed, _)| parsed == flow));
        }
        let addresses = BTreeSet::from([flow.dst.0]);
        let saw = |machine: &str, hops: &[u8]| {
            let mut sightings = Sightings { machine: machine.to_owned(), flows: HashMap::new(), complete: true };
            for hops in hops {
                sightings.note(&udp(*hops), Some(&addresses));
            }
            sightings
        };
        let mut seen = Seen(vec![saw("second", &[63, 62]), saw("end", &[62]), saw("first", &[64, 63, 64, 63])]);
        assert_eq!(seen.way(&[flow]).unwrap(), ["first", "second"]);
        assert_eq!(seen.way(&[flow.answer()]).unwrap(), [""; 0]);
        assert!(seen.passed("end", flow) && !seen.passed("end", flow.answer()));
        seen.0[0].complete = false;
        assert_eq!(seen.way(&[flow]), None);
    }

    /// Only a machine that was watched all the time, and saw nothing, is sure to have missed a packet.
    #[test]
    fn a_machine_that_was_not_watched_has_missed_nothing() {
        let flow = Flow::udp((Ipv4Addr::new(10, 0, 0, 4).into(), 0xc000), (Ipv4Addr::new(10, 0, 0, 5).into(), 53));
        let there = |machine: &str, complete, saw| {
            let flows = if saw { [(flow, Hops { least: 64, most: 64 })].into() } else { HashMap::new() };
            Sightings { machine: machine.to_owned(), flows, complete }
        };
        let seen = Seen(vec![there("saw", true, true), there("not", true, false), there("cut", false, false)]);
        assert_eq!(
            ["saw", "not", "cut", "unknown"].map(|machine| seen.missed(machine, flow)),
            [false, true, false, false]
        );
        assert_eq!((seen.flows("saw").collect::<Vec<_>>(), seen.flows("not").count()), (vec![flow], 0));
        let last = |names: &[Flow]| seen.last_seen(names, ("sender", Some("not")));
        assert_eq!(
            (last(&[flow]), last(&[flow.answer()])),
            (Some(("saw".to_owned(), false, false)), Some(("saw".to_owned(), false, true)))
        );
    }

    fn flow() -> Flow {
        Flow::tcp((Ipv4Addr::new(10, 0, 0, 4).into(), 4000), (Ipv4Addr::new(10, 0, 0, 5).into(), 80))
    }

    #[test]
    fn a_packet_was_last_seen_where_it_had_the_fewest_hops_left() {
        let to = ("sender", Some("receiver"));
        let way = [("sender", flow(), [64, 64]), ("second", flow(), [63, 62]), ("first", flow(), [64, 63])];
        let last = |saw: &[_]| Seen::told(saw).last_seen(&[flow()], to);
        assert_eq!(last(&way), Some(("second".to_owned(), true, false)));
        assert_eq!(last(&way[..1]), None, "the sender alone");
        let back = |machine: &'static str, hops| (machine, flow().answer(), hops);
        let answered = [way[1], back("receiver", [64, 64]), back("second", [64, 63])];
        assert_eq!(last(&answered), Some(("second".to_owned(), true, true)));
        let arrived = [way[1], back("second", [64, 63]), back("sender", [63, 63])];
        assert_eq!(last(&arrived), Some(("second".to_owned(), true, false)), "the sender has its answer");
    }

    /// A flow that a guest has given another name is one flow.
    #[test]
    fn a_flow_under_several_names_is_in_order_by_all_of_them() {
        let named = Flow { src: (Ipv4Addr::new(10, 0, 0, 9).into(), 4000), ..flow() };
        let mut seen = Seen::told(&[("first", flow(), [64, 64]), ("second", named, [63, 62])]);
        seen.0[0].flows.insert(named, Hops { most: 63, least: 63 });
        assert_eq!(seen.way(&[flow(), named]).unwrap(), ["first", "second"]);
        assert_eq!(seen.way(&[named]).unwrap(), ["second"]);
    }

    #[test]
    fn packets_to_and_from_the_addresses_are_noted_and_no_others() {
        let (from, to) = (IpAddr::from([10, 0, 0, 4]), IpAddr::from([10, 0, 0, 5]));
        let noted = |addresses: &[IpAddr]| {
            let mut sightings = Sightings { machine: String::new(), flows: HashMap::new(), complete: true };
            sightings.note(&udp(64), Some(&addresses.iter().copied().collect()));
            sightings.flows.len()
        };
        assert_eq!([&[from][..], &[to], &[[10, 0, 0, 6].into()], &[]].map(noted), [1, 1, 0, 0]);
        let mut sightings = Sightings { machine: String::new(), flows: HashMap::new(), complete: true };
        let mut packet = udp(64);
        for port in 0..=u16::MAX {
            packet[20..22].copy_from_slice(&port.to_be_bytes());
            sightings.note(&packet, None);
        }
        assert_eq!((sightings.flows.len(), sightings.complete), (CAPACITY, true));
        sightings.note(&udp(63), None);
        assert!(sightings.complete, "a known flow");
        packet[19] = 9;
        sightings.note(&packet, None);
        assert_eq!((sightings.flows.len(), sightings.complete), (CAPACITY, false), "there is no room");
    }

    #[test]
    fn echoes_are_known_by_their_identifiers_and_errors_are_no_flows() {
        let v4 = |kind: u8| {
            let mut packet = udp(60);
            packet[9] = ICMP;
            packet[20..28].copy_from_slice(&[kind, 0, 0, 0, 0x12, 0x34, 0, 1]);
            parse(&packet)
        };
        let (a, b) = (IpAddr::from([10, 0, 0, 4]), IpAddr::from([10, 0, 0, 5]));
        assert_eq!([0, 8].map(v4), [Some((Flow::echo(a, b, 0x1234), 60)); 2]);
        assert_eq!([3, 11].map(v4), [None; 2]);
        let v6 = |kind: u8| {
            let mut packet = [0; 48];
            (packet[0], packet[6], packet[7], packet[23], packet[39]) = (0x60, ICMPV6, 61, 1, 2);
            packet[40..].copy_from_slice(&[kind, 0, 0, 0, 0x12, 0x34, 0, 1]);
            parse(&packet)
        };
        let (a, b) = (IpAddr::from(Ipv6Addr::from_bits(1)), IpAddr::from(Ipv6Addr::from_bits(2)));
        assert_eq!([128, 129].map(v6), [Some((Flow::echo(a, b, 0x1234), 61)); 2]);
        assert_eq!([1, 3, 135].map(v6), [None; 3]);
        assert_eq!(Flow::echo(b, a, 7), Flow::echo(a, b, 7).answer());
    }
}
