//! Tests that run a program in a machine (`exec`).

use std::time::Duration;

use crate::lab::Node;
use crate::lab::programs::check::{self, Ran};
use crate::model::{ExecTest, RunPolicy, TestCase};

use super::said::{Answers, Foretold, Said, beginning};
use super::session::Session;

/// How long a program may run.
const PATIENCE: Duration = Duration::from_secs(30);

impl Session<'_> {
    pub(super) fn exec(&self, case: &TestCase, wanted: &ExecTest) -> Answers {
        let output = wanted.stdout.as_ref().map(|part| format!(" and `{}` in its output", beginning(part)));
        let expected = format!("exit code {}{}", wanted.exit, output.unwrap_or_default());
        let model = Foretold::Unknown("only a real machine runs a program".to_owned());
        // A lab that left its programs out takes none from a test.
        let Some(lab) = self.ground.filter(|lab| lab.policy != RunPolicy::Never) else {
            return Answers { expected, model, seen: None };
        };
        let limit = case.conduct.timeout.unwrap_or(PATIENCE);
        let ran = Node::find(lab, &wanted.on).and_then(|node| check::run(node, &wanted.program, limit, self.stop));
        let seen = ran.map(|ran| Said::of_program(wanted, &ran)).map_err(|error| error.to_string());
        Answers { expected, model, seen: Some(seen) }
    }
}

impl Said {
    fn of_program(wanted: &ExecTest, ran: &Ran) -> Self {
        let right_end = ran.code() == Some(wanted.exit.into());
        let right_output = wanted.stdout.as_ref().is_none_or(|part| ran.stdout.contains(part.as_str()));
        let said = match (right_end, right_output) {
            (true, true) => String::new(),
            (true, false) if ran.stdout.trim().is_empty() => " and no output".to_owned(),
            (true, false) => format!(" and the output `{}`", beginning(&ran.stdout)),
            (false, _) => {
                let last = ran.stderr.lines().chain(ran.stdout.lines()).rfind(|line| !line.trim().is_empty());
                last.map(|line| format!(" and `{}`", beginning(line))).unwrap_or_default()
            }
        };
        Self { holds: right_end && right_output, text: format!("{}{said}", ran.ending()), fact: None }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::model::Program;

    /// Its exit code and a part of its output, where one is wanted.
    #[test]
    fn a_program_ends_as_it_should_and_says_what_it_should() {
        let said = |wanted: (u8, Option<&str>), (code, stdout): (i32, &str)| {
            let (exit, part) = wanted;
            let (on, program) = ("web".to_owned(), Program::default());
            let wanted = ExecTest { on, program, exit, stdout: part.map(str::to_owned) };
            let (stdout, stderr) = (stdout.to_owned(), "first\nwhy not\n".to_owned());
            let said =
                Said::of_program(&wanted, &Ran { status: Some(ExitStatus::from_raw(code << 8)), stdout, stderr });
            (said.holds, said.text)
        };
        for (wanted, ran, holds, text) in [
            ((0, None), (0, "anything"), true, "exit code 0"),
            ((0, Some("ing")), (0, "anything"), true, "exit code 0"),
            ((0, Some("no")), (0, "anything"), false, "exit code 0 and the output `anything`"),
            ((0, Some("no")), (0, " \n"), false, "exit code 0 and no output"),
            ((3, None), (3, ""), true, "exit code 3"),
            ((0, None), (3, "out"), false, "exit code 3 and `out`"),
            ((0, Some("out")), (3, ""), false, "exit code 3 and `why not`"),
        ] {
            assert_eq!(said(wanted, ran), (holds, text.to_owned()), "{wanted:?} {ran:?}");
        }
    }
}
