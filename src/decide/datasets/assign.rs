//! Which folder of a command line is which dataset of the configuration.

use std::collections::BTreeSet;

use crate::model::training_config::TrainingConfig;

use super::paths::{dataset_name, dataset_names};

/// Returns the names of all datasets that a configuration needs: those it trains on, and those with control images,
/// masks and the like.
#[must_use]
pub(crate) fn needed_datasets(config: &TrainingConfig) -> Vec<&str> {
    let mut names = dataset_names(config);
    let datasets = config.processes.iter().flat_map(|process| &process.datasets);
    for path in datasets.flat_map(|dataset| &dataset.companions) {
        names.extend(dataset_name(&path.folder.text).filter(|name| !names.contains(name)));
    }
    names
}

/// Why folders cannot be given their datasets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AssignError {
    /// The configuration names no dataset.
    NoDataset,
    /// The configuration does not name the one that was given.
    Unknown {
        name: String,
        /// Those that it names.
        needed: Vec<String>,
    },
    /// It is unknown which dataset a folder is.
    Unnamed {
        /// The folder's name.
        folder: String,
        /// Those that the configuration names.
        needed: Vec<String>,
    },
    /// Two folders are for one dataset.
    Twice(String),
}

/// Gives each folder its dataset. `given`: the name that was typed for it, if any, and the folder's own name.
///
/// # Errors
/// What does not fit.
pub(crate) fn assign<'a>(
    given: &[(Option<&'a str>, &'a str)],
    config: &'a TrainingConfig,
) -> Result<Vec<&'a str>, AssignError> {
    let needed = needed_datasets(config);
    let named = || needed.iter().map(|name| (*name).to_owned()).collect();
    if needed.is_empty() {
        return Err(AssignError::NoDataset);
    }
    let mut found: Vec<Option<&str>> = Vec::new();
    for (typed, own) in given {
        match typed {
            Some(name) if !needed.contains(name) => {
                return Err(AssignError::Unknown { name: (*name).to_owned(), needed: named() });
            }
            Some(name) => found.push(Some(name)),
            None => found.push(needed.contains(own).then_some(*own)),
        }
    }
    let taken: BTreeSet<&str> = found.iter().copied().flatten().collect();
    let mut left = needed.iter().copied().filter(|name| !taken.contains(name));
    let open = found.iter().filter(|name| name.is_none()).count();
    if open > 0 {
        match (open, left.next(), left.next()) {
            (1, Some(only), None) => {
                found.iter_mut().filter(|name| name.is_none()).for_each(|name| *name = Some(only));
            }
            _ => {
                let unnamed =
                    given.iter().zip(&found).find(|(_, name)| name.is_none()).map_or("", |((_, own), _)| own);
                return Err(AssignError::Unnamed { folder: unnamed.to_owned(), needed: named() });
            }
        }
    }
    let names: Vec<&str> = found.into_iter().flatten().collect();
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(twice) => Err(AssignError::Twice((*twice).to_owned())),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(datasets: &str) -> TrainingConfig {
        let text = format!(
            "job: extension\nconfig:\n  name: dog\n  process:\n    - type: sd_trainer\n      training_folder: /app/ai-toolkit/output\n      datasets:\n{datasets}"
        );
        TrainingConfig::parse(&text).unwrap()
    }

    #[test]
    fn folders_find_their_datasets() {
        let one = config("        - folder_path: /app/ai-toolkit/datasets/dog\n");
        let two = config(
            "        - folder_path: /app/ai-toolkit/datasets/dog\n          control_path: /app/ai-toolkit/datasets/dog_control\n",
        );
        for (config, given, expected) in [
            (&one, &[(None, "photos")][..], Ok(&["dog"][..])),
            (&one, &[(Some("dog"), "photos")], Ok(&["dog"])),
            (
                &one,
                &[(Some("cat"), "photos")],
                Err(AssignError::Unknown { name: "cat".to_owned(), needed: vec!["dog".to_owned()] }),
            ),
            (&two, &[(None, "dog_control"), (None, "photos")], Ok(&["dog_control", "dog"])),
            (&two, &[(Some("dog_control"), "a"), (None, "b")], Ok(&["dog_control", "dog"])),
            (
                &two,
                &[(None, "photos")],
                Err(AssignError::Unnamed {
                    folder: "photos".to_owned(),
                    needed: vec!["dog".to_owned(), "dog_control".to_owned()],
                }),
            ),
            (&two, &[(Some("dog"), "a"), (Some("dog"), "b")], Err(AssignError::Twice("dog".to_owned()))),
            (
                &one,
                &[(None, "a"), (None, "b")],
                Err(AssignError::Unnamed { folder: "a".to_owned(), needed: vec!["dog".to_owned()] }),
            ),
        ] {
            match (assign(given, config), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert_eq!(found, expected),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
        assert!(assign(&[(None, "a")], &config("        []\n")).is_err());
    }
}
