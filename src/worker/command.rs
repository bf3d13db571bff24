//! What a worker is told while it forwards: ports that come and go. It looks for orders between two batches and never
//! waits for one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use crate::dataplane::PortId;
use crate::sys::tun::TunQueue;

/// One message. A worker that has followed it also goes by the tables that are published now.
pub(super) struct Order {
    pub(super) unplug: Vec<PortId>,
    pub(super) plug: Vec<Plug>,
    /// Hears what came of it.
    pub(super) done: Sender<Followed>,
}

/// What came of an order.
pub(super) struct Followed {
    pub(super) plugged: io::Result<()>,
    /// Queues that the worker let go of. It does not close them: that waits for the kernel, and packets for the worker.
    pub(super) unplugged: Vec<Arc<TunQueue>>,
}

/// A new port.
pub(super) struct Plug {
    pub(super) port: PortId,
    /// The queue this worker reads, if the port has one for it.
    pub(super) read: Option<Arc<TunQueue>>,
    pub(super) write: Arc<TunQueue>,
    /// Shared by all workers: the first to find the device gone clears it.
    pub(super) alive: Arc<AtomicBool>,
}
