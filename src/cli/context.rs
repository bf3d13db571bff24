//! What every subcommand is given: the global options, settled.

use std::env;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::output::{Format, Output};
use crate::config;

/// The options that every subcommand takes.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The lab to talk to where several run, else what `VNET_LAB` says; with `up`, `demo` and `run` the lab's name
    #[arg(short, long, global = true, value_name = "LAB")]
    lab: Option<String>,
    /// How to print data; messages go to stderr
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    /// When to use colour; `auto` obeys `NO_COLOR`
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// The global options, settled against the terminal and the environment.
#[derive(Debug)]
pub(crate) struct Context {
    /// The lab to talk to, by `-l` or by the environment.
    pub(crate) lab: Option<String>,
    /// What `-l` says: a program inside a lab that starts another one does not name that after its own.
    pub(crate) given: Option<String>,
    pub(crate) output: Output,
    pub(crate) messages: Messages,
}

impl Context {
    pub(super) fn new(global: Global) -> Self {
        let colour = global.color;
        Self {
            lab: global.lab.clone().or_else(|| env::var("VNET_LAB").ok().filter(|lab| !lab.is_empty())),
            given: global.lab,
            output: Output::new(global.output, colour.on(&io::stdout())),
            messages: Messages { colour: colour.on(&io::stderr()) },
        }
    }
}

impl Context {
    /// The name that `-l` gives to a lab that is started.
    pub(super) fn name(&self) -> Result<Option<&str>, Failure> {
        match self.given.as_deref() {
            Some(name) if !config::is_lab_name(name) => {
                Err(Failure::usage(format_args!("`{name}` cannot be a lab's name"))
                    .help("1 to 32 letters, digits or `-`, a letter or digit first and last"))
            }
            name => Ok(name),
        }
    }
}

impl Colour {
    fn on(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                    || env::var_os("TERM").is_some_and(|term| term == "dumb");
                !refused && stream.is_terminal()
            }
        }
    }
}

/// Messages for the user, on stderr. Errors of stderr are ignored.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    pub(crate) colour: bool,
}

impl Messages {
    pub(super) fn failure(&self, failure: &Failure) {
        if !failure.message.is_empty() {
            self.say(AnsiColor::Red, "error", &failure.message);
        }
        if let Some(help) = &failure.help {
            self.say(AnsiColor::Cyan, "help", help);
        }
    }

    /// Our own options for a daemon that prints on the same stderr.
    pub(crate) fn options(&self) -> [&'static str; 2] {
        ["--color", if self.colour { "always" } else { "never" }]
    }

    pub(crate) fn warning(&self, message: &str) {
        self.say(AnsiColor::Yellow, "warning", message);
    }

    pub(crate) fn note(&self, message: &str) {
        self.say(AnsiColor::Cyan, "note", message);
    }

    fn say(&self, colour: AnsiColor, word: &str, message: &str) {
        let style = if self.colour { Style::new().bold().fg_color(Some(colour.into())) } else { Style::new() };
        let _ = writeln!(io::stderr().lock(), "{style}{word}{style:#}: {message}");
    }
}
