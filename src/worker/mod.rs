//! Threads that forward: poll, read a batch, decide each packet, write it at once.
//!
//! One idea: worker *i* owns queue *i* of every port, and the kernel keeps both directions of a flow on one queue, so
//! workers share nothing but flow state. A program in the kernel selects the queue (`sys::steering`). Where none may be
//! loaded, the kernel learns it from writes, which go out on the queue they were read from. [`Forwarder`] is one
//! worker's batch without threads or descriptors; [`Workers`] runs one in each thread. They know no model, no names,
//! and never log: results are counted in a [`Tally`] or reported as an [`Event`].

mod busy_poll;
mod capture;
mod carried;
mod coalescer;
mod command;
mod copies;
mod counters;
mod device;
mod drop_log;
mod entry;
mod flow_events;
mod forwarder;
mod grants;
mod handover;
mod leg;
mod lossy;
mod metrics_observer;
mod rule_hits;
mod run;
mod slots;
mod tapped;
mod trace;

pub use busy_poll::Spin;
pub use capture::{CaptureWatch, Captured, Packets};
pub use carried::Carried;
pub use counters::{MAX_PORTS, PortTally, Tally};
pub use device::{Device, KernelPort, Received, RecvError, SendError};
pub use drop_log::{DropLog, Dropped};
pub use flow_events::{FlowEvents, FlowScope, FlowWatch};
pub use forwarder::{Batch, Forwarder, Tables};
pub use rule_hits::RuleHits;
pub use run::{Event, Unplugged, Workers};
pub use trace::{Taps, Traced, Watch};
