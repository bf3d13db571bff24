//! Facts about Azure, apart from any network: well-known addresses, and the rules with their texts.
//!
//! A leaf: it uses no other module here, and every module may use it. The rules are files of `docs/rules`, which people
//! read. They are compiled in from there, so that a rule has one text.

pub mod address;
mod rule;
mod utc;

pub use rule::{Family, Rule, families, rule};
pub use utc::Utc;
