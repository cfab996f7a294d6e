//! Compares a folder with the dataset that it is for.

use std::sync::{Arc, Mutex};

use crate::decide::datasets::push::plan::{Kept, LocalFile, Reason, Step, plan, stored_as};
use crate::edge::net::file_body;
use crate::edge::records::push_journal::PushJournal;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::datasets::asking::ask;
use crate::engine::datasets::event::{PushEvent, PushNotice, PushReporter};
use crate::engine::retry::SHORT;
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::dataset::{Dataset, DatasetId};
use crate::model::digest::Sha256Digest;
use crate::model::upload_record::{UploadRecord, UploadRecords};

use super::journal::{Journal, note, records};
use super::{Prepared, Push, PushFile};

impl Push {
    /// Compares the folder with the dataset, if `listed` has one of that name. Changes nothing; `None` when it was
    /// stopped.
    ///
    /// # Errors
    /// When the API gives no answer, another process sends into the dataset, or it has files that the folder lacks.
    pub(crate) async fn prepare(
        self,
        listed: &[Dataset],
        reporter: &dyn PushReporter,
        stop: &Stop,
    ) -> Result<Option<Prepared>, Error> {
        let found = listed.iter().find(|dataset| dataset.name.as_deref() == Some(self.name.as_str()));
        let Some(found) = found else {
            let steps = vec![Step::Send(Reason::Missing); self.files.len()];
            return Ok(Some(Prepared { push: self, dataset: None, journal: Journal::default(), steps }));
        };
        self.prepare_into(found.id.clone(), reporter, stop).await
    }

    pub(super) async fn prepare_into(
        self,
        id: DatasetId,
        reporter: &dyn PushReporter,
        stop: &Stop,
    ) -> Result<Option<Prepared>, Error> {
        let Some(dataset) = ask(reporter, stop, SHORT, || self.api.dataset(&id)).await? else {
            return Ok(None);
        };
        let journal = self.open_journal(&dataset.id, reporter).await?;
        let records = records(&journal);
        let local: Vec<LocalFile> =
            self.files.iter().map(|file| LocalFile { name: file.name.clone(), stamp: file.stamp }).collect();
        let mut plan = plan(&local, dataset.files.as_deref(), &records);
        if !plan.foreign.is_empty() {
            return Err(conflict(self.name.as_str(), &plan.foreign));
        }
        for (file, step) in self.files.iter().zip(&mut plan.steps) {
            if stop.is_stopped() {
                return Ok(None);
            }
            if let Step::Compare(known) = *step {
                *step = self.compared(file, known, &records, &journal, reporter).await?;
            }
        }
        Ok(Some(Prepared { push: self, dataset: Some(dataset), journal, steps: plan.steps }))
    }

    /// Reads a file whose change time is another one than when it was sent.
    async fn compared(
        &self,
        file: &PushFile,
        known: Sha256Digest,
        records: &UploadRecords,
        journal: &Journal,
        reporter: &dyn PushReporter,
    ) -> Result<Step, Error> {
        let (path, stamp) = (file.path.clone(), file.stamp);
        let hashed =
            blocking(move || file_body::hash(&path, stamp)).await.map_err(lost("read", &file.path))?;
        // What is wrong with the file is found again, and reported, when it is sent.
        if hashed.as_ref() != Ok(&known) {
            return Ok(Step::Send(Reason::Changed));
        }
        let stored_as =
            Some(stored_as(&file.name, records.get(&file.name)).to_owned()).filter(|it| *it != file.name);
        let record = UploadRecord::Sent { stamp, sha256: known, stored_as };
        note(journal, &file.name, record, reporter).await;
        Ok(Step::Keep(Kept::Sent))
    }

    pub(super) async fn open_journal(
        &self,
        id: &DatasetId,
        reporter: &dyn PushReporter,
    ) -> Result<Journal, Error> {
        let Some(folder) = self.state.clone() else { return Ok(Journal::default()) };
        let (origin, id, name) = (self.api.origin(), id.clone(), self.name.clone());
        let at = folder.clone();
        let opened = blocking(move || PushJournal::open(&folder, &origin, &id, name.as_str())).await;
        match opened.map_err(lost("open", &at))? {
            Ok(journal) => Ok(Arc::new(Mutex::new(Some(journal)))),
            Err(busy @ Error::DatasetInUse { .. }) => Err(busy),
            Err(error) => {
                let notice = PushNotice::NotRecorded(error);
                reporter.report(&PushEvent::Notice { notice });
                Ok(Journal::default())
            }
        }
    }
}

/// The dataset has files that the folder lacks: AI Toolkit would train on them too, and the API deletes no single file.
pub(super) fn conflict(name: &str, foreign: &[String]) -> Error {
    Error::ForeignFiles { name: name.to_owned(), foreign: foreign.to_vec() }
}
