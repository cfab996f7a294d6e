//! One task that owns the state of every file and the scheduler: it takes messages, steps the states, performs what they
//! order, and grants work to connections. Nothing else changes a state while the coordinator has it.

mod end;
mod grants;
mod orders;
mod speed;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::decide::mirror::stock::UnderWay;
use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::protocol::{Commands, Input, Outcome, Phase, RangeEnd, Ticket};
use crate::decide::transfer::scheduler::{FileId, Files, Scheduler, Taken};
use crate::decide::transfer::state::TransferState;
use crate::decide::transfer::straggler::Watch;
use crate::decide::transfer::task::{DiskTrouble, FailureCause, Policy, Task};
use crate::edge::folder::part_file::{Part, RECORD_AFTER};
use crate::edge::system::blocking::blocking;
use crate::edge::system::clock;
use crate::engine::commit_queue::{Committed, ToCommit};
use crate::engine::event::Event;
use crate::engine::options::SyncOptions;
use crate::engine::transfer::link_refresh::Relister;
use crate::error::{Error, explain_briefly};
use crate::model::artifact::{Artifact, ArtifactKey};

use super::context::Context;
use super::download::{Absorbed, Download};
use super::group::GATHER_FOR;
use super::messages::{Found, Message, Summary, Whole};
use super::shared_end::SharedEnd;
use super::worker::KEEP_UP;
use crate::engine::transfer::carried::Carried;
use crate::engine::transfer::messages::{Reply, Served};
use grants::Holds;

/// How often connections are counted while files are under way: several looks make one measurement.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A kill costs what arrived in the last second at most: bytes are gathered, wait until their connection looks, are written, wait
/// until a record may follow the one before, and until the coordinator looks.
const _: () = {
    let gathered = GATHER_FOR.as_millis() + KEEP_UP.as_millis();
    let recorded = RECORD_AFTER.as_millis() + KEEP_UP.as_millis() + LOOK_EVERY.as_millis();
    assert!(gathered + recorded < 1000);
};

/// Messages taken before work is granted again: more at once would let connections idle.
const AT_ONCE: usize = 64;

/// When the front of a file jumps by more than this, a thread lets the hashes follow at once; less is left to the
/// connection that writes next.
const JUMP: u64 = 1 << 20;

/// One file, from its task to its end.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) artifact: Arc<Artifact>,
    /// `None` while a connection carries it. Boxed: it is handed over often, and the map of all slots has free places.
    pub(super) state: Option<Box<TransferState>>,
    pub(super) download: Option<Arc<Download>>,
    pub(super) part: Option<Arc<Part>>,
}

/// A range under way.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) ticket: Ticket,
    pub(super) end: Arc<SharedEnd>,
    pub(super) watch: Watch,
    /// One past the last byte that was requested.
    pub(super) asked_end: u64,
    /// Two connections race for it, or did: what one of them delivered shows little.
    pub(super) is_raced: bool,
}

/// Every file under way.
#[derive(Debug, Default)]
pub(super) struct Slots(pub(super) BTreeMap<FileId, Slot>);

impl Files for Slots {
    fn state(&mut self, id: FileId) -> Option<&mut TransferState> {
        self.0.get_mut(&id)?.state.as_deref_mut()
    }
}

/// What the coordinator was woken by.
enum Woken {
    Message(Box<Message>),
    TaskEnded(Result<(Id, ()), JoinError>),
    /// The committer takes more files.
    MayCommit,
    Look,
    Due,
    Cancelled,
}

pub(super) struct Coordinator {
    pub(super) context: Arc<Context>,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) scheduler: Scheduler,
    pub(super) relister: Arc<Relister>,
    pub(super) commit: mpsc::Sender<ToCommit>,
    /// What [`Self::show`] shows the committer.
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) committer: JoinSet<()>,
    pub(super) is_quiet: watch::Sender<bool>,
    pub(super) options: SyncOptions,
    /// Files of which parts are left, of an earlier run or an earlier try in this one, by fingerprint.
    pub(super) leftovers: HashSet<String>,
    /// Proven files that may wait for the committer before connections do.
    pub(super) most_proven: usize,
    pub(super) state: State,
}

/// What the coordinator knows of the files that it was given, and of what is under way.
pub(super) struct State {
    pub(super) began: Instant,
    pub(super) slots: Slots,
    /// Ranges under way, by file.
    pub(super) lent: BTreeMap<FileId, Vec<Lent>>,
    pub(super) by_key: HashMap<ArtifactKey, FileId>,
    pub(super) habits: HashMap<String, Habit>,
    pub(super) tasks: JoinSet<()>,
    pub(super) holds: HashMap<Id, Holds>,
    pub(super) outbox: VecDeque<ToCommit>,
    /// Files that were handed to the committer, and are not committed yet.
    pub(super) handed_over: usize,
    pub(super) summary: Summary,
    pub(super) looked: Instant,
    /// When bytes that no record names were last looked for.
    pub(super) recorded: Instant,
    /// The task that writes records.
    pub(super) recording: Option<AbortHandle>,
    pub(super) is_ending: bool,
}

impl Default for State {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            slots: Slots::default(),
            lent: BTreeMap::new(),
            by_key: HashMap::new(),
            habits: HashMap::new(),
            tasks: JoinSet::new(),
            holds: HashMap::new(),
            outbox: VecDeque::new(),
            handed_over: 0,
            summary: Summary::default(),
            looked: now,
            recorded: now,
            recording: None,
            is_ending: false,
        }
    }
}

impl Coordinator {
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
                Woken::Look => {
                    self.look();
                    self.keep_records();
                }
                Woken::Due | Woken::Cancelled => {}
            }
        }
        self.wind_up().await
    }

    /// Waits for the next thing to do.
    async fn event(&mut self) -> Woken {
        let deadline = self.scheduler.next_deadline().map(|due| self.state.began + due);
        let look = (!self.scheduler.is_quiet()).then(|| self.state.looked + LOOK_EVERY);
        let is_proven = !self.state.outbox.is_empty();
        let may_look = !self.state.is_ending;
        let has_tasks = !self.state.tasks.is_empty();
        let Self { context, inbox, commit, state: State { tasks, .. }, .. } = self;
        tokio::select! {
            biased;
            () = context.cancel.cancelled(), if may_look => Woken::Cancelled,
            Some(message) = inbox.recv() => Woken::Message(Box::new(message)),
            _ = commit.reserve(), if is_proven => Woken::MayCommit,
            Some(ended) = tasks.join_next_with_id(), if has_tasks => Woken::TaskEnded(ended),
            () = clock::until(look), if may_look => Woken::Look,
            () = clock::until(deadline), if may_look => Woken::Due,
        }
    }

    /// Records what is here of files, so that a kill does not cost it: their connections may be silent, gone or waiting, and
    /// record nothing then. One task does so at a time, however slow the disk is.
    fn keep_records(&mut self) {
        let is_recording = self.state.recording.as_ref().is_some_and(|task| !task.is_finished());
        if is_recording || self.state.recorded.elapsed() < KEEP_UP {
            return;
        }
        self.state.recorded = Instant::now();
        let State { slots, tasks, recording, .. } = &mut self.state;
        let downloads = slots.0.values().filter_map(|slot| slot.download.as_ref());
        let due: Vec<_> = downloads.filter(|download| download.is_record_due()).cloned().collect();
        *recording = (!due.is_empty()).then(|| tasks.spawn(record(due, Download::keep)));
    }

    /// Hands proven files to the committer, as far as it takes them now.
    fn send_to_committer(&mut self) {
        while let Some(item) = self.state.outbox.pop_front() {
            match self.commit.try_send(item) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(item)) => return self.state.outbox.push_front(item),
                // The committer is gone: parts stay for the next run.
                Err(mpsc::error::TrySendError::Closed(_)) => return self.state.outbox.clear(),
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.state.began.elapsed()
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
                // The run that asked may have ended.
                let _ = answer.send(self.progress());
            }
            Message::CooledAt(answer) => {
                let cooled_at = self.scheduler.cooled_at(self.now()).map(|at| self.state.began + at);
                // The run that asked may have ended.
                let _ = answer.send(cooled_at);
            }
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
                self.scheduler.end_look(taken);
                self.looked_at(id, *found);
            }
            Message::Carried { files, taken } => {
                if let Some(taken) = taken {
                    self.scheduler.idle(taken.is_large, true);
                }
                for file in files {
                    self.carried(file);
                }
            }
            Message::Returned(files) => {
                for Carried { id, state, .. } in files.into_iter().rev() {
                    if let Some(slot) = self.state.slots.0.get_mut(&id) {
                        slot.state = Some(state);
                        self.scheduler.requeue(id);
                    }
                }
            }
            Message::Link { id, refreshed } => {
                let commands = self.step(id, Input::LinkRefreshed(refreshed));
                self.perform(id, commands);
                self.show_habit(id);
            }
            Message::Hashed { id, result } => self.hashed(id, result),
            Message::Committed(group) => self.committed(group),
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
            let previous = self.state.summary.missing.get(&artifact.key).cloned();
            let policy = Policy {
                once: self.options.once,
                retries: self.options.retries,
                interval: self.options.interval,
                accept_unproven: self.options.selection.accepts_unproven(&artifact.path),
            };
            let mut state = TransferState::new(task, policy, seed, left_over, previous);
            state.know_habit(self.state.habits.get(state.host()).copied().unwrap_or_default());
            self.state.by_key.insert(artifact.key.clone(), id);
            let slot = Slot { artifact, state: Some(Box::new(state)), download: None, part: None };
            self.state.slots.0.insert(id, slot);
        }
        tracing::debug!(admitted, "files ordered");
        // So that the first grant already counts what waits.
        self.observe();
        admitted
    }

    fn progress(&self) -> Vec<UnderWay> {
        let begun = self.state.slots.0.values().filter_map(|slot| {
            let state = slot.state.as_ref().filter(|state| *state.phase() != Phase::Queued)?;
            Some(UnderWay { key: slot.artifact.key.clone(), have: state.have(), length: state.length() })
        });
        begun.collect()
    }

    /// Shows whether no file is under way, and how many the committer may still wait for.
    fn show(&self) {
        self.coming.store(self.state.slots.0.len().saturating_sub(self.state.handed_over), Ordering::Release);
        let is_quiet = self.scheduler.is_quiet();
        self.is_quiet.send_if_modified(|shown| std::mem::replace(shown, is_quiet) != is_quiet);
    }

    /// Continues files whose wait is over.
    fn wake(&mut self) {
        let now = self.now();
        while let Some(id) = self.scheduler.due(now) {
            let commands = self.step(id, Input::Deadline);
            if let Some(state) = self.state.slots.state(id)
                && *state.phase() == Phase::Queued
            {
                let is_large = state.task().is_large();
                self.scheduler.queue_again(id, is_large);
            }
            self.perform(id, commands);
        }
    }

    fn looked_at(&mut self, id: FileId, found: Found) {
        let input = match found {
            Found::Whole(entry) => Input::Adopted(entry),
            Found::Part(download, left) => {
                let Some(slot) = self.state.slots.0.get_mut(&id) else { return };
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

    fn booked(&mut self, id: FileId, ticket: Ticket, absorbed: Absorbed) {
        let Absorbed { count, skipped, declared, hopeless } = absorbed;
        if skipped > 0 {
            let commands = self.step(id, Input::Skipped { ticket, count: skipped });
            self.perform(id, commands);
        }
        let is_current = self.state.slots.state(id).is_some_and(|state| state.left(ticket).is_some());
        let commands = self.step(id, Input::Booked { ticket, count, declared, hopeless });
        if is_current
            && let Some(slot) = self.state.slots.0.get(&id)
            && let Some(state) = &slot.state
        {
            let (have, size) = (state.have(), state.length());
            self.context.emit(&Event::Received { path: slot.artifact.path.clone(), have, size });
        }
        self.set_front(id);
        self.perform(id, commands);
    }

    /// Shows the hashes how far they may follow.
    pub(super) fn set_front(&self, id: FileId) {
        let Some(slot) = self.state.slots.0.get(&id) else { return };
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

    pub(super) fn served(&mut self, id: FileId, ticket: Ticket, served: Served, taken: Taken) {
        let is_whole = matches!(served.end, RangeEnd::Finished | RangeEnd::BodyEnded);
        let mut ranges = self.state.lent.remove(&id).unwrap_or_default();
        let lent = ranges.iter().position(|lent| lent.ticket == ticket).map(|at| ranges.swap_remove(at));
        if !ranges.is_empty() {
            self.state.lent.insert(id, ranges);
        }
        // A response that was cut short costs its connection.
        let is_read = lent.as_ref().is_some_and(|lent| {
            let length = self.state.slots.state(id).and_then(|state| state.length()).unwrap_or(u64::MAX);
            lent.end.end() >= lent.asked_end.min(length)
        });
        self.scheduler.idle(taken.is_large, is_whole && is_read);
        if self.state.is_ending {
            return;
        }
        if is_whole && !lent.is_some_and(|lent| lent.is_raced) {
            self.scheduler.delivered(served.bytes, served.took, served.waited);
        }
        let commands = self.step(id, Input::RangeEnded { ticket, end: served.end });
        self.set_front(id);
        self.perform(id, commands);
    }

    fn carried(&mut self, file: Carried) {
        let Carried { id, state, download, part, commands, habit, waited, has_cold_head: _ } = file;
        for waited in waited {
            self.scheduler.head(waited, false);
        }
        let Some(slot) = self.state.slots.0.get_mut(&id) else { return };
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

    fn hashed(&mut self, id: FileId, result: Result<Option<Whole>, DiskTrouble>) {
        let Some(slot) = self.state.slots.0.get_mut(&id) else { return };
        let input = match result {
            Ok(Some(Whole { received, part })) => {
                slot.part = Some(part);
                Input::Hashed { received, unix_ms: clock::unix_ms() }
            }
            Ok(None) => return,
            Err(trouble) => Input::Disk(trouble),
        };
        let commands = self.step(id, input);
        self.perform(id, commands);
    }

    fn committed(&mut self, group: Vec<(ArtifactKey, Committed)>) {
        let mut events = Vec::with_capacity(group.len());
        let mut outcomes = Vec::with_capacity(group.len());
        for (key, committed) in group {
            self.state.handed_over = self.state.handed_over.saturating_sub(1);
            let outcome = match committed {
                Committed::Published(event, notice) => {
                    events.extend(notice.map(|notice| Event::Notice { notice }));
                    self.state.summary.published += 1;
                    events.push(event);
                    Outcome::Here
                }
                Committed::Known => Outcome::Here,
                Committed::Failed(error) => Outcome::Refused { cause: FailureCause::Disk(error) },
            };
            outcomes.push((key, outcome));
        }
        self.context.emit_all(&events);
        for (key, outcome) in outcomes {
            let Some(id) = self.state.by_key.get(&key).copied() else { continue };
            let commands = self.step(id, Input::Committed(outcome));
            self.perform(id, commands);
        }
    }

    /// Steps the state of a file, and puts it where it belongs now.
    pub(super) fn step(&mut self, id: FileId, input: Input) -> Commands {
        let now = self.now();
        let Some(slot) = self.state.slots.0.get_mut(&id) else { return Commands::new() };
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
}

/// Writes the records of parts, one after the other. What could not be recorded is fetched again by the next run.
async fn record(downloads: Vec<Arc<Download>>, write: fn(&Download) -> Result<(), Error>) {
    let recording = blocking(move || {
        for error in downloads.iter().filter_map(|download| write(download).err()) {
            tracing::debug!(error = %explain_briefly(&error), "a part's record could not be written");
        }
    });
    if let Err(gone) = recording.await {
        tracing::debug!(%gone, "records of parts could not be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tens of thousands of files wait at once: what each of them takes is what the program takes.
    #[test]
    fn a_file_that_waits_takes_little_memory() {
        let sizes = [size_of::<Slot>(), size_of::<TransferState>(), size_of::<Task>()];
        for (size, most) in sizes.into_iter().zip([32, 640, 64]) {
            assert!(size <= most, "{sizes:?}");
        }
    }
}
