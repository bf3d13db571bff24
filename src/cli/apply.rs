//! `vnet apply`: a running lab becomes what a file says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anstyle::AnsiColor;
use clap::Args;
use serde::Serialize;

use crate::analysis::{Action, Effect, ObjectChange, PropertyChange};
use crate::config;
use crate::daemon::api::protocol::{self, Change, Changed, Request, Response};
use crate::lab::{self, Base, Record};

use super::ask::unexpected;
use super::consent::{Consent, may_run};
use super::context::Context;
use super::failure::Failure;
use super::finding::{Finding, findings};
use super::input::Input;
use super::output::Output;
use super::table::Table;
use super::{Exit, Outcome, topology};

/// Change a running lab to what a file says, all or nothing
///
/// Prints what is made, changed and deleted, and which machines' flows notice. Prints new warnings, too, as `validate`
/// does: valid, but probably not what you intended. No packet of other machines is lost.
/// Machines and interfaces come and go without a restart. Peerings follow Azure's life cycle: a link that lost its
/// other side is Disconnected, and changed address spaces wait for a sync. SIGHUP makes the daemon apply its file
/// anew.
///
/// Exit code 0 if the lab is as the file says, 3 if a peering is left to sync.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet apply lab.vnet.yaml --dry-run\n  vnet apply lab.vnet.yaml\n  \
    vnet apply -o json lab.vnet.yaml")]
pub(super) struct Apply {
    /// The topology file, or what `import` takes: a template, a dump or a plan; - for stdin
    file: PathBuf,
    /// Only print the plan
    #[arg(long)]
    dry_run: bool,
    /// Bring all peerings up to date as well
    #[arg(long)]
    sync: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Apply {
    /// The daemon is asked first: finding warnings takes longer than making the change.
    pub(super) fn run(self, context: &Context) -> Outcome {
        let input = topology::read(&self.file, context)?;
        let lab = the_lab(&input, context)?;
        let before = topology::Applied::of(&lab);
        let path = topology::path(&self.file, &input);
        let (text, file) = (input.text.clone(), input.name.clone());
        if !self.dry_run && self.consent.is_open() && may_run(&text) {
            let network = topology::load_for(&lab, &input, context)?.network;
            let running = || Ok(topology::applied(&lab, context)?.1.network);
            Consent::settle_change(&network, running, &text, &file, context)?;
        }
        let (service_tags, nftables) = files_named(&lab, &input, context)?;
        let (dry_run, sync, no_run) = (self.dry_run, self.sync, self.consent.leaves_out());
        let apply = protocol::Apply { text, service_tags, nftables, file, path, dry_run, sync, no_run, agreed: true };
        let load = || topology::load_for(&lab, &input, context);
        let changed = match ask(context, Some(&lab.lab), Change::Apply(apply)) {
            // A mistake in the file is shown as `validate` shows it.
            Err(failure) if failure.exit == Exit::Usage => return load().and(Err(failure)),
            answer => answer?,
        };
        let shown = !context.output.is_data();
        if shown {
            tell(context, &changed, self.dry_run, Vec::new())?;
        }
        let (doubts, as_before) = topology::new_doubts(&before, &load()?);
        if !shown {
            return tell(context, &changed, self.dry_run, findings(&input, &doubts));
        }
        topology::show(&doubts, &input, &context.messages);
        tell_of_others(as_before, &input.name, context);
        Ok(outcome(&changed))
    }
}

/// What the file's network needs of a list of service tags, and the files of rules that it names: the daemon may not read
/// those.
fn files_named(lab: &Record, input: &Input, context: &Context) -> Result<FilesNamed, Failure> {
    if !["serviceTags", "nftables"].iter().any(|key| input.text.contains(key)) {
        return Ok(FilesNamed::default());
    }
    let network = topology::load_for(lab, input, context)?.network;
    Ok((topology::service_tags(&network), topology::nftables(&network)))
}

type FilesNamed = (Option<String>, BTreeMap<PathBuf, String>);

/// The lab that `-l` names, or the only one that runs, or of several the one that the file names.
fn the_lab(input: &Input, context: &Context) -> Result<Record, Failure> {
    let base = Base::detect();
    let picked = lab::pick(&base, context.lab.as_deref());
    if picked.is_ok() || context.lab.is_some() {
        return Ok(picked?);
    }
    // What else it says is read as that lab would read it.
    let Some(name) = config::lab_name(&input.text, &input.name) else {
        topology::load(input, context)?;
        return Ok(picked?);
    };
    let named = lab::labs(&base).into_iter().find(|lab| lab.lab == name && lab.is_running());
    named.map_or_else(|| Ok(picked?), Ok)
}

fn tell_of_others(as_before: usize, file: &str, context: &Context) {
    match as_before {
        0 => {}
        1 => context.messages.note(&format!("1 warning is as before: `vnet validate {file}` shows it")),
        more => context.messages.note(&format!("{more} warnings are as before: `vnet validate {file}` shows them")),
    }
}

/// What a change did, and its new warnings.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    changed: &'a Changed,
    findings: Vec<Finding<'a>>,
}

/// Has a change made and prints what it meant.
pub(super) fn changed(context: &Context, change: Change) -> Outcome {
    tell(context, &ask(context, None, change)?, false, Vec::new())
}

fn ask(context: &Context, lab: Option<&str>, change: Change) -> Result<Changed, Failure> {
    match context.ask_lab(lab, &Request::Change(change))? {
        Response::Changed(changed) => Ok(changed),
        other => Err(unexpected(&other)),
    }
}

fn tell(context: &Context, changed: &Changed, dry_run: bool, findings: Vec<Finding<'_>>) -> Outcome {
    let answer = Answer { changed, findings };
    context.output.text(&answer, &table(changed), || text(changed, dry_run, &context.output))?;
    changed.warnings.iter().for_each(|warning| context.messages.warning(warning));
    Ok(outcome(changed))
}

fn outcome(changed: &Changed) -> Exit {
    if changed.warnings.is_empty() { Exit::Fine } else { Exit::Warnings }
}

fn text(changed: &Changed, dry_run: bool, output: &Output) -> String {
    let mut text = String::new();
    for change in &changed.plan.changes {
        let (sign, colour) = match change.action {
            Action::Create => ('+', AnsiColor::Green),
            Action::Update => ('~', AnsiColor::Yellow),
            Action::Delete => ('-', AnsiColor::Red),
        };
        let style = output.paint(colour);
        let _ = writeln!(text, "{style}{sign} {:<24}{style:#} {}", change.kind, change.name);
        for property in change.properties.iter().filter(|_| change.action == Action::Update) {
            let _ = writeln!(text, "    {}", words(property));
        }
    }
    for interface in &changed.restored {
        let style = output.paint(AnsiColor::Yellow);
        let _ = writeln!(text, "{style}! {:<24}{style:#} {interface}: its device was gone", "networkInterfaces");
    }
    for (effect, what) in [
        (Effect::End, "end"),
        (Effect::NextPacket, "follow with their next packet"),
        (Effect::NewFlows, "go on, new ones meet new rules"),
    ] {
        let nics: Vec<_> = changed.plan.flows.iter().filter(|touched| touched.effect == effect).collect();
        let nics: Vec<_> = nics.into_iter().map(|touched| touched.nic.as_str()).collect();
        if !nics.is_empty() {
            let _ = writeln!(text, "flows of {} {what}", nics.join(", "));
        }
    }
    let Changed { lab, generation, .. } = changed;
    let same = changed.plan.changes.is_empty() && changed.restored.is_empty() && !changed.applied;
    let _ = match (dry_run, same) {
        (_, true) => writeln!(text, "lab {lab} is so already: nothing to change"),
        (true, false) => writeln!(text, "dry run: lab {lab} is left as it is"),
        (false, false) => writeln!(text, "lab {lab} is changed: generation {generation}"),
    };
    text
}

fn words(change: &PropertyChange) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("{}: {} -> {}", change.property, value(&change.before), value(&change.after))
}

fn table(changed: &Changed) -> Table {
    let action = |change: &ObjectChange| match change.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    let properties = |change: &ObjectChange| change.properties.iter().map(words).collect::<Vec<_>>().join("; ");
    let rows = changed.plan.changes.iter();
    Table::new(&["Action", "Type", "Name", "Properties"]).rows(
        rows.map(|change| [action(change).to_owned(), change.kind.clone(), change.name.clone(), properties(change)]),
    )
}
