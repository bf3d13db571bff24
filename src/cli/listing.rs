//! A listing of a running lab, printed once or followed.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;

const TICK: Duration = Duration::from_secs(1);

/// What `drops` and `counters` have in common.
pub(super) trait Listing: Serialize + PartialEq + Sized {
    fn ask(context: &Context) -> Result<Vec<Self>, Failure>;
    fn table(rows: &[Self]) -> Table;
}

/// Prints the rows, and if they are followed, every second those that changed, until Ctrl-C.
pub(super) fn print<L: Listing>(context: &Context, follow: bool) -> Outcome {
    let mut rows = L::ask(context)?;
    if !follow {
        return context.output.rows(&rows, &L::table(&rows));
    }
    let mut heard = context.output.more(&rows, &L::table(&rows))?;
    while heard {
        thread::sleep(TICK);
        let (same, changed): (Vec<L>, Vec<L>) = L::ask(context)?.into_iter().partition(|row| rows.contains(row));
        if !changed.is_empty() {
            heard = context.output.more(&changed, &L::table(&changed))?;
        }
        rows = same;
        rows.extend(changed);
    }
    Ok(Exit::Fine)
}
