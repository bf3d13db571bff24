//! How this program is called, for commands that are printed to be tried.

use std::env;
use std::path::{Path, PathBuf};

use crate::sys::process;

/// Words before a subcommand.
pub(super) struct Call {
    pub(super) words: String,
    /// Whether it is found by its name alone.
    pub(super) is_installed: bool,
}

/// As the caller would have to type it again.
pub(super) fn own() -> Call {
    let called = env::args_os().next().map_or_else(|| "vnet".into(), PathBuf::from);
    let name = called.file_name().map_or(called.clone(), PathBuf::from);
    let is_installed = called == name || is_on_path(&name);
    let program = if is_installed { name } else { called };
    let sudo = if env::var_os("SUDO_UID").is_some() && process::user() == 0 { "sudo " } else { "" };
    Call { words: format!("{sudo}{}", quoted(&program.display().to_string())), is_installed }
}

/// Whether a shell finds this very program by its name.
fn is_on_path(name: &Path) -> bool {
    let own = env::current_exe().and_then(|program| program.canonicalize()).ok();
    let dirs = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&dirs).map(|dir| dir.join(name)).find(|path| path.is_file());
    own.is_some() && found.and_then(|path| path.canonicalize().ok()) == own
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./+@:,".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_split_is_quoted() {
        assert_eq!(quoted("target/release/vnet"), "target/release/vnet");
        assert_eq!(quoted("/my tools/it's"), "'/my tools/it'\\''s'");
    }
}
