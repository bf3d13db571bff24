//! What the lab says, as rows with rates since the last question.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anstyle::Style;

use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output};
use crate::cli::{routes, rules};
use crate::daemon::api::protocol::{BgpQuestion, BgpTopic, FlowFilter, FlowRow, Request, Response};
use crate::model::counted;

use super::app::{Column, List, Row, What};
use super::links::Link;

/// How often what rarely changes is asked for.
const SELDOM: Duration = Duration::from_secs(5);
/// Pages of flows, of a thousand each.
const PAGES: usize = 4;

/// One look at a lab.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) title: String,
    /// Of the list that is shown.
    pub(super) rows: Vec<Row>,
    /// What is down, each in a sentence; nothing where all is well.
    pub(super) trouble: Vec<String>,
}

/// How the lab is asked.
type Ask<'a> = Box<dyn Fn(&Request) -> Result<Response, Failure> + 'a>;

/// Asks, and remembers what it heard.
pub(super) struct Sampler<'a> {
    ask: Ask<'a>,
    /// The counts of a list's rows when they were read last, by row.
    before: HashMap<List, (Instant, HashMap<String, Vec<u64>>)>,
    seldom: Option<(Instant, String, Vec<Link>)>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(ask: impl Fn(&Request) -> Result<Response, Failure> + 'a) -> Self {
        Self { ask: Box::new(ask), before: HashMap::new(), seldom: None }
    }

    fn ask(&self, request: &Request) -> Result<Response, Failure> {
        (self.ask)(request)
    }

    pub(super) fn sample(&mut self, list: List) -> Result<Sample, Failure> {
        let (title, links) = self.state(list)?;
        let trouble = links.iter().filter(|link| !link.up).map(Link::sentence).collect();
        let rows = match list {
            List::Machines => self.machines()?,
            List::Drops => self.drops()?,
            List::Flows => self.flows()?,
            List::Links => links.iter().map(Link::row).collect(),
        };
        Ok(Sample { title, rows, trouble })
    }

    /// The lab in a line, and its links: fresh where they are the list, else as they were some seconds ago.
    fn state(&mut self, list: List) -> Result<(String, Vec<Link>), Failure> {
        if let Some((at, title, links)) = &self.seldom
            && at.elapsed() < SELDOM
            && list != List::Links
        {
            return Ok((title.clone(), links.clone()));
        }
        let status = match self.ask(&Request::Status)? {
            Response::Status(status) => *status,
            other => return Err(unexpected(&other)),
        };
        let (nodes, flows) = (counted(status.nodes.len(), "node"), counted(status.flows, "flow"));
        let title = format!("{}  {nodes}  {flows}", status.name);
        let links: Vec<_> = Link::of_lab(&status).chain(self.links()?).collect();
        self.seldom = Some((Instant::now(), title.clone(), links.clone()));
        Ok((title, links))
    }

    fn links(&self) -> Result<Vec<Link>, Failure> {
        let sessions = BgpQuestion { what: BgpTopic::Peers, node: None, peer: None };
        let questions = [
            Request::Connections,
            Request::Circuits,
            Request::Bgp(sessions),
            Request::LoadBalancers,
            Request::Peerings,
        ];
        let mut links = Vec::new();
        for question in questions {
            match self.ask(&question)? {
                Response::Connections(rows) => links.extend(rows.iter().map(Link::of_connection)),
                Response::Circuits(rows) => links.extend(rows.iter().flat_map(Link::of_circuit)),
                Response::BgpPeers(rows) => links.extend(rows.iter().map(Link::of_session)),
                Response::LoadBalancers(rows) => links.extend(rows.iter().filter_map(Link::of_backend)),
                Response::Peerings(rows) => links.extend(rows.iter().map(Link::of_peering)),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(links)
    }

    fn machines(&mut self) -> Result<Vec<Row>, Failure> {
        let rows = match self.ask(&Request::Counters)? {
            Response::Counters(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        let mut rates = self.rates(List::Machines);
        let rows = rows.into_iter().map(|row| {
            let key = place(&row.node, &row.nic);
            let dropped = row.drops - row.harmless_drops;
            let [sent, received, packets, drops] =
                rates.of(&key, [row.rx_bytes, row.tx_bytes, row.rx_packets + row.tx_packets, dropped]);
            let state = if row.alive { "up" } else { "gone" };
            let columns = vec![
                Column::Text(key.clone()),
                Column::Bits(sent * 8),
                Column::Bits(received * 8),
                Column::Rate(packets),
                Column::Rate(drops),
                Column::Count(dropped),
                Column::Text(state.to_owned()),
            ];
            Row { node: Some(row.node), ..Row::new(&key, columns) }
        });
        Ok(rows.collect())
    }

    fn drops(&mut self) -> Result<Vec<Row>, Failure> {
        let rows = match self.ask(&Request::Drops { by_flow: false })? {
            Response::Drops(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        let mut sums: BTreeMap<(String, String, String), u64> = BTreeMap::new();
        for row in rows.into_iter().filter(|row| !row.harmless) {
            *sums.entry((row.reason, row.node, row.nic)).or_default() += row.packets;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
        let mut rates = self.rates(List::Drops);
        let rows = sums.into_iter().map(|((reason, node, nic), packets)| {
            let place = place(&node, &nic);
            let key = format!("{reason} {place}");
            let [rate] = rates.of(&key, [packets]);
            let columns = vec![Column::Text(reason), Column::Text(place), Column::Rate(rate), Column::Count(packets)];
            Row { node: Some(node), ..Row::new(&key, columns) }
        });
        Ok(rows.collect())
    }

    fn flows(&mut self) -> Result<Vec<Row>, Failure> {
        let mut flows = Vec::new();
        let mut from = None;
        for _ in 0..PAGES {
            let page = match self.ask(&Request::Flows { filter: FlowFilter::default(), from })? {
                Response::Flows(page) => page,
                other => return Err(unexpected(&other)),
            };
            flows.extend(page.flows);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let mut rates = self.rates(List::Flows);
        Ok(flows.into_iter().map(|flow| flow_row(flow, &mut rates)).collect())
    }

    /// For what rose since a list was read last.
    fn rates(&mut self, list: List) -> Rates<'_> {
        let now = Instant::now();
        let is_first = !self.before.contains_key(&list);
        let (at, counts) = self.before.entry(list).or_insert_with(|| (now, HashMap::new()));
        let past = now.duration_since(std::mem::replace(at, now));
        Rates { past, is_first, before: std::mem::take(counts), now: counts }
    }

    /// A machine's routes, rules or drops, in lines.
    pub(super) fn details(&self, node: &str, what: What) -> Vec<String> {
        self.asked(node, what).unwrap_or_else(|failure| vec![failure.message])
    }

    fn asked(&self, node: &str, what: What) -> Result<Vec<String>, Failure> {
        let target = node.to_owned();
        Ok(match what {
            What::Routes => match self.ask(&Request::Routes { target })? {
                Response::Routes(rows) => lines(&routes::table(&rows).render(Style::new())),
                other => return Err(unexpected(&other)),
            },
            What::Rules => match self.ask(&Request::Rules { target })? {
                Response::Rules(groups) => lines(&rules::text(&groups, &Output::new(Format::Table, false))),
                other => return Err(unexpected(&other)),
            },
            What::Drops => match self.ask(&Request::Drops { by_flow: false })? {
                Response::Drops(rows) => {
                    let own = rows.iter().filter(|row| row.node == node);
                    own.map(|row| format!("{:>9}  {}  {}  {}", row.packets, row.nic, row.reason, row.explanation))
                        .collect()
                }
                other => return Err(unexpected(&other)),
            },
        })
    }
}

fn flow_row(flow: FlowRow, rates: &mut Rates<'_>) -> Row {
    let end = |address, port| SocketAddr::new(address, port).to_string();
    let from = end(flow.source_address, flow.source_port);
    let to = end(flow.destination_address, flow.destination_port);
    let key = format!("{}/{} {} {from} {to}", flow.node, flow.nic, flow.protocol);
    let [bytes] = rates.of(&key, [flow.bytes_sent + flow.bytes_received]);
    let text = [flow.protocol, from, to].map(Column::Text);
    let machine = Column::Text(flow.node.clone());
    let columns = [machine].into_iter().chain(text).chain([Column::Bits(bytes * 8), Column::Text(flow.state)]);
    Row { node: Some(flow.node), ..Row::new(&key, columns.collect()) }
}

/// An interface, by its machine's name too where that says more.
fn place(node: &str, nic: &str) -> String {
    if node == nic { nic.to_owned() } else { format!("{node}/{nic}") }
}

/// What counts rose by in a second. Rows that are there no more are forgotten.
struct Rates<'a> {
    past: Duration,
    /// There is nothing to compare with.
    is_first: bool,
    before: HashMap<String, Vec<u64>>,
    now: &'a mut HashMap<String, Vec<u64>>,
}

impl Rates<'_> {
    fn of<const N: usize>(&mut self, key: &str, counts: [u64; N]) -> [u64; N] {
        let millis = u64::try_from(self.past.as_millis()).unwrap_or(u64::MAX).max(1);
        let before = self.before.get(key);
        let rates = std::array::from_fn(|at| {
            let before = before.map_or(if self.is_first { counts[at] } else { 0 }, |before| before[at]);
            counts[at].saturating_sub(before).saturating_mul(1000) / millis
        });
        self.now.insert(key.to_owned(), counts.into());
        rates
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
