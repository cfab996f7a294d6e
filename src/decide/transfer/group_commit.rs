//! When a group of proven files is flushed, recorded and renamed together: each step then costs the group, not the file.

use std::time::Duration;

/// A group of this many files is committed at once …
pub(crate) const ENOUGH: usize = 64;

/// … and a smaller one after this long: 10 ms later is not noticed, and a flush of the journal costs as much as that.
pub(crate) const LONGEST: Duration = Duration::from_millis(10);

/// In a fleet the files of each job arrive slowly, since connections go from job to job, and each group costs its job four flushes. This
/// many times as long is gathered, while more of the job's files are on their way.
const IN_A_FLEET: u32 = 25;

/// A flush that takes less than this is cheaper than handing the file to another thread.
const CHEAP: Duration = Duration::from_micros(100);

/// The weight of the latest group in the mean.
const LATEST: u32 = 4;

/// How long a group is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// Files that make a group.
    pub enough: usize,
    /// The longest wait for them.
    pub longest: Duration,
}

impl Default for Gather {
    fn default() -> Self {
        Self { enough: ENOUGH, longest: LONGEST }
    }
}

impl Gather {
    /// The same for a job that shares its connections with others.
    #[must_use]
    pub fn in_a_fleet(self) -> Self {
        Self { longest: self.longest * IN_A_FLEET, ..self }
    }

    /// Whether a group of `files`, the first of which waits for `waited`, is committed now. `in_a_hurry`: there is a
    /// large file among them, or the run ends. `coming`: files on their way that may still join it.
    #[must_use]
    pub fn is_complete(&self, files: usize, waited: Duration, in_a_hurry: bool, coming: usize) -> bool {
        files >= self.enough || waited >= self.longest || in_a_hurry || coming == 0
    }
}

/// What flushing one file costs here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FlushCost {
    mean: Option<Duration>,
}

impl FlushCost {
    /// Takes in how long a group of files took to flush, one after the other on each of `threads` threads.
    pub(crate) fn observe(&mut self, files: usize, took: Duration, threads: usize) {
        let Ok(files) = u32::try_from(files.div_ceil(threads.max(1))) else { return };
        if files == 0 {
            return;
        }
        let each = took / files;
        self.mean = Some(self.mean.map_or(each, |mean| (mean * (LATEST - 1) + each) / LATEST));
    }

    /// Whether files are flushed one after the other, rather than on several threads. Unknown costs are not cheap.
    #[must_use]
    pub(crate) fn is_cheap(&self) -> bool {
        self.mean.is_some_and(|mean| mean < CHEAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_full_or_late_or_urgent() {
        let gather = Gather::default();
        for (files, millis, urgent, coming, expected) in [
            (1, 0, false, 1, false),
            (63, 9, false, 1, false),
            (64, 0, false, 1, true),
            (1, 10, false, 1, true),
            (1, 0, true, 1, true),
            (1, 0, false, 0, true),
        ] {
            let is_complete = gather.is_complete(files, Duration::from_millis(millis), urgent, coming);
            assert_eq!(is_complete, expected, "{files} files, {millis} ms, {urgent}, {coming} coming");
        }
        assert!(Gather { enough: 64, longest: Duration::ZERO }.is_complete(1, Duration::ZERO, false, 9));
    }

    #[test]
    fn in_a_fleet_a_group_is_gathered_longer() {
        let gather = Gather::default().in_a_fleet();
        for (millis, coming, expected) in [(249, 1, false), (250, 1, true), (0, 0, true)] {
            let waited = Duration::from_millis(millis);
            assert_eq!(
                gather.is_complete(1, waited, false, coming),
                expected,
                "{millis} ms, {coming} coming"
            );
        }
    }

    #[test]
    fn a_slow_disk_gets_several_threads_and_a_fast_one_none() {
        let mut cost = FlushCost::default();
        assert!(!cost.is_cheap(), "unknown");
        cost.observe(64, Duration::from_millis(1), 1);
        assert!(cost.is_cheap(), "16 µs each");
        cost.observe(64, Duration::from_millis(64), 8);
        assert!(!cost.is_cheap(), "8 ms each on one of eight threads");
        for _ in 0..20 {
            cost.observe(0, Duration::from_secs(1), 1);
            cost.observe(64, Duration::from_micros(500), 8);
        }
        assert!(cost.is_cheap(), "it is believed again after a while");
    }
}
