//! The running router: who owns its model, and how others ask it.
//!
//! One idea: [`engine::Engine`] compiles a network once, publishes it whole and has workers forward by it. [`api::client::ask`]
//! and [`api::server::serve`] exchange one [`api::protocol::Request`] for one [`api::protocol::Response`] on a Unix socket, as lines of
//! JSON, and part; a client may also follow a topic and be told until it goes. A question reads what the engine publishes; it never holds up a packet. What a packet is, nobody here
//! knows.

pub mod api;
pub mod change;
pub mod engine;
pub mod events;
pub mod flow_log;
pub mod lookout;
pub mod outage;
pub mod routers;
mod wall_clock;
