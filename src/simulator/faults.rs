//! Misbehaviour on cue.
//!
//! The one idea: a rule says which requests it is for and how often; the first rule that fits a request is
//! used up by it, so a queue of rules is a sequence of faults.

use std::time::Duration;

/// One rule.
#[derive(Debug, Clone)]
pub struct Fault {
    /// A substring of the request's path and query, on either origin; empty fits all.
    pub matches: String,
    /// How many fitting requests pass untouched before.
    pub after: u64,
    /// How many requests it is for; `None` for all from then on.
    pub times: Option<u64>,
    /// What goes wrong.
    pub what: What,
}

impl Fault {
    /// A rule for the next fitting request.
    pub fn once(matches: impl Into<String>, what: What) -> Self {
        Self { matches: matches.into(), after: 0, times: Some(1), what }
    }

    /// A rule for every fitting request.
    pub fn always(matches: impl Into<String>, what: What) -> Self {
        Self { times: None, ..Self::once(matches, what) }
    }

    /// The same rule for this many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// The same rule, sparing this many requests first.
    #[must_use]
    pub fn after(mut self, after: u64) -> Self {
        self.after = after;
        self
    }
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum What {
    /// This answer instead of the right one: a 503 with `Retry-After`, a 429, a redirect, a 200 of HTML …
    Answer {
        /// The HTTP status.
        status: u16,
        /// The headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The connection is dropped before any answer.
    Drop,
    /// What was asked for is done, and the connection is dropped before any answer.
    DropAnswer,
    /// The connection is dropped after this many bytes of the body.
    Cut(u64),
    /// The answer has no length, and ends after this many bytes as if it were whole.
    EndEarly(u64),
    /// Nothing comes after this many bytes of the body; the connection stays open.
    Stall(u64),
    /// The body trickles: bytes a second.
    Trickle(u64),
    /// The answer comes late.
    Delay(Duration),
    /// A range is answered with a 200 of the whole file.
    IgnoreRange,
    /// A range is answered with a 206 that begins up to this many bytes earlier, and says so.
    EarlierStart(u64),
    /// A 206 says that it begins this many bytes later than it does.
    WrongStart(u64),
    /// A 206 says that the whole has this many bytes more than it has.
    WrongTotal(u64),
    /// A 206 does not say which range it is.
    NoContentRange,
    /// One bit of the file's byte at this offset is flipped.
    FlipByte(u64),
    /// Another version of the file: other bytes of the same length, another ETag and time.
    OtherBytes,
    /// The answer says that it is compressed.
    GzipHeader,
    /// The body ends in the middle; the length says so too. For JSON.
    Truncated,
    /// The answer speaks of another job.
    WrongJob,
    /// A result as it was before the job's end: it is running, and its newest checkpoint is missing.
    LaggingResult,
    /// The answer is packed with gzip. For answers of the API.
    Gzip,
    /// The answer is a gzip body of so many MiB of white space: a megabyte of it packs to a kilobyte.
    GzipBomb(u32),
}

impl What {
    /// An answer with this status, this `Retry-After` and no body.
    #[must_use]
    pub fn retry_after(status: u16, seconds: &str) -> Self {
        let headers = vec![("Retry-After".to_owned(), seconds.to_owned())];
        Self::Answer { status, headers, body: String::new() }
    }

    /// An answer with this status and a short body of text.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
        Self::Answer { status, headers, body: "out of order\n".to_owned() }
    }

    /// An answer with this status and this JSON: an error body under a 200, for one.
    #[must_use]
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self::Answer { status, headers, body: body.into() }
    }

    /// A 302 to this URL.
    #[must_use]
    pub fn redirect(location: impl Into<String>) -> Self {
        let headers = vec![("Location".to_owned(), location.into())];
        Self::Answer { status: 302, headers, body: String::new() }
    }

    /// A 200 with a page for people, as captive portals and gateways send it.
    #[must_use]
    pub fn html() -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())];
        let body = "<!doctype html><title>Please wait</title><p>We will be back soon.".to_owned();
        Self::Answer { status: 200, headers, body }
    }
}

/// The rules that are left.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Fault>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.rules.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Returns what goes wrong with a request for `target`.
    pub(crate) fn take(&mut self, target: &str) -> Option<What> {
        let mut found = None;
        for rule in self.rules.iter_mut().filter(|rule| target.contains(&rule.matches)) {
            if rule.times == Some(0) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            found = Some(rule.what.clone());
            break;
        }
        self.rules.retain(|rule| rule.times != Some(0));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(what: Option<What>) -> String {
        format!("{what:?}")
    }

    #[test]
    fn rules_are_used_up_in_order() {
        let mut faults = Faults::default();
        faults.add(Fault::once("a", What::Cut(1)));
        faults.add(Fault::once("a", What::Cut(2)).times(2));
        faults.add(Fault::always("b", What::Drop).after(1));
        let seen: Vec<String> =
            ["/a", "/b", "/a", "/a", "/a", "/b", "/b"].map(|path| name(faults.take(path))).into();
        assert_eq!(
            seen,
            ["Some(Cut(1))", "None", "Some(Cut(2))", "Some(Cut(2))", "None", "Some(Drop)", "Some(Drop)"]
        );
        faults.clear();
        assert_eq!(name(faults.take("/b")), "None");
    }
}
