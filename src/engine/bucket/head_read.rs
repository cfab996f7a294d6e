//! Reading the head of one prefix, without its lease.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::decide::bucket::head::{FORMAT, HEAD, Head, Known};
use crate::edge::bucket::{Meta, Tag};
use crate::edge::folder::checksummed;
use crate::error::{BucketError, Error, UnfitPrefix};
use crate::model::job::JobId;

use super::store::{Small, Store};

/// A head has some 100 KB, and at rest up to 2 MiB more; a snapshot of 100,000 files some 50 MB.
pub(super) const HEAD_BOUND: u64 = 4 << 20;
const SNAPSHOT_BOUND: u64 = 512 << 20;

/// What a look at a prefix found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The head, where there is one.
    pub(crate) head: Option<Head>,
    /// What is known; empty without a head.
    pub(crate) known: Known,
    pub(super) tag: Option<Tag>,
    pub(super) age: Option<Duration>,
    /// Bytes of a head that cannot be read.
    pub(super) damaged: Option<Bytes>,
}

impl Found {
    /// Looks at the prefix that a job is mirrored to. Changes nothing.
    ///
    /// # Errors
    /// When the store cannot be asked, or what is there is of another job or a newer rcsync.
    pub(crate) async fn look(store: &Store, job: &JobId, origin: &str) -> Result<Self, Error> {
        let nothing = || Known::new(job.clone(), origin.to_owned());
        match contents(store).await? {
            Contents::Nothing => {
                Ok(Self { head: None, known: nothing(), tag: None, age: None, damaged: None })
            }
            Contents::Damaged(bytes, meta) => Ok(Self {
                head: None,
                known: nothing(),
                tag: Some(meta.tag),
                age: meta.age,
                damaged: Some(bytes),
            }),
            Contents::Whole(head, ..) if head.job != *job => Err(of_another_job(store, &head.job)),
            Contents::Whole(head, ..) if head.origin != origin => {
                Err(unfit(store, UnfitPrefix::OtherOrigin(head.origin.clone())))
            }
            Contents::Whole(head, known, meta) => {
                let tag = Some(meta.tag);
                Ok(Self { head: Some(*head), known: *known, tag, age: meta.age, damaged: None })
            }
        }
    }

    /// Reads what was mirrored to a prefix, of whichever job. Changes nothing.
    ///
    /// # Errors
    /// When nothing was, or the store cannot be asked.
    pub(crate) async fn peek(store: &Store) -> Result<Self, Error> {
        match contents(store).await? {
            Contents::Nothing => Err(BucketError::NoMirror { to: store.url.to_string() }.into()),
            Contents::Damaged(..) => Err(unfit(store, UnfitPrefix::DamagedHead)),
            Contents::Whole(head, known, meta) => {
                let tag = Some(meta.tag);
                Ok(Self { head: Some(*head), known: *known, tag, age: meta.age, damaged: None })
            }
        }
    }

    /// Whether the head could not be read.
    pub(crate) const fn is_damaged(&self) -> bool {
        self.damaged.is_some()
    }

    /// How long ago the head was written, by the store's clock.
    pub(crate) const fn age(&self) -> Option<Duration> {
        self.age
    }

    /// Describes the holder of the lease.
    pub(crate) fn holder(&self) -> String {
        let Some(head) = &self.head else { return "unknown".to_owned() };
        let since = self.age.map_or_else(String::new, |age| format!(", last sign {} s ago", age.as_secs()));
        format!("process {} on {}{since}", head.owner.pid, head.owner.host)
    }
}

/// What is under the head's key.
enum Contents {
    Nothing,
    Damaged(Bytes, Meta),
    Whole(Box<Head>, Box<Known>, Meta),
}

async fn contents(store: &Store) -> Result<Contents, Error> {
    // A snapshot may be replaced between the two reads; then the head names another one.
    for _ in 0..8 {
        let (bytes, meta) = match store.look(HEAD, HEAD_BOUND).await? {
            Small::Nothing => return Ok(Contents::Nothing),
            Small::Whole(bytes, meta) => (bytes, meta),
            Small::TooLarge { size } => return Err(too_large(store, HEAD, size, HEAD_BOUND)),
        };
        let mut head = match read_head(&bytes) {
            Ok(head) => head,
            Err(ReadFault::Newer(format)) => {
                let why = UnfitPrefix::NewerFormat { found: format, known: FORMAT };
                return Err(unfit(store, why));
            }
            Err(ReadFault::Damaged) => return Ok(Contents::Damaged(bytes, meta)),
        };
        if let Some(known) = head.rest.take() {
            return Ok(Contents::Whole(Box::new(head), known, meta));
        }
        let mut known = match &head.snapshot {
            None => Known::new(head.job.clone(), head.origin.clone()),
            Some(key) => match read_snapshot(store, key).await? {
                Some(known) => known,
                None => continue,
            },
        };
        for line in &head.lines {
            known.apply(line.clone());
        }
        return Ok(Contents::Whole(Box::new(head), Box::new(known), meta));
    }
    Err(unfit(store, UnfitPrefix::NoSnapshot))
}

/// Looks at the head alone: one request. `None` where none that can be read is there.
///
/// # Errors
/// When the store refuses.
pub(super) async fn glance(store: &Store) -> Result<Option<(Head, Tag, Option<Duration>)>, Error> {
    let found = store.small(HEAD, HEAD_BOUND).await?;
    Ok(found.and_then(|(bytes, meta)| Some((read_head(&bytes).ok()?, meta.tag, meta.age))))
}

fn too_large(store: &Store, key: &str, size: u64, bound: u64) -> Error {
    unfit(store, UnfitPrefix::TooLarge { key: key.to_owned(), size, most: bound })
}

/// Why a prefix cannot be used that another job is mirrored to.
pub(super) fn of_another_job(store: &Store, other: &JobId) -> Error {
    unfit(store, UnfitPrefix::OtherJob(other.clone()))
}

fn unfit(store: &Store, why: UnfitPrefix) -> Error {
    BucketError::Unfit { to: store.url.to_string(), why }.into()
}

pub(super) enum ReadFault {
    Damaged,
    Newer(u32),
}

pub(super) fn read_head(bytes: &[u8]) -> Result<Head, ReadFault> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ReadFault::Damaged)?.trim_end();
    let FormatOnly { format } = checksummed::unseal(text).ok_or(ReadFault::Damaged)?;
    if format > FORMAT {
        return Err(ReadFault::Newer(format));
    }
    checksummed::unseal(text).ok_or(ReadFault::Damaged)
}

async fn read_snapshot(store: &Store, key: &str) -> Result<Option<Known>, Error> {
    let bytes = match store.look(key, SNAPSHOT_BOUND).await? {
        Small::Nothing => return Ok(None),
        Small::Whole(bytes, _) => bytes,
        Small::TooLarge { size } => return Err(too_large(store, key, size, SNAPSHOT_BOUND)),
    };
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| checksummed::unseal(text.trim_end())))
}
