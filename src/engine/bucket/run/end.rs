//! How a run ends: what is there is counted, the lease is freed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::bucket::head::Known;
use crate::decide::mirror::outcome::{Outcome, count};
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::poll_interval::Left;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::task::Missing;
use crate::edge::system::clock::until;
use crate::engine::event::{Event, Notice};
use crate::error::{Error, ExitStatus};
use crate::model::job::JobStatus;
use crate::model::manifest::{Entry, Manifest};
use crate::model::names::rel_path::RelPath;

use super::{OVERTIME, Run, WIND_UP};

/// How following a job ended. Hooks may still be at work.
pub(super) enum Followed {
    Concluded(Conclusion),
    /// The time was over before the job could be polled again.
    CutShort,
    /// The API refuses the job.
    Refused(Error),
    Rehearsed,
}

/// What is reported once hooks have ended and the lease is free.
pub(super) struct Conclusion {
    exit: ExitStatus,
    present: u64,
    failed: u64,
    job_status: JobStatus,
    left: Left,
    nothing: Option<Notice>,
}

impl Run {
    /// Ends what is on its way, writes the records, and counts what is there.
    pub(super) async fn conclude(&mut self, looked: &JobSnapshot, pass: &Pass) -> Result<Followed, Error> {
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
        let there = self.still_there(&known.manifest).await?;
        let is_untouched = |entry: &Entry| there.contains(&entry.path);
        // Objects that are not wanted are not asked about: the head counts.
        let (present, missing) = count(&known.manifest, &self.missing, &pass.wanted, |_| true, is_untouched);
        let state = pass.state.unwrap_or(RunState::Running);
        let timed_out = self.deadline().is_some_and(|deadline| Instant::now() >= deadline);
        let outcome = Outcome {
            state,
            once: self.mirror.options.once,
            timed_out,
            disk_refused: false,
            trouble: None,
            lacks_files: !missing.is_empty() || pass.unreachable > 0,
        };
        Ok(Followed::Concluded(Conclusion {
            exit: outcome.exit_status(),
            present,
            failed: missing.len() as u64 + pass.unreachable,
            job_status: looked.status.status.clone(),
            left: Left {
                look: pass.look(false),
                missing: !missing.is_empty(),
                settled: state.is_over(),
                state_age: None,
            },
            nothing: pass.nothing.clone().map(|nothing| Notice::of_nothing(nothing, pass.offered)),
        }))
    }

    /// The objects that are there of those files that are hosted no more: one request for a thousand objects.
    async fn still_there(&self, manifest: &Manifest) -> Result<HashSet<RelPath>, Error> {
        let vanished = self.missing.iter().filter(|(_, why)| matches!(why, Missing::Vanished));
        let vanished: Vec<&Entry> = vanished.filter_map(|(key, _)| manifest.entries.get(key)).collect();
        if vanished.is_empty() {
            return Ok(HashSet::new());
        }
        let listed = self.store.ask("list", "", || self.store.bucket.list("")).await?;
        let sizes: HashMap<&str, u64> =
            listed.iter().map(|object| (object.key.as_str(), object.size)).collect();
        let is_there = |entry: &&Entry| sizes.get(entry.path.as_str()) == Some(&entry.size);
        Ok(vanished.into_iter().filter(is_there).map(|entry| entry.path.clone()).collect())
    }

    /// Waits for the hooks, as long as they take, frees the lease, and reports the end.
    pub(super) async fn end(&mut self, followed: Followed) -> Result<ExitStatus, Error> {
        // Nothing is fetched any more: another job of the fleet may.
        self.rest();
        // Where the API refuses the job, the next run is refused as well: it would deliver nothing.
        self.finish_hooks().await?;
        let conclusion = match followed {
            Followed::Concluded(conclusion) => Some(conclusion),
            Followed::CutShort => None,
            Followed::Refused(refused) => return Err(refused),
            Followed::Rehearsed => return Ok(ExitStatus::Complete),
        };
        if let Some(head) = &self.head {
            let overtime = self.deadline().map(|_| Instant::now() + OVERTIME);
            tokio::select! {
                biased;
                released = head.release() => released?,
                () = until(overtime) => return Err(self.away()),
            }
        }
        let Some(conclusion) = conclusion else { return Ok(self.cut_short(ExitStatus::TryAgain)) };
        let Conclusion { exit, present, failed, job_status, left, nothing } = conclusion;
        let next_look = self.cadence.next_run(self.began.elapsed(), &left);
        nothing.into_iter().for_each(|nothing| self.reported.notice(nothing));
        self.done(exit, present, failed, Some(job_status), next_look);
        Ok(exit)
    }

    /// Waits until the hooks have everything that was published. The lease is kept meanwhile: what is delivered to them is
    /// recorded in the head.
    async fn finish_hooks(&mut self) -> Result<(), Error> {
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
        self.cut_short(self.stop.status())
    }

    /// The run ends before the job was looked at for the last time.
    fn cut_short(&self, exit: ExitStatus) -> ExitStatus {
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
