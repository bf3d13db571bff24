//! BGP: bytes and time in, bytes and routes out. Only [`driver`] has sockets and a clock.
//!
//! | part | what it is |
//! |---|---|
//! | [`message`] | RFC 4271's messages as bytes and as values; mistakes handled as RFC 7606 says |
//! | [`session`] | the state machine of one session: connections, timers, OPENs, collisions |
//! | [`rib`] | all paths by prefix, the best of them, and what each peer is advertised |
//! | [`speaker`] | the sessions of one autonomous system around one table of routes |
//! | [`topology`] | which routers of a network are BGP peers, and the policy of each session |
//! | [`driver`] | a speaker on real sockets, in a network namespace |
//!
//! What Azure adds (which prefixes a gateway refuses, what it advertises to which peer) is a [`Policy`].

pub mod driver;
pub mod message;
mod renaming;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod topology;

pub use message::{AsPath, Asn, Attributes, Community, Families, Family, Notification, Update};
pub use renaming::Renaming;
pub use rib::{Export, Group, Import, NextHops, Origination, Path, PeerId, Policy, Refusal, Source};
pub use session::{Ending, Retry, Side, State, Transport};
pub use speaker::{Event, Happening, PeerConfig, PeerStatus, Speaker};
