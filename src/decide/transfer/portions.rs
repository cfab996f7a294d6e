//! How many bytes are written and recorded at once, and which files are small enough to be written where they arrive.

/// Sizes of writes and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portions {
    /// Bytes gathered before they are written: large enough that a write costs little.
    pub group: usize,
    /// Files up to this size are written and hashed by the connection itself, in less than half a millisecond: handing them
    /// to another thread and back takes longer than most of them do.
    pub on_the_spot: u64,
    /// Bytes of a part that are recorded with one checksum: as many as are lost where one of them is damaged.
    pub block: u64,
}

impl Default for Portions {
    fn default() -> Self {
        Self { group: 512 << 10, on_the_spot: 512 << 10, block: 1 << 20 }
    }
}
