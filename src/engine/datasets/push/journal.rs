//! The journal of what was sent, shared by all uploads of a push.

use std::sync::{Arc, Mutex, PoisonError};

use crate::edge::records::push_journal::PushJournal;
use crate::edge::system::blocking::blocking;
use crate::engine::datasets::event::{PushEvent, PushNotice, PushReporter};
use crate::model::upload_record::{UploadRecord, UploadRecords};

/// The journal, shared by all uploads; none where it cannot be kept.
pub(super) type Journal = Arc<Mutex<Option<PushJournal>>>;

pub(super) fn records(journal: &Journal) -> UploadRecords {
    let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    journal.as_ref().map(|journal| journal.records().clone()).unwrap_or_default()
}

/// Writes into the journal. One that cannot be written is given up, since the files themselves matter more.
pub(super) async fn note(journal: &Journal, name: &str, record: UploadRecord, reporter: &dyn PushReporter) {
    let (journal, name) = (Arc::clone(journal), name.to_owned());
    let noted = blocking(move || {
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = journal.as_mut().map_or(Ok(()), |journal| journal.note(&name, record));
        if noted.is_err() {
            *journal = None;
        }
        noted
    });
    if let Ok(Err(error)) = noted.await {
        let notice = PushNotice::RecordedNoMore(error);
        reporter.report(&PushEvent::Notice { notice });
    }
}
