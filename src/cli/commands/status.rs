//! `rcsync status`: one look at a job, and what to type next.

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::{shown, state, steps};
use crate::error::ExitStatus;
use crate::model::job::{JobId, JobStatus, StatusAnswer};

use super::super::backend;
use super::super::exit::Signals;
use super::{Context, wait_for};

pub(super) fn run(context: &Context<'_>, job: &str) -> Result<ExitStatus, CommandError> {
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(job, &base)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals: Signals| async move {
        let Some(answer) = context.ask(&signals, || api.status(&job)).await? else {
            return Ok(signals.status());
        };
        context.answer(&document(&job, &answer), || words(&job, &answer));
        Ok(ExitStatus::Complete)
    })
}

#[derive(Serialize)]
struct Document<'a> {
    job_id: &'a str,
    name: Option<&'a str>,
    status: &'a str,
    step: Option<u64>,
    total_steps: Option<u64>,
    percent: Option<f64>,
    complete: bool,
    error: Option<&'a str>,
    created_at: Option<&'a str>,
    started_at: Option<&'a str>,
    finished_at: Option<&'a str>,
}

fn document<'a>(job: &'a JobId, answer: &'a StatusAnswer) -> Document<'a> {
    Document {
        job_id: job.as_str(),
        name: answer.name.as_deref(),
        status: answer.status.as_str(),
        step: answer.progress.current_step,
        total_steps: answer.progress.total_steps,
        percent: answer.progress.percent_done(),
        complete: answer.progress.is_complete(),
        error: answer.error.as_deref(),
        created_at: answer.times.created_at.as_deref(),
        started_at: answer.times.started_at.as_deref(),
        finished_at: answer.times.finished_at.as_deref(),
    }
}

fn words(job: &JobId, answer: &StatusAnswer) -> String {
    let job = shown(job.as_str());
    let name = answer.name.as_deref().map_or_else(|| job.clone(), shown);
    let mut text =
        format!("{name}  {}: {}", shown(answer.status.as_str()), state(&answer.status, &answer.progress));
    if let Some(steps) = steps(&answer.progress) {
        text += &format!(", {steps}");
    }
    text.push('\n');
    if let Some(error) = &answer.error {
        text += &format!("error: {}\n", shown(error));
    }
    let mirror = match answer.status {
        JobStatus::Stopped | JobStatus::Failed | JobStatus::Canceled => "fetch what it made",
        _ => "mirror it until it ends",
    };
    let next = format!("rcsync {job}");
    let other = format!("rcsync result {job}");
    text += &format!("next:  {next:<width$}  {mirror}\n", width = other.len());
    text += &format!("       {other}  what it offers now\n");
    let change = match answer.status {
        JobStatus::InQueue | JobStatus::Running => Some(("cancel", "end it")),
        JobStatus::Stopped if answer.progress.is_complete() => None,
        JobStatus::Stopped | JobStatus::Failed | JobStatus::Canceled => {
            Some(("resume", "continue it from its latest checkpoint"))
        }
        JobStatus::Other(_) => None,
    };
    if let Some((command, what)) = change {
        let line = format!("rcsync {command} {job}");
        text += &format!("       {line:<width$}  {what}\n", width = other.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::reporters::samples::job;
    use crate::model::job::{JobTimes, Progress};

    fn answer(status: JobStatus, current: u64, error: Option<&str>) -> StatusAnswer {
        StatusAnswer {
            name: Some("dog".to_owned()),
            status,
            progress: Progress { current_step: Some(current), total_steps: Some(2000), percent: None },
            error: error.map(str::to_owned),
            times: JobTimes::default(),
        }
    }

    #[test]
    fn a_running_job() {
        assert_eq!(
            words(&job(), &answer(JobStatus::Running, 320, None)),
            "\
dog  RUNNING: training, step 320 of 2000 (16 %)
next:  rcsync abc-1         mirror it until it ends
       rcsync result abc-1  what it offers now
       rcsync cancel abc-1  end it
"
        );
    }

    #[test]
    fn a_failed_job_has_its_cause() {
        let text = words(&job(), &answer(JobStatus::Failed, 320, Some("out of \u{1b}memory")));
        assert!(
            text.contains("\nerror: out of \\u{1b}memory\n") && text.contains("fetch what it made"),
            "{text}"
        );
    }

    #[test]
    fn one_document() {
        let answer = answer(JobStatus::Stopped, 2000, None);
        let json = serde_json::to_string(&document(&job(), &answer)).unwrap();
        assert_eq!(
            json,
            r#"{"job_id":"abc-1","name":"dog","status":"STOPPED","step":2000,"total_steps":2000,"percent":100.0,"complete":true,"error":null,"created_at":null,"started_at":null,"finished_at":null}"#
        );
    }
}
