//! How much of the table each NIC and each network may use.
//!
//! One idea: the free rest decides. The records of a NIC, and those of its network together, are at most three times
//! the free ones. One network alone gets three quarters of the table. Several share it and leave some, and a NIC with
//! few records finds room where another has many (dynamic thresholds: Choudhury and Hahne, 1998). So no NIC and no
//! network takes the last quarter, however many flows it begins.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU16, AtomicU32, AtomicUsize};

use crate::dataplane::NicId;

use super::Share;

/// NICs with numbers this far apart share a counter; no lab has so many.
const COUNTED_NICS: usize = 1 << 16;
/// The same of networks.
const COUNTED_SHARES: usize = 1 << 10;

/// Bounds of a [`FlowTable`](super::FlowTable).
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Records of one NIC (NSG-26).
    pub per_nic: usize,
    /// Records in all.
    pub total: usize,
}

impl FlowLimits {
    /// How much of the table one network may use, in multiples of the free rest.
    const TIMES_FREE: usize = 3;

    /// Room for a NIC at its limit, for the other ends of its flows, and for a quarter and more besides.
    pub fn of_nic(per_nic: usize) -> Self {
        Self { per_nic, total: per_nic.saturating_mul(3).max(1_500_000) }
    }
}

impl Default for FlowLimits {
    /// Azure's limit for a NIC: about 180 MB when full.
    fn default() -> Self {
        Self::of_nic(500_000)
    }
}

/// Why there is no room for another record. The new flow is refused; established ones go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFull {
    /// The NIC is at its limit (NSG-26).
    Nic,
    /// The NIC has used its share of the table.
    NicShare,
    /// Its network has used its share.
    NetworkShare,
}

impl TableFull {
    /// Whether it is Azure's own limit: then no other flow is pushed out.
    pub(super) const fn is_of_nic(self) -> bool {
        matches!(self, Self::Nic)
    }
}

/// The number of records, by NIC and by network.
#[derive(Debug)]
pub(super) struct Shares {
    limits: FlowLimits,
    records: AtomicUsize,
    nics: Box<[OfNic]>,
    /// By [`Share`]. Below zero for a moment while a NIC's network changes.
    networks: Box<[AtomicI32]>,
}

#[derive(Debug, Default)]
struct OfNic {
    records: AtomicU32,
    /// What they count against.
    share: AtomicU16,
}

impl Shares {
    pub(super) fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            records: AtomicUsize::new(0),
            nics: std::iter::repeat_with(OfNic::default).take(COUNTED_NICS).collect(),
            networks: std::iter::repeat_with(AtomicI32::default).take(COUNTED_SHARES).collect(),
        }
    }

    pub(super) fn records(&self) -> usize {
        self.records.load(Relaxed)
    }

    pub(super) fn of_nic(&self, nic: NicId) -> usize {
        self.nic(nic).records.load(Relaxed) as usize
    }

    pub(super) fn of_share(&self, share: Share) -> usize {
        usize::try_from(self.network(share).load(Relaxed)).unwrap_or(0)
    }

    /// The share that a NIC's records count against.
    pub(super) fn of(&self, nic: NicId) -> Share {
        Share(self.nic(nic).share.load(Relaxed))
    }

    /// One more record of a NIC.
    pub(super) fn add(&self, nic: NicId, share: Share) {
        let of_nic = self.nic(nic);
        if of_nic.share.load(Relaxed) != share.0 {
            self.move_to(of_nic, share);
        }
        self.records.fetch_add(1, Relaxed);
        of_nic.records.fetch_add(1, Relaxed);
        self.network(share).fetch_add(1, Relaxed);
    }

    /// One less.
    pub(super) fn subtract(&self, nic: NicId) {
        self.records.fetch_sub(1, Relaxed);
        self.nic(nic).records.fetch_sub(1, Relaxed);
        self.network(self.of(nic)).fetch_sub(1, Relaxed);
    }

    /// Whether the records counted are within their limits.
    pub(super) fn check(&self, nic: NicId, share: Share) -> Result<(), TableFull> {
        self.check_with(nic, share, 0)
    }

    /// The same with `flows` more records of a NIC, and as many of other NICs in its network.
    pub(super) fn check_with(&self, nic: NicId, share: Share, flows: usize) -> Result<(), TableFull> {
        let (of_nic, of_network) = (self.of_nic(nic) + flows, self.of_share(share) + 2 * flows);
        let records = self.records() + 2 * flows;
        let left = self.limits.total.saturating_sub(records).saturating_mul(FlowLimits::TIMES_FREE);
        if of_nic > self.limits.per_nic {
            Err(TableFull::Nic)
        } else if of_network >= left {
            Err(TableFull::NetworkShare)
        } else if of_nic + of_network > left {
            Err(TableFull::NicShare)
        } else {
            Ok(())
        }
    }

    /// Moves a NIC's records to the share of another network.
    #[cold]
    fn move_to(&self, of_nic: &OfNic, share: Share) {
        let before = Share(of_nic.share.swap(share.0, Relaxed));
        let records = of_nic.records.load(Relaxed).cast_signed();
        self.network(before).fetch_sub(records, Relaxed);
        self.network(share).fetch_add(records, Relaxed);
    }

    fn nic(&self, nic: NicId) -> &OfNic {
        &self.nics[nic.0 as usize % COUNTED_NICS]
    }

    fn network(&self, share: Share) -> &AtomicI32 {
        &self.networks[usize::from(share.0) % COUNTED_SHARES]
    }
}
