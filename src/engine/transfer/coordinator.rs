//! One task that owns the state of every file and the scheduler: it takes messages, steps the states, performs what they
//! order, and grants work to connections. Nothing else changes a state while the coordinator has it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::decide::plain::Habit;
use crate::decide::transfer::protocol::{
    Assignment, Command, Commands, Ending, Input, Left, Outcome, Phase, RangeEnd, Refreshed, Ticket,
};
use crate::decide::transfer::scheduler::{FileId, Files, Flow, Scheduler, Taken, Work};
use crate::decide::transfer::state::TransferState;
use crate::decide::transfer::task::{DiskTrouble, DiskTroubleKind, Missing, Policy, Task};
use crate::decide::transfer::verify::Received;
use crate::edge::clock;
use crate::edge::folder::part_file::Part;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::adopt::adopt;
use crate::engine::destination::commit::{Committed, Finished, ToCommit};
use crate::engine::event::Event;
use crate::engine::options::SyncOptions;
use crate::engine::transfer::link_refresh::Relister;
use crate::error::explain_briefly;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::manifest::Entry;
use crate::model::response_head::Head;

use super::batch::{self, Carried, Terms};
use super::context::{Context, trouble};
use super::download::{Absorbed, Download};
use super::shared_end::SharedEnd;
use super::worker::{Fetch, Port, Reply, Served};

/// How often connections are counted while files are under way: several looks make one measurement.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Messages taken before work is granted again: more at once would let connections idle.
const AT_ONCE: usize = 64;

/// When the front of a file jumps by more than this, a thread lets the hashes follow at once; less is left to the
/// connection that writes next.
const JUMP: u64 = 1 << 20;

/// What a panic in a connection's task is reported as: a defect of rcsync, which costs the file this try.
const DEFECT: &str = "rcsync failed by a defect of its own; what arrived is kept for the next try";

/// What the coordinator is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Fetch these, in order of urgency. Answers how many were admitted.
    Order(Vec<Task>, oneshot::Sender<u64>),
    /// How far is what is under way?
    Progress(oneshot::Sender<Vec<Progress>>),
    /// There may be so many connections from now on.
    Most(usize),
    /// A request waited so long for its head.
    Head { waited: Duration, cold: bool },
    /// A response's head arrived.
    Response { id: FileId, ticket: Ticket, head: Box<Head>, reply: oneshot::Sender<Reply> },
    /// A packed body is unpacked.
    Unpacked { id: FileId, ticket: Ticket, length: u64, reply: oneshot::Sender<Reply> },
    /// A group was written.
    Booked { id: FileId, ticket: Ticket, absorbed: Absorbed },
    /// A connection is done with its range.
    Served { id: FileId, ticket: Ticket, served: Served, taken: Taken },
    /// What is here of a file was looked at.
    LookedAt { id: FileId, found: Box<Found>, taken: Taken },
    /// Small files are done; `taken`: with them the batch is.
    Carried { files: Vec<Carried>, taken: Option<Taken> },
    /// Small files of a batch that were not begun.
    Returned(Vec<Carried>),
    /// The job was asked for a link.
    Link { id: FileId, refreshed: Refreshed },
    /// The hashes of a file are complete; `None`: it was abandoned meanwhile.
    Hashed { id: FileId, result: Result<Option<(Box<Received>, Arc<Part>)>, DiskTrouble> },
    /// What became of a file on its way to its name.
    Committed(ArtifactKey, Box<Committed>),
}

/// What is here of a file before its first request.
#[derive(Debug)]
pub(super) enum Found {
    /// All of it, proven.
    Whole(Box<Entry>),
    /// A part of an earlier run or try.
    Part(Arc<Download>, Left),
    /// Nothing.
    Nothing,
    /// The disk refused to say.
    Trouble(DiskTrouble),
}

/// How far a file under way is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) key: ArtifactKey,
    pub(crate) have: u64,
    pub(crate) length: Option<u64>,
}

/// What others may know of the coordinator at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// No file is under way.
    pub(super) is_quiet: bool,
    /// When the next file that cools down may be ordered again.
    pub(super) cooled_at: Option<Instant>,
}

/// How a run of the coordinator ended.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Why files are not here.
    pub(crate) missing: HashMap<ArtifactKey, Missing>,
    /// Files that got their names.
    pub(crate) published: u64,
}

/// One file, from its task to its end.
#[derive(Debug)]
struct Slot {
    artifact: Arc<Artifact>,
    /// `None` while a connection carries it.
    state: Option<TransferState>,
    download: Option<Arc<Download>>,
    part: Option<Arc<Part>>,
    lent: Vec<Lent>,
}

/// A range under way.
#[derive(Debug)]
struct Lent {
    ticket: Ticket,
    end: Arc<SharedEnd>,
    looked: Instant,
    arrived: u64,
}

/// Every file under way.
#[derive(Debug, Default)]
struct Slots(BTreeMap<FileId, Slot>);

impl Files for Slots {
    fn state(&mut self, id: FileId) -> Option<&mut TransferState> {
        self.0.get_mut(&id)?.state.as_mut()
    }
}

/// What the coordinator was woken by.
enum Woken {
    Message(Box<Message>),
    TaskEnded(Result<(Id, ()), tokio::task::JoinError>),
    /// The committer takes more files.
    MayCommit,
    Look,
    Due,
    Cancelled,
}

/// What a task of a connection works on, should it panic.
#[derive(Debug)]
enum Holds {
    Range(FileId, Ticket, Taken),
    Batch(Vec<FileId>, Taken),
    Look(FileId, Option<Taken>),
}

pub(super) struct Coordinator {
    pub(super) context: Arc<Context>,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) scheduler: Scheduler,
    pub(super) relister: Arc<Relister>,
    pub(super) commit: mpsc::Sender<ToCommit>,
    pub(super) committer: JoinSet<()>,
    pub(super) status: watch::Sender<Status>,
    pub(super) options: SyncOptions,
    /// Files of which parts are left, of an earlier run or an earlier try in this one, by fingerprint.
    pub(super) leftovers: HashSet<String>,
    /// Proven files that may wait for the committer before connections do.
    pub(super) most_proven: usize,
    pub(super) began: Instant,
    slots: Slots,
    by_key: HashMap<ArtifactKey, FileId>,
    habits: HashMap<String, Habit>,
    tasks: JoinSet<()>,
    holds: HashMap<Id, Holds>,
    outbox: VecDeque<ToCommit>,
    summary: Summary,
    looked: Instant,
    is_ending: bool,
}

/// What a coordinator begins with.
pub(super) struct Beginning {
    pub(super) context: Arc<Context>,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) scheduler: Scheduler,
    pub(super) relister: Arc<Relister>,
    pub(super) commit: mpsc::Sender<ToCommit>,
    pub(super) committer: JoinSet<()>,
    pub(super) status: watch::Sender<Status>,
    pub(super) options: SyncOptions,
    pub(super) leftovers: HashSet<String>,
    pub(super) most_proven: usize,
}

impl Coordinator {
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning {
            context,
            inbox,
            scheduler,
            relister,
            commit,
            committer,
            status,
            options,
            leftovers,
            most_proven,
        } = beginning;
        Self {
            context,
            inbox,
            scheduler,
            relister,
            commit,
            committer,
            status,
            options,
            leftovers,
            most_proven,
            began: Instant::now(),
            slots: Slots::default(),
            by_key: HashMap::new(),
            habits: HashMap::new(),
            tasks: JoinSet::new(),
            holds: HashMap::new(),
            outbox: VecDeque::new(),
            summary: Summary::default(),
            looked: Instant::now(),
            is_ending: false,
        }
    }

    /// Serves files until the run is cancelled, then records what is here and commits what is proven.
    pub(super) async fn run(mut self) -> Summary {
        while !self.context.cancel.is_cancelled() {
            self.wake();
            self.grant();
            self.show();
            match self.event().await {
                Woken::Message(message) => self.take_in(*message),
                Woken::TaskEnded(ended) => self.ended(ended),
                Woken::MayCommit => self.send_to_committer(),
                Woken::Look => self.look(),
                Woken::Due | Woken::Cancelled => {}
            }
        }
        self.wind_up().await
    }

    /// Waits for the next thing to do.
    async fn event(&mut self) -> Woken {
        let deadline = self.scheduler.next_deadline().map(|due| self.began + due);
        let look = (!self.scheduler.is_quiet()).then(|| self.looked + LOOK_EVERY);
        let is_proven = !self.outbox.is_empty();
        let may_look = !self.is_ending;
        let has_tasks = !self.tasks.is_empty();
        let Self { context, inbox, commit, tasks, .. } = self;
        tokio::select! {
            biased;
            () = context.cancel.cancelled(), if may_look => Woken::Cancelled,
            Some(message) = inbox.recv() => Woken::Message(Box::new(message)),
            _ = commit.reserve(), if is_proven => Woken::MayCommit,
            Some(ended) = tasks.join_next_with_id(), if has_tasks => Woken::TaskEnded(ended),
            () = sleep_until(look), if may_look => Woken::Look,
            () = sleep_until(deadline), if may_look => Woken::Due,
        }
    }

    /// Hands proven files to the committer, as far as it takes them now.
    fn send_to_committer(&mut self) {
        while let Some(item) = self.outbox.pop_front() {
            match self.commit.try_send(item) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(item)) => return self.outbox.push_front(item),
                // The committer is gone: parts stay for the next run.
                Err(mpsc::error::TrySendError::Closed(_)) => return self.outbox.clear(),
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes in a message and those behind it.
    fn take_in(&mut self, first: Message) {
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(message) = next else { return };
            self.handle(message);
            next = self.inbox.try_recv().ok();
        }
        if let Some(message) = next {
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Order(tasks, answer) => {
                let admitted = self.order(tasks);
                self.show();
                // An asker that is gone does not need the answer.
                let _ = answer.send(admitted);
            }
            Message::Progress(answer) => {
                let _ = answer.send(self.progress());
            }
            Message::Most(most) => self.scheduler.set_most(most),
            Message::Head { waited, cold } => self.scheduler.head(waited, cold),
            Message::Response { id, ticket, head, reply } => {
                let commands = self.step(id, Input::Response { ticket, head: *head });
                self.reply(id, ticket, commands, reply);
            }
            Message::Unpacked { id, ticket, length, reply } => {
                let commands = self.step(id, Input::Unpacked { ticket, length });
                self.reply(id, ticket, commands, reply);
            }
            Message::Booked { id, ticket, absorbed } => self.booked(id, ticket, absorbed),
            Message::Served { id, ticket, served, taken } => self.served(id, ticket, served, taken),
            Message::LookedAt { id, found, taken } => {
                self.scheduler.idle(taken.is_large);
                self.looked_at(id, *found);
            }
            Message::Carried { files, taken } => {
                if let Some(taken) = taken {
                    self.scheduler.idle(taken.is_large);
                }
                for file in files {
                    self.carried(file);
                }
            }
            Message::Returned(files) => {
                for Carried { id, state, .. } in files.into_iter().rev() {
                    if let Some(slot) = self.slots.0.get_mut(&id) {
                        slot.state = Some(state);
                        self.scheduler.requeue(id);
                    }
                }
            }
            Message::Link { id, refreshed } => {
                let commands = self.step(id, Input::LinkRefreshed(refreshed));
                self.perform(id, commands);
                self.tell_habit(id);
            }
            Message::Hashed { id, result } => self.hashed(id, result),
            Message::Committed(key, committed) => self.committed(&key, *committed),
        }
    }

    /// Admits files. Those under way or cooling down are left alone.
    fn order(&mut self, tasks: Vec<Task>) -> u64 {
        let now = self.now();
        let mut admitted = 0;
        for task in tasks {
            // Drawn for each, so that a run with the same seed goes the same way.
            let seed = fastrand::u64(..);
            let Some(id) = self.scheduler.admit(now, &task) else { continue };
            admitted += 1;
            let artifact = task.artifact.clone();
            let left_over = self.leftovers.contains(&artifact.key.fingerprint());
            let previous = self.summary.missing.get(&artifact.key).cloned();
            let policy = Policy {
                once: self.options.once,
                retries: self.options.retries,
                interval: self.options.interval,
                accept_unproven: self.options.selection.accepts_unproven(&artifact.path),
            };
            let mut state = TransferState::new(task, policy, seed, left_over, previous);
            state.know_habit(self.habits.get(state.host()).copied().unwrap_or_default());
            self.by_key.insert(artifact.key.clone(), id);
            let slot = Slot { artifact, state: Some(state), download: None, part: None, lent: Vec::new() };
            self.slots.0.insert(id, slot);
        }
        tracing::debug!(admitted, "files ordered");
        // So that the first grant already counts what waits.
        self.observe();
        admitted
    }

    fn progress(&self) -> Vec<Progress> {
        let begun = self.slots.0.values().filter_map(|slot| {
            let state = slot.state.as_ref().filter(|state| *state.phase() != Phase::Queued)?;
            Some(Progress { key: slot.artifact.key.clone(), have: state.have(), length: state.length() })
        });
        begun.collect()
    }

    /// Shows others what they may know.
    fn show(&self) {
        let cooled_at = self.scheduler.cooled_at(self.now()).map(|at| self.began + at);
        let status = Status { is_quiet: self.scheduler.is_quiet(), cooled_at };
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            *shown = status;
            is_new
        });
    }

    /// Continues files whose wait is over.
    fn wake(&mut self) {
        let now = self.now();
        while let Some(id) = self.scheduler.due(now) {
            let commands = self.step(id, Input::Deadline);
            if let Some(state) = self.slots.state(id)
                && *state.phase() == Phase::Queued
            {
                let is_large = state.task().is_large();
                self.scheduler.queue_again(id, is_large);
            }
            self.perform(id, commands);
        }
    }

    /// Looks at what connections deliver: how many there are, and which of them are too slow.
    fn look(&mut self) {
        self.observe();
        let now = Instant::now();
        let tail = self.scheduler.has_idle_connections();
        for (id, slot) in &mut self.slots.0 {
            let Some(state) = &slot.state else { continue };
            for lent in &mut slot.lent {
                let arrived = lent.end.arrived();
                let flow = Flow {
                    left: state.left(lent.ticket).unwrap_or(0),
                    arrived: arrived - lent.arrived,
                    elapsed: now.saturating_duration_since(lent.looked),
                };
                let Some(holds_up) = self.scheduler.holds_up(&flow) else { continue };
                (lent.looked, lent.arrived) = (now, arrived);
                if holds_up && tail && state.serves_several() {
                    tracing::debug!(path = %slot.artifact.path, ?id, left = flow.left, "a connection is far slower than others");
                    lent.end.stop();
                }
            }
        }
    }

    fn observe(&mut self) {
        self.looked = Instant::now();
        let before = self.scheduler.shares();
        let bytes = self.context.received.load(Ordering::Relaxed);
        let hurry = self.context.hurry.load(Ordering::Relaxed);
        let shares = self.scheduler.observe(self.now(), bytes, hurry);
        if shares != before {
            tracing::debug!(small = shares.small, large = shares.large, "connections");
        }
    }

    /// Grants work while there is some, and connections that may take it.
    fn grant(&mut self) {
        while self.outbox.len() < self.most_proven {
            let now = self.now();
            let Some((work, taken)) = self.scheduler.next(now, &mut self.slots) else { return };
            match work {
                Work::Look(id) => self.look_at(id, taken),
                Work::Range(id, assignment) => self.lend(id, assignment, taken),
                Work::Split { file, ticket, at } => {
                    if !self.split(file, ticket, at, taken) {
                        // It has taken those bytes already; the next look finds another place.
                        self.scheduler.idle(taken.is_large);
                        return;
                    }
                }
                Work::Batch(ids) => self.lend_batch(ids, taken),
            }
        }
    }

    /// Has a connection look at what is here of a file.
    fn look_at(&mut self, id: FileId, taken: Taken) {
        let Some(slot) = self.slots.0.get(&id) else { return self.scheduler.idle(taken.is_large) };
        let Some(state) = &slot.state else { return self.scheduler.idle(taken.is_large) };
        let (context, task, is_left_over) =
            (self.context.clone(), state.task().clone(), state.is_left_over());
        let plain = self.habits.get(state.host()) == Some(&Habit::Refuses);
        self.spawn(Holds::Look(id, Some(taken)), async move {
            let found = look_at(&context, &task, is_left_over, plain).await;
            send(&context, Message::LookedAt { id, found: Box::new(found), taken });
        });
    }

    fn looked_at(&mut self, id: FileId, found: Found) {
        let input = match found {
            Found::Whole(entry) => Input::Adopted(entry),
            Found::Part(download, left) => {
                let Some(slot) = self.slots.0.get_mut(&id) else { return };
                slot.download = Some(download);
                Input::Begun(Some(left))
            }
            Found::Nothing => Input::Begun(None),
            Found::Trouble(trouble) => Input::Disk(trouble),
        };
        let commands = self.step(id, input);
        self.set_front(id);
        self.perform(id, commands);
    }

    fn split(&mut self, id: FileId, ticket: Ticket, at: u64, taken: Taken) -> bool {
        let cut = self.scheduler.cut();
        let Some(slot) = self.slots.0.get_mut(&id) else { return false };
        let agreed = slot.lent.iter().any(|lent| lent.ticket == ticket && lent.end.lower(at));
        let Some(state) = slot.state.as_mut().filter(|_| agreed) else { return false };
        let Some(assignment) = state.split(ticket, at, &cut) else { return false };
        tracing::debug!(path = %slot.artifact.path, at, "a range is split");
        self.lend(id, assignment, taken);
        true
    }

    fn lend(&mut self, id: FileId, assignment: Assignment, taken: Taken) {
        let (load, crowded) = (self.scheduler.load().all(), self.scheduler.is_crowded());
        let Some(slot) = self.slots.0.get_mut(&id) else { return self.scheduler.idle(taken.is_large) };
        let artifact = slot.artifact.clone();
        let new = || Arc::new(Download::new(artifact.key.clone(), artifact.path.file_name()));
        let download = slot.download.get_or_insert_with(new).clone();
        let end = Arc::new(SharedEnd::new(assignment.range.start, assignment.range.end));
        let ticket = assignment.ticket;
        slot.lent.push(Lent { ticket, end: end.clone(), looked: Instant::now(), arrived: 0 });
        let context = self.context.clone();
        self.spawn(Holds::Range(id, ticket, taken), async move {
            let fetch = Fetch {
                context: &context,
                artifact: &artifact,
                download: &download,
                assignment: &assignment,
                end: &end,
                load,
                crowded,
            };
            let mut port = Remote { context: &context, id, taken };
            let served = fetch.run(&mut port).await;
            send(&context, Message::Served { id, ticket, served, taken });
        });
    }

    fn lend_batch(&mut self, ids: Vec<FileId>, taken: Taken) {
        let slots = &mut self.slots.0;
        let carried = |id: &FileId| Some(Carried::new(*id, slots.get_mut(id)?.state.take()?));
        let files: VecDeque<Carried> = ids.iter().filter_map(carried).collect();
        let terms = Terms {
            began: self.began,
            cut: self.scheduler.cut(),
            taken,
            load: self.scheduler.load().all(),
            crowded: self.scheduler.is_crowded(),
        };
        let context = self.context.clone();
        self.spawn(Holds::Batch(ids, taken), batch::serve(context, files, terms));
    }

    fn spawn(&mut self, holds: Holds, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.holds.insert(id, holds);
    }

    /// A task ended; one that panicked could not report what became of its work.
    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let (id, panicked) = match &ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(holds) = self.holds.remove(&id) else { return };
        if !panicked {
            return;
        }
        let trouble = || DiskTrouble { kind: DiskTroubleKind::Other, cause: DEFECT.to_owned() };
        match holds {
            Holds::Range(id, ticket, taken) => {
                let served = Served {
                    end: RangeEnd::Disk(trouble()),
                    bytes: 0,
                    took: Duration::ZERO,
                    waited: Duration::ZERO,
                };
                self.served(id, ticket, served, taken);
            }
            Holds::Look(id, taken) => {
                if let Some(taken) = taken {
                    self.scheduler.idle(taken.is_large);
                }
                let commands = self.step(id, Input::Disk(trouble()));
                self.perform(id, commands);
            }
            Holds::Batch(ids, taken) => {
                self.scheduler.idle(taken.is_large);
                for id in ids {
                    // The states are gone with the task.
                    if self.slots.0.get(&id).is_some_and(|slot| slot.state.is_none()) {
                        self.close(id, &Ending::lost(DEFECT));
                    }
                }
            }
        }
    }

    fn booked(&mut self, id: FileId, ticket: Ticket, absorbed: Absorbed) {
        let Absorbed { count, declared, hopeless } = absorbed;
        let is_current = self.slots.state(id).is_some_and(|state| state.left(ticket).is_some());
        let commands = self.step(id, Input::Booked { ticket, count, declared, hopeless });
        if is_current
            && let Some(slot) = self.slots.0.get(&id)
            && let Some(state) = &slot.state
        {
            let (have, size) = (state.have(), state.length());
            self.context.tell(&Event::Received { path: slot.artifact.path.clone(), have, size });
        }
        self.set_front(id);
        self.perform(id, commands);
    }

    /// Tells the hashes how far they may follow.
    fn set_front(&self, id: FileId) {
        let Some(slot) = self.slots.0.get(&id) else { return };
        let (Some(state), Some(download)) = (&slot.state, &slot.download) else { return };
        let before = download.front();
        let front = state.front();
        if download.set_front(front) && front - before > JUMP {
            let (download, context) = (download.clone(), self.context.clone());
            drop(blocking(move || {
                if let Err(error) = download.follow(&context.parts) {
                    tracing::debug!(error = %explain_briefly(&error), "a hash could not follow; it is completed at the end");
                }
            }));
        }
    }

    fn served(&mut self, id: FileId, ticket: Ticket, served: Served, taken: Taken) {
        self.scheduler.idle(taken.is_large);
        if let Some(slot) = self.slots.0.get_mut(&id) {
            slot.lent.retain(|lent| lent.ticket != ticket);
        }
        if self.is_ending {
            return;
        }
        if matches!(served.end, RangeEnd::Finished | RangeEnd::BodyEnded) {
            self.scheduler.delivered(served.bytes, served.took, served.waited);
        }
        let commands = self.step(id, Input::RangeEnded { ticket, end: served.end });
        self.set_front(id);
        self.perform(id, commands);
    }

    fn carried(&mut self, file: Carried) {
        let Carried { id, state, download, part, commands, habit, waited, is_whole } = file;
        for waited in waited {
            self.scheduler.head(waited, false);
        }
        if is_whole {
            self.scheduler.count_small_file();
        }
        let Some(slot) = self.slots.0.get_mut(&id) else { return };
        let host = state.host().to_owned();
        self.scheduler.place(id, &state);
        slot.state = Some(state);
        slot.download = download;
        slot.part = part;
        if let Some(habit) = habit {
            self.know_habit(&host, habit);
        }
        self.perform(id, commands);
    }

    fn hashed(&mut self, id: FileId, result: Result<Option<(Box<Received>, Arc<Part>)>, DiskTrouble>) {
        let Some(slot) = self.slots.0.get_mut(&id) else { return };
        if slot.state.as_ref().is_some_and(|state| !state.task().is_large()) {
            self.scheduler.count_small_file();
        }
        let input = match result {
            Ok(Some((received, part))) => {
                slot.part = Some(part);
                Input::Hashed { received, unix_ms: clock::unix_ms() }
            }
            Ok(None) => return,
            Err(trouble) => Input::Disk(trouble),
        };
        let commands = self.step(id, input);
        self.perform(id, commands);
    }

    fn committed(&mut self, key: &ArtifactKey, committed: Committed) {
        let outcome = match committed {
            Committed::Published(event, notice) => {
                if let Some(message) = notice {
                    self.context.tell(&Event::Notice { message });
                }
                self.summary.published += 1;
                self.context.tell(&event);
                Outcome::Here
            }
            Committed::Known => Outcome::Here,
            Committed::Failed(error) => Outcome::Refused { cause: explain_briefly(&error) },
        };
        let Some(id) = self.by_key.get(key).copied() else { return };
        let commands = self.step(id, Input::Committed(outcome));
        self.perform(id, commands);
    }

    /// Steps the state of a file, and puts it where it belongs now.
    fn step(&mut self, id: FileId, input: Input) -> Commands {
        let now = self.now();
        let Some(slot) = self.slots.0.get_mut(&id) else { return Commands::new() };
        let Some(state) = &mut slot.state else { return Commands::new() };
        let is_news = !matches!(input, Input::Booked { .. });
        state.know_run(self.context.may_run_write());
        let commands = state.step(now, input);
        if is_news || !commands.is_empty() {
            tracing::debug!(path = %slot.artifact.path, phase = ?state.phase(), ?commands, "decided");
            self.scheduler.place(id, state);
        }
        commands
    }

    /// Performs what a response is answered with, and answers.
    fn reply(&mut self, id: FileId, ticket: Ticket, commands: Commands, reply: oneshot::Sender<Reply>) {
        let mut answer = Reply::Drop;
        let mut rest = Commands::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Receive { skip, take, end, lacks, .. } => {
                    let slot = self.slots.0.get(&id);
                    let lent = slot.and_then(|slot| slot.lent.iter().find(|lent| lent.ticket == ticket));
                    if let Some(lent) = lent {
                        lent.end.set(end);
                    }
                    answer = Reply::Receive { skip, take, lacks };
                }
                Command::ReadRefusal { .. } => answer = Reply::ReadRefusal,
                Command::Unpack { .. } => answer = Reply::Unpack,
                command => rest.push(command),
            }
        }
        self.perform(id, rest);
        // A connection that is gone was stopped.
        let _ = reply.send(answer);
    }

    /// Performs commands, in order.
    fn perform(&mut self, id: FileId, commands: Commands) {
        for command in commands {
            self.perform_one(id, command);
        }
    }

    fn perform_one(&mut self, id: FileId, command: Command) {
        let Some(slot) = self.slots.0.get_mut(&id) else { return };
        let artifact = slot.artifact.clone();
        match command {
            Command::Learned(known) => {
                let new = || Arc::new(Download::new(artifact.key.clone(), artifact.path.file_name()));
                slot.download.get_or_insert_with(new).learn(known);
            }
            Command::Habit(habit) => {
                let host = slot.state.as_ref().map(|state| state.host().to_owned());
                if let Some(host) = host {
                    self.know_habit(&host, habit);
                }
            }
            Command::Drop { ticket } => {
                for lent in slot.lent.iter().filter(|lent| lent.ticket == ticket) {
                    lent.end.stop();
                }
            }
            Command::Abandon => {
                if let Some(download) = slot.download.take()
                    && let Err(error) = download.abandon()
                {
                    tracing::debug!(path = %artifact.path, error = %explain_briefly(&error), "a part could not be removed");
                }
            }
            // A download begins with the first range that is lent.
            Command::Restart => slot.download = None,
            Command::RefreshLink { newer_than, gone } => self.refresh_link(id, &artifact, newer_than, gone),
            Command::PauseHost { status, wait } => {
                if let Some(state) = &slot.state {
                    self.context.gates.close(state.host(), status, wait);
                }
            }
            Command::SlowDown => self.scheduler.push_back(),
            Command::Verify => self.verify(id),
            Command::Publish(verified) => {
                let (Some(state), Some(part), Some(download)) =
                    (&slot.state, slot.part.take(), slot.download.take())
                else {
                    return;
                };
                let finished = Finished {
                    task: state.task().clone(),
                    part,
                    verified,
                    revision: state.known().revision.clone().unwrap_or_default(),
                    elapsed: download.began().elapsed(),
                };
                self.outbox.push_back(ToCommit::Publish(Box::new(finished)));
            }
            Command::Adopt(entry) => self.outbox.push_back(ToCommit::Adopt(artifact.key.clone(), entry)),
            Command::NoteUnchanged => {
                let Some(state) = &slot.state else { return };
                let run = state.task().run.clone();
                let (key, path) = (artifact.key.clone(), artifact.path.clone());
                self.outbox.push_back(ToCommit::Unchanged(key, path, run));
            }
            Command::NoteDoubt(doubt) => {
                self.outbox.push_back(ToCommit::Doubt(artifact.key.clone(), doubt));
            }
            Command::ReleaseSpace => self.context.room.give_back(&artifact.key),
            Command::Report(report) => self.context.report(&artifact, report),
            Command::End(ending) => self.close(id, &ending),
            // The scheduler read it off the state's phase.
            Command::WaitUntil(_) => {}
            // Answers to a connection.
            Command::Receive { .. } | Command::ReadRefusal { .. } | Command::Unpack { .. } => {}
        }
    }

    /// Remembers what a host does with ranges, and tells every file that is on it.
    fn know_habit(&mut self, host: &str, habit: Habit) {
        self.habits.insert(host.to_owned(), habit);
        for slot in self.slots.0.values_mut() {
            if let Some(state) = slot.state.as_mut().filter(|state| state.host() == host) {
                state.know_habit(habit);
            }
        }
    }

    /// Tells a file that may have moved what its host does with ranges.
    fn tell_habit(&mut self, id: FileId) {
        let habits = &self.habits;
        if let Some(state) = self.slots.0.get_mut(&id).and_then(|slot| slot.state.as_mut()) {
            state.know_habit(habits.get(state.host()).copied().unwrap_or_default());
        }
    }

    fn refresh_link(&mut self, id: FileId, artifact: &Arc<Artifact>, newer_than: u64, gone: bool) {
        let (context, relister, artifact) = (self.context.clone(), self.relister.clone(), artifact.clone());
        self.spawn(Holds::Look(id, None), async move {
            let refreshed = tokio::select! {
                biased;
                () = context.cancel.cancelled() => return,
                refreshed = relister.newer_than(newer_than, &artifact.key, gone) => refreshed,
            };
            send(&context, Message::Link { id, refreshed });
        });
    }

    /// Completes the hashes of a file, beside everything else.
    fn verify(&mut self, id: FileId) {
        let Some(slot) = self.slots.0.get(&id) else { return };
        let Some(download) = slot.download.clone() else { return };
        let (context, artifact) = (self.context.clone(), slot.artifact.clone());
        self.spawn(Holds::Look(id, None), async move {
            let parts = context.parts.clone();
            let finished = blocking(move || download.finish(&parts)).await;
            let finished =
                finished.map_err(lost("verify", Path::new(artifact.path.as_str()))).unwrap_or_else(Err);
            let result = match finished {
                Ok(finished) => Ok(finished.map(|(received, part)| (Box::new(received), part))),
                Err(error) => Err(trouble(&error)),
            };
            send(&context, Message::Hashed { id, result });
        });
    }

    /// Ends a file; what arrived stays for the next try, as far as the disk still takes the record.
    fn close(&mut self, id: FileId, ending: &Ending) {
        let Some(slot) = self.slots.0.remove(&id) else { return };
        let key = &slot.artifact.key;
        self.by_key.remove(key);
        match ending {
            Ending::Here => {
                self.summary.missing.remove(key);
            }
            Ending::Missing { why, .. } => {
                if let Some(download) = &slot.download
                    && let Err(error) = download.retire()
                {
                    tracing::debug!(path = %slot.artifact.path, error = %explain_briefly(&error), "a part's record could not be written");
                }
                self.leftovers.insert(key.fingerprint());
                self.summary.missing.insert(key.clone(), why.clone());
            }
        }
        self.scheduler.close(self.now(), id, key, ending);
    }

    /// Ends the connections, records what they have, commits what is proven.
    async fn wind_up(mut self) -> Summary {
        self.is_ending = true;
        while !self.tasks.is_empty() || !self.outbox.is_empty() {
            match self.event().await {
                Woken::Message(message) => self.handle_at_the_end(*message),
                Woken::MayCommit => self.send_to_committer(),
                Woken::TaskEnded(_) | Woken::Look | Woken::Due | Woken::Cancelled => {}
            }
        }
        while let Ok(message) = self.inbox.try_recv() {
            self.handle_at_the_end(message);
        }
        for slot in self.slots.0.values() {
            if let Some(download) = slot.download.clone() {
                // What could not be recorded is fetched again by the next run.
                match blocking(move || download.retire()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(error = %explain_briefly(&error), "a part's record could not be written");
                    }
                    Err(gone) => tracing::debug!(%gone, "a part's record could not be written"),
                }
            }
        }
        // Proven after the connections had ended.
        for item in std::mem::take(&mut self.outbox) {
            if self.commit.send(item).await.is_err() {
                break;
            }
        }
        if self.commit.send(ToCommit::End).await.is_err() {
            tracing::debug!("the committer ended before it was told to");
        }
        while self.committer.join_next().await.is_some() {}
        while let Ok(message) = self.inbox.try_recv() {
            self.handle_at_the_end(message);
        }
        self.show();
        self.summary
    }

    /// No byte is taken any more, and no file is tried again; proven files are still committed.
    fn handle_at_the_end(&mut self, message: Message) {
        match message {
            Message::Response { reply, .. } | Message::Unpacked { reply, .. } => {
                let _ = reply.send(Reply::Drop);
            }
            Message::Order(_, answer) => {
                let _ = answer.send(0);
            }
            Message::Link { .. } | Message::LookedAt { .. } => {}
            message => self.handle(message),
        }
    }
}

/// Looks at what is here of a file.
async fn look_at(context: &Arc<Context>, task: &Task, is_left_over: bool, plain: bool) -> Found {
    if task.may_adopt
        && let Some(entry) = adopt(context, &context.dir, task, plain).await
    {
        return Found::Whole(Box::new(entry));
    }
    if !is_left_over {
        return Found::Nothing;
    }
    let (parts, artifact) = (context.parts.clone(), task.artifact.clone());
    let taken = blocking(move || {
        let key = artifact.key.clone();
        let taken = parts.take_over(&key)?;
        Ok(taken.map(|taken| Download::taken_over(key, artifact.path.file_name(), taken)))
    });
    match taken.await {
        Ok(Ok(Some((download, left)))) => Found::Part(Arc::new(download), left),
        Ok(Ok(None)) => Found::Nothing,
        Ok(Err(error)) => Found::Trouble(trouble(&error)),
        Err(gone) => {
            tracing::debug!(path = %task.artifact.path, %gone, "what was left could not be looked at");
            Found::Nothing
        }
    }
}

/// Sleeps; for ever where there is nothing to wait for.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Nothing is lost when the coordinator is gone: the run is over, and parts stay for the next.
fn send(context: &Context, message: Message) {
    if context.inbox.send(message).is_err() {
        tracing::debug!("the run is over: a report was dropped");
    }
}

/// A connection's way to a state that the coordinator has.
struct Remote<'a> {
    context: &'a Context,
    id: FileId,
    taken: Taken,
}

impl Port for Remote<'_> {
    async fn response(&mut self, ticket: Ticket, head: Head, waited: Duration) -> Reply {
        send(self.context, Message::Head { waited, cold: self.taken.is_cold });
        let (reply, answer) = oneshot::channel();
        let head = Box::new(head);
        send(self.context, Message::Response { id: self.id, ticket, head, reply });
        answer.await.unwrap_or(Reply::Drop)
    }

    async fn unpacked(&mut self, ticket: Ticket, length: u64) -> Reply {
        let (reply, answer) = oneshot::channel();
        send(self.context, Message::Unpacked { id: self.id, ticket, length, reply });
        answer.await.unwrap_or(Reply::Drop)
    }

    fn booked(&mut self, ticket: Ticket, absorbed: Absorbed) {
        send(self.context, Message::Booked { id: self.id, ticket, absorbed });
    }
}
