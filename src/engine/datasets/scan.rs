//! Reads a folder of pictures, clips and captions: every file once, from its first byte to its last, on several threads
//! with one buffer each. Only files that seem to be equal are read a second time, for their SHA-256.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fs, io, thread};

use crate::decide::datasets::{
    Companion, Content, FilePatterns, MediaKind, Scan, ScannedFile, Subfolder, caption_extension, is_skipped,
    stem,
};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::{BadInput, Error};
use crate::model::digest::Sha256Digest;

use super::content::{BUFFER, Cut, Found, Hash, Hashing, Reading};

/// How many threads read at most. More of them help a disk that is far away, and each costs a buffer.
const MAX_THREADS: usize = 8;

/// How deep folders in the folder are looked into. Their files are only counted.
const MAX_DEPTH: usize = 16;

/// How a folder is scanned.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// The dataset's name; without one the folder's own.
    pub name: Option<String>,
    /// The extension of captions, with or without its dot; `.txt` without one.
    pub caption_ext: Option<String>,
    /// Which files belong to the dataset.
    pub files: FilePatterns,
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanProgress {
    /// Files that were read.
    pub files: u64,
    /// Files that there are.
    pub of_files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes that there are.
    pub of_bytes: u64,
}

/// Reads the folder. `on_progress` is called by several threads, between buffers, and ends the scan with
/// [`ControlFlow::Break`]; then the answer is `None`. Blocks.
///
/// # Errors
/// When the folder is not there or cannot be listed. What is wrong with single files is part of the answer.
pub fn scan(
    folder: &Path,
    options: &ScanOptions,
    on_progress: &(dyn Fn(ScanProgress) -> ControlFlow<()> + Sync),
) -> Result<Option<Scan>, Error> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => folder_name(folder)?,
    };
    let mut walk = Walk::default();
    walk.list(folder, options)?;
    walk.listed.sort_by(|a, b| a.name.cmp(&b.name));
    let caption_ext = caption_extension(options.caption_ext.as_deref());
    let Some(files) = read_all(walk.listed, &caption_ext, on_progress) else {
        return Ok(None);
    };
    walk.subfolders.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Some(Scan {
        folder: folder.to_path_buf(),
        name,
        caption_ext,
        files,
        subfolders: walk.subfolders,
        skipped: walk.skipped,
    }))
}

/// Lists the names of a folder's files, in their order; reads no file.
///
/// # Errors
/// When the folder is not there or cannot be listed.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut walk = Walk::default();
    walk.list(folder, &ScanOptions::default())?;
    let mut names: Vec<String> = walk.listed.into_iter().map(|file| file.name).collect();
    names.sort();
    Ok(names)
}

/// Lists the stems of a folder of control images or masks; reads no file.
///
/// # Errors
/// When the folder is not there or cannot be listed.
pub(crate) fn companion(folder: &Path, name: &str) -> Result<Companion, Error> {
    let names = names(folder)?;
    let media = names.iter().filter(|name| MediaKind::of(name).is_some());
    Ok(Companion { name: name.to_owned(), stems: media.map(|name| stem(name).to_owned()).collect() })
}

/// Lists the names and lengths of a folder's files; reads none of them.
///
/// # Errors
/// When the folder is not there or cannot be listed.
pub(crate) fn sizes(folder: &Path, options: &ScanOptions) -> Result<Vec<(String, u64)>, Error> {
    let mut walk = Walk::default();
    walk.list(folder, options)?;
    Ok(walk.listed.into_iter().filter_map(|file| Some((file.name, file.size?))).collect())
}

/// Returns the folder's own name, also of `.` and `..`.
///
/// # Errors
/// When the folder is not there.
pub(crate) fn folder_name(folder: &Path) -> Result<String, Error> {
    let whole = fs::canonicalize(folder).map_err(|error| not_listed(folder, error))?;
    // The name that the user typed, where it is one: a link may lead to a folder of another name.
    let named = folder.file_name().or_else(|| whole.file_name()).unwrap_or_default();
    Ok(named.to_string_lossy().into_owned())
}

fn not_listed(folder: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoInput(folder.to_path_buf()),
        io::ErrorKind::NotADirectory => BadInput::NoFolder(folder.to_path_buf()).into(),
        io::ErrorKind::PermissionDenied => {
            BadInput::FolderForbidden { path: folder.to_path_buf(), cause: error.into() }.into()
        }
        _ => fault("read", folder)(error),
    }
}

/// A file that was listed.
struct Listed {
    name: String,
    path: PathBuf,
    is_utf8: bool,
    /// Its length, where it is a regular file.
    size: Option<u64>,
}

#[derive(Default)]
struct Walk {
    listed: Vec<Listed>,
    subfolders: Vec<Subfolder>,
    skipped: u64,
}

impl Walk {
    fn list(&mut self, folder: &Path, options: &ScanOptions) -> Result<(), Error> {
        let entries = fs::read_dir(folder).map_err(|error| not_listed(folder, error))?;
        for entry in entries {
            let entry = entry.map_err(fault("read", folder))?;
            let (name, is_utf8) = text_of(&entry);
            let path = entry.path();
            // What a link leads to counts.
            let found = fs::metadata(&path);
            let is_folder = found.as_ref().is_ok_and(fs::Metadata::is_dir);
            if is_skipped(&name, is_folder).is_some() {
                self.skipped += 1;
            } else if is_folder {
                self.look_into(&path, name, options, 0);
            } else if options.files.take(&name) {
                let size = found.ok().filter(fs::Metadata::is_file).map(|found| found.len());
                self.listed.push(Listed { name, path, is_utf8, size });
            }
        }
        Ok(())
    }

    /// Counts the files of a folder in the folder, and of those in it.
    fn look_into(&mut self, folder: &Path, relative: String, options: &ScanOptions, depth: usize) {
        let is_link = folder.symlink_metadata().is_ok_and(|found| found.is_symlink());
        let entries = if is_link || depth > MAX_DEPTH { None } else { fs::read_dir(folder).ok() };
        let Some(entries) = entries else {
            self.subfolders.push(Subfolder { path: relative, files: Vec::new() });
            return;
        };
        let (mut files, mut left_out, mut deeper) = (Vec::new(), false, false);
        for entry in entries.filter_map(Result::ok) {
            let (name, _) = text_of(&entry);
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = format!("{relative}/{name}");
            if is_skipped(&name, is_folder).is_some() {
                self.skipped += 1;
            } else if is_folder {
                deeper = true;
                self.look_into(&entry.path(), path, options, depth + 1);
            } else if options.files.take(&path) {
                files.push(name);
            } else {
                left_out = true;
            }
        }
        // A folder of which the user takes nothing is none of the dataset's.
        if !files.is_empty() || !(left_out || deeper) {
            files.sort();
            self.subfolders.push(Subfolder { path: relative, files });
        }
    }
}

fn text_of(entry: &fs::DirEntry) -> (String, bool) {
    let name = entry.file_name();
    match name.to_str() {
        Some(name) => (name.to_owned(), true),
        None => (name.to_string_lossy().into_owned(), false),
    }
}

fn read_all(
    listed: Vec<Listed>,
    caption_ext: &str,
    on_progress: &(dyn Fn(ScanProgress) -> ControlFlow<()> + Sync),
) -> Option<Vec<ScannedFile>> {
    let mut of_size: HashMap<u64, u32> = HashMap::new();
    let media_size = |file: &Listed| file.size.filter(|_| MediaKind::of(&file.name).is_some());
    for size in listed.iter().filter_map(media_size) {
        *of_size.entry(size).or_default() += 1;
    }
    // Only media of equal lengths can have equal bytes.
    let hashing = |file: &Listed| {
        let may_be_equal =
            media_size(file).is_some_and(|size| of_size.get(&size).is_some_and(|count| *count > 1));
        if may_be_equal { Hashing::Checksum } else { Hashing::Nothing }
    };
    let whole = ScanProgress {
        of_files: listed.len() as u64,
        of_bytes: listed.iter().filter_map(|file| file.size).sum(),
        ..ScanProgress::default()
    };
    let (files, bytes, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let advance = |new_bytes: u64, new_files: u64| {
        let progress = ScanProgress {
            files: files.fetch_add(new_files, Ordering::Relaxed) + new_files,
            bytes: bytes.fetch_add(new_bytes, Ordering::Relaxed) + new_bytes,
            ..whole
        };
        if on_progress(progress).is_break() {
            ended.store(true, Ordering::Relaxed);
        }
        if ended.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let read = on_threads(&listed, |file, buffer| {
        let scanned = read_one(file, caption_ext, hashing(file), buffer, &|read| advance(read, 0))?;
        advance(0, 1).is_continue().then_some(scanned)
    })?;
    let mut equal: BTreeMap<(u64, u64), Vec<usize>> = BTreeMap::new();
    for (at, (file, checksum)) in read.iter().enumerate() {
        if let Some(checksum) = checksum {
            equal.entry((file.size, *checksum)).or_default().push(at);
        }
    }
    let mut files: Vec<ScannedFile> = read.into_iter().map(|(file, _)| file).collect();
    let again: Vec<usize> = equal.into_values().filter(|group| group.len() > 1).flatten().collect();
    // These bytes were counted already.
    let hashed = on_threads(&again, |at, buffer| hash_again(&files[*at], buffer, &|_| advance(0, 0)))?;
    for (at, sha256) in again.into_iter().zip(hashed) {
        files[at].sha256 = sha256;
    }
    Some(files)
}

/// Does `work` for each item, on several threads with a buffer each; returns the results in order, or `None` where one
/// was asked to end.
fn on_threads<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T, &mut [u8]) -> Option<R> + Sync,
) -> Option<Vec<R>> {
    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        let mut buffer = vec![0; BUFFER];
        while !ended.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            match work(item, &mut buffer) {
                Some(result) => done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result)),
                None => ended.store(true, Ordering::Relaxed),
            }
        }
    };
    let threads =
        thread::available_parallelism().map_or(2, usize::from).clamp(2, MAX_THREADS).min(items.len());
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(run)));
        run();
    });
    if ended.into_inner() {
        return None;
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Some(done.into_iter().map(|(_, result)| result).collect())
}

/// Returns the SHA-256 of a file that was read before, where it is still as it was; `None` when the scan was asked to end.
fn hash_again(
    file: &ScannedFile,
    buffer: &mut [u8],
    on_read: &dyn Fn(u64) -> ControlFlow<()>,
) -> Option<Option<Sha256Digest>> {
    let mut read = || -> Result<(u64, Hash), Cut> {
        let opened = disk::open_regular(&fs::canonicalize(&file.path)?)?;
        let (name, length, hashing) = (&file.name, file.size, Hashing::Sha256);
        Reading { file: &opened, name, buffer, length, hashing, on_read }.hash()
    };
    match read() {
        Ok((read, Hash::Sha256(sha256))) if read == file.size => Some(Some(sha256)),
        Err(Cut::Ended) => None,
        // What became of it since is found when it is sent.
        Ok(_) | Err(Cut::Disk(_)) => Some(None),
    }
}

/// Returns what is in a file, and its checksum where one was wanted; `None` when the scan was asked to end.
fn read_one(
    listed: &Listed,
    caption_ext: &str,
    hashing: Hashing,
    buffer: &mut [u8],
    on_read: &dyn Fn(u64) -> ControlFlow<()>,
) -> Option<(ScannedFile, Option<u64>)> {
    let mut scanned = ScannedFile {
        name: listed.name.clone(),
        path: listed.path.clone(),
        size: listed.size.unwrap_or(0),
        modified: None,
        sha256: None,
        content: Content::NoFile,
    };
    if !listed.is_utf8 {
        scanned.content = Content::NameNotUtf8;
        return Some((scanned, None));
    }
    if listed.size.is_none() {
        return Some((scanned, None));
    }
    let mut checksum = None;
    let mut read = || -> Result<_, Cut> {
        // A link is followed here, and then nothing but a regular file is opened.
        let file = disk::open_regular(&fs::canonicalize(&listed.path)?)?;
        let before = file.metadata()?;
        let reading =
            Reading { file: &file, name: &listed.name, buffer, length: before.len(), hashing, on_read };
        let found = reading.read(caption_ext)?;
        let after = file.metadata()?;
        let is_same = before.len() == after.len() && before.modified().ok() == after.modified().ok();
        Ok((found, after, is_same))
    };
    match read() {
        Ok((Found { content, read, hash }, after, is_same)) => {
            scanned.size = read;
            scanned.modified = after.modified().ok();
            if !is_same || read != after.len() {
                scanned.content = Content::Unreadable("it changed while it was read".to_owned());
                return Some((scanned, None));
            }
            scanned.content = content;
            match hash {
                Hash::Nothing => {}
                Hash::Checksum(found) => checksum = Some(found),
                Hash::Sha256(sha256) => scanned.sha256 = Some(sha256),
            }
        }
        Err(Cut::Ended) => return None,
        Err(Cut::Disk(error)) => scanned.content = Content::Unreadable(error.to_string()),
    }
    Some((scanned, checksum))
}

#[cfg(test)]
mod tests;
