//! How a fleet ended, in lines.

use crate::cli::format::shown;
use crate::cli::reporters::words;
use crate::decide::mirror::plan::Counts;
use crate::engine::fleet::Endings;
use crate::error::ExitStatus;
use crate::model::job::JobId;

/// One line of the summary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Whether something is wrong, so that it is written by a single pass without a terminal too.
    pub(super) is_trouble: bool,
}

/// Names each job that is not complete, and counts all; after a dry run, what it `planned`.
pub(super) fn lines(
    endings: &Endings,
    planned: Option<Counts>,
    label: impl Fn(&JobId) -> String,
) -> Vec<Line> {
    let is_signal = |exit: ExitStatus| matches!(exit, ExitStatus::Interrupted | ExitStatus::Terminated);
    let is_trouble = |exit: ExitStatus| exit != ExitStatus::Complete && !is_signal(exit);
    let mut lines: Vec<Line> = endings
        .iter()
        .filter(|(_, exit)| is_trouble(**exit))
        .map(|(job, exit)| {
            let (name, id) = (shown(&label(job)), job.as_str());
            let id = if name.ends_with(id) { String::new() } else { format!("  {id}") };
            let text = format!("{:<9}  {name}{id}  exit code {}: {}", "not done", exit.code(), why(*exit));
            Line { text, is_trouble: true }
        })
        .collect();
    let count = |wanted: &dyn Fn(ExitStatus) -> bool| endings.values().filter(|exit| wanted(**exit)).count();
    let mut text = format!("{:<9}  {}", "fleet", jobs(endings.len()));
    let complete = match planned {
        Some(counts) => {
            text += &format!(": {}", words::plan(counts));
            0
        }
        None => count(&|exit| exit == ExitStatus::Complete),
    };
    let parts = [
        (complete, "complete"),
        (count(&is_signal), "stopped; parts are kept, the same command continues"),
        (count(&is_trouble), "not done"),
    ];
    let mut separator = if planned.is_some() { "; " } else { ": " };
    for (count, words) in parts.iter().filter(|(count, _)| *count > 0) {
        text += &format!("{separator}{count} {words}");
        separator = ", ";
    }
    lines.push(Line { text, is_trouble: false });
    lines
}

/// Describes what was read of the list.
pub(super) fn listed(count: usize, added: usize, removed: usize) -> String {
    if added == count && removed == 0 {
        return jobs(count);
    }
    format!("the list was read again: {}, {added} new, {removed} taken off", jobs(count))
}

fn jobs(count: usize) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

const fn why(exit: ExitStatus) -> &'static str {
    match exit {
        ExitStatus::Negative => "the job failed or was canceled; what it made is here",
        ExitStatus::TryAgain => {
            "something listed is not here, the job stopped before its last step, or `--timeout` passed"
        }
        ExitStatus::Unavailable => "the API cannot be reached",
        ExitStatus::Protocol => "the API's answer could not be understood",
        ExitStatus::BadData => "the API refused it, or knows no such job",
        ExitStatus::CannotCreate => "its folder cannot be created or written",
        ExitStatus::Disk => "a disk error",
        ExitStatus::NoPermission => "the token was refused",
        _ => "see above",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_that_is_not_complete_is_named() {
        let job = |id: &str| id.parse::<JobId>().unwrap();
        let endings: Endings = [
            (job("a-1"), ExitStatus::Complete),
            (job("b-2"), ExitStatus::Negative),
            (job("c-3"), ExitStatus::Complete),
            (job("d-4"), ExitStatus::Terminated),
        ]
        .into();
        let label = |job: &JobId| format!("dog {}", job.as_str().len());
        let texts: Vec<_> = lines(&endings, None, label).into_iter().map(|line| line.text).collect();
        assert_eq!(
            texts,
            [
                "not done   dog 3  b-2  exit code 1: the job failed or was canceled; what it made is here",
                "fleet      4 jobs: 2 complete, 1 stopped; parts are kept, the same command continues, 1 not done",
            ]
        );
        // Of a dry run, a job that ended well is not complete: nothing was done.
        let planned = Counts { fetch: 3, ask: 1, present: 7 };
        let texts: Vec<_> = lines(&endings, Some(planned), label).into_iter().map(|line| line.text).collect();
        assert_eq!(
            texts[1],
            "fleet      4 jobs: 3 files to fetch, 1 to ask about again, 7 here; 1 stopped; parts are kept, the same command continues, 1 not done"
        );
    }
}
