//! BGP without sockets, clocks or chance: bytes and time in, bytes and routes out.
//!
//! | part | what it is |
//! |---|---|
//! | [`message`] | RFC 4271's messages as bytes and as values; mistakes handled as RFC 7606 says |
//! | [`session`] | the state machine of one session: connections, timers, OPENs, collisions |
//! | [`rib`] | all paths by prefix, the best of them, and what each peer is told |
//! | [`speaker`] | the sessions of one autonomous system around one table of routes |
//!
//! A driver with sockets, in whatever namespace, turns a [`Speaker`] into a router's BGP. What Azure makes of it (which
//! prefixes a gateway refuses, whom it tells what) comes in as a [`Policy`].

pub mod message;
mod renaming;
pub mod rib;
pub mod session;
pub mod speaker;

pub use message::{AsPath, Asn, Attributes, Community, Families, Family, Notification, Update};
pub use renaming::Renaming;
pub use rib::{Export, Group, Import, NextHops, Origination, Path, PeerId, Policy, Refusal, Source};
pub use session::{Ending, Retry, Side, State, Transport};
pub use speaker::{Event, Happening, PeerConfig, PeerStatus, Speaker};
