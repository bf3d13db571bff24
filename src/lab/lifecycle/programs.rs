//! The programs of a running lab: started, and reported in `status`.

use tracing::info;

use crate::daemon::api::protocol::ProgramStatus;
use crate::daemon::events::Happening;
use crate::lab::journal::record::{Record, RecordedProgram};
use crate::lab::namespaces::Site;
use crate::lab::programs::{self, Program};

use super::apply::Lab;

impl Lab<'_> {
    /// Starts the programs that were not there before, or were in another place. Returns what did not work.
    pub(in crate::lab) fn start_programs(&mut self, before: Option<&Record>) -> Vec<String> {
        let Self { site: Site { claim, .. }, record, programs, .. } = self;
        let stays =
            |program: &RecordedProgram| before.is_some_and(|before| record.keeps_program(before, &program.node));
        let new: Vec<_> = record.programs.iter().filter(|program| !stays(program)).cloned().collect();
        let mut complaints = Vec::new();
        let mut statuses = Vec::new();
        for program in &new {
            // A program that does not start counts as ended at once: the others and the network are there.
            let error = match Program::start(program, record, &claim.dir, &mut claim.journal) {
                Ok(started) => {
                    programs.push(started);
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            complaints.extend(error.clone());
            statuses.push(status(program, error));
        }
        for (program, status) in new.into_iter().zip(&statuses) {
            if let Some(status) = status.ended.clone() {
                let (node, command) = (program.node, program.command.join(" "));
                self.history.tell(Happening::ProgramEnded { node, command, status });
            }
        }
        let is_there = |node: &str| self.record.programs.iter().any(|program| program.node == node);
        self.tell_programs(|programs| {
            programs.retain(|old| is_there(&old.node) && statuses.iter().all(|new| new.node != old.node));
            programs.extend(statuses);
        });
        complaints
    }

    /// Takes note of those that have ended.
    pub(in crate::lab) fn reap_programs(&mut self) {
        for programs::Ending { node, command, status } in programs::reap(&mut self.programs) {
            info!("{node}: `{command}` ended: {status}");
            let (ended, failed) = (status.to_string(), !status.success());
            self.tell_programs(|programs| {
                for program in programs.iter_mut().filter(|program| program.node == node) {
                    (program.ended, program.failed) = (Some(ended.clone()), failed);
                }
            });
            self.history.tell(Happening::ProgramEnded { node, command, status: ended });
        }
    }

    pub(in crate::lab) fn tell_programs(&self, change: impl FnOnce(&mut Vec<ProgramStatus>)) {
        self.update_facts(|mut facts| {
            change(&mut facts.programs);
            facts
        });
    }
}

/// One that runs, or could not be started.
fn status(program: &RecordedProgram, error: Option<String>) -> ProgramStatus {
    let (failed, command) = (error.is_some(), program.in_one_line());
    ProgramStatus { node: program.node.clone(), command, ended: error, failed, log: program.log.clone() }
}
