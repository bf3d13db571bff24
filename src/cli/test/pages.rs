//! Tests of pages (`http`) and of names (`dns`).

use std::time::Duration;

use crate::cli::failure::Failure;
use crate::lab::Node;
use crate::lab::traffic::names::{self, Answer};
use crate::lab::traffic::page::{self, Fetched, Page};
use crate::model::{DnsExpectation, DnsTest, HttpTest, TestCase};

use super::report::Tested;
use super::said::{Answers, Foretold, Said, beginning, reached};
use super::session::Session;

/// How long a page or a name may take.
const PATIENCE: Duration = Duration::from_secs(3);

impl Session<'_> {
    pub(super) fn http(&self, case: &TestCase, wanted: &HttpTest, tested: &mut Tested) -> Result<Answers, Failure> {
        let forecast = self.foretell(&wanted.ends, tested)?;
        let model = Foretold::reaching(&forecast, case.packets_only);
        let page = wanted.body.as_ref().map(|body| format!(" and a page with `{}`", beginning(body)));
        let expected = format!("status {}{}", wanted.status, page.unwrap_or_default());
        let seen = self.ground.map(|lab| {
            let trial = self.trial_between(case, &wanted.ends, forecast.as_ref()?, true)?;
            let limit = case.conduct.timeout.unwrap_or(PATIENCE);
            let page = Page { secure: wanted.secure, host: &wanted.host, path: &wanted.path, limit };
            let fetched = page::fetch(lab, self.network, &trial, page).map_err(|error| error.to_string())?;
            Ok(Said::of_page(wanted, &fetched))
        });
        Ok(Answers { expected, model, seen })
    }

    pub(super) fn dns(&self, case: &TestCase, wanted: &DnsTest) -> Answers {
        let machine = &self.network.vm(wanted.on).name;
        let foretold = names::question(&wanted.name, wanted.record)
            .map(|question| names::foretold(self.network, wanted.on, &question));
        let model = match foretold {
            _ if case.packets_only => Foretold::Unknown("only the lab is to be asked".to_owned()),
            Err(why) => Foretold::Unknown(why),
            Ok(None) => Foretold::Unknown(format!("servers outside the lab answer {machine}")),
            Ok(Some(answer)) => Foretold::Says(Said::of_name(wanted, &answer)),
        };
        let seen = self.ground.map(|lab| {
            let node = Node::find(lab, machine).map_err(|error| error.to_string())?;
            let limit = case.conduct.timeout.unwrap_or(PATIENCE);
            let answer = names::ask(node, &wanted.name, wanted.record, limit).map_err(|error| error.to_string())?;
            Ok(Said::of_name(wanted, &answer))
        });
        let expected = match &wanted.expect {
            DnsExpectation::Some => format!("{} records of {}", wanted.record, wanted.name),
            DnsExpectation::Records(records) => format!("{} {}", wanted.record, records.join(", ")),
            DnsExpectation::Absent => format!("no {} record of {}", wanted.record, wanted.name),
        };
        Answers { expected, model, seen }
    }
}

impl Said {
    fn of_page(wanted: &HttpTest, fetched: &Fetched) -> Self {
        let (holds, text, arrived) = match fetched {
            Fetched::Page { status, body } => {
                let is_there = wanted.body.as_ref().is_none_or(|part| body.contains(part.as_str()));
                let page = match &wanted.body {
                    Some(_) if body.trim().is_empty() => " and an empty page".to_owned(),
                    Some(_) => format!(" and a page that begins with `{}`", beginning(body)),
                    None => String::new(),
                };
                (*status == wanted.status && is_there, format!("status {status}{page}"), true)
            }
            Fetched::Refused => (false, "a refused connection: nothing listens there".to_owned(), true),
            Fetched::Silence => (false, "no connection".to_owned(), false),
            Fetched::Failed(why) => (false, format!("a connection, and no page: {why}"), true),
        };
        Self { holds, text, fact: Some(reached(arrived)) }
    }

    fn of_name(wanted: &DnsTest, answer: &Result<Answer, String>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Self { holds: false, text: why.clone(), fact: Some(why.clone()) },
        };
        let text = if answer.records.is_empty() {
            format!("no record ({})", answer.code)
        } else {
            format!("{} {}", wanted.record, answer.records.join(", "))
        };
        let holds = match &wanted.expect {
            DnsExpectation::Some => !answer.records.is_empty(),
            DnsExpectation::Records(records) => {
                let mut records: Vec<_> = records.iter().map(|record| record.trim_end_matches('.')).collect();
                records.sort_unstable();
                records == answer.records
            }
            DnsExpectation::Absent => answer.records.is_empty(),
        };
        Self { holds, fact: Some(text.clone()), text }
    }
}
