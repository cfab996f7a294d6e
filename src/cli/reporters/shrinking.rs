//! What a terminal does with lines when it becomes narrower.

/// What a terminal does with lines that are longer than its new width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Shrinking {
    /// Breaks them in several rows, as almost all do.
    #[default]
    Rewraps,
    /// Cuts them off, as the console of Linux, xterm and screen do.
    Cuts,
}
