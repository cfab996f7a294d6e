//! What rcsync writes for people and other programs: `SHA256SUMS` and `job.json`.

mod draft;
mod latest;
mod read;
mod sums;

pub(crate) use draft::refresh_job;
#[cfg(feature = "buckets")]
pub(crate) use draft::{JobDraft, Rows};
pub(crate) use latest::{Latest, Ledger};
#[cfg(feature = "buckets")]
pub(crate) use read::{parse_any_head, parse_job};
pub(crate) use read::{read_any_head, read_any_job, read_head, read_job, read_job_keeping};
pub(crate) use sums::{read_sums, write_sums};
