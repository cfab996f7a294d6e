//! One job, mirrored into one destination.

pub(crate) mod peek;
mod rehearse;
pub(crate) mod run;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use crate::edge::api::ApiClient;
use crate::edge::net::http::ArtifactClient;
use crate::engine::event::Reporter;
use crate::engine::follower::Follower;
use crate::engine::options::SyncOptions;
use crate::engine::poll::{Patience, interrupted, look};
use crate::engine::stop::Stop;
use crate::engine::transfer::share::Membership;
use crate::error::{Error, ExitStatus};
use crate::model::job::JobId;

use rehearse::rehearse;
use run::Run;

pub(crate) use run::repair;

/// One job, mirrored into one folder.
pub struct Mirror {
    pub(crate) api: ApiClient,
    pub(crate) job: JobId,
    pub(crate) dir: PathBuf,
    pub(crate) options: SyncOptions,
    pub(crate) followers: Vec<Arc<dyn Follower>>,
    /// Where this job is one of a fleet.
    pub(crate) fleet: Option<Membership>,
}

impl Mirror {
    /// Mirrors `job` into `dir`, which is created when it is not there, as the command line does without options.
    #[must_use]
    pub fn new(api: ApiClient, job: JobId, dir: impl Into<PathBuf>) -> Self {
        Self {
            api,
            job,
            dir: dir.into(),
            options: SyncOptions::default(),
            followers: Vec::new(),
            fleet: None,
        }
    }

    /// Changes how it mirrors.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut SyncOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Adds a follower, which does its own work with published files.
    #[must_use]
    pub fn followed_by(mut self, follower: Arc<dyn Follower>) -> Self {
        self.followers.push(follower);
        self
    }

    /// Mirrors until the job is over (or, with `once`, one pass), or until `stop` is used; every event goes to
    /// `reporter`, [`Event::Done`](crate::engine::event::Event::Done) last.
    ///
    /// # Errors
    /// What kept the run from doing its work at all; faults of single files are events and decide the status.
    pub async fn run(self, reporter: Arc<dyn Reporter>, stop: Stop) -> Result<ExitStatus, Error> {
        let hosts = self.hosts()?;
        self.run_with(hosts, reporter, stop).await
    }

    fn hosts(&self) -> Result<ArtifactClient, Error> {
        if let Some(membership) = &self.fleet {
            return Ok(membership.hosts());
        }
        let private = self.options.allow_private_hosts || self.api.is_private();
        Ok(ArtifactClient::new(private, self.options.stall_timeout)?)
    }

    /// The same, with the caller's client for the hosts of artifacts.
    pub(crate) async fn run_with(
        mut self,
        hosts: ArtifactClient,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
    ) -> Result<ExitStatus, Error> {
        let began = Instant::now();
        let first = match self.fleet.as_mut().and_then(Membership::take_first) {
            Some(first) => Some(first),
            None => look(&self.api, &self.job, Patience::Short, reporter.as_ref(), stop.token()).await?,
        };
        let Some(first) = first else {
            return Ok(interrupted(reporter.as_ref(), &stop, began));
        };
        if self.options.dry_run {
            return rehearse(&self, reporter.as_ref(), &first, began).await;
        }
        // Boxed: a run's future is large, and callers put it into theirs.
        match Box::pin(Run::open(self, hosts, reporter.clone(), &stop, began)).await? {
            Some(mut run) => Box::pin(run.follow(first)).await,
            None => Ok(interrupted(reporter.as_ref(), &stop, began)),
        }
    }

    /// Reads every mirrored byte again and fetches what is bad or missing: bad blocks alone, while the host still has
    /// the same revision and their checksums are known. Sends no request when all is good.
    ///
    /// # Errors
    /// What kept it from reading at all; what could not be repaired is part of the answer.
    pub(crate) async fn repair(
        self,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
    ) -> Result<repair::Repair, Error> {
        let hosts = self.hosts()?;
        repair::repair(self, hosts, reporter, stop).await
    }
}
