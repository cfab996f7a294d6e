//! The protocol of a bucket, as pure rules. A bucket has no rename, no lock and no flush; what it has is writes under a
//! condition, and everything rests on them:
//!
//! - **R1** The head changes only by a swap on the tag that was read last; each body has a fresh sequence and the id of
//!   its owner, so a tag never returns ([`head`]).
//! - **R2** A file is created only where nothing is under its name, and only when it is verified. Where the name is
//!   taken, the object is compared: the same bytes are ours, other bytes lead to the next name ([`names`]).
//! - **R3** A claim is added only after the create was acknowledged, or after R2's comparison.
//! - **R4** Pruning: the head forgets the file, then `SHA256SUMS` does, then it is deleted; its name is never used again.
//! - **R5** `SHA256SUMS`, `job.json` and `index.html`: first the tag is read, then that the head is still ours, then the
//!   write is sent under that tag.
//! - **R6** After a swap that was refused the head is read: with our id and sequence it was ours ([`lease`]).
//! - **R7** An answer that never came is not taken for a refusal, nor for a success.
//!
//! So no late, doubled or lost request of any worker changes what another one published, and no clock is trusted for
//! safety: time only decides when a worker tries to take over.

pub(crate) mod head;
pub(crate) mod lease;
pub(crate) mod names;
pub(crate) mod outage;
pub(crate) mod parts;
