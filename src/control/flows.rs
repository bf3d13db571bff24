//! Flow records of a running router, under the names of its file, a page at a time.
//!
//! One idea: a page looks at a bounded number of records, whether they are wanted or not, so no answer grows and no lock is
//! held for long; the client goes on from where the page ended.

use std::time::Duration;

use super::engine::{Engine, Published};
use super::protocol::{FlowFilter, FlowPage, FlowRow};
use crate::compile::Sender;
use crate::dataplane::{Cursor, Direction, FlowRecord, FlowState, NicId, Timestamp};

/// Rows of one answer, about 200 bytes each, and records looked at for them.
const ROWS: usize = 1_000;
const LOOKED_AT: usize = 64_000;

const PROTOCOLS: [(u8, &str); 6] = [(1, "Icmp"), (6, "Tcp"), (17, "Udp"), (50, "Esp"), (51, "Ah"), (58, "Icmpv6")];

/// A filter whose words are understood.
struct Wanted<'a> {
    filter: &'a FlowFilter,
    nodes: Vec<NicId>,
    state: Option<FlowState>,
    protocol: Option<u8>,
}

/// The flows that a filter wants, from where an earlier page ended.
pub(super) fn page(engine: &Engine, filter: &FlowFilter, from: Option<u64>) -> Result<FlowPage, String> {
    let published = engine.published();
    let wanted = Wanted::new(&published, filter)?;
    let now = engine.now();
    let mut cursor = Some(from.map_or_else(Cursor::default, Cursor::from));
    let (mut flows, mut records, mut looked_at) = (Vec::new(), Vec::new(), 0);
    while let Some(at) = cursor.filter(|_| flows.len() < ROWS && looked_at < LOOKED_AT) {
        cursor = engine.flow_records(at, &mut records);
        looked_at += records.len().max(1);
        let rows = records.drain(..).filter(|record| wanted.matches(record));
        flows.extend(rows.filter_map(|record| row(&published, &record, now)));
    }
    Ok(FlowPage { flows, next: cursor.map(u64::from) })
}

impl<'a> Wanted<'a> {
    fn new(published: &Published, filter: &'a FlowFilter) -> Result<Self, String> {
        let nodes = filter.node.as_ref().map_or_else(|| Ok(Vec::new()), |node| nics(published, node))?;
        let state = filter.state.as_ref().map(|word| state(word)).transpose()?;
        let protocol = filter.protocol.as_ref().map(|word| protocol(word)).transpose()?;
        Ok(Self { filter, nodes, state, protocol })
    }

    fn matches(&self, record: &FlowRecord) -> bool {
        let tuple = &record.tuple;
        let has = |wanted: &Option<_>, values: [_; 2]| wanted.is_none_or(|wanted| values.contains(&wanted));
        (self.filter.node.is_none() || self.nodes.contains(&record.nic))
            && has(&self.filter.address, [tuple.src, tuple.dst])
            && self.filter.port.is_none_or(|port| [tuple.src_port, tuple.dst_port].contains(&port))
            && self.state.is_none_or(|state| state == record.state)
            && self.protocol.is_none_or(|protocol| protocol == tuple.protocol.0)
    }
}

/// The interfaces of `NODE` or `NODE/NIC`, or behind the one TUN of a VNet.
fn nics(published: &Published, node: &str) -> Result<Vec<NicId>, String> {
    let named = |nic: NicId| {
        place(published, nic).is_some_and(|(machine, interface)| {
            machine.eq_ignore_ascii_case(node) || format!("{machine}/{interface}").eq_ignore_ascii_case(node)
        })
    };
    let nics: Vec<NicId> = published.compiled.ids().senders().map(|(nic, _)| nic).filter(|nic| named(*nic)).collect();
    if nics.is_empty() { Err(format!("there is no node or interface `{node}`")) } else { Ok(nics) }
}

fn state(word: &str) -> Result<FlowState, String> {
    let found = FlowState::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(word));
    found.ok_or_else(|| {
        let names: Vec<_> = FlowState::ALL.into_iter().map(FlowState::name).collect();
        format!("`{word}` is no state of a flow: expected one of {}", names.join(", "))
    })
}

fn protocol(word: &str) -> Result<u8, String> {
    let known = PROTOCOLS.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(number, _)| number);
    known.or_else(|| word.parse().ok()).ok_or_else(|| {
        let names = PROTOCOLS.map(|(_, name)| name).join(", ");
        format!("`{word}` is no protocol: expected one of {names}, or a number")
    })
}

/// A machine and its interface, or a VNet and its subnet; none for an interface that has gone.
fn place(published: &Published, nic: NicId) -> Option<(&str, &str)> {
    let network = &published.network;
    Some(match published.compiled.ids().sender(nic)? {
        Sender::Nic(nic) => {
            let nic = network.nic(nic);
            (&network.vm(nic.virtual_machine).name, &nic.name)
        }
        Sender::Subnet(subnet) => (&network.vnet(subnet.vnet).name, &network.subnet(subnet).name),
    })
}

fn row(published: &Published, record: &FlowRecord, now: Timestamp) -> Option<FlowRow> {
    let (node, nic) = place(published, record.nic)?;
    let number = record.tuple.protocol.0;
    let protocol = PROTOCOLS.into_iter().find(|(known, _)| *known == number).map(|(_, name)| name.to_owned());
    let since = |then: Timestamp| Duration::from_nanos(now.0.saturating_sub(then.0)).as_secs_f64();
    let rule = |rule| published.rule(rule).map(|label| format!("{} {}", label.owner, label.name));
    Some(FlowRow {
        node: node.to_owned(),
        nic: nic.to_owned(),
        direction: match record.admitted {
            Direction::Inbound => "Inbound".to_owned(),
            Direction::Outbound => "Outbound".to_owned(),
        },
        protocol: protocol.unwrap_or_else(|| number.to_string()),
        source_address: record.tuple.src,
        source_port: record.tuple.src_port,
        destination_address: record.tuple.dst,
        destination_port: record.tuple.dst_port,
        state: record.state.name().to_owned(),
        access: if record.refused { "Deny" } else { "Allow" }.to_owned(),
        age_seconds: since(record.begun),
        idle_seconds: since(record.last),
        packets_sent: record.sent.packets,
        bytes_sent: record.sent.bytes,
        packets_received: record.received.packets,
        bytes_received: record.received.bytes,
        rules: record.rules.iter().filter_map(rule).collect(),
    })
}
