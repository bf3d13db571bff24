//! The lock of a table's shard. All workers take it; none holds it for long.
//!
//! It is held for tens of nanoseconds, less than a sleep and a wake-up take. So a worker that finds it taken yields and
//! tries again. Unlocking is a plain store; a lock with sleepers needs a second atomic exchange, which makes a packet
//! of a known flow take 80 ns instead of 71. Nothing that can panic runs under it.

use spin::Yield;
use spin::mutex::{SpinMutex, SpinMutexGuard};

pub(in crate::dataplane) type Lock<T> = SpinMutex<T, Yield>;
pub(in crate::dataplane) type Locked<'a, T> = SpinMutexGuard<'a, T, Yield>;
