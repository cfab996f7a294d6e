//! The API's answers: bytes in, values out, and every oddity either tolerated or named.
//!
//! What a job offers matters more than how neatly it is described, so only `path` is asked for strictly; the
//! rest may be missing, null or of another type than documented.

use std::sync::Arc;

use crate::edge::api::error_body::{excerpt, fault_in_answer, line, message, page_text};
use crate::error::{ApiError, OddAnswer};
use crate::model::artifact::{ArtifactKind, Sample};
use crate::model::job::{
    JobId, JobStatus, JobTimes, ListedArtifact, Progress, ResultAnswer, StatusAnswer, Unreachable,
};
use crate::model::lenient::{Loose, Members};
use crate::model::names::sanitize::for_terminal;
use crate::model::seed::Seed;
use crate::model::source_url::{SourceUrl, SourceUrlError};
use crate::model::unusable::{Unfetchable, UnusableRow};

/// Five times the largest job that is planned for; each costs some hundred bytes here.
const ARTIFACTS_BOUND: usize = 250_000;

/// One warning a line on a terminal: a hundred make the point, and the list is kept in memory.
const UNUSABLE_BOUND: usize = 100;

/// A job's name becomes a file name, which no common disk takes beyond 255 bytes; `name` and `type` stay short.
const NAME_BYTES: usize = 1024;
const WORD_BYTES: usize = 64;

/// Prompts of a whole page exist; a book is not one.
const PROMPT_BYTES: usize = 64 << 10;

/// Models take a few control images; each is an address.
const CONTROL_IMAGES_BOUND: usize = 64;
const ADDRESS_BYTES: usize = 4096;

/// The answer of `POST …/jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitAnswer {
    /// The new job.
    pub id: JobId,
    /// Its name (`config.name`), where the API gave one.
    pub name: Option<String>,
}

/// The answer of `POST …/cancel`, `…/resume` and `…/edit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeAnswer {
    /// The job's name (`config.name`), where the API gave one.
    pub name: Option<String>,
    /// What the job is doing now, where the API reports it.
    pub status: Option<JobStatus>,
}

/// Reads the answer of `GET …/status` for the job that was asked for.
///
/// # Errors
/// When it is an error body, speaks of another job, or is no answer at all.
pub fn read_status(body: &[u8], asked: &JobId) -> Result<StatusAnswer, ApiError> {
    let answer = answer_about(body, asked)?;
    if ["id", "name", "status", "progress"].iter().all(|name| answer.get(name).is_none()) {
        return Err(lacks(&["status", "id"], body));
    }
    Ok(StatusAnswer {
        name: answer.text("name", NAME_BYTES),
        // A job without a status counts as one with an unknown status: still running.
        status: status(&answer).unwrap_or_else(|| JobStatus::Other("UNKNOWN".into())),
        progress: answer.get("progress").map(progress).unwrap_or_default(),
        error: error(&answer),
        times: times(&answer),
    })
}

/// Reads the answer of `GET …/result` for the job that was asked for.
///
/// # Errors
/// When it is an error body, speaks of another job, or is no answer at all.
pub fn read_result(body: &[u8], asked: &JobId) -> Result<ResultAnswer, ApiError> {
    let answer = answer_about(body, asked)?;
    // `"artifacts": null` is an answer too: there are none yet.
    if ["id", "name", "status", "artifacts"].iter().all(|name| !answer.iter().any(|(key, _)| key == *name)) {
        return Err(lacks(&["artifacts", "id"], body));
    }
    let mut offered = Offered::default();
    if let Some(artifacts) = answer.get("artifacts") {
        offered.take_all(artifacts);
    }
    let (artifacts, unreachable, unusable) = offered.finish();
    Ok(ResultAnswer {
        name: answer.text("name", NAME_BYTES),
        status: status(&answer),
        artifacts,
        unreachable,
        unusable,
        error: error(&answer),
        times: times(&answer),
    })
}

/// Reads the answer of `POST …/jobs`.
///
/// # Errors
/// When it is an error body or has no usable `id`. The job may exist all the same.
pub fn read_submit(body: &[u8]) -> Result<SubmitAnswer, ApiError> {
    let answer = members(body, None)?;
    let id = answer.text("id", JobId::MAX_BYTES + 1).ok_or_else(|| lacks(&["id"], body))?;
    let id = id.parse().map_err(|fault| odd(OddAnswer::BadJobId { fault, excerpt: excerpt(body) }))?;
    Ok(SubmitAnswer { id, name: answer.text("name", NAME_BYTES) })
}

/// Reads the answer of a request that changes a job. An empty one is enough: the HTTP status is the answer.
///
/// # Errors
/// When it is an error body, speaks of another job, or is no answer at all.
pub fn read_change(body: &[u8], asked: &JobId) -> Result<ChangeAnswer, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(ChangeAnswer::default());
    }
    let answer = answer_about(body, asked)?;
    Ok(ChangeAnswer { name: answer.text("name", NAME_BYTES), status: status(&answer) })
}

fn answer_about<'a>(body: &'a [u8], asked: &JobId) -> Result<Members<'a>, ApiError> {
    let answer = members(body, Some(asked))?;
    match answer.text("id", JobId::MAX_BYTES + 1) {
        // Ids are UUIDs, and a user may have typed one in capitals.
        Some(id) if !id.eq_ignore_ascii_case(asked.as_str()) => {
            Err(ApiError::WrongJob { asked: asked.clone(), answered: for_terminal(&id, JobId::MAX_BYTES) })
        }
        _ => Ok(answer),
    }
}

fn members<'a>(body: &'a [u8], job: Option<&JobId>) -> Result<Members<'a>, ApiError> {
    let whole = Loose::parse(body).map_err(|fault| not_json(body, &fault))?;
    if !whole.is_object() {
        return Err(odd(OddAnswer::NoObject { excerpt: excerpt(body) }));
    }
    let members = whole.members();
    match fault_in_answer(&members, whole, job) {
        Some(fault) => Err(fault),
        None => Ok(members),
    }
}

/// Why a body is no JSON.
pub(super) fn not_json(body: &[u8], fault: &serde_json::Error) -> ApiError {
    if body.trim_ascii().is_empty() {
        return odd(OddAnswer::Empty);
    }
    if let Some(text) = page_text(body) {
        return odd(OddAnswer::Page { text });
    }
    let excerpt = excerpt(body);
    odd(if fault.is_eof() {
        OddAnswer::CutOff { bytes: body.len(), excerpt }
    } else {
        OddAnswer::NotJson { line: fault.line(), column: fault.column(), excerpt }
    })
}

/// An answer without the members that it should have.
pub(super) fn lacks(fields: &'static [&'static str], body: &[u8]) -> ApiError {
    odd(OddAnswer::Lacks { fields, excerpt: Some(excerpt(body)) })
}

pub(super) const fn odd(why: OddAnswer) -> ApiError {
    ApiError::Unintelligible { why }
}

fn status(answer: &Members<'_>) -> Option<JobStatus> {
    answer.text("status", 4 * WORD_BYTES).map(JobStatus::from)
}

fn progress(value: Loose<'_>) -> Progress {
    let members = value.members();
    Progress {
        current_step: members.get("current_step").and_then(Loose::whole),
        total_steps: members.get("total_steps").and_then(Loose::whole),
        percent: members.get("percent").and_then(Loose::decimal),
    }
}

fn error(answer: &Members<'_>) -> Option<String> {
    ["error", "errors", "error_message"].iter().find_map(|name| answer.get(name).and_then(message))
}

fn times(answer: &Members<'_>) -> JobTimes {
    let stamp = |name| {
        let text = answer.text(name, WORD_BYTES)?;
        Some(text.chars().filter(|c| !c.is_control()).collect::<String>()).filter(|stamp| !stamp.is_empty())
    };
    JobTimes {
        created_at: stamp("created_at"),
        started_at: stamp("started_at"),
        finished_at: stamp("finished_at"),
    }
}

/// What the job offers, while it is read.
#[derive(Debug, Default)]
struct Offered {
    artifacts: Vec<ListedArtifact>,
    unreachable: Vec<Unreachable>,
    unusable: Vec<UnusableRow>,
    /// Files beyond the most that are taken.
    left_out: usize,
    /// Complaints beyond the most that are kept.
    surplus: usize,
}

impl Offered {
    fn take_all(&mut self, artifacts: Loose<'_>) {
        if !artifacts.is_object() {
            if !(artifacts.is_list() && is_empty(artifacts)) {
                self.note(UnusableRow::NoObject { excerpt: excerpt(artifacts.raw().as_bytes()) });
            }
            return;
        }
        for (name, value) in artifacts.members().iter() {
            match name {
                "checkpoints" => self.take_list(value, name, Some(ArtifactKind::Checkpoint)),
                "config" => self.take_list(value, name, Some(ArtifactKind::Config)),
                "samples" => self.take_list(value, name, Some(ArtifactKind::Sample)),
                _ => self.take_list(value, &for_terminal(name, WORD_BYTES), None),
            }
        }
    }

    /// Takes a list, or a single value where a list should be.
    fn take_list(&mut self, value: Loose<'_>, name: &str, kind: Option<ArtifactKind>) {
        if value.is_null() || is_empty(value) {
            return;
        }
        if !value.is_list() {
            return self.take(value, name, kind);
        }
        let mut place = 0;
        value.for_each(|item| {
            place += 1;
            self.take(item, &format!("{name}[{place}]"), kind);
        });
    }

    fn take(&mut self, item: Loose<'_>, place: &str, kind: Option<ArtifactKind>) {
        let members = item.members();
        let place = || line(place);
        // A list that this version does not know is one of samples if its items have a step or a prompt.
        let like_sample = || ["step", "prompt"].iter().any(|name| members.get(name).is_some());
        let Some(kind) = kind.or_else(|| like_sample().then_some(ArtifactKind::Sample)) else {
            return self.note(UnusableRow::UnknownKind { place: place() });
        };
        let path = if item.is_string() { Some(item) } else { members.get("path") };
        let path = path.filter(|path| path.is_string()).and_then(|path| path.text(PATH_BYTES));
        let Some(path) = path.filter(|path| !path.trim().is_empty()) else {
            return self.note(UnusableRow::NoPath { place: place() });
        };
        if self.artifacts.len() >= ARTIFACTS_BOUND {
            if self.left_out == 0 {
                let why = Unfetchable::TooMany { place: place(), most: ARTIFACTS_BOUND };
                self.unreachable.push(Unreachable { kind, why });
            }
            self.left_out += 1;
            return;
        }
        match SourceUrl::parse(&path) {
            Ok(url) => {
                let url = match self.artifacts.last() {
                    Some(before) => url.sharing_origin(&before.url),
                    None => url,
                };
                let sample = (kind == ArtifactKind::Sample).then(|| sample(&members));
                self.artifacts.push(ListedArtifact { kind, url, sample: sample.map(Arc::new) });
            }
            // A word where a list should be ("none yet") is no file.
            Err(fault @ SourceUrlError::NotAbsolute) if item.is_string() => {
                self.note(UnusableRow::NoAddress { place: place(), fault });
            }
            Err(fault) if self.unreachable.len() < UNUSABLE_BOUND => {
                let why = Unfetchable::Address { place: place(), fault };
                self.unreachable.push(Unreachable { kind, why });
            }
            Err(_) => self.surplus += 1,
        }
    }

    fn note(&mut self, row: UnusableRow) {
        if self.unusable.len() < UNUSABLE_BOUND {
            self.unusable.push(row);
        } else {
            self.surplus += 1;
        }
    }

    fn finish(mut self) -> (Vec<ListedArtifact>, Vec<Unreachable>, Vec<UnusableRow>) {
        if self.surplus > 0 {
            self.unusable.push(UnusableRow::More { count: self.surplus });
        }
        (self.artifacts, self.unreachable, self.unusable)
    }
}

/// One byte more than an address may have, so that a longer one is refused and not cut.
const PATH_BYTES: usize = SourceUrl::MAX_BYTES + 1;

fn is_empty(value: Loose<'_>) -> bool {
    let mut inner = value.raw().bytes().skip(1).filter(|byte| !byte.is_ascii_whitespace());
    matches!(
        (value.raw().as_bytes().first(), inner.next()),
        (Some(b'['), Some(b']')) | (Some(b'{'), Some(b'}'))
    )
}

fn sample(members: &Members<'_>) -> Sample {
    let mut control_images = Vec::new();
    if let Some(value) = members.get("control_image") {
        let mut take = |item: Loose<'_>| {
            if control_images.len() < CONTROL_IMAGES_BOUND {
                control_images.extend(control_image(item));
            }
        };
        if value.is_list() { value.for_each(&mut take) } else { take(value) }
    }
    Sample {
        index: members.get("sample_index").and_then(Loose::whole),
        media: members.text("type", WORD_BYTES),
        step: members.get("step").and_then(Loose::whole),
        seed: members.get("seed").and_then(Seed::read),
        prompt: members.text("prompt", PROMPT_BYTES),
        control_images,
    }
}

/// Returns the address of a control image without its query, which may be a signature.
fn control_image(item: Loose<'_>) -> Option<String> {
    let text =
        if item.is_string() { item.text(ADDRESS_BYTES) } else { item.members().text("path", ADDRESS_BYTES) }?;
    // A URL that cannot be read may carry its secret elsewhere than in its query.
    if text.contains("://") && SourceUrl::parse(&text).is_err() {
        return None;
    }
    let end = text.find(['?', '#']).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests;
