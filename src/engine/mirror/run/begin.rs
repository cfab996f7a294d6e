//! What a run holds open, and how it is made ready.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::decide::mirror::awaited::Awaited;
use crate::decide::mirror::poll_interval::Cadence;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::fd_limit;
use crate::engine::destination::folder::Folder;
use crate::engine::event::Reporter;
use crate::engine::job_life::{Around, Life};
use crate::engine::mirror::Mirror;
use crate::engine::outputs::followers::{Crowd, Followers};
use crate::engine::reported::Reported;
use crate::engine::stop::Stop;
use crate::engine::transfer::share::{Member, Membership};
use crate::engine::transfer::{Setup, Transfers};
use crate::error::Error;
use crate::model::artifact::ArtifactKey;

use super::forecasts::Outlook;

/// One run of a mirror, with everything it holds open.
pub(crate) struct Run {
    pub(super) mirror: Mirror,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) reported: Reported,
    pub(super) stop: Stop,
    pub(super) began: Instant,
    pub(super) folder: Arc<Folder>,
    pub(super) transfers: Transfers,
    pub(super) followers: Followers,
    /// The job's part in a fleet.
    pub(super) member: Option<Arc<Member>>,
    /// The right to poll and to fetch, where a fleet gives it to so many jobs at a time.
    pub(super) turn: Option<OwnedSemaphorePermit>,
    pub(super) cadence: Cadence,
    pub(super) life: Life,
    pub(super) outlook: Outlook,
    /// A pass was planned and ordered.
    pub(super) planned: bool,
    /// What the last pass ordered.
    pub(super) fetching: HashSet<ArtifactKey>,
    /// What an earlier run saw and did not get, until a list shows what became of it.
    pub(super) awaited: Awaited,
    /// The manifest has everything that `job.json` and `SHA256SUMS` vouch for. Before that `job.json` is left as it is.
    pub(super) inspected: bool,
    /// Polls after the job's end have found nothing new for long enough.
    pub(super) settled: bool,
    /// For how long nothing has changed since an earlier run saw the end that the first poll sees.
    pub(super) known_end: Option<Duration>,
    /// How far the manifest was when `SHA256SUMS` and `job.json` were last written.
    pub(super) written_at: Option<u64>,
    /// Why something besides files could not be written, the last time that it was tried.
    pub(super) trouble: Option<Error>,
}

impl Mirror {
    /// Opens the folder; `None` where `stop` was used meanwhile.
    pub(super) async fn open_folder(
        &self,
        reporter: &Arc<dyn Reporter>,
        stop: &Stop,
    ) -> Result<Option<Folder>, Error> {
        let block = self.options.portions.block;
        Folder::open(&self.dir, &self.job, &self.api.origin(), block, reporter, stop).await
    }
}

impl Run {
    /// Opens the folder and gets everything ready; `None` where the run was stopped meanwhile. The job was polled before, so
    /// no folder is created for a job that does not exist.
    pub(crate) async fn open(
        mirror: Mirror,
        client: ArtifactClient,
        reporter: Arc<dyn Reporter>,
        stop: &Stop,
        began: Instant,
    ) -> Result<Option<Self>, Error> {
        match mirror.open_folder(&reporter, stop).await? {
            Some(folder) => {
                Self::begin(mirror, client, folder, reporter, stop.clone(), began).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Gets everything ready over a folder that is open.
    pub(super) async fn begin(
        mut mirror: Mirror,
        client: ArtifactClient,
        mut folder: Folder,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
        began: Instant,
    ) -> Result<Self, Error> {
        let options = mirror.options.clone();
        let (member, turn) = mirror.fleet.take().map(Membership::into_parts).unzip();
        let shared = member.as_ref().map(|member: &Arc<Member>| member.shared());
        let handles = shared.map_or_else(fd_limit::share_out, |shared| shared.handles);
        let followers = Followers::start(Crowd {
            followers: std::mem::take(&mut mirror.followers),
            dir: mirror.dir.clone(),
            job: mirror.job.clone(),
            store: folder.store.clone(),
            latest: folder.latest.clone(),
            reporter: reporter.clone(),
        })
        .await;
        let nudge = followers.nudge();
        let transfers = Transfers::start(Setup {
            client,
            api: mirror.api.clone(),
            job: mirror.job.clone(),
            dir: mirror.dir.clone(),
            parts: folder.parts.clone(),
            options: options.clone(),
            reporter: reporter.clone(),
            committer: folder.committer(&options, handles.finished),
            cancel: stop.token().child_token(),
            handles,
            member: member.clone(),
            after_commit: Box::new(move || nudge.notify_one()),
        })
        .await?;
        let inspected =
            !folder.is_new && folder.recollections.is_empty() && folder.lock().unsettled().is_empty();
        let around = Around {
            api: mirror.api.clone(),
            job: mirror.job.clone(),
            reporter: reporter.clone(),
            stop: stop.clone(),
            began,
        };
        Ok(Self {
            mirror,
            reported: Reported::new(reporter.clone()),
            reporter,
            stop,
            began,
            inspected,
            life: Life::new(around, &options, folder.resumes.clone()),
            awaited: std::mem::take(&mut folder.awaited),
            folder: Arc::new(folder),
            transfers,
            followers,
            member,
            turn: turn.flatten(),
            cadence: Cadence::new(options.interval),
            outlook: Outlook::default(),
            planned: false,
            fetching: HashSet::new(),
            settled: false,
            known_end: None,
            written_at: None,
            trouble: None,
        })
    }
}
