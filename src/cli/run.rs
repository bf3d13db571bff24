//! `vnet run`: the router in the foreground.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::config::Loaded;
use crate::lab::lifecycle::daemon::{self, Stand, Topology};
use crate::model::{Network, RunPolicy, counted};
use crate::sys::confine::{self, Role};
use crate::sys::process;

use super::consent::Consent;
use super::context::{Context, Messages};
use super::failure::Failure;
use super::finding::{Finding, findings};
use super::input::Input;
use super::{Exit, Outcome, log, topology};

/// Run the router in the foreground: for systemd, containers and namespaces of your own
///
/// With `attach:` in the file, VNets and interfaces are attached to namespaces that exist already. Prints one line on
/// stdout when packets flow, and tells systemd. SIGINT and SIGTERM end it; it removes what it made. SIGHUP applies the
/// file anew.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  ip netns add left; ip netns add right\n  vnet run config/two-vnets.yaml")]
pub(super) struct Run {
    /// The topology file, or what `import` takes: a template, a dump or a plan; - for stdin
    file: PathBuf,
    /// Run as the daemon of a lab that `up` starts
    #[arg(long = "lab-daemon", hide = true)]
    lab_daemon: bool,
    /// What to call a topology that comes from stdin
    #[arg(long = "as", value_name = "NAME", hide = true)]
    stdin_name: Option<String>,
    #[command(flatten)]
    consent: Consent,
    /// The caller has shown the file's warnings
    #[arg(long, hide = true)]
    doubts_shown: bool,
}

impl Run {
    pub(super) fn run(self, context: &Context) -> Outcome {
        if self.lab_daemon {
            process::close_inherited();
        }
        log::start();
        let (topology, input) = self.read(context)?;
        let stand = if self.lab_daemon { Stand::Background } else { Stand::Foreground };
        let interfaces = topology.network.attachments().len();
        daemon::run(topology, stand, |record| match stand {
            // `up` reads this, and says itself what is doubtful.
            Stand::Background => say(&serde_json::to_string(record)?),
            Stand::Foreground if context.output.is_data() => {
                let doubts = topology::doubts_of(&input);
                let ready = Ready { lab: &record.lab, interfaces, findings: findings(&input, &doubts) };
                say(&serde_json::to_string(&ready)?)
            }
            Stand::Foreground => {
                say(&format!(
                    "lab {} is ready: {} forwarding; Ctrl-C ends it",
                    record.lab,
                    counted(interfaces, "interface")
                ))?;
                tell_doubts(input, context.messages.clone())
            }
        })?;
        Ok(Exit::Fine)
    }

    fn read(&self, context: &Context) -> Result<(Topology, Input), Failure> {
        let mut input = topology::read(&self.file, context)?;
        if let Some(name) = &self.stdin_name {
            input.name.clone_from(name);
        }
        let Loaded { network, warnings, memory, .. } = topology::load(&input, context)?;
        if !self.doubts_shown {
            topology::show(&warnings, &input, &context.messages);
        }
        let policy = self.consent.settle(&network, &input.text, &input.name, context)?;
        let network = if policy == RunPolicy::Never { network.without_code() } else { network };
        let renamed = context.given.is_some();
        let network = match context.name()? {
            Some(name) => Network { name: name.to_owned(), ..network },
            None => network,
        };
        let path = topology::path(&self.file, &input);
        let (text, file) = (input.text.clone(), input.name.clone());
        Ok((Topology { network, memory, text, file, path, renamed, policy }, input))
    }
}

/// What is doubtful in the file, from a thread of its own: of thousands of interfaces it takes seconds, in which the
/// lab can be changed.
fn tell_doubts(input: Input, messages: Messages) -> io::Result<()> {
    let tell = move |()| topology::show(&topology::doubts_of(&input), &input, &messages);
    confine::spawn("vnet-lint", Role::Control, || Ok(()), tell).map(drop)
}

/// That packets flow, as data: one line, of which json is a form of yaml.
#[derive(Serialize)]
struct Ready<'a> {
    lab: &'a str,
    interfaces: usize,
    findings: Vec<Finding<'a>>,
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
