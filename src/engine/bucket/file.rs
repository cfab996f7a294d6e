//! One file on its way from its host into the bucket: ranged requests, hashes in order, parts that are kept until they are
//! hashed and acknowledged.

mod hashes;
mod pieces;
mod proof;
mod requests;
mod sends;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::decide::bucket::head::Publish;
use crate::decide::bucket::parts::part_size;
use crate::decide::transfer::backoff::Backoff;
use crate::decide::transfer::state::{FIRST_WAIT, LONGEST_WAIT, MOST_RESTARTS, RESTARTS_BEFORE_TOLERANCE};
use crate::decide::transfer::task::FailureCause;
use crate::decide::transfer::verify::Received;
use crate::edge::bucket::PartTag;
use crate::edge::net::http::ArtifactClient;
use crate::edge::net::rate_limit::Limiter;
use crate::engine::event::{Event, Reporter};
use crate::engine::options::SyncOptions;
use crate::engine::transfer::host_backoff::Gates;
use crate::engine::transfer::link_refresh::Relister;
use crate::engine::transfer::share::{Member, Permit};
use crate::error::Error;
use crate::model::artifact::Artifact;
use crate::model::claim::Claim;
use crate::model::manifest::{Doubt, Entry};
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

use super::head_store::HeadStore;
use super::part_memory::PartMemory;
use super::store::Store;
use super::upload::{PartFault, Upload};
use hashes::Hashes;
use requests::{First, FirstAnswer};

/// A store that drops uploads again and again has a rule that does, and the next try would end in the same way.
const MOST_LOST_UPLOADS: u32 = 3;

/// What all files of one run share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) head: Arc<HeadStore>,
    pub(super) publish: Publish,
    pub(super) hosts: ArtifactClient,
    pub(super) relister: Arc<Relister>,
    pub(super) gates: Arc<Gates>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) options: SyncOptions,
    /// The length of a part.
    pub(super) part: u64,
    /// Requests to hosts at a time.
    pub(super) connections: Arc<Semaphore>,
    /// The job's part in a fleet, which shares its connections.
    pub(super) member: Option<Arc<Member>>,
    /// Bytes of parts that may be held at a time.
    pub(super) memory: Arc<PartMemory>,
    /// Ranges of one file that are fetched at a time.
    pub(super) window: usize,
    /// Bytes of bodies that arrived.
    pub(super) received: Arc<AtomicU64>,
}

/// A file to mirror, and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) artifact: Arc<Artifact>,
    /// Ask only whether it changed since this revision: the file is there.
    pub(super) recheck: Option<Revision>,
    /// What is known under its key; its object is intact only where it is rechecked.
    pub(super) entry: Option<Entry>,
    pub(super) doubt: Option<Doubt>,
    pub(super) half_of_pair: bool,
    pub(super) run_may_write: bool,
    pub(super) cut_off: bool,
    pub(super) run: Arc<str>,
    pub(super) generation: u64,
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Ending {
    /// It is there, and claimed.
    Published,
    /// It was there, and the host has the same.
    Known,
    /// The trainer is still writing it.
    Settling,
    /// It was listed and is gone.
    Vanished,
    /// It could not be had; the cause was reported.
    Failed(FailureCause),
    /// The run cannot continue: the lease is lost, or the store refuses.
    Fatal(Error),
}

/// What changes while a file is fetched.
#[derive(Debug)]
struct Story {
    url: SourceUrl,
    generation: u64,
    /// Faults in a row without progress.
    tries: u32,
    backoff: Backoff,
    restarts: u32,
    without_if_range: bool,
    whole_only: bool,
    may_be_direct: bool,
    doubt: Option<Doubt>,
    reported_started: bool,
    /// Uploads that the store dropped before they were complete.
    lost_uploads: u32,
}

/// One file.
pub(super) struct File {
    shared: Arc<Shared>,
    order: Order,
    story: Mutex<Story>,
    have: AtomicU64,
    began: Instant,
}

/// How one attempt ended, short of a whole file.
#[derive(Debug)]
enum Stopped {
    /// Known bytes are of this revision no more.
    Changed,
    /// The host sends everything, whatever is asked for.
    RangesIgnored,
    /// A stream broke, and has to begin again.
    Again,
    /// The host is not to be asked before this: until then nothing is held.
    Waits {
        until: Instant,
    },
    /// The store has the upload no more: a rule of the bucket removed it, or its owner did.
    UploadGone,
    Unchanged(Revision),
    Unfinished {
        declared: Option<u64>,
        have: u64,
    },
    Ended(Ending),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Ended(Ending::Fatal(error))
    }
}

impl From<PartFault> for Stopped {
    fn from(fault: PartFault) -> Self {
        match fault {
            PartFault::Gone => Self::UploadGone,
            PartFault::Error(error) => error.into(),
        }
    }
}

/// What one revision is known to be.
#[derive(Debug, Clone, Default)]
struct Known {
    revision: Revision,
    length: Option<u64>,
    claims: Vec<Claim>,
}

/// A whole file: hashed, and in memory or in an upload.
struct Whole {
    received: Received,
    known: Known,
    content: Content,
}

enum Content {
    /// With the memory that is reserved for it.
    Small(Bytes, OwnedSemaphorePermit),
    Uploaded(Arc<Upload>, Vec<PartTag>),
}

impl File {
    pub(super) fn new(shared: Arc<Shared>, order: Order) -> Arc<Self> {
        let story = Story {
            url: order.artifact.url.clone(),
            generation: order.generation,
            tries: 0,
            backoff: Backoff::new(fastrand::u64(..), FIRST_WAIT, LONGEST_WAIT),
            restarts: 0,
            without_if_range: false,
            whole_only: false,
            may_be_direct: true,
            doubt: order.doubt.clone(),
            reported_started: false,
            lost_uploads: 0,
        };
        let began = Instant::now();
        Arc::new(Self { shared, order, story: Mutex::new(story), have: AtomicU64::new(0), began })
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        self.shared.reporter.report(event);
    }

    /// Mirrors the file. Thousands of files wait here for their turn, so what they need later is in boxes.
    pub(super) async fn mirror(self: Arc<Self>) -> Ending {
        loop {
            let stopped = match self.clone().attempt().await {
                Ok(whole) => match Box::pin(self.weigh(whole)).await {
                    Ok(Some(ending)) => return ending,
                    Ok(None) => continue,
                    Err(stopped) => stopped,
                },
                Err(stopped) => stopped,
            };
            match stopped {
                Stopped::Ended(ending) => return ending,
                Stopped::Again => continue,
                Stopped::Waits { until } => tokio::time::sleep_until(until).await,
                Stopped::Unfinished { declared, have } => return self.settling(declared, have),
                Stopped::Unchanged(revision) => match Box::pin(self.unchanged(&revision)).await {
                    Some(ending) => return ending,
                    None => continue,
                },
                Stopped::UploadGone => {
                    let lost = {
                        let mut story = self.story();
                        story.lost_uploads += 1;
                        story.lost_uploads
                    };
                    if lost > MOST_LOST_UPLOADS {
                        return self.failed(FailureCause::UploadsLost { times: lost });
                    }
                }
                Stopped::Changed | Stopped::RangesIgnored => {
                    let mut story = self.story();
                    story.restarts += 1;
                    story.whole_only |= matches!(stopped, Stopped::RangesIgnored)
                        || story.restarts >= RESTARTS_BEFORE_TOLERANCE;
                    if story.restarts > MOST_RESTARTS {
                        drop(story);
                        return self.failed(FailureCause::Revisions);
                    }
                }
            }
        }
    }

    fn failed(&self, cause: FailureCause) -> Ending {
        Ending::Failed(cause)
    }

    fn settling(&self, declared: Option<u64>, have: u64) -> Ending {
        self.tell(&Event::Settling { path: self.order.artifact.path.clone(), declared, have });
        Ending::Settling
    }

    /// One attempt at one revision.
    async fn attempt(self: Arc<Self>) -> Result<Whole, Stopped> {
        self.have.store(0, Ordering::Relaxed);
        match self.first().await? {
            FirstAnswer::Body(first) => Box::pin(self.read(*first)).await,
            FirstAnswer::Text(text, known, memory) => Box::pin(self.text(text, known, memory)).await,
        }
    }

    /// Reads what the first answer begins.
    async fn read(self: Arc<Self>, first: First) -> Result<Whole, Stopped> {
        let name = self.order.artifact.path.file_name().to_owned();
        let hashes = Hashes::new(&name, &first.known.claims);
        let length = first.known.length;
        self.report_started(length);
        if let Some(length) = length.filter(|length| *length <= self.shared.part) {
            return self.small(first, length, hashes).await;
        }
        let part = length.map_or(self.shared.part, |length| part_size(self.shared.part, length));
        let is_comparable = first.known.revision.is_comparable();
        let whole_only = self.story().whole_only;
        match length {
            Some(length) if first.ranges_proven && is_comparable && !whole_only => {
                self.windowed(first, length, part, hashes).await
            }
            // One stream of it all: the first answer has only its first part.
            Some(length) if first.take.is_some_and(|take| take < length) => Err(Stopped::RangesIgnored),
            _ => self.streamed(first, part, hashes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl Fn(Arc<File>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_file_that_waits_takes_little_memory() {
        let size = size_of_future(File::mirror);
        assert!(size < 2048, "{size} bytes");
    }
}
