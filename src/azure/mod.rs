//! What is known of Azure itself, apart from any network: the rules that this program follows, with their texts.
//!
//! A leaf: it knows nothing else here. Rules live in `docs/rules`, where people read them, and are compiled in from there,
//! so that a rule has one text.

mod rule;
mod utc;

pub use rule::{Family, Rule, families, rule};
pub use utc::Utc;
