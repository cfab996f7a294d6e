//! The handle on a simulated world: starts it, pushes time on, breaks things, and tells what was true.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::model::artifact::ArtifactKind;
use crate::model::dataset::DatasetStatus;
use crate::model::digest::Sha256Digest;
use crate::model::job::{JobId, JobStatus};
use crate::simulator::hosted_files::{Version, Written};
use crate::simulator::request_log::{Origin, RequestRecord};
use crate::simulator::router::{Desk, Window};
use crate::simulator::state::Job;

use super::api::Places;
use super::dataset_options::DatasetOptions;
use super::datasets::SimulatedDataset;
use super::faults::Fault;
use super::plan::{HostOptions, JobPlan, SimulatorConfig, StaticJob, Writes};
use super::server::serve;
use super::training::Training;

#[cfg(test)]
use crate::simulator::router::Sent;

/// Timers are no finer than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A running simulation; dropping it ends both servers and all connections.
#[derive(Debug)]
pub struct Simulator {
    desk: Arc<Desk>,
    tasks: JoinSet<()>,
}

/// One version of a file that was on the host, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueVersion {
    /// The length in bytes.
    pub bytes: u64,
    /// The SHA-256 of all of it.
    pub sha256: Sha256Digest,
    /// Which list it was in.
    pub kind: ArtifactKind,
    /// The training step, where it has one.
    pub step: Option<u64>,
    /// For safetensors with an `sshs_model_hash`: whether the body alone hashes to it. False for halves of pairs.
    pub trainer_hash_holds: Option<bool>,
}

/// What is to be had of a listed file.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Nothing: it is listed all the same.
    Gone,
    /// A file in writing, or whose writer died.
    Unfinished,
    /// All of it, with this digest.
    Whole(Sha256Digest),
}

impl Simulator {
    /// Starts both servers, and time if the configuration says so. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When one of the two addresses cannot be listened on.
    pub async fn start(config: SimulatorConfig) -> io::Result<Self> {
        let api = TcpListener::bind(config.listen).await?;
        let artifacts = TcpListener::bind(config.artifact_listen).await?;
        let places = Places {
            api_base: format!("{}/prod/v1", origin_of(api.local_addr()?)),
            artifact_origin: origin_of(artifacts.local_addr()?),
        };
        let step_time = config.step_time;
        let desk = Desk::new(config, places);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(api, Window { desk: Arc::clone(&desk), origin: Origin::Api }));
        tasks.spawn(serve(artifacts, Window { desk: Arc::clone(&desk), origin: Origin::Artifacts }));
        if let Some(step_time) = step_time.filter(|step_time| !step_time.is_zero()) {
            tasks.spawn(drive(Arc::clone(&desk), step_time));
        }
        Ok(Self { desk, tasks })
    }

    /// A simulation without sockets: it answers what it is asked by [`Self::answer`].
    #[cfg(test)]
    pub(crate) fn unconnected(config: SimulatorConfig) -> Self {
        let places = Places {
            api_base: "http://127.0.0.1:1/prod/v1".to_owned(),
            artifact_origin: "http://127.0.0.1:2".to_owned(),
        };
        let desk = Desk::new(config, places);
        Self { desk, tasks: JoinSet::new() }
    }

    /// Answers a request as one of the two servers would; an error means that the connection is dropped.
    #[cfg(test)]
    pub(crate) async fn answer(
        &self,
        origin: Origin,
        request: hyper::Request<()>,
        body: bytes::Bytes,
    ) -> io::Result<hyper::Response<super::body::Body>> {
        let window = Window { desk: Arc::clone(&self.desk), origin };
        window.answer(request, Sent::Body(Some(body)), None).await
    }

    /// Lets one tick pass for every job.
    #[cfg(test)]
    pub(crate) fn tick(&self) {
        self.desk.state().world.tick();
    }

    /// Returns every file that can be had whole now: its path under the job's output folder, and its bytes' digest.
    #[cfg(test)]
    pub(crate) fn offered(&self, id: &JobId) -> BTreeMap<String, Offered> {
        self.with_job(id, |job| {
            let listed = job.shelf().list().into_iter();
            listed
                .map(|file| {
                    let offered = match &file.content {
                        None => Offered::Gone,
                        Some(_) if file.written != Written::Whole => Offered::Unfinished,
                        Some(content) => Offered::Whole(content.digests().sha256),
                    };
                    (file.path.clone(), offered)
                })
                .collect()
        })
    }

    /// Ends both servers and all connections, and returns when the ports are free again.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }

    /// Returns the base of the Trainer API, `http://127.0.0.1:PORT/prod/v1`.
    #[must_use]
    pub fn api_base(&self) -> &str {
        &self.desk.places.api_base
    }

    /// Returns the origin of the artifact host, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn artifact_origin(&self) -> &str {
        &self.desk.places.artifact_origin
    }

    /// Returns the bearer token that the API wants.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.desk.token
    }

    /// Adds a job as if it had been submitted: it is `IN_QUEUE`.
    pub fn add_job(&self, plan: JobPlan) -> JobId {
        self.desk.state().world.submit(plan, None)
    }

    /// Adds a job that is only a list.
    pub fn add_static_job(&self, job: StaticJob) -> JobId {
        self.desk.state().world.list(job)
    }

    /// Puts another list in the place of the one that a static job has.
    ///
    /// # Panics
    ///
    /// When the id is not one of a static job.
    pub fn replace_static_job(&self, id: &JobId, job: StaticJob) {
        assert!(self.desk.state().world.relist(id, job), "the simulator has no static job `{id}`");
    }

    /// Ends the waiting in the queue and lets so many steps pass. Steps after the last one pass with the final
    /// save, the final samples and the end. Nothing happens to a job that has ended.
    ///
    /// # Panics
    ///
    /// Like all methods that take an id of a job to train: when the simulator has no such job.
    pub fn advance_steps(&self, id: &JobId, steps: u64) {
        self.with_training(id, |training| training.advance(steps));
    }

    /// Lets time pass until the job has ended: after its last step, unless its plan has it preempted before.
    pub fn finish(&self, id: &JobId) {
        self.with_training(id, Training::finish);
    }

    /// The machine is taken away: `STOPPED` before the last step. What is half written stays so.
    pub fn preempt(&self, id: &JobId) {
        self.with_training(id, Training::preempt);
    }

    /// The run ends as `FAILED`.
    pub fn fail(&self, id: &JobId, message: &str) {
        self.with_training(id, |training| training.fail(message));
    }

    /// The job is canceled, as through the API; false when it has ended already.
    pub fn cancel(&self, id: &JobId) -> bool {
        self.with_training(id, Training::cancel).is_ok()
    }

    /// The job is resumed, as through the API; false when it has not ended.
    pub fn resume(&self, id: &JobId) -> bool {
        self.with_training(id, Training::resume).is_ok()
    }

    /// The result speaks of an error whatever the status is, or no longer does.
    pub fn set_result_error(&self, id: &JobId, message: Option<&str>) {
        self.with_training(id, |training| training.set_result_error(message.map(str::to_owned)));
    }

    /// Completes all writes in progress: every file is whole.
    pub fn finish_writes(&self, id: &JobId) {
        self.with_training(id, Training::finish_writes);
    }

    /// Says how a file is being written and how much of it is: `done` of `of` parts. All of them make it whole;
    /// less make it a file in writing, also long after the job has ended (a cache that keeps the half file).
    ///
    /// # Panics
    ///
    /// Like all methods that take a path: when the job has no such file.
    pub fn set_written(&self, id: &JobId, path: &str, style: Writes, done: u64, of: u64) {
        let written = if done >= of { Written::Whole } else { Written::Part { done, of, abandoned: false } };
        self.change(id, path, |file| {
            file.written = written;
            file.style = style;
        });
    }

    /// Puts other bytes of the same length under the name, as valid as the old ones.
    pub fn rewrite(&self, id: &JobId, path: &str) {
        self.change(id, path, |file| file.content = file.content.as_ref().map(|content| content.other()));
    }

    /// Puts these bytes under the name.
    pub fn overwrite(&self, id: &JobId, path: &str, bytes: impl Into<bytes::Bytes>) {
        let content = super::files::content::Content::bytes(bytes);
        self.change(id, path, |file| file.content = Some(content));
    }

    /// Deletes a file from the host, and from the list unless `listed_on`.
    pub fn delete(&self, id: &JobId, path: &str, listed_on: bool) {
        let there = self.with_job(id, |job| job.shelf_mut().0.delete(path, listed_on));
        assert!(there, "the job `{id}` has no file `{path}`");
    }

    /// Returns what the job is doing.
    #[must_use]
    pub fn status(&self, id: &JobId) -> JobStatus {
        self.with_job(id, |job| job.status().clone())
    }

    /// Returns the job's step.
    #[must_use]
    pub fn step(&self, id: &JobId) -> u64 {
        self.with_job(id, |job| job.progress().current_step.unwrap_or(0))
    }

    /// Returns the paths of the files that the host has now, in the order of the list.
    #[must_use]
    pub fn hosted(&self, id: &JobId) -> Vec<String> {
        self.with_job(id, |job| {
            let there = job.shelf().list().into_iter().filter(|file| file.content.is_some());
            there.map(|file| file.path.clone()).collect()
        })
    }

    /// Returns every whole version of every file that ever was on the host, oldest first, by its path under
    /// the job's output folder. Reads all those bytes: slow for very large files.
    #[must_use]
    pub fn truth(&self, id: &JobId) -> BTreeMap<String, Vec<TrueVersion>> {
        let versions: Vec<Version> = self.with_job(id, |job| job.shelf().ever().to_vec());
        let mut truth: BTreeMap<String, Vec<TrueVersion>> = BTreeMap::new();
        for version in versions {
            let content = &version.content;
            truth.entry(version.path).or_default().push(TrueVersion {
                bytes: content.length(),
                sha256: content.digests().sha256,
                kind: version.kind,
                step: version.step,
                trainer_hash_holds: content.made().trainer_hash_holds,
            });
        }
        truth
    }

    /// Returns every version that [`What::OtherBytes`](super::What::OtherBytes) may have served, as [`Self::truth`] does.
    #[cfg(test)]
    pub(crate) fn other_versions(&self, id: &JobId) -> Vec<(String, Sha256Digest)> {
        let versions: Vec<Version> = self.with_job(id, |job| job.shelf().ever().to_vec());
        versions.into_iter().map(|version| (version.path, version.content.other().digests().sha256)).collect()
    }

    /// Ends the life of all links that were given out so far.
    pub fn expire_links(&self) {
        self.desk.state().links.expire_all();
    }

    /// Changes how the artifact host behaves.
    pub fn set_host(&self, change: impl FnOnce(&mut HostOptions)) {
        change(&mut self.desk.state().host);
    }

    /// Returns the datasets of the account, as they are.
    #[must_use]
    pub fn datasets(&self) -> Vec<SimulatedDataset> {
        self.desk.state().datasets.all()
    }

    /// Returns the dataset of this name, as it is.
    #[must_use]
    pub fn dataset(&self, name: &str) -> Option<SimulatedDataset> {
        self.datasets().into_iter().find(|dataset| dataset.name == name)
    }

    /// Adds a dataset as if it had been made on the web page; returns its id.
    pub fn add_dataset(&self, name: &str, status: DatasetStatus, files: &[(&str, &[u8])]) -> String {
        self.desk.state().datasets.add(name, status, files)
    }

    /// Removes a dataset, as another client would; false where there is none of that name.
    pub fn remove_dataset(&self, name: &str) -> bool {
        self.desk.state().datasets.remove(name)
    }

    /// Returns how many bytes of files have arrived, those of uploads that are not whole among them.
    #[must_use]
    pub fn uploaded_bytes(&self) -> u64 {
        self.desk.state().datasets.received.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Changes how the Dataset API behaves.
    pub fn set_datasets(&self, change: impl FnOnce(&mut DatasetOptions)) {
        change(&mut self.desk.state().datasets.options);
    }

    /// Adds a rule of misbehaviour behind those that are left.
    pub fn fault(&self, fault: Fault) {
        self.desk.state().faults.add(fault);
    }

    /// Takes all rules of misbehaviour away.
    pub fn clear_faults(&self) {
        self.desk.state().faults.clear();
    }

    /// Returns all requests so far, oldest first (the newest 100,000).
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.desk.state().record.requests()
    }

    /// Forgets all requests and sets the counters to 0.
    pub fn clear_requests(&self) {
        self.desk.state().record.clear();
    }

    /// Returns how many requests the API got.
    #[must_use]
    pub fn api_requests(&self) -> u64 {
        self.desk.state().record.api_requests()
    }

    /// Returns how many requests the artifact host got.
    #[must_use]
    pub fn artifact_requests(&self) -> u64 {
        self.desk.state().record.artifact_requests()
    }

    /// Returns how many bytes of bodies the artifact host gave to its connections.
    #[must_use]
    pub fn artifact_bytes(&self) -> u64 {
        self.desk.state().record.artifact_bytes()
    }

    /// Returns how many bodies the artifact host was sending at one time at most.
    #[must_use]
    pub fn peak_transfers(&self) -> u64 {
        self.desk.state().record.peak_transfers()
    }

    fn change(
        &self,
        id: &JobId,
        path: &str,
        change: impl FnOnce(&mut crate::simulator::hosted_files::Hosted),
    ) {
        let there = self.with_job(id, |job| {
            let (shelf, now) = job.shelf_mut();
            shelf.change(path, now, change)
        });
        assert!(there, "the job `{id}` has no file `{path}`");
    }

    /// A wrong id is a mistake in the test or program that drives the simulator, and must not pass unseen.
    fn with_job<T>(&self, id: &JobId, act: impl FnOnce(&mut Job) -> T) -> T {
        let mut state = self.desk.state();
        let Some(job) = state.world.job_mut(id) else { panic!("the simulator has no job `{id}`") };
        act(job)
    }

    fn with_training<T>(&self, id: &JobId, act: impl FnOnce(&mut Training) -> T) -> T {
        self.with_job(id, |job| {
            let Some(training) = job.training_mut() else { panic!("the job `{id}` is only a list") };
            act(training)
        })
    }
}

/// Lets time pass: one tick in each `step_time`, several at once where that is shorter than timers are fine.
async fn drive(desk: Arc<Desk>, step_time: Duration) {
    let began = Instant::now();
    let mut ticker = tokio::time::interval(step_time.max(SHORTEST_WAIT));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = 0;
    loop {
        ticker.tick().await;
        let due = began.elapsed().as_nanos() / step_time.as_nanos().max(1);
        while ticks < due {
            ticks += 1;
            desk.state().world.tick();
        }
    }
}

/// Where a client on this machine reaches a listener.
fn origin_of(address: SocketAddr) -> String {
    let reachable = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(reachable, address.port()))
}
