//! Where a LoRA goes in a ComfyUI folder, how to treat what is there, and what is removed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::model::artifact::half_of_pair;
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::model::local::LocalFile;
use crate::model::names::rel_path::RelPath;
use crate::model::placement::{Placed, PlacedState};

use super::loras::Lora;

/// The folder below ComfyUI's `loras`, with `{name}` and `{job_id}` to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subdir(Box<str>);

/// The text is not a usable template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it has to be a relative folder such as `{{name}}` or `trained/{{name}}-{{job_id}}`: {0}")]
pub(crate) struct SubdirError(String);

const NAME: &str = "{name}";
const JOB_ID: &str = "{job_id}";

impl Default for Subdir {
    fn default() -> Self {
        Self(NAME.into())
    }
}

impl FromStr for Subdir {
    type Err = SubdirError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix('/').unwrap_or(text);
        // The `loras` folder itself.
        if text == "." {
            return Ok(Self("".into()));
        }
        let filled = text.replace(NAME, "x").replace(JOB_ID, "x");
        if filled.contains(['{', '}']) {
            return Err(SubdirError("it has braces with neither `name` nor `job_id` in them".to_owned()));
        }
        match RelPath::parse(&filled) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(SubdirError(error.to_string())),
        }
    }
}

impl fmt::Display for Subdir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.0.is_empty() { "." } else { &self.0 })
    }
}

impl Subdir {
    /// Fills the template in. A job's name is free text: whatever is in it, it becomes part of one folder's name and
    /// never a path of its own. `None` is the `loras` folder itself.
    #[must_use]
    pub(crate) fn of_job(&self, name: Option<&str>, job: &JobId) -> Option<RelPath> {
        if self.0.is_empty() {
            return None;
        }
        // A job without a name has its id.
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(job.as_str());
        let fill = |part: &str| {
            // Filled in one walk, so that a job called `{job_id}` stays that.
            let mut text = String::new();
            let mut rest = part;
            while let Some(at) = rest.find('{') {
                text.push_str(&rest[..at]);
                let (value, length) = if rest[at..].starts_with(NAME) {
                    (name, NAME.len())
                } else {
                    (job.as_str(), JOB_ID.len())
                };
                text.push_str(value);
                rest = rest.get(at + length..).unwrap_or_default();
            }
            text.push_str(rest);
            utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()
        };
        let parts: Vec<String> = self.0.split('/').map(fill).collect();
        RelPath::from_remote(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Under which names the files of a LoRA go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The trainer's, which have the step in them.
    Plain,
    /// The same with a mark of their bytes, where something else has the plain one: `dog~1a2b3c4d.safetensors`.
    ///
    /// ComfyUI caches a LoRA by its path, so new bytes under an old name would not be loaded.
    Marked,
}

/// Returns the places of a LoRA's files below the `loras` folder, in their order; `None` where a name does not fit.
#[must_use]
pub(crate) fn places(lora: &Lora<'_>, subdir: Option<&RelPath>, naming: Naming) -> Option<Vec<RelPath>> {
    let place = |name: String| {
        let path = subdir.map_or_else(|| name.clone(), |subdir| format!("{subdir}/{name}"));
        RelPath::parse(&path).ok()
    };
    let mark = mark(lora);
    let named = |part: &super::loras::Part<'_>| {
        let path = &part.entry.path;
        place(match naming {
            Naming::Plain => path.file_name().to_owned(),
            Naming::Marked => marked(path, &mark),
        })
    };
    lora.files.iter().map(named).collect()
}

/// Both halves get the same mark, before what tells them apart: nodes find one by the name of the other.
fn marked(path: &RelPath, mark: &str) -> String {
    let (stem, extension) = path.stem_and_extension();
    let whole = half_of_pair(stem).map_or(stem, |(whole, _)| whole);
    format!("{whole}~{mark}{}{extension}", &stem[whole.len()..])
}

fn mark(lora: &Lora<'_>) -> String {
    match lora.files.as_slice() {
        [only] => only.entry.sha256.short(),
        files => {
            let mut hash = Sha256::new();
            files.iter().for_each(|part| hash.update(part.entry.sha256.as_bytes()));
            Sha256Digest::new(hash.finalize().into()).short()
        }
    }
}

/// What is at a place, seen from a file that is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: it can be placed.
    Nothing,
    /// Nothing, although it was there: its owner moved, renamed or deleted it, and it is not placed again.
    Withdrawn,
    /// The file itself, put there by us.
    Ours,
    /// The same bytes, by whomever.
    Same,
    /// Our file, changed since. It is kept as it is.
    Edited,
    /// Something else. It stays, too.
    Foreign,
}

impl Standing {
    /// Whether the LoRA is there, as it was published or as its owner edited it.
    #[must_use]
    pub(crate) const fn is_there(self) -> bool {
        matches!(self, Self::Ours | Self::Same | Self::Edited)
    }
}

/// Judges what was found at a place. `hash` reads the file there; it is asked only where nothing cheaper tells.
#[must_use]
pub(crate) fn standing(
    record: Option<&Placed>,
    wanted: (u64, Sha256Digest),
    found: Option<LocalFile>,
    hash: impl FnOnce() -> Option<Sha256Digest>,
) -> Standing {
    let record = record.filter(|record| record.sha256 == wanted.1);
    let (size, modified) = match found {
        None if record.is_some_and(|record| record.state != PlacedState::Placing) => {
            return Standing::Withdrawn;
        }
        None => return Standing::Nothing,
        Some(LocalFile::Other) => return Standing::Foreign,
        Some(LocalFile::File { size, modified }) => (size, modified),
    };
    if let Some(record) = record
        && (record.size, record.modified) == (size, modified)
    {
        match record.state {
            PlacedState::Placed => return Standing::Ours,
            PlacedState::Adopted => return Standing::Same,
            PlacedState::Edited => return Standing::Edited,
            // Its time stamp is that of the source, which a foreign file may share.
            PlacedState::Placing => {}
        }
    }
    let is_same = size == wanted.0 && hash() == Some(wanted.1);
    match record {
        Some(record) if is_same && record.is_ours() => Standing::Ours,
        _ if is_same => Standing::Same,
        Some(record) if record.state == PlacedState::Placing => Standing::Foreign,
        Some(_) => Standing::Edited,
        None => Standing::Foreign,
    }
}

/// The steps of numbered LoRAs that stay: the newest `keep` of those that are here or placed.
#[must_use]
pub(crate) fn kept_steps(whole: &[Lora<'_>], placed: &[Placed], keep: u32) -> BTreeSet<u64> {
    let steps: BTreeSet<u64> = whole
        .iter()
        .filter_map(|lora| lora.step)
        .chain(placed.iter().filter_map(|placed| placed.step))
        .collect();
    steps.into_iter().rev().take(usize::try_from(keep).unwrap_or(usize::MAX)).collect()
}

/// Whether a placed file has to go: its step is not kept, or its LoRA is the final one of a run that has a newer final.
#[must_use]
pub(crate) fn is_surplus(placed: &Placed, whole: &[Lora<'_>], kept: &BTreeSet<u64>) -> bool {
    match placed.step {
        Some(step) => !kept.contains(&step),
        None => whole
            .iter()
            .flat_map(|lora| &lora.files)
            .any(|part| *part.key == placed.key && part.entry.sha256 != placed.lora),
    }
}

/// What every LoRA picker shows as a picture, by its first bytes: the extension that it has to have.
#[must_use]
pub(crate) fn picture_extension(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(".png")
    } else if first.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(".jpg")
    } else if first.starts_with(b"RIFF") && first.get(8..12) == Some(b"WEBP") {
        Some(".webp")
    } else {
        None
    }
}

/// The endings behind a LoRA's stem under which a picker finds a picture. Where one of them is there, we add none.
pub(crate) const PICTURE_ENDINGS: [&str; 12] = [
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".gif",
    ".mp4",
    ".preview.png",
    ".preview.jpg",
    ".preview.jpeg",
    ".preview.webp",
    ".preview.mp4",
    ".webm",
];

#[cfg(test)]
mod tests;
