//! When to poll next, and when another run is worth it. The rules are `decide::mirror::poll_interval`'s.

use std::time::Duration;

use tokio::time::Instant;

use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::poll_interval::{KnownEnd, Left, Next};
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::edge::folder::history::History;
use crate::edge::system::blocking::blocking;
use crate::engine::event::Event;

use super::Run;

/// However soon a file may be ordered again, a poll waits this long.
const SHORTEST: Duration = Duration::from_millis(200);

impl Run {
    /// Returns how long to wait for the next poll; `None` when there need not be one.
    pub(super) async fn next_look(&mut self, pass: &Pass) -> Option<Duration> {
        let look = pass.look(!self.transfers.is_quiet());
        // Taken: a later poll of this run shows whether anything changes by itself.
        if let Some(quiet_for) = self.known_end.take() {
            let lacks_something = pass.unreachable > 0 || self.trouble.is_some();
            let end = KnownEnd { quiet_for, has_final: pass.has_final(), lacks_something };
            if end.is_waited_out(&look) {
                return None;
            }
        }
        let Next::After(wait) = self.cadence.next(self.began.elapsed(), &look) else {
            self.settled = true;
            return None;
        };
        let seconds_a_step = self.cadence.seconds_a_step();
        if let Some(member) = &self.member {
            member.expect_save(pass.until_next_save(seconds_a_step));
        }
        if look.state == RunState::Running {
            self.reporter.report(&Event::Pace { seconds_a_step, next_save: pass.next_save() });
        }
        self.reporter.report(&Event::Waiting { wait });
        let cooled = self.transfers.cooled_at().await.map(from_now);
        Some(wait.min(cooled.unwrap_or(wait).max(SHORTEST)))
    }

    /// Returns when another run is worth it; `None` when nothing more will come. `missing`: a wanted file is not here.
    pub(super) async fn next_run(
        &mut self,
        snapshot: &JobSnapshot,
        pass: &Pass,
        missing: bool,
        cooled_at: Option<Instant>,
    ) -> Option<Duration> {
        let look = pass.look(!self.transfers.is_quiet());
        let mut left = Left { look, missing, settled: self.settled, state_age: None };
        let mut now = self.began.elapsed();
        if self.mirror.options.once {
            // A single pass has seen the job once; the folder has seen it before.
            let dir = self.mirror.dir.clone();
            // A defect in reading it costs a poll that comes too soon.
            let history = blocking(move || History::load(&dir)).await.unwrap_or_default();
            let clock = jiff::Timestamp::now().as_second();
            let recent = history.recent(&snapshot.status.status);
            let at = |seconds: i64| Duration::from_secs(seconds.max(0).unsigned_abs());
            for (seen, step) in recent.steps {
                self.cadence.recall(at(seen), step);
            }
            (now, left.state_age) = (at(clock), recent.since.map(|since| at(clock.saturating_sub(since))));
        }
        let wait = self.cadence.next_run(now, &left)?;
        Some(wait.min(cooled_at.map_or(wait, from_now)))
    }
}

fn from_now(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now())
}
