//! A running network: its tables compiled and published, a worker on each core forwarding between its TUNs.
//!
//! Configuration reaches the workers by one pointer: a whole new snapshot is compiled and swapped in, nobody patches a
//! table. Where TUNs come from and what becomes of their namespaces is the caller's business.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arc_swap::ArcSwap;

use super::counters::{Counters, PortCounters};
pub use crate::compile::Learned;
use crate::compile::{Compiled, compile};
use crate::dataplane::{FlowLimits, Flows, PortId};
use crate::model::Network;
use crate::sys::tun::Tun;
pub use crate::worker::Event;
use crate::worker::{Tables, Workers};

const FIRST_GENERATION: u64 = 1;

/// Forwards between the TUNs of one network until it is stopped or dropped.
#[derive(Debug)]
pub struct Engine {
    network: Arc<Network>,
    compiled: Arc<Compiled>,
    tables: Tables,
    ports: usize,
    workers: Workers,
    events: Mutex<Option<Receiver<Event>>>,
}

impl Engine {
    /// Starts forwarding. The n-th TUN is what hangs on `network.attachments()[n]`; open each with
    /// [`Engine::workers`] queues.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what was learnt is the engine's from here on, as the network is"
    )]
    pub fn start(network: Network, tuns: Vec<Tun>, learned: Learned) -> io::Result<Self> {
        check_tuns(&network, &tuns)?;
        let compiled = compile(&network, &learned, FIRST_GENERATION);
        let flows = Flows::new(FlowLimits { per_nic: network.emulation.flows_per_nic, ..FlowLimits::default() });
        let tables =
            Tables { snapshot: Arc::new(ArcSwap::new(Arc::clone(&compiled.snapshot))), flows: Arc::new(flows) };
        let (sender, events) = mpsc::channel();
        let ports = tuns.len();
        let queues = tuns.into_iter().map(|tun| tun.queues).collect();
        let workers = Workers::start(&tables, queues, Self::workers(&network), &sender)?;
        let (network, compiled) = (Arc::new(network), Arc::new(compiled));
        Ok(Self { network, compiled, tables, ports, workers, events: Mutex::new(Some(events)) })
    }

    /// How many workers a network gets: what it says, or one a core.
    pub fn workers(network: &Network) -> usize {
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        network.emulation.workers.unwrap_or_else(cores).max(1)
    }

    pub fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network)
    }

    pub fn compiled(&self) -> Arc<Compiled> {
        Arc::clone(&self.compiled)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            ports: (0..self.ports).map(|port| PortCounters::of(&self.workers, PortId(port as u32))).collect(),
            flows: self.tables.flows.records.len(),
            workers: self.workers.running(),
            generation: self.tables.snapshot.load().generation,
        }
    }

    /// What the workers have to tell, once: the first caller gets the receiver.
    pub fn events(&self) -> Option<Receiver<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the workers and waits for them; they close the TUNs. Does nothing the second time.
    pub fn stop(&self) {
        self.workers.stop();
    }
}

fn check_tuns(network: &Network, tuns: &[Tun]) -> io::Result<()> {
    let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    let expected = network.attachments().len();
    if tuns.len() != expected {
        return invalid(format!("{} TUNs for {expected} attachments", tuns.len()));
    }
    // A super-packet cannot be written to a device without the header that describes it.
    if let Some(odd) = tuns.iter().position(|tun| tun.offload != tuns[0].offload) {
        return invalid(format!("TUN {odd} has offload {:?}, the first {:?}", tuns[odd].offload, tuns[0].offload));
    }
    if let Some(empty) = tuns.iter().position(|tun| tun.queues.is_empty()) {
        return invalid(format!("TUN {empty} has no queue"));
    }
    Ok(())
}
