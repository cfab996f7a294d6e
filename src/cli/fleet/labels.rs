//! What a job is called in lines: its name, and its id too where another job of the fleet has the same name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cli::format::shown;
use crate::model::job::JobId;

/// The names of all jobs.
#[derive(Debug, Default)]
pub(super) struct Labels(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    of: HashMap<JobId, String>,
    count: HashMap<String, usize>,
}

impl Labels {
    /// Learns a job's name.
    pub(super) fn learn(&self, job: &JobId, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.trim().is_empty()).map(shown) else { return };
        let mut names = self.names();
        if names.of.get(job) != Some(&name) {
            names.forget(job);
            *names.count.entry(name.clone()).or_insert(0) += 1;
            names.of.insert(job.clone(), name);
        }
    }

    /// Forgets a job.
    pub(super) fn forget(&self, job: &JobId) {
        self.names().forget(job);
    }

    /// Returns what a job is called.
    pub(super) fn label(&self, job: &JobId) -> String {
        let names = self.names();
        match names.of.get(job) {
            Some(name) if names.count.get(name).is_some_and(|count| *count > 1) => format!("{name} {job}"),
            Some(name) => name.clone(),
            None => shown(job.as_str()),
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn forget(&mut self, job: &JobId) {
        if let Some(name) = self.of.remove(job)
            && let Some(count) = self.count.get_mut(&name)
        {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough_while_it_is_the_only_one() {
        let labels = Labels::default();
        let (a, b): (JobId, JobId) = ("a-1".parse().unwrap(), "b-2".parse().unwrap());
        assert_eq!(labels.label(&a), "a-1");
        labels.learn(&a, Some("dog"));
        labels.learn(&a, Some("dog"));
        assert_eq!(labels.label(&a), "dog");
        labels.learn(&b, Some("dog"));
        assert_eq!((labels.label(&a), labels.label(&b)), ("dog a-1".to_owned(), "dog b-2".to_owned()));
        labels.learn(&b, Some("cat"));
        assert_eq!((labels.label(&a), labels.label(&b)), ("dog".to_owned(), "cat".to_owned()));
        labels.learn(&b, Some("dog"));
        labels.forget(&b);
        assert_eq!(labels.label(&a), "dog");
    }
}
