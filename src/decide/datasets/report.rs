//! What a check found.

use serde::Serialize;

/// Everything that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Errors first; within one code ordered by path.
    pub findings: Vec<Finding>,
    /// What is in the folder.
    pub counts: Counts,
}

impl Report {
    /// How many errors there are: with none of them AI Toolkit trains on the folder.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity() == Severity::Error).count()
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.findings.len() - self.errors()
    }
}

/// How many files of which kind a folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    pub pictures: u64,
    pub clips: u64,
    pub sounds: u64,
    pub captions: u64,
    /// All files that would be sent.
    pub files: u64,
    pub bytes: u64,
    /// Files and folders that were passed over.
    pub skipped: u64,
}

/// One thing that is wrong, or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// Which file or folder, relative to the folder; `.` is the folder itself.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub cure: Cure,
}

/// What to do about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cure {
    /// In words.
    Text(String),
    /// Rename the folder, or give the dataset another name.
    Rename {
        /// A name that it can have.
        suggestion: String,
        /// The configuration has to have that name too.
        in_config: bool,
    },
    /// Move the files of a subfolder up, or leave them out.
    MoveUp { folder: String },
    /// Move the file away, or leave it out.
    MoveAway,
    /// Write the dataset into the configuration, or give it the name that is there.
    NameInConfig { name: String },
    /// Write the extension of the captions into the configuration, or check with it.
    CaptionExtension {
        /// The extension, without its dot.
        extension: String,
    },
}

impl From<String> for Cure {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cure {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Finding {
    /// Whether it keeps the folder from being sent.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// Whether a finding keeps the folder from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does, unless that is overridden.
    Error,
    /// It does not.
    Warning,
}

/// What kind of thing a finding is about, in the order in which they are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// There is nothing to train on.
    NoMedia,
    /// The dataset's name has other characters than `[A-Za-z0-9_-]`.
    DatasetName,
    /// A picture, clip or sound has no bytes.
    EmptyMedia,
    /// A picture, clip or sound is not whole.
    BrokenMedia,
    /// A file cannot be read, or is no regular file.
    Unreadable,
    /// A caption is not UTF-8.
    CaptionEncoding,
    /// A caption that has to be JSON is not.
    CaptionJson,
    /// Two media have one stem, so they would share one caption.
    SameStem,
    /// Two names differ in case or in their Unicode form alone, or are equal in two folders.
    SameName,
    /// There are folders in the folder.
    Subfolder,
    /// A file's name is no UTF-8 text.
    NameEncoding,
    /// The configuration does not name this dataset.
    NotInConfig,
    /// The captions have another extension than the configuration names.
    CaptionExtension,
    /// AI Toolkit does not look for files of this kind.
    UnusedKind,
    /// A picture or clip has no caption.
    NoCaption,
    /// A caption has no picture or clip.
    NoPicture,
    /// A caption is empty.
    BlankCaption,
    /// A caption begins with a byte-order mark.
    CaptionMark,
    /// Clips are not looked for while `num_frames` is 1.
    ClipsUnused,
    /// `[trigger]` in a caption, and no `trigger_word`.
    NoTriggerWord,
    /// The name has characters that not every storage keeps.
    OddName,
    /// The bytes are of another format than the extension suggests.
    WrongExtension,
    /// The same bytes are there twice.
    SameBytes,
    /// A picture is very small, or far below the configured resolution.
    SmallPicture,
    /// A control image, mask or the like is missing for a picture.
    NoCompanion,
    /// A control image, mask or the like belongs to no picture.
    UnusedCompanion,
}

impl Code {
    /// Whether it keeps the folder from being sent.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::NoMedia
            | Self::DatasetName
            | Self::EmptyMedia
            | Self::BrokenMedia
            | Self::Unreadable
            | Self::CaptionEncoding
            | Self::CaptionJson
            | Self::SameStem
            | Self::SameName
            | Self::Subfolder
            | Self::NameEncoding => Severity::Error,
            Self::NotInConfig
            | Self::CaptionExtension
            | Self::UnusedKind
            | Self::NoCaption
            | Self::NoPicture
            | Self::BlankCaption
            | Self::CaptionMark
            | Self::ClipsUnused
            | Self::NoTriggerWord
            | Self::OddName
            | Self::WrongExtension
            | Self::SameBytes
            | Self::SmallPicture
            | Self::NoCompanion
            | Self::UnusedCompanion => Severity::Warning,
        }
    }
}
