//! A folder that is held open. Files in it are created, renamed and looked at by the handle and not by a path, so that a
//! link or another folder which takes its path meanwhile leads nowhere else. Where the system has no such calls, the
//! path is used.

#[cfg(any(test, not(unix)))]
use std::fs;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::edge::system::disk;
use crate::edge::system::trace::witnessed;

#[cfg(test)]
use crate::edge::system::trace::node;

/// A folder that is held open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    #[cfg(unix)]
    handle: File,
    /// The name that it was opened by led to it: on some disks no folder is known again by its number.
    #[cfg(unix)]
    knows_again: bool,
}

impl Directory {
    /// Returns the path that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a folder in this one; its name is durable when this one is flushed next.
    pub(crate) fn make_folder(&self, name: &str) -> io::Result<()> {
        witnessed!(|()| Change::FolderMade { path: self.path.join(name) }, self.make(name))
    }

    /// Creates a file with the permissions that it is published with, under a name that is free.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        witnessed!(|file| Change::Opened { path: self.path.join(name), node: node(file) }, self.create(name))
    }

    /// Renames a file in this folder into another one; what is there under the new name is gone.
    pub(crate) fn rename(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        witnessed!(
            |()| Change::Renamed { from: self.path.join(name), to: to.path.join(new) },
            self.rename_over(name, to, new)
        )
    }

    /// The same to a name that is free; one that is taken is an error, not a loss.
    pub(crate) fn rename_to_free_name(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        witnessed!(
            |()| Change::Renamed { from: self.path.join(name), to: to.path.join(new) },
            self.rename_unless_taken(name, to, new)
        )
    }

    /// Gives a file in this folder a second name in another one.
    pub(crate) fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        witnessed!(
            |()| Change::Linked { from: self.path.join(name), to: to.path.join(new) },
            self.link_to(name, to, new)
        )
    }

    /// Removes a file; that it is gone already is fine.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match witnessed!(|()| Change::Removed { path: self.path.join(name) }, self.unlink(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the names in it durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        witnessed!(|()| Change::FolderFlushed { path: self.path.clone() }, self.flush_names())
    }
}

/// A link or a file that has a folder's name.
fn not_a_folder() -> io::Error {
    io::Error::from(io::ErrorKind::NotADirectory)
}

#[cfg(unix)]
mod by_handle {
    use rustix::fs::{
        AtFlags, Mode, OFlags, fstat, linkat, mkdirat, open, openat, renameat, statat, unlinkat,
    };
    use rustix::io::{Errno, retry_on_intr};

    use super::{Directory, File, Path, disk, io, not_a_folder};

    /// The permissions of new files, which the user's umask takes its part of.
    const NEW_FILE: u32 = 0o666;

    /// The same of new folders.
    const NEW_FOLDER: u32 = 0o777;

    /// A folder that is replaced between the two calls of opening it is opened again, so many times.
    const MOST_TRIES: u32 = 3;

    impl Directory {
        /// Opens the folder at a path. Links are followed: the path is the user's.
        pub(crate) fn open(path: &Path) -> io::Result<Self> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let handle = File::from(retry_on_intr(|| open(path, flags, Mode::empty()))?);
            Ok(Self { path: path.to_path_buf(), handle, knows_again: false })
        }

        /// Opens a folder in this one. A link is no folder.
        pub(crate) fn open_below(&self, name: &str) -> io::Result<Self> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut tries = 0;
            loop {
                let opened = retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty()));
                let handle = match opened {
                    Ok(handle) => File::from(handle),
                    Err(Errno::LOOP | Errno::NOTDIR) => return Err(not_a_folder()),
                    Err(error) => return Err(error.into()),
                };
                let mut below = Self { path: self.path.join(name), handle, knows_again: false };
                below.knows_again = self.is_still(name, &below)?;
                tries += 1;
                if below.knows_again || tries == MOST_TRIES {
                    return Ok(below);
                }
            }
        }

        /// Whether a folder that was opened in this one still has its name. Where folders are not known again, it is
        /// assumed.
        pub(crate) fn has(&self, name: &str, below: &Self) -> bool {
            !below.knows_again || self.is_still(name, below).unwrap_or(false)
        }

        fn is_still(&self, name: &str, below: &Self) -> io::Result<bool> {
            let there = match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(there) => there,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let held = fstat(&below.handle)?;
            Ok((there.st_dev, there.st_ino) == (held.st_dev, held.st_ino))
        }

        /// Opens a regular file for reading: no link, and without hanging on a pipe.
        pub(crate) fn open_regular(&self, name: &str) -> io::Result<File> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty()))?);
            let is_file = file.metadata()?.is_file();
            if is_file { Ok(file) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
        }

        pub(super) fn make(&self, name: &str) -> io::Result<()> {
            Ok(mkdirat(&self.handle, name, Mode::from_raw_mode(NEW_FOLDER))?)
        }

        pub(super) fn create(&self, name: &str) -> io::Result<File> {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(NEW_FILE);
            Ok(File::from(retry_on_intr(|| openat(&self.handle, name, flags, mode))?))
        }

        pub(super) fn rename_over(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
            Ok(renameat(&self.handle, name, &to.handle, new)?)
        }

        pub(super) fn rename_unless_taken(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
            disk::rename_unless_taken_at((&self.handle, name), (&to.handle, new))
        }

        pub(super) fn link_to(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
            Ok(linkat(&self.handle, name, &to.handle, new, AtFlags::empty())?)
        }

        pub(super) fn unlink(&self, name: &str) -> io::Result<()> {
            Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
        }

        pub(super) fn flush_names(&self) -> io::Result<()> {
            match self.handle.sync_data() {
                Err(error) if disk::cannot_flush(&error) => Ok(()),
                result => result,
            }
        }
    }
}

#[cfg(not(unix))]
mod by_path {
    use super::{Directory, File, Path, disk, fs, io, not_a_folder};

    impl Directory {
        /// Opens the folder at a path. Links are followed: the path is the user's.
        pub(crate) fn open(path: &Path) -> io::Result<Self> {
            let is_folder = fs::metadata(path)?.is_dir();
            if is_folder { Ok(Self { path: path.to_path_buf() }) } else { Err(not_a_folder()) }
        }

        /// Opens a folder in this one. A link is no folder.
        pub(crate) fn open_below(&self, name: &str) -> io::Result<Self> {
            let path = self.path.join(name);
            if fs::symlink_metadata(&path)?.is_dir() { Ok(Self { path }) } else { Err(not_a_folder()) }
        }

        /// Whether a folder that was opened in this one still has its name.
        pub(crate) fn has(&self, name: &str, _: &Self) -> bool {
            fs::symlink_metadata(self.path.join(name)).is_ok_and(|metadata| metadata.is_dir())
        }

        /// Opens a regular file for reading.
        pub(crate) fn open_regular(&self, name: &str) -> io::Result<File> {
            disk::open_regular(&self.path.join(name))
        }

        pub(super) fn make(&self, name: &str) -> io::Result<()> {
            fs::create_dir(self.path.join(name))
        }

        pub(super) fn create(&self, name: &str) -> io::Result<File> {
            File::options().read(true).write(true).create_new(true).open(self.path.join(name))
        }

        pub(super) fn rename_over(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
            fs::rename(self.path.join(name), to.path.join(new))
        }

        pub(super) fn rename_unless_taken(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
            disk::rename_unless_taken(&self.path.join(name), &to.path.join(new))
        }

        pub(super) fn link_to(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
            fs::hard_link(self.path.join(name), to.path.join(new))
        }

        pub(super) fn unlink(&self, name: &str) -> io::Result<()> {
            fs::remove_file(self.path.join(name))
        }

        /// The renames of Windows are journalled by its file system.
        pub(super) fn flush_names(&self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_is_no_folder_and_a_moved_folder_has_its_name_no_more() {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("root"), place.path().join("outside"));
        fs::create_dir_all(root.join("samples")).unwrap();
        fs::create_dir(&outside).unwrap();
        let directory = Directory::open(&root).unwrap();
        let samples = directory.open_below("samples").unwrap();
        assert!(directory.has("samples", &samples));
        fs::rename(root.join("samples"), root.join("moved")).unwrap();
        assert!(!directory.has("samples", &samples));
        symlink(&outside, root.join("samples")).unwrap();
        assert!(!directory.has("samples", &samples));
        for name in ["samples", "file"] {
            fs::write(root.join("file"), "").unwrap();
            let refused = directory.open_below(name).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotADirectory, "{name}");
        }
        assert_eq!(directory.open_below("nothing").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(Directory::open(&root.join("file")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        // What is done by the handle is done in the folder that was opened.
        drop(samples.create_new("a").unwrap());
        assert!(root.join("moved/a").exists());
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    }

    #[test]
    fn no_name_that_is_taken_is_taken_again() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("below")).unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let below = directory.open_below("below").unwrap();
        let taken = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::AlreadyExists;
        for name in ["below/theirs", "ours"] {
            fs::write(place.path().join(name), name).unwrap();
        }
        symlink("nowhere", place.path().join("link")).unwrap();
        assert!(taken(directory.rename_to_free_name("ours", &below, "theirs")));
        assert!(taken(directory.link("ours", &below, "theirs")));
        for name in ["ours", "link", "below"] {
            assert!(taken(directory.create_new(name).map(drop)), "{name}");
        }
        assert!(directory.open_regular("link").is_err());
        assert!(directory.open_regular("below").is_err());
        assert_eq!(fs::read(place.path().join("below/theirs")).unwrap(), b"below/theirs");
        directory.rename("ours", &below, "theirs").unwrap();
        assert_eq!(fs::read(place.path().join("below/theirs")).unwrap(), b"ours");
        below.remove("theirs").unwrap();
        below.remove("theirs").unwrap();
    }

    /// ComfyUI under another user reads what the user's umask allows.
    #[test]
    fn a_new_file_has_the_permissions_of_any_new_file() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let ours = directory.create_new("ours").unwrap();
        let any = File::create(place.path().join("any")).unwrap();
        let mode = |file: &File| file.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&any));
    }
}
