//! The lock of a table's shard, which all workers take and none holds for long.
//!
//! Held for tens of nanoseconds, less than it takes to fall asleep and wake, so who finds it taken gives up its turn and
//! tries again. Letting go is a plain store, where a lock that others may sleep on takes a second atomic exchange: with that
//! a packet of a known flow takes 80 ns instead of 71. Nothing that can panic runs under it.

use spin::Yield;
use spin::mutex::{SpinMutex, SpinMutexGuard};

pub(in crate::dataplane) type Lock<T> = SpinMutex<T, Yield>;
pub(in crate::dataplane) type Locked<'a, T> = SpinMutexGuard<'a, T, Yield>;
