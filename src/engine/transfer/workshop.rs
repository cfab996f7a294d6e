//! Where transfers are served: connections take work from the board, and what became of each file is told onwards.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::transfer::outcome::{Verdict, verdict};
use crate::decide::transfer::stall::Typical;
use crate::decide::transfer::suspect::{Doubted, doubted};
use crate::decide::transfer::verify::{Contradiction, Expectation, Judgement, Received, judge, recognise};
use crate::edge::folder::part_file::PartFolder;
use crate::edge::net::http::{ArtifactClient, Body, RangeRequest};
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::destination::commit::{Finished, ToCommit};
use crate::engine::event::{Event, Reporter};
use crate::engine::fleet::member::Member;
use crate::engine::options::SyncOptions;
use crate::engine::transfer::disk_space::Room;
use crate::engine::transfer::host_backoff::Gates;
use crate::engine::transfer::link_refresh::{Relisted, Relister};
use crate::engine::transfer::rate_limit::Limiter;
use crate::engine::transfer::task::Transfer;
use crate::error::{Error, explain_briefly};
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::fault::Fault;
use crate::model::manifest::{Doubt, Entry};
use crate::model::names::rel_path::RelPath;
use crate::model::response_head::Head;
use crate::model::revision::{Agreement, Revision};
use crate::model::source_url::SourceUrl;

use super::attempt::Attempt;
use super::board::{Board, Work};
use super::fetch::{Fetch, Fetched, PieceEnd, PieceFault};
use super::writer::is_soon_done;

/// A revision that changes this often within one file's story will not hold still in the next minute either.
const MOST_RESTARTS: u32 = 8;

/// How long after a wrong body the same bytes are read a second time.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// A file that the host denies twice, while it is still listed, is gone.
const TRIES_OF_A_GONE_FILE: u32 = 2;

/// In a single pass nobody waits longer than this for a busy host; the next pass will.
pub(crate) const LONGEST_WAIT_IN_ONE_PASS: Duration = Duration::from_secs(60);

/// First and longest wait before a file that is still being written is looked at again.
const SETTLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// First and longest wait before a file that failed is tried again.
const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// Everything that serving transfers needs.
pub(crate) struct Workshop {
    pub(crate) client: ArtifactClient,
    pub(crate) parts: PartFolder,
    pub(crate) board: Board,
    pub(crate) relister: Relister,
    pub(crate) commit: mpsc::Sender<ToCommit>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) room: Room,
    pub(crate) gates: Arc<Gates>,
    /// The fleet that this job is one of.
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) options: SyncOptions,
    /// Files of which parts are left, of an earlier run or an earlier try in this one, by fingerprint.
    pub(crate) leftovers: Mutex<HashSet<String>>,
    pub(crate) cancel: CancellationToken,
    /// Bytes of bodies that arrived.
    pub(crate) received: AtomicU64,
    /// Small files that arrived whole.
    pub(crate) small_files: AtomicU64,
    /// A host asked for less since somebody last looked.
    pub(crate) pushed_back: AtomicBool,
    /// What one connection brings, of those that brought all they were asked for.
    pub(crate) typical: Mutex<Typical>,
    /// A save would be lost for want of speed: small files, which nobody deletes, wait.
    pub(crate) hurry: AtomicBool,
    pub(crate) endings: Mutex<Endings>,
}

/// What became of files, as far as it is no success.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    /// Why a file is not here, by file; taken out when it comes after all.
    pub(crate) missing: std::collections::HashMap<ArtifactKey, Missing>,
}

/// Why a file is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The trainer is still writing it.
    Settling,
    /// It was listed and is gone.
    Vanished,
    /// It could not be had.
    Failed {
        /// What was told, so that it is not told again at each look.
        cause: String,
        /// The disk's fault, not the network's.
        disk: bool,
    },
}

/// What a transfer's state was when a connection asked: what it is when the answer fails may be another's doing.
#[derive(Debug, Clone, Copy)]
struct Before {
    faults: u64,
    generation: u64,
}

impl Before {
    fn of(transfer: &Transfer) -> Self {
        let state = transfer.state();
        Self { faults: state.faults, generation: state.generation }
    }
}

impl Workshop {
    /// Serves one connection's share of the work until the run is cancelled.
    pub(crate) async fn serve(self: Arc<Self>) {
        loop {
            let work = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                work = self.board.next() => work,
            };
            let transfer = work.transfer().clone();
            match work {
                Work::Begin(transfer) => self.begin(&transfer).await,
                Work::Piece { transfer, attempt, lease, range } => {
                    let before = Before::of(&transfer);
                    let fetch = Fetch { shop: &self, transfer: &transfer, attempt: &attempt, lease, range };
                    let fetched = fetch.run().await;
                    // Until it is decided what follows, nobody else asks the same again or runs into the same fault.
                    let is_decided =
                        matches!(fetched.end, Ok(PieceEnd::Done | PieceEnd::GivenUp | PieceEnd::Stopped));
                    if !is_decided {
                        transfer.state().held = true;
                    }
                    attempt.release(lease);
                    self.follow_up(&transfer, &attempt, fetched, before).await;
                    if !is_decided {
                        transfer.state().held = false;
                        self.board.stir();
                    }
                }
            }
            self.board.idle(&transfer);
        }
    }

    pub(crate) fn tell(&self, event: &Event) {
        self.reporter.report(event);
    }

    pub(crate) fn count_received(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) async fn pace(&self, bytes: usize) {
        if let Some(limiter) = &self.limiter {
            // Whoever is told to end does not wait for the rate.
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {}
                () = limiter.take(bytes as u64) => {}
            }
        }
    }

    /// Sends one request; `None` when the run was interrupted.
    pub(crate) async fn get(
        &self,
        url: &SourceUrl,
        ask: &RangeRequest,
    ) -> Result<Option<(Head, Body)>, Fault> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ok(None),
            answer = self.pass_gate_and_get(url, ask) => answer.map(Some),
        }
    }

    async fn pass_gate_and_get(&self, url: &SourceUrl, ask: &RangeRequest) -> Result<(Head, Body), Fault> {
        self.pass_gate(url).await?;
        self.client.get(url, ask).await
    }

    /// Begins a file: with what an earlier run left of it, where that can be trusted.
    async fn begin(&self, transfer: &Arc<Transfer>) {
        let key = transfer.order.artifact.key.clone();
        let name = transfer.order.artifact.path.file_name().to_owned();
        let attempt = if self.is_left_over(&key) {
            let parts = self.parts.clone();
            let taken = blocking({
                let key = key.clone();
                move || parts.take_over(&key)
            });
            match taken.await {
                Ok(Ok(Some(taken))) => Attempt::resumed(key, &name, taken),
                Ok(Ok(None)) | Err(_) => Attempt::new(key, &name),
                Ok(Err(error)) => return self.stumble_over_disk(transfer, &error),
            }
        } else {
            Attempt::new(key, &name)
        };
        let attempt = Arc::new(attempt);
        transfer.state().attempt = Some(attempt.clone());
        if attempt.length().is_some_and(|length| attempt.have() == length) {
            self.finish(transfer, &attempt).await;
        }
        self.board.stir();
    }

    async fn follow_up(
        &self,
        transfer: &Arc<Transfer>,
        attempt: &Arc<Attempt>,
        fetched: Fetched,
        before: Before,
    ) {
        if attempt.is_abandoned() {
            return;
        }
        if fetched.progressed {
            transfer.state().progressed();
        }
        match fetched.end {
            Ok(PieceEnd::Done | PieceEnd::GivenUp | PieceEnd::Stopped) => {}
            Ok(PieceEnd::Complete) => self.finish(transfer, attempt).await,
            Ok(PieceEnd::Unchanged(revision)) => self.unchanged(transfer, revision).await,
            Ok(PieceEnd::Changed) => self.restart(transfer, attempt, |_| {}).await,
            Ok(PieceEnd::RangesIgnored) => {
                self.restart(transfer, attempt, |state| state.whole_only = true).await
            }
            Ok(PieceEnd::IfRangeIgnored) => transfer.state().without_if_range = true,
            Ok(PieceEnd::Unfinished { declared, have }) => self.settle(transfer, attempt, declared, have),
            Err(PieceFault::Network(fault)) => {
                self.stumble(transfer, fault, before, fetched.progressed).await;
            }
            Err(PieceFault::NoRoom(shortage)) => self.wait_for_room(transfer, shortage),
            Err(PieceFault::Disk(error)) => self.stumble_over_disk(transfer, &error),
        }
    }

    /// A complete file: weigh it, and publish it, wait for it or condemn it.
    async fn finish(&self, transfer: &Arc<Transfer>, attempt: &Arc<Attempt>) {
        self.room.give_back(&transfer.order.artifact.key);
        self.small_files.fetch_add(u64::from(!transfer.is_large()), Ordering::Relaxed);
        let finished = if attempt.length().is_some_and(is_soon_done) {
            Ok(attempt.finish(&self.parts))
        } else {
            let (parts, whole) = (self.parts.clone(), attempt.clone());
            blocking(move || whole.finish(&parts)).await
        };
        let (received, part) = match finished {
            Ok(Ok(Some(finished))) => finished,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return self.stumble_over_disk(transfer, &error),
            Err(gone) => {
                let path = Path::new(transfer.order.artifact.path.as_str());
                return self.fail_disk(transfer, &lost("verify", path)(gone));
            }
        };
        let known = attempt.known();
        let artifact = &transfer.order.artifact;
        let expected = Expectation {
            length: known.declared,
            claims: &known.claims,
            half_of_pair: transfer.order.half_of_pair,
            accept_unproven: self.options.selection.accepts_unproven(&artifact.path),
            // The same bytes again prove nothing where nobody is left to write the rest.
            read_before: match &transfer.state().doubt {
                Some(doubt) if !transfer.order.cut_off => Some(doubt.sha256),
                _ => None,
            },
        };
        if let Some(entry) = as_published(transfer, attempt)
            && entry.revision.compare(&known.revision.clone().unwrap_or_default()) == Agreement::Same
            && entry.sha256 != received.sha256
        {
            // Bytes that were here already and bytes of the host do not make what was published: none of them counts.
            return self.restart(transfer, attempt, |_| {}).await;
        }
        // Bytes that were proven before are proven, whatever the host says of them now.
        let before = transfer.order.entry.as_ref();
        let before = before.and_then(|entry| recognise(&received, entry.sha256, entry.evidence));
        let judgement = match (judge(&received, &expected), before) {
            (Judgement::Proven(verified), _) | (_, Some(verified)) => Judgement::Proven(verified),
            (other, None) => other,
        };
        match judgement {
            Judgement::Proven(verified) => {
                self.board.end(transfer);
                let finished = Finished {
                    order: transfer.order.clone(),
                    part,
                    verified,
                    revision: known.revision.unwrap_or_default(),
                    elapsed: attempt.began().elapsed(),
                };
                self.commit(ToCommit::Publish(Box::new(finished))).await;
            }
            Judgement::Unfinished { declared, have } => self.settle(transfer, attempt, declared, have),
            Judgement::Contradicted(why) => self.doubt(transfer, attempt, &received, &why).await,
        }
    }

    async fn doubt(
        &self,
        transfer: &Arc<Transfer>,
        attempt: &Arc<Attempt>,
        received: &Received,
        why: &Contradiction,
    ) {
        let order = &transfer.order;
        // What may be whole after all must be read again, whatever the host says of a change.
        let revision = match why {
            Contradiction::Unwritten { .. } => Revision::default(),
            _ => attempt.known().revision.unwrap_or_default(),
        };
        let next = doubted(received.sha256, transfer.state().doubt.as_ref(), order.run_may_write);
        let read_twice = next == Doubted::Condemned;
        let doubt = Doubt { sha256: received.sha256, revision, after_end: !order.run_may_write, read_twice };
        self.commit(ToCommit::Doubt(order.artifact.key.clone(), doubt.clone())).await;
        let _ = attempt.abandon();
        match next {
            Doubted::Condemned => self.fail(transfer, why.to_string(), false),
            Doubted::SecondLook => {
                let path = Some(order.artifact.path.clone());
                self.tell(&Event::Retrying { path, cause: why.to_string(), wait: SECOND_LOOK });
                // The bytes are wanted again even if the host says that they did not change.
                let doubt = Doubt { revision: Revision::default(), ..doubt };
                self.begin_again(transfer, attempt, |state| state.doubt = Some(doubt));
                self.board.delay(transfer, Instant::now() + SECOND_LOOK);
            }
            Doubted::Settling => {
                let have = received.size - received.trailing_zeros;
                self.settle(transfer, attempt, Some(received.size), have);
            }
        }
    }

    /// The host says that nothing changed since what is known: that is here, or was doubted.
    async fn unchanged(&self, transfer: &Arc<Transfer>, revision: Revision) {
        let order = &transfer.order;
        match (&order.recheck, &order.entry, &order.doubt) {
            (Some(_), Some(_), _) => {
                self.board.end(transfer);
                let Artifact { key, path, .. } = order.artifact.as_ref();
                self.commit(ToCommit::Unchanged(key.clone(), path.clone(), order.run.clone())).await;
            }
            (_, _, Some(doubt)) if !order.run_may_write && doubt.read_twice => {
                self.fail(
                    transfer,
                    "its bytes still contradict their proof, and the host says they did not change".into(),
                    false,
                );
            }
            (_, _, Some(_)) if order.run_may_write => {
                let have = revision.length.unwrap_or_default();
                self.close_settling(transfer, revision.length, have);
            }
            // The run is over now, and the second look must really read the bytes.
            _ => {
                let attempt = transfer.state().attempt.clone();
                if let Some(attempt) = attempt {
                    self.begin_again(transfer, &attempt, |state| {
                        if let Some(doubt) = &mut state.doubt {
                            doubt.revision = Revision::default();
                            doubt.after_end = true;
                        }
                    });
                    self.board.delay(transfer, Instant::now());
                }
            }
        }
    }

    fn settle(&self, transfer: &Arc<Transfer>, attempt: &Arc<Attempt>, declared: Option<u64>, have: u64) {
        let _ = attempt.abandon();
        self.close_settling(transfer, declared, have);
    }

    fn close_settling(&self, transfer: &Arc<Transfer>, declared: Option<u64>, have: u64) {
        let artifact = &transfer.order.artifact;
        self.tell(&Event::Settling { path: artifact.path.clone(), declared, have });
        let (first, longest) = SETTLE;
        let patience = self.options.interval.unwrap_or(longest);
        self.miss(transfer, Missing::Settling, (first.min(patience), longest.min(patience)));
    }

    /// Begins again from zero, since known bytes are of another revision than what the host has now.
    async fn restart(
        &self,
        transfer: &Arc<Transfer>,
        attempt: &Arc<Attempt>,
        change: impl FnOnce(&mut crate::engine::transfer::task::State),
    ) {
        let restarts = {
            let mut state = transfer.state();
            state.restarts += 1;
            state.restarts
        };
        if restarts > MOST_RESTARTS {
            let cause = "the host's answers do not agree on which file this is".to_owned();
            return self.fail(transfer, cause, false);
        }
        self.begin_again(transfer, attempt, |state| {
            change(state);
            // One stream needs no agreement between answers.
            state.whole_only |= state.tolerates_suspects();
        });
        self.board.stir();
    }

    fn begin_again(
        &self,
        transfer: &Arc<Transfer>,
        attempt: &Arc<Attempt>,
        change: impl FnOnce(&mut crate::engine::transfer::task::State),
    ) {
        let _ = attempt.abandon();
        let artifact = &transfer.order.artifact;
        self.room.give_back(&artifact.key);
        let mut state = transfer.state();
        change(&mut state);
        state.attempt = Some(Arc::new(Attempt::new(artifact.key.clone(), artifact.path.file_name())));
    }

    /// A network fault: wait, ask for a new link, or give up.
    async fn stumble(&self, transfer: &Arc<Transfer>, fault: Fault, before: Before, progressed: bool) {
        let tries = {
            let mut state = transfer.state();
            // Eight connections that break at once are one fault of the file.
            if state.faults == before.faults {
                state.faults += 1;
                state.tries += u32::from(!progressed);
            }
            state.tries
        };
        if let Fault::Status { status: 429 | 503, .. } = fault {
            self.pushed_back.store(true, Ordering::Relaxed);
        }
        let exhausted = tries >= self.options.retries.max(1);
        let at_least = match verdict(&fault) {
            Verdict::GiveUp => return self.fail(transfer, fault.to_string(), false),
            Verdict::Retry { .. } if exhausted => return self.fail(transfer, fault.to_string(), false),
            Verdict::Retry { at_least } => at_least,
            Verdict::Relist { gone } => {
                // Another connection has brought a new link since this one asked with the old one.
                if transfer.state().generation > before.generation && !exhausted {
                    return self.board.stir();
                }
                let relisted = tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return,
                    relisted = self.relister.newer_than(before.generation, &transfer.order.artifact.key, gone) => relisted,
                };
                // Another connection that stumbled over it was quicker.
                if transfer.state().ended {
                    return;
                }
                match relisted {
                    Relisted::Gone => return self.vanish(transfer),
                    Relisted::Here { url, generation } => {
                        let mut state = transfer.state();
                        let renewed = url != state.url;
                        state.url = url;
                        state.generation = generation;
                        drop(state);
                        if renewed && !exhausted {
                            self.board.stir();
                            return;
                        }
                        if gone && tries >= TRIES_OF_A_GONE_FILE {
                            return self.vanish(transfer);
                        }
                    }
                    Relisted::Unknown => {}
                }
                if exhausted {
                    return self.fail(transfer, fault.to_string(), false);
                }
                None
            }
        };
        if self.options.once && at_least.is_some_and(|wait| wait > LONGEST_WAIT_IN_ONE_PASS) {
            return self.fail(transfer, fault.to_string(), false);
        }
        let wait = transfer.state().backoff.next(at_least);
        if let Fault::Status { status: status @ (429 | 503), .. } = fault {
            self.gates.close(transfer.state().url.host(), status, wait);
        }
        let path = Some(transfer.order.artifact.path.clone());
        self.tell(&Event::Retrying { path, cause: fault.to_string(), wait });
        self.board.delay(transfer, Instant::now() + wait);
    }

    fn vanish(&self, transfer: &Arc<Transfer>) {
        let key = &transfer.order.artifact.key;
        let told = self.endings().missing.get(key) == Some(&Missing::Vanished);
        if !told {
            self.tell(&Event::Vanished { path: transfer.order.artifact.path.clone() });
        }
        self.miss(transfer, Missing::Vanished, COOL_DOWN);
    }

    pub(crate) fn fail_disk(&self, transfer: &Arc<Transfer>, error: &Error) {
        self.fail(transfer, explain_briefly(error), true);
    }

    fn fail(&self, transfer: &Arc<Transfer>, cause: String, disk: bool) {
        let key = &transfer.order.artifact.key;
        let ending = Missing::Failed { cause: cause.clone(), disk };
        let told = self.endings().missing.get(key) == Some(&ending);
        if !told {
            self.tell(&Event::Failed { path: transfer.order.artifact.path.clone(), cause });
        }
        self.miss(transfer, ending, COOL_DOWN);
    }

    /// A proven file could not get its name; its part stays, and the next try publishes it.
    pub(crate) fn could_not_publish(&self, key: &ArtifactKey, path: RelPath, error: &Error) {
        self.leave_over(key);
        let cause = explain_briefly(error);
        self.tell(&Event::Failed { path, cause: cause.clone() });
        self.endings().missing.insert(key.clone(), Missing::Failed { cause, disk: true });
        self.board.close(key, Some(COOL_DOWN));
    }

    fn miss(&self, transfer: &Arc<Transfer>, why: Missing, cool_down: (Duration, Duration)) {
        let key = transfer.order.artifact.key.clone();
        let attempt = transfer.state().attempt.clone();
        // What arrived stays for the next try, as far as the disk still takes the record.
        if let Some(attempt) = attempt {
            let _ = attempt.retire();
            self.leave_over(&key);
        }
        self.endings().missing.insert(key.clone(), why);
        self.room.give_back(&key);
        self.board.end(transfer);
        self.board.close(&key, Some(cool_down));
    }

    /// Remembers that a part of this file stands here, so that the next try goes on with it.
    fn leave_over(&self, key: &ArtifactKey) {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).insert(key.fingerprint());
    }

    fn is_left_over(&self, key: &ArtifactKey) -> bool {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).contains(&key.fingerprint())
    }

    pub(crate) fn endings(&self) -> std::sync::MutexGuard<'_, Endings> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit(&self, item: ToCommit) {
        // The receiver lives as long as the run; when it is gone, the run is over and the part stays for the next.
        let _ = self.commit.send(item).await;
    }
}

/// Returns what a damaged file was when it was published, while its attempt goes on from its good blocks.
fn as_published<'a>(transfer: &'a Transfer, attempt: &Attempt) -> Option<&'a Entry> {
    transfer.order.entry.as_ref().filter(|_| transfer.order.is_damaged && attempt.resumed_from() > 0)
}
