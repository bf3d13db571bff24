//! BGP without sockets: messages, sessions, routes.
//!
//! | part | what it is |
//! |---|---|
//! | [`message`] | bytes and values of RFC 4271's messages, mistakes handled as RFC 7606 says |

pub mod message;

pub use message::{AsPath, Asn, Attributes, Community, Families, Family, Notification, Update};
