//! What is in a folder of pictures, clips and captions.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::model::digest::Sha256Digest;

use super::kinds::MediaKind;

/// A folder as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The folder, as the user named it.
    pub folder: PathBuf,
    /// The dataset's name.
    pub name: String,
    /// The extension of captions, with its dot: `.txt`.
    pub caption_ext: String,
    /// The files in the folder itself, ordered by name; without those of [`Self::skipped`].
    pub files: Vec<ScannedFile>,
    /// The folders in it, ordered by path. Their files were not read.
    pub subfolders: Vec<Subfolder>,
    /// How many files and folders were passed over: dot files, those of systems and of AI Toolkit.
    pub skipped: u64,
}

impl Scan {
    /// What of this folder another one is compared with.
    #[cfg(test)]
    pub fn companion(&self) -> Companion {
        let is_media = |file: &&ScannedFile| matches!(file.content, Content::Media(_));
        let stems = self
            .files
            .iter()
            .filter(is_media)
            .map(|file| super::kinds::stem(&file.name).to_owned())
            .collect();
        Companion { name: self.name.clone(), stems }
    }
}

/// A folder of control images, masks or the like: which stems it has media of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Companion {
    /// The dataset's name.
    pub name: String,
    /// File names without their extensions.
    pub stems: BTreeSet<String>,
}

/// A folder within the folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subfolder {
    /// Its path relative to the scanned folder, with `/`.
    pub path: String,
    /// The names of the files in it.
    pub files: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// Its name; characters that are no UTF-8 are replaced.
    pub name: String,
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// When it was changed last, where the file system says so.
    pub modified: Option<SystemTime>,
    /// The SHA-256 of its bytes, where it was asked for or needed to find equal files.
    pub sha256: Option<Sha256Digest>,
    pub content: Content,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A picture, a clip or a sound, by its extension.
    Media(Media),
    /// A caption, by its extension.
    Caption(Caption),
    /// Something that AI Toolkit does not look for.
    Other,
    /// It is no regular file: a pipe, a socket, a device, a link to nothing.
    NoFile,
    /// It could not be read; why.
    Unreadable(String),
    /// Its name is no UTF-8 text, so that it cannot be sent.
    NameNotUtf8,
}

/// A picture, a clip or a sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// What its extension says.
    pub kind: MediaKind,
    /// Whether it is whole.
    pub state: MediaState,
    /// Its width and height, where they were found.
    pub dimensions: Option<Dimensions>,
    /// What its bytes are, where that is another format than its extension says.
    pub is_really: Option<&'static str>,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    pub width: u32,
    pub height: u32,
}

/// Whether a picture, clip or sound is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaState {
    /// Its format accounts for its bytes to the last one.
    Whole,
    /// Its format is one that is not checked beyond its first bytes.
    Unchecked,
    /// It has no bytes.
    Empty,
    /// It is not whole; why.
    Broken(String),
}

/// A caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caption {
    /// UTF-8 text.
    Text {
        /// There is nothing in it but white space.
        is_blank: bool,
        /// It has `[trigger]` in it.
        has_trigger: bool,
        /// It begins with a byte-order mark, which becomes part of the caption.
        has_mark: bool,
    },
    /// It is not UTF-8.
    NotUtf8 {
        /// Where the first fault is, counted from 0.
        offset: u64,
        /// The byte there.
        byte: u8,
        /// Its first two bytes are those of UTF-16.
        is_utf16: bool,
    },
    /// It ends in `.json` and is no JSON document; why.
    NotJson(String),
}
