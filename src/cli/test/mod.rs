//! `vnet test`: a file's own tests, asked of the model and of real packets, and the two answers compared.

mod change;
mod junit;
mod model;
mod pages;
mod programs;
mod reach;
mod report;
mod routers;
mod said;
mod session;
mod shares;
mod speed;
mod stage;
mod tables;
mod tap;
mod without;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::lab::Record;
use crate::model::Network;

use super::consent::Consent;
use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome, labs, topology};
use change::Changer;
use report::Report;
use session::Session;
use stage::Stage;

/// Run the tests of a topology file, in the model and with real packets
///
/// Each entry of `tests:` is asked twice, and the answers are compared: a test fails if an answer is not what the file
/// expects, or if the answers differ. Behind guests with firewall rules of their own, and with `packetsOnly: true`, the
/// packets' answer alone counts; with --model-only such a test is skipped. Real packets show the verdict and the path;
/// the model says which rule decides. Other questions (`http`, `routes`, `bgp`, `during` and so on) follow, one after
/// another; the model answers what it can. Where nothing listens on a port, vnet listens during the test. The file's lab is
/// used if it runs as the file says; else a private copy is started and removed. With -l it is the lab of that name, which
/// must run. Without FILE, a running lab's tests as
/// it was started.
///
/// Before the first packet it waits until the programs of the file (`run:`) have ended or are quiet: for 0.3 s no
/// process of their machines computes, sleeps for a known time, starts or ends, and ports and firewall rules stay as
/// they are. A loop is not waited for: a process that starts a command or sleeps for the third time without a change of
/// these. That takes 10 s at most. A program that ended with an error counts as a failure.
///
/// Prints TAP 14 on stdout. Exit code 0 if every test passes, 1 if one or a program fails, 3 if only warnings do.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet test lab.vnet.yaml\n  vnet test --model-only lab.vnet.yaml\n  \
    vnet test lab.vnet.yaml --junit out.xml")]
pub(super) struct Test {
    /// The topology file, or what `import` takes: a template, a dump or a plan; - for stdin
    file: Option<PathBuf>,
    /// Ask the model alone: no lab, no root
    #[arg(long)]
    model_only: bool,
    /// Ask real packets alone, as `packetsOnly: true` in a test does: their answer is not compared with the model's
    #[arg(long, conflicts_with = "model_only")]
    packets_only: bool,
    /// Ask each test of the topology without what it shows (`without:`), where it must fail; the model answers what it can
    #[arg(long, requires = "file", conflicts_with = "packets_only")]
    without: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

/// What a run is about.
struct Subject {
    text: String,
    file: String,
    network: Network,
}

impl Test {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let named = self.named(context)?;
        let mut subject = self.subject(context)?;
        subject.network.tests.iter_mut().for_each(|test| test.packets_only |= self.packets_only);
        if subject.network.tests.is_empty() {
            let help = "add for instance `tests: [{from: web, to: db, port: 443, expect: reachable}]`";
            return Err(Failure::usage(format_args!("{} has no tests", subject.file)).help(help));
        }
        let junit = self.junit.as_deref().map(create).transpose()?;
        let report = self.report(&subject, named, context)?;
        context.output.text(&report, &report.table(), || tap::render(&report))?;
        if let Some((mut file, path)) = junit {
            let written = file.write_all(junit::render(&report).as_bytes());
            written.map_err(|error| Failure::usage(format_args!("cannot write {}: {error}", path.display())))?;
        }
        context.messages.note(&report.summary());
        Ok(match report.is_fine() {
            false => Exit::No,
            true if report.warnings > 0 => Exit::Warnings,
            true => Exit::Fine,
        })
    }

    /// The lab that `-l` names beside a file.
    fn named(&self, context: &Context) -> Result<Option<Record>, Failure> {
        if self.file.is_none() || context.given.is_none() {
            return Ok(None);
        }
        let help = "leave `-l` out: a private copy of the file's lab is tested";
        labs::running(context).map(Some).map_err(|failure| failure.help(help))
    }

    fn subject(&self, context: &Context) -> Result<Subject, Failure> {
        let Some(file) = &self.file else {
            let lab = labs::running(context).map_err(|failure| failure.help("or name a file: vnet test FILE"))?;
            let (input, loaded) = topology::applied(&lab, context)?;
            return Ok(Subject { text: input.text, file: input.name, network: loaded.network });
        };
        let input = topology::read(file, context)?;
        let network = topology::parse(&input, context)?;
        let network = if self.consent.leaves_out() { network.without_code() } else { network };
        Ok(Subject { text: input.text, file: input.name, network })
    }

    fn report(&self, subject: &Subject, named: Option<Record>, context: &Context) -> Result<Report, Failure> {
        let network = &subject.network;
        let sources = (subject.text.as_str(), subject.file.as_str());
        if self.model_only && !self.without {
            let changer = Changer::of(sources, network, None, context)?;
            let tests = Session::of_model(network, Some(changer), &AtomicBool::new(false)).run()?;
            return Ok(Report::new(&network.name, None, tests, Vec::new()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let registered = signal_hook::flag::register(signal, Arc::clone(&stop));
            registered.map_err(|error| Failure::new(Exit::Unavailable, error))?;
        }
        if self.without {
            let consent = (!self.model_only).then_some(&self.consent);
            let tests = without::Inquiry { subject, consent, context, stop: &stop }.run()?;
            return Ok(Report::new(&network.name, None, tests, Vec::new()));
        }
        let (stage, changer) = if self.file.is_some() {
            let changer = Changer::of(sources, network, Some(&self.consent), context)?;
            (Stage::of_file(sources, network, named, &self.consent, context)?, Some(changer))
        } else {
            (Stage::running(labs::running(context)?), None)
        };
        let results = stage.perform(network, changer, &context.messages, &stop);
        let lab = stage.name().to_owned();
        // The lab goes before the results are printed.
        stage.clear()?;
        if stop.load(Ordering::Relaxed) {
            // As a shell counts: 128 and the signal's number.
            return Err(Failure::new(Exit::Program(130), "interrupted"));
        }
        let (tests, failed_programs) = results?;
        Ok(Report::new(&network.name, Some(lab), tests, failed_programs))
    }
}

/// Early, so that a mistyped path does not cost a run.
fn create(path: &Path) -> Result<(File, &Path), Failure> {
    let file = File::create(path);
    let file = file.map_err(|error| Failure::usage(format_args!("cannot write {}: {error}", path.display())))?;
    Ok((file, path))
}
