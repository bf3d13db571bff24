//! What a tracing client gets: the packets that a filter wants, with names for what was decided.
//!
//! One idea: a record's numbers mean something in the tables that decided, so the last few networks are kept during a
//! trace. Where networks change or packets come too fast, packets are left out and counted. So a trace costs the
//! daemon a bounded share of its time, under any traffic.

use std::sync::Arc;

use crate::analysis::{self, Filter, Sighting};
use crate::daemon::engine::Engine;
use crate::daemon::wall_clock::WallClock;
use crate::worker::{self, Watch};

use super::follow::{Feed, Look};
use super::protocol::{Refusal, Response, Traced};
use super::recent::RecentNetworks;

/// A trace for one client. Its first answer says that from then on nothing is missed.
pub(in crate::daemon) fn trace(engine: Arc<Engine>, filter: &str) -> Result<Feed, Refusal> {
    let filter = analysis::parse_filter(filter)
        .map_err(|error| Refusal { message: error.to_string(), help: error.advice().map(str::to_owned) })?;
    let published = engine.published();
    let pattern = analysis::pattern(&filter, &published.network, &published.compiled).map_err(Refusal::new)?;
    let watch = engine.watch(pattern).map_err(Refusal::new)?;
    let mut teller = Teller { engine, filter, watch, networks: RecentNetworks::from(published) };
    let mut begun = false;
    Ok(Box::new(move |look| {
        let traced = teller.drain(look);
        let is_news = !begun || !traced.packets.is_empty() || traced.missed > 0;
        begun = true;
        if is_news { vec![Response::Traced(traced)] } else { Vec::new() }
    }))
}

struct Teller {
    engine: Arc<Engine>,
    filter: Filter,
    watch: Watch,
    networks: RecentNetworks,
}

impl Teller {
    fn drain(&mut self, look: Look) -> Traced {
        if look == Look::Last {
            self.engine.finish_batches();
        }
        let clock = WallClock::now();
        let records: Vec<_> = self.watch.records().collect();
        let mut missed = self.watch.missed();
        let mut packets = Vec::new();
        for record in records {
            match self.tell(&record, clock) {
                Some(sighting) => packets.push(sighting),
                None => missed += 1,
            }
        }
        self.keep_up();
        Traced { packets, missed }
    }

    fn tell(&mut self, record: &worker::Traced, clock: WallClock) -> Option<Sighting> {
        let newest = self.networks.newest_generation();
        if record.generation > newest {
            self.keep_up();
        }
        let network = self.networks.of(record.generation)?;
        let unix_micros = clock.unix_micros(record.at);
        let sighting =
            analysis::sighting(&network.network, &network.compiled, record.ingress, &record.leg, unix_micros)?;
        let latency_nanos = u64::try_from(record.took.as_nanos()).unwrap_or(u64::MAX);
        Some(Sighting { latency_nanos, ..sighting })
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
