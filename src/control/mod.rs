//! The running router: who owns its model, and how others ask it.
//!
//! One idea: [`engine::Engine`] compiles a network once, publishes it whole and has workers forward by it. [`client::ask`]
//! and [`server::serve`] exchange one [`protocol::Request`] for one [`protocol::Response`] on a Unix socket, as lines of
//! JSON, and part; a client may also follow a topic and be told until it goes. A question reads what the engine publishes; it never holds up a packet. What a packet is, nobody here
//! knows.

mod answer;
pub mod change;
pub mod client;
pub mod counters;
mod drops;
pub mod engine;
pub mod events;
mod flow_ends;
pub mod flow_log;
mod flows;
mod follow;
mod line;
pub mod lookout;
mod numbers;
pub mod outage;
pub mod protocol;
mod reception;
mod room;
pub mod routers;
mod rule_numbers;
pub mod server;
mod trace;
mod wall_clock;
