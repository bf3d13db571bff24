//! Packet filter rules that a file gives to a guest.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::counted;

/// A rule set of nftables, as `nft -f` reads it. This module does not parse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFilter {
    /// As the topology names it; none where the topology has the rules themselves.
    pub file: Option<String>,
    pub text: String,
}

impl GuestFilter {
    /// What to call it in messages.
    pub fn name(&self) -> &str {
        self.file.as_deref().unwrap_or("guest.nftables")
    }

    /// Names of the hooks that it has chains at, as far as the text shows them.
    pub fn hooks(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric())).filter(|it| !it.is_empty());
        words.clone().zip(words.skip(1)).filter(|(word, _)| *word == "hook").map(|(_, hook)| hook)
    }
}

/// Shows that it is another one, and not what it says.
impl fmt::Display for GuestFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        let digest = hasher.finish() & 0xffff_ffff;
        write!(f, "{} ({}, {digest:08x})", self.name(), counted(self.text.lines().count(), "line"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rule sets of one length are told apart, and neither is shown.
    #[test]
    fn another_text_is_shown_as_another() {
        let shown = |text: &str| GuestFilter { file: None, text: text.to_owned() }.to_string();
        let [one, other] = ["drop\n", "pass\n"].map(shown);
        assert!(one.starts_with("guest.nftables (1 line, ") && !one.contains("drop"), "{one}");
        assert!(one != other && one == shown("drop\n"), "{one} {other}");
    }
}
