//! Azure's clouds, which a region's name gives away: peerings do not cross from one into another (PEER-09).

use crate::config::yaml::diagnostic::{At, Report};
use crate::model::VirtualNetwork;

/// `az cloud list` calls them so.
fn cloud(location: &str) -> &'static str {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| location.starts_with(prefix));
    if begins(&["china"]) {
        "AzureChinaCloud"
    } else if begins(&["usgov", "usdod"]) {
        "AzureUSGovernment"
    } else {
        "AzureCloud"
    }
}

pub(super) fn check(own: &VirtualNetwork, remote: &VirtualNetwork, at: At, report: &mut Report) {
    let (ours, theirs) = (cloud(&own.location), cloud(&remote.location));
    if ours != theirs && !own.location.is_empty() && !remote.location.is_empty() {
        report
            .error(
                at,
                format!(
                    "`{}` ({}) is in {ours}, and `{}` ({}) is in {theirs}",
                    own.name, own.location, remote.name, remote.location
                ),
            )
            .rule("PEER-09")
            .expected("two virtual networks of one cloud");
    }
}
