//! Files on their way: started, ended, left to rest.

use tokio::time::Instant;

use crate::decide::transfer::protocol::{COOL_DOWN, SETTLE};
use crate::decide::transfer::task::Missing;
use crate::edge::system::clock::until;
use crate::engine::event::Event;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::names::rel_path::RelPath;

use super::super::file::{Ending, File, Order};
use super::Run;

impl Run {
    /// Starts what is not on its way and does not rest.
    pub(super) fn start(&mut self, orders: Vec<Order>) -> u64 {
        let Some(shared) = &self.shared else { return 0 };
        let now = Instant::now();
        let mut started = 0;
        for order in orders {
            let (key, path) = (order.artifact.key.clone(), order.artifact.path.clone());
            let rests = self.cooling.get(&key).is_some_and(|(until, _)| *until > now);
            if rests || !self.busy.insert(key.clone()) {
                continue;
            }
            let file = File::new(shared.clone(), order);
            self.files.spawn(async move { (key, path, file.mirror().await) });
            started += 1;
        }
        started
    }

    /// Takes in what became of a file.
    pub(super) fn ended(&mut self, key: ArtifactKey, path: RelPath, ending: Ending) -> Result<(), Error> {
        self.busy.remove(&key);
        let (first, longest) = match &ending {
            Ending::Settling => {
                let patience = self.mirror.options.interval.unwrap_or(SETTLE.1);
                (SETTLE.0.min(patience), SETTLE.1.min(patience))
            }
            _ => COOL_DOWN,
        };
        let missing = match ending {
            Ending::Published | Ending::Known => {
                self.published += u64::from(matches!(ending, Ending::Published));
                self.missing.remove(&key);
                self.cooling.remove(&key);
                return Ok(());
            }
            Ending::Fatal(error) => return Err(error),
            Ending::Settling => Missing::Settling,
            Ending::Vanished => Missing::Vanished,
            Ending::Failed(cause) => Missing::Failed(cause),
        };
        if self.missing.get(&key) != Some(&missing) {
            match &missing {
                Missing::Vanished => self.tell(&Event::Vanished { path }),
                Missing::Failed(cause) => self.tell(&Event::Failed { path, cause: cause.clone() }),
                Missing::Settling => {}
            }
        }
        self.missing.insert(key.clone(), missing);
        let wait = self.cooling.get(&key).map_or(first, |(_, wait)| (*wait * 2).min(longest));
        self.cooling.insert(key, (Instant::now() + wait, wait));
        Ok(())
    }

    /// Waits until every file that was started has ended, or the deadline passed.
    pub(super) async fn settle_all(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        while !self.files.is_empty() {
            tokio::select! {
                biased;
                () = self.fatal.token.cancelled() => return Err(self.fatal_error()),
                Some(joined) = self.files.join_next() => self.joined(joined)?,
                () = until(deadline) => return Ok(()),
            }
        }
        Ok(())
    }

    pub(super) fn joined(
        &mut self,
        joined: Result<(ArtifactKey, RelPath, Ending), tokio::task::JoinError>,
    ) -> Result<(), Error> {
        match joined {
            Ok((key, path, ending)) => {
                let ended = self.ended(key, path, ending);
                if let Some(hooks) = &self.hooks {
                    hooks.deliver_news();
                }
                ended
            }
            // A defect in one file's task: what it was is fetched again by the next run.
            Err(gone) => {
                Err(crate::edge::system::blocking::lost("mirror", std::path::Path::new("a file"))(gone))
            }
        }
    }
}
