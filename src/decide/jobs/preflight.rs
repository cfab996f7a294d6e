//! What a training configuration must have before it is worth a GPU: the rules that the API documents, checked here
//! because a job that fails at its first step has been waited for and paid.

use std::fmt;

use crate::model::training_config::{Dataset, Located, Process, TrainingConfig};

/// Where the trainer writes, and nowhere else.
const TRAINING_FOLDER: &str = "/app/ai-toolkit/output";

/// Where the trainer finds datasets, each in a folder of its name.
const DATASETS: &str = "/app/ai-toolkit/datasets/";

/// Returns the name of the dataset that a path of a configuration is in.
#[must_use]
pub fn dataset_name(path: &str) -> Option<&str> {
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

/// One thing that the API would refuse, or that the trainer would fail at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The line it is about, counted from 1, where there is one.
    pub line: Option<u64>,
    /// What is wrong, and what it has to be.
    pub what: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Returns what is wrong with a configuration, in the order in which it is written.
#[must_use]
pub fn objections(config: &TrainingConfig) -> Vec<Objection> {
    let mut found = Vec::new();
    match &config.name {
        Some(name) if name.text.trim().is_empty() => {
            object(&mut found, Some(name.line), "`config.name` is empty")
        }
        Some(name) if !is_folder_name(&name.text) => object(
            &mut found,
            Some(name.line),
            format!(
                "`config.name` is `{}`; it has to be a plain name: the trainer makes a folder of it",
                name.text
            ),
        ),
        Some(_) => {}
        None => object(&mut found, None, "`config.name` is missing: the job's files are named after it"),
    }
    if config.processes.is_empty() {
        object(&mut found, None, "`config.process` is missing: there is nothing to train");
    }
    for process in &config.processes {
        check_training_folder(process, &mut found);
        for dataset in &process.datasets {
            check_dataset(dataset, &mut found);
        }
    }
    found.sort_by_key(|objection| objection.line);
    found
}

fn check_training_folder(process: &Process, found: &mut Vec<Objection>) {
    match &process.training_folder {
        Some(folder) if folder.text == TRAINING_FOLDER => {}
        Some(Located { text, line }) => {
            object(
                found,
                Some(*line),
                format!("`training_folder` is `{text}`; it has to be `{TRAINING_FOLDER}`"),
            );
        }
        None => {
            let what = format!("`training_folder` is missing here; it has to be `{TRAINING_FOLDER}`");
            object(found, Some(process.line), what);
        }
    }
}

fn check_dataset(dataset: &Dataset, found: &mut Vec<Objection>) {
    const WANTED: &str = "it has to be `/app/ai-toolkit/datasets/` and the dataset's name";
    if dataset.folders.is_empty() {
        object(found, Some(dataset.line), format!("`folder_path` is missing here; {WANTED}"));
    }
    for Located { text, line } in &dataset.folders {
        // The documentation's own `{dataset_name}` is to be filled in.
        let is_name = |name: &str| is_folder_name(name) && !name.contains(['{', '}']);
        // A dataset may have folders of its own.
        let is_below = |path: &str| path.trim_end_matches('/').split('/').all(is_name);
        if !text.strip_prefix(DATASETS).is_some_and(is_below) {
            object(found, Some(*line), format!("`folder_path` is `{text}`; {WANTED}"));
        }
    }
}

/// Whether this names one folder, and none above or below it.
fn is_folder_name(name: &str) -> bool {
    !matches!(name.trim(), "" | "." | "..") && !name.contains(['/', '\\']) && !name.contains(char::is_control)
}

fn object(found: &mut Vec<Objection>, line: Option<u64>, what: impl Into<String>) {
    found.push(Objection { line, what: what.into() });
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
job: extension
config:
  name: dog
  process:
    - type: sd_trainer
      training_folder: /app/ai-toolkit/output
      datasets:
        - folder_path: /app/ai-toolkit/datasets/dog
";

    fn told(text: &str) -> Vec<String> {
        objections(&TrainingConfig::parse(text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_documentation_asks_for_is_enough() {
        assert_eq!(told(GOOD), [""; 0]);
        let without_datasets = GOOD.split("      datasets").next().unwrap();
        assert_eq!(told(without_datasets), [""; 0]);
    }

    #[test]
    fn each_rule_is_told_with_its_line_and_its_right_value() {
        const FOLDER: &str = "it has to be `/app/ai-toolkit/datasets/` and the dataset's name";
        for (from, to, expected) in [
            ("  name: dog\n", "", "`config.name` is missing: the job's files are named after it".to_owned()),
            ("name: dog", "name: ' '", "line 3: `config.name` is empty".to_owned()),
            (
                "name: dog",
                "name: ../dog",
                "line 3: `config.name` is `../dog`; it has to be a plain name: the trainer makes a folder of it".to_owned(),
            ),
            (
                "datasets/dog",
                "datasets/{dataset_name}",
                format!("line 8: `folder_path` is `/app/ai-toolkit/datasets/{{dataset_name}}`; {FOLDER}"),
            ),
            (
                "datasets/dog",
                "datasets/../dog",
                format!("line 8: `folder_path` is `/app/ai-toolkit/datasets/../dog`; {FOLDER}"),
            ),
            (
                "/app/ai-toolkit/output",
                "/app/ai-toolkit/output2",
                "line 6: `training_folder` is `/app/ai-toolkit/output2`; it has to be `/app/ai-toolkit/output`".to_owned(),
            ),
            (
                "training_folder: /app/ai-toolkit/output",
                "device: cuda",
                "line 5: `training_folder` is missing here; it has to be `/app/ai-toolkit/output`".to_owned(),
            ),
            ("/app/ai-toolkit/datasets/dog", "/home/me/dog", format!("line 8: `folder_path` is `/home/me/dog`; {FOLDER}")),
            ("datasets/dog", "datasets/", format!("line 8: `folder_path` is `/app/ai-toolkit/datasets/`; {FOLDER}")),
            ("folder_path", "path", format!("line 8: `folder_path` is missing here; {FOLDER}")),
        ] {
            assert_eq!(told(&GOOD.replace(from, to)), [expected], "{to}");
        }
        assert_eq!(
            told("job: extension\n"),
            [
                "`config.name` is missing: the job's files are named after it",
                "`config.process` is missing: there is nothing to train"
            ]
        );
    }
}
