//! Orders to a running worker: ports that are added and removed. It checks for orders between two batches and never
//! waits for one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::Sender;

use crate::dataplane::PortId;
use crate::sys::tun::TunQueue;

/// One message. A worker that has followed it also uses the tables that are published now.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) unplug: Vec<PortId>,
    pub(super) plug: Vec<Plug>,
    /// Receives the result; it has room for one of each worker, so that none waits.
    pub(super) done: Sender<Followed>,
}

/// The result of an order.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) plugged: io::Result<()>,
    /// Queues that the worker released. It does not close them: closing waits for the kernel, and packets would wait
    /// too.
    pub(super) unplugged: Vec<Arc<TunQueue>>,
}

/// A new port.
#[derive(Debug)]
pub(super) struct Plug {
    pub(super) port: PortId,
    /// The queue this worker reads, if the port has one for it.
    pub(super) read: Option<Arc<TunQueue>>,
    pub(super) write: Arc<TunQueue>,
    /// Shared by all workers: the first that finds the device gone clears it.
    pub(super) alive: Arc<AtomicBool>,
}
