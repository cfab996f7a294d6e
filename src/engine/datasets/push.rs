//! Sends a folder into a dataset: compares it with what is there, sends what is missing or changed, and has `ready` wait
//! until the dataset can be trained on.

mod journal;
mod prepare;
mod ready;
mod send_files;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::datasets::push::plan::{Kept, Reason, Step, renaming_fault, stored_as};
use crate::decide::datasets::push::ready::Expected;
use crate::edge::api::ApiClient;
use crate::edge::net::file_body;
use crate::edge::net::upload::UploadClient;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::retry::SHORT;
use crate::engine::stop::Stop;
use crate::error::{ApiError, Error, ExitStatus, OddAnswer};
use crate::model::dataset::{Dataset, DatasetId, DatasetName, DatasetStatus};
use crate::model::units::ByteCount;
use crate::model::upload_record::{Stamp, UploadRecord, UploadRecords};

use super::asking::ask;
use super::event::{FailedPush, Meanwhile, PushEvent, PushNotice, PushReporter};
use journal::{Journal, note, records};
use ready::Awaited;
use send_files::{Delivery, Outcome, Task};

/// A file to be in the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushFile {
    /// Its name in the dataset.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length and change time when the folder was checked.
    pub stamp: Stamp,
}

/// How a folder is sent.
#[derive(Debug, Clone)]
pub(crate) struct PushOptions {
    /// Files that are sent at a time.
    pub connections: usize,
    /// Bytes a second over all of them.
    pub limit_rate: Option<ByteCount>,
    /// Tries of one file.
    pub retries: u32,
    /// Whether to wait until the dataset is READY.
    pub wait: bool,
    /// How long that is waited for.
    pub timeout: Duration,
}

impl Default for PushOptions {
    /// Four at a time, since the API's own limit is not documented; half an hour, since the time that a validation takes
    /// is not documented either.
    fn default() -> Self {
        Self {
            connections: 4,
            limit_rate: None,
            retries: 5,
            wait: true,
            timeout: Duration::from_secs(30 * 60),
        }
    }
}

/// One folder and the dataset that it is for.
pub(crate) struct Push {
    /// The API.
    pub api: ApiClient,
    /// The storage behind signed addresses.
    pub uploads: UploadClient,
    /// The dataset.
    pub name: DatasetName,
    /// All files of the folder.
    pub files: Vec<PushFile>,
    /// How.
    pub options: PushOptions,
    /// Where it is remembered what was sent; nowhere without one.
    pub state: Option<PathBuf>,
    /// Lists the folder again: the names of its files.
    pub relist: Arc<dyn Fn() -> Result<Vec<String>, Error> + Send + Sync>,
}

/// A push of which everything is known and nothing is done.
pub(crate) struct Prepared {
    push: Push,
    dataset: Option<Dataset>,
    journal: Journal,
    /// One for each file.
    steps: Vec<Step>,
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// The code.
    pub exit: ExitStatus,
    /// Files that were sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that needed no sending.
    pub present: u64,
    /// Files that could not be sent.
    pub failed: u64,
}

impl Prepared {
    /// Returns the files that will be sent, and why.
    pub(crate) fn to_send(&self) -> impl Iterator<Item = (&PushFile, Reason)> {
        let pairs = self.push.files.iter().zip(&self.steps);
        pairs.filter_map(|(file, step)| match step {
            Step::Send(reason) => Some((file, *reason)),
            Step::Keep(_) | Step::Compare(_) => None,
        })
    }

    /// Returns the dataset's id; `None` where it is not there yet.
    #[must_use]
    pub(crate) fn id(&self) -> Option<&DatasetId> {
        self.dataset.as_ref().map(|dataset| &dataset.id)
    }

    /// Returns what is to be done.
    #[must_use]
    pub(crate) fn planned(&self) -> PushEvent {
        let (send, bytes) =
            self.to_send().fold((0, 0), |(count, bytes), (file, _)| (count + 1, bytes + file.stamp.size));
        let is_same_length = |step: &&Step| matches!(step, Step::Keep(Kept::SameLength));
        PushEvent::Planned {
            send,
            bytes,
            present: self.steps.len() as u64 - send,
            same_length: self.steps.iter().filter(is_same_length).count() as u64,
        }
    }

    /// Does it. [`PushEvent::Done`] is left to the caller, who may have more to do.
    ///
    /// # Errors
    /// What kept it from doing its work at all; faults of single files are events and decide the code.
    pub(crate) async fn run(mut self, reporter: Arc<dyn PushReporter>, stop: &Stop) -> Result<Pushed, Error> {
        let present = self.steps.len() as u64 - self.to_send().count() as u64;
        let interrupted = |outcome: &Outcome| Pushed {
            exit: stop.status(),
            sent: outcome.sent,
            bytes: outcome.bytes,
            present,
            failed: outcome.failed,
        };
        if self.dataset.is_none() {
            let Some((dataset, is_new)) = self.create(reporter.as_ref(), stop).await? else {
                return Ok(interrupted(&Outcome::default()));
            };
            if is_new {
                reporter.report(&PushEvent::Created { id: dataset.id.as_str().to_owned() });
                self.journal = self.push.open_journal(&dataset.id, reporter.as_ref()).await?;
                self.dataset = Some(dataset);
            } else {
                // It came to be meanwhile: what is in it counts.
                let again = self.push.prepare_into(dataset.id, reporter.as_ref(), stop).await?;
                let Some(prepared) = again else { return Ok(interrupted(&Outcome::default())) };
                return Box::pin(prepared.run(reporter, stop)).await;
            }
        }
        let Some(dataset) = self.dataset.clone() else {
            return Err(ApiError::Unintelligible { why: OddAnswer::NoDataset }.into());
        };
        reporter.report(&self.planned());
        self.remember_found(reporter.as_ref()).await;
        let tasks: Vec<Task> = self.tasks();
        let had_failed = dataset.status == DatasetStatus::Failed && !tasks.is_empty();
        let delivery =
            Delivery::new(&self.push, dataset.id.clone(), Arc::clone(&self.journal), Arc::clone(&reporter));
        let outcome = delivery.run(tasks, stop).await;
        if let Some(fault) = outcome.fatal {
            return Err(fault);
        }
        if stop.is_stopped() {
            return Ok(interrupted(&outcome));
        }
        let pushed =
            |exit, failed| Pushed { exit, sent: outcome.sent, bytes: outcome.bytes, present, failed };
        if outcome.failed > 0 {
            return Ok(pushed(outcome.exit, outcome.failed));
        }
        let changed = self.changed_meanwhile().await?;
        if !changed.is_empty() {
            for (path, cause) in &changed {
                let (path, cause) = (Some(path.clone()), FailedPush::Meanwhile(*cause));
                reporter.report(&PushEvent::Failed { path, cause });
            }
            return Ok(pushed(ExitStatus::TryAgain, changed.len() as u64));
        }
        let records = records(&self.journal);
        if let Some(exit) = self.renamed(&outcome, &records, reporter.as_ref()) {
            return Ok(pushed(exit, 0));
        }
        if !self.push.options.wait {
            return Ok(pushed(ExitStatus::Complete, 0));
        }
        let expected = self.expected(&outcome, &records);
        let awaited = Awaited { push: &self.push, id: &dataset.id, expected: &expected, had_failed };
        let exit = awaited.until_ready(reporter.as_ref(), stop).await?;
        Ok(pushed(exit, 0))
    }

    /// Creates the dataset, or finds the one that has its name by now: `false` then.
    async fn create(
        &self,
        reporter: &dyn PushReporter,
        stop: &Stop,
    ) -> Result<Option<(Dataset, bool)>, Error> {
        let push = &self.push;
        let fault = match ask(reporter, stop, SHORT, || push.api.create_dataset(&push.name)).await {
            Ok(Some(dataset)) => return Ok(Some((dataset, true))),
            Ok(None) => return Ok(None),
            Err(fault) => fault,
        };
        if !matches!(fault, ApiError::Refused { status: 409, .. }) {
            return Err(fault.into());
        }
        // An earlier try may have been carried out although its answer was lost, or another client was faster.
        let Some(listed) = ask(reporter, stop, SHORT, || push.api.datasets()).await? else {
            return Ok(None);
        };
        let found = listed.into_iter().find(|dataset| dataset.name.as_deref() == Some(push.name.as_str()));
        match found {
            Some(dataset) => Ok(Some((dataset, false))),
            None => Err(Error::NameTaken { name: push.name.clone(), fault }),
        }
    }

    /// Remembers what the dataset had already, so that a later change of such a file is noticed.
    async fn remember_found(&self, reporter: &dyn PushReporter) {
        let known = records(&self.journal);
        for (file, step) in self.push.files.iter().zip(&self.steps) {
            let record = UploadRecord::Found { stamp: file.stamp };
            let is_news = known.get(&file.name) != Some(&record);
            if is_news && matches!(step, Step::Keep(Kept::SameLength | Kept::Arrived)) {
                note(&self.journal, &file.name, record, reporter).await;
            }
        }
    }

    fn tasks(&self) -> Vec<Task> {
        self.to_send()
            .map(|(file, reason)| {
                // A file of another length makes room for this one: what is listed with this length is this one.
                let fresh = matches!(reason, Reason::Missing | Reason::OtherLength);
                Task::new(file.clone(), fresh)
            })
            .collect()
    }

    /// Returns the files that came, went or changed while others were sent.
    async fn changed_meanwhile(&self) -> Result<Vec<(String, Meanwhile)>, Error> {
        let relist = Arc::clone(&self.push.relist);
        let files: Vec<(String, PathBuf, Stamp)> =
            self.push.files.iter().map(|file| (file.name.clone(), file.path.clone(), file.stamp)).collect();
        let changed = blocking(move || {
            let listed = relist()?;
            let known: std::collections::BTreeSet<&str> =
                files.iter().map(|(name, ..)| name.as_str()).collect();
            let new = listed.iter().filter(|name| !known.contains(name.as_str()));
            let mut changed: Vec<(String, Meanwhile)> =
                new.map(|name| (name.clone(), Meanwhile::Came)).collect();
            for (name, path, stamp) in &files {
                match file_body::look(path) {
                    Some(now) if now == *stamp => {}
                    Some(_) => changed.push((name.clone(), Meanwhile::Changed)),
                    None => changed.push((name.clone(), Meanwhile::Went)),
                }
            }
            Ok(changed)
        });
        changed.await.map_err(lost("look at", std::path::Path::new("the folder")))?
    }

    /// Reports names that the API changed; a code where that parts what belongs together.
    fn renamed(
        &self,
        outcome: &Outcome,
        records: &UploadRecords,
        reporter: &dyn PushReporter,
    ) -> Option<ExitStatus> {
        let names: Vec<(&str, &str)> = self.names(outcome, records).collect();
        let other: Vec<String> = names
            .iter()
            .filter(|(name, stored)| name != stored && outcome.stored_as.contains_key(*name))
            .map(|(name, _)| (*name).to_owned())
            .collect();
        if !other.is_empty() {
            let notice = PushNotice::OtherNames(other);
            reporter.report(&PushEvent::Notice { notice });
        }
        let cause = renaming_fault(names.iter().copied())?;
        let cause = FailedPush::Renamed(cause);
        reporter.report(&PushEvent::Failed { path: None, cause });
        Some(ExitStatus::BadData)
    }

    /// Returns each file's name and the one that it has in the dataset.
    fn names<'a>(
        &'a self,
        outcome: &'a Outcome,
        records: &'a UploadRecords,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.push.files.iter().map(|file| {
            let name = file.name.as_str();
            let given = outcome.stored_as.get(name).map(String::as_str);
            (name, given.unwrap_or_else(|| stored_as(name, records.get(name))))
        })
    }

    fn expected(&self, outcome: &Outcome, records: &UploadRecords) -> Expected {
        let sizes = self.push.files.iter().map(|file| file.stamp.size);
        self.names(outcome, records).zip(sizes).map(|((_, stored), size)| (stored.to_owned(), size)).collect()
    }
}
