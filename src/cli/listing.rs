//! A listing of a running lab, printed once or followed.

use serde::Serialize;

use crate::daemon::api::protocol::{Request, Response, Topic};

use super::Outcome;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;

/// What `drops`, `counters` and `events` have in common.
pub(super) trait Listing: Serialize + Sized {
    /// The rows of an answer to either.
    fn rows(answer: Response) -> Result<Vec<Self>, Failure>;
    fn table(rows: &[Self]) -> Table;
}

/// Prints the rows, or if a topic is followed, those that change, until Ctrl-C.
pub(super) fn print<L: Listing>(context: &Context, asked: (&Request, Option<Topic>)) -> Outcome {
    print_those::<L>(context, asked, |_| true)
}

/// The same of rows that are wanted.
pub(super) fn print_those<L: Listing>(
    context: &Context,
    (request, follow): (&Request, Option<Topic>),
    is_wanted: impl Fn(&L) -> bool,
) -> Outcome {
    let Some(topic) = follow else {
        let mut rows = L::rows(context.ask(request)?)?;
        rows.retain(&is_wanted);
        return context.output.rows(&rows, &L::table(&rows));
    };
    let mut following = context.follow(topic)?;
    while let Some(answer) = following.next()? {
        let mut rows = L::rows(answer)?;
        rows.retain(&is_wanted);
        if !context.output.more(&rows, &L::table(&rows))? {
            break;
        }
    }
    Ok(Exit::Fine)
}
