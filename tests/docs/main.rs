//! The documents: every page is in the summary, every link and every file that a page names is there, commands are ones
//! that the program has, and what pages show of a file is what the program prints.
//!
//! Pages below `docs/reference` that end in a generated part are written from the program itself; `UPDATE_GOLDEN=1` rewrites
//! that part, and the answers in examples. `docs/rules` has a format of its own, which `tests/architecture` checks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
#[path = "../support/golden.rs"]
mod golden;
mod keys;
mod links;
mod live;
mod page;
mod pictures;
mod prose;
mod reference;
mod sources;
