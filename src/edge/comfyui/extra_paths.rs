//! `extra_model_paths.yaml`: sections of any name, each with a base path and one or more folders for each kind of model.
//! ComfyUI stops at its start where one of them is not as it expects; then nothing of the file counts.

use std::path::{Path, PathBuf};

use crate::model::comfyui::PathsRefusal;
use crate::model::yaml11::{self, Text, Value};

use super::{Surroundings, absolute};

/// One section of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    name: String,
    base_path: Option<Text>,
    is_default: bool,
    /// What else it names: kinds of models, each with its folders.
    kinds: Vec<(String, Text)>,
}

/// One folder of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) section: String,
    pub(super) is_default: bool,
    /// Where it is in the file; none for ComfyUI's own folder.
    pub(super) line: Option<usize>,
}

/// Reads the sections, in their order.
///
/// # Errors
/// Why ComfyUI would not start with it.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, PathsRefusal> {
    let Value::Map(pairs) = yaml11::read(text).map_err(PathsRefusal::Yaml)? else {
        return Err(PathsRefusal::NoSections);
    };
    let mut sections = Vec::new();
    for (name, value) in pairs {
        let name = name.as_text().map_or_else(|| "?".to_owned(), |name| name.text.clone());
        match value {
            Value::Null => {}
            Value::Map(pairs) => sections.push(section(name, pairs)?),
            empty @ (Value::Text(_) | Value::List(_)) if !empty.is_true() => {}
            _ => return Err(PathsRefusal::NoSection { section: name }),
        }
    }
    Ok(sections)
}

fn section(name: String, pairs: Vec<(Value, Value)>) -> Result<Section, PathsRefusal> {
    let mut section = Section { name, base_path: None, is_default: false, kinds: Vec::new() };
    for (key, value) in pairs {
        let key = key.as_text().map_or_else(|| "?".to_owned(), |key| key.text.clone());
        let no_path = || PathsRefusal::NoPath { section: section.name.clone(), key: key.clone() };
        match key.as_str() {
            "is_default" => section.is_default = value.is_true(),
            "base_path" => section.base_path = Some(value.as_text().ok_or_else(no_path)?.clone()),
            _ => {
                let text = value.as_text().ok_or_else(no_path)?.clone();
                section.kinds.push((key, text));
            }
        }
    }
    Ok(section)
}

impl Section {
    /// Returns what is written under a key.
    fn get(&self, key: &str) -> Option<&Text> {
        self.kinds.iter().find(|(name, _)| name == key).map(|(_, text)| text)
    }

    fn base(&self, beside: &Path, around: &Surroundings<'_>) -> PathBuf {
        let Some(base) = &self.base_path else { return beside.to_path_buf() };
        let home = around.expand_user(Path::new(&base.text));
        beside.join(around.expand_variables(&home.to_string_lossy()))
    }
}

/// Returns the folders of one kind in the order in which ComfyUI searches them: its own, where it is known, then those of
/// the file; each that is marked as default is put in front of all that are there by then.
pub(super) fn folders(
    sections: &[Section],
    kind: &str,
    own: Option<&Path>,
    beside: &Path,
    around: &Surroundings<'_>,
) -> Vec<Folder> {
    let own = own.map(|path| Folder {
        path: absolute(path),
        section: String::new(),
        is_default: false,
        line: None,
    });
    let mut folders: Vec<Folder> = own.into_iter().collect();
    for section in sections {
        let Some(text) = section.get(kind) else { continue };
        let base = section.base(beside, around);
        for (at, path) in text.text.split('\n').enumerate().filter(|(_, path)| !path.is_empty()) {
            let folder = Folder {
                path: absolute(&base.join(path)),
                section: section.name.clone(),
                is_default: section.is_default,
                line: Some(text.line + if text.is_literal { at } else { 0 }),
            };
            let known = folders.iter().position(|other| other.path == folder.path);
            match (known, folder.is_default) {
                (Some(at), true) => {
                    let known = folders.remove(at);
                    folders.insert(0, known);
                }
                (Some(_), false) => {}
                (None, true) => folders.insert(0, folder),
                (None, false) => folders.push(folder),
            }
        }
    }
    folders
}

/// Whether Comfy Desktop wrote it.
pub(super) fn is_of_desktop(sections: &[Section]) -> bool {
    sections.iter().any(|section| section.get("download_model_base").is_some())
}

/// The models folder of a Comfy Desktop, whose files name the kinds of models no more: it is ComfyUI's own there.
pub(super) fn desktop_models(
    sections: &[Section],
    beside: &Path,
    around: &Surroundings<'_>,
) -> Option<PathBuf> {
    let with_base = || sections.iter().filter(|section| section.base_path.is_some());
    let explicit = with_base().find(|section| section.get("download_model_base").is_some());
    let section =
        explicit.or_else(|| with_base().find(|section| section.is_default)).or_else(|| with_base().next())?;
    let models = section.get("download_model_base").map_or("models", |text| text.text.as_str());
    Some(absolute(&section.base(beside, around).join(models)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_comfyui_is_refused() {
        for (text, words) in [
            ("", "no sections"),
            ("- a\n", "no sections"),
            ("a: text\n", "section `a`"),
            ("a: 5\n", "section `a`"),
            ("a: [b]\n", "section `a`"),
            ("a:\n  base_path: 2024\n", "`base_path` in section `a`"),
            ("a:\n  base_path:\n", "`base_path`"),
            ("a:\n  vae: [x]\n", "`vae`"),
            ("a:\n  loras:\n", "`loras`"),
            ("a: b\nc:\td\n", "a tab where only blanks may be in line 2"),
            ("a: b\t\n", "a tab"),
            ("a: !own x\n", "tag `!own` in line 1"),
            ("[a]: b\n", "a list or a mapping as a key in line 1"),
            ("a: 1\n---\nb: 2\n", "a second document begins in line 2"),
            ("a: &a [*a]\n", "an alias refers to what contains it in line 1"),
            ("a: =\n", "`=`"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        assert_eq!(parse("a:\nb: \"\"\nc: []\n"), Ok(Vec::new()), "empty sections are passed over");
    }
}
