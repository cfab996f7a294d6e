//! What is wrong with a list of jobs, line by line.

use std::fmt;

use serde::Serialize;

use crate::model::job::JobId;

/// Faults beyond this many are counted alone.
const MOST_FAULTS: usize = 20;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineFault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: BadLine,
}

/// Why a line of a list cannot be used. What is quoted is sanitised and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BadLine {
    /// It cannot be split into words.
    #[error("a quote or a backslash at its end is not closed")]
    Unclosed,
    /// A word that is neither the job nor an option with a value.
    #[error("`{0}` is no `option=value`")]
    NoPair(String),
    /// It has a second job.
    #[error("it names two jobs")]
    TwoJobs,
    /// It has settings without a job.
    #[error("it names no job: `id=…`")]
    NoJob,
    /// What names the job is neither an id nor an address of the API: with the reason.
    #[error("{0}")]
    BadJob(String),
    /// An option that a single job cannot have.
    #[error("`{option}` cannot be set for one job; what can: {}", known.join(", "))]
    UnknownOption {
        /// The option.
        option: String,
        /// Those that a job can have.
        known: &'static [&'static str],
    },
    /// An option for the second time.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// Its settings cannot be carried out, in the words of the reader of options.
    #[error("{0}")]
    BadSettings(String),
    /// Its job is in another line, with other settings.
    #[error("job `{job}` is in line {first} already, with other settings")]
    OtherSettings {
        /// The job.
        job: JobId,
        /// Its first line.
        first: usize,
    },
    /// The list is too long.
    #[error("there are more than {most} jobs")]
    TooMany {
        /// The most jobs that a list may have.
        most: usize,
    },
}

/// Everything that is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ListFaults(pub Vec<LineFault>);

impl fmt::Display for ListFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().take(MOST_FAULTS).enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}line {}: {}", fault.line, fault.why)?;
        }
        match self.0.len().saturating_sub(MOST_FAULTS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more lines"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_structured() {
        let faults = ListFaults(vec![
            LineFault { line: 2, why: BadLine::TwoJobs },
            LineFault { line: 3, why: BadLine::OtherSettings { job: "a-1".parse().unwrap(), first: 1 } },
        ]);
        assert_eq!(
            serde_json::to_string(&faults).unwrap(),
            r#"[{"line":2,"why":"two_jobs"},{"line":3,"why":{"other_settings":{"job":"a-1","first":1}}}]"#
        );
        assert_eq!(
            faults.to_string(),
            "line 2: it names two jobs; line 3: job `a-1` is in line 1 already, with other settings"
        );
    }
}
