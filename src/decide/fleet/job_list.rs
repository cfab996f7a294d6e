//! The list of jobs: one a line, with what is different for it.
//!
//! ```text
//! # a comment
//! 5b9b8e8e-1c1f-4c53
//! id=9c1d2e3f-0a1b keep-last=3 comfyui='/home/me/My ComfyUI'
//! ```

use std::collections::HashMap;

use crate::model::job::JobId;
use crate::model::list_fault::{BadLine, LineFault, ListFaults};
use crate::model::names::sanitize::for_terminal;

/// What may be different for a job, as on the command line.
pub const OVERRIDES: [&str; 9] = [
    "comfyui",
    "comfyui-subdir",
    "comfyui-keep",
    "keep-last",
    "keep-every",
    "auto-resume",
    "only",
    "steps",
    "last",
];

/// How a line names its job where it does not begin with it.
const ID: &str = "id";

/// More jobs than this in one list are a mistake: at four requests a second, one look at all of them takes an hour.
pub const MOST_JOBS: usize = 10_000;

/// One job of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// The job.
    pub job: JobId,
    /// What is different for it.
    pub overrides: T,
}

/// Reads a list. `read_id` takes an id or an address of the API; `read_overrides` takes pairs of option and value.
///
/// # Errors
/// All faults, each with its line.
pub fn parse<T: PartialEq>(
    text: &str,
    read_id: impl Fn(&str) -> Result<JobId, String>,
    read_overrides: impl Fn(&[(&str, String)]) -> Result<T, String>,
) -> Result<Vec<Listed<T>>, ListFaults> {
    let mut jobs: Vec<Listed<T>> = Vec::new();
    let mut seen: HashMap<JobId, (usize, usize)> = HashMap::new();
    let mut faults = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, words) in (1..).zip(text.lines()) {
        let listed = match read_line(words, &read_id, &read_overrides) {
            Ok(None) => continue,
            Ok(Some(listed)) => listed,
            Err(why) => {
                faults.push(LineFault { line, why });
                continue;
            }
        };
        match seen.get(&listed.job) {
            // The same line twice means the same.
            Some((_, at)) if jobs[*at].overrides == listed.overrides => {}
            Some((first, _)) => {
                let why = BadLine::OtherSettings { job: listed.job, first: *first };
                faults.push(LineFault { line, why });
            }
            None if jobs.len() == MOST_JOBS => {
                faults.push(LineFault { line, why: BadLine::TooMany { most: MOST_JOBS } });
                break;
            }
            None => {
                seen.insert(listed.job.clone(), (line, jobs.len()));
                jobs.push(listed);
            }
        }
    }
    if faults.is_empty() { Ok(jobs) } else { Err(ListFaults(faults)) }
}

fn read_line<T>(
    line: &str,
    read_id: impl Fn(&str) -> Result<JobId, String>,
    read_overrides: impl Fn(&[(&str, String)]) -> Result<T, String>,
) -> Result<Option<Listed<T>>, BadLine> {
    let words = shlex::split(line).ok_or(BadLine::Unclosed)?;
    let mut job = None;
    let mut overrides: Vec<(&'static str, String)> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let (key, value) = match word.split_once('=') {
            // An address may have a `=` in it; a key has letters and dashes alone.
            Some((key, value)) if key.chars().all(|c| c.is_ascii_lowercase() || c == '-') => (key, value),
            _ if at == 0 => (ID, word.as_str()),
            _ => return Err(BadLine::NoPair(shown(word))),
        };
        if key == ID {
            let id = read_id(value).map_err(BadLine::BadJob)?;
            if job.replace(id).is_some() {
                return Err(BadLine::TwoJobs);
            }
            continue;
        }
        let Some(known) = OVERRIDES.iter().find(|known| **known == key) else {
            return Err(BadLine::UnknownOption { option: shown(key), known: &OVERRIDES });
        };
        if overrides.iter().any(|(before, _)| before == known) {
            return Err(BadLine::Twice(known));
        }
        overrides.push((known, value.to_owned()));
    }
    match (job, overrides.is_empty()) {
        (Some(job), _) => {
            let overrides = read_overrides(&overrides).map_err(BadLine::BadSettings)?;
            Ok(Some(Listed { job, overrides }))
        }
        (None, true) => Ok(None),
        (None, false) => Err(BadLine::NoJob),
    }
}

fn shown(text: &str) -> String {
    for_terminal(text, 60)
}

/// Writes one line of a list, as [`parse`] reads it.
#[must_use]
pub fn line(job: &JobId, overrides: &[(&str, String)]) -> String {
    let id = format!("id={job}");
    // A NUL cannot be quoted, and no value that was typed has one.
    let words =
        overrides.iter().map(|(key, value)| format!("{key}={value}")).filter(|word| !word.contains('\0'));
    let words: Vec<String> = std::iter::once(id).chain(words).collect();
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let read_id =
            |text: &str| text.parse().map_err(|error: crate::model::job::JobIdError| error.to_string());
        let overrides = |pairs: &[(&str, String)]| {
            if pairs.iter().any(|(_, value)| value == "bad") {
                return Err("`keep-last`: it is bad".to_owned());
            }
            Ok(pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
        };
        let jobs = parse(text, read_id, overrides).map_err(|faults| faults.to_string())?;
        Ok(jobs.into_iter().map(|listed| (listed.job.to_string(), listed.overrides)).collect())
    }

    #[test]
    fn lines_are_jobs() {
        for (text, jobs) in [
            ("", &[][..]),
            ("# nothing\n\n   \n", &[]),
            ("a-1\nb-2", &[("a-1", ""), ("b-2", "")]),
            ("\u{feff}a-1\r\nb-2\r\n", &[("a-1", ""), ("b-2", "")]),
            ("  a-1   # the dog\n", &[("a-1", "")]),
            ("id=a-1 keep-last=3", &[("a-1", "keep-last=3")]),
            ("keep-last=3 id=a-1", &[("a-1", "keep-last=3")]),
            ("a-1 comfyui='/my ui' keep-last=3", &[("a-1", "comfyui=/my ui keep-last=3")]),
            ("a-1 comfyui=", &[("a-1", "comfyui=")]),
            ("a-1\na-1\n", &[("a-1", "")]),
        ] {
            let jobs: Vec<_> =
                jobs.iter().map(|(job, more)| ((*job).to_owned(), (*more).to_owned())).collect();
            assert_eq!(read(text), Ok(jobs), "{text:?}");
        }
    }

    #[test]
    fn all_faults_are_named_by_line() {
        for (text, faults) in [
            (
                "a-1\n../b\n\nid=a-1 keep-last=2\nc-3 'x",
                "line 2: not a job id: it has `..` in it, or is `.`; \
                 line 4: job `a-1` is in line 1 already, with other settings; \
                 line 5: a quote or a backslash at its end is not closed",
            ),
            ("a-1 b-2", "line 1: `b-2` is no `option=value`"),
            ("a-1 id=b-2", "line 1: it names two jobs"),
            ("keep-last=2", "line 1: it names no job: `id=…`"),
            ("a-1 keep-last=2 keep-last=3", "line 1: `keep-last` is given twice"),
            ("a-1 keep-last=bad", "line 1: `keep-last`: it is bad"),
        ] {
            assert_eq!(read(text), Err(faults.to_owned()), "{text:?}");
        }
        let error = read("a-1 exec='rm x'").unwrap_err();
        assert!(
            error.starts_with("line 1: `exec` cannot be set for one job; what can: comfyui, "),
            "{error}"
        );
        let many = read(&"x y\n".repeat(23)).unwrap_err();
        assert!(many.ends_with("line 20: `y` is no `option=value`; and 3 more lines"), "{many}");
    }

    #[test]
    fn there_is_a_limit() {
        let text: String = (0..=MOST_JOBS).map(|number| format!("j-{number}\n")).collect();
        assert_eq!(read(&text), Err("line 10001: there are more than 10000 jobs".to_owned()));
    }

    #[test]
    fn what_is_written_reads_back() {
        let job: JobId = "a-1".parse().unwrap();
        let line = line(&job, &[("comfyui", "/it's my \"ui\"".to_owned()), ("keep-last", "3".to_owned())]);
        assert_eq!(
            read(&line),
            Ok(vec![("a-1".to_owned(), "comfyui=/it's my \"ui\" keep-last=3".to_owned())])
        );
        assert!(!line.contains('\n'));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            let _ = read(&text);
        }
    }
}
