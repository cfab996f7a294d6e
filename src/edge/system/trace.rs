//! Lets a simulation see every change of the disk as it is made, and stop time before one of them.
//!
//! All of it is for tests: outside of them [`witnessed`] is nothing but the act itself.

/// Does something to the disk, in sight of a witness where a test has called one: `witnessed!(|result| change, act)`.
#[cfg(not(test))]
macro_rules! witnessed {
    (|$done:pat_param| $change:expr, $act:expr) => {
        $act
    };
}

/// Does something to the disk, in sight of a witness where a test has called one: `witnessed!(|result| change, act)`.
#[cfg(test)]
macro_rules! witnessed {
    (|$done:pat_param| $change:expr, $act:expr) => {{
        use $crate::edge::system::trace::Change;
        $crate::edge::system::trace::witness(|| $act, |$done| $change)
    }};
}

pub(crate) use witnessed;

#[cfg(test)]
pub(crate) use seen::{Change, Witness, call, dismiss, grants_every_lock, node, witness};

#[cfg(test)]
mod seen {
    use std::cell::RefCell;
    use std::fs::File;
    use std::io;
    use std::path::PathBuf;
    use std::rc::Rc;

    /// Something that was done to the disk.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum Change {
        /// A file was opened, and created if it was not there.
        Opened { path: PathBuf, node: u64 },
        /// Bytes were written at an offset; `None`: at the end.
        Written { node: u64, offset: Option<u64>, bytes: Vec<u8> },
        /// A file was emptied.
        Emptied { node: u64 },
        /// A file's bytes and length were flushed.
        Flushed { node: u64 },
        /// The names in a folder were flushed.
        FolderFlushed { path: PathBuf },
        /// A folder was created.
        FolderMade { path: PathBuf },
        /// A file was renamed, over what was there.
        Renamed { from: PathBuf, to: PathBuf },
        /// A file got a second name.
        Linked { from: PathBuf, to: PathBuf },
        /// A file's name was removed.
        Removed { path: PathBuf },
    }

    /// Sees changes of the disk.
    pub(crate) trait Witness {
        /// Is asked before each change; an error stops it from happening.
        fn allow(&self) -> io::Result<()>;
        /// Gets each change that was made.
        fn saw(&self, change: Change);
        /// Whether this disk grants every lock, as some network disks do.
        fn grants_every_lock(&self) -> bool {
            false
        }
    }

    thread_local! {
        static WITNESS: RefCell<Option<Rc<dyn Witness>>> = const { RefCell::new(None) };
    }

    /// Calls a witness for everything that this thread does from now on.
    pub(crate) fn call(witness: Rc<dyn Witness>) {
        WITNESS.with_borrow_mut(|place| *place = Some(witness));
    }

    /// Sends this thread's witness away.
    pub(crate) fn dismiss() {
        WITNESS.with_borrow_mut(|place| *place = None);
    }

    /// Whether this thread's disk grants every lock.
    pub(crate) fn grants_every_lock() -> bool {
        WITNESS.with_borrow(|witness| witness.as_ref().is_some_and(|witness| witness.grants_every_lock()))
    }

    /// Acts in sight of the witness, if there is one.
    pub(crate) fn witness<T>(
        act: impl FnOnce() -> io::Result<T>,
        change: impl FnOnce(&T) -> Change,
    ) -> io::Result<T> {
        let Some(witness) = WITNESS.with_borrow(Clone::clone) else { return act() };
        witness.allow()?;
        let done = act()?;
        witness.saw(change(&done));
        Ok(done)
    }

    /// What an open file is known by, whatever its name.
    pub(crate) fn node(file: &File) -> u64 {
        #[cfg(unix)]
        return file.metadata().map_or(0, |metadata| std::os::unix::fs::MetadataExt::ino(&metadata));
        #[cfg(not(unix))]
        return u64::from(file.metadata().is_err());
    }
}
