//! Where the list of jobs comes from, and when it may have changed.

use std::io::Read;
use std::path::{Path, PathBuf};
#[cfg(feature = "buckets")]
use std::sync::Arc;

use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::edge::system::watch::Watch;
#[cfg(feature = "buckets")]
use crate::engine::event::Event;
use crate::error::{BadInput, Error};
#[cfg(feature = "buckets")]
use crate::error::{BucketError, Unanswered};
use crate::model::list_fault::ListFaults;

use super::registry::Registry;
#[cfg(feature = "buckets")]
use super::{Listener, News};

/// A longer list is no list: ten thousand jobs with options take a tenth of it.
const LONGEST: u64 = 16 << 20;

/// A bucket reports no changes: it is listed this often.
#[cfg(feature = "buckets")]
const BETWEEN_LISTS: std::time::Duration = std::time::Duration::from_secs(30);

/// Where the list of jobs comes from.
#[derive(Debug, Clone)]
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
    /// When there is no such file, or the disk or the store refuses.
    pub(super) async fn read(&self) -> Result<String, Error> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Registry(registry) => registry.read().await,
            Self::File(path) => {
                let file = path.clone();
                blocking(move || read_file(&file)).await.map_err(lost("read", path))?
            }
        }
    }

    /// Returns this source; a store that has the list and does not answer is reported to `listener`.
    #[cfg(feature = "buckets")]
    pub(crate) fn reporting_outages_to(self, listener: Arc<dyn Listener>) -> Self {
        let Self::Registry(Registry::Bucket(lines)) = self else { return self };
        let reporter = move |event: &Event| {
            if let Event::Retrying { cause, wait, .. } = event {
                listener.news(&News::ListAway { cause: cause.clone(), wait: *wait });
            }
        };
        Self::Registry(Registry::Bucket(Arc::new(lines.reporting(Arc::new(reporter)))))
    }

    /// Returns the error for a list whose lines cannot be used.
    pub(super) fn refused(&self, faults: ListFaults) -> Error {
        let list = match self {
            Self::Text(_) => "standard input".to_owned(),
            Self::File(path) => format!("`{}`", path.display()),
            Self::Registry(registry) => registry.description(),
        };
        BadInput::List { list, faults }.into()
    }

    /// Why there is no list, where the source did not answer in the time that the fleet has.
    pub(super) fn no_answer(&self) -> Error {
        let late = |path: &Path| disk::fault("read", path)(std::io::ErrorKind::TimedOut.into());
        match self {
            // It is here already, and is read at once.
            Self::Text(_) => late(Path::new("-")),
            Self::File(path) => late(path),
            Self::Registry(Registry::Folder(files)) => late(files.folder()),
            #[cfg(feature = "buckets")]
            Self::Registry(Registry::Bucket(lines)) => {
                BucketError::Away { to: lines.url().to_string(), cause: Unanswered::FleetTimeOver }.into()
            }
        }
    }

    /// Begins to watch it; `None` where it cannot change.
    pub(super) fn watch(&self) -> Option<Changes> {
        match self {
            Self::Text(_) => None,
            // A pipe has been read, and would be empty the second time.
            Self::File(path) if !path.is_file() => None,
            Self::File(path) => Some(Changes::Watched(Watch::file(path))),
            Self::Registry(Registry::Folder(files)) => Some(Changes::Watched(Watch::folder(files.folder()))),
            #[cfg(feature = "buckets")]
            Self::Registry(Registry::Bucket(_)) => Some(Changes::AskedFor),
        }
    }
}

/// How changes of a list are noticed.
#[derive(Debug)]
pub(super) enum Changes {
    /// By events of the disk.
    Watched(Watch),
    /// By asking again and again.
    #[cfg(feature = "buckets")]
    AskedFor,
}

impl Changes {
    /// Returns when the list may have changed.
    pub(super) async fn wait(&self) {
        match self {
            Self::Watched(watch) => watch.changed().await,
            #[cfg(feature = "buckets")]
            Self::AskedFor => tokio::time::sleep(BETWEEN_LISTS).await,
        }
    }
}

fn read_file(path: &Path) -> Result<String, Error> {
    // Not only regular files: the shell's `<(…)` is none.
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoInput(path.to_path_buf()));
        }
        Err(error) => return Err(disk::fault("read", path)(error)),
    };
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(BadInput::ListIsFolder(path.to_path_buf()).into());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(disk::fault("read", path))?;
    if bytes.len() as u64 > LONGEST {
        return Err(BadInput::ListTooLarge(path.to_path_buf()).into());
    }
    String::from_utf8(bytes).map_err(|_| BadInput::ListNotText(path.to_path_buf()).into())
}
