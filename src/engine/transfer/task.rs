//! One file on its way: the present attempt, where it is hosted now, and how often it failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::decide::transfer::backoff::Backoff;
use crate::model::artifact::{Artifact, ArtifactKind};
use crate::model::manifest::{Doubt, Entry};
use crate::model::response_head::Head;
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

use super::attempt::Attempt;

/// The first wait after a fault; it doubles, with full jitter, to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A file to fetch, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The file and the path it will get.
    pub(crate) artifact: Arc<Artifact>,
    /// Ask only whether it changed since this revision: the file is here.
    pub(crate) recheck: Option<Revision>,
    /// What is here under its name is not what was published, whatever its length and time stamp say.
    pub(crate) is_damaged: bool,
    /// What is here under its name now, where rcsync put it there.
    pub(crate) entry: Option<Entry>,
    /// A body of it that contradicted its proof.
    pub(crate) doubt: Option<Doubt>,
    /// It is half of a pair, whose header carries the hash of both halves.
    pub(crate) half_of_pair: bool,
    /// Whether the run may still be writing it.
    pub(crate) run_may_write: bool,
    /// The run ended before its time, perhaps in the middle of a save.
    pub(crate) cut_off: bool,
    /// The run of the job; see [`crate::decide::mirror::plan::run_stamp`].
    pub(crate) run: String,
    /// Which listing its address is from.
    pub(crate) generation: u64,
}

/// One file on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) order: Order,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) attempt: Option<Arc<Attempt>>,
    pub(crate) url: SourceUrl,
    pub(crate) generation: u64,
    /// Faults in a row without a byte of progress.
    pub(crate) tries: u32,
    /// Counts every fault, so that eight connections that break at once count as one.
    pub(crate) faults: u64,
    pub(crate) backoff: Backoff,
    /// Times it began again because the revision seemed to change.
    pub(crate) restarts: u32,
    /// `If-Range` made this host send everything although nothing had changed: do without.
    pub(crate) without_if_range: bool,
    /// The host ignores ranges even so: one stream from the start.
    pub(crate) whole_only: bool,
    /// Answers were joined where an overlap agreed, and the whole was no proven file: all of it comes in one stream now.
    pub(crate) one_stream: bool,
    /// The next request goes without a range.
    pub(crate) plain: bool,
    /// It was asked for without a range since it last made progress.
    pub(crate) asked_plain: bool,
    pub(crate) doubt: Option<Doubt>,
    /// What follows an answer or a fault is not decided yet (a new address may be on its way): no further request
    /// meanwhile.
    pub(crate) held: bool,
    pub(crate) told_started: bool,
    /// Its story is over: whatever a connection still has in hand of it, it is not taken up again.
    pub(crate) ended: bool,
}

impl Transfer {
    pub(crate) fn new(order: Order, seed: u64) -> Self {
        let state = State {
            attempt: None,
            url: order.artifact.url.clone(),
            generation: order.generation,
            tries: 0,
            faults: 0,
            backoff: Backoff::new(seed, FIRST_WAIT, LONGEST_WAIT),
            restarts: 0,
            without_if_range: false,
            whole_only: false,
            one_stream: false,
            plain: false,
            asked_plain: false,
            doubt: order.doubt.clone(),
            held: false,
            told_started: false,
            ended: false,
        };
        Self { order, state: Mutex::new(state) }
    }

    /// Checkpoints are large; samples, as a rule, are not. The class only decides who waits for whom, and the
    /// configuration, which is ordered first of all, must not wait behind samples.
    pub(crate) fn is_large(&self) -> bool {
        self.order.artifact.key.kind != ArtifactKind::Sample
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// After this many beginnings for tags that differ while date and length agree, the tags are not believed any more.
    const RESTARTS_BEFORE_TOLERANCE: u32 = 2;

    /// Whether tags that differ while date and length agree are taken for replicas of the same bytes.
    pub(crate) const fn tolerates_suspects(&self) -> bool {
        self.restarts >= Self::RESTARTS_BEFORE_TOLERANCE
    }

    /// Notes progress: the file's faults start counting anew.
    pub(crate) fn progressed(&mut self) {
        self.tries = 0;
        self.asked_plain = false;
        self.backoff.reset();
    }

    /// What the head of an answer to a question about change says when the answer came whole.
    pub(crate) fn validators(head: &Head, total: Option<u64>) -> Revision {
        Revision { length: total, ..head.revision.clone() }
    }
}

/// What tests order.
#[cfg(test)]
pub(crate) mod examples {
    use super::*;
    use crate::model::artifact::ArtifactKey;
    use crate::model::names::rel_path::RelPath;

    /// An order for a file that nothing is known of but its name.
    pub(crate) fn order(kind: ArtifactKind, name: &str) -> Order {
        let artifact = Artifact {
            key: ArtifactKey { kind, path: format!("/o/{name}").into() },
            path: RelPath::parse(name).unwrap(),
            step: None,
            url: SourceUrl::parse(&format!("https://h.example/o/{name}")).unwrap(),
            sample: None,
        };
        Order {
            artifact: artifact.into(),
            recheck: None,
            is_damaged: false,
            entry: None,
            doubt: None,
            half_of_pair: false,
            run_may_write: false,
            cut_off: false,
            run: String::new(),
            generation: 0,
        }
    }
}
