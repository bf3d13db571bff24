//! The distributed firewall of a private cloud: what its names mean, and the order of its rules (AVS-12).

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv4Subnets};

use crate::config::schema::distributed_firewall::{Policy, Rule, Service, Words};
use crate::config::yaml::diagnostic::{At, Report, Spanned, clip};
use crate::model::{Access, DistributedFirewall, FirewallPolicy, FirewallRule, FirewallService, Segment};

use super::names::{Names, or_unnamed};

/// Of everything.
const ANY: &str = "ANY";

/// A cloud's policies by category, then by number; of equal ones the first of the file is the first here.
pub(super) fn firewall(
    written: &[Policy],
    (cloud, segments): (&str, &[Segment]),
    report: &mut Report,
) -> DistributedFirewall {
    Names::of("security policy", written.iter().map(|policy| &policy.name), report);
    let place = Place { cloud, segments };
    let policy = |(at, policy): (usize, &Policy)| {
        Names::of("rule", policy.rules.iter().map(|rule| &rule.name), report);
        FirewallPolicy {
            name: or_unnamed(&policy.name),
            place: at,
            category: policy.category,
            sequence_number: policy.sequence_number,
            rules: policy.rules.iter().filter_map(|rule| place.rule(rule, report)).collect(),
        }
    };
    let mut policies: Vec<_> = written.iter().enumerate().map(policy).collect();
    policies.sort_by_key(|policy| (policy.category, policy.sequence_number));
    DistributedFirewall { policies }
}

/// Where names are looked up.
struct Place<'a> {
    cloud: &'a str,
    segments: &'a [Segment],
}

impl Place<'_> {
    fn rule(&self, written: &Rule, report: &mut Report) -> Option<FirewallRule> {
        let sources = self.ranges(written.sources.as_ref(), report);
        let destinations = self.ranges(written.destinations.as_ref(), report);
        let rule = FirewallRule {
            name: or_unnamed(&written.name),
            sources,
            destinations,
            services: services(written, report),
            action: written.action.as_ref().map_or(Access::Deny, |action| action.value),
            direction: written.direction,
            scope: self.scope(written.scope.as_ref(), report),
        };
        written.action.as_ref().map(|_| rule)
    }

    /// None is `ANY`.
    fn ranges(&self, words: Option<&Words>, report: &mut Report) -> Option<Vec<Ipv4Net>> {
        let words = words.filter(|words| !is_any(words, report))?;
        let ranges = words.value.iter().flat_map(|word| {
            let read = addresses(&word.value);
            read.unwrap_or_else(|| self.named(word, report).into_iter().flat_map(|at| self.own_ranges(at)).collect())
        });
        Some(ranges.collect())
    }

    /// None is every machine.
    fn scope(&self, words: Option<&Words>, report: &mut Report) -> Option<Vec<usize>> {
        let words = words.filter(|words| !is_any(words, report))?;
        Some(words.value.iter().flat_map(|word| self.named(word, report)).collect())
    }

    /// The machines of a segment, or the one of that name.
    fn named(&self, word: &Spanned<String>, report: &mut Report) -> Vec<usize> {
        let is = |name: &str| name.eq_ignore_ascii_case(&word.value);
        let found: Vec<_> = (0..self.segments.len())
            .filter(|at| is(&self.segments[*at].name) || self.segments[*at].machine.as_deref().is_some_and(is))
            .collect();
        if found.is_empty() {
            let mut known: Vec<_> = self.segments.iter().map(|segment| segment.name.as_str()).collect();
            known.dedup();
            known.extend(self.segments.iter().filter_map(|segment| segment.machine.as_deref()));
            let what = format!("private cloud `{}` has no segment or machine `{}`", self.cloud, clip(&word.value));
            let diagnostic = report.error(word.at, what).rule("AVS-12");
            diagnostic.did_you_mean(&word.value, known.iter().copied());
            if diagnostic.help.is_none() {
                diagnostic.help(format!("write ANY, an address, a range, or one of: {}", known.join(", ")));
            }
        }
        found
    }

    /// A machine is its addresses. A segment that lists no machines is its range.
    fn own_ranges(&self, at: usize) -> Vec<Ipv4Net> {
        let segment = &self.segments[at];
        match &segment.machine {
            Some(_) => segment.addresses.iter().map(|address| Ipv4Net::from(*address)).collect(),
            None => vec![segment.prefix],
        }
    }
}

fn services(written: &Rule, report: &mut Report) -> Option<Vec<FirewallService>> {
    let services = written.services.as_ref()?;
    let of = |one: &Spanned<Service>| if let Service::Of(service) = &one.value { Some(service.clone()) } else { None };
    let all: Vec<_> = services.value.iter().filter_map(of).collect();
    if all.len() == services.value.len() {
        return Some(all);
    }
    if !all.is_empty() {
        alone(services.at, report);
    }
    None
}

/// Whether words say `ANY`, which stands alone.
fn is_any(words: &Words, report: &mut Report) -> bool {
    let any = words.value.iter().any(|word| word.value.eq_ignore_ascii_case(ANY));
    if any && words.value.len() > 1 {
        alone(words.at, report);
    }
    any
}

fn alone(at: At, report: &mut Report) {
    report
        .error(at, "ANY stands beside other values")
        .rule("AVS-12")
        .expected("ANY alone, or the other values without it");
}

/// `10.0.0.4`, `10.0.0.0/24` or `10.0.0.4-10.0.0.9`. None for anything else.
fn addresses(word: &str) -> Option<Vec<Ipv4Net>> {
    if let Some((first, last)) = word.split_once('-') {
        let (first, last) = (first.trim().parse::<Ipv4Addr>().ok()?, last.trim().parse().ok()?);
        return (first <= last).then(|| Ipv4Subnets::new(first, last, 0).collect());
    }
    let address = word.parse::<Ipv4Addr>().map(Ipv4Net::from);
    address.or_else(|_| word.parse::<Ipv4Net>().map(|range| range.trunc())).ok().map(|range| vec![range])
}
