//! Which events a hook was told of, across runs: an append-only file of sealed lines for each hook.
//!
//! The first line says what was here when the hook was first given: that is not news to it. It is durable before
//! anything is published; a later line that a power cut takes away costs a repetition, never an event.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::edge::folder::checksummed;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;
use crate::model::hook_event::EventId;

/// A journal larger than this is not ours: a million events take 60 MB.
const BOUND: u64 = 256 << 20;

/// Lines that are added before the file is written anew, so that it stays about as long as the folder's list.
const COMPACT_FROM: usize = 4096;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// Not news, or told: the first line, and after many others a new first one.
    Known(Vec<EventId>),
    /// Told, or given up.
    Done(EventId),
    /// Tried in vain.
    Failed(EventId),
}

/// What one hook was told.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    done: HashSet<EventId>,
    failed: HashMap<EventId, u32>,
}

impl Journal {
    /// Opens the journal of the hook that `identity` tells from others; where there is none, `here` is not news.
    pub(super) fn open(dir: &Path, identity: &EventId, here: &[EventId]) -> Result<Self, Error> {
        let path = dir.join(PRIVATE).join(format!("hook-{}.jsonl", identity.as_str()));
        let staging = dir.join(PRIVATE);
        let (mut done, mut failed, mut lines) = (HashSet::new(), HashMap::new(), 0);
        let mut begun = false;
        for line in read(&path).unwrap_or_default().lines() {
            lines += 1;
            match checksummed::unseal(line) {
                Some(Line::Known(known)) => {
                    begun = true;
                    done.extend(known);
                }
                Some(Line::Done(id)) => {
                    done.insert(id);
                }
                Some(Line::Failed(id)) => *failed.entry(id).or_default() += 1,
                // Torn by a crash: that event is told once more.
                None => {}
            }
        }
        if !begun {
            done = here.iter().cloned().collect();
            failed.clear();
        }
        if !begun || lines > COMPACT_FROM {
            let known: Vec<EventId> = match begun {
                true => here.iter().filter(|id| done.contains(*id)).cloned().collect(),
                false => here.to_vec(),
            };
            let mut text = line(&path, &Line::Known(known))?;
            for (id, times) in failed.iter().filter(|(id, _)| !done.contains(*id)) {
                for _ in 0..*times {
                    text.push_str(&line(&path, &Line::Failed(id.clone()))?);
                }
            }
            disk::replace(&path, &staging, text.as_bytes(), Durability::Durable)?;
        }
        let file = disk::open(&path, OpenOptions::new().append(true)).map_err(fault("open", &path))?;
        Ok(Self { file, path, done, failed })
    }

    /// Whether a hook need not be told of an event.
    pub(super) fn is_done(&self, id: &EventId) -> bool {
        self.done.contains(id)
    }

    /// Notes that it was told, or never will be.
    pub(super) fn done(&mut self, id: EventId) -> Result<(), Error> {
        self.write(&Line::Done(id.clone()))?;
        self.done.insert(id);
        Ok(())
    }

    /// Notes a try that failed, and returns how many there were.
    pub(super) fn failed(&mut self, id: &EventId) -> Result<u32, Error> {
        self.write(&Line::Failed(id.clone()))?;
        let times = self.failed.entry(id.clone()).or_default();
        *times += 1;
        Ok(*times)
    }

    fn write(&self, what: &Line) -> Result<(), Error> {
        disk::append(&self.file, line(&self.path, what)?.as_bytes()).map_err(fault("write", &self.path))
    }
}

fn line(path: &Path, what: &Line) -> Result<String, Error> {
    let text = checksummed::seal(what).map_err(|error| fault("write", path)(error.into()))?;
    Ok(text + "\n")
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    disk::open_regular(path).ok()?.take(BOUND).read_to_end(&mut bytes).ok()?;
    // A power cut may leave anything in the last line; the others are text.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(word: &str) -> EventId {
        EventId::of(&[word])
    }

    #[test]
    fn what_was_here_is_no_news_and_what_was_told_stays_told() {
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
        let path = journal.path.clone();
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut journal = Journal::open(dir.path(), &hook, &[id("a"), id("b")]).unwrap();
        assert!(journal.is_done(&id("a")) && !journal.is_done(&id("b")));
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
