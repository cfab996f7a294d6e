//! The few ways in which this program changes files, each with what survives a crash. Nothing but `directory`, which does the
//! same by handle, and `link`, which fills ComfyUI's folders, changes a file by any other way, so that a simulation sees it all.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use crate::edge::system::trace::witnessed;
use crate::error::Error;
use crate::model::local::LocalFile;

#[cfg(test)]
use crate::edge::system::trace::node;

/// Turns an I/O error into one that names the act and the path.
pub(crate) fn fault(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Disk { verb, path: path.to_path_buf(), source: source.into() }
}

/// Whether there is no room: on the disk, for one more file on it, or for this user.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether `replace` waits until the new bytes are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// After a power cut either the old or the new bytes are there, whole.
    Durable,
    /// The same, but which of the two is decided by the next flush of the folder, which is left to the caller.
    Whole,
    /// After a power cut the file may be gone or empty: fit only for what checks itself when read.
    Hopeful,
}

/// Replaces `path` by `bytes`, atomically, staged in `staging` (on the same file system).
pub(crate) fn replace(
    path: &Path,
    staging: &Path,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), Error> {
    replace_by(path, staging, durability, |staged| staged.write_all(bytes))
}

/// The same, with bytes that `write` delivers in pieces.
fn replace_by(
    path: &Path,
    staging: &Path,
    durability: Durability,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let staged = stage(path, staging, durability, write)?;
    if let Err(error) = rename(&staged, path) {
        // The error is returned; what is left is removed when the folder is opened next.
        let _ = remove(&staged);
        return Err(fault("write", path)(error));
    }
    flush_name(path, durability)
}

/// Creates `path` with `bytes`, atomically, staged in `staging`; never over an existing file.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when the name is taken.
pub(crate) fn create(path: &Path, staging: &Path, bytes: &[u8], durability: Durability) -> Result<(), Error> {
    let staged = stage(path, staging, durability, |staged| staged.write_all(bytes))?;
    if let Err(error) = rename_to_free_name(&staged, path) {
        // The error is returned; what is left is removed when the folder is opened next.
        let _ = remove(&staged);
        return Err(fault("write", path)(error));
    }
    flush_name(path, durability)
}

fn flush_name(path: &Path, durability: Durability) -> Result<(), Error> {
    match durability {
        Durability::Durable => flush_folder(parent(path)),
        Durability::Whole | Durability::Hopeful => Ok(()),
    }
}

/// Writes what will be `path` under a name of its own.
fn stage(
    path: &Path,
    staging: &Path,
    durability: Durability,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<PathBuf, Error> {
    let mut stage = tempfile::Builder::new();
    stage.prefix("replace-").suffix(".tmp");
    let staged = witnessed!(
        |staged| Change::Opened { path: staged.path().to_path_buf(), node: node(staged.as_file()) },
        stage.tempfile_in(staging)
    );
    let staged = staged.map_err(fault("write", staging))?;
    let mut appending = BufWriter::with_capacity(GATHERED, Appending(staged.as_file()));
    write(&mut appending).and_then(|()| appending.flush()).map_err(fault("write", path))?;
    drop(appending);
    make_readable(staged.as_file()).map_err(fault("write", path))?;
    if durability != Durability::Hopeful {
        flush(staged.as_file()).map_err(fault("flush", path))?;
    }
    staged.into_temp_path().keep().map_err(|kept| fault("write", path)(kept.error))
}

/// Replaces `path` only when its bytes differ from those that `write` delivers, so that an idle run changes no file; returns
/// whether they did. Where they differ, `write` delivers them once more.
pub(crate) fn replace_if_changed(
    path: &Path,
    staging: &Path,
    durability: Durability,
    write: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<bool, Error> {
    if holds(path, &write).unwrap_or(false) {
        return Ok(false);
    }
    replace_by(path, staging, durability, write).map(|()| true)
}

/// Whether a file holds what `write` delivers, and nothing else.
fn holds(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    let mut comparing =
        BufWriter::with_capacity(GATHERED, Comparing { old: open_regular(path)?, buffer: Vec::new() });
    write(&mut comparing)?;
    let mut old = comparing.into_inner().map_err(io::IntoInnerError::into_error)?.old;
    Ok(old.read(&mut [0])? == 0)
}

/// Bytes that are gathered before a file sees them.
const GATHERED: usize = 64 << 10;

/// Writes to the end of a file that is being staged.
struct Appending<'a>(&'a File);

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(self.0, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes bytes that a file holds already, and nothing else.
struct Comparing {
    old: File,
    buffer: Vec<u8>,
}

impl Write for Comparing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.resize(bytes.len(), 0);
        self.old.read_exact(&mut self.buffer)?;
        if self.buffer == bytes { Ok(bytes.len()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Flushes a file's bytes and length. A system that cannot flush this kind of file is forgiven; an error is not, and
/// must never be answered by flushing again: the kernel may have dropped the bytes and forgotten the error.
pub(crate) fn flush(file: &File) -> io::Result<()> {
    match witnessed!(|()| Change::Flushed { node: node(file) }, file.sync_data()) {
        Err(error) if cannot_flush(&error) => Ok(()),
        result => result,
    }
}

/// Lets the system begin to write a range to the disk, without waiting for it: later a [`flush`] has less to do. Where
/// it cannot be asked for, nothing is lost but time.
pub(crate) fn begin_flush(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Advice, fadvise};
        // Said of fresh bytes, "not needed" starts their way to the disk; none of them leaves the cache before that.
        let _ = fadvise(file, offset, std::num::NonZeroU64::new(length), Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    // Only Linux takes the advice.
    let _ = (file, offset, length);
}

/// Some file systems cannot flush some kinds of files, and report it.
pub(crate) fn cannot_flush(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

/// Makes renames and new names in a folder durable.
pub(crate) fn flush_folder(folder: &Path) -> Result<(), Error> {
    // Windows cannot open a folder as a file; its renames are journalled by the file system.
    if cfg!(windows) {
        return Ok(());
    }
    let flushed = || match File::open(folder)?.sync_data() {
        Err(error) if cannot_flush(&error) => Ok(()),
        result => result,
    };
    witnessed!(|()| Change::FolderFlushed { path: folder.to_path_buf() }, flushed())
        .map_err(fault("flush", folder))
}

/// The nearest folder: the path itself or the first one above it that exists.
pub(crate) fn nearest_folder(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or_else(|| Path::new("."))
}

/// Creates a folder with all that are missing above it, as durable as [`create_folders`] does.
pub(crate) fn create_with_parents(folder: &Path) -> Result<(), Error> {
    create_folders(nearest_folder(folder), folder)
}

/// The same, but the name of the folder itself is durable when the folder above is flushed next, which is left to the caller;
/// returns whether it was created.
pub(crate) fn create_with_parents_unflushed(folder: &Path) -> Result<bool, Error> {
    let (above, made) = (parent(folder), Cell::new(false));
    let look = |path: &Path| fs::symlink_metadata(path);
    create_folders_by(nearest_folder(folder), folder, look, |changed| {
        let is_last = changed == above;
        made.set(made.get() || is_last);
        if is_last { Ok(()) } else { flush_folder(changed) }
    })?;
    Ok(made.get())
}

/// Creates a folder below `root` part by part, refusing to walk through a link. `root` itself must exist. Every folder
/// that was created is durable: files in it would be lost with its name.
pub(crate) fn create_folders(root: &Path, folder: &Path) -> Result<(), Error> {
    create_folders_by(root, folder, |path| fs::symlink_metadata(path), flush_folder)
}

/// The same below a folder whose owner may have put links to other folders into it: they are followed.
pub(crate) fn create_folders_through_links(root: &Path, folder: &Path) -> Result<(), Error> {
    create_folders_by(root, folder, |path| fs::metadata(path), flush_folder)
}

fn create_folders_by(
    root: &Path,
    folder: &Path,
    look: impl Fn(&Path) -> io::Result<fs::Metadata>,
    changed: impl Fn(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut path = root.to_path_buf();
    let below = folder.strip_prefix(root).unwrap_or(folder);
    for part in below.components() {
        path.push(part);
        match make_folder(&path, &fs::DirBuilder::new()) {
            Ok(()) => changed(parent(&path))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let in_the_way = match look(&path) {
                    Ok(there) if there.is_dir() => continue,
                    Ok(_) => io::Error::from(io::ErrorKind::NotADirectory),
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                        io::Error::new(gone.kind(), "a link of this name leads to nothing")
                    }
                    Err(error) => return Err(fault("read", &path)(error)),
                };
                return Err(fault("create", &path)(in_the_way));
            }
            Err(error) => return Err(fault("create", &path)(error)),
        }
    }
    Ok(())
}

pub(crate) fn make_folder(path: &Path, how: &fs::DirBuilder) -> io::Result<()> {
    witnessed!(|()| Change::FolderMade { path: path.to_path_buf() }, how.create(path))
}

/// Creates a file that only this user may read, under a free name.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    open(path, &options)
}

/// Opens a file that may be created by that.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    witnessed!(|file| Change::Opened { path: path.to_path_buf(), node: node(file) }, options.open(path))
}

/// Writes bytes at the end of a file that was opened for that, or at its cursor.
pub(crate) fn append(file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut end = file;
    witnessed!(
        |()| Change::Written { node: node(file), offset: None, bytes: bytes.to_vec() },
        end.write_all(bytes)
    )
}

pub(crate) fn empty(file: &File) -> io::Result<()> {
    witnessed!(|()| Change::Emptied { node: node(file) }, file.set_len(0))
}

/// Returns what is at a path below `root`, without following links, in the path or at its end.
pub(crate) fn look(root: &Path, relative: &str) -> Option<LocalFile> {
    look_by(root, relative, || runs_through_link(root, relative))
}

/// The same below a folder whose owner may have put links to other folders into it: they are followed, and a link at the
/// end of the path is not.
pub(crate) fn look_through_links(root: &Path, relative: &str) -> Option<LocalFile> {
    look_by(root, relative, || false)
}

/// Whether something may be at a path that the system does not let be looked at: a disk with a fault, or a folder without permission.
pub(crate) fn is_out_of_reach(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| !is_answer(error.kind()))
}

/// Whether the system answers that there is nothing at a path.
pub(crate) fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| is_answer(error.kind()))
}

const fn is_answer(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(kind, NotFound | NotADirectory | InvalidFilename)
}

/// The same with a look for links above the path that callers may share.
pub(crate) fn look_by(root: &Path, relative: &str, through_link: impl FnOnce() -> bool) -> Option<LocalFile> {
    let path = root.join(relative);
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Some(LocalFile::Other),
        Err(_) => return None,
    };
    if !metadata.is_file() || through_link() {
        return Some(LocalFile::Other);
    }
    Some(LocalFile::File { size: metadata.len(), modified: modified(&metadata) })
}

/// Whether a link, or a file, is in the place of a folder above a path.
pub(crate) fn runs_through_link(root: &Path, relative: &str) -> bool {
    let mut path = root.to_path_buf();
    let Some((folders, _)) = relative.rsplit_once('/') else { return false };
    folders.split('/').any(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_dir())
    })
}

/// Returns a file's modification time in nanoseconds since 1970.
pub(crate) fn modified(metadata: &fs::Metadata) -> Option<i64> {
    let time = metadata.modified().ok()?;
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|nanos| -nanos),
    }
}

/// Returns when a file or folder was last changed in any way, its names and permissions included, in nanoseconds since
/// 1970: the time by which a trainer finds its newest checkpoint (Python's `getctime`). Links are not followed.
pub(crate) fn changed(path: &Path) -> io::Result<i128> {
    let metadata = fs::symlink_metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()))
    }
    // There `getctime` is the time at which the file was made.
    #[cfg(not(unix))]
    {
        let made = metadata.created()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i128::try_from(made.as_nanos()).unwrap_or(i128::MAX))
    }
}

/// Sets the time of [`changed`] to now and leaves everything else as it is: bytes, permissions, the time of modification.
pub(crate) fn renew(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let (metadata, before) = (fs::symlink_metadata(path)?, changed(path)?);
        // The same permissions again: file systems that keep a change time renew it. Some network disks have no
        // permissions to set, and renew it with the time of modification.
        let again = fs::set_permissions(path, metadata.permissions());
        if again.is_ok() && changed(path)? > before {
            return Ok(());
        }
        let modified = fs::FileTimes::new().set_modified(metadata.modified()?);
        File::open(path)?.set_times(modified)
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::FileTimesExt;
        let made = fs::FileTimes::new().set_created(std::time::SystemTime::now());
        OpenOptions::new().write(true).open(path)?.set_times(made)
    }
    #[cfg(not(any(unix, windows)))]
    Ok(())
}

/// Opens a regular file for reading without following a link at its end, and without hanging on a pipe.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    regular(path, OpenOptions::new().read(true))
}

/// Reads a regular file of text, as far as its first `bound` bytes.
pub(crate) fn read_text(path: &Path, bound: u64) -> io::Result<String> {
    text_of(&open_regular(path)?, bound)
}

/// Reads an open file of text, as far as its next `bound` bytes.
pub(crate) fn text_of(file: &File, bound: u64) -> io::Result<String> {
    // At its size at once: a text that grows by doubling takes half as much again, and a dozen calls where one is enough.
    let length = file.metadata()?.len().min(bound);
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or_default().saturating_add(1));
    file.take(bound).read_to_string(&mut text)?;
    Ok(text)
}

/// The same, for writing too.
pub(crate) fn reopen_regular(path: &Path) -> io::Result<File> {
    regular(path, OpenOptions::new().read(true).write(true))
}

fn regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
}

/// Gives a private file the permissions that a newly created one would have, so that others (ComfyUI under another
/// user) can read it as far as the user's umask allows.
pub(crate) fn make_readable(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(0o666).difference(umask()))?;
    #[cfg(not(unix))]
    // Elsewhere a file has the permissions of its folder.
    let _ = file;
    Ok(())
}

/// Reads the process's umask. There is no way to read it without setting it, so it is set once, back at once, and kept.
#[cfg(unix)]
fn umask() -> rustix::fs::Mode {
    static UMASK: OnceLock<rustix::fs::Mode> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(old);
        old
    })
}

/// Returns the folder a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Returns the bytes free for this user on the file system that holds `path`; `None` where it does not report them: cloud
/// drives, many other file systems in user space and memory disks have no size (0 of 0 bytes), and are not full.
pub(crate) fn free_space(path: &Path) -> Result<Option<Space>, Error> {
    match fs4::statvfs(path) {
        Ok(space) => Ok(Space { free: space.available_space(), total: space.total_space() }.known()),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(fault("ask the free space of", path)(error)),
    }
}

/// How full a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Free for this user.
    pub(crate) free: u64,
    /// All in all.
    pub(crate) total: u64,
}

impl Space {
    /// Returns the figures where they are some.
    fn known(self) -> Option<Self> {
        (self.total > 0).then_some(self)
    }
}

/// Writes all bytes at an offset of a file, wherever its cursor is.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    witnessed!(
        |()| Change::Written { node: node(file), offset: Some(offset), bytes: bytes.to_vec() },
        write_all_at(file, bytes, offset)
    )
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut bytes, mut offset) = (bytes, offset);
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Reads up to `buffer.len()` bytes at an offset of a file.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
}

/// Renames a file; what was there under the new name is gone.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    witnessed!(|()| Change::Renamed { from: from.to_path_buf(), to: to.to_path_buf() }, fs::rename(from, to))
}

/// Gives a file a second name.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    witnessed!(
        |()| Change::Linked { from: from.to_path_buf(), to: to.to_path_buf() },
        fs::hard_link(from, to)
    )
}

/// Renames a file to a free name; something that took it meanwhile is an error, not a loss.
pub(crate) fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    witnessed!(
        |()| Change::Renamed { from: from.to_path_buf(), to: to.to_path_buf() },
        rename_unless_taken(from, to)
    )
}

#[cfg(unix)]
fn rename_unless_taken(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::CWD;
    rename_unless_taken_at((CWD, from), (CWD, to))
}

/// Renames a name in one folder to a free name in another.
#[cfg(unix)]
pub(super) fn rename_unless_taken_at<Name: rustix::path::Arg + Copy>(
    (from, name): (impl std::os::fd::AsFd, Name),
    (to, new): (impl std::os::fd::AsFd, Name),
) -> io::Result<()> {
    use rustix::fs::{AtFlags, renameat, statat};
    use rustix::io::Errno;
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
            // File systems that cannot promise it: look first, then rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
    }
    match statat(&to, new, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(renameat(&from, name, &to, new)?),
        Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
pub(super) fn rename_unless_taken(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    fs::rename(from, to)
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match witnessed!(|()| Change::Removed { path: path.to_path_buf() }, fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Returns `name` below `folder` with a suffix that no other process uses.
pub(crate) fn private_name(folder: &Path, stem: &str, extension: &str) -> PathBuf {
    folder.join(private_file_name(stem, extension))
}

/// The same, as a name alone.
pub(crate) fn private_file_name(stem: &str, extension: &str) -> String {
    // Asked for once: each time is a system call.
    static PROCESS: OnceLock<u32> = OnceLock::new();
    let process = PROCESS.get_or_init(std::process::id);
    format!("{stem}.{process:x}-{:08x}.{extension}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::edge::system::trace::{Change, Witness, call, dismiss};

    #[derive(Default)]
    struct Diary(RefCell<Vec<&'static str>>);

    impl Witness for Diary {
        fn allow(&self) -> io::Result<()> {
            Ok(())
        }

        fn saw(&self, change: Change) {
            self.0.borrow_mut().push(match change {
                Change::Opened { .. } => "open",
                Change::Written { .. } => "write",
                Change::Emptied { .. } => "empty",
                Change::Flushed { .. } => "flush",
                Change::FolderFlushed { .. } => "flush folder",
                Change::FolderMade { .. } => "make folder",
                Change::Renamed { .. } => "rename",
                Change::Linked { .. } => "link",
                Change::Removed { .. } => "remove",
            });
        }
    }

    fn diary(act: impl FnOnce()) -> Vec<&'static str> {
        let diary = Rc::new(Diary::default());
        call(diary.clone());
        act();
        dismiss();
        diary.0.take()
    }

    #[test]
    fn a_durable_replacement_flushes_bytes_before_and_the_name_after_the_rename() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let durable = diary(|| replace(&path, folder.path(), b"new", Durability::Durable).unwrap());
        assert_eq!(durable, ["open", "write", "flush", "rename", "flush folder"]);
        let hopeful = diary(|| replace(&path, folder.path(), b"newer", Durability::Hopeful).unwrap());
        assert_eq!(hopeful, ["open", "write", "rename"]);
        let whole = |bytes: &'static [u8], expected: bool| {
            diary(|| {
                let write = |text: &mut dyn Write| text.write_all(bytes);
                let changed = replace_if_changed(&path, folder.path(), Durability::Whole, write);
                assert_eq!(changed.unwrap(), expected);
            })
        };
        assert_eq!(whole(b"newer", false), [""; 0]);
        assert_eq!(whole(b"newest", true), ["open", "write", "flush", "rename"]);
        assert_eq!(fs::read(&path).unwrap(), b"newest");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing staged is left");
    }

    #[test]
    fn renewing_changes_the_change_time_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (file, inner) = (folder.path().join("file"), folder.path().join("folder"));
        fs::write(&file, "weights").unwrap();
        fs::create_dir(&inner).unwrap();
        for path in [&file, &inner] {
            let before = (fs::metadata(path).unwrap(), changed(path).unwrap());
            // The clock of a file system ticks every few milliseconds.
            while changed(path).unwrap() <= before.1 {
                renew(path).unwrap();
            }
            let after = fs::metadata(path).unwrap();
            assert_eq!(after.permissions(), before.0.permissions());
            assert_eq!(modified(&after), modified(&before.0));
        }
        assert_eq!(fs::read(&file).unwrap(), b"weights");
        assert!(renew(&folder.path().join("nothing")).is_err());
    }

    #[test]
    fn a_folder_is_created_with_all_that_are_missing_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        assert_eq!(nearest_folder(&deep), folder.path());
        assert_eq!(nearest_folder(Path::new("nothing/of/this")), Path::new("."));
        create_with_parents(&deep).unwrap();
        assert_eq!(nearest_folder(&deep), deep);
        create_with_parents(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        assert_eq!(nearest_folder(&deep.join("file/x")), deep);
        assert!(create_with_parents(&deep.join("file/x")).is_err());
        assert!(create_with_parents(&deep.join("file")).is_err(), "a file is no folder");
    }

    #[test]
    fn a_rename_never_takes_a_name_that_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "ours").unwrap();
        fs::write(&to, "theirs").unwrap();
        assert_eq!(rename_to_free_name(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"theirs");
        assert_eq!(fs::read(&from).unwrap(), b"ours");
    }
}
