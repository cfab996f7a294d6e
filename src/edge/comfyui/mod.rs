//! Where ComfyUI looks for LoRAs: from a path that a user names to the one folder to write into, and why that one.

mod extra_paths;
pub mod server;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;

/// What a folder has that is a ComfyUI and not just anything with models in it.
const MARKS: [&str; 5] = ["main.py", "folder_paths.py", "nodes.py", "custom_nodes", "comfy"];

/// What stands beside `loras` in a models folder; one of them is enough to know it.
const MODEL_KINDS: [&str; 7] =
    ["loras", "checkpoints", "vae", "diffusion_models", "text_encoders", "controlnet", "unet"];

/// A configuration of paths has some hundred lines at the most.
const YAML_BOUND: u64 = 1 << 20;

/// The environment, as far as paths in it are concerned.
pub struct Surroundings<'a> {
    /// Reads a variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user's own folder.
    pub home: Option<PathBuf>,
}

/// The folder that LoRAs go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraFolder {
    /// Its absolute path. It may not be there yet, but the folder that it is in is.
    pub path: PathBuf,
    /// Why this one, for people: `the loras folder of the ComfyUI there`.
    pub why: String,
}

/// Finds the LoRA folder that belongs to a ComfyUI root, a models folder, a `loras` folder or an
/// `extra_model_paths.yaml`. Changes nothing.
///
/// # Errors
/// [`Error::NoComfyUi`], saying what was looked for; [`Error::BadInput`] for a YAML file that cannot be understood.
pub fn find(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let path = absolute(&around.expand_user(path));
    if path.is_dir() {
        return in_folder(&path, around)?
            .ok_or_else(|| Error::NoComfyUi { path: path.clone(), looked_for: LOOKED_FOR.to_owned() });
    }
    if path.is_file() {
        let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if is_yaml {
            return in_yaml(&path, around);
        }
    }
    let looked_for = if path.exists() { LOOKED_FOR } else { "there is nothing of this name" };
    Err(Error::NoComfyUi { path, looked_for: looked_for.to_owned() })
}

const LOOKED_FOR: &str = "looked for `models/loras` or `loras` in it, for a folder called `loras`, and for an `extra_model_paths.yaml`";

fn in_folder(path: &Path, around: &Surroundings<'_>) -> Result<Option<LoraFolder>, Error> {
    let found = |path: PathBuf, why: &str| Ok(Some(LoraFolder { path, why: why.to_owned() }));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    let models = path.join("models");
    let is_root =
        models.is_dir() && (is_models_folder(&models) || MARKS.iter().any(|mark| path.join(mark).exists()));
    if is_root {
        // A folder that is marked as default is where ComfyUI itself would download to.
        let yaml = path.join("extra_model_paths.yaml");
        if yaml.is_file()
            && let Some(folder) = read_yaml(&yaml, around)?.into_iter().find(|folder| folder.is_default)
        {
            let why = format!("the default for loras in `{}`", yaml.display());
            return Ok(Some(LoraFolder { path: folder.path, why }));
        }
        return found(models.join("loras"), "the loras folder of the ComfyUI there");
    }
    let portable = path.join("ComfyUI");
    if name != "comfyui"
        && portable.join("models").is_dir()
        && let Some(inner) = in_folder(&portable, around)?
    {
        return Ok(Some(inner));
    }
    // `Lora` is what A1111 and Forge call theirs, and ComfyUI can be told to read it.
    if matches!(name.as_str(), "loras" | "lora") {
        return found(path.to_path_buf(), "it is a loras folder itself");
    }
    if path.join("loras").is_dir() || (name == "models" && is_models_folder(path)) {
        return found(path.join("loras"), "the loras folder of the models folder there");
    }
    let yaml = path.join("extra_model_paths.yaml");
    if yaml.is_file() { in_yaml(&yaml, around).map(Some) } else { Ok(None) }
}

fn is_models_folder(path: &Path) -> bool {
    MODEL_KINDS.iter().any(|kind| path.join(kind).is_dir())
}

fn in_yaml(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let folders = read_yaml(path, around)?;
    let is_there = |folder: &&extra_paths::Folder| folder.path.is_dir();
    let can_be_made = |folder: &&extra_paths::Folder| disk::parent(&folder.path).is_dir();
    let chosen = folders.iter().find(is_there).or_else(|| folders.iter().find(can_be_made));
    match chosen {
        Some(folder) => {
            let default = if folder.is_default { ", marked as default" } else { "" };
            let why = format!("`loras` of `{}` in `{}`{default}", folder.section, path.display());
            Ok(LoraFolder { path: folder.path.clone(), why })
        }
        None => {
            let looked_for = match folders.as_slice() {
                [] => "no section of it has a key `loras`".to_owned(),
                [first, ..] => format!("its loras folder `{}` is not there", first.path.display()),
            };
            Err(Error::NoComfyUi { path: path.to_path_buf(), looked_for })
        }
    }
}

/// Returns every LoRA folder that the file names, in the order in which ComfyUI searches them.
fn read_yaml(path: &Path, around: &Surroundings<'_>) -> Result<Vec<extra_paths::Folder>, Error> {
    let mut text = String::new();
    // Through links, as ComfyUI reads it; the check that it is a file keeps us from waiting at a pipe.
    let file = std::fs::File::open(path).map_err(fault("read", path))?;
    file.take(YAML_BOUND + 1).read_to_string(&mut text).map_err(fault("read", path))?;
    let bad = |why: &str| Error::BadInput(format!("`{}` cannot be understood: {why}", path.display()));
    if text.len() as u64 > YAML_BOUND {
        return Err(bad("it is larger than 1 MiB"));
    }
    let sections = extra_paths::parse(&text).map_err(|why| bad(&why))?;
    Ok(extra_paths::folders(&sections, disk::parent(path), around))
}

/// Places where ComfyUI is usually found, with what they are called.
#[must_use]
pub fn usual_places(around: &Surroundings<'_>) -> Vec<(&'static str, PathBuf)> {
    let from = |variable: &str, below: &str| {
        let folder = PathBuf::from((around.variable)(variable)?);
        folder.is_absolute().then(|| folder.join(below))
    };
    let home = |below: &str| Some(around.home.as_ref()?.join(below));
    let places = [
        ("ComfyUI", home("ComfyUI")),
        ("portable ComfyUI", home("ComfyUI_windows_portable")),
        ("comfy-cli", home("comfy/ComfyUI")),
        ("comfy-cli", home("Documents/comfy/ComfyUI")),
        ("Comfy Desktop", from("LOCALAPPDATA", "Comfy-Desktop/ComfyUI-Shared")),
        ("Comfy Desktop", home("ComfyUI-Shared")),
        ("ComfyUI Desktop", home("Documents/ComfyUI")),
        ("ComfyUI Desktop", from("APPDATA", "ComfyUI/extra_models_config.yaml")),
        ("ComfyUI Desktop", home("Library/Application Support/ComfyUI/extra_models_config.yaml")),
        ("ComfyUI Desktop", home(".config/ComfyUI/extra_models_config.yaml")),
    ];
    places.into_iter().filter_map(|(name, place)| Some((name, place?))).collect()
}

impl Surroundings<'_> {
    /// Does what a shell does with a leading `~`; a variable or a line of a file has seen no shell.
    fn expand_user(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_path_buf(),
        }
    }

    /// Fills in `$NAME` and `${NAME}`, and on Windows `%NAME%`, as Python does: what is not set stays as it is.
    fn expand_variables(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '%']) {
            filled.push_str(&rest[..at]);
            let (name, length) = variable_name(&rest[at..]);
            let value = name.and_then(|name| (self.variable)(name)?.into_string().ok());
            match value {
                Some(value) => filled.push_str(&value),
                None => filled.push_str(&rest[at..at + length]),
            }
            rest = &rest[at + length..];
        }
        filled.push_str(rest);
        filled
    }
}

/// Returns the variable that `text` begins with, and how much of `text` it takes.
fn variable_name(text: &str) -> (Option<&str>, usize) {
    let closed = |open: &str, close: char| {
        let inner = text.strip_prefix(open)?;
        let end = inner.find(close).filter(|end| *end > 0)?;
        Some((Some(&inner[..end]), open.len() + end + 1))
    };
    if text.starts_with('%') {
        return if cfg!(windows) { closed("%", '%').unwrap_or((None, 1)) } else { (None, 1) };
    }
    closed("${", '}').unwrap_or_else(|| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text[1..].find(|c| !is_name(c)).map_or(text.len(), |end| end + 1);
        if end == 1 { (None, 1) } else { (Some(&text[1..end]), end) }
    })
}

/// Returns the absolute path with `.` and `..` taken out by name, as Python's `normpath` does.
fn absolute(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests;
