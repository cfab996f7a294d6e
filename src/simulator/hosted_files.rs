//! What one job has put on the artifact host, and every version it ever put there.
//!
//! The one idea: a file is a path, a content, and how much of that content is written by now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::artifact::{ArtifactKind, Sample};

use super::files::content::Content;
use super::plan::Writes;

#[derive(Debug, Clone)]
pub(crate) struct Hosted {
    /// Which list it is in.
    pub(crate) kind: ArtifactKind,
    /// The path under the job's output folder.
    pub(crate) path: String,
    /// The URL's path (or a whole URL), as it is listed.
    pub(crate) url: String,
    /// The bytes; `None` once it was deleted but is listed still.
    pub(crate) content: Option<Arc<Content>>,
    pub(crate) step: Option<u64>,
    /// What is said about a sample.
    pub(crate) sample: Option<Sample>,
    /// Which save it belongs to, for those that are deleted by age.
    pub(crate) save: Option<u64>,
    /// How much is written.
    pub(crate) written: Written,
    /// How it is written.
    pub(crate) style: Writes,
    /// When it was changed last, in simulated milliseconds since 1970.
    pub(crate) modified_ms: i64,
}

impl Hosted {
    /// A file that is whole, at the usual place under `folder` (a URL path that ends in a slash).
    pub(crate) fn whole(
        kind: ArtifactKind,
        path: String,
        folder: &str,
        content: Arc<Content>,
        now_ms: i64,
    ) -> Self {
        let url = format!("{folder}{}", encode_path(&path));
        Self {
            kind,
            path,
            url,
            content: Some(content),
            step: None,
            sample: None,
            save: None,
            written: Written::Whole,
            style: Writes::Atomic,
            modified_ms: now_ms,
        }
    }
}

/// How much of a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    /// This part of it.
    Part {
        /// Steps of the writing that are done.
        done: u64,
        /// Steps that it takes.
        of: u64,
        /// Whether the writer died: it stays as it is.
        abandoned: bool,
    },
}

/// A file as the host sees it at one moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The bytes of the whole file.
    pub(crate) content: Arc<Content>,
    /// The path under the job's output folder.
    pub(crate) path: String,
    style: Writes,
    written: Written,
    /// When it was changed last, in simulated milliseconds since 1970.
    pub(crate) modified_ms: i64,
}

impl View {
    /// Whether the whole file is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.written == Written::Whole
    }

    /// The length that the host sees now. Makes the content.
    pub(crate) fn length(&self) -> u64 {
        match self.style {
            Writes::Growing => self.written_bytes(),
            Writes::Atomic | Writes::ZeroTail => self.content.length(),
        }
    }

    /// From where on there are zeros instead of bytes. Makes the content.
    pub(crate) fn zeros_from(&self) -> u64 {
        match self.style {
            Writes::ZeroTail => self.written_bytes(),
            Writes::Atomic | Writes::Growing => u64::MAX,
        }
    }

    /// Never nothing and never all while a part is missing.
    fn written_bytes(&self) -> u64 {
        let length = self.content.length();
        match self.written {
            Written::Whole => length,
            Written::Part { done, of, .. } => {
                let written = u128::from(length) * (u128::from(done) + 1) / (u128::from(of) + 1);
                u64::try_from(written).unwrap_or(length).clamp(1, length.saturating_sub(1).max(1))
            }
        }
    }
}

/// One version of one file that was on the host.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// The path under the job's output folder.
    pub(crate) path: String,
    /// Which list it was in.
    pub(crate) kind: ArtifactKind,
    pub(crate) step: Option<u64>,
    pub(crate) content: Arc<Content>,
}

/// The files of one job.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// By the path that requests come with; the number keeps the order of the list.
    files: BTreeMap<String, (u64, Hosted)>,
    next: u64,
    /// The keys of files with a living writer: few, while there may be thousands of files.
    writing: BTreeSet<String>,
    ever: Vec<Version>,
}

impl Shelf {
    /// Puts a file on the host; one with the same URL is replaced and keeps its place in the list.
    pub(crate) fn put(&mut self, file: Hosted) {
        if let Some(content) = &file.content {
            self.remember(&file, content);
        }
        let key = request_path(&file.url);
        let place = self.files.get(&key).map_or(self.next, |(place, _)| *place);
        self.next += 1;
        self.note_writer(&key, file.written);
        self.files.insert(key, (place, file));
    }

    fn note_writer(&mut self, key: &str, written: Written) {
        if matches!(written, Written::Part { abandoned: false, .. }) {
            self.writing.insert(key.to_owned());
        } else {
            self.writing.remove(key);
        }
    }

    fn remember(&mut self, file: &Hosted, content: &Arc<Content>) {
        self.ever.push(Version {
            path: file.path.clone(),
            kind: file.kind,
            step: file.step,
            content: Arc::clone(content),
        });
    }

    /// Returns the file that a request for `path` means.
    pub(crate) fn find(&self, path: &str) -> Option<View> {
        let (_, file) = self.files.get(path)?;
        Some(View {
            content: Arc::clone(file.content.as_ref()?),
            path: file.path.clone(),
            style: file.style,
            written: file.written,
            modified_ms: file.modified_ms,
        })
    }

    /// Takes down that a request for `path` was answered with the other version of the file.
    pub(crate) fn remember_other(&mut self, path: &str) {
        let Some((_, file)) = self.files.get(path).cloned() else { return };
        let Some(other) = file.content.as_ref().map(|content| content.other()) else { return };
        if !self.ever.iter().any(|version| Arc::ptr_eq(&version.content, &other)) {
            self.remember(&file, &other);
        }
    }

    /// Returns all files in the order of the list.
    pub(crate) fn list(&self) -> Vec<&Hosted> {
        let mut files: Vec<_> = self.files.values().collect();
        files.sort_by_key(|(place, _)| *place);
        files.into_iter().map(|(_, file)| file).collect()
    }

    /// Returns every version that ever was on the host.
    pub(crate) fn ever(&self) -> &[Version] {
        &self.ever
    }

    /// Lets the writers continue for one step; true when one of them has finished.
    pub(crate) fn write_on(&mut self, now_ms: i64) -> bool {
        let before = self.writing.len();
        let files = &mut self.files;
        self.writing.retain(|key| {
            let Some((_, file)) = files.get_mut(key) else { return false };
            file.modified_ms = now_ms;
            if let Written::Part { done, of, .. } = &mut file.written {
                *done = done.saturating_add(1);
                if done < of {
                    return true;
                }
            }
            file.written = Written::Whole;
            false
        });
        self.writing.len() < before
    }

    /// Completes all writes in progress.
    pub(crate) fn finish_writes(&mut self, now_ms: i64) {
        for key in std::mem::take(&mut self.writing) {
            if let Some((_, file)) = self.files.get_mut(&key) {
                file.written = Written::Whole;
                file.modified_ms = now_ms;
            }
        }
    }

    /// The writers die; what is half written stays so.
    pub(crate) fn abandon_writes(&mut self) {
        for key in std::mem::take(&mut self.writing) {
            let Some((place, mut file)) = self.files.get(&key).cloned() else { continue };
            let view = self.find(&key);
            if let Written::Part { abandoned, .. } = &mut file.written {
                *abandoned = true;
            }
            // Of some kinds nothing tells that they are cut: what is there is all that there will ever be.
            if let Some(cut) = view.and_then(|view| view.content.cut(view.length())) {
                (file.written, file.style) = (Written::Whole, Writes::Atomic);
                self.remember(&file, &cut);
                file.content = Some(cut);
            }
            self.files.insert(key, (place, file));
        }
    }

    /// Whether a living writer is at work.
    pub(crate) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Deletes all but the newest `keep` saves, from the list too unless `listed_on`.
    pub(crate) fn keep_newest_saves(&mut self, keep: u64, listed_on: bool) {
        let there = |file: &Hosted| if file.content.is_some() { file.save } else { None };
        let mut saves: Vec<u64> = self.files.values().filter_map(|(_, file)| there(file)).collect();
        saves.sort_unstable();
        saves.dedup();
        let surplus = saves.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
        let old = &saves[..surplus];
        self.remove(listed_on, |file| file.save.is_some_and(|save| old.contains(&save)));
    }

    /// Deletes the file with this path under the output folder; false when there is none.
    pub(crate) fn delete(&mut self, path: &str, listed_on: bool) -> bool {
        let there = self.files.values().any(|(_, file)| file.path == path);
        self.remove(listed_on, |file| file.path == path);
        there
    }

    fn remove(&mut self, listed_on: bool, doomed: impl Fn(&Hosted) -> bool) {
        if listed_on {
            for (_, file) in self.files.values_mut().filter(|(_, file)| doomed(file)) {
                file.content = None;
            }
        } else {
            self.files.retain(|_, (_, file)| !doomed(file));
        }
    }

    /// Changes the file with this path under the output folder and dates it `now_ms`; false when there is none.
    pub(crate) fn change(&mut self, path: &str, now_ms: i64, change: impl FnOnce(&mut Hosted)) -> bool {
        let Some((key, (_, file))) = self.files.iter_mut().find(|(_, (_, file))| file.path == path) else {
            return false;
        };
        let key = key.clone();
        let before = file.content.clone();
        change(file);
        file.modified_ms = now_ms;
        let file = file.clone();
        self.note_writer(&key, file.written);
        if let (Some(before), Some(after)) = (before, &file.content)
            && !Arc::ptr_eq(&before, after)
        {
            self.remember(&file, after);
        }
        true
    }
}

/// Percent-encodes each segment of `path`.
pub(crate) fn encode_path(path: &str) -> String {
    path.split('/').map(encode_segment).collect::<Vec<_>>().join("/")
}

/// Percent-encodes everything in `text` but what never needs it.
pub(crate) fn encode_segment(text: &str) -> String {
    const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, &KEPT).to_string()
}

/// The path with which a client asks that follows the URL standard: dot segments are resolved, for one.
pub(crate) fn request_path(listed: &str) -> String {
    let whole = if listed.contains("://") { listed.to_owned() } else { format!("http://host{listed}") };
    url::Url::parse(&whole).map_or_else(|_| listed.to_owned(), |url| url.path().to_owned())
}
