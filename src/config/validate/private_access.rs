//! Service endpoints and private endpoints (SYS-11, SYS-12).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::config::schema::{self, IpVersion, private_access as written};
use crate::config::yaml::diagnostic::{Report, Spanned, clip};
use crate::model::{PrivateEndpoint, PublishedTagIx, ServiceEndpoint};

use super::Scope;
use super::machine::{Holder, Wish};
use super::names::{Names, or_unnamed};
use super::tags::Tags;

/// What services are called in endpoints, and in tags.
const SERVICES: [(&str, &str); 12] = [
    ("Microsoft.Storage", "Storage"),
    ("Microsoft.Storage.Global", "Storage"),
    ("Microsoft.Sql", "Sql"),
    ("Microsoft.AzureCosmosDB", "AzureCosmosDB"),
    ("Microsoft.KeyVault", "AzureKeyVault"),
    ("Microsoft.EventHub", "EventHub"),
    ("Microsoft.ServiceBus", "ServiceBus"),
    ("Microsoft.ContainerRegistry", "AzureContainerRegistry"),
    ("Microsoft.Web", "AppService"),
    ("Microsoft.AzureActiveDirectory", "AzureActiveDirectory"),
    ("Microsoft.CognitiveServices", "CognitiveServicesManagement"),
    ("Microsoft.Monitor", "AzureMonitor"),
];

pub(super) fn service_endpoints(
    subnet: &schema::Subnet,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Vec<ServiceEndpoint> {
    let mut seen = HashSet::new();
    for service in subnet.service_endpoints.iter().filter_map(|endpoint| endpoint.service.as_ref()) {
        if !seen.insert(service.value.to_lowercase()) {
            report
                .error(service.at, format!("this subnet has a service endpoint `{}` already", clip(&service.value)))
                .rule("SYS-11")
                .expected("every service once");
        }
    }
    subnet.service_endpoints.iter().filter_map(|endpoint| service_endpoint(endpoint, tags, report)).collect()
}

fn service_endpoint(
    endpoint: &written::ServiceEndpoint,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Option<ServiceEndpoint> {
    let service = endpoint.service.as_ref()?;
    let Some((name, tag)) = SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&service.value)) else {
        let names = SERVICES.map(|(name, _)| name);
        report
            .error(service.at, format!("`{}` is no service that has endpoints", clip(&service.value)))
            .rule("SYS-11")
            .expected(format!("one of {}", names.join(", ")))
            .did_you_mean(&service.value, names);
        return None;
    };
    let locations = endpoint.locations.iter().flat_map(|locations| &locations.value);
    let regions: Vec<_> = locations.filter(|location| location.value != "*").collect();
    let everywhere =
        regions.is_empty() || endpoint.locations.iter().flat_map(|all| &all.value).any(|one| one.value == "*");
    let tags = if everywhere {
        vec![named(tag, service, tags, report)?]
    } else {
        regions
            .into_iter()
            .filter_map(|region| named(&format!("{tag}.{}", region.value), region, tags, report))
            .collect()
    };
    Some(ServiceEndpoint { service: (*name).to_owned(), tags })
}

fn named(tag: &str, written: &Spanned<String>, tags: &mut Tags<'_>, report: &mut Report) -> Option<PublishedTagIx> {
    let found = tags.published(tag, report);
    if found.is_none() && tags.is_readable() {
        report
            .error(written.at, format!("the list of service tags has no `{}`, and so no ranges for this", clip(tag)))
            .rule("SYS-11")
            .help("`serviceTags:` may name a longer list; without `locations` an endpoint is for all regions");
    }
    found
}

/// The private endpoints without their addresses, and the address that each wants.
pub(super) fn private_endpoints(
    endpoints: &[written::PrivateEndpoint],
    scope: &Scope,
    report: &mut Report,
) -> (Vec<PrivateEndpoint>, Vec<Wish>) {
    Names::of("private endpoint", endpoints.iter().map(|endpoint| &endpoint.name), report);
    let mut made = Vec::new();
    let mut wishes = Vec::new();
    for endpoint in endpoints {
        let Some(subnet) = scope.subnet(&endpoint.subnet, report) else { continue };
        if let Some(address) = endpoint.address.as_ref().filter(|address| address.value.is_ipv6()) {
            report
                .error(address.at, format!("{} cannot be a private endpoint's address", address.value))
                .rule("SYS-12")
                .expected("an IPv4 address");
            continue;
        }
        let holder = Holder::PrivateEndpoint(made.len());
        let stated = endpoint.address.clone();
        wishes.push(Wish {
            holder,
            subnet,
            version: IpVersion::V4,
            stated,
            public: None,
            pools: Vec::new(),
            nat_rules: Vec::new(),
            at: endpoint.at,
        });
        let address = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        made.push(PrivateEndpoint { name: or_unnamed(&endpoint.name), subnet, address });
    }
    (made, wishes)
}
