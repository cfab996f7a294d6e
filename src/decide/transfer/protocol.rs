//! What happens to a download, and what it orders: the inputs and commands of [`super::state::TransferState`].

use std::ops::Range;
use std::time::Duration;

use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::ranges::Lease;
use crate::decide::transfer::verify::{Received, Verified};
use crate::model::claim::Claim;
use crate::model::fault::Fault;
use crate::model::manifest::{Doubt, Entry};
use crate::model::response_head::Head;
use crate::model::revision::{Condition, Revision};
use crate::model::source_url::SourceUrl;

use super::task::{DiskTrouble, FailureCause, Missing};

/// First and longest wait before a file that failed is tried again.
pub(crate) const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// First and longest wait before a file that is still being written is requested again.
pub(crate) const SETTLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Where a file is between its task and its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Not begun: what an earlier run left of it is not known yet.
    Queued,
    /// No new request before `until`; requests under way continue.
    Waiting {
        /// When [`Input::Deadline`] is due.
        until: Duration,
    },
    /// The job is asked for a new link.
    RefreshingLink {
        /// What the host answered to the old link.
        fault: Fault,
        /// It answered that there is no such file, rather than that the link is not valid.
        gone: bool,
    },
    /// Ranges may be requested.
    Fetching,
    /// Every byte is here; the hashes are being completed.
    Verifying,
    /// Proven, on its way to its final name.
    Committing,
    /// Nothing more happens in this download.
    Ended,
}

/// One range lent to one connection, of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    pub(super) attempt: u32,
    pub(super) lease: Lease,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The first byte.
    pub start: u64,
    /// One past the last byte; `None`: to the end.
    pub end: Option<u64>,
    /// Ask for everything, without a range: some hosts refuse every request that has one.
    pub plain: bool,
    /// The validator for `If-Range`.
    pub if_range: Option<Condition>,
    /// The validator for `If-None-Match` or `If-Modified-Since`.
    pub if_changed: Option<Condition>,
}

/// Work for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Names it in every later input.
    pub ticket: Ticket,
    /// The bytes to write.
    pub range: Range<u64>,
    /// Where to send the request.
    pub url: SourceUrl,
    pub request: Request,
    /// Bytes before the range that are here and are requested again, to be compared: no validator reports whether the
    /// file is still the same.
    pub overlap: u64,
    /// Bytes that the file still lacks, where its length is known: they need disk space before the request is sent.
    pub lacks: Option<u64>,
}

/// What an earlier run left of a file, read back and found right.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Left {
    /// The revision of the bytes.
    pub revision: Revision,
    pub length: u64,
    /// What the server claimed about the whole file.
    pub claims: Vec<Claim>,
    /// The ranges that can be trusted.
    pub here: Vec<Range<u64>>,
}

/// What responses reported of the revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    /// Validators and length, from the first response or the part's record.
    pub revision: Option<Revision>,
    /// The length that the server declared.
    pub declared: Option<u64>,
    /// What the server claimed about the whole file.
    pub claims: Vec<Claim>,
    /// A valid 206 has proven that the host serves ranges of it.
    pub ranges_proven: bool,
}

impl Known {
    /// Whether several connections may serve the file: ranges are proven, and responses can be compared.
    pub(super) fn serves_several(&self) -> bool {
        self.ranges_proven && self.revision.as_ref().is_some_and(Revision::is_comparable)
    }
}

#[derive(Debug)]
pub(crate) enum Input {
    /// The file is taken up, with what an earlier run left of it.
    Begun(Option<Left>),
    /// The file is here already: proven, and known from now on.
    Adopted(Box<Entry>),
    /// A response's head arrived.
    Response { ticket: Ticket, head: Head },
    /// A body that came packed is unpacked, and has this many bytes.
    Unpacked { ticket: Ticket, length: u64 },
    /// Bytes at the front of a range were written.
    Booked {
        ticket: Ticket,
        count: u64,
        /// The length that the file's own format declares, once that is known.
        declared: Option<u64>,
        /// No later byte can make it a whole file.
        hopeless: bool,
    },
    /// Bytes at the front of a range were written by the connection that races it.
    Skipped { ticket: Ticket, count: u64 },
    /// A connection is done with its range, with or without all of its bytes.
    RangeEnded { ticket: Ticket, end: RangeEnd },
    /// The job answered what it offers now.
    LinkRefreshed(Refreshed),
    /// The hashes of the whole file are complete.
    Hashed {
        /// What was seen of it.
        received: Box<Received>,
        /// The time of day, in milliseconds since 1970.
        unix_ms: u64,
    },
    /// The disk refused outside of a range: while the file was taken up or verified.
    Disk(DiskTrouble),
    /// What became of a file in [`Phase::Committing`].
    Committed(Outcome),
    /// The time of [`Phase::Waiting`] has come.
    Deadline,
}

/// How a connection ended its range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RangeEnd {
    /// Every byte of it is booked.
    Finished,
    /// The body of unknown length ended; its bytes are booked.
    BodyEnded,
    /// The bytes before the range are not those that are here.
    Changed,
    /// The connection was too slow; what is left is requested again by another.
    GivenUp,
    /// The run ends, or the attempt was dropped.
    Stopped,
    /// The network's fault.
    Fault {
        fault: Fault,
        /// So many connections were open that the host may have refused the crowd rather than the file.
        crowded: bool,
    },
    /// The disk's fault.
    Disk(DiskTrouble),
}

/// What the job offers of a file now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refreshed {
    /// It is offered under this link.
    Here {
        url: SourceUrl,
        /// The listing that it is from.
        generation: u64,
    },
    /// It is no longer offered.
    Gone,
    /// The API did not answer.
    Unknown,
}

/// What became of a file on its way to its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has its name, or the same bytes had it already.
    Here,
    /// It could not get its name; its part stays.
    Refused { cause: FailureCause },
}

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Remember what is known of the revision, for the part's record and the hashes.
    Learned(Known),
    /// Take the body.
    Receive {
        ticket: Ticket,
        /// Bytes to skip first; the bytes to compare follow them.
        skip: u64,
        /// Bytes that the body has after both, where known.
        take: Option<u64>,
        /// One past the last byte that is wanted of it.
        end: u64,
        /// Bytes that the file still lacks, where its length is known.
        lacks: Option<u64>,
    },
    /// Read the whole body, which is packed, and unpack it.
    Unpack {
        ticket: Ticket,
    },
    /// Remember what the host does with ranges, for its other files.
    Habit(Habit),
    /// Read the body of the refusal, and end the range with the fault that it makes.
    ReadRefusal {
        ticket: Ticket,
    },
    /// Leave the rest of the response unread: the range is no longer wanted.
    Drop {
        ticket: Ticket,
    },
    /// Remove what is here; connections that still serve it stop.
    Abandon,
    /// Begin the next attempt with nothing.
    Restart,
    /// Ask the job for a link of a newer listing.
    RefreshLink {
        /// The listing that the old link is from.
        newer_than: u64,
        /// The question is whether the file is still offered: a recent listing answers it.
        gone: bool,
    },
    /// The host asked for fewer requests: no connection sends it one for so long.
    PauseHost {
        /// 429 or 503.
        status: u16,
        wait: Duration,
    },
    /// Use fewer connections.
    SlowDown,
    /// One connection of many broke in the middle of a response: several at once are a refusal.
    NoteBreak,
    /// Complete the hashes.
    Verify,
    /// Give the file its final name.
    Publish(Verified),
    /// Record a file that was here already.
    Adopt(Box<Entry>),
    /// Record that the host reported no change of the file in this run of the job.
    NoteUnchanged,
    /// Record that a body contradicted its proof.
    NoteDoubt(Doubt),
    /// Return what was promised of the disk's space.
    ReleaseSpace,
    /// Send [`Input::Deadline`] at this time.
    WaitUntil(Duration),
    Report(Report),
    /// The end of this download.
    End(Ending),
}

/// What users and logs show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Report {
    /// The first byte is on its way.
    Started {
        /// The whole length, where known.
        size: Option<u64>,
        /// Bytes that an earlier run left.
        resumed_from: u64,
    },
    /// The training is still writing the file.
    Settling {
        /// The length that the file's own format declares.
        declared: Option<u64>,
        /// Bytes that the host has.
        have: u64,
    },
    /// It will be tried again.
    Retrying {
        cause: FailureCause,
        /// After this long.
        wait: Duration,
    },
    /// It waits for disk space.
    NoRoom(Shortage),
    /// It waits for a disk that refuses for want of something other than bytes.
    DiskFull {
        /// What the disk refused.
        cause: FailureCause,
    },
    /// It is no longer hosted.
    Vanished,
    Failed(FailureCause),
}

/// How a download ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The file is here.
    Here,
    /// It is not, and what arrived of it stays for the next try.
    Missing {
        why: Missing,
        /// First and longest wait before the next try.
        cool_down: (Duration, Duration),
        /// It waits for the training: once that is over, the wait is over too.
        for_training: bool,
    },
}

impl Ending {
    /// The end of a file whose work was lost by a defect.
    #[must_use]
    pub(crate) fn lost() -> Self {
        let why = Missing::Failed(FailureCause::Defect);
        Self::Missing { why, cool_down: COOL_DOWN, for_training: false }
    }
}

/// Commands in the order in which to perform them.
pub(crate) type Commands = Vec<Command>;
