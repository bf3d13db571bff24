//! BGP on real sockets: what carries a [`Speaker`](super::Speaker)'s bytes and gives it the time.
//!
//! One idea: a router is a thread in a network namespace, so that its peers meet that namespace's kernel, and a speaker
//! that others may look at and change between two of the thread's turns ([`Router`]). Which peers it has and what it
//! tells them is the caller's business, and what becomes of its routes.

mod connections;
mod router;

pub use connections::{Neighbour, PORT};
pub use router::{Happened, Router};
