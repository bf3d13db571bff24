//! Service tags by name: the network's own, then those of the published list (TAG-01, TAG-13).
//!
//! The list is read when the first of its tags is met, so that a topology without any does not need it.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::service_tags::Published;
use crate::config::yaml::diagnostic::{At, Diagnostic, Report, Spanned, clip};
use crate::config::yaml::values::{AddressField, RangeOrTag};
use crate::config::{Files, Named};
use crate::model::{AddressPrefix, PlatformService, PublishedTag, PublishedTagIx, ServiceTag};

const OF_THE_NETWORK: [(&str, ServiceTag); 6] = [
    ("VirtualNetwork", ServiceTag::VirtualNetwork),
    ("Internet", ServiceTag::Internet),
    ("AzureLoadBalancer", ServiceTag::AzureLoadBalancer),
    (PlatformService::Dns.tag(), ServiceTag::Platform(PlatformService::Dns)),
    (PlatformService::Imds.tag(), ServiceTag::Platform(PlatformService::Imds)),
    (PlatformService::Lkm.tag(), ServiceTag::Platform(PlatformService::Lkm)),
];

/// The published list, and what has been named of it.
pub(super) struct Tags<'a> {
    files: Files<'a>,
    /// The file that replaces vnet's own list.
    file: Option<&'a Spanned<PathBuf>>,
    list: List,
    used: Vec<PublishedTag>,
    /// By name as the list spells it.
    known: HashMap<String, PublishedTagIx>,
}

enum List {
    NotRead,
    Unreadable,
    Read(Published),
}

impl<'a> Tags<'a> {
    pub(super) fn new(file: Option<&'a Spanned<PathBuf>>, files: Files<'a>) -> Self {
        Self { files, file, list: List::NotRead, used: Vec::new(), known: HashMap::new() }
    }

    /// Those that were named.
    pub(super) fn into_used(self) -> Vec<PublishedTag> {
        self.used
    }

    /// What the address fields of a rule mean; None if one of them means nothing.
    pub(super) fn addresses(
        &mut self,
        fields: &[Spanned<AddressField>],
        report: &mut Report,
    ) -> Option<Vec<AddressPrefix>> {
        let address = |field: &Spanned<AddressField>| match &field.value {
            AddressField::Any => Some(AddressPrefix::Any),
            AddressField::Some(RangeOrTag::Range(range)) => Some(AddressPrefix::Prefix(*range)),
            AddressField::Some(RangeOrTag::Tag(name)) => self.find(name, field.at, report).map(AddressPrefix::Tag),
        };
        // All of them are checked, so that every error is reported.
        let addresses: Vec<_> = fields.iter().map(address).collect();
        addresses.into_iter().collect()
    }

    /// The tag of this name; an unknown one is reported.
    fn find(&mut self, name: &str, at: At, report: &mut Report) -> Option<ServiceTag> {
        if let Some((_, tag)) = OF_THE_NETWORK.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            return Some(*tag);
        }
        if let Some(tag) = self.published(name, report) {
            return Some(ServiceTag::Published(tag));
        }
        let List::Read(list) = &self.list else { return None };
        let names = OF_THE_NETWORK.map(|(name, _)| name);
        report
            .error(at, format!("`{}` is neither an address range nor a known service tag", clip(name)))
            .rule("NSG-01")
            .expected(format!("*, a range such as 10.0.0.0/16, an address, {} or a published tag", names.join(", ")))
            .did_you_mean(name, names.into_iter().chain(list.like(name)));
        None
    }

    /// The same for a route: its destination can be no tag of the network's own.
    pub(super) fn find_for_route(&mut self, name: &str, at: At, report: &mut Report) -> Option<PublishedTagIx> {
        if let Some(tag) = self.published(name, report) {
            return Some(tag);
        }
        let List::Read(list) = &self.list else { return None };
        let error = report.error(at, format!("`{}` is neither an address range nor a known service tag", clip(name)));
        error.rule("UDR-06").expected("a range such as 10.0.0.0/16, or a published service tag such as Storage");
        if OF_THE_NETWORK.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
            error.help("this tag follows from the network, and its routes from the system's: write the ranges");
        } else {
            error.did_you_mean(name, list.like(name));
        }
        None
    }

    /// The index of a published tag, for any use. Reads the list on first use; a list that cannot be read is
    /// reported, once.
    pub(super) fn published(&mut self, name: &str, report: &mut Report) -> Option<PublishedTagIx> {
        if matches!(self.list, List::NotRead) {
            self.list = self.read(report).map_or(List::Unreadable, List::Read);
        }
        let List::Read(list) = &self.list else { return None };
        let tag = list.find(name)?;
        let next = PublishedTagIx(self.used.len());
        let ix = *self.known.entry(tag.name.clone()).or_insert(next);
        if ix == next {
            self.used.push(tag.clone());
        }
        Some(ix)
    }

    /// Whether the list could be read, if it was asked for.
    pub(super) fn is_readable(&self) -> bool {
        !matches!(self.list, List::Unreadable)
    }

    fn read(&self, report: &mut Report) -> Option<Published> {
        let Some(file) = self.file else { return Some(Published::synthetic()) };
        let name = file.value.display().to_string();
        let error = match (self.files)(Named::ServiceTags(&file.value)) {
            Ok(text) => Published::parse(&text, &name),
            Err(error) => Err(format!("cannot read {name}: {error}")),
        };
        let explain = |diagnostic: &mut Diagnostic| {
            diagnostic.rule("TAG-13").expected("a file like Microsoft's ServiceTags_Public.json");
        };
        error.map_err(|error| explain(report.error(file.at, error))).ok()
    }
}
