//! ARM documents and the topology files made of them: the twin `NAME.txt` has all that `vnet import` prints, the file and
//! what was made up, left out or unknown.

use std::path::Path;
use std::process::Command;

use super::golden;

/// `vnet import` prints what the twin says, and the file that it makes is one that other commands read.
pub(crate) fn check(case: &Path) {
    let (folder, name) = (case.parent().unwrap(), case.file_name().unwrap());
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    let output = vnet.arg("import").arg(name).current_dir(folder).env_remove("VNET_LAB").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (file, report) = (text(output.stdout), text(output.stderr));
    golden::check(&case.with_extension("txt"), &format!("{file}\n---\n{report}"));
    let expected = match () {
        () if report.contains(": error") => 2,
        () if report.contains(": warning") => 3,
        () => 0,
    };
    assert_eq!(output.status.code(), Some(expected), "{report}");
    if expected != 2 {
        vnet::config::load(&file, "made.yaml").unwrap();
    }
}
