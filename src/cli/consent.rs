//! Consent to the code of a topology file: shown and asked for at a terminal, given by an option elsewhere.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

use super::context::Context;
use super::failure::Failure;
use super::input::Input;
use super::topology;
use crate::lab::consent::{Code, Part, What, directory_of};
use crate::model::{Network, RunPolicy};

/// Lines of a rule set that are shown.
const RULES_SHOWN: usize = 40;
/// Keys of a file without which nothing of it runs.
const KEYS: [&str; 5] = ["run", "nftables", "exec", "storagePath", "attach"];

/// What the user says of the code of a file beforehand.
#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Run the file's programs and firewall rules without a question
    #[arg(long, env = "VNET_ALLOW_RUN", hide_env_values = true, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    allow_run: bool,
    /// Leave the file's programs and firewall rules out
    #[arg(long)]
    no_run: bool,
}

impl Consent {
    /// What the options say, if they say anything; `--no-run` also where the environment allows all.
    fn given(&self) -> Option<RunPolicy> {
        match (self.no_run, self.allow_run) {
            (true, _) => Some(RunPolicy::Never),
            (false, true) => Some(RunPolicy::Always),
            (false, false) => None,
        }
    }

    /// Whether the options leave the question open.
    pub(super) fn is_open(&self) -> bool {
        self.given().is_none()
    }

    pub(super) fn leaves_out(&self) -> bool {
        self.no_run
    }

    /// Settles what becomes of the code of a network. Fails if the user does not agree to it.
    pub(super) fn settle(
        &self,
        network: &Network,
        text: &str,
        file: &str,
        context: &Context,
    ) -> Result<RunPolicy, Failure> {
        if let Some(policy) = self.given() {
            return Ok(policy);
        }
        match Code::of(network, text, &directory_of(Path::new(file))) {
            Some(code) if !code.is_agreed() => ask(&code, file, context),
            _ => Ok(RunPolicy::Agreed),
        }
    }

    /// The same of a file whose mistakes another process reports.
    pub(super) fn settle_input(&self, input: &Input, context: &Context) -> Result<RunPolicy, Failure> {
        if let Some(policy) = self.given() {
            return Ok(policy);
        }
        if !may_run(&input.text) {
            return Ok(RunPolicy::Agreed);
        }
        match topology::load_beside(input) {
            Ok(loaded) => self.settle(&loaded.network, &input.text, &input.name, context),
            Err(_) => Ok(RunPolicy::Agreed),
        }
    }

    /// The same of a file for a lab that runs a network already: what runs there needs no other consent.
    pub(super) fn settle_change(
        network: &Network,
        running: impl FnOnce() -> Result<Network, Failure>,
        text: &str,
        file: &str,
        context: &Context,
    ) -> Result<(), Failure> {
        match Code::of(network, text, &directory_of(Path::new(file))) {
            Some(code) if !code.is_agreed() && !code.runs_in(&running()?) => ask(&code, file, context).map(drop),
            _ => Ok(()),
        }
    }
}

/// Whether a text may have code at all: most have none, and need not be read twice.
pub(super) fn may_run(text: &str) -> bool {
    // A key in double quotes may be spelled with escapes.
    KEYS.iter().any(|key| text.contains(key)) || text.contains('\\')
}

/// Shows what a file runs and asks. An answer other than yes is a failure, and so is that there is no terminal.
fn ask(code: &Code, file: &str, context: &Context) -> Result<RunPolicy, Failure> {
    if file == "stdin" || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let is_code = |part: &Part| matches!(part.what, What::Program(_) | What::Rules { .. });
        let (does, ways) = if code.parts.iter().any(is_code) {
            ("runs code", "`--allow-run` runs it, `--no-run` leaves it out")
        } else {
            ("reaches out of its lab", "`--allow-run` lets it")
        };
        let ways_out = format!("{ways}, `vnet trust {file}` records your consent");
        let message = format!("{file} {does} in {}: that needs your consent", nodes(code));
        return Err(Failure::usage(message).help(ways_out));
    }
    let question = format!("{}Run it? [y/N] ", text(code, file));
    let asked = io::stderr().lock().write_all(question.as_bytes());
    let mut answer = String::new();
    asked.and_then(|()| io::stdin().lock().read_line(&mut answer)).map_err(Failure::usage)?;
    if !["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Err(Failure::usage("you did not agree: nothing was started or changed")
            .help("`--no-run` leaves out what the file runs"));
    }
    match code.agree(&text(code, file)) {
        Ok(_) => Ok(RunPolicy::Agreed),
        Err(error) => {
            context.messages.warning(&format!("cannot remember your consent: {error}"));
            Ok(RunPolicy::Always)
        }
    }
}

fn nodes(code: &Code) -> String {
    let mut nodes: Vec<_> = code.parts.iter().map(|part| part.node.as_str()).collect();
    nodes.dedup();
    nodes.join(", ")
}

/// What runs, and where.
pub(super) fn text(code: &Code, file: &str) -> String {
    let reaches_out = code.parts.iter().any(|part| !matches!(part.what, What::Program(_) | What::Rules { .. }));
    let what = if reaches_out { "runs code, or reaches out of its lab" } else { "runs code in its machines" };
    let mut text = format!("{} {what}:\n", visible(file));
    for part in &code.parts {
        let shown = visible(&part.what.to_string());
        let most = match part.what {
            What::Program(_) | What::Files(_) | What::Device(_) | What::Container(_) => usize::MAX,
            What::Rules { .. } => RULES_SHOWN,
        };
        let count = shown.lines().count();
        for (index, line) in shown.lines().take(most).enumerate() {
            let node = if index == 0 { part.node.as_str() } else { "" };
            let _ = writeln!(text, "  {}", format!("{node:<15} {line}").trim_end());
        }
        if count > most {
            let _ = writeln!(text, "  {:<15} and {} more lines", "", count - most);
        }
    }
    text
}

/// Text that cannot move the cursor, change colours or turn round what stands beside it.
fn visible(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            '\n' | '\'' | '"' | '\\' => shown.push(character),
            '\t' => shown.push_str("    "),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_hide_from_the_one_it_is_shown_to() {
        assert_eq!(visible("a \"b\" 'c' \\d é\n\te"), "a \"b\" 'c' \\d é\n    e");
        assert_eq!(visible("rm\r\u{1b}[2Kls \u{202e}x"), "rm\\r\\u{1b}[2Kls \\u{202e}x");
    }
}
