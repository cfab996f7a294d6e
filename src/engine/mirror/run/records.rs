//! What a run writes besides files, and what it removes: `SHA256SUMS`, `job.json`, old checkpoints.

use std::sync::Arc;

use crate::decide::mirror::snapshot::JobSnapshot;
use crate::engine::event::{Event, Notice};
use crate::error::Error;
use crate::model::artifact::Artifact;

use super::Run;

impl Run {
    /// Writes `SHA256SUMS` and `job.json`. A fault is reported and does not end the run: files can still be fetched.
    pub(super) async fn write_reports(&mut self, snapshot: &JobSnapshot, listed: &[Arc<Artifact>]) {
        if !self.inspected {
            return;
        }
        self.written_at = Some(self.folder.lock().sequence());
        match self.folder.write_ledger(snapshot, listed, &self.mirror.job).await {
            Ok(()) => self.trouble = None,
            Err(error) => self.worry(error),
        }
    }

    /// Makes the names of what was written besides files durable, with one flush.
    pub(super) async fn flush_reports(&mut self) {
        if let Err(error) = self.folder.flush().await {
            self.worry(error);
        }
    }

    /// Records what came since the last poll. The next one may be an hour away; a reader of the folder finds all of it in
    /// `SHA256SUMS` until then, and after a kill.
    pub(super) async fn record_what_came(&mut self, snapshot: &JobSnapshot) {
        // The next poll reports a folder that is gone.
        if self.folder.ensure_in_place().await.is_ok() {
            let listing = self.folder.listing(snapshot);
            self.write_reports(snapshot, &listing.artifacts).await;
        }
    }

    /// Keeps the newest checkpoint the newest by change time, which is what a trainer on this machine resumes from.
    pub(super) async fn keep_newest(&mut self) {
        if let Err(error) = self.folder.keep_newest().await {
            self.reported.notice(Notice::Failed(error));
        }
    }

    /// Removes what the user does not want to keep here; returns whether a file was removed.
    pub(super) async fn retain(&self) -> Result<bool, Error> {
        let Some(retention) = self.mirror.options.retention.filter(|_| self.inspected) else {
            return Ok(false);
        };
        let judged = self.folder.judge(retention).await?;
        if !judged.has_going() {
            return Ok(false);
        }
        // It may have been published since their last look, and ComfyUI is to have it all the same.
        self.followers.look().await;
        let pruned = self.folder.prune(judged).await?;
        for entry in &pruned.removed {
            let notice = Notice::Pruned { path: entry.path.clone(), bucket: false };
            self.reporter.report(&Event::Notice { notice });
        }
        Ok(!pruned.removed.is_empty())
    }
}
