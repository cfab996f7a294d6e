//! How many bytes are written and recorded at once, and which files are small enough for one write.

/// Sizes of writes and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portions {
    /// Bytes gathered before they are written on another thread: large enough that waking it costs little.
    pub group: usize,
    /// Bytes gathered before they are written and hashed by the connection itself: few enough to be in the processor's cache
    /// still.
    pub group_on_the_spot: usize,
    /// Files up to this size are written and hashed by the connection itself, in less than half a millisecond: handing them
    /// to another thread and back takes longer than most of them do.
    pub small_file: u64,
    /// Bytes of a part that are recorded with one checksum: as many as are lost where one of them is damaged.
    pub block: u64,
}

impl Default for Portions {
    fn default() -> Self {
        Self { group: 512 << 10, group_on_the_spot: 128 << 10, small_file: 512 << 10, block: 1 << 20 }
    }
}
