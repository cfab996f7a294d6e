//! The work that is left, and which piece of it an idle connection takes next.
//!
//! Checkpoints oldest first, since the trainer deletes them in that order; samples and configs get a share of the
//! connections of their own, so that neither kind starves the other. Taking work costs the same however much waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::decide::transfer::ranges::{Cut, Lease};
use crate::decide::transfer::stall::Typical;
use crate::edge::folder::part_file::BLOCK;
use crate::engine::transfer::task::Transfer;
use crate::model::artifact::ArtifactKey;

use super::attempt::Attempt;

/// The most one request asks for. Large enough that a round trip between two requests costs little, small enough that
/// several connections on one file stay close together and the hash close behind them.
const PIECE: u64 = 16 * BLOCK;

/// What the next request for a file asks for, while nobody knows what a connection brings.
const FIRST_PIECE: u64 = 2 * BLOCK;

/// Halves smaller than this are not worth a round trip, as far as nobody knows how long that takes.
const SPLIT: u64 = 2 * BLOCK;

/// Where there are too few connections for small files to have one of their own, they get one piece in this many.
const TURNS: u32 = 4;

/// How files are cut into requests, to begin with.
const CUT: Cut = Cut { piece: FIRST_PIECE, first: PIECE, split: SPLIT, block: BLOCK };

/// How many connections may work on each kind of file while both kinds wait; what one kind leaves, the other takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// For samples: many small answers, each of which costs a round trip.
    pub(crate) small: usize,
    /// For checkpoints and the configuration.
    pub(crate) large: usize,
}

impl Shares {
    const fn all(self) -> usize {
        self.small + self.large
    }
}

/// How busy the connections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Connections at work on small files.
    pub(crate) small: usize,
    /// Connections at work on large files.
    pub(crate) large: usize,
}

impl Load {
    /// Connections at work.
    pub(crate) const fn all(self) -> usize {
        self.small + self.large
    }
}

/// A piece of work for one connection.
#[derive(Debug)]
pub(crate) enum Work {
    /// The file has no attempt yet: look for what an earlier run left of it.
    Begin(Arc<Transfer>),
    /// Fetch this range.
    Piece { transfer: Arc<Transfer>, attempt: Arc<Attempt>, lease: Lease, range: Range<u64> },
}

impl Work {
    pub(crate) const fn transfer(&self) -> &Arc<Transfer> {
        match self {
            Self::Begin(transfer) | Self::Piece { transfer, .. } => transfer,
        }
    }
}

/// The work that is left.
#[derive(Debug)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    wake: Notify,
    quiet: Notify,
}

#[derive(Debug)]
struct Inner {
    shares: Shares,
    cut: Cut,
    /// Each connection takes a file of its own, as far as there are any.
    one_each: bool,
    /// A connection that may work found nothing to do since somebody last asked.
    starved: bool,
    large: VecDeque<Arc<Transfer>>,
    small: VecDeque<Arc<Transfer>>,
    /// Begun files, in the order in which they were begun: what is left of them comes before anything new.
    begun: Vec<Arc<Transfer>>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    /// Counts takings while small files have no connection of their own.
    turn: u32,
    /// Which files wait in `delayed`: however many there are, nobody has to look through them.
    waiting: HashSet<ArtifactKey>,
    load: Load,
    /// Every file from its order to its end, so that no look orders it twice.
    under_way: HashSet<ArtifactKey>,
    cooling: HashMap<ArtifactKey, Cooling>,
}

#[derive(Debug)]
struct Delayed {
    until: Instant,
    number: u64,
    transfer: Arc<Transfer>,
}

#[derive(Debug, Clone, Copy)]
struct Cooling {
    until: Instant,
    wait: Duration,
    /// It waits for the trainer: once the run is over, it need not wait for longer.
    for_trainer: bool,
}

impl Board {
    pub(crate) fn new(shares: Shares) -> Self {
        let inner = Inner {
            shares,
            cut: CUT,
            one_each: false,
            starved: false,
            large: VecDeque::new(),
            small: VecDeque::new(),
            begun: Vec::new(),
            delayed: BinaryHeap::new(),
            turn: 0,
            waiting: HashSet::new(),
            load: Load { small: 0, large: 0 },
            under_way: HashSet::new(),
            cooling: HashMap::new(),
        };
        Self { inner: Mutex::new(inner), wake: Notify::new(), quiet: Notify::new() }
    }

    /// Changes how many connections may work.
    pub(crate) fn share_out(&self, shares: Shares) {
        let changed = std::mem::replace(&mut self.inner().shares, shares) != shares;
        if changed {
            self.stir();
        }
    }

    /// Cuts pieces to the measure of what connections bring.
    pub(crate) fn cut_to_measure(&self, typical: &Typical) {
        self.inner().cut = CUT.to_measure(typical);
    }

    /// Whether each connection takes a file of its own, as far as there are any, instead of all the oldest.
    pub(crate) fn give_one_each(&self, one_each: bool) {
        self.inner().one_each = one_each;
    }

    /// Returns how files are cut into requests now.
    pub(crate) fn cut(&self) -> Cut {
        self.inner().cut
    }

    /// Whether any connection that may work found nothing to do since this was last asked.
    pub(crate) fn take_starved(&self) -> bool {
        std::mem::take(&mut self.inner().starved)
    }

    /// Returns how busy the connections are.
    pub(crate) fn load(&self) -> Load {
        self.inner().load
    }

    /// Whether connections that may work have nothing to do.
    pub(crate) fn has_idle_connections(&self) -> bool {
        let inner = self.inner();
        inner.load.all() < inner.shares.all() && inner.large.is_empty() && inner.small.is_empty()
    }

    /// Orders files, in order of urgency. Files under way or cooling down are left alone. Returns how many were taken.
    pub(crate) fn order(&self, transfers: Vec<Transfer>) -> u64 {
        let mut taken = 0;
        let mut inner = self.inner();
        let now = Instant::now();
        for transfer in transfers {
            let key = transfer.order.artifact.key.clone();
            let may_write = transfer.order.run_may_write;
            let cooling = inner
                .cooling
                .get(&key)
                .is_some_and(|cooling| cooling.until > now && (may_write || !cooling.for_trainer));
            if !cooling && inner.under_way.insert(key) {
                inner.queue(&transfer).push_back(Arc::new(transfer));
                taken += 1;
            }
        }
        drop(inner);
        self.stir();
        taken
    }

    /// Waits for work. Every `Work` must be given back with [`Self::idle`].
    ///
    /// Who finds work wakes one more, who looks in turn: so as many get up as there is work for, and not a hundred
    /// connections for each small file.
    pub(crate) async fn next(&self) -> Work {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            // Registered before the look, so that nothing that is put up in between is missed.
            woken.as_mut().enable();
            let due = match self.inner().take() {
                Ok((work, more)) => {
                    if more {
                        self.stir();
                    }
                    return work;
                }
                Err(due) => due,
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, woken).await;
                }
                None => woken.await,
            }
        }
    }

    /// A connection is done with its piece. It looks for more work itself, so nobody is woken.
    pub(crate) fn idle(&self, transfer: &Transfer) {
        let mut inner = self.inner();
        let busy = if transfer.is_large() { &mut inner.load.large } else { &mut inner.load.small };
        *busy = busy.saturating_sub(1);
    }

    /// More can be fetched now than a moment ago.
    pub(crate) fn stir(&self) {
        self.wake.notify_one();
    }

    /// Lets a file wait.
    pub(crate) fn delay(&self, transfer: &Arc<Transfer>, until: Instant) {
        let mut inner = self.inner();
        // Two connections may stumble over the same file, and the first of them may have given it up.
        if transfer.state().ended {
            return;
        }
        inner.begun.retain(|begun| !Arc::ptr_eq(begun, transfer));
        if inner.waiting.insert(transfer.order.artifact.key.clone()) {
            let number = inner.delayed.len() as u64;
            inner.delayed.push(Reverse(Delayed { until, number, transfer: transfer.clone() }));
        }
        drop(inner);
        self.stir();
    }

    /// Takes a file that came to its end out of the work; it may be ordered again later.
    pub(crate) fn end(&self, transfer: &Arc<Transfer>) {
        let mut inner = self.inner();
        transfer.state().ended = true;
        inner.begun.retain(|begun| !Arc::ptr_eq(begun, transfer));
    }

    /// Tells that a file's story is over; only now may it be ordered again, after `cool_down` if one is given. A
    /// second cool-down in a row is twice as long, up to `longest`.
    pub(crate) fn close(&self, key: &ArtifactKey, cool_down: Option<(Duration, Duration)>) {
        self.close_until(key, cool_down, false);
    }

    /// The same for a file that the trainer may still be writing.
    pub(crate) fn close_for_trainer(&self, key: &ArtifactKey, cool_down: (Duration, Duration)) {
        self.close_until(key, Some(cool_down), true);
    }

    fn close_until(&self, key: &ArtifactKey, cool_down: Option<(Duration, Duration)>, for_trainer: bool) {
        let mut inner = self.inner();
        inner.under_way.remove(key);
        match cool_down {
            None => {
                inner.cooling.remove(key);
            }
            Some((first, longest)) => {
                let wait = inner.cooling.get(key).map_or(first, |cooling| (cooling.wait * 2).min(longest));
                inner
                    .cooling
                    .insert(key.clone(), Cooling { until: Instant::now() + wait, wait, for_trainer });
            }
        }
        let quiet = inner.under_way.is_empty();
        drop(inner);
        if quiet {
            self.quiet.notify_waiters();
        }
    }

    /// Returns when the next file that cools down may be ordered again. Of those that have cooled down already, nothing
    /// is waited for: they are ordered, or offered no more.
    pub(crate) fn cooled_at(&self) -> Option<Instant> {
        let now = Instant::now();
        self.inner().cooling.values().map(|cooling| cooling.until).filter(|until| *until > now).min()
    }

    /// Waits until no file is under way.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if self.inner().under_way.is_empty() {
                return;
            }
            quiet.await;
        }
    }

    /// Whether no file is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inner().under_way.is_empty()
    }

    /// Returns the begun files.
    pub(crate) fn begun(&self) -> Vec<Arc<Transfer>> {
        let inner = self.inner();
        let delayed = inner.delayed.iter().map(|Reverse(delayed)| delayed.transfer.clone());
        inner.begun.iter().cloned().chain(delayed).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn queue(&mut self, transfer: &Transfer) -> &mut VecDeque<Arc<Transfer>> {
        if transfer.is_large() { &mut self.large } else { &mut self.small }
    }

    /// Takes the next piece, and says whether one more connection may work; or says when a delayed file is due.
    fn take(&mut self) -> Result<(Work, bool), Option<Instant>> {
        let now = Instant::now();
        while self.delayed.peek().is_some_and(|Reverse(delayed)| delayed.until <= now) {
            if let Some(Reverse(delayed)) = self.delayed.pop() {
                self.waiting.remove(&delayed.transfer.order.artifact.key);
                self.queue(&delayed.transfer).push_front(delayed.transfer);
            }
        }
        if self.load.all() >= self.shares.all() {
            return Err(self.delayed.peek().map(|Reverse(delayed)| delayed.until));
        }
        let small_first = if self.shares.small == 0 {
            self.turn = self.turn.wrapping_add(1);
            self.turn.is_multiple_of(TURNS)
        } else {
            self.load.small < self.shares.small
        };
        let work =
            self.take_of(!small_first).or_else(|| self.take_of(small_first)).or_else(|| self.split_largest());
        match work {
            Some(work) => {
                let busy =
                    if work.transfer().is_large() { &mut self.load.large } else { &mut self.load.small };
                *busy += 1;
                Ok((work, self.load.all() < self.shares.all()))
            }
            None => {
                self.starved = true;
                Err(self.delayed.peek().map(|Reverse(delayed)| delayed.until))
            }
        }
    }

    fn take_of(&mut self, large: bool) -> Option<Work> {
        if self.one_each && large {
            let unattended = |transfer: &Transfer| {
                transfer.state().attempt.as_ref().is_some_and(|attempt| !attempt.is_busy())
            };
            self.continue_begun(large, unattended)
                .or_else(|| self.begin_next(large))
                .or_else(|| self.continue_begun(large, |_| true))
        } else {
            self.continue_begun(large, |_| true).or_else(|| self.begin_next(large))
        }
    }

    /// The next piece of a file that was begun.
    fn continue_begun(&self, large: bool, fits: impl Fn(&Transfer) -> bool) -> Option<Work> {
        let begun = self.begun.iter().filter(|transfer| transfer.is_large() == large && fits(transfer));
        begun.into_iter().find_map(|transfer| piece(transfer, &self.cut, false))
    }

    /// The first piece of the next file.
    fn begin_next(&mut self, large: bool) -> Option<Work> {
        loop {
            let queue = if large { &mut self.large } else { &mut self.small };
            let transfer = queue.pop_front()?;
            if transfer.state().ended {
                continue;
            }
            self.begun.push(transfer.clone());
            if transfer.state().attempt.is_none() {
                return Some(Work::Begin(transfer));
            }
            if let Some(work) = piece(&transfer, &self.cut, false) {
                return Some(work);
            }
        }
    }

    fn split_largest(&self) -> Option<Work> {
        let size = |transfer: &Transfer| {
            transfer.state().attempt.as_ref().map_or(0, |attempt| attempt.largest_lease())
        };
        let largest = self.begun.iter().max_by_key(|transfer| size(transfer))?;
        piece(largest, &self.cut, true)
    }
}

fn piece(transfer: &Arc<Transfer>, cut: &Cut, split: bool) -> Option<Work> {
    let state = transfer.state();
    let attempt = state.attempt.clone()?;
    if state.held || (state.whole_only && split) {
        return None;
    }
    // Still under the state's lock: whoever holds the file back does so before its piece is free again.
    let (lease, range) = attempt.lease(cut, split)?;
    drop(state);
    Some(Work::Piece { transfer: transfer.clone(), attempt, lease, range })
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.until, self.number).cmp(&(other.until, other.number))
    }
}

#[cfg(test)]
mod tests;
