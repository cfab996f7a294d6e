//! Where the list of jobs comes from, and when it may have changed.

use std::io::Read;
use std::path::PathBuf;

use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::edge::system::watch::Watch;
use crate::error::Error;

use super::registry::Registry;

/// A longer list is no list: ten thousand jobs with options take a tenth of it.
const LONGEST: u64 = 16 << 20;

/// Where the list of jobs comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// This text, read from standard input.
    Text(String),
    /// A file, read again when it changes.
    File(PathBuf),
    /// What `fleet add` put below DEST, read again when it changes.
    Registry(Registry),
}

impl Source {
    /// Reads the list.
    ///
    /// # Errors
    /// When there is no such file, or the disk refuses.
    pub(super) async fn read(&self) -> Result<String, Error> {
        let source = self.clone();
        let path = match self {
            Self::Text(_) => PathBuf::from("-"),
            Self::File(path) => path.clone(),
            Self::Registry(registry) => registry.folder().to_path_buf(),
        };
        blocking(move || source.read_now()).await.map_err(lost("read", &path))?
    }

    /// The same, on this thread.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_now(&self) -> Result<String, Error> {
        let path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Registry(registry) => return registry.read(),
            Self::File(path) => path,
        };
        // Not only regular files: the shell's `<(…)` is none.
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoInput(path.clone()));
            }
            Err(error) => return Err(disk::fault("read", path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(disk::fault("read", path))?;
        let shown = path.display();
        if bytes.len() as u64 > LONGEST {
            return Err(Error::BadInput(format!("`{shown}` is too large for a list of jobs")));
        }
        String::from_utf8(bytes).map_err(|_| Error::BadInput(format!("`{shown}` is not UTF-8")))
    }

    /// Begins to watch it; `None` where it cannot change.
    pub(super) fn watch(&self) -> Option<Watch> {
        match self {
            Self::Text(_) => None,
            // A pipe has been read, and would be empty the second time.
            Self::File(path) if !path.is_file() => None,
            Self::File(path) => Some(Watch::file(path)),
            Self::Registry(registry) => Some(Watch::folder(registry.folder())),
        }
    }
}
