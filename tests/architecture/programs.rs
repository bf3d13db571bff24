//! The programs that the kernel runs: what is committed is what the source builds.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The compiler that built the committed objects: another version writes other instructions.
const CLANG: &str = "14.";

#[test]
fn the_committed_programs_are_what_their_sources_build() {
    let version = Command::new("clang").arg("-dumpversion").output();
    let Some(version) = version.ok().and_then(|output| String::from_utf8(output.stdout).ok()) else {
        return drop(writeln!(std::io::stderr(), "skipped: there is no clang"));
    };
    if !Path::new("/usr/include/bpf/bpf_helpers.h").exists() {
        return drop(writeln!(std::io::stderr(), "skipped: there are no headers of libbpf"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = tempfile::tempdir().expect("a directory");
    let output = Command::new(root.join("scripts/bpf.sh")).arg(built.path()).output().expect("it is a script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object = "flow_cache.bpf.o";
    let read = |directory: &Path| std::fs::read(directory.join(object)).expect("it is there");
    if version.starts_with(CLANG) {
        assert!(read(built.path()) == read(&root.join("bpf")), "bpf/{object} is old: scripts/bpf.sh builds it");
    }
}
