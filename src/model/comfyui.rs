//! What is found of a ComfyUI: why LoRAs go to a folder, why to none, and why a running one gave no list.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::error::system::{SystemError, lossy};
use crate::model::tls_fault::TlsFault;
use crate::model::units::as_seconds;
use crate::model::yaml11::{Refusal, RefusalKind, Unreadable};

/// Why LoRAs go to a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoraFolderReason {
    /// It is the named folder, which belongs to no program.
    Named,
    /// The named folder is a LoRA folder by its name.
    LoraFolder,
    /// It is the LoRA folder of the named models folder.
    ModelsFolder,
    /// It is the LoRA folder of the named program, which is not ComfyUI.
    OtherProgram,
    /// It is ComfyUI's own.
    ComfyUi {
        /// A default folder that would come before it.
        away: Option<AwayFolder>,
    },
    /// It is ComfyUI's own, and its configuration of paths cannot be used.
    ComfyUiAlone(PathsFault),
    /// The configuration of paths of the named ComfyUI has it.
    ExtraPaths(ConfiguredFolder),
    /// The named configuration of paths has it.
    PathsFile(ConfiguredFolder),
}

/// A folder of a configuration of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfiguredFolder {
    /// Where it is configured.
    pub place: PathsPlace,
    /// Whether its section is marked as the default.
    pub is_default: bool,
    /// A default folder that would come before it.
    pub away: Option<AwayFolder>,
}

/// A default folder that does not exist: its disk may be away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwayFolder {
    /// The folder.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Where it is configured.
    pub place: PathsPlace,
}

/// A place in a configuration of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathsPlace {
    /// The configuration.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// The section, and the line counted from 1; none for the folder that ComfyUI has without configuration.
    pub section: Option<(String, usize)>,
}

impl fmt::Display for PathsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((section, line)) = &self.section {
            write!(f, "section `{section}` in line {line} of ")?;
        }
        write!(f, "`{}`", self.file.display())
    }
}

/// Why LoRAs go to no folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoLoraFolder {
    /// There is nothing of the name.
    #[error("there is nothing of this name")]
    Missing,
    /// It is a device, a pipe or the like.
    #[error("it is neither a folder nor a file")]
    Special,
    /// It is a file of another kind.
    #[error("it is a file, and no configuration of paths (`.yaml`); name a folder or such a file")]
    File,
    /// It is a ComfyUI whose models are elsewhere.
    #[error(
        "it is a ComfyUI without a folder `models`; name the folder that has it (the base directory of that ComfyUI)"
    )]
    NoModels,
    /// It is another program, in whose folders nothing is made.
    #[error(
        "`{}` has the models of another program, and no folder `Lora`; start that program once, or make the folder, or name the folder that LoRAs are to go to",
        models.display()
    )]
    OtherProgram {
        /// The folder of its models.
        #[serde(serialize_with = "lossy")]
        models: PathBuf,
    },
    /// The configuration of paths has no LoRA folders.
    #[error("no section of it has a key `loras`; name the ComfyUI itself, or its loras folder")]
    NoKey,
    /// None of the configured LoRA folders exists, or can be made.
    #[error("the loras folder `{}` is not there ({place}); name the ComfyUI itself, or its loras folder", folder.display())]
    Away {
        /// The first of them.
        #[serde(serialize_with = "lossy")]
        folder: PathBuf,
        /// Where it is configured.
        place: PathsPlace,
    },
}

/// Why a configuration of paths cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum PathsFault {
    /// It cannot be read.
    #[error("could not read `{}`: {cause}", path.display())]
    Disk {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What the system reported.
        cause: SystemError,
    },
    /// ComfyUI does not start with it.
    #[error("`{}` is passed over, since ComfyUI does not start with it: {why}", path.display())]
    Refused {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What is wrong with it.
        why: PathsRefusal,
    },
}

/// Why ComfyUI does not start with a configuration of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PathsRefusal {
    /// It is larger than any configuration.
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// It is not YAML, or YAML that is refused.
    #[error("{}", yaml(.0))]
    Yaml(Unreadable),
    /// It is no mapping.
    #[error("it has no sections")]
    NoSections,
    /// A section is no mapping.
    #[error("section `{section}` is not a list of keys and folders")]
    NoSection {
        /// Its name.
        section: String,
    },
    /// A value is no text.
    #[error("`{key}` in section `{section}` is not a path")]
    NoPath {
        /// The section.
        section: String,
        /// The key.
        key: String,
    },
}

fn yaml(why: &Unreadable) -> String {
    match why {
        Unreadable::Syntax(why) => why.clone(),
        Unreadable::Refused(Refusal { line, kind }) => format!("{} in line {line}", refused(kind)),
        Unreadable::SecondDocument { line } => format!("a second document begins in line {line}"),
        Unreadable::Cycle { line } => format!("an alias refers to what contains it in line {line}"),
        Unreadable::TooLarge => {
            "it is larger, deeper or more tangled than any configuration of paths".to_owned()
        }
    }
}

fn refused(kind: &RefusalKind) -> String {
    match kind {
        RefusalKind::Variable(name) => format!("`${{{name}}}` is not replaced"),
        RefusalKind::Tab => "a tab where only blanks may be".to_owned(),
        RefusalKind::LineBreak(c) => format!("the character U+{:04X} outside of quotes", u32::from(*c)),
        RefusalKind::Scalar(text, _) => format!("`{text}`, which is neither text nor a value,"),
        RefusalKind::Tag(tag) => format!("the unknown or unfitting tag `{tag}`"),
        RefusalKind::Key => "a list or a mapping as a key".to_owned(),
        RefusalKind::Merge => "`<<` without a mapping".to_owned(),
        RefusalKind::Anchor(name) => format!("the anchor `&{name}` for the second time"),
        RefusalKind::AnchorName(name) => {
            format!(
                "the anchor `&{name}`, which has other characters than letters from a to z, digits, `_` and `-`,"
            )
        }
    }
}

/// Why a running ComfyUI gave no list of its LoRAs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoList {
    /// No HTTP client can be made.
    #[error("TLS: {0}")]
    NoClient(TlsFault),
    /// It does not answer in time.
    #[error("it does not answer within {} s", after.as_secs())]
    TimedOut {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// It cannot be reached.
    #[error("no program answers there")]
    Unreachable,
    /// The connection broke.
    #[error("the answer broke off")]
    Interrupted,
    /// It refused the request.
    #[error("it answered HTTP {status} to `/{path}`")]
    Status {
        /// The status code.
        status: u16,
        /// What was asked for.
        path: &'static str,
    },
    /// Its answer is larger than any list.
    #[error("its answer is too long")]
    TooLong,
    /// Its answer is no list.
    #[error("its answer to `/{path}` is not that of a ComfyUI")]
    Foreign {
        /// What was asked for.
        path: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_structured() {
        let file = PathBuf::from("/ui/extra_model_paths.yaml");
        let place = PathsPlace { file: file.clone(), section: Some(("big".to_owned(), 5)) };
        assert_eq!(place.to_string(), "section `big` in line 5 of `/ui/extra_model_paths.yaml`");
        let away = Some(AwayFolder { path: "/away".into(), place });
        assert_eq!(
            serde_json::to_string(&LoraFolderReason::ComfyUi { away }).unwrap(),
            r#"{"comfy_ui":{"away":{"path":"/away","place":{"file":"/ui/extra_model_paths.yaml","section":["big",5]}}}}"#
        );
        let tab = Unreadable::Refused(Refusal { line: 2, kind: RefusalKind::Tab });
        let fault = PathsFault::Refused { path: file, why: PathsRefusal::Yaml(tab) };
        assert_eq!(
            serde_json::to_string(&LoraFolderReason::ComfyUiAlone(fault)).unwrap(),
            r#"{"comfy_ui_alone":{"refused":{"path":"/ui/extra_model_paths.yaml","why":{"yaml":{"refused":{"line":2,"kind":"tab"}}}}}}"#
        );
        let slow = NoList::TimedOut { after: Duration::from_secs(5) };
        assert_eq!(serde_json::to_string(&slow).unwrap(), r#"{"timed_out":{"after":5.0}}"#);
    }
}
