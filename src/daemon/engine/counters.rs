//! Totals over all workers, as of one look. The look is not a snapshot: a packet under way may be counted in only yet.

use crate::dataplane::{DropReason, MAPPED, PortId};
use crate::worker::Workers;

/// What the engine has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// By [`PortId`].
    pub ports: Vec<PortCounters>,
    /// Flow records now.
    pub flows: usize,
    /// Worker threads running.
    pub workers: usize,
    /// Of the published tables.
    pub generation: u64,
}

/// One port. rx is from the guest, tx towards it. Packets are counted as on a wire: a super-packet as its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// By [`DropReason`]: what came in on this port and was dropped.
    pub drops: [u64; DropReason::COUNT],
    /// Packets of the port's NIC that found no port for their flow, by [`MAPPED`].
    pub no_port: [u64; MAPPED.len()],
    /// The device is there.
    pub alive: bool,
}

impl PortCounters {
    /// Sums what all workers counted for one port.
    pub(in crate::daemon) fn of(workers: &Workers, port: PortId) -> Self {
        let alive = workers.is_alive(port);
        let (drops, no_port) = ([0; DropReason::COUNT], [0; MAPPED.len()]);
        let zero = Self { rx_packets: 0, rx_bytes: 0, tx_packets: 0, tx_bytes: 0, drops, no_port, alive };
        workers.tallies().iter().map(|tally| tally.port(port)).fold(zero, |mut total, tally| {
            total.rx_packets += tally.rx_packets();
            total.rx_bytes += tally.rx_bytes();
            total.tx_packets += tally.tx_packets();
            total.tx_bytes += tally.tx_bytes();
            total.no_port.iter_mut().zip(tally.no_port()).for_each(|(total, more)| *total += more);
            for reason in DropReason::ALL {
                total.drops[reason as usize] += tally.drops(reason);
            }
            total
        })
    }

    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Those of them that happen in every lab.
    pub fn harmless_drops(&self) -> u64 {
        let harmless = DropReason::ALL.into_iter().filter(|reason| reason.is_harmless());
        harmless.map(|reason| self.drops[reason as usize]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_every_lab_is_counted_apart() {
        let mut drops = [0; DropReason::COUNT];
        drops[DropReason::Ipv6Control as usize] = 4;
        drops[DropReason::NsgInbound as usize] = 2;
        let (rx_packets, rx_bytes, tx_packets, tx_bytes, no_port, alive) = (6, 600, 0, 0, [0; 3], true);
        let port = PortCounters { rx_packets, rx_bytes, tx_packets, tx_bytes, drops, no_port, alive };
        assert_eq!((port.dropped(), port.harmless_drops()), (6, 4));
    }
}
