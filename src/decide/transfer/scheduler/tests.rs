use crate::decide::transfer::protocol::{Assignment, Command, Ending, RangeEnd};
use crate::decide::transfer::task::Missing;
use crate::decide::transfer::task::examples::{POLICY, task};
use crate::model::artifact::ArtifactKind;
use crate::model::fault::Fault;
use crate::model::response_head::{ContentRange, Head};
use crate::model::revision::{Etag, Revision};

use super::*;

const KIB: u64 = 1 << 10;
const CUT: Cut = Cut { piece: 64 * KIB, first: 64 * KIB, split: 8 * KIB, block: KIB };

fn limits(cap: usize) -> Limits {
    Limits { cap: Some(cap), bearable: 500, rate: None, processors: 2, is_pooled: false }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A scheduler and the states of its files, as a coordinator would hold them.
struct Desk {
    scheduler: Scheduler,
    files: BTreeMap<FileId, TransferState>,
    now: Duration,
}

impl Desk {
    fn new(cap: usize) -> Self {
        Self { scheduler: Scheduler::new(&limits(cap), CUT, 16), files: BTreeMap::new(), now: at(0) }
    }

    fn admit(&mut self, kind: ArtifactKind, name: &str, left_over: bool) -> Option<FileId> {
        let task = task(kind, name);
        let id = self.scheduler.admit(self.now, &task)?;
        self.files.insert(id, TransferState::new(task, POLICY, 0, left_over, None));
        Some(id)
    }

    fn large(&mut self, name: &str) -> FileId {
        self.admit(ArtifactKind::Checkpoint, name, false).unwrap()
    }

    fn small(&mut self, name: &str) -> FileId {
        self.admit(ArtifactKind::Sample, name, false).unwrap()
    }

    fn next(&mut self) -> Option<(Work, Taken)> {
        self.scheduler.next(self.now, &mut self.files)
    }

    fn observe(&mut self, millis: u64) {
        self.now += at(millis);
        self.scheduler.observe(self.now, Traffic::default());
    }

    fn step(&mut self, id: FileId, input: Input) -> Vec<Command> {
        let state = self.files.get_mut(&id).unwrap();
        let commands = state.step(self.now, input);
        self.scheduler.place(id, state);
        commands
    }

    /// Answers a range as a host with ranges of a file of `length` bytes does.
    fn answer(&mut self, work: &Work, length: u64) {
        let Work::Range(id, assignment) = work else { panic!("{work:?}") };
        let (start, total) = (assignment.range.start, Some(length));
        let end = assignment.range.end.min(length);
        let head = Head {
            status: 206,
            content_range: Some(ContentRange::Part { start, end, total }),
            revision: Revision { etag: Etag::parse("\"a\"").ok(), length: total, ..Revision::default() },
            ..Head::default()
        };
        self.step(*id, Input::Response { ticket: assignment.ticket, head });
    }
}

fn file(work: &Work) -> FileId {
    match work {
        Work::Look(id) | Work::Range(id, _) | Work::Split { file: id, .. } => *id,
        Work::Batch(ids) => ids[0],
    }
}

#[test]
fn the_oldest_checkpoint_has_all_connections_and_samples_their_share() {
    let mut desk = Desk::new(8);
    let old = desk.large("old");
    desk.large("new");
    let samples: Vec<FileId> = (0..40).map(|number| desk.small(&format!("{number}.jpg"))).collect();
    desk.observe(25);
    let (first, taken) = desk.next().unwrap();
    let Work::Batch(batch) = &first else { panic!("{first:?}") };
    assert!(!taken.is_large && batch.contains(&samples[0]), "a share of their own");
    desk.next().unwrap();
    let (range, taken) = desk.next().unwrap();
    assert!(taken.is_large);
    assert_eq!(file(&range), old);
    desk.answer(&range, 1000 * KIB);
    assert_eq!(file(&desk.next().unwrap().0), old, "the oldest is whole soonest");
    assert_eq!(desk.scheduler.load(), Load { small: 2, large: 2 });
    assert!(desk.scheduler.next_deadline().is_none());
}

#[test]
fn a_file_is_admitted_once_and_after_a_failure_ever_more_seldom() {
    let mut desk = Desk::new(2);
    let key = task(ArtifactKind::Sample, "a").artifact.key.clone();
    let ending = |for_training| Ending::Missing {
        why: Missing::Vanished,
        cool_down: (Duration::from_secs(15), Duration::from_secs(600)),
        for_training,
    };
    let mut tries = Vec::new();
    while desk.now < Duration::from_secs(7200) {
        if let Some(id) = desk.admit(ArtifactKind::Sample, "a", false) {
            tries.push(desk.now.as_secs());
            assert_eq!(desk.admit(ArtifactKind::Sample, "a", false), None, "it is under way");
            desk.scheduler.close(desk.now, id, &key, &ending(false));
        }
        desk.now += Duration::from_secs(1);
    }
    let gaps: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..6], [15, 30, 60, 120, 240, 480]);
    assert!(gaps[6..].iter().all(|gap| *gap == 600), "{gaps:?}");
    assert!(desk.scheduler.cooled_at(desk.now).is_some() && desk.scheduler.is_quiet());
    let id = FileId(999);
    desk.scheduler.close(desk.now, id, &key, &Ending::Here);
    let id = desk.admit(ArtifactKind::Sample, "a", false).expect("after a success it starts anew");
    // The training was to write the rest; when it is over, there is nothing to wait for.
    desk.scheduler.close(desk.now, id, &key, &ending(true));
    let writing = Task { run_may_write: true, ..task(ArtifactKind::Sample, "a") };
    assert_eq!(desk.scheduler.admit(desk.now, &writing), None);
    assert!(desk.scheduler.admit(desk.now, &task(ArtifactKind::Sample, "a")).is_some());
}

#[test]
fn small_files_come_in_batches_that_leave_some_for_every_connection() {
    for (files, cap, expected) in [(4000, 8, 16), (100, 8, 3), (8, 8, 1), (1, 1, 1)] {
        let mut desk = Desk::new(cap);
        desk.scheduler.head(at(1), false);
        for number in 0..files {
            desk.small(&format!("{number}.jpg"));
        }
        desk.observe(25);
        let (work, _) = desk.next().unwrap();
        let Work::Batch(batch) = work else { panic!("{work:?}") };
        assert_eq!(batch.len(), expected, "{files} files for {cap} connections");
    }
}

#[test]
fn what_an_earlier_run_left_is_looked_at_first_and_alone() {
    let mut desk = Desk::new(8);
    let left = desk.admit(ArtifactKind::Sample, "a.jpg", true).unwrap();
    desk.small("b.jpg");
    desk.observe(25);
    let (work, _) = desk.next().unwrap();
    assert!(matches!(work, Work::Look(id) if id == left), "{work:?}");
    desk.step(left, Input::Begun(None));
    assert!(matches!(desk.next().unwrap().0, Work::Range(id, _) if id == left), "what is begun comes first");
}

/// A look reads the disk, so how long it takes shows nothing of the host.
#[test]
fn a_look_is_no_request() {
    let mut desk = Desk::new(96);
    desk.admit(ArtifactKind::Sample, "a.jpg", true).unwrap();
    for number in 0..1000 {
        desk.small(&format!("{number}.jpg"));
    }
    desk.observe(25);
    let (work, taken) = desk.next().unwrap();
    assert!(matches!(work, Work::Look(_)), "{work:?}");
    (0..10).for_each(|_| desk.observe(25));
    assert_eq!(desk.scheduler.shares().small, 8);
    desk.scheduler.end_look(taken);
    let (work, _) = desk.next().unwrap();
    assert!(matches!(work, Work::Batch(_)), "{work:?}");
    (0..10).for_each(|_| desk.observe(25));
    assert!(desk.scheduler.shares().small > 8, "that one waits for its host");
}

#[test]
fn a_file_that_waits_comes_back_when_its_time_has_come() {
    let mut desk = Desk::new(1);
    let id = desk.large("a");
    desk.observe(25);
    let (work, taken) = desk.next().unwrap();
    let Work::Range(_, assignment) = &work else { panic!("{work:?}") };
    let ticket = assignment.ticket;
    let fault = Fault::Stalled { after: at(1000) };
    desk.step(id, Input::RangeEnded { ticket, end: RangeEnd::Fault { fault, crowded: false } });
    desk.scheduler.idle(taken.is_large, true);
    assert!(desk.next().is_none(), "it waits");
    let until = desk.scheduler.next_deadline().unwrap();
    assert_eq!(desk.scheduler.due(desk.now), None);
    desk.now = until;
    assert_eq!(desk.scheduler.due(desk.now), Some(id));
    assert_eq!(desk.scheduler.due(desk.now), None, "once");
    desk.step(id, Input::Deadline);
    assert!(matches!(desk.next().unwrap().0, Work::Range(..)));
}

/// On a fast link connections of small files rest while there are none; one whose connection broke still has one.
#[test]
fn a_small_file_that_was_begun_has_a_connection_on_a_fast_link() {
    for breaks in [true, false] {
        let mut desk = Desk::new(96);
        desk.scheduler.head(at(1), false);
        let small = desk.small("s.jpg");
        let (work, taken) = desk.next().unwrap();
        assert!(matches!(work, Work::Batch(_)), "{work:?}");
        for name in ["a", "b", "c"] {
            desk.large(name);
        }
        for _ in 0..3 {
            let (work, _) = desk.next().unwrap();
            desk.answer(&work, 1 << 30);
        }
        let state = desk.files.get_mut(&small).unwrap();
        let _ = state.step(desk.now, Input::Begun(None));
        if breaks {
            let ticket = state.assign(&CUT).unwrap().ticket;
            let fault = Fault::Stalled { after: at(1000) };
            desk.step(small, Input::RangeEnded { ticket, end: RangeEnd::Fault { fault, crowded: false } });
            desk.now = desk.scheduler.next_deadline().unwrap();
            assert_eq!(desk.scheduler.due(desk.now), Some(small));
            desk.step(small, Input::Deadline);
        }
        desk.scheduler.idle(taken.is_large, true);
        desk.scheduler.delivered(1 << 30, Duration::from_secs(1), at(1));
        let mut shares = Shares::default();
        for look in 1..20 {
            desk.now += at(25);
            shares =
                desk.scheduler.observe(desk.now, Traffic { bytes: look * 25_000_000, ..Traffic::default() });
        }
        assert_eq!(shares, Shares { small: usize::from(breaks), large: 3 }, "{breaks}");
    }
}

#[test]
fn where_hashing_takes_the_time_each_connection_takes_a_file_of_its_own() {
    for (fast, second) in [(false, "old"), (true, "new")] {
        let mut desk = Desk::new(4);
        desk.scheduler.head(at(1), false);
        for name in ["old", "new"] {
            desk.large(name);
        }
        desk.observe(25);
        let (first, _) = desk.next().unwrap();
        desk.answer(&first, 1000 * KIB);
        if fast {
            desk.scheduler.delivered(1 << 30, Duration::from_secs(1), at(1));
        }
        desk.observe(25);
        let (next, _) = desk.next().unwrap();
        let name = desk.files[&file(&next)].task().artifact.path.as_str().to_owned();
        assert_eq!(name, second);
    }
}

/// The last ranges are cut so that all connections end together, and what ends in two round trips is not split.
#[test]
fn the_tail_is_guided_and_not_split_too_finely() {
    let mut desk = Desk::new(4);
    desk.large("a");
    desk.observe(25);
    let (first, _) = desk.next().unwrap();
    desk.answer(&first, 160 * KIB);
    // 64 are under way; what is left is shared by the three connections for large files.
    let lengths: Vec<u64> = (0..3)
        .map(|_| match desk.next().unwrap().0 {
            Work::Range(_, assignment) => assignment.range.end - assignment.range.start,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [32 * KIB, 21 * KIB, 14 * KIB], "none is as long as {}", CUT.piece);
    // Halves of 32 KiB are worth a request while a wait is short, and not when each half ends in two waits.
    for (waited, expected) in [(1, true), (1000, false)] {
        let mut desk = Desk::new(4);
        desk.large("a");
        desk.observe(25);
        let (first, _) = desk.next().unwrap();
        desk.answer(&first, 64 * KIB);
        for _ in 0..60 {
            desk.scheduler.delivered(1 << 20, Duration::from_secs(30), at(waited));
        }
        let split = desk.next();
        assert_eq!(matches!(split, Some((Work::Split { .. }, _))), expected, "{waited} ms: {split:?}");
        if !expected {
            desk.observe(25);
            assert!(desk.scheduler.has_idle_connections());
        }
    }
}

/// Only an open connection that has nothing to do races another, and none once a host has refused something.
#[test]
fn a_race_takes_an_open_idle_connection_that_no_host_minds() {
    let mut desk = Desk::new(4);
    desk.large("a");
    desk.observe(25);
    let (work, taken) = desk.next().unwrap();
    // Too short to be split.
    desk.answer(&work, 12 * KIB);
    assert!(taken.is_cold && desk.next().is_none());
    assert!(desk.scheduler.others().are_idle && !desk.scheduler.others().is_one_open);
    assert_eq!(desk.scheduler.race(true), None, "a new one would have to be opened");
    desk.small("b.jpg");
    desk.observe(25);
    let (_, other) = desk.next().unwrap();
    desk.scheduler.idle(other.is_large, false);
    assert_eq!(desk.scheduler.race(true), None, "it broke");
    desk.small("c.jpg");
    desk.observe(25);
    let (_, other) = desk.next().unwrap();
    desk.scheduler.idle(other.is_large, true);
    assert!(desk.scheduler.others().is_one_open);
    assert_eq!(desk.scheduler.race(true), Some(Taken { is_large: true, is_cold: false }));
    assert_eq!(desk.scheduler.race(true), None, "there was one");
    desk.scheduler.idle(true, true);
    desk.large("d");
    assert_eq!(desk.scheduler.race(true), None, "there is other work");
    assert!(matches!(desk.next(), Some((Work::Range(..), Taken { is_cold: false, .. }))));
    desk.scheduler.idle(true, true);
    desk.observe(25);
    assert!(desk.scheduler.others().is_one_open && desk.scheduler.others().are_welcome);
    desk.scheduler.push_back(desk.now);
    desk.observe(25);
    assert!(!desk.scheduler.others().are_welcome);
    assert_eq!(desk.scheduler.race(true), None, "the host asked for less");
    let limited = Limits { rate: Some(1 << 20), ..limits(4) };
    for cap in [limited.cap, None] {
        let others = Scheduler::new(&Limits { cap, ..limited }, CUT, 16).others();
        assert!(!others.are_welcome, "bytes count twice");
    }
}

/// Random games: every file is fetched whole, whatever the order of connections, and none holds more than its share.
#[test]
fn every_file_ends_whatever_the_order() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let cap = random.usize(1..9);
        let mut desk = Desk::new(cap);
        let mut lengths = BTreeMap::new();
        for number in 0..random.u64(1..30) {
            let kind = if random.bool() { ArtifactKind::Checkpoint } else { ArtifactKind::Sample };
            let id = desk.admit(kind, &format!("{number}"), false).unwrap();
            lengths.insert(id, random.u64(1..300) * KIB + random.u64(1..KIB));
        }
        let mut open: Vec<(FileId, Assignment, bool)> = Vec::new();
        let mut done = 0;
        for _ in 0..100_000 {
            if done == lengths.len() {
                break;
            }
            desk.observe(random.u64(1..50));
            while let Some(id) = desk.scheduler.due(desk.now) {
                desk.step(id, Input::Deadline);
            }
            while let Some((work, taken)) = desk.next() {
                assert!(desk.scheduler.load().all() <= cap);
                match work {
                    Work::Range(id, assignment) => {
                        desk.answer(&Work::Range(id, assignment.clone()), lengths[&id]);
                        open.push((id, assignment, taken.is_large));
                    }
                    Work::Split { file, ticket, at } => {
                        let cut = desk.scheduler.cut();
                        let state = desk.files.get_mut(&file).unwrap();
                        let assignment = state.split(ticket, at, &cut).unwrap();
                        desk.answer(&Work::Range(file, assignment.clone()), lengths[&file]);
                        open.push((file, assignment, taken.is_large));
                    }
                    Work::Batch(ids) => {
                        for id in ids {
                            let mut state = desk.files.remove(&id).unwrap();
                            state.step(desk.now, Input::Begun(None));
                            let assignment = state.assign(&CUT).unwrap();
                            desk.files.insert(id, state);
                            desk.answer(&Work::Range(id, assignment.clone()), lengths[&id]);
                            // The batch counts as one connection; the rest of this game does not mind.
                            open.push((id, assignment, taken.is_large));
                            desk.scheduler.place(id, &desk.files[&id]);
                        }
                        desk.scheduler.idle(taken.is_large, true);
                    }
                    Work::Look(_) => panic!("nothing was left"),
                }
            }
            if open.is_empty() {
                continue;
            }
            let at = random.usize(..open.len());
            let (id, assignment, is_large) = open[at].clone();
            let ticket = assignment.ticket;
            let left = desk.files[&id].left(ticket);
            let ends = match left {
                None | Some(0) => Some(RangeEnd::Finished),
                Some(_) if random.u8(..12) == 0 => {
                    let fault = Fault::ended_early(9, None);
                    Some(RangeEnd::Fault { fault, crowded: false })
                }
                Some(left) => {
                    let count = random.u64(1..=left);
                    let commands =
                        desk.step(id, Input::Booked { ticket, count, declared: None, hopeless: false });
                    if commands.contains(&Command::Verify) {
                        done += 1;
                    }
                    None
                }
            };
            if let Some(end) = ends {
                open.swap_remove(at);
                desk.step(id, Input::RangeEnded { ticket, end });
                desk.scheduler.idle(is_large, true);
                assert!(*desk.files[&id].phase() != Phase::Ended, "progress comes between faults");
            }
        }
        assert_eq!(done, lengths.len(), "seed {seed}");
    }
}
