//! The model's answers: from a file alone, or from the daemon, which forwards by the same tables.

use std::cell::OnceCell;
use std::time::Instant;

use crate::analysis::{self, Explanation, Forecast, Query};
use crate::bgp::topology::{Converged, converge};
use crate::cli::ask::unexpected;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::compile::{Compiled, compile};
use crate::daemon::api::client;
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::Record;
use crate::model::{Learned, Network};

/// Questions to a daemon at a time: its requests are of a bounded length.
const QUESTIONS: usize = 100;

/// The source of the model's answers.
pub(super) struct Model<'a> {
    pub(super) network: &'a Network,
    /// The lab that answers where packets go, by its daemon.
    lab: Option<&'a Record>,
    converged: OnceCell<(Converged, Learned)>,
    compiled: OnceCell<Compiled>,
}

impl<'a> Model<'a> {
    pub(super) fn of(network: &'a Network) -> Self {
        Self { network, lab: None, converged: OnceCell::new(), compiled: OnceCell::new() }
    }

    /// The same with packets' ways as a running lab knows them.
    pub(super) fn asking(self, lab: &'a Record) -> Self {
        Self { lab: Some(lab), ..self }
    }

    fn exchanged(&self) -> &(Converged, Learned) {
        self.converged.get_or_init(|| {
            let converged = converge(self.network, Instant::now());
            let learned = converged.learned();
            (converged, learned)
        })
    }

    /// The routers of the file, as if every one advertised what the file says.
    pub(super) fn converged(&self) -> &Converged {
        &self.exchanged().0
    }

    pub(super) fn learned(&self) -> &Learned {
        &self.exchanged().1
    }

    /// The tables of the file.
    pub(super) fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| compile(self.network, self.learned(), 1))
    }

    pub(super) fn forecast(&self, queries: &[Query]) -> Result<Vec<Result<Forecast, String>>, Failure> {
        let Some(lab) = self.lab else {
            let answer = |query| analysis::forecast(self.network, self.compiled(), query);
            return Ok(queries.iter().map(answer).collect());
        };
        let mut answers = Vec::new();
        for queries in queries.chunks(QUESTIONS) {
            match client::ask(&lab.socket, &Request::Forecast(queries.to_vec()))? {
                Response::Forecast(more) => answers.extend(more),
                other => return Err(unexpected(&other)),
            }
        }
        if answers.len() != queries.len() {
            return Err(Failure::new(Exit::NoDaemon, "the daemon answered another number of questions"));
        }
        Ok(answers)
    }

    /// Cause and fix of what does not arrive; none is no reason to stop.
    pub(super) fn explain(&self, query: &Query) -> Option<Explanation> {
        let Some(lab) = self.lab else {
            return analysis::explain(self.network, self.compiled(), query, Instant::now()).ok();
        };
        let (source, destination) = query.spelled();
        match client::ask(&lab.socket, &Request::Explain { source, destination }) {
            Ok(Response::Explanation(explanation)) => Some(*explanation),
            _ => None,
        }
    }
}
