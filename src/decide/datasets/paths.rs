//! Which datasets a configuration names, and what for.

use crate::model::training_config::{Dataset, Located, TrainingConfig};

/// Where the trainer finds datasets, each in a folder of its name.
pub(crate) const DATASETS: &str = "/app/ai-toolkit/datasets/";

/// Returns the name of the dataset that a path of a configuration is in.
#[must_use]
pub(crate) fn dataset_name(path: &str) -> Option<&str> {
    let name = path.trim().strip_prefix(DATASETS)?.split('/').next()?;
    (!name.is_empty()).then_some(name)
}

/// Returns the names of the datasets that a configuration trains on, each once, in its order.
#[must_use]
pub fn dataset_names(config: &TrainingConfig) -> Vec<&str> {
    let mut names = Vec::new();
    for dataset in config.processes.iter().flat_map(|process| &process.datasets) {
        for name in paths(dataset).filter_map(|path| dataset_name(&path.text)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Returns where AI Toolkit looks for a dataset's files: `dataset_path`, which is stronger, or `folder_path`.
fn paths(dataset: &Dataset) -> impl Iterator<Item = &Located> {
    let folders = if dataset.dataset_path.is_some() { &[][..] } else { &dataset.folders };
    dataset.dataset_path.iter().chain(folders)
}

/// What a configuration says of one dataset by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'c> {
    /// It is trained on.
    Trained {
        /// What is said of it.
        dataset: &'c Dataset,
        /// Whether a trigger word holds for it.
        has_trigger: bool,
    },
    /// It has control images, masks or the like, under this key.
    Companion(&'static str),
}

/// Returns everything that a configuration says of a dataset.
#[must_use]
pub fn roles<'c>(config: &'c TrainingConfig, name: &str) -> Vec<Role<'c>> {
    let mut roles = Vec::new();
    let is_it = |path: &Located| dataset_name(&path.text) == Some(name);
    for process in &config.processes {
        let is_set = |word: &Option<Located>| word.as_ref().is_some_and(|word| !word.text.is_empty());
        for dataset in &process.datasets {
            if paths(dataset).any(is_it) {
                let has_trigger = is_set(&process.trigger_word) || is_set(&dataset.trigger_word);
                roles.push(Role::Trained { dataset, has_trigger });
            }
            let companions = dataset.companions.iter().filter(|companion| is_it(&companion.folder));
            roles.extend(companions.map(|companion| Role::Companion(companion.key)));
        }
    }
    roles
}
