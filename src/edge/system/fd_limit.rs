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
    shares(limit(ENOUGH))
}

/// Returns how many files this process may open, once the limit is raised as far as this user may.
pub(crate) fn allowed() -> u64 {
    limit(ENOUGH)
}

/// How many handles a process may hold that follows many jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ManyHandles {
    /// Jobs whose folders may be open at a time.
    pub(crate) open: usize,
    /// Connections over all jobs.
    pub(crate) connections: usize,
    /// What one of them may hold.
    pub(crate) each: Handles,
}

/// What a job holds that waits: its lock, its folder, its journal, those of its hooks.
const WAITING_JOB: usize = 8;

/// Jobs that fetch many files at once; more of them share what these leave.
const BUSY_JOBS: usize = 16;

/// What a process with many jobs asks for.
const ENOUGH_FOR_MANY: u64 = 1 << 16;

/// The same for a process that follows so many jobs.
pub(crate) fn share_out_among(jobs: usize) -> ManyHandles {
    shares_among(limit(ENOUGH_FOR_MANY), jobs)
}

fn shares_among(limit: u64, jobs: usize) -> ManyHandles {
    let left = usize::try_from(limit.saturating_sub(OWN)).unwrap_or(usize::MAX);
    let open = (left / 2 / WAITING_JOB).max(1);
    // The list may grow while it is followed.
    let expected = jobs.saturating_mul(2).clamp(BUSY_JOBS, open.max(BUSY_JOBS));
    let rest = left.saturating_sub(expected.min(open) * WAITING_JOB);
    let busy = open.min(BUSY_JOBS);
    let each = Handles { connections: (rest / 4 / busy).max(1), finished: (rest / 8 / busy).max(1) };
    ManyHandles { open, connections: (rest / 4).max(1), each }
}

fn shares(limit: u64) -> Handles {
    let left = usize::try_from(limit.saturating_sub(OWN)).unwrap_or(usize::MAX);
    Handles { connections: (left / 4).max(1), finished: (left / 8).max(1) }
}

#[cfg(unix)]
fn limit(enough: u64) -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(enough, |most| most.min(enough));
    let raised = rustix::process::Rlimit { current: Some(wanted), maximum: limit.maximum };
    if limit.current.is_some_and(|current| current < wanted) && setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    limit.current.unwrap_or(enough)
}

#[cfg(not(unix))]
fn limit(enough: u64) -> u64 {
    enough
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
        // Only Unix has the limit.
        let _ = error;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_jobs_share_what_there_is() {
        for (limit, jobs, open) in [(65_536, 200, 4094), (1024, 200, 62), (1024, 5, 62), (30, 10, 1)] {
            let shares = shares_among(limit, jobs);
            assert_eq!(shares.open, open, "{limit} {jobs}");
            let held = (open.min(jobs) * WAITING_JOB + 2 * shares.connections) as u64 + OWN;
            assert!(limit < OWN + 20 || held <= limit, "{limit} {jobs}: {held}");
            assert!(shares.each.connections <= shares.connections && shares.each.finished > 0);
        }
        assert!(shares_among(65_536, 200).each.connections >= 80);
    }

    #[test]
    fn no_share_exceeds_the_limit_and_each_is_more_than_nothing() {
        for limit in [0, 25, 40, 256, 1024, 4096] {
            let Handles { connections, finished } = shares(limit);
            assert!(connections > 0 && finished > 0);
            let held = (2 * connections + 2 * finished) as u64 + OWN;
            assert!(limit < OWN + 8 || held <= limit, "{limit}: {held}");
        }
    }
}
