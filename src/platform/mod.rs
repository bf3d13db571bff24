//! What the platform serves to every guest: names at 168.63.129.16, and what it is itself at 169.254.169.254 (FAB-12).
//!
//! One idea: an answer is a function of the question and of what the asking virtual network may know, so the same address
//! in two virtual networks asks two different servers. Sockets and time are the [`Server`]'s business alone.

mod directory;
mod dns;
pub mod health_probe;
mod http;
mod metadata;
mod server;
mod tcp_fallback;
mod upstream;

pub use directory::{DOMAIN, Directory};
pub use server::{Served, Server};
