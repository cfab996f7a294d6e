//! One pass: what the job offers against what the bucket has, and what follows from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::decide::bucket::head::{FoldAt, Head, Known, Line, Publish};
use crate::decide::bucket::lease::is_outdated;
use crate::decide::mirror::awaited::Awaited;
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::{
    Action, Counts, FetchReason, Sight, Situation, Step, asked_stamp, nothing_found, plan,
};
use crate::decide::mirror::remembered::recollections;
use crate::decide::mirror::retention::surplus;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::edge::bucket::Listed;
use crate::edge::folder::reports;
use crate::edge::net::rate_limit::Limiter;
use crate::edge::system::clock::until;
use crate::engine::event::{Event, Notice};
use crate::error::{BucketError, Condition, Error, ExitStatus, Unanswered};
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::job_file::{JobFile, JobHead};
use crate::model::listing::Listing;
use crate::model::local::{Local, LocalFile};
use crate::model::names::rel_path::RelPath;

use super::super::file::{Order, Shared};
use super::super::head_read::{Found, of_another_job};
use super::super::head_store::{HeadStore, Wish};
use super::super::part_memory::PartMemory;
use super::super::records::{Draft, JOB, JOB_BOUND};
use super::super::upload::{STAGED, sweep};
use super::super::{probe, prune};
use super::Run;
use super::end::Followed;
use super::ledger::{RECORDS, job_draft};

/// What is in the bucket at the begin of a pass.
struct View {
    known: Arc<Known>,
    head: Option<Head>,
    listed: BTreeMap<String, Listed>,
}

impl View {
    fn tag(&self, key: &str) -> Option<&str> {
        self.listed.get(key).map(|listed| listed.tag.as_str())
    }

    fn tags_of_records(&self) -> HashMap<&'static str, String> {
        RECORDS.into_iter().filter_map(|key| Some((key, self.tag(key)?.to_owned()))).collect()
    }

    fn staged(&self) -> Vec<String> {
        self.listed.keys().filter(|key| key.starts_with(STAGED)).cloned().collect()
    }

    /// Whether an earlier owner left something to end.
    fn has_leftovers(&self) -> bool {
        let is_left = |key: &String| {
            let path = RelPath::parse(key).ok();
            let tag = path.and_then(|path| self.known.retired.get(&path).cloned()).flatten();
            tag.is_some() && tag.as_deref() == self.tag(key)
        };
        self.head.as_ref().is_some_and(|head| !head.begun.is_empty())
            || self.listed.keys().any(|key| key.starts_with(STAGED) || is_left(key))
    }

    /// What is there, as a plan wants it: an object with another tag than the known one has to be read.
    fn local(&self) -> Local {
        let file = |(key, listed): (&String, &Listed)| {
            let path = RelPath::parse(key).ok()?;
            let known = self.known.tags.get(&path);
            let is_known = known.is_none_or(|tag| tag == listed.tag.as_str());
            let modified = (!is_known).then_some(0);
            Some((path, LocalFile::File { size: listed.size, modified }))
        };
        self.listed.iter().filter_map(file).collect()
    }
}

/// What the job offers against what the bucket has, and what is to be done about it.
struct Offer {
    view: View,
    listing: Listing,
    state: RunState,
    actions: Vec<Action>,
}

impl Run {
    /// Looks at the bucket: two requests, and one for each further thousand objects.
    async fn view(&self, found: Option<&Found>) -> Result<View, Error> {
        let listed = self.store.ask("list", "", || self.store.bucket.list("")).await?;
        let listed = listed.into_iter().map(|object| (object.key.clone(), object)).collect();
        Ok(match (&self.head, found) {
            (Some(head), _) => View { known: head.known(), head: head.head().await, listed },
            (None, Some(found)) => {
                View { known: Arc::new(found.known.clone()), head: found.head.clone(), listed }
            }
            (None, None) => {
                let found = self.look_at_head().await?;
                View { known: Arc::new(found.known), head: found.head, listed }
            }
        })
    }

    pub(super) fn listing(&self, known: &Known, looked: &JobSnapshot) -> Listing {
        let name = |key: &ArtifactKey| {
            let remembered = || self.recollections.get(key).map(|memory| memory.path.clone());
            known.plain_name(key).or_else(remembered)
        };
        Listing::build(looked.name(), &looked.result.artifacts, &name, known.used())
    }

    fn plan(&self, looked: &JobSnapshot, listing: &Listing, view: &View, state: RunState) -> Vec<Action> {
        let mut actions = plan(&Situation {
            listing,
            manifest: &view.known.manifest,
            recollections: &self.recollections,
            local: &view.local(),
            selection: &self.mirror.options.selection,
            run: &looked.run(),
            reached: if state.is_over() {
                None
            } else {
                Some(looked.status.progress.current_step.unwrap_or(0))
            },
        });
        // A key that begins like a folder of ours cannot be a file's.
        actions.retain(|action| !action.artifact.path.as_str().starts_with(".rcsync"));
        actions
    }

    fn offer(&self, looked: &JobSnapshot, view: View) -> Offer {
        let listing = self.listing(&view.known, looked);
        let state = looked.state(&listing.artifacts);
        let actions = self.plan(looked, &listing, &view, state);
        Offer { view, listing, state, actions }
    }

    pub(super) async fn rehearse(
        &mut self,
        looked: &JobSnapshot,
        found: Option<Found>,
    ) -> Result<Followed, Error> {
        self.reported.job(looked);
        let view = self.view(found.as_ref()).await?;
        if view.head.is_none() && view.listed.contains_key(JOB) {
            self.remember(true).await?;
        }
        let actions = self.offer(looked, view).actions;
        for action in &actions {
            let Artifact { key, path, .. } = action.artifact.as_ref();
            let action = action.step.planned();
            self.tell(&Event::Planned { path: path.clone(), kind: key.kind, action });
        }
        let counts = Counts::of(actions.iter().map(|action| &action.step));
        self.tell(&Event::plan(counts));
        let (exit, elapsed) = (ExitStatus::Complete, self.began.elapsed());
        self.tell(&Event::Done {
            exit,
            published: 0,
            bytes: 0,
            present: counts.present,
            failed: 0,
            elapsed,
            job_status: Some(looked.status.status.clone()),
            next_look: Some(Duration::ZERO),
        });
        Ok(Followed::Rehearsed)
    }

    /// One pass; `None` where the lease had to be taken first, and another process wrote something since the job was polled.
    pub(super) async fn pass(
        &mut self,
        looked: &JobSnapshot,
        found: Option<Found>,
    ) -> Result<Option<Pass>, Error> {
        self.reported.job(looked);
        let mut view = self.view(found.as_ref()).await?;
        let offer = loop {
            let offer = self.offer(looked, view);
            let is_held = self.head.is_some();
            if is_held || (self.is_idle(looked, &offer) && !self.may_resume(offer.state)) {
                break offer;
            }
            let is_outdated = self.take_lease(&offer.view).await?;
            view = self.view(None).await?;
            if let Some(head) = self.head.clone() {
                sweep(&self.store, &head, &view.staged()).await?;
                let listed: Vec<Listed> = view.listed.values().cloned().collect();
                prune::finish(&self.store, &head, &listed).await?;
            }
            if is_outdated {
                // What another process recorded meanwhile.
                if view.listed.contains_key(JOB) {
                    self.remember(false).await?;
                }
                return Ok(None);
            }
        };
        let tags = offer.view.tags_of_records();
        self.recall_written(&tags).await;
        let pass = self.act(looked, &offer).await?;
        let (selection, manifest) = (&self.mirror.options.selection, &offer.view.known.manifest);
        let is_complete = |kind| looked.is_complete(&offer.listing, kind);
        for path in self.awaited.vanished(&offer.listing, is_complete, selection, manifest) {
            self.tell(&Event::Vanished { path });
        }
        if self.head.is_some() {
            self.write_records(looked, &offer.listing.artifacts).await?;
        }
        Ok(Some(pass))
    }

    /// Fetches what a poll listed, where the API refuses the next one: the addresses that it gave still work. Another process
    /// may have written `job.json` since that poll, so one that is there stays as it is.
    pub(super) async fn fetch_listed(&mut self, looked: &JobSnapshot) -> Result<(), Error> {
        let view = self.view(None).await?;
        let has_record = view.listed.contains_key(JOB);
        let tags = view.tags_of_records();
        self.recall_written(&tags).await;
        let mut offer = self.offer(looked, view);
        // The process that held the lease may have resumed the job, and compared what is here with a newer poll.
        offer.state = RunState::Running;
        offer.actions.retain(|action| !matches!(action.step, Step::Fetch(FetchReason::Recheck(_))));
        self.act(looked, &offer).await?;
        self.settle_all(self.deadline()).await?;
        if has_record { self.write_lists().await } else { self.conclude_records(looked).await }
    }

    /// Orders what is to be fetched.
    async fn act(&mut self, looked: &JobSnapshot, offer: &Offer) -> Result<Pass, Error> {
        let Offer { view, listing, state, actions } = offer;
        let state = *state;
        self.idle_known = Some(view.known.clone());
        for row in &looked.result.unusable {
            self.reported.notice(Notice::UnusableRow(row.clone()));
        }
        let files = looked.unreachable(listing, &self.mirror.options.selection);
        let notices: Vec<Notice> = files.into_iter().map(Notice::from).collect();
        let unreachable = notices.len() as u64;
        notices.into_iter().for_each(|notice| self.reported.trouble(notice));
        let generation = self.relister.learn(listing).await;
        let mut orders = Vec::new();
        let run = looked.run().into();
        let polled = Polled { looked, run, listing, known: &view.known, state, generation };
        for action in actions {
            let order = |step: &Step| polled.order(action, step);
            match &action.step {
                Step::Fetch(_) => orders.push(order(&action.step)),
                Step::Adopt { .. } | Step::Inspect { .. } => {
                    if let Some(step) = self.inspect(view, action).await? {
                        orders.push(order(&step));
                    }
                }
                Step::Keep | Step::Skip(_) => {}
            }
        }
        let is_news = orders.iter().any(|order| {
            let key = &order.artifact.key;
            !self.busy.contains(key) && !self.missing.contains_key(key)
        });
        if !self.planned || is_news {
            let ask = orders.iter().filter(|order| order.recheck.is_some()).count() as u64;
            let kept =
                Counts::of(actions.iter().map(|action| &action.step).filter(|step| **step == Step::Keep));
            let fetch = orders.len() as u64 - ask;
            self.tell(&Event::plan(kept.plus(Counts { fetch, ask, present: ask })));
        }
        self.planned = true;
        let last_seen = self.seen.as_ref().map(|seen| &seen.status);
        let is_first_seen = last_seen != Some(&looked.status.status);
        let sight = Sight::of(state.is_over(), is_first_seen, self.mirror.options.once);
        let nothing = nothing_found(actions, &self.mirror.options.selection, sight);
        let ordered = self.start(orders);
        Ok(Pass { ordered, unreachable, nothing, ..Pass::of(looked, listing, actions, state) })
    }

    /// Whether this run resumes the job: two processes would both do so, so it takes the lease first.
    fn may_resume(&self, state: RunState) -> bool {
        !self.mirror.options.once && self.life.resumes(state)
    }

    /// Whether nothing has to be written: then no lease is taken.
    fn is_idle(&self, looked: &JobSnapshot, offer: &Offer) -> bool {
        let Offer { view, listing, actions, .. } = offer;
        let has_work = actions.iter().any(|action| !matches!(action.step, Step::Keep | Step::Skip(_)));
        let Some(head) = &view.head else { return !has_work && view.listed.is_empty() };
        let is_written = |draft: &Draft| draft.is_written(head.written.get(draft.key), view.tag(draft.key));
        let prunes = self.mirror.options.retention;
        let prunes = prunes.is_some_and(|rule| !surplus(&view.known.manifest, rule).is_empty());
        let lacks_events = self
            .hook_reporter
            .as_ref()
            .is_some_and(|hook_reporter| hook_reporter.lacks_something(&view.known));
        !has_work
            && !lacks_events
            && !prunes
            && !view.has_leftovers()
            && is_written(&Draft::sums(&view.known))
            && is_written(&job_draft(looked, &listing.artifacts, &view.known, &[], &self.mirror.job))
    }

    /// Takes the lease; asks the store first, where this prefix is used for the first time. Returns whether another process may
    /// have written something since this one looked.
    async fn take_lease(&mut self, view: &View) -> Result<bool, Error> {
        let found = self.look_at_head().await?;
        // Before anything is written there.
        if found.head.is_none() || view.listed.contains_key(JOB) {
            self.remember(found.head.is_none()).await?;
        }
        let sole = self.mirror.bucket.sole_writer;
        let publish = match (&found.head, sole) {
            (_, true) => Publish::Sole,
            (Some(head), false) if head.publish == Publish::Sole => {
                let to = self.store.url.to_string();
                return Err(BucketError::IgnoresConditions { to, which: Condition::OneWriter }.into());
            }
            (Some(head), false) => head.publish,
            (None, false) => probe::ask(&self.store).await?.publish,
        };
        if found.is_damaged() {
            self.reported.trouble(Notice::HeadDamaged);
        }
        // A fleet has other jobs to do meanwhile, and asks again.
        let waits = !self.mirror.options.once && self.member.is_none();
        let wish = Wish { lease: self.mirror.bucket.lease, waits, fold_at: FoldAt::default() };
        let reporter = self.reporter.clone();
        let to = self.store.url.to_string();
        let mut holder = None;
        let waiting = |found: &Found| {
            if holder.is_none() {
                let notice = Notice::WaitingForLease { to: to.clone(), holder: found.holder() };
                reporter.report(&Event::Notice { notice });
            }
            holder = Some(found.holder());
        };
        let taking = HeadStore::take(self.store.clone(), found, wish, publish, waiting);
        let taken = tokio::select! {
            taken = taking => taken?,
            () = until(self.deadline()) => {
                return Err(match holder {
                    Some(owner) => BucketError::Held { to, owner },
                    None => BucketError::Away { to, cause: Unanswered::JobTimeOver },
                }
                .into());
            }
        };
        let head = Arc::new(taken);
        let has_waited = holder.is_some();
        let is_outdated = match head.head().await {
            Some(taken) if is_outdated(view.head.as_ref(), self.seen.as_ref(), &taken, has_waited) => {
                self.recall(taken);
                true
            }
            _ => has_waited,
        };
        // Known from now on: whatever ends the run, it frees the lease.
        self.head = Some(head.clone());
        let (kept, fatal) = (head.clone(), self.fatal.clone());
        self.keeper.spawn(async move {
            if let Err(error) = kept.keep().await {
                fatal.raise(error);
            }
        });
        let options = self.mirror.options.clone();
        let part = self.mirror.bucket.part();
        let connections = options.connections.map_or(8, |count| usize::from(count.get()));
        let shared = self.member.as_ref().map(|member| member.shared());
        let connections = shared.map_or(connections, |shared| shared.handles.connections);
        let limiter = || options.limit_rate.map(|rate| Arc::new(Limiter::new(rate)));
        self.shared = Some(Arc::new(Shared {
            store: self.store.clone(),
            head: head.clone(),
            publish,
            hosts: self.hosts.clone(),
            relister: self.relister.clone(),
            gates: shared.map_or_else(Arc::default, |shared| shared.gates.clone()),
            limiter: shared.map_or_else(limiter, |shared| shared.limiter.clone()),
            reporter: self.reporter.clone(),
            part,
            connections: Arc::new(Semaphore::new(connections)),
            member: self.member.clone(),
            memory: match &self.root {
                Some(root) => root.memory.clone(),
                None => PartMemory::for_parts_of(part),
            },
            window: connections,
            received: self.received.clone(),
            options,
        }));
        if let Some(hook_reporter) = self.hook_reporter.clone() {
            self.hooks = Some(hook_reporter.begin(&self.store, &head).await?);
        }
        Ok(is_outdated)
    }

    /// Takes over what a head that was taken has of the job.
    fn recall(&mut self, taken: Head) {
        if let Some(seen) = taken.seen {
            self.life.recall(Resumes { last: Some(seen.status.clone()), count: seen.resumes });
            self.seen = Some(seen);
        }
    }

    /// Reads an older `job.json`: its rows of files that are offered no more are kept; where the head is lost, its rows tell
    /// what the files are.
    ///
    /// # Errors
    /// When the head is lost and this is another job's, or the store refuses.
    async fn remember(&mut self, adopts: bool) -> Result<(), Error> {
        let Some(bytes) = self.store.small_of_ours(JOB, JOB_BOUND).await? else { return Ok(()) };
        if adopts
            && let Some(JobHead { job_id, .. }) = reports::parse_any_head(&bytes)
            && job_id != self.mirror.job
        {
            return Err(of_another_job(&self.store, &job_id));
        }
        let Some(JobFile { artifacts, .. }) = reports::parse_job(&bytes, &self.mirror.job) else {
            return Ok(());
        };
        if adopts {
            self.recollections = recollections(&artifacts);
        }
        self.awaited = Awaited::default();
        artifacts.iter().for_each(|row| self.awaited.add(row));
        self.before = artifacts;
        Ok(())
    }

    /// Reads an object that may be what is known of it; returns what to do where it is not, or the host has to be asked.
    async fn inspect(&self, view: &View, action: &Action) -> Result<Option<Step>, Error> {
        let key = &action.artifact.key;
        let known = view.known.manifest.entries.get(key);
        let (expected, otherwise, due) = match (&action.step, known) {
            (Step::Adopt { memory, due }, _) => {
                (memory.adopted(action.artifact.step), FetchReason::New, *due)
            }
            (Step::Inspect { due }, Some(entry)) => (entry.clone(), FetchReason::Damaged, *due),
            _ => return Ok(None),
        };
        match self.store.hash(expected.path.as_str()).await? {
            Some((sha256, meta)) if sha256 == expected.sha256 => {
                let revision = expected.revision.clone();
                let tag = Some(meta.tag.as_str().to_owned());
                let line = Line::Know { key: key.clone(), entry: expected, tag };
                if let Some(head) = &self.head {
                    head.claim(vec![line]).await?;
                }
                Ok(due.then_some(Step::Fetch(FetchReason::Recheck(revision))))
            }
            _ => Ok(Some(Step::Fetch(otherwise))),
        }
    }
}

/// What orders are made from after a poll.
struct Polled<'a> {
    looked: &'a JobSnapshot,
    run: Arc<str>,
    listing: &'a Listing,
    known: &'a Known,
    state: RunState,
    generation: u64,
}

impl Polled<'_> {
    fn order(&self, action: &Action, step: &Step) -> Order {
        let key = &action.artifact.key;
        let recheck = match step {
            Step::Fetch(FetchReason::Recheck(revision)) => Some(revision.clone()),
            _ => None,
        };
        Order {
            artifact: action.artifact.clone(),
            recheck,
            entry: self.known.manifest.entries.get(key).cloned(),
            doubt: self.known.manifest.doubts.get(key).cloned(),
            half_of_pair: action.artifact.pair_half(self.looked.name()).is_some(),
            run_may_write: !self.state.is_over(),
            cut_off: self.state.is_cut_off(),
            run: asked_stamp(&self.run, &action.artifact, self.listing),
            generation: self.generation,
        }
    }
}
