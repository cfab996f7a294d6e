//! DIR while files get their names in it: each folder below is opened once a group, no link is walked through, and at the
//! group's end each of them must still have its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::edge::system::directory::Directory;
use crate::edge::system::disk::{self, fault};
use crate::error::Error;

use super::manifest_store::PRIVATE;

/// The folder of parts, below the private one.
const PARTS: &str = "parts";

/// Bytes that are copied at a time.
const COPIED: usize = 1 << 20;

/// DIR, with the folders below it that are open.
#[derive(Debug)]
pub(crate) struct Tree {
    /// By path below DIR; DIR itself has the empty one.
    open: BTreeMap<String, Directory>,
    /// Those in which folders were created that are not durable yet.
    unflushed: BTreeSet<String>,
    parts: Directory,
}

/// How a part got its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// By a rename: its time stamp is the part's.
    Renamed,
    /// As a copy on another disk, with this time stamp.
    Copied(Option<i64>),
}

/// What a name may have that is given to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing: what is there is an error.
    Nothing,
    /// The file of before, which goes.
    Old,
}

impl Tree {
    /// Opens DIR and its folder of parts.
    ///
    /// # Errors
    /// When one of them is not there, or is a link below DIR.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let root = Directory::open(dir).map_err(fault("open", dir))?;
        let private = below(&root, PRIVATE)?;
        let parts = below(&private, PARTS)?;
        let open = BTreeMap::from([(String::new(), root)]);
        Ok(Self { open, unflushed: BTreeSet::new(), parts })
    }

    /// Gives a flushed part its name, and makes the folders that it is in where there are none. A disk that is mounted
    /// below DIR gets a copy first.
    ///
    /// # Errors
    /// When the disk refuses; [`io::ErrorKind::AlreadyExists`] when the name is taken and that must not be.
    pub(crate) fn publish(&mut self, part: &str, name: &str, over: Over) -> Result<Published, Error> {
        let (folder, file) = split(name);
        let path = self.path(name);
        let published = match self.publish_in(part, folder, file, over)? {
            // The folder was removed since it was opened, or the part is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(folder);
                self.publish_in(part, folder, file, over)?
            }
            published => published,
        };
        published.map_err(fault("publish", &path))
    }

    fn publish_in(
        &mut self,
        part: &str,
        folder: &str,
        file: &str,
        over: Over,
    ) -> Result<io::Result<Published>, Error> {
        self.enter(folder)?;
        let Self { open, parts, .. } = self;
        let Some(folder) = open.get(folder) else { return Ok(Err(io::ErrorKind::NotFound.into())) };
        Ok(match rename(parts, part, folder, file, over) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                publish_copy(parts, part, folder, file, over).map(Published::Copied)
            }
            renamed => renamed.map(|()| Published::Renamed),
        })
    }

    /// Moves a file that was just published back among the parts: its folder was moved away meanwhile, and so was it.
    pub(crate) fn take_back(&self, name: &str, part: &str) {
        let (folder, file) = split(name);
        if let Some(folder) = self.open.get(folder) {
            // Where that fails the file stays in a folder of the user's, whole; the next look fetches it again.
            let _ = folder.rename_to_free_name(file, &self.parts, part);
        }
    }

    /// Gives a file a second name, or, where the disk has no second names, another one.
    ///
    /// # Errors
    /// When the disk refuses. A name that is taken is none: the file got it in a run that was cut off.
    pub(crate) fn keep(&mut self, name: &str, kept: &str) -> Result<(), Error> {
        let ((folder, file), (kept_folder, kept_file)) = (split(name), split(kept));
        self.enter(folder)?;
        self.enter(kept_folder)?;
        let (Some(from), Some(to)) = (self.open.get(folder), self.open.get(kept_folder)) else {
            return Ok(());
        };
        match from.link(file, to, kept_file) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => from
                .rename(file, to, kept_file)
                .map_err(fault("keep the old bytes of", &from.path().join(file))),
        }
    }

    /// Takes out the folders in which others were created for files: they are to be flushed, too.
    pub(crate) fn take_unflushed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.unflushed)
    }

    /// Returns the path of a folder below DIR.
    pub(crate) fn path_of(&self, folder: &str) -> PathBuf {
        self.open.get(folder).map_or_else(|| self.path(folder), |open| open.path().to_path_buf())
    }

    /// Makes the names in the folder of a file durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn flush(&self, folder: &str) -> Result<(), Error> {
        match self.open.get(folder) {
            Some(open) => open.flush().map_err(fault("flush", open.path())),
            None => Ok(()),
        }
    }

    /// Finds out whether a folder below DIR is still the one that files were given names in.
    ///
    /// # Errors
    /// When it, or one that it is in, was moved, or something else has its name.
    pub(crate) fn ensure_in_place(&self, folder: &str) -> Result<(), Error> {
        for (above, name) in steps(folder) {
            let path = joined(above, name);
            let (Some(above), Some(open)) = (self.open.get(above), self.open.get(&path)) else { continue };
            if !above.has(name, open) {
                let why = "another folder or a link took its place while files got their names in it";
                let source = io::Error::new(io::ErrorKind::StaleNetworkFileHandle, why);
                return Err(fault("publish into", open.path())(source));
            }
        }
        Ok(())
    }

    /// Opens a folder and those that it is in, and makes those that are not there.
    fn enter(&mut self, folder: &str) -> Result<(), Error> {
        for (above, name) in steps(folder) {
            let path = joined(above, name);
            if self.open.contains_key(&path) {
                continue;
            }
            let Some(directory) = self.open.get(above) else { return Ok(()) };
            let open = match below(directory, name) {
                Err(Error::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    let made = directory.make_folder(name);
                    match made {
                        // Another made it meanwhile.
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(fault("create", &directory.path().join(name))(error));
                        }
                        _ => {
                            self.unflushed.insert(above.to_owned());
                            below(directory, name)?
                        }
                    }
                }
                open => open?,
            };
            self.open.insert(path, open);
        }
        Ok(())
    }

    /// Closes a folder and those that it is in, so that they are looked for anew.
    fn forget(&mut self, folder: &str) {
        for (above, name) in steps(folder) {
            self.open.remove(&joined(above, name));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.open.get("").map_or_else(PathBuf::new, |root| root.path().join(name))
    }
}

/// The folder of a name below DIR, and its last part.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// Each folder on the way to one below DIR: what it is in, and its name.
fn steps(folder: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
    ends.map(|end| split(&folder[..end])).filter(|(_, name)| !name.is_empty())
}

fn joined(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}

fn below(above: &Directory, name: &str) -> Result<Directory, Error> {
    // A link or a file is in the way of the folder that would be created.
    above.open_below(name).map_err(|error| {
        let verb = if error.kind() == io::ErrorKind::NotADirectory { "create" } else { "open" };
        fault(verb, &above.path().join(name))(error)
    })
}

fn rename(from: &Directory, name: &str, to: &Directory, new: &str, over: Over) -> io::Result<()> {
    match over {
        Over::Nothing => from.rename_to_free_name(name, to, new),
        Over::Old => from.rename(name, to, new),
    }
}

/// The name may be on another disk that is mounted below DIR: a copy is made beside it, and gets the name. Returns its time
/// stamp.
fn publish_copy(
    parts: &Directory,
    part: &str,
    folder: &Directory,
    file: &str,
    over: Over,
) -> io::Result<Option<i64>> {
    // Named after the part's file and not after its writer, so that what a crash leaves here is found by the next try.
    let staged = format!(".{}.rcsync-part", part.split('.').next().unwrap_or("copy"));
    let copied = copy(parts, part, folder, &staged)
        .and_then(|modified| rename(folder, &staged, folder, file, over).map(|()| modified));
    if copied.is_err() {
        // The error is returned; the next try replaces what is left.
        let _ = folder.remove(&staged);
    }
    let modified = copied?;
    // What is left of it here costs room and nothing else; the last pass sweeps it.
    let _ = parts.remove(part);
    Ok(modified)
}

/// Copies a file to another disk, flushes the copy, and reads it back: that disk has not shown yet that it keeps bytes. Returns
/// the copy's time stamp.
fn copy(from: &Directory, name: &str, to: &Directory, new: &str) -> io::Result<Option<i64>> {
    // Creating the file fails where this did.
    let _ = to.remove(new);
    let source = from.open_regular(name)?;
    let target = to.create_new(new)?;
    let (mut bytes, mut read_back) = (vec![0; COPIED], vec![0; COPIED]);
    let mut at = 0;
    loop {
        let count = disk::read_at(&source, &mut bytes, at)?;
        if count == 0 {
            break;
        }
        disk::write_at(&target, &bytes[..count], at)?;
        at += count as u64;
    }
    disk::flush(&target)?;
    let mut at = 0;
    loop {
        let count = disk::read_at(&source, &mut bytes, at)?;
        let filled = fill(&target, &mut read_back[..count], at)?;
        if bytes[..count] != read_back[..filled] {
            return Err(io::Error::other("the other disk holds other bytes than it was given"));
        }
        if count == 0 {
            return target.metadata().map(|metadata| disk::modified(&metadata));
        }
        at += count as u64;
    }
}

/// Reads until a buffer is full or the file ends; returns how many bytes there were.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match disk::read_at(file, &mut buffer[filled..], at + filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(PRIVATE).join(PARTS)).unwrap();
        let tree = Tree::open(dir.path()).unwrap();
        (dir, tree)
    }

    fn part(dir: &Path, name: &str) {
        fs::write(dir.join(PRIVATE).join(PARTS).join(name), name).unwrap();
    }

    #[test]
    fn folders_are_made_where_there_are_none() {
        let (dir, mut tree) = tree();
        for (part_name, name) in
            [("1.part", "a"), ("2.part", "x/y/a"), ("3.part", "x/y/b"), ("4.part", "x/a")]
        {
            part(dir.path(), part_name);
            tree.publish(part_name, name, Over::Nothing).unwrap();
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), part_name.as_bytes());
        }
        assert_eq!(tree.open.keys().collect::<Vec<_>>(), ["", "x", "x/y"]);
        tree.ensure_in_place("x/y").unwrap();
        // Removed in the middle of a group.
        fs::remove_dir_all(dir.path().join("x")).unwrap();
        part(dir.path(), "5.part");
        tree.publish("5.part", "x/y/c", Over::Nothing).unwrap();
        assert_eq!(fs::read(dir.path().join("x/y/c")).unwrap(), b"5.part");
        tree.ensure_in_place("x/y").unwrap();
        let gone = tree.publish("5.part", "x/y/d", Over::Nothing).unwrap_err();
        assert!(matches!(gone, Error::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn a_name_that_is_taken_is_an_error_unless_its_file_may_go() {
        let (dir, mut tree) = tree();
        part(dir.path(), "1.part");
        fs::write(dir.path().join("a"), "theirs").unwrap();
        let taken = tree.publish("1.part", "a", Over::Nothing).unwrap_err();
        assert!(matches!(taken, Error::Disk { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        tree.keep("a", "a~1").unwrap();
        tree.keep("a", "a~1").unwrap();
        tree.publish("1.part", "a", Over::Old).unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"1.part");
        assert_eq!(fs::read(dir.path().join("a~1")).unwrap(), b"theirs");
        tree.take_back("a", "1.part");
        assert!(
            !dir.path().join("a").exists() && dir.path().join(PRIVATE).join(PARTS).join("1.part").exists()
        );
    }

    #[cfg(unix)]
    #[test]
    fn no_link_is_walked_through_and_a_moved_folder_is_noticed() {
        let (dir, mut tree) = tree();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        part(dir.path(), "1.part");
        for name in ["link/a", "link/b/a"] {
            let refused = tree.publish("1.part", name, Over::Nothing).unwrap_err();
            assert!(refused.to_string().contains("link"), "{refused}");
        }
        tree.publish("1.part", "x/y/a", Over::Nothing).unwrap();
        fs::rename(dir.path().join("x"), outside.path().join("x")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("x")).unwrap();
        let moved = tree.ensure_in_place("x/y").unwrap_err();
        assert!(moved.to_string().contains("/x`"), "{moved}");
        tree.take_back("x/y/a", "1.part");
        assert_eq!(fs::read_dir(outside.path().join("x/y")).unwrap().count(), 0);
        tree.ensure_in_place("").unwrap();
        for private in [PRIVATE.to_owned(), format!("{PRIVATE}/{PARTS}")] {
            let (dir, _) = self::tree();
            fs::rename(dir.path().join(&private), dir.path().join("moved")).unwrap();
            std::os::unix::fs::symlink(outside.path(), dir.path().join(&private)).unwrap();
            assert!(Tree::open(dir.path()).is_err(), "{private}");
        }
    }

    #[test]
    fn a_copy_on_another_disk_is_proven_and_leaves_nothing_beside_it() {
        let (dir, tree) = tree();
        part(dir.path(), "abc.1.part");
        let source = tree.parts.path().join("abc.1.part");
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(&source).unwrap().set_modified(old).unwrap();
        let stamp = publish_copy(&tree.parts, "abc.1.part", &tree.open[""], "a", Over::Nothing).unwrap();
        let copy = fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!(stamp, disk::modified(&copy), "the stamp is the copy's, which is newer than the part's");
        assert!(copy.modified().unwrap() > old);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"abc.1.part");
        let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
        assert_eq!((names(dir.path()), names(tree.parts.path())), (2, 0));
    }
}
