//! What the platform serves to every guest, past all rules but those that name it (NSG-30).

use std::fmt;

/// The platform's name in drops, captures and traces: the tags of its services begin with it.
pub const PLATFORM_NODE: &str = "AzurePlatform";

/// A service with a tag of its own, which rules may name to deny it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlatformService {
    Dns,
    /// Instance metadata.
    Imds,
    /// Licensing, through key management.
    Lkm,
}

impl PlatformService {
    pub const ALL: [Self; 3] = [Self::Dns, Self::Imds, Self::Lkm];

    /// As Azure spells it.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Dns => "AzurePlatformDNS",
            Self::Imds => "AzurePlatformIMDS",
            Self::Lkm => "AzurePlatformLKM",
        }
    }
}

impl fmt::Display for PlatformService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tag())
    }
}
