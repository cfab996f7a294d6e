//! What to do about a body that contradicts its proof: wait for the trainer, look a second time, or give up.

use std::time::Duration;

use crate::model::digest::Sha256Digest;
use crate::model::manifest::Doubt;

/// The wait between a body that contradicts its proof and the second download of the same bytes.
pub(crate) const SECOND_LOOK: Duration = Duration::from_secs(2);

/// What to do about a contradiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubted {
    /// The run may still be writing it: look again with the next looks.
    Settling,
    /// The run is over, and these bytes were read once: read them again, a little later.
    SecondLook,
    /// The run is over, and two reads had the same wrong bytes.
    Condemned,
}

/// Decides, from what was read now and what was read before.
#[must_use]
pub(crate) fn doubted(read: Sha256Digest, before: Option<&Doubt>, run_may_write: bool) -> Doubted {
    match before {
        _ if run_may_write => Doubted::Settling,
        Some(doubt) if doubt.after_end && doubt.sha256 == read => Doubted::Condemned,
        Some(_) | None => Doubted::SecondLook,
    }
}
