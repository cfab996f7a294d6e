//! Where ComfyUI looks for LoRAs: from a path that a user names to the one folder to write into, and why that one.

mod extra_paths;
pub(crate) mod server;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::edge::system::disk;
use crate::error::Error;
use crate::model::comfyui::{
    AwayFolder, ConfiguredFolder, LoraFolderReason, NoLoraFolder, PathsFault, PathsPlace, PathsRefusal,
};

/// What a folder has that is a ComfyUI and not just anything with models in it.
const MARKS: [&str; 5] = ["main.py", "folder_paths.py", "nodes.py", "custom_nodes", "comfy"];

/// What is beside `loras` in a models folder; one of them is enough to recognise it.
const MODEL_KINDS: [&str; 7] =
    ["loras", "checkpoints", "vae", "diffusion_models", "text_encoders", "controlnet", "unet"];

/// What the folders of other programs with LoRAs have: SwarmUI, A1111, Forge, StabilityMatrix.
const OTHER_MARKS: [&str; 8] = [
    "webui.py",
    "webui.sh",
    "webui-user.bat",
    "SwarmUI.sln",
    "src/SwarmUI.csproj",
    "launch-linux.sh",
    "StabilityMatrix.exe",
    "Data/Packages",
];

/// What their models folders have.
const OTHER_KINDS: [&str; 6] =
    ["Stable-diffusion", "Stable-Diffusion", "StableDiffusion", "VAE-approx", "Codeformer", "GFPGAN"];

/// Where models are below the folder of a program: ComfyUI, A1111 and Forge; SwarmUI; StabilityMatrix.
const MODELS: [&str; 3] = ["models", "Models", "Data/Models"];

/// What LoRA folders are called, ComfyUI's first.
const LORAS: [&str; 5] = ["loras", "Lora", "lora", "Loras", "LoRA"];

/// What the folders of embeddings are called.
const EMBEDDINGS: [&str; 3] = ["embeddings", "Embeddings", "TextualInversion"];

/// Configurations of paths: ComfyUI's own, Comfy Desktop's of 2025, that of the new one.
const YAMLS: [&str; 3] = ["extra_model_paths.yaml", "extra_models_config.yaml", "shared_model_paths.yaml"];

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
    /// Why this one.
    pub why: LoraFolderReason,
    /// The folder that embeddings go to, where the same installation has one.
    pub embeddings: Option<PathBuf>,
}

/// Finds the LoRA folder that belongs to the root of a program, a models folder, a LoRA folder, or a configuration of
/// paths; any other folder is taken as it is. Changes nothing.
///
/// # Errors
/// [`Error::NoComfyUi`], with the reason; [`Error::Paths`] for a YAML file that ComfyUI would not start with.
pub fn find(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let path = absolute(&around.expand_user(path));
    let refuse = |why: NoLoraFolder| {
        let missing = Some(path.clone()).filter(|path| !path.exists());
        Err(Error::NoComfyUi { path: path.clone(), why: why.into(), missing })
    };
    match () {
        () if path.is_dir() => in_folder(&path, around),
        () if !path.is_file() => match path.exists() {
            true => refuse(NoLoraFolder::Special),
            false => refuse(NoLoraFolder::Missing),
        },
        () if path.extension().is_some_and(|end| end == "yaml" || end == "yml") => in_yaml(&path, around),
        () => refuse(NoLoraFolder::File),
    }
}

fn in_folder(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let found = |loras: PathBuf, why: LoraFolderReason| {
        Ok(LoraFolder { embeddings: embeddings(&loras), path: loras, why })
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    let is_comfy = MARKS.iter().any(|mark| path.join(mark).exists());
    let is_other = first_of(path, &OTHER_MARKS).is_some();
    let models = path.join("models");
    if models.is_dir() && !is_other && (is_comfy || is_models_folder(&models)) {
        let loras = if is_comfy { models.join("loras") } else { loras_in(&models) };
        return in_comfy(path, loras, around);
    }
    for models in MODELS.iter().map(|name| path.join(name)).filter(|models| models.is_dir()) {
        if let Some(loras) = first_of(&models, &LORAS) {
            return found(loras, LoraFolderReason::OtherProgram);
        }
        if is_other || is_other_models_folder(&models) {
            return Err(without_loras(path, &models));
        }
    }
    let portable = path.join("ComfyUI");
    if name != "comfyui" && portable.join("models").is_dir() {
        return in_folder(&portable, around);
    }
    if LORAS.iter().any(|loras| name.eq_ignore_ascii_case(loras)) {
        return found(path.to_path_buf(), LoraFolderReason::LoraFolder);
    }
    if let Some(loras) = first_of(path, &LORAS) {
        return found(loras, LoraFolderReason::ModelsFolder);
    }
    if name == "models" && is_other_models_folder(path) {
        return Err(without_loras(path, path));
    }
    if name == "models" && is_models_folder(path) {
        return found(path.join("loras"), LoraFolderReason::ModelsFolder);
    }
    if let Some(yaml) = first_of(path, &YAMLS) {
        return in_yaml(&yaml, around);
    }
    if path.join("folder_paths.py").is_file() {
        let why = NoLoraFolder::NoModels;
        return Err(Error::NoComfyUi { path: path.to_path_buf(), why: why.into(), missing: None });
    }
    found(path.to_path_buf(), LoraFolderReason::Named)
}

/// Nothing is made in the folder of a program other than ComfyUI.
fn without_loras(path: &Path, models: &Path) -> Error {
    let why = NoLoraFolder::OtherProgram { models: models.to_path_buf() };
    Error::NoComfyUi { path: path.to_path_buf(), why: why.into(), missing: None }
}

/// Returns the first of these names that is there.
fn first_of(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.exists())
}

fn loras_in(models: &Path) -> PathBuf {
    first_of(models, &LORAS).unwrap_or_else(|| models.join("loras"))
}

/// Returns the folder of embeddings beside a LoRA folder; A1111 has it beside its models folder.
fn embeddings(loras: &Path) -> Option<PathBuf> {
    let models = loras.parent()?;
    let is_models = |name: &std::ffi::OsStr| name.eq_ignore_ascii_case("models");
    let root = models.parent().filter(|_| models.file_name().is_some_and(is_models));
    let is_installation = is_models_folder(models) || is_other_models_folder(models) || root.is_some();
    let beside = first_of(models, &EMBEDDINGS).filter(|_| is_installation);
    beside.or_else(|| first_of(root?, &EMBEDDINGS)).filter(|path| path.is_dir())
}

fn is_models_folder(path: &Path) -> bool {
    MODEL_KINDS.iter().any(|kind| path.join(kind).is_dir())
}

fn is_other_models_folder(path: &Path) -> bool {
    first_of(path, &OTHER_KINDS).is_some()
}

/// Of the folders that a ComfyUI searches, the first that is there; its own is made where none is.
fn in_comfy(root: &Path, own: PathBuf, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let plain = |why| LoraFolder { path: own.clone(), why, embeddings: embeddings(&own) };
    let yaml = root.join("extra_model_paths.yaml");
    if !yaml.is_file() {
        return Ok(plain(LoraFolderReason::ComfyUi { away: None }));
    }
    let paths = match ExtraPaths::read(&yaml, around) {
        Ok(paths) => paths,
        // Its own folder is the one in any case.
        Err(fault) => return Ok(plain(LoraFolderReason::ComfyUiAlone(fault))),
    };
    let order = paths.folders("loras", Some(&own));
    let chosen = order.iter().find(|folder| folder.path.is_dir());
    let Some(folder) = chosen.filter(|folder| folder.path != absolute(&own)) else {
        return Ok(plain(LoraFolderReason::ComfyUi { away: paths.away(&order, chosen) }));
    };
    let why = LoraFolderReason::ExtraPaths(paths.configured(&order, folder));
    let own = loras_beside(&own, &EMBEDDINGS);
    Ok(LoraFolder { path: folder.path.clone(), why, embeddings: paths.first("embeddings", own.as_deref()) })
}

/// A folder of another kind beside a loras folder.
fn loras_beside(loras: &Path, names: &[&str]) -> Option<PathBuf> {
    first_of(loras.parent()?, names)
}

fn in_yaml(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let paths = ExtraPaths::read(path, around)?;
    let models = paths.desktop_models();
    let own = models.as_ref().map(|models| models.join("loras"));
    let order = paths.folders("loras", own.as_deref());
    let can_be_made = |folder: &&extra_paths::Folder| disk::parent(&folder.path).is_dir();
    let is_there = |folder: &&extra_paths::Folder| folder.path.is_dir();
    let Some(folder) = order.iter().find(is_there).or_else(|| order.iter().find(can_be_made)) else {
        let why = match order.as_slice() {
            [] => NoLoraFolder::NoKey,
            [first, ..] => NoLoraFolder::Away { folder: first.path.clone(), place: paths.place(first) },
        };
        let missing = order.first().map(|folder| folder.path.clone());
        return Err(Error::NoComfyUi { path: path.to_path_buf(), why: why.into(), missing });
    };
    let why = LoraFolderReason::PathsFile(paths.configured(&order, folder));
    let own = models.and_then(|models| first_of(&models, &EMBEDDINGS));
    Ok(LoraFolder { path: folder.path.clone(), why, embeddings: paths.first("embeddings", own.as_deref()) })
}

/// A configuration of paths that ComfyUI can be started with.
struct ExtraPaths<'a> {
    path: &'a Path,
    around: &'a Surroundings<'a>,
    sections: Vec<extra_paths::Section>,
}

impl<'a> ExtraPaths<'a> {
    fn read(path: &'a Path, around: &'a Surroundings<'a>) -> Result<Self, PathsFault> {
        let refused = |why| PathsFault::Refused { path: path.to_path_buf(), why };
        // Through links, as ComfyUI reads it; the check that it is a file keeps us from waiting at a pipe.
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(YAML_BOUND + 1).read_to_string(&mut text))
            .map_err(|error| PathsFault::Disk { path: path.to_path_buf(), cause: error.into() })?;
        if read as u64 > YAML_BOUND {
            return Err(refused(PathsRefusal::TooLarge));
        }
        let sections = extra_paths::parse(&text).map_err(refused)?;
        Ok(Self { path, around, sections })
    }

    fn folders(&self, kind: &str, own: Option<&Path>) -> Vec<extra_paths::Folder> {
        extra_paths::folders(&self.sections, kind, own, disk::parent(self.path), self.around)
    }

    fn first(&self, kind: &str, own: Option<&Path>) -> Option<PathBuf> {
        self.folders(kind, own).into_iter().map(|folder| folder.path).find(|path| path.is_dir())
    }

    /// The models folder of Comfy Desktop, where this is a file of it.
    fn desktop_models(&self) -> Option<PathBuf> {
        let is_desktop =
            self.path.file_name().is_some_and(|name| YAMLS[1..].iter().any(|yaml| name == *yaml));
        let is_like_it =
            || self.folders("loras", None).is_empty() && extra_paths::is_of_desktop(&self.sections);
        if !is_desktop && !is_like_it() {
            return None;
        }
        extra_paths::desktop_models(&self.sections, disk::parent(self.path), self.around)
    }

    fn place(&self, folder: &extra_paths::Folder) -> PathsPlace {
        let section = folder.line.map(|line| (folder.section.clone(), line));
        PathsPlace { file: self.path.to_path_buf(), section }
    }

    fn configured(&self, order: &[extra_paths::Folder], chosen: &extra_paths::Folder) -> ConfiguredFolder {
        let (place, away) = (self.place(chosen), self.away(order, Some(chosen)));
        ConfiguredFolder { place, is_default: chosen.is_default, away }
    }

    /// Returns the default folder that comes before the chosen one and does not exist.
    fn away(
        &self,
        order: &[extra_paths::Folder],
        chosen: Option<&extra_paths::Folder>,
    ) -> Option<AwayFolder> {
        let mut before = order.iter().take_while(|folder| Some(*folder) != chosen);
        let folder = before.find(|folder| folder.is_default)?;
        Some(AwayFolder { path: folder.path.clone(), place: self.place(folder) })
    }
}

/// Places where ComfyUI is usually found, with what they are called.
#[must_use]
pub(crate) fn usual_places(around: &Surroundings<'_>) -> Vec<(&'static str, PathBuf)> {
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
        ("Comfy Desktop", from("APPDATA", "Comfy Desktop/shared_model_paths.yaml")),
        ("Comfy Desktop", home("Library/Application Support/Comfy Desktop/shared_model_paths.yaml")),
        ("Comfy Desktop", home(".config/Comfy Desktop/shared_model_paths.yaml")),
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
