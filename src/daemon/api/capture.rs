//! What a capturing client gets: pieces of a pcapng file, with what was decided on each packet as its comment.
//!
//! One idea: the file is written here, where names are known, and the client only passes it on. What was decided on one
//! packet is kept for others with the same steps, since words cost more than bytes. A client that reads too slowly
//! is asked for nothing: packets wait in a buffer of fixed size, and what finds no room there is counted in the file.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::analysis::{self, Filter, Sighting, StepKind};
use crate::daemon::engine::Engine;
use crate::daemon::wall_clock::WallClock;
use crate::dataplane::{PortId, Step};
use crate::model::Network;
use crate::wire::cut;
use crate::wire::pcapng::{self, PacketBlock, PacketWay};
use crate::worker::{CaptureWatch, Captured, Traced};

use super::AttachmentNames;
use super::follow::{Feed, Look};
use super::protocol::{self, Refusal, Response};
use super::recent::RecentNetworks;

/// Decisions that are kept in words.
const KNOWN: usize = 4096;

/// A capture for one client. Its first answer is the file's beginning: from then on nothing is missed.
pub(in crate::daemon) fn capture(engine: Arc<Engine>, wanted: protocol::Capture) -> Result<Feed, Refusal> {
    let filter = analysis::parse_filter(&wanted.filter)
        .map_err(|error| Refusal { message: error.to_string(), help: error.advice().map(str::to_owned) })?;
    let published = engine.published();
    let pattern = analysis::pattern(&filter, &published.network, &published.compiled).map_err(Refusal::new)?;
    // Only a whole super-packet can be cut.
    let most = if wanted.cut { u32::MAX } else { wanted.snap };
    let watch = engine.capture(pattern, most as usize).map_err(Refusal::new)?;
    let mut file = File::begin(wanted);
    file.announce(&published.network);
    let mut writer =
        Writer { engine, filter, watch, networks: RecentNetworks::from(published), known: HashMap::new(), file };
    let mut begun = false;
    Ok(Box::new(move |look| {
        writer.drain(look);
        let is_news = !std::mem::replace(&mut begun, true) || !writer.file.bytes.is_empty();
        if is_news { vec![Response::Captured(writer.file.piece(&writer.watch))] } else { Vec::new() }
    }))
}

struct Writer {
    engine: Arc<Engine>,
    filter: Filter,
    watch: CaptureWatch,
    networks: RecentNetworks,
    known: Known,
    file: File,
}

/// What packets with the same words have in common, beside their steps.
type Decided = (u64, PortId, Option<(IpAddr, IpAddr)>);

/// The words of the packets before, by what was decided and the steps that led to it.
type Known = HashMap<Decided, Vec<(Vec<Step>, Arc<Words>)>>;

/// What packets with the same steps have in common in the file.
struct Words {
    comment: String,
    interface: usize,
    way: PacketWay,
}

impl Writer {
    fn drain(&mut self, look: Look) {
        if look == Look::Last {
            self.engine.finish_batches();
        }
        let clock = WallClock::now();
        self.file.now = clock.unix_nanos(crate::dataplane::Timestamp(crate::sys::clock::monotonic_nanos()));
        self.keep_up();
        let Self { watch, networks, known, file, .. } = self;
        let packets = watch.take();
        let decided: Vec<_> = packets.decisions().iter().map(|traced| words(known, networks, file, traced)).collect();
        let mut in_time: Vec<_> = packets.iter().collect();
        // A worker offers a packet after it has sent it: the answer may be offered first.
        in_time.sort_by_key(|packet| packet.at);
        for packet in in_time {
            if file.is_full() {
                break;
            }
            let from = packets.decisions()[packet.decision].ingress;
            match &decided[packet.decision] {
                Some(words) => file.put(&packet, words, from, clock.unix_nanos(packet.at)),
                None => file.unnamed += 1,
            }
        }
    }

    /// Uses the network that is published now. A machine that has left is at no packet.
    fn keep_up(&mut self) {
        let Some(published) = self.networks.advance(&self.engine) else { return };
        if let Ok(pattern) = analysis::pattern(&self.filter, &published.network, &published.compiled)
            && self.watch.change(pattern)
        {
            self.engine.show_again();
        }
    }
}

fn words(known: &mut Known, networks: &RecentNetworks, file: &mut File, traced: &Traced) -> Option<Arc<Words>> {
    let leg = &traced.leg;
    let key = (traced.generation, traced.ingress, leg.packet().map(|packet| (packet.tuple.src, packet.tuple.dst)));
    let same = known.get(&key).and_then(|all| all.iter().find(|(steps, _)| steps == leg.steps()));
    if let Some((_, words)) = same {
        return Some(Arc::clone(words));
    }
    let network = networks.of(traced.generation)?;
    let sighting = analysis::sighting(&network.network, &network.compiled, traced.ingress, leg, 0)?;
    let words = Arc::new(Words::of(&sighting, file));
    if known.len() >= KNOWN {
        known.clear();
    }
    let all = known.entry(key).or_default();
    if all.len() < 64 {
        all.push((leg.steps().to_vec(), Arc::clone(&words)));
    }
    Some(words)
}

impl Words {
    fn of(sighting: &Sighting, file: &mut File) -> Self {
        let path = &sighting.path;
        let verdict = match &path.dropped {
            Some(reason) => format!("dropped: {reason}"),
            None => "delivered".to_owned(),
        };
        let steps = path.hops.iter().flat_map(|hop| &hop.steps);
        let decides = |what: StepKind| !matches!(what, StepKind::Send | StepKind::Arrive | StepKind::Deliver);
        let deciding = steps.filter(|step| decides(step.what)).map(|step| format!("{}: {}", step.object, step.text));
        let comment = std::iter::once(verdict).chain(deciding).collect::<Vec<_>>().join("\n");
        let arrives = |hop: &&analysis::Hop| hop.steps.iter().any(|step| step.what == StepKind::Arrive);
        let to = path.hops.iter().rev().find(arrives).map(|hop| (hop.nic.as_str(), hop.node.as_str()));
        let (interface, way) = file.place((&sighting.nic, &sighting.node), to);
        Self { comment, interface, way }
    }
}

/// The file as far as it has not been handed over, and what its statistics will say.
struct File {
    wanted: protocol::Capture,
    bytes: Vec<u8>,
    interfaces: Vec<Interface>,
    /// Packets handed over since the last piece, and in all.
    packets: u64,
    total: u64,
    /// Packets decided by tables that are gone: they have no comment.
    unnamed: u64,
    begun: u64,
    now: u64,
}

struct Interface {
    name: String,
    port: Option<PortId>,
    written: u64,
}

impl File {
    fn begin(wanted: protocol::Capture) -> Self {
        let mut bytes = Vec::new();
        pcapng::section(&mut bytes, concat!("vnet ", env!("CARGO_PKG_VERSION")));
        let clock = WallClock::now();
        let begun = clock.unix_nanos(crate::dataplane::Timestamp(crate::sys::clock::monotonic_nanos()));
        Self { wanted, bytes, interfaces: Vec::new(), packets: 0, total: 0, unnamed: 0, begun, now: begun }
    }

    /// An interface for each of the wanted machines, also of those that will be silent.
    fn announce(&mut self, network: &Network) {
        for attachment in network.attachments() {
            let place = AttachmentNames::of(network, attachment);
            let name = if place.node == place.nic { place.nic } else { format!("{}/{}", place.node, place.nic) };
            if self.wants(&place.node, &name) {
                self.interface((&name, &place.node));
            }
        }
    }

    /// Whether a capture of some machines is about this interface.
    fn wants(&self, node: &str, nic: &str) -> bool {
        let is = |name: &String| name.eq_ignore_ascii_case(node) || name.eq_ignore_ascii_case(nic);
        self.wanted.nodes.is_empty() || self.wanted.nodes.iter().any(is)
    }

    fn interface(&mut self, (nic, node): (&str, &str)) -> usize {
        if let Some(at) = self.interfaces.iter().position(|one| one.name == nic) {
            return at;
        }
        let Self { wanted, bytes, .. } = self;
        pcapng::interface(bytes, (nic, &format!("interface of {node}")), wanted.snap, &wanted.filter);
        self.interfaces.push(Interface { name: nic.to_owned(), port: None, written: 0 });
        self.interfaces.len() - 1
    }

    /// A packet stands at its sender's interface as it was sent, else at its receiver's as it came.
    fn place(&mut self, from: (&str, &str), to: Option<(&str, &str)>) -> (usize, PacketWay) {
        let arrives = to.filter(|to| !self.wants(from.1, from.0) && self.wants(to.1, to.0));
        let (place, way) = arrives.map_or((from, PacketWay::Out), |to| (to, PacketWay::In));
        (self.interface(place), way)
    }

    fn put(&mut self, packet: &Captured<'_>, words: &Words, from: PortId, at: u64) {
        let Words { interface, way, ref comment } = *words;
        if way == PacketWay::Out {
            self.interfaces[interface].port = Some(from);
        }
        let (offload, bytes) = if way == PacketWay::In { packet.as_left() } else { packet.as_sent() };
        let kept = bytes[0].len() + bytes[1].len();
        let len = packet.len.max(kept);
        let block = PacketBlock { interface: interface as u32, at, bytes, len, way, comment };
        let is_whole = kept == packet.len;
        if !is_whole || offload.is_finished() || (offload.is_super_packet() && !self.wanted.cut) {
            return self.write(&block);
        }
        for piece in cut(&bytes.concat(), &offload) {
            if !self.is_full() {
                self.write(&PacketBlock { len: piece.len(), bytes: [&piece, &[]], ..block });
            }
        }
    }

    fn write(&mut self, block: &PacketBlock<'_>) {
        pcapng::packet(&mut self.bytes, &block.kept(self.wanted.snap as usize));
        self.interfaces[block.interface as usize].written += 1;
        self.packets += 1;
        self.total += 1;
    }

    fn is_full(&self) -> bool {
        self.wanted.count.is_some_and(|count| self.total >= count)
    }

    /// What there is to hand over; and the file's end, should this be the last piece.
    fn piece(&mut self, watch: &CaptureWatch) -> protocol::Captured {
        let mut end = Vec::new();
        let mut missed = self.unnamed;
        for (at, one) in self.interfaces.iter().enumerate() {
            let own = one.port.map_or(0, |port| watch.missed(port)) + if at == 0 { self.unnamed } else { 0 };
            missed += one.port.map_or(0, |port| watch.missed(port));
            pcapng::statistics(&mut end, at as u32, (self.begun, self.now), (one.written, own));
        }
        let bytes = std::mem::take(&mut self.bytes);
        protocol::Captured {
            lengths: [bytes.len(), end.len()],
            bytes,
            end,
            packets: std::mem::take(&mut self.packets),
            missed,
            full: self.is_full(),
        }
    }
}
