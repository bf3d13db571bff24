//! Templates: the twin `NAME.txt` has what `vnet export` writes of a topology, as Bicep and as ARM, and what it leaves out.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vnet::{arm, config};

use super::golden;

pub(crate) fn check(case: &Path) {
    let text = fs::read_to_string(case).unwrap();
    config::load(&text, &case.to_string_lossy()).unwrap_or_else(|errors| panic!("{errors}"));
    let exported = arm::export(&config::as_json(&text).unwrap());
    let mut written = format!("{}\n---\n{:#}\n---\n", arm::bicep(&exported.template), exported.template);
    for omission in &exported.omissions {
        writeln!(written, "{}: {}", omission.path, omission.message).unwrap();
    }
    golden::check(&case.with_extension("txt"), &written);
}
