//! Tests of effective routes (`routes`) and effective security rules (`rules`): those of the file against those of the lab.

use crate::analysis::{self, EffectiveGroup, RouteRow, RuleRow};
use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::daemon::api::client;
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::Record;
use crate::model::{RoutePattern, RoutesTest, RulePattern, RulesTest, TestCase};

use super::report::Tested;
use super::said::{Answers, Foretold, Said};
use super::session::Session;

impl Session<'_> {
    pub(super) fn routes(&self, case: &TestCase, wanted: &RoutesTest, tested: &mut Tested) -> Result<Answers, Failure> {
        let model = if case.packets_only {
            Foretold::Unknown("only the lab is to be asked".to_owned())
        } else {
            let rows = analysis::routes(self.network, self.model.compiled(), wanted.on);
            Foretold::Says(Said::of_routes(wanted, &rows))
        };
        let subnet = self.network.subnet(wanted.on);
        let seen = match self.ground {
            None => None,
            Some(lab) => Some(Ok(Said::of_routes(wanted, &routes_of(lab, &tested.from)?))),
        };
        let table = subnet.route_table.map(|table| &self.network.route_tables[table.0].name);
        let table = table.map_or_else(|| "no route table".to_owned(), |name| format!("route table {name}"));
        tested.notes.push(format!("place: subnet {}, {table}", tested.from));
        Ok(Answers { expected: expected(&wanted.contains, &wanted.absent), model, seen })
    }

    pub(super) fn rules(&self, case: &TestCase, wanted: &RulesTest) -> Result<Answers, Failure> {
        let model = if case.packets_only {
            Foretold::Unknown("only the lab is to be asked".to_owned())
        } else {
            match analysis::rules(self.network, self.model.compiled(), &wanted.on, |_| None) {
                Ok(groups) => Foretold::Says(Said::of_rules(wanted, &groups)),
                Err(error) => Foretold::Unknown(error),
            }
        };
        let seen = match self.ground {
            None => None,
            Some(lab) => match client::ask(&lab.socket, &Request::Rules { target: wanted.on.clone() })? {
                Response::Rules(groups) => Some(Ok(Said::of_rules(wanted, &groups))),
                other => return Err(unexpected(&other)),
            },
        };
        Ok(Answers { expected: expected(&wanted.contains, &wanted.absent), model, seen })
    }
}

fn routes_of(lab: &Record, target: &str) -> Result<Vec<RouteRow>, Failure> {
    match client::ask(&lab.socket, &Request::Routes { target: target.to_owned() })? {
        Response::Routes(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

fn expected<T: std::fmt::Display>(contains: &[T], absent: &[T]) -> String {
    let there = contains.iter().map(ToString::to_string);
    let not = absent.iter().map(|pattern| format!("no {pattern}"));
    there.chain(not).collect::<Vec<_>>().join(" and ")
}

impl Said {
    fn of_routes(wanted: &RoutesTest, rows: &[RouteRow]) -> Self {
        let patterns = || wanted.contains.iter().chain(&wanted.absent);
        let about = |pattern: &RoutePattern| {
            let prefix = pattern.prefix;
            rows.iter().filter(move |row| row.address_prefix.contains(&prefix))
        };
        let missing = wanted.contains.iter().filter(|pattern| !about(pattern).any(|row| pattern.fits(row)));
        let there = wanted.absent.iter().filter(|pattern| about(pattern).any(|row| pattern.fits(row)));
        let wrong: Vec<_> = missing.chain(there).collect();
        let shown = |pattern: &RoutePattern| {
            let rows: Vec<_> = about(pattern).map(|row| row_in_words(pattern, row)).collect();
            if rows.is_empty() { format!("no route for {}", pattern.prefix) } else { rows.join(", ") }
        };
        let told: Vec<_> = if wrong.is_empty() { patterns().collect() } else { wrong.clone() };
        let text = told.iter().map(|pattern| shown(pattern)).collect::<Vec<_>>().join("; ");
        let facts: Vec<_> = patterns().map(shown).collect();
        Self { holds: wrong.is_empty(), text, fact: Some(facts.join("; ")) }
    }

    fn of_rules(wanted: &RulesTest, groups: &[EffectiveGroup]) -> Self {
        let rows: Vec<&RuleRow> = groups.iter().flat_map(|group| &group.effective_security_rules).collect();
        let about = |pattern: &RulePattern| rows.iter().copied().filter(|row| pattern.names(row)).collect::<Vec<_>>();
        let fits = |pattern: &RulePattern| about(pattern).into_iter().any(|row| pattern.fits(row));
        let missing = wanted.contains.iter().filter(|pattern| !fits(pattern));
        let wrong: Vec<_> = missing.chain(wanted.absent.iter().filter(|pattern| fits(pattern))).collect();
        let shown = |pattern: &RulePattern| {
            let mut rows: Vec<_> = about(pattern).into_iter().map(rule_in_words).collect();
            rows.dedup();
            if rows.is_empty() { format!("no rule {}", pattern.name) } else { rows.join(", ") }
        };
        let patterns = || wanted.contains.iter().chain(&wanted.absent);
        let told: Vec<_> = if wrong.is_empty() { patterns().collect() } else { wrong.clone() };
        let text = told.iter().map(|pattern| shown(pattern)).collect::<Vec<_>>().join("; ");
        let facts: Vec<_> = patterns().map(shown).collect();
        Self { holds: wrong.is_empty(), text, fact: Some(facts.join("; ")) }
    }
}

fn row_in_words(pattern: &RoutePattern, row: &RouteRow) -> String {
    let hops = row.next_hop_ip_address.iter().map(ToString::to_string);
    let hops = std::iter::once(row.next_hop_type.to_string()).chain(hops).collect::<Vec<_>>().join(" ");
    format!("{} {hops} ({}, {})", pattern.prefix, row.source, row.state)
}

fn rule_in_words(row: &RuleRow) -> String {
    format!("{} {:?} {} of priority {}", row.name, row.direction, row.access, row.priority)
}

impl RoutePattern {
    fn fits(&self, row: &RouteRow) -> bool {
        self.next_hop_type.is_none_or(|hop| hop == row.next_hop_type)
            && self.next_hop_ip.is_none_or(|address| row.next_hop_ip_address.contains(&address))
            && self.source.is_none_or(|source| source == row.source)
            && self.state == row.state
    }
}

impl RulePattern {
    /// A name without its kind is the last part of a row's.
    fn names(&self, row: &RuleRow) -> bool {
        let last = row.name.rsplit('/').next().unwrap_or(&row.name);
        row.name.eq_ignore_ascii_case(&self.name) || last.eq_ignore_ascii_case(&self.name)
    }

    fn fits(&self, row: &RuleRow) -> bool {
        self.access.is_none_or(|access| access.to_string() == row.access)
            && self.direction.is_none_or(|direction| direction == row.direction)
            && self.priority.is_none_or(|priority| priority == row.priority)
    }
}
