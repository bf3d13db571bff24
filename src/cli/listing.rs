//! A listing of a running lab, printed once or followed.

use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use crate::control::protocol::{Request, Response, Topic};

/// What `drops`, `counters` and `events` have in common.
pub(super) trait Listing: Serialize + Sized {
    const REQUEST: Request;
    const TOPIC: Topic;
    /// The rows of an answer to either.
    fn rows(answer: Response) -> Result<Vec<Self>, Failure>;
    fn table(rows: &[Self]) -> Table;
}

/// Prints the rows, and if they are followed, those that change, until Ctrl-C.
pub(super) fn print<L: Listing>(context: &Context, follow: bool) -> Outcome {
    if !follow {
        let rows = L::rows(context.ask(&L::REQUEST)?)?;
        return context.output.rows(&rows, &L::table(&rows));
    }
    let mut following = context.follow(L::TOPIC)?;
    while let Some(answer) = following.next()? {
        let rows = L::rows(answer)?;
        if !context.output.more(&rows, &L::table(&rows))? {
            break;
        }
    }
    Ok(Exit::Fine)
}
