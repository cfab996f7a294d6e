//! What a recipe was made into.

use bytes::Bytes;

/// What a recipe came to: the head, and where the noise after it comes from.
#[derive(Debug)]
pub(crate) struct Made {
    /// The first bytes.
    pub(crate) head: Bytes,
    /// The streams behind it, one after the other: seed and length.
    pub(crate) tail: (u64, u64),
    /// For weights with a hash in their header: whether the body really hashes to it.
    pub(crate) trainer_hash_holds: Option<bool>,
}
