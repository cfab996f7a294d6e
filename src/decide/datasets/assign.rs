//! Which folder of a command line is which dataset of the configuration.

use std::collections::BTreeSet;

use crate::model::training_config::TrainingConfig;

use super::paths::{dataset_name, dataset_names};

/// Returns the names of all datasets that a configuration needs: those it trains on, and those with control images,
/// masks and the like.
#[must_use]
pub fn needed_datasets(config: &TrainingConfig) -> Vec<&str> {
    let mut names = dataset_names(config);
    let datasets = config.processes.iter().flat_map(|process| &process.datasets);
    for path in datasets.flat_map(|dataset| &dataset.companions) {
        names.extend(dataset_name(&path.folder.text).filter(|name| !names.contains(name)));
    }
    names
}

/// Gives each folder its dataset. `given`: the name that was typed for it, if any, and the folder's own name.
///
/// # Errors
/// What does not fit, in words.
pub fn assign<'a>(
    given: &[(Option<&'a str>, &'a str)],
    config: &'a TrainingConfig,
) -> Result<Vec<&'a str>, String> {
    let needed = needed_datasets(config);
    let listed = || format!("`{}`", needed.join("`, `"));
    if needed.is_empty() {
        return Err(
            "the configuration names no dataset: it needs `folder_path: /app/ai-toolkit/datasets/NAME`"
                .to_owned(),
        );
    }
    let mut found: Vec<Option<&str>> = Vec::new();
    for (typed, own) in given {
        match typed {
            Some(name) if !needed.contains(name) => {
                return Err(format!("the configuration names no dataset `{name}`; it names {}", listed()));
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
                return Err(format!(
                    "the configuration names {}, and none of them is the folder `{unnamed}`: write `--dataset NAME={unnamed}`",
                    listed()
                ));
            }
        }
    }
    let names: Vec<&str> = found.into_iter().flatten().collect();
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(twice) => Err(format!("two folders are for the dataset `{twice}`")),
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
            (&one, &[(Some("cat"), "photos")], Err("names no dataset `cat`; it names `dog`")),
            (&two, &[(None, "dog_control"), (None, "photos")], Ok(&["dog_control", "dog"])),
            (&two, &[(Some("dog_control"), "a"), (None, "b")], Ok(&["dog_control", "dog"])),
            (&two, &[(None, "photos")], Err("write `--dataset NAME=photos`")),
            (&two, &[(Some("dog"), "a"), (Some("dog"), "b")], Err("two folders are for the dataset `dog`")),
            (&one, &[(None, "a"), (None, "b")], Err("none of them is the folder `a`")),
        ] {
            match (assign(given, config), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(said), Err(expected)) => assert!(said.contains(expected), "{said}"),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
        assert!(assign(&[(None, "a")], &config("        []\n")).is_err());
    }
}
