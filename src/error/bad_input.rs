//! Why an input that exists cannot be used.

use std::path::PathBuf;

use serde::Serialize;

use crate::model::list_fault::ListFaults;

use super::{SystemError, lossy};

/// Why an input that exists cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BadInput {
    /// A folder is needed.
    #[error("`{}` is not a folder", .0.display())]
    NoFolder(#[serde(serialize_with = "lossy")] PathBuf),
    /// The user may not read the folder.
    #[error("the folder `{}` may not be read: {cause}", path.display())]
    FolderForbidden {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What the system reported.
        cause: SystemError,
    },
    /// A list of jobs is needed.
    #[error("`{}` is a folder, and no list of jobs", .0.display())]
    ListIsFolder(#[serde(serialize_with = "lossy")] PathBuf),
    /// No list of jobs is as long.
    #[error("`{}` is too large for a list of jobs", .0.display())]
    ListTooLarge(#[serde(serialize_with = "lossy")] PathBuf),
    /// A list of jobs is text.
    #[error("`{}` is not UTF-8", .0.display())]
    ListNotText(#[serde(serialize_with = "lossy")] PathBuf),
    /// Lines of a list of jobs cannot be used.
    #[error("{list}: {faults}")]
    List {
        /// What has the list: a file, standard input, or where `fleet add` put it.
        list: String,
        /// What is wrong with it.
        faults: ListFaults,
    },
    /// A job's destination is not below the one of its fleet.
    #[error("`{to}` is not below `{root}`")]
    NotBelow {
        /// The destination.
        to: String,
        /// That of the fleet.
        root: String,
    },
    /// A bucket is needed.
    #[error("the destination is no bucket")]
    NoBucket,
    /// What a caller of the library refused, in its words.
    #[error("{0}")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::list_fault::{BadLine, LineFault};

    #[test]
    fn causes_are_structured() {
        let bad = BadInput::ListTooLarge("jobs.txt".into());
        assert_eq!(serde_json::to_string(&bad).unwrap(), r#"{"list_too_large":"jobs.txt"}"#);
        assert_eq!(bad.to_string(), "`jobs.txt` is too large for a list of jobs");
        let faults = ListFaults(vec![
            LineFault { line: 2, why: BadLine::TwoJobs },
            LineFault { line: 7, why: BadLine::NoJob },
        ]);
        let bad = BadInput::List { list: "`jobs.txt`".to_owned(), faults };
        assert_eq!(bad.to_string(), "`jobs.txt`: line 2: it names two jobs; line 7: it names no job: `id=…`");
    }
}
