//! Packets that the kernel sends up after it has carried others of their flow, or a connection before theirs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use vnet::dataplane::{FlowEvent, FlowLimits, Flows, Timestamp};
use vnet::sys::clock::monotonic_nanos;
use vnet::worker::{Device, FlowEvents, FlowScope, Forwarder, Received, RecvError, SendError, Tables, Tally};

use crate::worker::{A, Memory, datagram_from_port, snapshot};

/// A queue in memory, and what the kernel says of its frames.
#[derive(Default)]
struct Marked {
    memory: Memory,
    has_ended: AtomicBool,
    has_renewed: AtomicBool,
}

impl Device for Marked {
    fn recv(&self, frame: &mut [u8]) -> Result<Received, RecvError> {
        let received = self.memory.recv(frame)?;
        Ok(Received { ended: self.has_ended.load(Relaxed), renews: self.has_renewed.load(Relaxed), ..received })
    }

    fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        self.memory.send(frame)
    }

    fn takes_udp_super_packets(&self) -> bool {
        false
    }
}

/// NSG-21: a worker that the system stopped before it read a reset would take it for older than what the kernel carried.
#[test]
fn nsg_21_what_comes_after_carried_packets_has_a_time_of_its_own() {
    let events = FlowEvents::default();
    let told = events.listen(FlowScope::Every, 8);
    let (flows, snapshot) = (Arc::new(Flows::new(FlowLimits::default())), Arc::new(ArcSwap::new(snapshot("", 1))));
    let tables = Tables { snapshot, flows, taps: Arc::default(), events, carried: None };
    let devices = [Arc::new(Marked::default()), Arc::new(Marked::default())];
    let mut forwarder = Forwarder::new(&tables, devices.to_vec(), Arc::new(Tally::new(2)));
    let mut begins = |port, [has_ended, has_renewed]: [bool; 2]| {
        devices[0].has_ended.store(has_ended, Relaxed);
        devices[0].has_renewed.store(has_renewed, Relaxed);
        devices[0].memory.incoming.lock().unwrap().push_back(datagram_from_port(port));
        forwarder.batch(A, Timestamp(0));
        let events: Vec<_> = told.events().collect();
        let [FlowEvent::Begun(one), FlowEvent::Begun(other)] = events[..] else { panic!("{events:?}") };
        assert_eq!(one.last, other.last);
        one.last
    };
    let now = monotonic_nanos();
    assert_eq!(begins(1, [false; 2]), Timestamp(0), "the batch's own");
    assert!(begins(2, [true, false]).0 >= now);
    assert!(begins(3, [false, true]).0 >= now);
}
