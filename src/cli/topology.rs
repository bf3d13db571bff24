//! Reading a topology file the way every command does: mistakes drawn over the source, on stderr.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::analysis;
use crate::bgp::topology::converge;
use crate::compile::{Compiled, compile};
use crate::config::{self, Diagnostic, Errors, Loaded, Named, Severity};
use crate::lab::{self, Record};
use crate::model::{Existing, Learned, Network, Question, RunPolicy};

use super::context::{Context, Messages};
use super::exit::Exit;
use super::failure::Failure;
use super::input::Input;

pub(super) use super::input::{path, read};

/// The network a file describes. Its mistakes and doubts are printed.
pub(super) fn parse(input: &Input, context: &Context) -> Result<Network, Failure> {
    let loaded = load(input, context)?;
    show(&loaded.warnings, input, &context.messages);
    Ok(loaded.network)
}

/// The same with the doubts left to the caller.
pub(super) fn load(input: &Input, context: &Context) -> Result<Loaded, Failure> {
    load_beside(input).map_err(|errors| failure(&errors, input, context))
}

/// The same as a running lab would read it: its name is the lab's where the text has none.
pub(super) fn load_for(lab: &Record, input: &Input, context: &Context) -> Result<Loaded, Failure> {
    let Input { text, name, .. } = input;
    let beside = lab::beside(Path::new(name));
    let loaded = config::load_with(text, &format!("{}.yaml", lab.lab), &lab.existing(), &beside);
    let loaded = loaded.and_then(|loaded| fitting(loaded, name));
    loaded.map_err(|errors| failure(&errors, input, context))
}

/// What a file says; its mistakes and doubts are left to the caller.
pub(super) fn load_beside(input: &Input) -> Result<Loaded, Errors> {
    let Input { text, name, .. } = input;
    fitting(config::load_with(text, name, &Existing::default(), &lab::beside(Path::new(name)))?, name)
}

/// What a good file says, if what it names on this machine can be what the file takes it for.
fn fitting(loaded: Loaded, name: &str) -> Result<Loaded, Errors> {
    let unfit = lab::unfit_storage(&loaded.network, Path::new(name)).into_iter().map(|(log, taken)| {
        let path = format!("flowLogs[{log}].storagePath");
        Diagnostic {
            severity: Severity::Error,
            code: None,
            rule: None,
            message: format!("{} is no directory: no flow log can be kept there", taken.display()),
            location: loaded.location(&path),
            path,
            expected: Some("a directory, or a path where one can be made".to_owned()),
            help: None,
        }
    });
    let directory = Path::new(name).parent().unwrap_or(Path::new(""));
    let missing = loaded.network.tests.iter().enumerate().filter_map(|(index, test)| {
        let Question::During(during) = &test.question else { return None };
        let file = directory.join(&during.apply);
        if file.is_file() {
            return None;
        }
        let path = format!("tests[{index}].during");
        Some(Diagnostic {
            severity: Severity::Error,
            code: None,
            rule: None,
            message: format!("there is no file {} to apply", file.display()),
            location: loaded.location(&path),
            path,
            expected: Some("a topology beside this one".to_owned()),
            help: None,
        })
    });
    let unfit: Vec<_> = unfit.chain(missing).collect();
    if unfit.is_empty() { Ok(loaded) } else { Err(Errors(unfit)) }
}

/// What a topology's network needs of the list of service tags, for a process that cannot read files.
pub(super) fn service_tags(network: &Network) -> Option<String> {
    let tags = &network.service_tags;
    (!tags.is_empty()).then(|| config::service_tags_text(tags))
}

/// The files of packet filter rules that it names, for the same.
pub(super) fn nftables(network: &Network) -> BTreeMap<PathBuf, String> {
    network.nftables_files().into_iter().map(|(file, text)| (file.into(), text.to_owned())).collect()
}

/// The warnings about a good file's network, in the file's order.
fn doubts(loaded: &Loaded) -> Vec<Diagnostic> {
    let compiled = compile(&loaded.network, &learned(&loaded.network), 1);
    let lint = analysis::lint(&loaded.network, &compiled).into_iter().map(|finding| Diagnostic {
        severity: Severity::Warning,
        code: Some(finding.code),
        rule: Some(finding.rule),
        message: finding.message,
        location: loaded.location(&finding.path),
        path: finding.path,
        expected: None,
        help: Some(finding.help),
    });
    let mut lint: Vec<_> = lint.collect();
    Diagnostic::sort(&mut lint);
    lint
}

/// What is doubtful about a good file, then what is doubtful about its network, each in the file's order.
pub(super) fn warnings(loaded: &Loaded) -> Vec<Diagnostic> {
    loaded.warnings.iter().cloned().chain(doubts(loaded)).collect()
}

/// The warnings about a file that is in use.
pub(super) fn doubts_of(input: &Input) -> Vec<Diagnostic> {
    // Its mistakes were reported when it was used.
    load_beside(input).as_ref().map(doubts).unwrap_or_default()
}

type OwnedFiles = dyn Fn(Named<'_>) -> Result<String, String>;

/// The topology that a lab was given last, and what it is read with.
pub(super) struct Applied {
    file: String,
    text: io::Result<String>,
    existing: Existing,
    files: Box<OwnedFiles>,
}

impl Applied {
    pub(super) fn of(lab: &Record) -> Self {
        let (text, existing, files) = (lab.topology(), lab.existing(), Box::new(lab.files()));
        Self { file: format!("{}.yaml", lab.lab), text, existing, files }
    }

    fn load(&self) -> Option<Loaded> {
        config::load_with(self.text.as_ref().ok()?, &self.file, &self.existing, &self.files).ok()
    }
}

/// The doubts about a file that the topology before it does not give rise to already, and how many it does.
pub(super) fn new_doubts(before: &Applied, loaded: &Loaded) -> (Vec<Diagnostic>, usize) {
    let before = before.load().as_ref().map(doubts).unwrap_or_default();
    let is_old = |doubt: &Diagnostic| before.iter().any(|old| (old.code, &old.message) == (doubt.code, &doubt.message));
    let (old, new): (Vec<_>, Vec<_>) = doubts(loaded).into_iter().partition(is_old);
    (loaded.warnings.iter().cloned().chain(new).collect(), old.len())
}

/// The topology that a lab was given last, with the addresses that its interfaces have.
pub(super) fn applied(lab: &Record, context: &Context) -> Result<(Input, Loaded), Failure> {
    let text = lab.topology().map_err(|error| Failure::new(Exit::NoDaemon, error))?;
    let loaded = config::load_with(&text, &format!("{}.yaml", lab.lab), &lab.existing(), &lab.files());
    let input = Input::plain(text, lab.file.clone());
    let mut loaded = loaded.map_err(|errors| failure(&errors, &input, context))?;
    if lab.policy == RunPolicy::Never {
        loaded.network = loaded.network.without_code();
    }
    Ok((input, loaded))
}

fn failure(errors: &Errors, input: &Input, context: &Context) -> Failure {
    show(&errors.0, input, &context.messages);
    Failure::new(Exit::Usage, "")
}

/// Draws diagnostics over the source.
pub(super) fn show(diagnostics: &[Diagnostic], input: &Input, messages: &Messages) {
    for diagnostic in diagnostics {
        // Without stderr there is nowhere to report.
        let _ = writeln!(io::stderr().lock(), "{}", input.render(diagnostic, messages.colour));
    }
}

/// The network a file describes, and its tables with every device as the file leaves it.
pub(super) fn compiled(file: &Path, context: &Context) -> Result<(Network, Compiled), Failure> {
    compiled_input(&read(file, context)?, context)
}

/// The same of an input that was read already.
pub(super) fn compiled_input(input: &Input, context: &Context) -> Result<(Network, Compiled), Failure> {
    let network = parse(input, context)?;
    let compiled = compile(&network, &learned(&network), 1);
    Ok((network, compiled))
}

/// The BGP advertisements if every speaker advertises what the file says.
pub(super) fn learned(network: &Network) -> Learned {
    converge(network, Instant::now()).learned()
}
