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
    let by_sudo = env::var_os("SUDO_UID").is_some() && process::user() == 0;
    call(called, is_on_path, by_sudo)
}

fn call(called: PathBuf, is_on_path: impl FnOnce(&Path) -> bool, by_sudo: bool) -> Call {
    let name = called.file_name().map_or(called.clone(), PathBuf::from);
    let is_installed = called == name || is_on_path(&name);
    let program = if is_installed { name } else { called };
    let sudo = if by_sudo { "sudo " } else { "" };
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
    fn a_program_is_called_as_it_was_or_by_its_name_alone_where_a_shell_finds_it() {
        for (called, on_path, by_sudo, words, is_installed) in [
            ("vnet", false, false, "vnet", true),
            ("target/release/vnet", false, false, "target/release/vnet", false),
            ("target/release/vnet", true, false, "vnet", true),
            ("./my vnet", false, true, "sudo './my vnet'", false),
            ("/usr/bin/vnet", true, true, "sudo vnet", true),
        ] {
            let is_on_path = |name: &Path| {
                assert_eq!(Some(name.as_os_str()), Path::new(called).file_name());
                on_path
            };
            let call = call(called.into(), is_on_path, by_sudo);
            assert_eq!((call.words.as_str(), call.is_installed), (words, is_installed), "{called}");
        }
    }

    #[test]
    fn this_very_program_is_on_no_path() {
        assert!(!is_on_path(Path::new("sh")), "another program has that name");
        assert!(!is_on_path(Path::new("no-such-program")));
    }

    #[test]
    fn a_word_that_a_shell_would_split_is_quoted() {
        assert_eq!(quoted("target/release/vnet"), "target/release/vnet");
        assert_eq!(quoted("/my tools/it's"), "'/my tools/it'\\''s'");
    }
}
