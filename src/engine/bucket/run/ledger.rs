//! The records of a bucket (`SHA256SUMS`, `job.json`, the gallery), and what is removed by the rule of retention.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decide::bucket::head::{Known, Seen, Written};
use crate::decide::mirror::retention::surplus;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::edge::folder::reports::{JobDraft, Rows};
use crate::engine::event::{Event, Notice};
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::job::JobId;
use crate::model::job_file::JobArtifact;
use crate::model::manifest::Entry;
use crate::model::signed_page::is_own;

use super::super::head_store::HeadStore;
use super::super::prune;
use super::super::records::{self, Draft, JOB, JOB_BOUND, PAGE, SUMS};
use super::super::store::Small;
use super::Run;

/// What is rewritten.
pub(super) const RECORDS: [&str; 3] = [SUMS, JOB, PAGE];

impl Run {
    pub(super) async fn conclude_records(&mut self, looked: &JobSnapshot) -> Result<(), Error> {
        let Some(head) = &self.head else { return Ok(()) };
        let listing = self.listing(&head.known(), looked);
        self.write_records(looked, &listing.artifacts).await
    }

    /// Writes `SHA256SUMS`, `job.json` and the gallery where their contents have changed.
    pub(super) async fn write_records(
        &mut self,
        looked: &JobSnapshot,
        listed: &[Arc<Artifact>],
    ) -> Result<(), Error> {
        let Some(head) = self.head.clone() else { return Ok(()) };
        let known = head.known();
        head.note_seen(Seen { status: looked.status.status.clone(), resumes: looked.resumes });
        let job = job_draft(looked, listed, &known, &self.before, &self.mirror.job);
        for draft in [Draft::sums(&known), job.clone()] {
            if self.written.get(draft.key) == Some(&draft.meaning) || draft.is_nothing() {
                continue;
            }
            if draft.key == SUMS {
                records::write(&self.store, &head, SUMS, Draft::sums).await?;
            } else {
                records::write(&self.store, &head, JOB, |_| draft.clone()).await?;
            }
            self.written.insert(draft.key, draft.meaning);
        }
        self.write_page(&head, &known, &job).await
    }

    /// Takes in which records are there as rcsync wrote them. One that was deleted or overwritten since is written again.
    pub(super) async fn recall_written(&mut self, tags: &HashMap<&'static str, String>) {
        let Some(head) = &self.head else { return };
        if let Some(now) = head.head().await
            && self.written.is_empty()
        {
            let is_there = |key, written: &Written| tags.get(key).is_some_and(|tag| **tag == *written.tag);
            let meaning = |key| {
                now.written.get(key).filter(|written| is_there(key, written)).map(|written| written.meaning)
            };
            self.written = RECORDS.into_iter().filter_map(|key| Some((key, meaning(key)?))).collect();
        }
    }

    /// Writes what depends on the files alone where they have changed: `SHA256SUMS`, and the gallery where one is there.
    pub(super) async fn write_lists(&mut self) -> Result<(), Error> {
        let Some(head) = self.head.clone() else { return Ok(()) };
        let sums = Draft::sums(&head.known());
        if sums.is_nothing() || self.written.get(SUMS) == Some(&sums.meaning) {
            return Ok(());
        }
        records::write(&self.store, &head, SUMS, Draft::sums).await?;
        records::refresh(&self.store, &head).await
    }

    async fn write_page(&mut self, head: &Arc<HeadStore>, known: &Known, job: &Draft) -> Result<(), Error> {
        let draft = Draft::page(&known.manifest, Some(job.text().as_bytes()));
        if self.page_is_foreign || self.written.get(PAGE) == Some(&draft.meaning) {
            return Ok(());
        }
        let is_foreign = match self.store.look(PAGE, JOB_BOUND).await? {
            Small::Nothing => false,
            Small::Whole(page, _) => !is_own(&page),
            Small::TooLarge { .. } => true,
        };
        if is_foreign {
            self.page_is_foreign = true;
            let page = self.store.url.object(PAGE);
            self.reported.notice(Notice::NoGallery(Error::ForeignPage(page.into())));
            return Ok(());
        }
        records::write(&self.store, head, PAGE, |_| draft.clone()).await?;
        self.written.insert(PAGE, draft.meaning);
        Ok(())
    }

    /// Removes what the user does not want to keep there.
    pub(super) async fn retain(&mut self) -> Result<(), Error> {
        let (Some(rule), Some(head)) = (self.mirror.options.retention, self.head.clone()) else {
            return Ok(());
        };
        let known = head.known();
        let going: Vec<(ArtifactKey, Entry)> = surplus(&known.manifest, rule)
            .into_iter()
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        prune::remove(&self.store, &head, &going).await?;
        for (_, entry) in &going {
            let notice = Notice::Pruned { path: entry.path.clone(), bucket: true };
            self.tell(&Event::Notice { notice });
        }
        Ok(())
    }
}

/// `job.json`. What it means does not depend on rows of files that are offered no more.
pub(super) fn job_draft(
    looked: &JobSnapshot,
    listed: &[Arc<Artifact>],
    known: &Known,
    before: &[JobArtifact],
    job: &JobId,
) -> Draft {
    let text = |before: &[JobArtifact]| {
        let draft = JobDraft {
            job_id: job,
            name: looked.name(),
            status: &looked.status.status,
            progress: looked.status.progress,
            error: looked.error(),
            times: looked.times(),
            resumes: looked.resumes,
            artifacts: Rows::new(listed, &known.manifest, before),
        };
        let mut value = serde_json::to_value(&draft).unwrap_or_default();
        mark_current(&mut value, known);
        serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
    };
    let meaning = text(&[]);
    if before.is_empty() {
        Draft::new(JOB, meaning)
    } else {
        Draft::with_meaning(JOB, &meaning, text(before))
    }
}

/// Marks which object of a file is the current one, where older bytes of it have the plain name.
fn mark_current(job: &mut serde_json::Value, known: &Known) {
    let older: HashMap<&str, &Entry> = known
        .manifest
        .entries
        .values()
        .filter(|entry| !entry.older.is_empty())
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let rows = job.get_mut("artifacts").and_then(serde_json::Value::as_array_mut);
    for row in rows.into_iter().flatten().filter_map(serde_json::Value::as_object_mut) {
        let path = row.get("path").and_then(serde_json::Value::as_str).unwrap_or_default();
        if let Some(entry) = older.get(path) {
            let older = entry.older.iter().map(|older| {
                serde_json::json!({
                    "path": older.path, "size": older.size, "sha256": older.sha256, "current": false,
                })
            });
            let older: Vec<_> = older.collect();
            row.insert("current".to_owned(), true.into());
            row.insert("older".to_owned(), older.into());
        }
    }
}
