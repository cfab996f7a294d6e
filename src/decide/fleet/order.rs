//! In which order one of several processes on one bucket begins the jobs: each process has an order of its own, so that
//! two of them meet at few jobs.

use sha2::{Digest as _, Sha256};

use super::job_list::Listed;

/// Puts jobs into the order of one process. The same process has the same order in every run over the same list, and a job
/// that is added or removed moves no other.
pub(crate) fn order<T>(jobs: &mut [Listed<T>], process: &str) {
    jobs.sort_by_cached_key(|listed| {
        let mut hash = Sha256::new();
        // Neither has a line break in it.
        hash.update(process.as_bytes());
        hash.update(b"\n");
        hash.update(listed.job.as_str().as_bytes());
        hash.finalize()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(process: &str, count: usize) -> Vec<String> {
        let mut jobs: Vec<Listed<()>> = (0..count)
            .map(|number| Listed { job: format!("job-{number}").parse().unwrap(), overrides: () })
            .collect();
        order(&mut jobs, process);
        jobs.into_iter().map(|listed| listed.job.to_string()).collect()
    }

    #[test]
    fn each_process_has_an_order_of_its_own() {
        let (one, other) = (ordered("host-a 17", 100), ordered("host-b 17", 100));
        assert_eq!(one, ordered("host-a 17", 100), "it is the same in every run");
        let mut sorted = [one.clone(), other.clone()];
        sorted.iter_mut().for_each(|jobs| jobs.sort());
        assert_eq!(sorted[0], sorted[1], "each has all jobs");
        // Of the first half of one, about a half is in the first half of the other.
        let both = one[..50].iter().filter(|job| other[..50].contains(job)).count();
        assert!((10..40).contains(&both), "{both}");
        let few: Vec<String> = one.into_iter().filter(|job| ordered("", 60).contains(job)).collect();
        assert_eq!(few, ordered("host-a 17", 60), "the others keep their places");
    }
}
