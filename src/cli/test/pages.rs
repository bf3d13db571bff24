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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cli::test::tests::network;
    use crate::model::Question;

    fn question(test: &str) -> Question {
        network(test).tests.remove(0).question
    }

    #[test]
    fn a_page_has_the_status_and_the_words_that_are_expected() {
        let said = |wanted: &str, fetched: &Fetched| {
            let Question::Http(wanted) = question(wanted) else { panic!("{wanted}") };
            let Said { holds, text, fact } = Said::of_page(&wanted, fetched);
            (holds, text, fact.unwrap())
        };
        let page = |status, body: &str| Fetched::Page { status, body: body.to_owned() };
        let (plain, words) =
            ("{from: web, http: 'http://db/'}", "{from: web, http: {url: 'http://db/', body: welcome}}");
        let (arrives, not) = ("arrives".to_owned(), "does not arrive".to_owned());
        for (wanted, fetched, holds, text, fact) in [
            (plain, page(200, "anything"), true, "status 200", &arrives),
            (plain, page(404, ""), false, "status 404", &arrives),
            (
                words,
                page(200, "you are welcome"),
                true,
                "status 200 and a page that begins with `you are welcome`",
                &arrives,
            ),
            (words, page(500, "welcome"), false, "status 500 and a page that begins with `welcome`", &arrives),
            (words, page(200, "go"), false, "status 200 and a page that begins with `go`", &arrives),
            (words, page(200, " \n"), false, "status 200 and an empty page", &arrives),
            (plain, Fetched::Refused, false, "a refused connection: nothing listens there", &arrives),
            (plain, Fetched::Silence, false, "no connection", &not),
            (plain, Fetched::Failed("reset".to_owned()), false, "a connection, and no page: reset", &arrives),
        ] {
            assert_eq!(said(wanted, &fetched), (holds, text.to_owned(), fact.clone()), "{wanted} {fetched:?}");
        }
    }

    #[test]
    fn a_name_has_the_records_that_are_expected_and_no_others() {
        let said = |wanted: &str, records: &[&str]| {
            let Question::Dns(wanted) = question(wanted) else { panic!("{wanted}") };
            let records = records.iter().map(|record| (*record).to_owned()).collect();
            let said = Said::of_name(&wanted, &Ok(Answer { code: "NXDOMAIN".to_owned(), records }));
            assert_eq!(said.fact.as_ref(), Some(&said.text));
            (said.holds, said.text)
        };
        let (any, two) = ("{on: web, dns: db}", "{on: web, dns: {name: db, answer: [10.0.2.5, 10.0.2.4]}}");
        let none = "{on: web, dns: {name: db, absent: true}}";
        for (wanted, records, holds, text) in [
            (any, &["10.0.2.4"][..], true, "A 10.0.2.4"),
            (any, &[], false, "no record (NXDOMAIN)"),
            (two, &["10.0.2.4", "10.0.2.5"], true, "A 10.0.2.4, 10.0.2.5"),
            (two, &["10.0.2.4"], false, "A 10.0.2.4"),
            (two, &["10.0.2.4", "10.0.2.5", "10.0.2.6"], false, "A 10.0.2.4, 10.0.2.5, 10.0.2.6"),
            (none, &[], true, "no record (NXDOMAIN)"),
            (none, &["10.0.2.4"], false, "A 10.0.2.4"),
        ] {
            assert_eq!(said(wanted, records), (holds, text.to_owned()), "{wanted} {records:?}");
        }
        let Question::Dns(wanted) = question(any) else { panic!("{any}") };
        let refused = Said::of_name(&wanted, &Err("no server answers".to_owned()));
        assert_eq!((refused.holds, refused.text.as_str()), (false, "no server answers"));
    }
}
