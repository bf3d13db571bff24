//! `vnet top`: a running lab in a terminal, refreshed each second.
//!
//! One idea: three parts that know nothing of each other's work. `sample` asks the lab and computes rates, `app` holds
//! what is chosen and what keys do, `view` draws it. The terminal is given back as it was on every way out: an end, an
//! error, a panic, and a signal.

mod app;
mod links;
mod sample;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

use app::{App, Wish};
use sample::Sampler;

/// How often the lab is asked.
const REFRESH: Duration = Duration::from_secs(1);
/// How often to look for a signal while no key comes.
const LOOK: Duration = Duration::from_millis(250);

/// Watch a running lab in the terminal: traffic, drops, flows, tunnels and probes, each second
///
/// Keys: Tab or 1 to 4 for another list, s to sort by the next column, / to filter, Enter to open a machine's routes,
/// rules and drops, Esc to go back, q to quit. Tunnels, circuits, peerings and probes that are down are named in the
/// first line, whatever list is shown. Of more than 4,000 flows, these are the first.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet top\n  vnet top hub-spoke")]
pub(super) struct Top {
    /// The lab; without, the one that runs
    #[arg(value_name = "LAB")]
    of: Option<String>,
}

impl Top {
    pub(super) fn run(self, context: &Context) -> Outcome {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::usage("`vnet top` needs a terminal")
                .help("`vnet counters -f` and `vnet drops -f` print the same for scripts"));
        }
        let mut sampler = Sampler::new(|request| context.ask_lab(self.of.as_deref(), request));
        let mut app = App::default();
        app.show(sampler.sample(app.list)?);
        in_terminal(|terminal, stopped| watch(terminal, &mut app, &mut sampler, stopped))?;
        Ok(Exit::Fine)
    }
}

/// Does something with the whole terminal, until a signal asks for the end. However it ends, the terminal is as it was.
fn in_terminal(work: impl FnOnce(&mut DefaultTerminal, &AtomicBool) -> Result<(), Failure>) -> Result<(), Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        flag::register(signal, Arc::clone(&stopped)).map_err(unavailable)?;
    }
    // Its panic hook restores the terminal before the message is printed.
    let mut terminal = ratatui::try_init().map_err(unavailable)?;
    let outcome = work(&mut terminal, &stopped);
    drop(terminal);
    ratatui::restore();
    outcome
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format_args!("the terminal: {error}"))
}

fn watch(
    terminal: &mut DefaultTerminal,
    app: &mut App,
    sampler: &mut Sampler<'_>,
    stopped: &AtomicBool,
) -> Result<(), Failure> {
    let mut next = Instant::now() + REFRESH;
    let mut changed = true;
    while !stopped.load(Ordering::Relaxed) {
        if std::mem::take(&mut changed) {
            terminal.draw(|frame| view::draw(frame, app)).map_err(unavailable)?;
        }
        let left = next.saturating_duration_since(Instant::now());
        if event::poll(left.min(LOOK)).map_err(unavailable)? {
            changed = true;
            match pressed(app)? {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Open { node, what }) => app.open(&node, what, sampler.details(&node, what)),
                Some(Wish::Sample) => next = Instant::now(),
                None => {}
            }
        }
        if Instant::now() >= next {
            (next, changed) = (Instant::now() + REFRESH, true);
            app.show(sampler.sample(app.list)?);
            if let Some((node, what)) = app.machine() {
                app.refresh(sampler.details(&node, what));
            }
        }
    }
    Ok(())
}

fn pressed(app: &mut App) -> Result<Option<Wish>, Failure> {
    Ok(match event::read().map_err(unavailable)? {
        Event::Key(key) if key.kind != KeyEventKind::Release => app.press(key),
        _ => None,
    })
}
