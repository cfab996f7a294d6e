//! Where ComfyUI looks for LoRAs: from a path that a user names to the one folder to write into, and why that one.

mod extra_paths;
pub mod server;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::edge::system::disk;
use crate::error::Error;

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
    /// Why this one, for people: `the loras folder of the ComfyUI there`.
    pub why: String,
    /// The folder that embeddings go to, where the same installation has one.
    pub embeddings: Option<PathBuf>,
}

/// Finds the LoRA folder that belongs to the root of a program, a models folder, a LoRA folder, or a configuration of
/// paths; any other folder is taken as it is. Changes nothing.
///
/// # Errors
/// [`Error::NoComfyUi`], with the reason and what to name instead; [`Error::BadInput`] for a YAML file that ComfyUI would
/// not start with.
pub fn find(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let path = absolute(&around.expand_user(path));
    let refuse = |why: &str| {
        let missing = Some(path.clone()).filter(|path| !path.exists());
        Err(Error::NoComfyUi { path: path.clone(), looked_for: why.to_owned(), missing })
    };
    match () {
        () if path.is_dir() => in_folder(&path, around),
        () if !path.is_file() => match path.exists() {
            true => refuse("it is neither a folder nor a file"),
            false => refuse("there is nothing of this name"),
        },
        () if path.extension().is_some_and(|end| end == "yaml" || end == "yml") => in_yaml(&path, around),
        () => refuse("it is a file, and no configuration of paths (`.yaml`); name a folder or such a file"),
    }
}

fn in_folder(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let found =
        |loras: PathBuf, why: String| Ok(LoraFolder { embeddings: embeddings(&loras), path: loras, why });
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
            return found(loras, "the LoRA folder of the program there".to_owned());
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
        return found(path.to_path_buf(), "it is a loras folder itself".to_owned());
    }
    if let Some(loras) = first_of(path, &LORAS) {
        return found(loras, "the loras folder of the models folder there".to_owned());
    }
    if name == "models" && is_other_models_folder(path) {
        return Err(without_loras(path, path));
    }
    if name == "models" && is_models_folder(path) {
        return found(path.join("loras"), "the loras folder of the models folder there".to_owned());
    }
    if let Some(yaml) = first_of(path, &YAMLS) {
        return in_yaml(&yaml, around);
    }
    if path.join("folder_paths.py").is_file() {
        let why = "it is a ComfyUI without a folder `models`; name the folder that has it (the base directory of that ComfyUI)";
        return Err(Error::NoComfyUi { path: path.to_path_buf(), looked_for: why.to_owned(), missing: None });
    }
    found(path.to_path_buf(), "the folder itself, as it was named".to_owned())
}

/// Nothing is made in the folder of a program other than ComfyUI.
fn without_loras(path: &Path, models: &Path) -> Error {
    let why = format!(
        "`{}` has the models of another program, and no folder `Lora`; start that program once, or make the folder, or name the folder that LoRAs are to go to",
        models.display()
    );
    Error::NoComfyUi { path: path.to_path_buf(), looked_for: why, missing: None }
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
    let plain = |why: String| LoraFolder { path: own.clone(), why, embeddings: embeddings(&own) };
    let own_is = "the loras folder of the ComfyUI there";
    let yaml = root.join("extra_model_paths.yaml");
    if !yaml.is_file() {
        return Ok(plain(own_is.to_owned()));
    }
    let paths = match ExtraPaths::read(&yaml, around) {
        Ok(paths) => paths,
        // Its own folder is the one in any case.
        Err(why) => return Ok(plain(format!("{own_is}; {why}"))),
    };
    let order = paths.folders("loras", Some(&own));
    let chosen = order.iter().find(|folder| folder.path.is_dir());
    let Some(folder) = chosen.filter(|folder| folder.path != absolute(&own)) else {
        return Ok(plain(format!("{own_is}{}", paths.passed_over(&order, chosen))));
    };
    let default = if folder.is_default { "the default for loras" } else { "`loras`" };
    let why = format!("{default} in {}{}", paths.place(folder), paths.passed_over(&order, chosen));
    let own = loras_beside(&own, &EMBEDDINGS);
    Ok(LoraFolder { path: folder.path.clone(), why, embeddings: paths.first("embeddings", own.as_deref()) })
}

/// A folder of another kind beside a loras folder.
fn loras_beside(loras: &Path, names: &[&str]) -> Option<PathBuf> {
    first_of(loras.parent()?, names)
}

fn in_yaml(path: &Path, around: &Surroundings<'_>) -> Result<LoraFolder, Error> {
    let paths = ExtraPaths::read(path, around).map_err(Error::BadInput)?;
    let models = paths.desktop_models();
    let own = models.as_ref().map(|models| models.join("loras"));
    let order = paths.folders("loras", own.as_deref());
    let can_be_made = |folder: &&extra_paths::Folder| disk::parent(&folder.path).is_dir();
    let is_there = |folder: &&extra_paths::Folder| folder.path.is_dir();
    let Some(folder) = order.iter().find(is_there).or_else(|| order.iter().find(can_be_made)) else {
        let looked_for = match order.as_slice() {
            [] => {
                "no section of it has a key `loras`; name the ComfyUI itself, or its loras folder".to_owned()
            }
            [first, ..] => format!(
                "the loras folder `{}` is not there ({}); name the ComfyUI itself, or its loras folder",
                first.path.display(),
                paths.place(first)
            ),
        };
        let missing = order.first().map(|folder| folder.path.clone());
        return Err(Error::NoComfyUi { path: path.to_path_buf(), looked_for, missing });
    };
    let default = if folder.is_default { ", marked as default" } else { "" };
    let why =
        format!("`loras` of {}{default}{}", paths.place(folder), paths.passed_over(&order, Some(folder)));
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
    fn read(path: &'a Path, around: &'a Surroundings<'a>) -> Result<Self, String> {
        let bad = |why: &str| {
            format!("`{}` is passed over, since ComfyUI does not start with it: {why}", path.display())
        };
        // Through links, as ComfyUI reads it; the check that it is a file keeps us from waiting at a pipe.
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(YAML_BOUND + 1).read_to_string(&mut text))
            .map_err(|error| format!("could not read `{}`: {error}", path.display()))?;
        if read as u64 > YAML_BOUND {
            return Err(bad("it is larger than 1 MiB"));
        }
        let sections = extra_paths::parse(&text).map_err(|why| bad(&why))?;
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

    /// Where a folder is named, for people.
    fn place(&self, folder: &extra_paths::Folder) -> String {
        match folder.line {
            None => format!("`{}`", self.path.display()),
            Some(line) => format!("section `{}` in line {line} of `{}`", folder.section, self.path.display()),
        }
    }

    /// Names the default folder that comes before the chosen one and is not there: its disk may be away.
    fn passed_over(&self, order: &[extra_paths::Folder], chosen: Option<&extra_paths::Folder>) -> String {
        let mut before = order.iter().take_while(|folder| Some(*folder) != chosen);
        before.find(|folder| folder.is_default).map_or_else(String::new, |folder| {
            format!(
                "; `{}` would come before it, and is not there ({})",
                folder.path.display(),
                self.place(folder)
            )
        })
    }
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
