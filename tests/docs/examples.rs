//! Commands as pages show them: the program has each one, and where no lab is needed it prints what the page says.
//!
//! A `console` block has commands after `$ ` and what they print; a line `…` stands for any lines, `…` in a line for what
//! varies. A block whose commands all
//! ask a file is run, in a directory of its own that has the repository's files.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::error::ErrorKind;

use crate::golden;
use crate::page::{self, Page, root};

/// One command of a block, and the lines below it.
pub(crate) struct Step<'a> {
    pub(crate) command: String,
    pub(crate) shown: Vec<&'a str>,
}

pub(crate) fn steps<'a>(lines: &[&'a str]) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'a>> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
            // A command may go on in the next line.
            (None, Some(step)) if step.shown.is_empty() && step.command.ends_with('\\') => {
                step.command.pop();
                step.command.push_str(line.trim_start());
            }
            (None, Some(step)) => step.shown.push(line),
            (None, None) => panic!("a console block begins with `$ `, not with `{line}`"),
        }
    }
    steps
}

/// The commands of this program in a line of shell, without what the shell does with them.
fn of_vnet(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap();
    let parts = line.split(['&', ';', '|', '>', '<', '(', ')']).map(str::trim);
    let parts = parts.map(|part| part.strip_prefix("sudo ").unwrap_or(part));
    parts.filter(|part| part.starts_with("vnet ")).map(words).collect()
}

/// Words, of which quoted ones may have blanks.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            (c, _) => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn commands_that_pages_show_are_commands_of_the_program() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in page::ours() {
        for (kind, first, lines) in page.blocks() {
            if !matches!(kind, "console" | "sh" | "yaml") {
                continue;
            }
            let commands = match kind {
                "console" => steps(&lines).into_iter().map(|step| step.command).collect(),
                _ => lines.iter().map(|line| line.trim_start_matches("- run: ").trim().to_owned()).collect::<Vec<_>>(),
            };
            for command in commands.iter().flat_map(|line| of_vnet(line)) {
                seen += 1;
                if let Err(error) = vnet::cli::command().try_get_matches_from(&command)
                    && error.use_stderr()
                {
                    wrong.push(format!("{}:{first}: {}\n{error}", page.path.display(), command.join(" ")));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Within a sentence a command may lack its arguments, but has no option that the program does not know.
#[test]
fn commands_that_sentences_name_are_commands_of_the_program() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in page::ours() {
        for (number, line) in Page::prose(page.written()) {
            let codes = line.split('`').skip(1).step_by(2);
            for code in codes.filter(|code| code.starts_with("vnet ") && !code.contains('…')) {
                seen += 1;
                let answer = vnet::cli::command().try_get_matches_from(words(code));
                let lacks = |kind| {
                    matches!(
                        kind,
                        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    )
                };
                if let Err(error) = answer
                    && error.use_stderr()
                    && !lacks(error.kind())
                {
                    wrong.push(format!("{}:{number}: {code}\n{error}", page.path.display()));
                }
            }
        }
    }
    assert!(seen > 60, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where a shell finds the program, as after `cargo install`.
pub(crate) fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_vnet")).parent().unwrap();
    format!("{}:{}", program.display(), std::env::var("PATH").unwrap())
}

/// Whether no lab and no privilege is needed.
pub(crate) fn asks_a_file(command: &str) -> bool {
    let asks = ["vnet validate ", "vnet rule ", "sed "].iter().any(|known| command.starts_with(known));
    asks || command.starts_with("vnet ") && (command.contains(" -t ") || command.contains(" --model-only"))
}

fn run(directory: &Path, command: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(directory).env("PATH", path()).env_remove("VNET_LAB");
    let output = shell.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Whether a line is that, where `…` stands for any characters.
fn same(shown: &str, line: &str) -> bool {
    match shown.trim_end().split_once('…') {
        Some((start, end)) => line.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        None => shown.trim_end() == line.trim_end(),
    }
}

/// Whether the lines are those, where a line `…` stands for any.
pub(crate) fn alike(shown: &[&str], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first.trim() == "…" => {
            (0..=printed.len()).any(|left_out| alike(rest, &printed[left_out..]))
        }
        (Some((first, rest)), Some((line, others))) => same(first, line) && alike(rest, others),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[test]
fn answers_about_files_are_what_pages_show() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for Page { path, mut text } in page::ours() {
        let before = text.clone();
        let page = Page { path, text: before };
        for (_, first, lines) in page.blocks().into_iter().filter(|(kind, ..)| *kind == "console") {
            let steps = steps(&lines);
            if !steps.iter().all(|step| asks_a_file(&step.command)) {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            for name in ["config", "tests", "data"] {
                std::os::unix::fs::symlink(root().join(name), directory.path().join(name)).unwrap();
            }
            for Step { command, shown } in steps {
                seen += 1;
                let printed = run(directory.path(), &command);
                let lines: Vec<_> = printed.lines().collect();
                if alike(&shown, &lines) {
                    continue;
                }
                if golden::rewrites() && !shown.iter().any(|line| line.contains('…')) {
                    let old = [format!("$ {command}").as_str()].into_iter().chain(shown).collect::<Vec<_>>().join("\n");
                    text = text.replacen(&old, format!("$ {command}\n{printed}").trim_end(), 1);
                } else {
                    wrong.push(format!("{}:{first}: `{command}` prints\n{printed}", page.path.display()));
                }
            }
        }
        if text != page.text {
            fs::write(root().join(&page.path), text).unwrap();
        }
    }
    assert!(seen > 10, "only {seen} commands were run");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_of_dots_stands_for_any_lines() {
    assert!(alike(&["a", "…", "d"], &["a", "b", "c", "d"]));
    assert!(alike(&["a", "…"], &["a"]));
    assert!(!alike(&["a", "…", "d"], &["a", "b"]));
    assert!(!alike(&["a"], &["a", "b"]));
    assert!(alike(&["port … is"], &["port 80 is"]) && !alike(&["port … is"], &["port 80 was"]));
}
