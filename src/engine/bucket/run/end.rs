//! How a run ends: what is there is counted, the lease is freed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::bucket::head::Known;
use crate::decide::mirror::outcome::Outcome;
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::poll_interval::Left;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::engine::event::{Event, Notice};
use crate::error::{Error, ExitStatus};
use crate::model::artifact::ArtifactKey;
use crate::model::job::JobStatus;
use crate::model::manifest::EntryState;

use super::{Missing, Run, WIND_UP};

impl Run {
    pub(super) async fn conclude(&mut self, looked: &JobSnapshot, pass: &Pass) -> Result<ExitStatus, Error> {
        self.files.abort_all();
        while self.files.join_next().await.is_some() {}
        self.retain().await?;
        self.conclude_records(looked).await?;
        let known = match &self.head {
            Some(head) => head.known(),
            None => self
                .idle_known
                .clone()
                .unwrap_or_else(|| Arc::new(Known::new(self.mirror.job.clone(), self.mirror.api.origin()))),
        };
        let is_here = |key: &ArtifactKey| {
            known.manifest.entries.get(key).is_some_and(|entry| entry.state == EntryState::Present)
                && matches!(self.missing.get(key), None | Some(Missing::Vanished))
        };
        let is_pruned = |key: &ArtifactKey| {
            known.manifest.entries.get(key).is_some_and(|entry| entry.state == EntryState::Pruned)
        };
        let present = known.manifest.entries.keys().filter(|key| is_here(key)).count() as u64;
        let missing = pass.wanted.iter().filter(|key| !is_here(key) && !is_pruned(key)).count() as u64;
        let state = pass.state.unwrap_or(RunState::Running);
        let timed_out = self.deadline().is_some_and(|deadline| Instant::now() >= deadline);
        let outcome = Outcome {
            state,
            once: self.mirror.options.once,
            timed_out,
            disk_refused: false,
            trouble: None,
            lacks_files: missing + pass.unreachable > 0,
        };
        let exit = outcome.exit_status();
        self.finish_hooks().await?;
        if let Some(head) = &self.head {
            head.release().await?;
        }
        let look = pass.look(false);
        let left = Left { look, missing: missing > 0, settled: state.is_over(), state_age: None };
        let next_look = self.cadence.next_run(self.began.elapsed(), &left);
        if let Some(nothing) = pass.nothing.clone() {
            self.notice(Notice::of_nothing(nothing, pass.offered));
        }
        self.done(exit, present, missing + pass.unreachable, Some(looked.status.status.clone()), next_look);
        Ok(exit)
    }

    /// Waits until the hooks have everything that was published. The lease is kept meanwhile: what is delivered to them is
    /// recorded in the head.
    pub(super) async fn finish_hooks(&mut self) -> Result<(), Error> {
        if let Some(hooks) = &mut self.hooks {
            // Where the run is stopped meanwhile, `wind_up` ends them.
            tokio::select! {
                biased;
                () = self.fatal.token.cancelled() => return Err(self.fatal_error()),
                () = hooks.finish() => {}
            }
            self.hooks = None;
        }
        Ok(())
    }

    fn done(
        &self,
        exit: ExitStatus,
        present: u64,
        failed: u64,
        job_status: Option<JobStatus>,
        next_look: Option<Duration>,
    ) {
        self.tell(&Event::Done {
            exit,
            published: self.published,
            bytes: self.received.load(Ordering::Relaxed),
            present,
            failed,
            elapsed: self.began.elapsed(),
            job_status,
            next_look,
        });
    }

    /// The run was stopped by a signal.
    pub(super) fn stopped(&self) -> ExitStatus {
        let exit = self.stop.status();
        let known = self.head.as_ref().map(|head| head.known()).or_else(|| self.idle_known.clone());
        let present = known.map_or(0, |known| known.manifest.present().len() as u64);
        self.done(exit, present, self.busy.len() as u64, None, Some(Duration::ZERO));
        exit
    }

    /// Drops what is on its way, and frees the lease where it is still held.
    pub(super) async fn wind_up(&mut self) {
        self.files.abort_all();
        while self.files.join_next().await.is_some() {}
        if let Some(hooks) = self.hooks.take() {
            hooks.stop().await;
        }
        self.keeper.abort_all();
        while self.keeper.join_next().await.is_some() {}
        let Some(head) = self.head.take().filter(|head| !head.lost().is_cancelled()) else { return };
        let ending = async {
            let is_free = head.head().await.is_some_and(|head| head.free);
            if !is_free {
                // What cannot be dropped in time is named in the head for the next owner.
                let _ = head.drop_uploads().await;
                if let Err(error) = head.release().await {
                    self.tell(&Event::Notice { notice: Notice::LeaseNotFreed(error) });
                }
            }
        };
        // What does not end in time is taken over by the next run.
        let _ = tokio::time::timeout(WIND_UP, ending).await;
    }
}
