//! Lints: the twin `NAME.txt` has all that `vnet validate` prints of a topology that is valid, but probably not what was
//! intended.

use std::path::Path;
use std::process::Command;

use super::golden;

/// `vnet validate` prints what the twin says, and exits with the code for it.
pub(crate) fn check(case: &Path) {
    let (folder, name) = (case.parent().unwrap(), case.file_name().unwrap());
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    let output = vnet.arg("validate").arg(name).current_dir(folder).env_remove("VNET_LAB").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(if printed.contains(": fine; ") { 0 } else { 3 }), "{printed}");
    golden::check(&case.with_extension("txt"), &printed);
}
