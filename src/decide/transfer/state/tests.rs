use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use crate::decide::formats::Format;
use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::outcome::LONGEST_WAIT_IN_ONE_PASS;
use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::protocol::{Assignment, Ending, Outcome, Refreshed, Report, Request};
use crate::decide::transfer::task::examples::{POLICY, task};
use crate::decide::transfer::task::{DiskTrouble, DiskTroubleKind};
use crate::decide::transfer::verify::{Inspection, Received, recognise};
use crate::model::artifact::ArtifactKind;
use crate::model::evidence::Evidence;
use crate::model::manifest::{Entry, EntryState};
use crate::model::names::rel_path::RelPath;
use crate::model::response_head::{ContentRange, Head};
use crate::model::revision::Etag;
use crate::model::transport_fault::TransportFault;

use super::*;

const CUT: Cut = Cut { piece: 40, first: 160, split: 10, block: 10 };
const SECOND: Duration = Duration::from_secs(1);

fn revision(tag: &str) -> Revision {
    Revision { etag: Etag::parse(tag).ok(), ..Revision::default() }
}

/// A response to an assignment from a host of a file of `length` bytes.
fn partial(assignment: &Assignment, length: u64, tag: &str) -> Head {
    let Request { start, end, .. } = assignment.request;
    let end = end.unwrap_or(length).min(length);
    let total = Some(length);
    Head {
        status: 206,
        content_range: Some(ContentRange::Part { start, end, total }),
        content_length: Some(end - start),
        revision: Revision { length: total, ..revision(tag) },
        ..Head::default()
    }
}

fn whole(length: Option<u64>, tag: &str) -> Head {
    Head {
        status: 200,
        content_length: length,
        revision: Revision { length, ..revision(tag) },
        ..Head::default()
    }
}

fn status(status: u16) -> Fault {
    Fault::Status { status, retry_after: None, excerpt: None }
}

fn received(name: &str, bytes: &[u8]) -> Box<Received> {
    let mut inspection = Inspection::new(Format::of(name), &[]);
    inspection.feed(bytes);
    Box::new(inspection.finish(None))
}

/// A download and what follows from it, one step after the other.
struct Play {
    state: TransferState,
    now: Duration,
}

impl Play {
    fn with(task: Task, policy: Policy) -> Self {
        let mut state = TransferState::new(task, policy, 7, false, None);
        assert_eq!(state.step(Duration::ZERO, Input::Begun(None)), []);
        Self { state, now: SECOND }
    }

    fn new() -> Self {
        Self::with(task(ArtifactKind::Checkpoint, "a.bin"), POLICY)
    }

    fn step(&mut self, input: Input) -> Commands {
        self.state.step(self.now, input)
    }

    fn assign(&mut self) -> Assignment {
        self.state.assign(&CUT).expect("a range is left")
    }

    fn respond(&mut self, assignment: &Assignment, head: Head) -> Commands {
        self.step(Input::Response { ticket: assignment.ticket, head })
    }

    fn book(&mut self, assignment: &Assignment, count: u64) -> Commands {
        self.step(Input::Booked { ticket: assignment.ticket, count, declared: None, hopeless: false })
    }

    fn end(&mut self, assignment: &Assignment, end: RangeEnd) -> Commands {
        self.step(Input::RangeEnded { ticket: assignment.ticket, end })
    }

    fn fault(&mut self, assignment: &Assignment, fault: Fault) -> Commands {
        self.end(assignment, RangeEnd::Fault { fault, crowded: false })
    }

    /// Fetches a whole file of these bytes in one response.
    fn fetch(&mut self, length: u64) -> Commands {
        let assignment = self.assign();
        self.respond(&assignment, whole(Some(length), "\"a\""));
        let commands = self.book(&assignment, length);
        self.end(&assignment, RangeEnd::Finished);
        commands
    }

    fn hashed(&mut self, bytes: &[u8]) -> Commands {
        let name = self.state.task().artifact.path.as_str().to_owned();
        self.step(Input::Hashed { received: received(&name, bytes), unix_ms: 0 })
    }

    fn wait_over(&mut self) {
        let Phase::Waiting { until } = *self.state.phase() else { panic!("{:?}", self.state.phase()) };
        assert_eq!(self.step(Input::Deadline), [], "not yet");
        self.now = until;
        self.step(Input::Deadline);
        assert_eq!(*self.state.phase(), Phase::Fetching);
    }
}

/// What a sequence of commands amounts to, in short.
fn names(commands: &[Command]) -> Vec<&'static str> {
    let name = |command: &Command| match command {
        Command::Learned(_) => "learned",
        Command::Receive { .. } => "receive",
        Command::ReadRefusal { .. } => "refusal",
        Command::Unpack { .. } => "unpack",
        Command::Habit(_) => "habit",
        Command::Adopt(_) => "adopt",
        Command::Drop { .. } => "drop",
        Command::Abandon => "abandon",
        Command::Restart => "restart",
        Command::RefreshLink { .. } => "link",
        Command::PauseHost { .. } => "pause",
        Command::SlowDown => "slow",
        Command::NoteBreak => "break",
        Command::Verify => "verify",
        Command::Publish(_) => "publish",
        Command::NoteUnchanged => "unchanged",
        Command::NoteDoubt(_) => "doubt",
        Command::ReleaseSpace => "space",
        Command::WaitUntil(_) => "wait",
        Command::Report(Report::Started { .. }) => "started",
        Command::Report(Report::Settling { .. }) => "settling",
        Command::Report(Report::Retrying { .. }) => "retrying",
        Command::Report(Report::NoRoom(_)) => "no room",
        Command::Report(Report::DiskFull { .. }) => "disk full",
        Command::Report(Report::Vanished) => "vanished",
        Command::Report(Report::Failed(_)) => "failed",
        Command::End(Ending::Here) => "here",
        Command::End(Ending::Missing { .. }) => "missing",
    };
    commands.iter().map(name).collect()
}

#[test]
fn a_file_from_its_first_request_to_its_name() {
    let mut play = Play::new();
    let first = play.assign();
    assert_eq!((first.range.clone(), first.request.if_range.clone(), first.lacks), (0..160, None, None));
    assert!(play.state.assign(&CUT).is_none(), "one connection until ranges are proven");
    let commands = play.respond(&first, partial(&first, 300, "\"a\""));
    assert_eq!(names(&commands), ["habit", "learned", "started", "receive"]);
    let Some(Command::Receive { skip: 0, take: Some(160), end: 40, lacks: Some(300), .. }) = commands.last()
    else {
        panic!("{commands:?}");
    };
    let second = play.assign();
    assert_eq!(second.range, 40..80);
    assert_eq!(second.request.if_range.as_ref(), revision("\"a\"").if_range().as_ref());
    assert_eq!(names(&play.respond(&second, partial(&second, 300, "\"a\""))), ["receive"]);
    assert_eq!(play.book(&second, 40), []);
    assert_eq!((play.state.front(), play.state.have()), (0, 40));
    assert_eq!(play.book(&first, 40), []);
    assert_eq!(play.state.front(), 80);
    assert_eq!(play.end(&first, RangeEnd::Finished), []);
    assert_eq!(play.end(&second, RangeEnd::Finished), []);
    let mut commands = Vec::new();
    for range in [80..120, 120..160, 160..200, 200..240, 240..280, 280..300] {
        let assignment = play.assign();
        assert_eq!(assignment.range, range);
        play.respond(&assignment, partial(&assignment, 300, "\"a\""));
        commands = play.book(&assignment, range.end - range.start);
        play.end(&assignment, RangeEnd::Finished);
    }
    assert_eq!(names(&commands), ["space", "verify"]);
    assert_eq!(names(&play.hashed(&[7; 300])), ["publish"]);
    assert_eq!(*play.state.phase(), Phase::Committing);
    assert_eq!(names(&play.step(Input::Committed(Outcome::Here))), ["here"]);
    assert_eq!(play.step(Input::Committed(Outcome::Here)), [], "once");
}

#[test]
fn what_an_earlier_run_left_is_compared_with_the_next_response() {
    let left = |here: Vec<Range<u64>>| {
        let mut state = TransferState::new(task(ArtifactKind::Checkpoint, "a"), POLICY, 0, true, None);
        assert!(state.must_look());
        let left = Left { revision: revision("\"a\""), length: 100, claims: Vec::new(), here };
        assert_eq!(state.step(Duration::ZERO, Input::Begun(Some(left))), []);
        Play { state, now: SECOND }
    };
    let mut play = left(vec![0..40, 80..100]);
    let assignment = play.assign();
    assert_eq!((assignment.range.clone(), assignment.lacks), (40..80, Some(40)));
    assert!(assignment.request.if_range.is_some());
    let commands = play.respond(&assignment, partial(&assignment, 100, "\"a\""));
    let Some(Command::Report(Report::Started { resumed_from: 60, .. })) = commands.get(1) else {
        panic!("{commands:?}");
    };
    assert_eq!(names(&play.book(&assignment, 40)), ["space", "verify"]);
    // A complete one may be of a revision that is no longer hosted: its last block is requested.
    let mut play = left(vec![0..50, 50..100]);
    assert_eq!(play.assign().range, 50..90);
    // Another revision: begin again.
    let mut play = left(vec![0..20, 20..40]);
    let assignment = play.assign();
    let commands = play.respond(&assignment, partial(&assignment, 100, "\"b\""));
    assert_eq!(names(&commands), ["drop", "abandon", "space", "restart"]);
    assert_eq!(play.assign().range, 0..160);
}

/// Each response whose body is not taken, and what follows.
#[test]
fn responses_without_bytes() {
    let after = |task: Task, head: fn(&Assignment) -> Head| {
        let mut play = Play::with(task, POLICY);
        let assignment = play.assign();
        let head = head(&assignment);
        (names(&play.respond(&assignment, head)), play)
    };
    let plain = || task(ArtifactKind::Sample, "a.jpg");
    let (commands, _) = after(plain(), |_| Head { status: 403, ..Head::default() });
    assert_eq!(commands, ["refusal"]);
    let (commands, _) = after(plain(), |_| whole(Some(0), "\"a\""));
    assert_eq!(commands, ["drop", "abandon", "settling", "space", "missing"], "empty so far");
    let (commands, _) = after(plain(), |_| Head { status: 204, ..Head::default() });
    assert_eq!(commands, ["drop", "retrying", "wait"], "nonsense is a fault");
    // A recheck: what is here did not change.
    let entry = Entry {
        path: RelPath::parse("a.jpg").unwrap(),
        step: None,
        size: 5,
        sha256: received("a", b"12345").sha256,
        evidence: Evidence::Length,
        revision: revision("\"a\""),
        run: "".into(),
        modified: None,
        state: EntryState::Present,
        older: Vec::new(),
    };
    let recheck = Task { recheck: Some(revision("\"a\"").into()), entry: Some(entry.into()), ..plain() };
    let (commands, _) = after(recheck.clone(), |_| Head { status: 304, ..Head::default() });
    assert_eq!(commands, ["drop", "space", "unchanged"]);
    let (commands, _) = after(recheck.clone(), |_| whole(Some(5), "\"a\""));
    assert_eq!(commands, ["drop", "space", "unchanged"], "a host that ignores the question");
    let (commands, _) = after(recheck, |_| whole(Some(5), "\"b\""));
    assert_eq!(commands, ["learned", "started", "receive"]);
}

#[test]
fn a_host_that_ignores_ranges_gets_one_plain_request() {
    let mut play = Play::new();
    let assignment = play.assign();
    play.respond(&assignment, partial(&assignment, 300, "\"a\""));
    play.book(&assignment, 40);
    play.end(&assignment, RangeEnd::Finished);
    let assignment = play.assign();
    assert_eq!(
        names(&play.respond(&assignment, whole(Some(300), "\"a\""))),
        ["drop"],
        "first without If-Range"
    );
    let assignment = play.assign();
    assert_eq!(assignment.request.if_range, None);
    let commands = play.respond(&assignment, whole(Some(300), "\"a\""));
    assert_eq!(names(&commands), ["drop", "abandon", "space", "restart"]);
    let assignment = play.assign();
    assert_eq!((assignment.request.start, assignment.request.end), (0, None));
    let commands = play.respond(&assignment, whole(Some(300), "\"a\""));
    let Some(Command::Receive { end: 300, take: Some(300), .. }) = commands.last() else {
        panic!("{commands:?}")
    };
    assert!(play.state.split_point(&CUT).is_none() && play.state.assign(&CUT).is_none(), "one stream");
}

#[test]
fn without_validators_a_compared_overlap_continues_and_a_wrong_whole_is_fetched_in_one_stream() {
    let mut play = Play::with(task(ArtifactKind::Sample, "a.png"), POLICY);
    let assignment = play.assign();
    play.respond(&assignment, partial(&assignment, 130, ""));
    play.book(&assignment, 100);
    let broken = || Fault::Interrupted { received: 100, cause: TransportFault::Reset };
    assert_eq!(names(&play.fault(&assignment, broken())), ["retrying", "wait"]);
    play.wait_over();
    let rest = play.assign();
    assert_eq!((rest.range.clone(), rest.overlap, rest.request.start), (100..130, 100, 0));
    let commands = play.respond(&rest, partial(&rest, 130, ""));
    let Some(Command::Receive { take: Some(30), end: 130, .. }) = commands.last() else {
        panic!("{commands:?}")
    };
    assert_eq!(names(&play.book(&rest, 30)), ["space", "verify"]);
    assert_eq!(
        names(&play.hashed(&[9; 130])),
        ["abandon", "space", "restart"],
        "parts of two files, perhaps"
    );
    let again = play.assign();
    play.respond(&again, partial(&again, 130, ""));
    play.book(&again, 100);
    play.fault(&again, broken());
    let Phase::Waiting { until } = *play.state.phase() else { panic!() };
    play.now = until;
    assert_eq!(
        names(&play.step(Input::Deadline)),
        ["abandon", "space", "restart"],
        "nothing is joined again"
    );
    assert_eq!(play.assign().request.end, None);
    // A whole file that ends before what is here, where no length was known.
    let mut play = Play::new();
    let assignment = play.assign();
    play.respond(&assignment, whole(None, ""));
    play.book(&assignment, 100);
    play.end(&assignment, RangeEnd::GivenUp);
    let rest = play.assign();
    assert_eq!(rest.request.start, 0);
    assert_eq!(names(&play.respond(&rest, whole(Some(90), ""))), ["drop", "abandon", "space", "restart"]);
    // Other bytes before the range: another file.
    let mut play = Play::new();
    let assignment = play.assign();
    play.respond(&assignment, partial(&assignment, 300, ""));
    play.book(&assignment, 100);
    play.end(&assignment, RangeEnd::GivenUp);
    let rest = play.assign();
    assert_eq!(names(&play.end(&rest, RangeEnd::Changed)), ["abandon", "space", "restart"]);
}

#[test]
fn a_refused_range_is_requested_once_without() {
    let refused = |play: &mut Play, status_code| {
        let assignment = play.assign();
        let head = Head { status: status_code, ..Head::default() };
        assert_eq!(names(&play.respond(&assignment, head)).last(), Some(&"refusal"));
        let commands = play.fault(&assignment, status(status_code));
        (assignment.request.plain, names(&commands))
    };
    let mut play = Play::new();
    assert_eq!(refused(&mut play, 403), (false, vec![]), "at once");
    let assignment = play.assign();
    assert!(assignment.request.plain && assignment.request.if_range.is_none());
    let commands = play.respond(&assignment, whole(Some(300), "\"a\""));
    assert_eq!(
        names(&commands),
        ["habit", "learned", "started", "receive"],
        "remembered for its other files"
    );
    // It was not the range.
    let mut play = Play::new();
    refused(&mut play, 403);
    assert_eq!(refused(&mut play, 403), (true, vec!["link"]));
    play.step(Input::LinkRefreshed(Refreshed::Unknown));
    play.wait_over();
    assert_eq!(refused(&mut play, 403), (false, vec!["link"]), "not twice without progress");
    // A busy host is not asked twice in a row, and a missing file not again.
    let mut play = Play::new();
    assert_eq!(refused(&mut play, 500), (false, vec!["retrying", "wait"]));
    play.wait_over();
    assert!(play.assign().request.plain);
    let mut play = Play::new();
    assert_eq!(refused(&mut play, 404), (false, vec!["link"]));
    let mut play = Play::new();
    play.state.know_habit(Habit::Refuses);
    assert!(play.assign().request.plain);
    let mut play = Play::new();
    play.state.know_habit(Habit::Serves);
    assert_eq!(refused(&mut play, 403), (false, vec!["link"]));
}

/// Two connections continue a part, and the host refuses both for their ranges: 405 means no later try.
#[test]
fn ranges_that_are_refused_together_are_one_refusal() {
    let (mut play, both) = refused_twice();
    for assignment in &both {
        assert_eq!(names(&play.fault(assignment, status(405))), [""; 0], "no end of the file");
        if assignment.ticket == both[0].ticket {
            assert!(play.state.assign(&CUT).is_none(), "the other range may be served");
        }
    }
    let plain = play.assign();
    assert!(plain.request.plain);
    assert!(play.state.assign(&CUT).is_none(), "one request without a range is enough");
    // It was not the range: the same refusal of a request without one ends the file.
    play.respond(&plain, Head { status: 405, ..Head::default() });
    assert_eq!(names(&play.fault(&plain, status(405))), ["failed", "space", "missing"]);
}

/// Two connections continue a part of 600 bytes, and the heads of both answers refuse their ranges.
fn refused_twice() -> (Play, [Assignment; 2]) {
    let mut state = TransferState::new(task(ArtifactKind::Checkpoint, "a"), POLICY, 0, true, None);
    let left = Left {
        revision: revision("\"a\""),
        length: 600,
        claims: Vec::new(),
        here: std::iter::once(0..10).collect(),
    };
    assert_eq!(state.step(Duration::ZERO, Input::Begun(Some(left))), []);
    let mut play = Play { state, now: SECOND };
    let both = [play.assign(), play.assign()];
    for assignment in &both {
        assert!(!assignment.request.plain);
        let commands = play.respond(assignment, Head { status: 405, ..Head::default() });
        assert_eq!(names(&commands).last(), Some(&"refusal"));
    }
    (play, both)
}

#[test]
fn a_packed_configuration_is_unpacked() {
    let mut play = Play::with(task(ArtifactKind::Config, "config.yaml"), POLICY);
    let assignment = play.assign();
    let packed = Head { encoded: true, gzip: true, ..whole(Some(9), "\"a\"") };
    assert_eq!(names(&play.respond(&assignment, packed)), ["unpack"]);
    let commands = play.step(Input::Unpacked { ticket: assignment.ticket, length: 25 });
    assert_eq!(names(&commands), ["learned", "started", "receive"]);
    assert_eq!(names(&play.book(&assignment, 25)), ["space", "verify"]);
    assert_eq!(play.state.known().declared, Some(25));
}

#[test]
fn what_is_known_by_its_length_alone_waits_for_a_second_look_while_it_may_be_written() {
    let mut writing = Task { run_may_write: true, ..task(ArtifactKind::Checkpoint, "a.bin") };
    let mut play = Play::with(writing.clone(), POLICY);
    play.fetch(100);
    let commands = play.hashed(&[1; 100]);
    assert_eq!(names(&commands), ["doubt", "settling", "space", "missing"]);
    let Some(Command::NoteDoubt(doubt)) = commands.first() else { panic!() };
    let Some(Command::End(Ending::Missing { for_training: true, .. })) = commands.last() else { panic!() };
    writing.doubt = Some(doubt.clone().into());
    let mut play = Play::with(writing, POLICY);
    play.fetch(100);
    let name = received("a.bin", &[1; 100]);
    assert_eq!(names(&play.step(Input::Hashed { received: name, unix_ms: 9000 })), ["publish"]);
}

/// Each fault, the first time and the last time.
#[test]
fn faults() {
    for (fault, first, last) in [
        (status(500), vec!["retrying", "wait"], vec!["failed", "space", "missing"]),
        (status(429), vec!["slow", "pause", "retrying", "wait"], vec!["slow", "failed", "space", "missing"]),
        (status(403), vec!["link"], vec!["link"]),
        (status(404), vec!["link"], vec!["link"]),
        (status(402), vec!["failed", "space", "missing"], vec![]),
        (Fault::Stalled { after: SECOND }, vec!["retrying", "wait"], vec!["failed", "space", "missing"]),
        (
            Fault::Forbidden { host: "h".into(), why: crate::model::fault::Forbidden::Private },
            vec!["failed", "space", "missing"],
            vec![],
        ),
    ] {
        let mut play = Play::new();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let Some(assignment) = play.state.assign(&CUT) else { break };
            seen.push(names(&play.fault(&assignment, fault.clone())));
            if matches!(play.state.phase(), Phase::RefreshingLink { .. }) {
                play.step(Input::LinkRefreshed(Refreshed::Unknown));
            }
            if matches!(play.state.phase(), Phase::Waiting { .. }) {
                play.wait_over();
            }
        }
        assert_eq!(seen.first(), Some(&first), "{fault:?}");
        assert_eq!(*play.state.phase(), Phase::Ended, "{fault:?}");
        assert!(last.is_empty() || seen.last() == Some(&last), "{fault:?}: {seen:?}");
    }
}

#[test]
fn a_new_link_is_used_at_once_and_an_old_one_is_waited_with() {
    let url = |text: &str| SourceUrl::parse(&format!("https://h.example/o/a.bin?{text}")).unwrap();
    let here = |text: &str, generation| Input::LinkRefreshed(Refreshed::Here { url: url(text), generation });
    let mut play = Play::new();
    let assignment = play.assign();
    assert_eq!(play.fault(&assignment, status(403)), [Command::RefreshLink { newer_than: 0, gone: false }]);
    assert!(play.state.assign(&CUT).is_none(), "no request meanwhile");
    assert_eq!(play.step(here("new", 1)), []);
    let assignment = play.assign();
    assert_eq!(assignment.url, url("new"));
    play.fault(&assignment, status(403));
    assert_eq!(names(&play.step(here("new", 2))), ["retrying", "wait"], "the same link again");
    play.wait_over();
    let assignment = play.assign();
    play.fault(&assignment, status(404));
    assert_eq!(names(&play.step(Input::LinkRefreshed(Refreshed::Gone))), ["vanished", "space", "missing"]);
}

#[test]
fn links_that_have_to_be_renewed_again_and_again_are_used_by_one_connection() {
    let mut play = Play::with(task(ArtifactKind::Checkpoint, "a.bin"), Policy { retries: 9, ..POLICY });
    let mut first = play.assign();
    play.respond(&first, partial(&first, 4000, "\"a\""));
    for generation in 1..=2 {
        let second = play.state.assign(&CUT).expect("two connections at a time");
        play.fault(&second, status(403));
        let url = SourceUrl::parse(&format!("https://h.example/o/a.bin?{generation}")).unwrap();
        play.step(Input::LinkRefreshed(Refreshed::Here { url, generation }));
    }
    assert!(play.state.assign(&CUT).is_none(), "one connection is at work");
    assert!(play.state.split_point(&CUT).is_none());
    play.book(&first, 40);
    play.end(&first, RangeEnd::Finished);
    first = play.assign();
    assert!(play.state.assign(&CUT).is_none(), "{first:?}");
}

#[test]
fn progress_while_a_link_is_refreshed_counts() {
    let mut play = Play::with(task(ArtifactKind::Checkpoint, "a.bin"), Policy { retries: 1, ..POLICY });
    let first = play.assign();
    play.respond(&first, partial(&first, 4000, "\"a\""));
    let second = play.assign();
    assert_eq!(names(&play.fault(&second, status(403))), ["link"]);
    play.book(&first, 40);
    play.end(&first, RangeEnd::Finished);
    let url = SourceUrl::parse("https://h.example/o/a.bin?new").unwrap();
    assert_eq!(play.step(Input::LinkRefreshed(Refreshed::Here { url, generation: 1 })), []);
    assert_eq!(*play.state.phase(), Phase::Fetching, "the first connection made progress meanwhile");
}

#[test]
fn a_file_that_is_denied_twice_while_it_is_listed_is_gone() {
    let mut play = Play::new();
    let url = play.assign().url;
    let mut play = Play::new();
    for expected in [vec!["retrying", "wait"], vec!["vanished", "space", "missing"]] {
        let assignment = play.assign();
        play.fault(&assignment, status(404));
        let commands = play.step(Input::LinkRefreshed(Refreshed::Here { url: url.clone(), generation: 1 }));
        assert_eq!(names(&commands), expected);
        if matches!(play.state.phase(), Phase::Waiting { .. }) {
            play.wait_over();
        }
    }
    let mut state =
        TransferState::new(task(ArtifactKind::Sample, "a"), POLICY, 0, false, Some(Missing::Vanished));
    state.step(SECOND, Input::Begun(None));
    let ticket = state.assign(&CUT).unwrap().ticket;
    state.step(
        SECOND,
        Input::RangeEnded { ticket, end: RangeEnd::Fault { fault: status(410), crowded: false } },
    );
    let commands = state.step(SECOND, Input::LinkRefreshed(Refreshed::Gone));
    assert_eq!(names(&commands), ["space", "missing"], "reported in an earlier download");
}

#[test]
fn connections_that_break_at_once_are_one_fault() {
    let mut play = Play::with(task(ArtifactKind::Checkpoint, "a.bin"), Policy { retries: 2, ..POLICY });
    let first = play.assign();
    play.respond(&first, partial(&first, 4000, "\"a\""));
    let more: Vec<Assignment> = (0..7).map(|_| play.assign()).collect();
    let broken = || Fault::Interrupted { received: 0, cause: TransportFault::Reset };
    assert_eq!(names(&play.fault(&first, broken())), ["retrying", "wait"]);
    for assignment in &more {
        assert_eq!(play.fault(assignment, broken()), []);
    }
    play.wait_over();
    let again = play.assign();
    assert_eq!(names(&play.fault(&again, broken())), ["failed", "space", "missing"]);
}

#[test]
fn progress_starts_the_count_anew_and_a_few_bytes_are_none() {
    for (bytes, ends) in [(LEAST_PROGRESS - 1, true), (LEAST_PROGRESS, false)] {
        let mut play = Play::new();
        for _ in 0..8 {
            if *play.state.phase() == Phase::Ended {
                break;
            }
            let assignment = play.assign();
            let mut head = partial(&assignment, 1 << 20, "\"a\"");
            head.content_range = Some(ContentRange::Part {
                start: assignment.range.start,
                end: 1 << 20,
                total: Some(1 << 20),
            });
            head.content_length = Some((1 << 20) - assignment.range.start);
            play.respond(&assignment, head);
            // Ranges of this test's cut are shorter than that, so some are needed.
            play.state.open[0].arrived = bytes;
            play.fault(&assignment, Fault::Stalled { after: SECOND });
            if matches!(play.state.phase(), Phase::Waiting { .. }) {
                play.wait_over();
            }
        }
        assert_eq!(*play.state.phase() == Phase::Ended, ends, "{bytes} bytes");
    }
}

#[test]
fn a_crowd_that_is_refused_costs_the_file_nothing_for_a_while() {
    let mut play = Play::new();
    let mut tries = 0;
    while *play.state.phase() != Phase::Ended {
        let assignment = play.assign();
        let fault = Fault::Connect { host: "h".into(), cause: TransportFault::Refused };
        let commands = play.end(&assignment, RangeEnd::Fault { fault, crowded: true });
        assert_eq!(names(&commands).first(), Some(&if tries < 8 { "slow" } else { names(&commands)[0] }));
        tries += 1;
        if matches!(play.state.phase(), Phase::Waiting { .. }) {
            play.wait_over();
        }
    }
    assert_eq!(tries, 8 + 5, "then it counts as ever");
}

#[test]
fn a_long_wish_fails_a_single_pass() {
    let fault =
        Fault::Status { status: 503, retry_after: Some(LONGEST_WAIT_IN_ONE_PASS + SECOND), excerpt: None };
    for (once, expected) in [
        (true, vec!["slow", "failed", "space", "missing"]),
        (false, vec!["slow", "pause", "retrying", "wait"]),
    ] {
        let mut play = Play::with(task(ArtifactKind::Sample, "a"), Policy { once, ..POLICY });
        let assignment = play.assign();
        assert_eq!(names(&play.fault(&assignment, fault.clone())), expected);
    }
}

/// What the disk refuses, for a run that can wait and for one that cannot.
#[test]
fn disk_trouble() {
    let trouble = |kind| DiskTrouble { kind, cause: FailureCause::Defect };
    let short = Shortage { wanted: 2, free: 1, floor: 0 };
    for (kind, may_wait, expected) in [
        (DiskTroubleKind::NoRoom(short), true, vec!["space", "no room", "wait"]),
        (DiskTroubleKind::NoRoom(short), false, vec!["failed", "space", "missing"]),
        (DiskTroubleKind::Full, true, vec!["disk full", "space", "wait"]),
        (DiskTroubleKind::Full, false, vec!["failed", "space", "missing"]),
        (DiskTroubleKind::OutOfHandles, false, vec!["slow", "retrying", "wait"]),
        (DiskTroubleKind::Other, true, vec!["failed", "space", "missing"]),
    ] {
        let mut play =
            Play::with(Task { run_may_write: may_wait, ..task(ArtifactKind::Checkpoint, "a") }, POLICY);
        let assignment = play.assign();
        let commands = play.end(&assignment, RangeEnd::Disk(trouble(kind)));
        assert_eq!(names(&commands), expected, "{kind:?}, {may_wait}");
    }
    // Before the file was taken up, and after its last byte.
    let mut state = TransferState::new(task(ArtifactKind::Sample, "a"), POLICY, 0, true, None);
    state.step(SECOND, Input::Disk(trouble(DiskTroubleKind::OutOfHandles)));
    state.step(SECOND * 100, Input::Deadline);
    assert_eq!(*state.phase(), Phase::Queued, "it is taken up again");
    let mut play = Play::new();
    play.fetch(9);
    play.step(Input::Disk(trouble(DiskTroubleKind::OutOfHandles)));
    let Phase::Waiting { until } = *play.state.phase() else { panic!() };
    play.now = until;
    assert_eq!(names(&play.step(Input::Deadline)), ["space", "verify"], "it is verified again");
}

#[test]
fn a_body_that_contradicts_its_proof() {
    let png = || task(ArtifactKind::Sample, "a.png");
    let judged = |task: Task, bytes: &[u8]| {
        let mut play = Play::with(task, POLICY);
        play.fetch(bytes.len() as u64);
        (names(&play.hashed(bytes)), play)
    };
    let wrong = b"this is no picture";
    let (commands, _) = judged(Task { run_may_write: true, ..png() }, wrong);
    assert_eq!(commands, ["doubt", "abandon", "settling", "space", "missing"], "it may still be written");
    let (commands, mut play) = judged(png(), wrong);
    assert_eq!(commands, ["doubt", "retrying", "abandon", "space", "restart", "wait"], "a second download");
    play.wait_over();
    assert_eq!(play.state.open.len(), 0);
    play.fetch(wrong.len() as u64);
    assert_eq!(names(&play.hashed(wrong)), ["doubt", "abandon", "failed", "space", "missing"]);
}

#[test]
fn a_header_that_declares_more_than_the_host_has() {
    let mut play = Play::new();
    let assignment = play.assign();
    play.respond(&assignment, whole(Some(300), "\"a\""));
    let declared = Some(500);
    let commands =
        play.step(Input::Booked { ticket: assignment.ticket, count: 20, declared, hopeless: false });
    assert_eq!(names(&commands), ["abandon", "settling", "space", "missing"]);
    // Nothing declares a length, and the format is broken.
    let mut play = Play::new();
    let assignment = play.assign();
    play.respond(&assignment, whole(None, "\"a\""));
    let commands =
        play.step(Input::Booked { ticket: assignment.ticket, count: 2000, declared: None, hopeless: true });
    assert_eq!(names(&commands), ["drop", "retrying", "wait"]);
    assert_eq!(play.state.tries.in_vain, 1, "bytes that led nowhere are no progress");
}

#[test]
fn a_body_of_unknown_length_ends_where_it_ends() {
    let mut play = Play::new();
    let assignment = play.assign();
    let commands = play.respond(&assignment, whole(None, "\"a\""));
    let Some(Command::Receive { take: None, end: u64::MAX, .. }) = commands.last() else {
        panic!("{commands:?}")
    };
    assert_eq!(play.book(&assignment, 70), []);
    assert_eq!(names(&play.end(&assignment, RangeEnd::BodyEnded)), ["space", "verify"]);
    assert_eq!(play.state.length(), Some(70));
}

#[test]
fn a_revision_that_never_stays_the_same_fails() {
    let mut play = Play::new();
    let mut restarts = 0;
    while *play.state.phase() != Phase::Ended {
        let first = play.assign();
        if first.request.end.is_none() {
            // One stream: the revision is not compared within it, but its rest is.
            play.respond(&first, whole(Some(4000), &format!("\"{restarts}\"")));
            play.book(&first, 2000);
            play.fault(&first, Fault::Stalled { after: SECOND });
            play.wait_over();
            let rest = play.assign();
            play.respond(&rest, whole(Some(3999), "\"other\""));
        } else {
            play.respond(&first, partial(&first, 4000, &format!("\"{restarts}\"")));
            play.book(&first, 40);
            let second = play.assign();
            play.respond(&second, partial(&second, 4000, "\"other\""));
        }
        restarts += 1;
        assert!(restarts < 20);
    }
    assert_eq!(restarts, 9);
}

#[test]
fn what_was_damaged_here_and_does_not_become_whole_is_fetched_whole() {
    let bytes = [5; 100];
    let entry = Entry {
        path: RelPath::parse("a.bin").unwrap(),
        step: None,
        size: 100,
        sha256: received("a.bin", &bytes).sha256,
        evidence: Evidence::Length,
        revision: Revision { length: Some(100), ..revision("\"a\"") },
        run: "".into(),
        modified: None,
        state: EntryState::Present,
        older: Vec::new(),
    };
    let damaged = Task {
        is_damaged: true,
        entry: Some(entry.clone().into()),
        ..task(ArtifactKind::Checkpoint, "a.bin")
    };
    for (bytes, expected) in
        [(vec![5; 100], vec!["publish"]), (vec![6; 100], vec!["abandon", "space", "restart"])]
    {
        let mut state = TransferState::new(damaged.clone(), POLICY, 0, true, None);
        let left = Left {
            revision: entry.revision.clone(),
            length: 100,
            claims: Vec::new(),
            here: vec![0..20, 20..40],
        };
        state.step(SECOND, Input::Begun(Some(left)));
        let mut play = Play { state, now: SECOND };
        for _ in 0..2 {
            let assignment = play.assign();
            play.respond(&assignment, partial(&assignment, 100, "\"a\""));
            play.book(&assignment, assignment.range.end - assignment.range.start);
        }
        assert_eq!(names(&play.hashed(&bytes)), expected);
    }
}

/// A file of 80 bytes of which two connections fetch 40 each; the first has 10.
fn two_ranges() -> (Play, Assignment, Assignment) {
    let mut play = Play::new();
    let first = play.assign();
    play.respond(&first, partial(&first, 400, "\"a\""));
    play.book(&first, 10);
    let second = play.assign();
    play.respond(&second, partial(&second, 400, "\"a\""));
    (play, first, second)
}

#[test]
fn the_first_of_two_that_race_ends_the_other() {
    let (mut play, slow, other) = two_ranges();
    assert!(play.state.may_hurry(slow.ticket) && !play.state.is_raced(slow.ticket));
    let fast = play.state.race(slow.ticket, &CUT).unwrap();
    assert_eq!((fast.range.clone(), fast.request.end), (10..40, Some(40)));
    assert_eq!(fast.request.if_range, other.request.if_range, "of the same revision");
    assert!(play.state.is_raced(slow.ticket) && play.state.is_raced(fast.ticket));
    for ticket in [slow.ticket, fast.ticket] {
        assert!(
            play.state.race(ticket, &CUT).is_none() && !play.state.give_up_early(ticket),
            "one at the most"
        );
    }
    play.respond(&fast, partial(&fast, 400, "\"a\""));
    play.book(&slow, 5);
    assert_eq!(play.step(Input::Skipped { ticket: fast.ticket, count: 5 }), []);
    play.book(&fast, 25);
    assert_eq!((play.state.have(), play.state.left(fast.ticket)), (40, Some(0)), "no byte counts twice");
    assert_eq!(play.end(&fast, RangeEnd::Finished), [Command::Drop { ticket: slow.ticket }]);
    assert_eq!(play.end(&slow, RangeEnd::GivenUp), []);
    assert_eq!(play.state.unassigned(), Some(400 - 80));
}

/// A file may be complete before the connection that ended the race reports its end.
#[test]
fn the_first_of_two_that_race_for_the_last_bytes_ends_the_other() {
    let (mut play, slow, other) = two_ranges();
    while let Some(rest) = play.state.assign(&CUT) {
        play.respond(&rest, partial(&rest, 400, "\"a\""));
        play.book(&rest, rest.range.end - rest.range.start);
        play.end(&rest, RangeEnd::Finished);
    }
    play.book(&other, 40);
    play.end(&other, RangeEnd::Finished);
    let fast = play.state.race(slow.ticket, &CUT).unwrap();
    play.respond(&fast, partial(&fast, 400, "\"a\""));
    let complete = Input::Booked { ticket: fast.ticket, count: 30, declared: None, hopeless: false };
    assert_eq!(names(&play.step(complete)), ["space", "verify"]);
    assert_eq!(play.end(&fast, RangeEnd::Finished), [Command::Drop { ticket: slow.ticket }]);
    assert_eq!(play.end(&slow, RangeEnd::GivenUp), []);
}

/// What the loser claimed and did not write is requested again, and not raced for a second time.
#[test]
fn bytes_are_hurried_once() {
    let (mut play, slow, _) = two_ranges();
    let fast = play.state.race(slow.ticket, &CUT).unwrap();
    play.respond(&fast, partial(&fast, 400, "\"a\""));
    play.step(Input::Skipped { ticket: fast.ticket, count: 10 });
    play.book(&fast, 20);
    play.end(&fast, RangeEnd::Finished);
    assert_ne!(play.state.assign(&CUT).unwrap().range, 10..20, "it may still be written");
    play.end(&slow, RangeEnd::GivenUp);
    let again = play.assign();
    assert_eq!(again.range, 10..20);
    assert!(!play.state.may_hurry(again.ticket) && play.state.race(again.ticket, &CUT).is_none());
    let (mut play, slow, _) = two_ranges();
    assert!(play.state.give_up_early(slow.ticket));
    play.end(&slow, RangeEnd::GivenUp);
    let again = play.assign();
    assert_eq!(again.range, 10..40);
    assert!(!play.state.give_up_early(again.ticket), "not twice");
}

/// A fault of one of two that race costs the file nothing: no try, no wait, no report. What it shows of the host counts.
#[test]
fn a_fault_of_one_that_races_is_no_fault_of_the_file() {
    let busy = Fault::Status { status: 503, retry_after: Some(SECOND * 7), excerpt: None };
    let broken = || Fault::ended_early(3, None);
    let pause = vec![Command::PauseHost { status: 503, wait: SECOND * 7 }, Command::SlowDown];
    for (fault, expected) in [(busy, pause), (broken(), vec![]), (status(403), vec![]), (status(404), vec![])]
    {
        for first_breaks in [false, true] {
            let (mut play, slow, _) = two_ranges();
            let fast = play.state.race(slow.ticket, &CUT).unwrap();
            let (breaks, stays) = if first_breaks { (&slow, &fast) } else { (&fast, &slow) };
            assert_eq!(play.fault(breaks, fault.clone()), expected);
            assert_eq!(*play.state.phase(), Phase::Fetching);
            assert!(!play.state.is_raced(stays.ticket) && play.state.left(stays.ticket) == Some(30));
            assert!(names(&play.fault(stays, broken())).contains(&"retrying"), "alone, it counts");
        }
    }
}

/// One that races never harms the file: a response that shows anything but the same revision in ranges is left to the other.
#[test]
fn an_odd_response_to_one_that_races_is_dropped() {
    let odd: [fn(&Assignment) -> Head; 4] = [
        |fast| partial(fast, 400, "\"b\""),
        |_| whole(Some(400), "\"a\""),
        |_| whole(Some(400), "\"b\""),
        |_| Head { status: 204, ..Head::default() },
    ];
    for head in odd {
        let (mut play, slow, _) = two_ranges();
        let fast = play.state.race(slow.ticket, &CUT).unwrap();
        assert_eq!(play.respond(&fast, head(&fast)), [Command::Drop { ticket: fast.ticket }]);
        assert_eq!((play.state.left(fast.ticket), play.state.left(slow.ticket)), (None, Some(30)));
    }
    // The other one's response is judged as ever.
    let (mut play, slow, other) = two_ranges();
    let _ = play.state.race(slow.ticket, &CUT).unwrap();
    let third = play.assign();
    assert!(names(&play.respond(&third, whole(Some(400), "\"b\""))).contains(&"restart"));
    assert!(!play.state.is_raced(slow.ticket) && play.state.left(other.ticket).is_none());
}

#[test]
fn what_arrives_for_an_older_attempt_is_ignored() {
    let mut play = Play::new();
    let first = play.assign();
    play.respond(&first, partial(&first, 4000, "\"a\""));
    let second = play.assign();
    play.respond(&first, partial(&first, 4000, "\"a\""));
    play.respond(&second, partial(&second, 4000, "\"b\""));
    assert_eq!(play.book(&first, 40), []);
    assert_eq!(play.state.have(), 0);
    assert_eq!(play.fault(&first, status(500)), []);
    assert_eq!(names(&play.respond(&first, partial(&first, 4000, "\"a\""))), ["drop"]);
    assert_eq!(play.state.split(second.ticket, 50, &CUT), None);
}

/// What a host may do with one request, in a random game.
#[derive(Debug, Clone)]
enum Move {
    Assign,
    Split,
    Hurry { open: usize, early: bool },
    Respond { open: usize, kind: u8, tag: u8, length: u16 },
    Book { open: usize, count: u16, declared: Option<u16>, hopeless: bool },
    End { open: usize, kind: u8, status: u16 },
    Hash(bool),
    Link(u8),
    Disk(u8),
    Commit(bool),
    Pass(u16),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let open = 0_usize..4;
    let one = prop_oneof![
        6 => Just(Move::Assign),
        2 => Just(Move::Split),
        2 => (open.clone(), any::<bool>()).prop_map(|(open, early)| Move::Hurry { open, early }),
        8 => (open.clone(), 0_u8..12, 0_u8..3, prop::sample::select(vec![0_u16, 90, 300, 3000]))
            .prop_map(|(open, kind, tag, length)| Move::Respond { open, kind, tag, length }),
        8 => (open.clone(), 0_u16..400, prop::option::weighted(0.1, 0_u16..400), prop::bool::weighted(0.1))
            .prop_map(|(open, count, declared, hopeless)| Move::Book { open, count, declared, hopeless }),
        5 => (open, 0_u8..12, prop::sample::select(vec![400_u16, 403, 404, 418, 429, 500, 503]))
            .prop_map(|(open, kind, status)| Move::End { open, kind, status }),
        3 => any::<bool>().prop_map(Move::Hash),
        2 => (0_u8..4).prop_map(Move::Link),
        1 => (0_u8..4).prop_map(Move::Disk),
        1 => any::<bool>().prop_map(Move::Commit),
        3 => (0_u16..2000).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 0..120)
}

/// One assigned range in a game: where its next byte belongs, as its connection has it.
struct Lent {
    assignment: Assignment,
    attempt: u32,
    position: u64,
    end: Option<u64>,
    /// How far it is claimed, together with the one that it races.
    claimed: Rc<Cell<u64>>,
}

/// Plays a game and checks after each move what must hold.
struct Game {
    play: Play,
    lent: Vec<Lent>,
    /// Bytes that were booked in the present attempt.
    booked: Vec<Range<u64>>,
    attempt: u32,
    verifying: bool,
    ended: u32,
}

impl Game {
    fn take_in(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Restart => {
                    self.booked.clear();
                    self.attempt = self.play.state.attempt;
                    self.verifying = false;
                }
                Command::Verify => self.verifying = true,
                Command::Publish(_) => assert!(self.verifying, "published without a verification"),
                Command::End(_) => self.ended += 1,
                Command::WaitUntil(until) => assert!(*until >= self.play.now),
                Command::Receive { ticket, end, .. } => {
                    for lent in self.lent.iter_mut().filter(|lent| lent.assignment.ticket == *ticket) {
                        lent.end = Some(*end);
                    }
                }
                _ => {}
            }
        }
        assert!(self.ended <= 1, "it ended twice");
        let is_ended = *self.play.state.phase() == Phase::Ended;
        assert_eq!(is_ended, self.ended == 1);
        if is_ended {
            assert!(self.play.state.assign(&CUT).is_none());
        }
    }

    fn make(&mut self, wanted: &Move) {
        let lent = |open: usize| open % self.lent.len().max(1);
        let commands = match wanted {
            Move::Assign => {
                let assignment = self.play.state.assign(&CUT);
                self.lend(assignment);
                return;
            }
            Move::Split => {
                let Some((ticket, at)) = self.play.state.split_point(&CUT) else { return };
                let is_free = self
                    .lent
                    .iter()
                    .filter(|lent| lent.assignment.ticket == ticket)
                    .all(|lent| lent.position <= at);
                if is_free {
                    for lent in self.lent.iter_mut().filter(|lent| lent.assignment.ticket == ticket) {
                        lent.end = lent.end.map(|end| end.min(at));
                    }
                    let assignment = self.play.state.split(ticket, at, &CUT);
                    self.lend(assignment);
                }
                return;
            }
            Move::Hurry { open, early } => {
                let Some(lent) = self.lent.get(lent(*open)) else { return };
                let (ticket, claimed) = (lent.assignment.ticket, lent.claimed.clone());
                let may = self.play.state.may_hurry(ticket);
                if *early {
                    assert_eq!(self.play.state.give_up_early(ticket), may);
                } else {
                    let assignment = self.play.state.race(ticket, &CUT);
                    assert_eq!(assignment.is_some(), may);
                    self.lend(assignment);
                    if may && let Some(second) = self.lent.last_mut() {
                        second.claimed = claimed;
                    }
                }
                assert!(!self.play.state.may_hurry(ticket), "once for the same bytes");
                return;
            }
            Move::Respond { open, kind, tag, length } => {
                let Some(lent) = self.lent.get(lent(*open)) else { return };
                let length = u64::from(*length);
                let tag = format!("\"{tag}\"");
                let assignment = lent.assignment.clone();
                let head = match kind {
                    0..=5 if assignment.range.start < length => partial(&assignment, length, &tag),
                    6 | 7 => whole(Some(length), &tag),
                    8 => whole(None, ""),
                    9 => Head {
                        status: 416,
                        content_range: Some(ContentRange::Unsatisfied { total: length }),
                        ..Head::default()
                    },
                    10 => Head { status: 304, ..Head::default() },
                    _ => Head { status: 403, ..Head::default() },
                };
                self.play.respond(&assignment, head)
            }
            Move::Book { open, count, declared, hopeless } => {
                let at = lent(*open);
                let Some(lent) = self.lent.get_mut(at) else { return };
                let Some(end) = lent.end else { return };
                let count = u64::from(*count).min(end - lent.position);
                let upto = lent.position + count;
                let range = lent.claimed.get().clamp(lent.position, upto)..upto;
                lent.claimed.set(lent.claimed.get().max(upto));
                let (count, skipped) = (range.end - range.start, range.start - lent.position);
                lent.position = upto;
                let (ticket, attempt) = (lent.assignment.ticket, lent.attempt);
                if attempt == self.attempt && !range.is_empty() && self.play.state.left(ticket).is_some() {
                    let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
                    assert!(!self.booked.iter().any(overlaps), "{range:?} was booked before");
                    self.booked.push(range);
                }
                let declared = declared.map(u64::from);
                let commands = self.play.step(Input::Skipped { ticket, count: skipped });
                assert_eq!(commands, []);
                self.play.step(Input::Booked { ticket, count, declared, hopeless: *hopeless })
            }
            Move::End { open, kind, status: code } => {
                let at = lent(*open);
                if at >= self.lent.len() {
                    return;
                }
                let lent = self.lent.swap_remove(at);
                let crowded = code % 2 == 0;
                let end = match kind {
                    0..=3 if lent.end == Some(lent.position) => RangeEnd::Finished,
                    4 if lent.end == Some(u64::MAX) => RangeEnd::BodyEnded,
                    5 => RangeEnd::GivenUp,
                    6 => RangeEnd::Stopped,
                    7 => RangeEnd::Disk(trouble(*code)),
                    8 => RangeEnd::Fault { fault: Fault::Stalled { after: SECOND }, crowded },
                    _ => RangeEnd::Fault { fault: status(*code), crowded },
                };
                self.play.end(&lent.assignment, end)
            }
            Move::Hash(right) => {
                let size = usize::try_from(self.play.state.have()).unwrap_or_default() + usize::from(!right);
                self.play.hashed(&vec![3; size])
            }
            Move::Link(kind) => {
                let url = SourceUrl::parse(&format!("https://h.example/o/a?{kind}")).unwrap();
                self.play.step(Input::LinkRefreshed(match kind {
                    0 => Refreshed::Gone,
                    1 => Refreshed::Unknown,
                    _ => Refreshed::Here { url, generation: u64::from(*kind) },
                }))
            }
            Move::Disk(kind) => self.play.step(Input::Disk(trouble(u16::from(*kind)))),
            Move::Commit(good) => self.play.step(Input::Committed(if *good {
                Outcome::Here
            } else {
                Outcome::Refused { cause: FailureCause::Defect }
            })),
            Move::Pass(millis) => {
                self.play.now += Duration::from_millis(u64::from(*millis));
                self.play.step(Input::Deadline)
            }
        };
        self.take_in(&commands);
    }

    fn lend(&mut self, assignment: Option<Assignment>) {
        let Some(assignment) = assignment else { return };
        assert!(assignment.range.start < assignment.range.end);
        let position = assignment.range.start;
        let claimed = Rc::new(Cell::new(position));
        self.lent.push(Lent { assignment, attempt: self.attempt, position, end: None, claimed });
    }
}

fn trouble(kind: u16) -> DiskTrouble {
    let kind = match kind % 4 {
        0 => DiskTroubleKind::NoRoom(Shortage { wanted: 2, free: 1, floor: 0 }),
        1 => DiskTroubleKind::Full,
        2 => DiskTroubleKind::OutOfHandles,
        _ => DiskTroubleKind::Other,
    };
    DiskTrouble { kind, cause: FailureCause::Defect }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No sequence of inputs panics; ranges that are booked never overlap; `Publish` only after `Verify`; one end.
    #[test]
    fn any_sequence_keeps_its_promises(
        moves in moves(),
        once: bool,
        run_may_write: bool,
        recheck: bool,
        retries in 0_u32..4,
        left in prop::option::of(0_u64..8),
    ) {
        let mut task = task(ArtifactKind::Checkpoint, "a.bin");
        task.run_may_write = run_may_write;
        task.recheck = recheck.then(|| revision("\"1\"").into());
        let mut state =
            TransferState::new(task, Policy { once, retries, ..POLICY }, 1, left.is_some(), None);
        let left = left.map(|blocks| Left {
            revision: Revision { length: Some(90), ..revision("\"1\"") },
            length: 90,
            claims: Vec::new(),
            here: (0..blocks).map(|at| at * 20..(at * 20 + 10)).filter(|range| range.end <= 90).collect(),
        });
        let booked = left.iter().flat_map(|left| left.here.clone()).collect();
        let commands = state.step(SECOND, Input::Begun(left));
        prop_assert_eq!(commands, []);
        let play = Play { state, now: SECOND };
        let mut game = Game { play, lent: Vec::new(), booked, attempt: 1, verifying: false, ended: 0 };
        for wanted in &moves {
            game.make(wanted);
        }
    }

    /// Whatever faults come, in whatever order, the file waits, asks for a link or ends after each, and ends at last.
    #[test]
    fn every_sequence_of_faults_ends_or_waits(
        faults in prop::collection::vec((0_u8..8, 0_u8..4, any::<bool>()), 60..61),
        once: bool,
        retries in 0_u32..6,
    ) {
        let mut play = Play::with(task(ArtifactKind::Sample, "a"), Policy { once, retries, ..POLICY });
        let mut requests = 0;
        for (kind, link, crowded) in faults {
            if *play.state.phase() == Phase::Ended {
                break;
            }
            let assignment = play.assign();
            requests += 1;
            let fault = match kind {
                0 => Fault::Connect { host: "h".into(), cause: TransportFault::Refused },
                1 => Fault::Stalled { after: SECOND },
                2 => Fault::Interrupted { received: 0, cause: TransportFault::Reset },
                3 => Fault::Range(RangeFault::Encoded),
                4 => status(403),
                5 => status(404),
                6 => status(503),
                _ => Fault::Status { status: 429, retry_after: Some(SECOND * 9), excerpt: None },
            };
            play.end(&assignment, RangeEnd::Fault { fault, crowded });
            if let Phase::RefreshingLink { .. } = play.state.phase() {
                let url = SourceUrl::parse(&format!("https://h.example/o/a?{requests}")).unwrap();
                play.step(Input::LinkRefreshed(match link {
                    0 => Refreshed::Unknown,
                    1 => Refreshed::Here { url: assignment.url.clone(), generation: requests },
                    _ => Refreshed::Here { url, generation: requests },
                }));
            }
            match *play.state.phase() {
                Phase::Waiting { .. } => play.wait_over(),
                Phase::Ended => {}
                // A new link is worth a request at once; it counts as a try all the same.
                Phase::Fetching => prop_assert!(link >= 2),
                ref other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(play.state.phase(), &Phase::Ended);
        prop_assert!(requests <= u64::from(retries.max(1)) + 8);
    }
}

/// Bytes that were proven before are proven, whatever the host claims now.
#[test]
fn a_known_file_is_recognised() {
    let bytes = b"old and known";
    let known = received("a.png", bytes);
    assert!(recognise(&known, known.sha256, Evidence::Digest).is_some());
    let entry = Entry {
        path: RelPath::parse("a.png").unwrap(),
        step: None,
        size: bytes.len() as u64,
        sha256: known.sha256,
        evidence: Evidence::Digest,
        revision: Revision::default(),
        run: "".into(),
        modified: None,
        state: EntryState::Present,
        older: Vec::new(),
    };
    let mut play =
        Play::with(Task { entry: Some(entry.into()), ..task(ArtifactKind::Sample, "a.png") }, POLICY);
    play.fetch(bytes.len() as u64);
    assert_eq!(names(&play.hashed(bytes)), ["publish"], "although it is no picture");
}
