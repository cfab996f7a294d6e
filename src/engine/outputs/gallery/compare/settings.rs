//! The settings of a run, flattened from its resolved configuration, so that those that differ can be shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::edge::system::disk;
use crate::model::artifact::ArtifactKind;
use crate::model::manifest::{EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::training_config;

/// A real configuration has some kilobytes.
pub(crate) const BOUND: u64 = 1 << 20;

/// Settings that are read of one configuration.
const MOST: usize = 10_000;

/// Characters of a value that are shown.
const LONGEST: usize = 200;

/// Keys like `config.process.0.train.lr`, and their values as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads the newest configuration of a mirror. One that is not here, or cannot be read, has no settings.
    pub(super) fn of_mirror(dir: &Path, manifest: &Manifest) -> Self {
        let Some(path) = newest_config(manifest) else { return Self::default() };
        let text = disk::read_text(&path.to_path(dir), BOUND);
        text.map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    /// Flattens a YAML text. What is no YAML has no settings.
    pub(super) fn parse(text: &str) -> Self {
        let mut flat = BTreeMap::new();
        if let Ok(root) = serde_saphyr::from_str_with_options::<Value>(text, training_config::reading()) {
            flatten(&mut flat, "", &root);
        }
        Self(flat)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// Returns where the newest configuration of a mirror is.
pub(crate) fn newest_config(manifest: &Manifest) -> Option<&RelPath> {
    let configs = manifest
        .entries
        .iter()
        .filter(|(key, entry)| key.kind == ArtifactKind::Config && entry.state == EntryState::Present);
    configs.max_by_key(|(_, entry)| entry.modified).map(|(_, entry)| &entry.path)
}

fn flatten(flat: &mut BTreeMap<String, String>, key: &str, value: &Value) {
    if flat.len() >= MOST {
        return;
    }
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| flatten(flat, &below(name), value)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(at, item)| flatten(flat, &below(&at.to_string()), item));
        }
        // A list of plain values is one setting: a prompt added at its beginning would else change all others.
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            flat.insert(key.to_owned(), cut(&items.join(", ")));
        }
        plain => {
            flat.insert(key.to_owned(), cut(&shown(plain)));
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A setting that is not the same in all runs, with its value in each of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference<'a> {
    pub(super) key: &'a str,
    pub(super) values: Vec<Option<&'a str>>,
}

/// Returns the settings that differ, in the order of their keys. Runs without a configuration do not count.
pub(super) fn differences<'a>(runs: &[&'a Settings]) -> Vec<Difference<'a>> {
    let keys: BTreeSet<&str> =
        runs.iter().flat_map(|settings| settings.0.keys().map(String::as_str)).collect();
    let differs = |key: &&str| {
        let mut values =
            runs.iter().filter(|settings| !settings.0.is_empty()).map(|settings| settings.get(key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    keys.into_iter()
        .filter(differs)
        .map(|key| Difference { key, values: runs.iter().map(|settings| settings.get(key)).collect() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_differ_are_listed() {
        let one = Settings::parse(
            "config:\n  name: a\n  process:\n    - train: {lr: 1e-4, steps: 100}\n      sample: {prompts: [x, v]}\n",
        );
        let two = Settings::parse(
            "config:\n  name: a\n  process:\n    - train: {lr: 2e-4, steps: 100, ema: true}\n      sample: {prompts: [z, x, v]}\n",
        );
        let none = Settings::parse("- [");
        assert_eq!(none, Settings::default());
        let found = differences(&[&one, &two, &none]);
        let rows: Vec<_> = found.iter().map(|row| (row.key, row.values.clone())).collect();
        assert_eq!(
            rows,
            [
                ("config.process.0.sample.prompts", vec![Some("x, v"), Some("z, x, v"), None]),
                ("config.process.0.train.ema", vec![None, Some("true"), None]),
                ("config.process.0.train.lr", vec![Some("0.0001"), Some("0.0002"), None]),
            ]
        );
        assert!(differences(&[&one]).is_empty() && differences(&[&one, &none]).is_empty());
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let settings = Settings::parse(&format!("a: {}\n", "é".repeat(300)));
        assert_eq!(settings.get("a").unwrap().chars().count(), LONGEST + 1);
    }
}
