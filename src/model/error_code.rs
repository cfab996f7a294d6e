//! The API's own numbers for what went wrong, which say more than an HTTP status: 40401 is a dataset that is gone, also
//! where a job was asked for.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::names::sanitize::for_terminal;

/// The longest code that is kept; the documented ones have five digits.
const LONGEST: usize = 64;

/// An error code as the API wrote it: a number by its documentation, a word elsewhere (`TRAINING_ERROR`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ErrorCode(Box<str>);

/// What a code is about, by its last two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// 01 to 49.
    Dataset,
    /// 51 to 99.
    Job,
}

/// A code whose meaning is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownCode {
    /// The account has no money left.
    InsufficientFunds,
    /// The id is no UUID.
    InvalidDatasetId,
    /// The dataset is unknown, deleted, or another account's.
    DatasetNotFound,
    /// The account has a dataset of this name already.
    DatasetNameConflict,
    /// The name has characters that are not allowed.
    InvalidDatasetName,
}

/// Every public code, with the vendor's name for it. No code of a job is public. 10001 is what the vendor's sibling products
/// answer.
const KNOWN: [(u32, KnownCode, &str); 5] = [
    (10001, KnownCode::InsufficientFunds, "INSUFFICIENT_FUNDS"),
    (40001, KnownCode::InvalidDatasetId, "INVALID_DATASET_ID"),
    (40401, KnownCode::DatasetNotFound, "DATASET_NOT_FOUND"),
    (40901, KnownCode::DatasetNameConflict, "DATASET_NAME_CONFLICT"),
    (42201, KnownCode::InvalidDatasetName, "INVALID_DATASET_NAME"),
];

impl ErrorCode {
    /// Takes a code as it came; `None` where the text means that there is no error.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_none = text.is_empty() || ["0", "false", "true"].contains(&text);
        (!is_none).then(|| Self(for_terminal(text, LONGEST).into()))
    }

    /// Returns the code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the HTTP status that a code of three, five or six digits begins with.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        if !matches!(self.0.len(), 3 | 5 | 6) || !self.is_number() {
            return None;
        }
        self.0[..3].parse().ok().filter(|status| (400..600).contains(status))
    }

    /// Returns what a code of five digits is about.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        if self.0.len() != 5 || self.status().is_none() {
            return None;
        }
        match self.0[3..].parse().ok()? {
            1..=49 => Some(Subject::Dataset),
            51..=99 => Some(Subject::Job),
            _ => None,
        }
    }

    /// Returns the meaning of a public code.
    #[must_use]
    pub fn known(&self) -> Option<KnownCode> {
        self.row().map(|(_, known, _)| known)
    }

    /// Returns the vendor's name of a public code.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.row().map(|(_, _, name)| name)
    }

    fn row(&self) -> Option<(u32, KnownCode, &'static str)> {
        let number: u32 = self.0.parse().ok()?;
        KNOWN.into_iter().find(|(code, ..)| *code == number)
    }

    fn is_number(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for ErrorCode {
    /// A number as a number, so that a script compares it as the documentation writes it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<u64>() {
            Ok(number) if self.is_number() => serializer.serialize_u64(number),
            _ => serializer.serialize_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> ErrorCode {
        ErrorCode::new(text).unwrap()
    }

    #[test]
    fn codes_hold_a_status_and_a_subject() {
        use Subject::{Dataset, Job};
        for (text, status, subject) in [
            ("40401", Some(404), Some(Dataset)),
            ("40449", Some(404), Some(Dataset)),
            ("40450", Some(404), None),
            ("40451", Some(404), Some(Job)),
            ("50099", Some(500), Some(Job)),
            ("40400", Some(404), None),
            ("401001", Some(401), None),
            ("429", Some(429), None),
            ("20001", None, None),
            ("10001", None, None),
            ("4040", None, None),
            ("E4040", None, None),
            ("60001", None, None),
            ("é01", None, None),
            ("TRAINING_ERROR", None, None),
        ] {
            assert_eq!((code(text).status(), code(text).subject()), (status, subject), "{text}");
        }
    }

    #[test]
    fn public_codes_have_a_meaning_and_a_name() {
        for (number, known, name) in KNOWN {
            let code = code(&number.to_string());
            assert_eq!((code.known(), code.name()), (Some(known), Some(name)));
        }
        assert_eq!(code("40499").known(), None);
        assert_eq!(code("DATASET_NOT_FOUND").known(), None);
    }

    #[test]
    fn numbers_stay_numbers_and_words_stay_words() {
        let json = |text| serde_json::to_string(&code(text)).unwrap();
        assert_eq!(json("40401"), "40401");
        assert_eq!(json(" 40401 "), "40401");
        assert_eq!(json("+40401"), "\"+40401\"");
        assert_eq!(json("TRAINING_ERROR"), "\"TRAINING_ERROR\"");
        assert_eq!(json("99999999999999999999999"), "\"99999999999999999999999\"");
        for none in ["", " ", "0", "false"] {
            assert_eq!(ErrorCode::new(none), None);
        }
        assert!(!code("a\u{1b}[2J").as_str().contains('\u{1b}'));
    }
}
