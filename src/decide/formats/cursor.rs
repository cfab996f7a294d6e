//! Reading fixed-size fields and skipping over bodies, however the input is cut into chunks.

/// Collects `N` bytes that may come in several chunks. Ready for the next `N` after each success.
#[derive(Debug, Clone)]
pub(super) struct Field<const N: usize> {
    bytes: [u8; N],
    have: usize,
}

impl<const N: usize> Default for Field<N> {
    fn default() -> Self {
        Self { bytes: [0; N], have: 0 }
    }
}

impl<const N: usize> Field<N> {
    /// Moves bytes from the front of `input` into the field and returns it once it is full.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = input.split_at(input.len().min(N - self.have));
        self.bytes[self.have..self.have + head.len()].copy_from_slice(head);
        *input = tail;
        self.have += head.len();
        if self.have < N {
            return None;
        }
        self.have = 0;
        Some(self.bytes)
    }

    /// Whether no byte of the next field has come yet.
    pub(super) const fn is_untouched(&self) -> bool {
        self.have == 0
    }
}

/// Moves at most `left` bytes off the front of `input`, returns them, and lessens `left`.
pub(super) fn pass<'a>(left: &mut u64, input: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    let (head, tail) = input.split_at(length);
    *input = tail;
    *left -= length as u64;
    head
}
