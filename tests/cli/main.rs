//! The built program as scripts meet it, and the control socket as clients meet it. No lab, no root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ci;
mod commands;
mod consent;
mod control;
mod import;
mod running;
mod shells;
mod test_command;
mod unknown_properties;
