//! How many files and connections this process may hold open at a time.

/// Handles that are not connections: runtime, lock, journal, standard streams, and files that are open for a moment.
const OWN: u64 = 24;

/// How many handles may be held, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handles {
    /// Connections, each with a socket and a part.
    pub(crate) connections: usize,
    /// Finished parts that wait for their names; as many more may be about to get them.
    pub(crate) finished: usize,
}

/// More than any number of connections needs; some systems give "unlimited", and some programs then waste time on it.
const ENOUGH: u64 = 4096;

/// Raises the limit as far as this user may, and shares out what there is.
pub(crate) fn share_out() -> Handles {
    shares(limit())
}

fn shares(limit: u64) -> Handles {
    let left = usize::try_from(limit.saturating_sub(OWN)).unwrap_or(usize::MAX);
    Handles { connections: (left / 4).max(1), finished: (left / 8).max(1) }
}

#[cfg(unix)]
fn limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    let raised = rustix::process::Rlimit { current: Some(wanted), maximum: limit.maximum };
    if limit.current.is_some_and(|current| current < wanted) && setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    limit.current.unwrap_or(ENOUGH)
}

#[cfg(not(unix))]
fn limit() -> u64 {
    ENOUGH
}

/// Whether the process, or the machine, has no more handles to give.
pub(crate) fn is_out(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let code = error.raw_os_error();
        code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_there_is_and_everybody_gets_something() {
        for limit in [0, 25, 40, 256, 1024, 4096] {
            let Handles { connections, finished } = shares(limit);
            assert!(connections > 0 && finished > 0);
            let held = (2 * connections + 2 * finished) as u64 + OWN;
            assert!(limit < OWN + 8 || held <= limit, "{limit}: {held}");
        }
    }
}
