//! Flow records, told as plainly as the rules have them: each keeps everything that went by it, and what it means is read
//! off that history anew each time (NSG-20..26).
//!
//! Three readings are the product's own. ICMP without an identifier has identifier zero. A record that has ended takes up
//! room until it is swept: how many a party holds is asked of the table. A full party refuses even what would take the
//! place of a record that has ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use vnet::dataplane::{DropReason, FlowState, Timestamp, Traffic};
use vnet::model::Attachment;
use vnet::wire::{Offload, Packet as Wire, build};

use super::rules::Party;
use super::topology::{Kind, Sent};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// What a closed connection's record waits for.
const LINGER: u64 = 10;
/// How long later fragments may take.
const FRAGMENTS: u64 = 30;

mod flag {
    pub(super) const FIN: u8 = 1;
    pub(super) const SYN: u8 = 2;
    pub(super) const RST: u8 = 4;
    pub(super) const ACK: u8 = 16;
}

/// One packet on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// A later fragment's ports are its first's: it does not carry them.
    pub(crate) sent: Sent,
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// TCP with these flags.
    Whole(u8),
    First {
        flags: u8,
        id: u16,
    },
    Later {
        id: u16,
    },
    /// An ICMP error about a packet.
    Error(Sent),
}

impl Packet {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let pieces = |flags, id| build::fragments(&self.sent.bytes(flags), 40, id);
        match self.form {
            Form::Whole(flags) => self.sent.bytes(flags),
            Form::First { flags, id } => pieces(flags, id)[0].clone(),
            Form::Later { id } => pieces(flag::ACK, id)[1].clone(),
            Form::Error(about) => {
                let mut bytes = build::icmp_unreachable(self.sent.src, &about.bytes(flag::ACK));
                // It may go to another machine than the one it is about.
                Wire::parse(&mut bytes, Offload::default()).unwrap().set_dst(self.sent.dst);
                bytes
            }
        }
    }

    /// The flow with the record it follows: an error uses that of the packet it is about, as that packet's answers do.
    fn flow(&self) -> Sent {
        match self.form {
            Form::Error(about) if about.src == self.sent.dst => about.mirrored(),
            Form::Whole(_) | Form::First { .. } | Form::Later { .. } | Form::Error(_) => self.sent,
        }
    }

    /// An error starts no flow.
    pub(crate) fn starts_flow(&self) -> bool {
        !matches!(self.form, Form::Error(_))
    }

    /// TCP's flags, where there are any.
    fn flags(&self) -> Option<u8> {
        match self.form {
            Form::Whole(flags) | Form::First { flags, .. } if self.sent.kind == Kind::Tcp => Some(flags),
            Form::Whole(_) | Form::First { .. } | Form::Later { .. } | Form::Error(_) => None,
        }
    }

    /// The first segment of a connection.
    fn opens(&self) -> bool {
        self.flags().is_some_and(|flags| flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN)
    }

    /// NSG-21: with `tcpStateTracking` it needs a record.
    pub(crate) fn is_mid_stream(&self) -> bool {
        self.sent.kind == Kind::Tcp && !self.opens()
    }
}

/// Its sender, source, destination, protocol and identification.
type Datagram = (Attachment, IpAddr, IpAddr, Kind, u16);

/// NSG-21: the party with the record, the direction of its first packet, and that packet.
pub(crate) type Key = (Party, bool, Sent);

/// What one party remembers of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) begun: Timestamp,
    pub(crate) refused: bool,
    timeout: u64,
    /// NSG-23: what the groups that flush said when it was judged last, and the last change that was looked at for that.
    judged_by: Option<String>,
    looked_at: usize,
    history: Vec<Received>,
}

/// One packet that went by.
#[derive(Clone, Copy, Debug)]
struct Received {
    inbound: bool,
    flags: Option<u8>,
    /// None where it was refused.
    bytes: Option<u64>,
    at: Timestamp,
}

impl Record {
    pub(crate) fn last(&self) -> Timestamp {
        self.history.last().unwrap().at
    }

    /// NSG-24
    fn lapsed(&self, now: Timestamp) -> bool {
        let wait = if self.is_closed() { self.timeout.min(LINGER) } else { self.timeout };
        now.0 > self.last().0 + wait * SECOND
    }

    /// All flags of one side, in order.
    fn said(&self, inbound: bool) -> impl Iterator<Item = u8> {
        self.history.iter().filter(move |heard| heard.inbound == inbound).filter_map(|heard| heard.flags)
    }

    /// A reset, and since then nothing but resets and SYNs: a flow that goes on is not reset.
    fn has_reset(&self, inbound: bool) -> bool {
        let mut reset = false;
        for flags in self.said(inbound) {
            if flags & flag::RST != 0 {
                reset = true;
            } else if flags & flag::SYN == 0 {
                reset = false;
            }
        }
        reset
    }

    fn has_finished(&self, inbound: bool) -> bool {
        self.said(inbound).any(|flags| flags & (flag::FIN | flag::SYN | flag::RST) == flag::FIN)
    }

    fn is_closed(&self) -> bool {
        let both = [true, false];
        both.iter().any(|side| self.has_reset(*side)) || both.iter().all(|side| self.has_finished(*side))
    }

    pub(crate) fn state(&self) -> FlowState {
        let spoke = |inbound| self.traffic(inbound).packets > 0;
        let is_tcp = self.history.iter().any(|heard| heard.flags.is_some());
        let is_plain = |flags: u8| flags & (flag::SYN | flag::RST) == 0;
        let is_syn = |flags: u8| flags & (flag::SYN | flag::RST) == flag::SYN;
        // Its opener has said SYN and nothing more.
        let (_, opener, _) = self.key;
        let begins = self.said(opener).any(is_syn) && !self.said(opener).any(is_plain);
        match () {
            () if !is_tcp && spoke(true) && spoke(false) => FlowState::Answered,
            () if !is_tcp => FlowState::Unanswered,
            () if self.is_closed() => FlowState::Closed,
            () if self.has_finished(true) || self.has_finished(false) => FlowState::Closing,
            () if begins && self.said(!opener).next().is_none() => FlowState::SynSent,
            () if begins => FlowState::SynReceived,
            () => FlowState::Established,
        }
    }

    pub(crate) fn traffic(&self, inbound: bool) -> Traffic {
        let mut traffic = Traffic::default();
        for heard in self.history.iter().filter(|heard| heard.inbound == inbound) {
            traffic += heard.bytes.map_or_else(Traffic::default, |bytes| Traffic { packets: 1, bytes });
        }
        traffic
    }
}

/// What a record says of a packet.
pub(crate) enum Says {
    /// There is none, or it has ended.
    Nothing,
    Pass,
    /// NSG-23: a change of rules has ended its flow, which was admitted in this direction.
    Refuse {
        inbound: bool,
    },
}

/// All that parties remember.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Timestamp,
    /// How often rules have changed.
    pub(crate) changes: usize,
    /// By party, direction and first packet (NSG-21).
    pub(crate) records: HashMap<Key, Record>,
    /// First fragments, and when they were seen.
    firsts: HashMap<Datagram, (Sent, Timestamp)>,
    /// NSG-26: records that a party may hold, and those that the table says it does.
    pub(crate) limit: usize,
    pub(crate) held: HashMap<Party, usize>,
    /// How often each thing happened: a generator that stops reaching it would prove nothing about it.
    pub(crate) met: BTreeMap<&'static str, usize>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            now: Timestamp(0),
            changes: 0,
            records: HashMap::new(),
            firsts: HashMap::new(),
            limit: usize::MAX,
            held: HashMap::new(),
            met: BTreeMap::new(),
        }
    }

    /// FAB-11: a later fragment needs its first, lately.
    pub(crate) fn whole(&mut self, from: Attachment, packet: &Packet) -> Result<Packet, DropReason> {
        let key = |id| (from, packet.sent.src, packet.sent.dst, packet.sent.kind, id);
        match packet.form {
            Form::Whole(_) | Form::Error(_) => Ok(*packet),
            Form::First { id, .. } => {
                self.firsts.insert(key(id), (packet.sent, self.now));
                Ok(*packet)
            }
            Form::Later { id } => {
                let first = self.firsts.get(&key(id)).filter(|(_, seen)| self.now.0 <= seen.0 + FRAGMENTS * SECOND);
                let (sent, _) = first.ok_or(DropReason::Fragment)?;
                Ok(Packet { sent: *sent, form: packet.form })
            }
        }
    }

    /// NSG-20..25. `rules` tells the rules of the groups that flush, in a direction, and none where no group does; `allowed`
    /// asks those groups of a flow's first packet.
    pub(crate) fn ask(
        &mut self,
        party: Party,
        inbound: bool,
        packet: &Packet,
        rules: impl Fn(bool) -> Option<String>,
        allowed: impl Fn(bool, &Sent) -> bool,
    ) -> Says {
        let (now, changes) = (self.now, self.changes);
        let Some(key) = self.find(party, inbound, &packet.flow()) else { return Says::Nothing };
        let record = self.records.get_mut(&key).unwrap();
        let (_, admitted_inbound, first) = key;
        if record.lapsed(now) {
            return self.met("lapsed", Says::Nothing);
        }
        if packet.opens() && record.is_closed() {
            return self.met("opened again", Says::Nothing);
        }
        if packet.opens() && record.refused {
            return self.met("opened again though refused", Says::Nothing);
        }
        if record.refused && rules(admitted_inbound).is_none() {
            return self.met("no longer refused", Says::Nothing);
        }
        let before = record.refused;
        if record.looked_at != changes {
            record.looked_at = changes;
            let now = rules(admitted_inbound);
            if now.is_some() && record.judged_by != now {
                record.refused = !allowed(admitted_inbound, &first);
                record.judged_by = now;
            }
        }
        let bytes = (!record.refused).then_some(packet.bytes().len() as u64);
        record.history.push(Received { inbound, flags: packet.flags(), bytes, at: now });
        let (refused, inbound) = (record.refused, admitted_inbound);
        match (before, refused) {
            (false, true) => self.met("ended by a change", Says::Refuse { inbound }),
            (true, true) => self.met("refused", Says::Refuse { inbound }),
            (true, false) => self.met("brought back by a change", Says::Pass),
            (false, false) if !packet.starts_flow() => self.met("error of a flow", Says::Pass),
            (false, false) => self.met("followed", Says::Pass),
        }
    }

    /// NSG-20, NSG-22: a packet that has arrived leaves a record at each end without one: both or neither (NSG-26).
    pub(crate) fn begin(
        &mut self,
        new: Vec<(Party, bool, Duration, Option<String>)>,
        packet: &Packet,
    ) -> Result<(), DropReason> {
        if !packet.starts_flow() {
            return Ok(());
        }
        for (n, (party, ..)) in new.iter().enumerate() {
            let before = new[..n].iter().filter(|(other, ..)| other == party).count();
            if self.held.get(party).copied().unwrap_or(0) + before >= self.limit {
                return Err(DropReason::FlowLimit);
            }
        }
        for (party, inbound, timeout, judged_by) in new {
            if let Some(ended) = self.find(party, inbound, &packet.sent) {
                self.records.remove(&ended);
            }
            let bytes = Some(packet.bytes().len() as u64);
            let heard = Received { inbound, flags: packet.flags(), bytes, at: self.now };
            let (key, timeout) = ((party, inbound, packet.sent), timeout.as_secs());
            let (begun, looked_at, history) = (self.now, self.changes, vec![heard]);
            self.records.insert(key, Record { key, begun, refused: false, timeout, judged_by, looked_at, history });
        }
        Ok(())
    }

    /// NSG-24: those that have not timed out.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Record> {
        self.records.values().filter(|record| !record.lapsed(self.now))
    }

    /// The first packets of the flows that one end has ended.
    pub(crate) fn refused(&self) -> HashSet<Sent> {
        let refused = self.records.values().filter(|record| record.refused && !record.lapsed(self.now));
        refused.map(|record| record.key.2).collect()
    }

    /// NSG-21: the same direction and tuple, or the opposite direction and the mirrored tuple.
    fn find(&self, party: Party, inbound: bool, sent: &Sent) -> Option<Key> {
        let keys = [(party, inbound, *sent), (party, !inbound, sent.mirrored())];
        keys.into_iter().find(|key| self.records.contains_key(key))
    }

    fn met(&mut self, what: &'static str, says: Says) -> Says {
        *self.met.entry(what).or_default() += 1;
        says
    }
}
