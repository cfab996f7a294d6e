//! What was asked, and how much was answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests are remembered one by one: a simulator that runs for days must not fill the memory.
const REMEMBERED: usize = 100_000;

/// Which of the two servers was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The Trainer API.
    Api,
    /// The artifact host.
    Artifacts,
}

/// One request.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Which server was asked.
    pub origin: Origin,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether there was an `Authorization` header.
    pub had_authorization: bool,
    /// All headers with lower-case names; the value of `authorization` is left out.
    pub headers: Vec<(String, String)>,
    /// The body that was sent to the API.
    pub body: String,
    /// The status of the answer; 0 when the connection was dropped instead.
    pub status: u16,
    /// Bytes of the body that were given to the connection.
    pub body_bytes: u64,
}

/// The requests so far.
#[derive(Debug, Default)]
pub(crate) struct Record {
    entries: VecDeque<Entry>,
    api: u64,
    artifacts: u64,
    transfers: Arc<Transfers>,
}

/// The answers of the artifact host, all together.
#[derive(Debug, Default)]
struct Transfers {
    bytes: AtomicU64,
    now: AtomicU64,
    peak: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    request: RequestRecord,
    sent: Arc<AtomicU64>,
}

/// Counts the bytes of one answer, which lasts as long as this value.
#[derive(Debug)]
pub(crate) struct Meter {
    sent: Arc<AtomicU64>,
    all: Option<Arc<Transfers>>,
}

impl Meter {
    fn new(sent: Arc<AtomicU64>, all: Option<Arc<Transfers>>) -> Self {
        if let Some(all) = &all {
            let now = all.now.fetch_add(1, Ordering::Relaxed) + 1;
            all.peak.fetch_max(now, Ordering::Relaxed);
        }
        Self { sent, all }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.now.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Record {
    /// Takes a request down, with the status it is answered with.
    pub(crate) fn add(&mut self, request: RequestRecord) -> Meter {
        let all = match request.origin {
            Origin::Api => {
                self.api += 1;
                None
            }
            Origin::Artifacts => {
                self.artifacts += 1;
                Some(Arc::clone(&self.transfers))
            }
        };
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
        }
        let sent = Arc::new(AtomicU64::new(0));
        self.entries.push_back(Entry { request, sent: Arc::clone(&sent) });
        Meter::new(sent, all)
    }

    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        let count = |entry: &Entry| entry.sent.load(Ordering::Relaxed);
        self.entries
            .iter()
            .map(|entry| RequestRecord { body_bytes: count(entry), ..entry.request.clone() })
            .collect()
    }

    pub(crate) fn api_requests(&self) -> u64 {
        self.api
    }

    pub(crate) fn artifact_requests(&self) -> u64 {
        self.artifacts
    }

    pub(crate) fn artifact_bytes(&self) -> u64 {
        self.transfers.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn peak_transfers(&self) -> u64 {
        self.transfers.peak.load(Ordering::Relaxed)
    }

    /// Forgets all requests and sets the counters to 0.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
