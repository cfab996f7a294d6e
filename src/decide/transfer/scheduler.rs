//! Which range or file is next, who waits, and how many connections there are.
//!
//! Checkpoints oldest first, since the trainer deletes them in that order; samples have a share of the connections of
//! their own, so that neither kind starves the other. Finding work costs the same however much waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::decide::transfer::ranges::Cut;
use crate::decide::transfer::stall::Typical;
use crate::model::artifact::ArtifactKey;

use super::connections::{Connections, Limits, Load, Seen, Shares, Traffic};
use super::protocol::{Assignment, Ending, Input, Phase, Ticket};
use super::state::TransferState;
use super::straggler::Others;
use super::task::Task;

/// Where small files have no connection of their own, they get one range in this many.
const TURNS: u32 = 4;

/// The most small files that one connection takes at once: enough that handing them over costs nothing.
const MOST_IN_A_BATCH: usize = 16;

/// The same while the host may be far.
const MOST_IN_A_FAR_BATCH: usize = 2;

/// A connection that delivers less than this share of a block at a glance shows nothing by that.
const TELLING_SHARE: u64 = 4;

/// Batches are cut so that each connection still gets this many of what waits.
const BATCHES_EACH: usize = 4;

/// One file under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(u64);

/// Where the states of files are.
pub(crate) trait Files {
    /// Returns the state of a file, unless a connection has it.
    fn state(&mut self, id: FileId) -> Option<&mut TransferState>;
}

impl Files for BTreeMap<FileId, TransferState> {
    fn state(&mut self, id: FileId) -> Option<&mut TransferState> {
        self.get_mut(&id)
    }
}

/// Work for one connection.
#[derive(Debug)]
pub(crate) enum Work {
    /// Look at what is here of a file.
    Look(FileId),
    Range(FileId, Assignment),
    /// Fetch the second part of a range under way, once the connection that serves it has agreed.
    Split {
        file: FileId,
        ticket: Ticket,
        /// Where the second part begins.
        at: u64,
    },
    /// Carry small files from their request to their proof, one after the other.
    Batch(Vec<FileId>),
}

/// Puts files and ranges in order.
#[derive(Debug)]
pub(crate) struct Scheduler {
    connections: Connections,
    base: Cut,
    cut: Cut,
    typical: Typical,
    next_id: u64,
    large: VecDeque<FileId>,
    small: VecDeque<FileId>,
    /// Files with ranges to assign or under way, in the order in which they were begun: what is left of them comes
    /// before anything new.
    begun: Vec<Begun>,
    waiting: BinaryHeap<Reverse<(Duration, FileId)>>,
    deadlines: HashMap<FileId, Duration>,
    load: Load,
    /// Connections of the load that look at what is here of a file, and wait for no host as far as it is known.
    looks: usize,
    /// Connections that are open, from earlier requests, and have nothing to do.
    open_idle: usize,
    /// Counts turns while small files have no connection of their own.
    turn: u32,
    starved: bool,
    most_in_a_batch: usize,
    /// Every file from its task to its end, so that no poll orders it twice.
    under_way: HashSet<ArtifactKey>,
    cooling: HashMap<ArtifactKey, Cooling>,
}

/// A file with ranges to assign or under way.
#[derive(Debug, Clone, Copy)]
struct Begun {
    id: FileId,
    is_large: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cooling {
    until: Duration,
    wait: Duration,
    /// It waits for the training: once that is over, it need not wait longer.
    for_training: bool,
}

impl Scheduler {
    /// Begins with nothing. `cut`: how files are cut into ranges while nothing is known of connections.
    /// `most_in_a_batch`: what the open files of a batch may be, at most.
    #[must_use]
    pub(crate) fn new(limits: &Limits, cut: Cut, most_in_a_batch: usize) -> Self {
        Self {
            connections: Connections::new(limits),
            base: cut,
            cut,
            typical: Typical::default(),
            next_id: 0,
            large: VecDeque::new(),
            small: VecDeque::new(),
            begun: Vec::new(),
            waiting: BinaryHeap::new(),
            deadlines: HashMap::new(),
            load: Load::default(),
            looks: 0,
            open_idle: 0,
            turn: 0,
            starved: false,
            most_in_a_batch: most_in_a_batch.clamp(1, MOST_IN_A_BATCH),
            under_way: HashSet::new(),
            cooling: HashMap::new(),
        }
    }

    /// Admits a file, behind those of its kind that were admitted before. `None` while it is under way or cools down.
    pub(crate) fn admit(&mut self, now: Duration, task: &Task) -> Option<FileId> {
        let (key, is_large) = (&task.artifact.key, task.is_large());
        let still = |cooling: &Cooling| cooling.until > now && (task.run_may_write || !cooling.for_training);
        let is_cooling = self.cooling.get(key).is_some_and(still);
        if is_cooling || !self.under_way.insert(key.clone()) {
            return None;
        }
        let id = FileId(self.next_id);
        self.next_id += 1;
        if is_large {
            self.large.push_back(id)
        } else {
            self.small.push_back(id)
        }
        Some(id)
    }

    /// Takes back a small file of a batch that was not begun; it is the next of its kind.
    pub(crate) fn requeue(&mut self, id: FileId) {
        self.small.push_front(id);
    }

    /// Puts a file where its phase belongs, after each step.
    pub(crate) fn place(&mut self, id: FileId, state: &TransferState) {
        match state.phase() {
            Phase::Fetching => {
                self.deadlines.remove(&id);
                if !self.begun.iter().any(|begun| begun.id == id) {
                    self.begun.push(Begun { id, is_large: state.task().is_large() });
                }
            }
            Phase::Waiting { until } => {
                self.forget(id);
                if self.deadlines.insert(id, *until) != Some(*until) {
                    self.waiting.push(Reverse((*until, id)));
                }
            }
            Phase::Queued
            | Phase::RefreshingLink { .. }
            | Phase::Verifying
            | Phase::Committing
            | Phase::Ended => {
                self.forget(id);
                self.deadlines.remove(&id);
            }
        }
    }

    /// Puts a file at the head of its queue: its wait before the first request is over.
    pub(crate) fn queue_again(&mut self, id: FileId, is_large: bool) {
        if is_large { self.large.push_front(id) } else { self.small.push_front(id) }
    }

    fn forget(&mut self, id: FileId) {
        self.begun.retain(|begun| begun.id != id);
    }

    /// Ends a file: it may be admitted again, after the cool-down of its ending. A second cool-down in a row is twice as
    /// long, up to its longest.
    pub(crate) fn close(&mut self, now: Duration, id: FileId, key: &ArtifactKey, ending: &Ending) {
        self.forget(id);
        self.deadlines.remove(&id);
        self.under_way.remove(key);
        match ending {
            Ending::Here => {
                self.cooling.remove(key);
            }
            Ending::Missing { cool_down: (first, longest), for_training, .. } => {
                let known = self.cooling.get(key);
                let wait = known.map_or(*first, |cooling| (cooling.wait * 2).min(*longest));
                let for_training = *for_training;
                self.cooling.insert(key.clone(), Cooling { until: now + wait, wait, for_training });
            }
        }
    }

    /// Returns when the next file that cools down may be admitted again. Files that have cooled down already are not
    /// waited for: they are admitted, or no longer offered.
    #[must_use]
    pub(crate) fn cooled_at(&self, now: Duration) -> Option<Duration> {
        self.cooling.values().map(|cooling| cooling.until).filter(|until| *until > now).min()
    }

    /// Whether no file is under way.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Returns the connections in use.
    #[must_use]
    pub(crate) const fn load(&self) -> Load {
        self.load
    }

    /// Returns the present shares.
    #[must_use]
    pub(crate) const fn shares(&self) -> Shares {
        self.connections.shares()
    }

    /// Returns how files are cut into ranges now.
    #[must_use]
    pub(crate) const fn cut(&self) -> Cut {
        self.cut
    }

    /// Whether so many connections are open that a host may refuse the crowd.
    #[must_use]
    pub(crate) const fn is_crowded(&self) -> bool {
        self.connections.is_crowded()
    }

    /// Takes in how long a request waited for its response's head.
    pub(crate) fn head(&mut self, waited: Duration, cold: bool) {
        self.connections.head(waited, cold);
    }

    /// Takes in what a connection delivered that delivered all it was asked for.
    pub(crate) fn delivered(&mut self, bytes: u64, took: Duration, waited: Duration) {
        // A shorter response is over before it has found its speed.
        if bytes >= self.base.block / 2 {
            self.typical.learn(bytes, took, waited);
            self.cut = self.base.to_measure(&self.typical);
        }
    }

    /// A host asked for fewer connections.
    pub(crate) fn push_back(&mut self, now: Duration) {
        self.connections.push_back(now, self.load);
    }

    /// One connection of many broke in the middle of a response.
    pub(crate) fn note_break(&mut self, now: Duration) {
        self.connections.note_break(now, self.load);
    }

    /// Counts connections anew.
    pub(crate) fn observe(&mut self, now: Duration, traffic: Traffic) -> Shares {
        let seen = Seen {
            traffic,
            load: self.load,
            requests: self.load.all().saturating_sub(self.looks),
            starved: std::mem::take(&mut self.starved),
            // One that was begun waits again when its connection broke.
            small_waiting: self.small.len() + self.begun.iter().filter(|begun| !begun.is_large).count(),
            large_is_left: !self.large.is_empty()
                || self.load.large > 0
                || self.begun.iter().any(|begun| begun.is_large),
            typical_rate: self.typical.rate(),
        };
        self.connections.observe(now, &seen)
    }

    /// A connection is done with its work. `stays_open`: it read its response to the end, and serves the next request.
    pub(crate) const fn idle(&mut self, is_large: bool, stays_open: bool) {
        let busy = if is_large { &mut self.load.large } else { &mut self.load.small };
        *busy = busy.saturating_sub(1);
        if stays_open {
            self.open_idle += 1;
        }
    }

    /// A connection has looked at what is here of a file.
    pub(crate) const fn end_look(&mut self, taken: Taken) {
        self.looks = self.looks.saturating_sub(1);
        self.idle(taken.is_large, !taken.is_cold);
    }

    /// Whether connections that may work have nothing to do.
    #[must_use]
    pub(crate) fn has_idle_connections(&self) -> bool {
        self.load.all() < self.shares().all() && self.large.is_empty() && self.small.is_empty()
    }

    /// Returns when the next wait ends.
    pub(crate) fn next_deadline(&mut self) -> Option<Duration> {
        while let Some(Reverse((until, id))) = self.waiting.peek().copied() {
            // A file that was placed elsewhere since, or waits longer, is not due.
            if self.deadlines.get(&id) == Some(&until) {
                return Some(until);
            }
            self.waiting.pop();
        }
        None
    }

    /// Takes out a file whose wait is over.
    pub(crate) fn due(&mut self, now: Duration) -> Option<FileId> {
        self.next_deadline().filter(|until| *until <= now)?;
        let Reverse((_, id)) = self.waiting.pop()?;
        self.deadlines.remove(&id);
        Some(id)
    }

    /// Gives the next work, where a connection may take some. Each is given back with [`Self::idle`].
    pub(crate) fn next(&mut self, now: Duration, files: &mut impl Files) -> Option<(Work, Taken)> {
        if self.load.all() >= self.shares().all() {
            return None;
        }
        let small_first = if self.shares().small == 0 {
            self.turn = self.turn.wrapping_add(1);
            self.turn.is_multiple_of(TURNS)
        } else {
            self.load.small < self.shares().small
        };
        let found = self
            .take(now, !small_first, files)
            .map(|work| (work, !small_first))
            .or_else(|| self.take(now, small_first, files).map(|work| (work, small_first)))
            .or_else(|| self.split_largest(files));
        let Some((work, is_large)) = found else {
            self.starved = true;
            return None;
        };
        let taken = self.take_one(is_large);
        Some((work, taken))
    }

    fn take(&mut self, now: Duration, large: bool, files: &mut impl Files) -> Option<Work> {
        if large && self.connections.one_each() {
            self.continue_begun(large, files, |state| !state.is_busy())
                .or_else(|| self.begin_next(now, large, files))
                .or_else(|| self.continue_begun(large, files, |_| true))
        } else {
            self.continue_begun(large, files, |_| true).or_else(|| self.begin_next(now, large, files))
        }
    }

    /// The next range of a file that was begun.
    fn continue_begun(
        &self,
        large: bool,
        files: &mut impl Files,
        fits: impl Fn(&TransferState) -> bool,
    ) -> Option<Work> {
        let cut = self.guided(large, files);
        self.begun.iter().filter(|begun| begun.is_large == large).find_map(|begun| {
            let state = files.state(begun.id)?;
            let assignment = fits(state).then(|| state.assign(&cut)).flatten()?;
            Some(Work::Range(begun.id, assignment))
        })
    }

    /// Cuts what is left of the last large files so that every connection ends at about the same time.
    fn guided(&self, large: bool, files: &mut impl Files) -> Cut {
        if !large || !self.large.is_empty() || self.shares().large == 0 {
            return self.cut;
        }
        let mut large_files = self.begun.iter().filter(|begun| begun.is_large);
        let left = large_files.try_fold(0_u64, |sum, begun| {
            let Some(state) = files.state(begun.id) else { return Some(sum) };
            Some(sum.saturating_add(state.unassigned()?))
        });
        let Some(left) = left else { return self.cut };
        let each = left / self.shares().large as u64;
        Cut { piece: self.cut.piece.min(each.max(self.cut.block)), ..self.cut }
    }

    /// The first range of the next file, or a batch of small ones.
    fn begin_next(&mut self, now: Duration, large: bool, files: &mut impl Files) -> Option<Work> {
        if !large && let Some(batch) = self.batch(files) {
            return Some(batch);
        }
        loop {
            let queue = if large { &mut self.large } else { &mut self.small };
            let id = queue.pop_front()?;
            let Some(state) = files.state(id) else { continue };
            if state.must_look() {
                self.looks += 1;
                return Some(Work::Look(id));
            }
            // Nothing is left of it, so no command follows.
            let _ = state.step(now, Input::Begun(None));
            let Some(assignment) = state.assign(&self.cut) else { continue };
            self.begun.push(Begun { id, is_large: large });
            return Some(Work::Range(id, assignment));
        }
    }

    /// Small files of which nothing is here yet.
    fn batch(&mut self, files: &mut impl Files) -> Option<Work> {
        let connections = self.shares().all().max(1);
        // On a far host a file takes much longer than its hand-over.
        let most = if self.connections.is_near() { self.most_in_a_batch } else { MOST_IN_A_FAR_BATCH };
        let size = (self.small.len() / (connections * BATCHES_EACH)).clamp(1, most);
        let mut batch = Vec::with_capacity(size);
        while batch.len() < size
            && let Some(id) = self.small.front().copied()
        {
            match files.state(id) {
                None => {
                    self.small.pop_front();
                }
                Some(state) if *state.phase() == Phase::Queued && !state.must_look() => {
                    self.small.pop_front();
                    batch.push(id);
                }
                Some(_) => break,
            }
        }
        (!batch.is_empty()).then_some(Work::Batch(batch))
    }

    fn split_largest(&self, files: &mut impl Files) -> Option<(Work, bool)> {
        let mut largest: Option<(u64, FileId)> = None;
        for begun in &self.begun {
            let Some(state) = files.state(begun.id) else { continue };
            let size = state.largest_range();
            if largest.is_none_or(|(known, _)| size > known) {
                largest = Some((size, begun.id));
            }
        }
        let (_, file) = largest?;
        let state = files.state(file)?;
        let (ticket, at) = state.split_point(&self.cut)?;
        Some((Work::Split { file, ticket, at }, state.task().is_large()))
    }

    /// Returns what a range under way is compared with.
    #[must_use]
    pub(crate) fn others(&self) -> Others {
        Others {
            are_idle: self.has_idle_connections(),
            is_one_open: self.open_idle > 0,
            are_welcome: self.connections.are_more_welcome(),
            typical: self.typical,
            telling: self.base.block / TELLING_SHARE,
        }
    }

    /// Takes an open connection that has nothing to do, to race another one. It is given back with [`Self::idle`].
    pub(crate) fn race(&mut self, is_large: bool) -> Option<Taken> {
        let others = self.others();
        if !others.are_idle || !others.is_one_open || !others.are_welcome {
            return None;
        }
        Some(self.take_one(is_large))
    }

    fn take_one(&mut self, is_large: bool) -> Taken {
        let busy = if is_large { &mut self.load.large } else { &mut self.load.small };
        *busy += 1;
        let is_cold = self.open_idle == 0;
        self.open_idle = self.open_idle.saturating_sub(1);
        Taken { is_large, is_cold }
    }
}

/// What a connection was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// For a large file.
    pub is_large: bool,
    /// None that is open had nothing to do, so it is a new one.
    pub is_cold: bool,
}

#[cfg(test)]
mod tests;
