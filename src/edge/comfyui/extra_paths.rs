//! `extra_model_paths.yaml`: sections of any name, each with a base path and one or more folders for each kind of model.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, budget, options};

use super::{Surroundings, absolute};

/// One section that says something about LoRAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) base_path: Option<String>,
    pub(super) is_default: bool,
    /// One path a line.
    pub(super) loras: String,
}

/// One LoRA folder of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) section: String,
    pub(super) is_default: bool,
}

/// Reads the sections that have a key `loras`, in their order.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, String> {
    let options = options! {
        budget: budget! { max_events: 20_000, max_depth: 16, max_documents: 1, max_aliases: 1_000, max_anchors: 1_000 },
        // As in Python, the last one counts.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    // A file in which everything is commented out is empty.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let sections: Sections = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| format!("it is not what ComfyUI reads there: {error}"))?;
    let spoken = sections.0.into_iter().filter_map(|(name, section)| {
        let Raw { base_path, is_default, loras } = section?;
        Some(Section {
            name,
            base_path,
            is_default: is_default.is_some_and(|truth| truth.is_true()),
            loras: loras?,
        })
    });
    Ok(spoken.collect())
}

/// Returns the folders in the order in which ComfyUI searches them: those marked as default are put in front one after
/// the other, so the last of them comes first.
pub(super) fn folders(sections: &[Section], beside: &Path, around: &Surroundings<'_>) -> Vec<Folder> {
    let mut folders: Vec<Folder> = Vec::new();
    for section in sections {
        let base = section.base_path.as_ref().map(|base| {
            let home = around.expand_user(Path::new(base));
            beside.join(around.expand_variables(&home.to_string_lossy()))
        });
        let base = base.unwrap_or_else(|| beside.to_path_buf());
        for line in section.loras.lines().filter(|line| !line.is_empty()) {
            let folder = Folder {
                path: absolute(&base.join(line)),
                section: section.name.clone(),
                is_default: section.is_default,
            };
            let known = folders.iter().position(|other| other.path == folder.path);
            match (known, folder.is_default) {
                (Some(at), true) => {
                    folders.remove(at);
                    folders.insert(0, folder);
                }
                (Some(_), false) => {}
                (None, true) => folders.insert(0, folder),
                (None, false) => folders.push(folder),
            }
        }
    }
    folders
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    base_path: Option<String>,
    #[serde(default)]
    is_default: Option<Truth>,
    #[serde(default)]
    loras: Option<String>,
}

/// `true`, or what a hand or the Desktop app writes for it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Truth {
    Bool(bool),
    Text(String),
}

impl Truth {
    fn is_true(&self) -> bool {
        match self {
            Self::Bool(is_true) => *is_true,
            Self::Text(text) => {
                ["true", "yes", "on", "1"].iter().any(|word| text.trim().eq_ignore_ascii_case(word))
            }
        }
    }
}

/// The sections in their order; some are empty.
struct Sections(Vec<(String, Option<Raw>)>);

impl<'de> Deserialize<'de> for Sections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SectionsVisitor)
    }
}

struct SectionsVisitor;

impl<'de> Visitor<'de> for SectionsVisitor {
    type Value = Sections;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sections, each with paths in it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut sections = Vec::new();
        while let Some(entry) = map.next_entry()? {
            sections.push(entry);
        }
        Ok(Sections(sections))
    }
}
