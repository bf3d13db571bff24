//! `vnet man`: manual pages, made from the definition of the command line.
//!
//! One page a command, as `git` has it: `vnet-explain.1`. Examples and tables of the help keep their lines.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Outcome;
use super::exit::Exit;
use super::failure::Failure;
use super::output::print;

/// Write manual pages, one a command
///
/// `man vnet-explain` finds them where they are written by default: in the user's own manual.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  vnet man
  vnet man /usr/local/share/man/man1
  vnet man pages && man -l pages/vnet-explain.1")]
pub(super) struct ManPages {
    /// Where to write them; by default `$XDG_DATA_HOME/man/man1`, or `~/.local/share/man/man1`
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl ManPages {
    pub(super) fn run(self, command: Command) -> Outcome {
        let directory = self.directory.or_else(own_manual).ok_or_else(|| {
            Failure::usage("HOME is not set: where this user's manual is, is unknown").help("vnet man DIR")
        })?;
        let write = || {
            fs::create_dir_all(&directory)?;
            let mut command = command.disable_help_subcommand(true);
            command.build();
            write_pages(&command, &directory)
        };
        let pages = write().map_err(|error: io::Error| {
            Failure::new(Exit::Unavailable, format_args!("cannot write to {}: {error}", directory.display()))
                .help("name a directory that you may write to: vnet man DIR")
        })?;
        let directory = directory.display();
        print(&format!("{pages} pages in {directory}; for example: man -l {directory}/vnet-explain.1\n"))?;
        Ok(Exit::Fine)
    }
}

fn own_manual() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("man/man1"))
}

/// Writes the pages of a command and of those below it, and returns how many they are.
fn write_pages(command: &Command, directory: &Path) -> io::Result<usize> {
    let page = Man::new(command.clone());
    fs::write(directory.join(page.get_filename()), render(&page, command)?)?;
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages += write_pages(below, directory)?;
    }
    Ok(pages)
}

fn render(page: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    let more = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    more.split("\n\n").filter(|part| !part.is_empty()).try_for_each(|part| section(part).to_writer(&mut text))?;
    Ok(text)
}

/// `Examples:` and indented lines below it become a section, in which lines stay lines.
fn section(part: &str) -> Roff {
    let mut roff = Roff::default();
    let (heading, lines) = part.split_once('\n').unwrap_or((part, ""));
    let lines = if let Some(heading) = heading.strip_suffix(':') {
        roff.control("SH", [heading.to_uppercase().as_str()]);
        lines
    } else {
        roff.control("PP", []);
        part
    };
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff
}
