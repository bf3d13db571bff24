//! What the platform serves to every guest: DNS at 168.63.129.16, and instance metadata at 169.254.169.254 (FAB-12).
//!
//! One idea: an answer depends only on the question and on the asking virtual network. So the same address in two
//! virtual networks reaches two different servers. Only the [`Server`] knows sockets and time.

mod certificate;
mod directory;
pub mod dns;
pub mod health_probe;
pub mod http;
mod managers;
pub mod metadata;
pub mod resolver;
mod server;
mod tcp_fallback;
mod upstream;

pub use directory::{DOMAIN, Directory};
pub use managers::{Managers, Page};
pub use server::{Served, Server};
