//! Rules that tests break on purpose, so that the simulation proves that it would notice. Compiled into tests alone.

/// A rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// R1: the head is swapped on the tag read last.
    HeadUnderCondition,
    /// R1: each body of the head is fresh, so that no tag returns.
    FreshSequence,
    /// R2: files are created only where nothing is.
    CreateOnly,
    /// R2: an object under the wanted name is compared before it is claimed.
    CompareTaken,
    #[cfg(test)]
    /// R3: a claim follows the acknowledgement.
    ClaimAfterAcknowledgement,
    /// R4: `SHA256SUMS` forgets a file before it is deleted.
    SumsForgetFirst,
    /// R4: a deleted name is not used again.
    NamesOnce,
    /// R5: `SHA256SUMS` is written on the tag read before.
    SumsUnderCondition,
    /// R5: the tag is read before the head is looked at.
    TagBeforeHead,
    /// R6: a refused swap is not sent again on top of another worker's head.
    RefusedMeansLost,
    /// R7: an unknown answer to a create is not a refusal.
    UnknownIsNoRefusal,
    /// R7: an unknown answer to a create is not a success.
    UnknownIsNoSuccess,
    /// The copy in a head at rest has the lines of its own swap.
    RestHasNewLines,
    #[cfg(test)]
    /// An idle look writes nothing.
    IdleWritesNothing,
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Breaks one rule on this thread, or none.
#[cfg(test)]
pub(crate) fn break_rule(rule: Option<Rule>) {
    BROKEN.with(|broken| broken.set(rule));
}

/// Whether a rule holds.
#[cfg(test)]
pub(super) fn holds(rule: Rule) -> bool {
    BROKEN.with(|broken| broken.get() != Some(rule))
}

/// Whether a rule holds.
#[cfg(not(test))]
pub(super) const fn holds(_: Rule) -> bool {
    true
}
