//! Pictures: the twin `NAME.svg` is what `vnet graph -o svg` draws of an example, to the last pixel.

use std::path::Path;
use std::process::Command;

use super::golden;

/// The picture is the twin, and another run draws the same.
pub(crate) fn check(case: &Path) {
    let draw = || {
        let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
        let output = vnet.args(["graph", "-o", "svg", "-t"]).arg(case).env_remove("VNET_LAB").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let picture = draw();
    assert_eq!(picture, draw(), "the same file, the same picture");
    let name = case.with_extension("svg");
    golden::check(&Path::new("tests/golden/graph").join(name.file_name().unwrap()), &picture);
}
