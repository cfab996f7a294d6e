//! What a recipe was made into.

use bytes::Bytes;

/// The head, the noise after it, and the foot.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) head: Bytes,
    /// The streams behind it, one after the other: seed and length.
    pub(crate) tail: (u64, u64),
    pub(crate) foot: Bytes,
    /// For weights with a hash in their header: whether the body really hashes to it.
    pub(crate) trainer_hash_holds: Option<bool>,
}
