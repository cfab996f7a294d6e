//! What a job lists and cannot be used: files without a usable address, and rows that are no files.

use serde::Serialize;

use super::source_url::SourceUrlError;

/// Why a listed file cannot be fetched, whatever its host would answer. Never contains a URL's query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unfetchable {
    /// Its address cannot be used.
    #[error("`{place}`: {fault}")]
    Address {
        /// Where it is listed: `checkpoints[5]`.
        place: String,
        /// What is wrong with the address.
        fault: SourceUrlError,
    },
    /// It and what follows is beyond the most files that are taken.
    #[error("`{place}` and what follows: more than {most} files are listed")]
    TooMany {
        /// Where the first of them is listed.
        place: String,
        /// How many are taken.
        most: usize,
    },
    /// The path of its address ends in `/`, as that of another file does.
    #[error("{url}: its path has no file name, and is not the only such")]
    NoFileName {
        /// Its address without the query, bounded.
        url: String,
    },
    /// Each local name that it could have is another file's.
    #[error("{url}: no free name is left for it")]
    NoFreeName {
        /// Its address without the query, bounded.
        url: String,
    },
}

/// A part of a job's result that is no file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnusableRow {
    /// All of the artifacts: they are not in an object.
    #[error("`artifacts` is no object: `{excerpt}`")]
    NoObject {
        /// How it begins, sanitised and bounded.
        excerpt: String,
    },
    /// A row of a list that this version does not know.
    #[error("`{place}` is of a kind that this version does not know")]
    UnknownKind {
        /// Where it is listed: `masks[1]`.
        place: String,
    },
    /// A row without a path.
    #[error("`{place}` has no `path`")]
    NoPath {
        /// Where it is listed.
        place: String,
    },
    /// A word in place of a list or an address.
    #[error("`{place}`: {fault}")]
    NoAddress {
        /// Where it is listed.
        place: String,
        /// Why it is no address.
        fault: SourceUrlError,
    },
    /// Further files and rows that cannot be used, beyond the most that are reported.
    #[error("and {count} more")]
    More {
        /// How many.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_structured() {
        let place = || "checkpoints[5]".to_owned();
        let why = Unfetchable::Address { place: place(), fault: SourceUrlError::Scheme("file".to_owned()) };
        assert_eq!(
            serde_json::to_string(&why).unwrap(),
            r#"{"address":{"place":"checkpoints[5]","fault":{"scheme":"file"}}}"#
        );
        let row = UnusableRow::NoPath { place: place() };
        assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"no_path":{"place":"checkpoints[5]"}}"#);
        assert_eq!(
            serde_json::to_string(&UnusableRow::More { count: 3 }).unwrap(),
            r#"{"more":{"count":3}}"#
        );
    }
}
