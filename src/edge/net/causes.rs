//! What is behind an error of the HTTP library: its own sentence says only that a request failed, and may name its URL.

use std::error::Error as StdError;
use std::io;

use crate::model::names::sanitize::{for_terminal, secrets_removed};

/// Returns an error and its causes, also those that an I/O error wraps and hides.
pub(crate) fn links(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |link| cause_of(*link))
}

fn cause_of<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => link.source(),
    }
}

/// Returns what the innermost cause says, short and without any query.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    // The outermost link is the library's own error, the one that knows the URL.
    let said = links(error).skip(1).last().map(ToString::to_string);
    for_terminal(&secrets_removed(&said.unwrap_or_else(|| "the request failed".to_owned())), 200)
}
