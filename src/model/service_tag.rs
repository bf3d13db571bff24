//! Service tags: names for address ranges that Microsoft keeps (TAG-13).

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::PlatformService;

/// A tag as a rule or a route names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceTag {
    /// These three follow from the network itself (TAG-01, TAG-10, TAG-12).
    VirtualNetwork,
    Internet,
    AzureLoadBalancer,
    /// What rules may deny by this tag alone (NSG-30).
    Platform(PlatformService),
    Published(PublishedTagIx),
}

/// Index in [`super::Network::service_tags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishedTagIx(pub usize);

/// A tag with its ranges from Microsoft's list.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishedTag {
    /// As the list spells it: `Storage`, `Storage.WestEurope`.
    pub name: String,
    /// Lower case; None for a tag of all regions.
    pub region: Option<String>,
    /// Sorted, each once, otherwise as published: routes compare ranges exactly (UDR-06).
    pub prefixes: Arc<[IpNet]>,
}

/// What a tag covers. Of two that name the same range in a route table the lesser one routes it (UDR-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagScope {
    RegionalService,
    Service,
    RegionalCloud,
    Cloud,
}

impl PublishedTag {
    pub fn scope(&self) -> TagScope {
        let service = self.name.split('.').next().unwrap_or_default();
        match (service.eq_ignore_ascii_case("AzureCloud"), self.region.is_some()) {
            (false, true) => TagScope::RegionalService,
            (false, false) => TagScope::Service,
            (true, true) => TagScope::RegionalCloud,
            (true, false) => TagScope::Cloud,
        }
    }
}

/// Some tags have ten thousand ranges: a printed network shows the number alone.
impl fmt::Debug for PublishedTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes = format_args!("{} ranges", self.prefixes.len()).to_string();
        f.debug_struct("PublishedTag")
            .field("name", &self.name)
            .field("region", &self.region)
            .field("prefixes", &prefixes)
            .finish()
    }
}
