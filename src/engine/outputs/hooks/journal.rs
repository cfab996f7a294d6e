//! Which events were delivered to a hook, across runs: a journal for each hook.
//!
//! The first line has what was here when the hook was first used: that is not news. It is durable before anything is
//! published; a later line that a power cut takes away costs a repetition, never an event.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::edge::folder::journal;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::error::Error;
use crate::model::hook_event::EventId;

/// A line longer than this is not ours: a first line with a million events has 60 MB.
const BOUND: u64 = 256 << 20;

/// Lines that are added before the file is written anew, so that it stays about as long as the folder's list.
const COMPACT_FROM: u64 = 4096;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// Not news, or delivered: the first line, and after many others a new first one.
    Known(Vec<EventId>),
    /// Delivered, or given up.
    Done(EventId),
    /// A try failed.
    Failed(EventId),
}

/// What was delivered to one hook.
#[derive(Debug)]
pub(super) struct Journal {
    file: journal::Journal,
    done: HashSet<EventId>,
    failed: HashMap<EventId, u32>,
}

impl Journal {
    /// Opens the journal of the hook that `identity` distinguishes from others; where there is none, `here` is not news.
    pub(super) fn open(dir: &Path, identity: &EventId, here: &[EventId]) -> Result<Self, Error> {
        let path = path(dir, identity);
        let staging = dir.join(PRIVATE);
        let (mut done, mut failed, mut begun) = (HashSet::new(), HashMap::new(), false);
        // A line that a crash tore costs a repetition of its event.
        let read = journal::read(&path, BOUND, |line| match line {
            Line::Known(known) => {
                begun = true;
                done.extend(known);
            }
            Line::Done(id) => {
                done.insert(id);
            }
            Line::Failed(id) => *failed.entry(id).or_default() += 1,
        });
        // A journal that cannot be read is begun anew.
        let mut found = read.unwrap_or_default();
        if !begun {
            done = here.iter().cloned().collect();
            failed.clear();
        }
        if !begun || found.lines > COMPACT_FROM {
            let known: Vec<EventId> = match begun {
                true => here.iter().filter(|id| done.contains(*id)).cloned().collect(),
                false => here.to_vec(),
            };
            let left = failed.iter().filter(|(id, _)| !done.contains(*id));
            let failed = left.flat_map(|(id, times)| (0..*times).map(|_| Line::Failed(id.clone())));
            journal::replace(&path, &staging, std::iter::once(Line::Known(known)).chain(failed))?;
            found = journal::Found::default();
        }
        Ok(Self { file: journal::Journal::open(&path, found.is_torn)?, done, failed })
    }

    /// Whether an event need not be delivered.
    pub(super) fn is_done(&self, id: &EventId) -> bool {
        self.done.contains(id)
    }

    /// Records that an event was delivered, or never will be.
    pub(super) fn done(&mut self, id: EventId) -> Result<(), Error> {
        self.file.append([Line::Done(id.clone())])?;
        self.done.insert(id);
        Ok(())
    }

    /// Records a try that failed, and returns how many there were.
    pub(super) fn failed(&mut self, id: &EventId) -> Result<u32, Error> {
        self.file.append([Line::Failed(id.clone())])?;
        let times = self.failed.entry(id.clone()).or_default();
        *times += 1;
        Ok(*times)
    }
}

fn path(dir: &Path, identity: &EventId) -> PathBuf {
    dir.join(PRIVATE).join(format!("hook-{}.jsonl", identity.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(word: &str) -> EventId {
        EventId::of(&[word])
    }

    #[test]
    fn what_was_here_is_not_delivered_and_what_was_delivered_is_not_delivered_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(PRIVATE)).unwrap();
        let hook = id("hook");
        let mut journal = Journal::open(dir.path(), &hook, &[id("a")]).unwrap();
        assert!(journal.is_done(&id("a")) && !journal.is_done(&id("b")));
        journal.done(id("b")).unwrap();
        assert_eq!(journal.failed(&id("c")).unwrap(), 1);
        drop(journal);
        let here = [id("a"), id("b"), id("c"), id("d")];
        let mut journal = Journal::open(dir.path(), &hook, &here).unwrap();
        assert!(journal.is_done(&id("a")) && journal.is_done(&id("b")));
        assert!(!journal.is_done(&id("c")) && !journal.is_done(&id("d")), "the first line counts alone");
        assert_eq!(journal.failed(&id("c")).unwrap(), 2);
        assert!(Journal::open(dir.path(), &id("another"), &here).unwrap().is_done(&id("d")));
    }

    #[test]
    fn a_torn_line_repeats_one_event_and_a_long_journal_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(PRIVATE)).unwrap();
        let hook = id("hook");
        let mut journal = Journal::open(dir.path(), &hook, &[]).unwrap();
        journal.done(id("a")).unwrap();
        journal.done(id("b")).unwrap();
        let path = path(dir.path(), &hook);
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut journal = Journal::open(dir.path(), &hook, &[id("a"), id("b")]).unwrap();
        assert!(journal.is_done(&id("a")) && !journal.is_done(&id("b")));
        // What follows a torn line is read again.
        journal.done(id("c")).unwrap();
        assert!(Journal::open(dir.path(), &hook, &[]).unwrap().is_done(&id("c")));
        for number in 0..=COMPACT_FROM {
            journal.done(id(&number.to_string())).unwrap();
        }
        journal.failed(&id("bad")).unwrap();
        drop(journal);
        let here = [id("a"), id("7"), id("new")];
        let mut journal = Journal::open(dir.path(), &hook, &here).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 1000);
        assert!(journal.is_done(&id("7")) && !journal.is_done(&id("new")));
        assert_eq!(journal.failed(&id("bad")).unwrap(), 2);
    }
}
