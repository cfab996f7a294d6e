//! How a run ends: connections are ended, proven files committed, what is here counted, and the exit status decided.

use crate::decide::mirror::outcome::Outcome;
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::task::Missing;
use crate::engine::event::{Event, Notice};
use crate::error::{Error, ExitStatus};
use crate::model::artifact::ArtifactKey;

use super::Run;

impl Run {
    /// Ends the connections, keeps what they have, commits what is proven, and writes the reports.
    pub(super) async fn wind_up(&mut self, snapshot: &JobSnapshot) -> Result<(), Error> {
        self.transfers.finish().await;
        // Nothing is written where another folder may be by now.
        self.folder.ensure_in_place().await?;
        let sequence = self.folder.lock().sequence();
        if self.written_at != Some(sequence) || self.trouble.is_some() {
            let listing = self.folder.listing(snapshot);
            self.write_reports(snapshot, &listing.artifacts).await;
        }
        self.followers.finish().await;
        Ok(())
    }

    /// Winds up, counts what is here, and reports how the run ended.
    pub(super) async fn conclude(
        &mut self,
        snapshot: &JobSnapshot,
        pass: &Pass,
    ) -> Result<ExitStatus, Error> {
        let interrupted = self.stop.is_stopped();
        let cooled_at = self.transfers.cooled_at().await;
        self.wind_up(snapshot).await?;
        // Last, after each follower had each published file.
        match self.retain().await {
            Ok(false) => {}
            Ok(true) => {
                let listing = self.folder.listing(snapshot);
                self.write_reports(snapshot, &listing.artifacts).await;
                self.followers.look_again().await;
            }
            Err(error) => self.worry(error),
        }
        self.keep_newest().await;
        let is_over = pass.state.is_some_and(RunState::is_over);
        let why = self.transfers.missing().clone();
        let tidied = self.folder.tidy(why, pass.wanted.clone(), is_over).await?;
        if let Some(error) = tidied.trouble {
            self.worry(error);
        }
        self.flush_reports().await;
        let missing = tidied.missing;
        let exit = if interrupted { self.stop.status() } else { self.exit_status(pass, &missing) };
        let next_look = self.next_run(snapshot, pass, !missing.is_empty(), cooled_at).await;
        let follows = !self.mirror.options.once && !is_over;
        if follows && exit == ExitStatus::TryAgain && self.is_timed_out() {
            self.reporter.report(&Event::Notice { notice: Notice::TimedOut });
        }
        if let Some(nothing) = pass.nothing.clone() {
            self.reported.notice(Notice::of_nothing(nothing, pass.offered));
        }
        self.reporter.report(&Event::Done {
            exit,
            published: self.transfers.published(),
            bytes: self.transfers.received(),
            present: tidied.present,
            failed: missing.len() as u64 + pass.unreachable,
            elapsed: self.began.elapsed(),
            job_status: Some(snapshot.status.status.clone()),
            next_look,
        });
        Ok(exit)
    }

    /// Whether this run has lasted as long as it may.
    fn is_timed_out(&self) -> bool {
        self.mirror.options.timeout.is_some_and(|timeout| self.began.elapsed() >= timeout)
    }

    fn exit_status(&self, pass: &Pass, missing: &[ArtifactKey]) -> ExitStatus {
        let why = self.transfers.missing();
        let is_of_disk =
            |key: &ArtifactKey| matches!(why.get(key), Some(Missing::Failed(cause)) if cause.is_disk());
        let outcome = Outcome {
            state: pass.state.unwrap_or(RunState::Running),
            once: self.mirror.options.once,
            timed_out: self.is_timed_out(),
            disk_refused: missing.iter().any(is_of_disk),
            trouble: self.trouble.as_ref().map(Error::exit_status),
            lacks_files: !missing.is_empty() || pass.unreachable > 0,
        };
        outcome.exit_status()
    }
}
