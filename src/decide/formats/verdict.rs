//! What a check ends with.

pub(super) mod opening;

use std::fmt;

use crate::model::bad_format::BadFormat;

use opening::Opening;

/// The longest text of a defect, in characters. Parts of it may come from the file.
const MAX_DEFECT: usize = 300;

/// What the structure says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The format accounts for every byte.
    Whole,
    /// It begins and ends as it should, but something of it cannot be accounted for: a JPEG whose segments make no
    /// sense or that has data behind its end, a fragmented video without an index, a text without a last line break.
    Plausible,
    /// A prefix of something valid, whose own header says how long it will be: still being written, or cut.
    Short {
        /// The length that the file itself declares.
        declared: u64,
        /// The length it has.
        have: u64,
    },
    /// It is not whole.
    Broken(Defect),
    /// A format without a check.
    Unchecked,
}

#[cfg(test)]
impl Verdict {
    /// Whether this is what a file looks like that is still being written.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        match self {
            Self::Short { .. } => true,
            Self::Broken(defect) => defect.is_truncation(),
            Self::Whole | Self::Plausible | Self::Unchecked => false,
        }
    }
}

/// What is wrong with a file, in words that continue "the file is not whole:". Bounded, and without
/// control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    kind: BadFormat,
    truncation: bool,
}

impl Defect {
    /// Something that more bytes would not fix.
    pub(super) fn new(text: &str) -> Self {
        Self::of(BadFormat::Rule(text.chars().filter(|c| !c.is_control()).take(MAX_DEFECT).collect()))
    }

    /// The same, of a kind.
    pub(super) const fn of(kind: BadFormat) -> Self {
        Self { kind, truncation: false }
    }

    /// Returns what is wrong.
    pub(crate) const fn kind(&self) -> &BadFormat {
        &self.kind
    }

    /// Something that is to be expected of a file that is still being written.
    pub(super) fn truncation(text: &str) -> Self {
        Self { truncation: true, ..Self::new(text) }
    }

    /// Whether the file may only be unfinished.
    #[must_use]
    pub const fn is_truncation(&self) -> bool {
        self.truncation
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Where a check stopped. The text of a wrong beginning is made at the very end: only then all the bytes that
/// are worth quoting have been seen, however they were cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file does not begin with this.
    NotA(&'static str),
    /// Anything else.
    Bad(Defect),
}

impl Fault {
    pub(super) fn bad(text: &str) -> Self {
        Self::Bad(Defect::new(text))
    }

    /// The file ends where this should continue.
    pub(super) fn cut(within: &str) -> Self {
        Self::Bad(Defect::truncation(&format!("it ends in the middle of {within}")))
    }

    /// `unwritten` says that the file ends in many zeros: it may have its full length already and its bytes later.
    pub(super) fn into_defect(self, opening: &Opening, unwritten: bool) -> Defect {
        match self {
            Self::Bad(defect) => Defect { truncation: defect.truncation || unwritten, ..defect },
            Self::NotA(_) if opening.is_zeros() => {
                Defect::truncation("it begins with zeros, as if not written yet")
            }
            Self::NotA(expected) => {
                Defect::of(BadFormat::OtherBeginning { begins: opening.to_string(), expected })
            }
        }
    }
}
