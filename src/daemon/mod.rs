//! The running router: it owns the model and answers its control socket.
//!
//! One idea: [`engine::Engine`] compiles a network once, publishes it whole and lets workers forward by it.
//! [`api::client::ask`] and [`api::server::serve`] exchange one [`api::protocol::Request`] for one
//! [`api::protocol::Response`] on a Unix socket, as lines of JSON. A client may also follow a topic until it closes
//! the connection. A question reads what the engine publishes, and never holds up a packet. This module does not know
//! packets.

pub mod api;
pub mod change;
pub mod engine;
pub mod events;
pub mod flow_log;
pub mod lookout;
pub mod outage;
pub mod routers;
mod wall_clock;
