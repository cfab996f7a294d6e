//! One run of a mirror: poll, plan, fetch, record, and poll again, until the job is over or the run is stopped.
//!
//! [`Run::follow`] is that loop, and [`Run::pass`] what follows each poll. `begin` makes ready what they use, `schedule` decides
//! when to poll next, `records` writes what other programs read, and `end` counts and concludes.

mod begin;
mod end;
mod forecasts;
mod orders;
mod reclaim;
mod records;
pub(crate) mod repair;
mod schedule;

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::{Action, Counts, Sight, nothing_found};
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::task::Task;
use crate::edge::system::clock;
use crate::edge::system::disk;
use crate::engine::event::{Event, Notice};
use crate::engine::poll::{Patience, look};
use crate::error::{Error, ExitStatus};
use crate::model::artifact::ArtifactKey;
use crate::model::listing::Listing;

use orders::Offer;

pub(crate) use begin::Run;

impl Run {
    /// Mirrors from the first poll to the end.
    pub(crate) async fn follow(&mut self, first: JobSnapshot) -> Result<ExitStatus, Error> {
        let mut snapshot = first;
        self.life.count(&mut snapshot);
        self.known_end = self.folder.known_end.as_ref().and_then(|end| end.quiet_for(&snapshot));
        let last = loop {
            self.life.count(&mut snapshot);
            let pass = match self.pass(&snapshot).await {
                // A full disk may have room again at the next poll.
                Err(error) if !self.mirror.options.once && is_full(&error) => {
                    self.worry(error);
                    Pass::default()
                }
                pass => pass?,
            };
            if self.mirror.options.once {
                self.wait_until_quiet().await;
                break pass;
            }
            self.life.watch(&pass, self.cadence.seconds_a_step());
            let wait = match self.life.keep_going(&snapshot, &pass).await {
                Some(wait) => Some(wait),
                None => self.next_look(&pass).await,
            };
            let Some(wait) = wait else { break pass };
            if !self.wait(&snapshot, wait).await || !self.take_turn().await {
                break pass;
            }
            match self.poll_again().await {
                Ok(Some(next)) => snapshot = next,
                Ok(None) => break pass,
                Err(refused) => {
                    // The API refuses further requests, but the addresses that it gave still work.
                    self.wait_until_quiet().await;
                    self.wind_up(&snapshot).await?;
                    self.flush_reports().await;
                    return Err(refused);
                }
            }
        };
        self.conclude(&snapshot, &last).await
    }

    /// Plans and orders; what is ordered is fetched in the background.
    async fn pass(&mut self, snapshot: &JobSnapshot) -> Result<Pass, Error> {
        self.written_at = None;
        self.folder.ensure_in_place().await?;
        self.reported.job(snapshot);
        let listing = self.folder.listing(snapshot);
        let mut unreachable = 0;
        for file in snapshot.unreachable(&listing, &self.mirror.options.selection) {
            unreachable += 1;
            self.reported.trouble(file.into());
        }
        for row in &snapshot.result.unusable {
            self.reported.notice(Notice::UnusableRow(row.clone()));
        }
        let generation = self.transfers.learn(&listing).await;
        let state = snapshot.state(&listing.artifacts);
        self.transfers.set_run_may_write(!state.is_over());
        let offer = Offer { snapshot, listing: &listing, state, generation };
        let actions = self.plan(&offer).await?;
        let mut pass = Pass { unreachable, ..Pass::of(snapshot, &listing, &actions, state) };
        let tasks = self.tasks(&offer, &actions);
        self.report_plan(&tasks, &actions);
        self.report_vanished(snapshot, &listing);
        pass.ordered += self.transfers.order(tasks).await;
        let inspected = self.folder.inspect(&actions, self.reporter.as_ref(), &self.stop).await?;
        let is_whole = self.reclaim(snapshot, &actions).await? && inspected.is_whole;
        self.inspected |= is_whole;
        pass.ordered += self.transfers.order(self.tasks(&offer, &inspected.fetch)).await;
        // Reported at the end, and when that of the job is first seen in this folder: once for a crontab that selects nothing.
        let is_first_seen = self.folder.resumes.last.as_ref() != Some(&snapshot.status.status);
        let sight = Sight::of(state.is_over(), is_first_seen, self.mirror.options.once);
        pass.nothing = nothing_found(&actions, &self.mirror.options.selection, sight);
        if !is_whole {
            return Ok(pass);
        }
        // Tried again at the end; what is to be fetched does not wait for it.
        if let Err(error) = self.retain().await {
            self.worry(error);
        }
        self.write_reports(snapshot, &listing.artifacts).await;
        self.look_ahead(snapshot, &listing, state).await;
        self.followers.nudge().notify_one();
        Ok(pass)
    }

    /// Reports what is to be done, where that is news: a file that settles is planned at every poll, and reported once.
    fn report_plan(&mut self, tasks: &[Task], actions: &[Action]) {
        let fetching: HashSet<ArtifactKey> = tasks.iter().map(|task| task.artifact.key.clone()).collect();
        if !self.planned || !fetching.is_subset(&self.fetching) {
            self.reporter.report(&Event::plan(Counts::of(actions.iter().map(|action| &action.step))));
        }
        self.planned = true;
        self.fetching = fetching;
    }

    /// Reports what an earlier run saw and did not get, and what the job offers no more.
    fn report_vanished(&mut self, snapshot: &JobSnapshot, listing: &Listing) {
        let selection = &self.mirror.options.selection;
        let is_complete = |kind| snapshot.is_complete(listing, kind);
        let vanished = self.awaited.vanished(listing, is_complete, selection, self.folder.lock().manifest());
        for path in vanished {
            self.reporter.report(&Event::Vanished { path });
        }
    }

    /// Reports trouble once, and remembers it for the exit status.
    fn worry(&mut self, error: Error) {
        self.reported.trouble(Notice::Failed(error.clone()));
        self.trouble = Some(error);
    }

    /// Polls until the API answers; `None` when the run should end instead.
    async fn poll_again(&self) -> Result<Option<JobSnapshot>, Error> {
        let (api, job, cancel) = (&self.mirror.api, &self.mirror.job, self.stop.token());
        let answer = look(api, job, Patience::Endless, self.reporter.as_ref(), cancel);
        match self.deadline() {
            // However long the API does not answer, the run ends at its time limit.
            Some(deadline) => tokio::time::timeout_at(deadline, answer).await.unwrap_or(Ok(None)),
            None => answer.await,
        }
    }

    /// When this run should end, whatever is left.
    fn deadline(&self) -> Option<Instant> {
        self.mirror.options.timeout.map(|timeout| self.began + timeout)
    }

    /// Waits for the next poll; `false` when the run should end instead.
    async fn wait(&mut self, snapshot: &JobSnapshot, wait: Duration) -> bool {
        let deadline = self.deadline();
        let until = Instant::now() + wait;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        if self.transfers.is_quiet() {
            self.rest();
        } else {
            tokio::select! {
                biased;
                () = self.stop.token().cancelled() => return false,
                () = tokio::time::sleep_until(until) => {}
                () = self.transfers.quiet() => {
                    self.record_what_came(snapshot).await;
                    self.rest();
                }
            }
        }
        if self.transfers.is_quiet() {
            self.keep_newest().await;
            self.flush_reports().await;
        }
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => false,
            () = tokio::time::sleep_until(until) => deadline.is_none_or(|deadline| Instant::now() < deadline),
        }
    }

    async fn wait_until_quiet(&self) {
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => {}
            () = self.transfers.quiet() => {}
            () = clock::until(self.deadline()) => {}
        }
    }

    /// Gives up the turn: everything that was ordered is here or failed, so another job of the fleet may use it.
    fn rest(&mut self) {
        if self.member.is_some() {
            self.turn = None;
        }
    }

    /// Waits until this job may poll, where only so many may at a time; `false` when the run should end.
    async fn take_turn(&mut self) -> bool {
        let (Some(member), None) = (&self.member, &self.turn) else { return true };
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => false,
            turn = member.turn() => {
                self.turn = turn;
                true
            }
        }
    }
}

/// Whether the disk has no room for what was to be written.
fn is_full(error: &Error) -> bool {
    matches!(error, Error::Disk { source, .. } if disk::is_full(source))
}
