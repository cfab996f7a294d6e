//! The rules: everything that is wrong with a folder, found at once.

mod against_config;

use std::collections::{BTreeMap, HashMap};

use crate::model::names::collision_key::CollisionKey;
use crate::model::training_config::TrainingConfig;

use super::kinds::{MediaKind, extension, is_safe_name, stem};
use super::report::{Code, Counts, Cure, Finding, Report};
use super::scan::{Caption, Companion, Content, Media, MediaState, Scan, ScannedFile};
use against_config::against_config;

/// Checks a folder, and whether it fits a configuration where there is one.
#[cfg(any(test, feature = "internals"))]
pub fn check(scan: &Scan, config: Option<&TrainingConfig>) -> Report {
    check_with(scan, config, &[])
}

/// Checks a folder, and whether it fits a configuration where there is one, and its folders of control images and masks.
#[must_use]
pub fn check_with(scan: &Scan, config: Option<&TrainingConfig>, companions: &[Companion]) -> Report {
    let mut findings = Findings::default();
    let stems = Stems::of(scan);
    folder(scan, config, &mut findings);
    names(scan, &mut findings);
    for file in &scan.files {
        content(file, scan, &mut findings);
    }
    equal_bytes(scan, &mut findings);
    against_config(scan, config, companions, &stems, &mut findings);
    findings.list.sort_by(|a, b| (a.code, &a.path).cmp(&(b.code, &b.path)));
    findings.list.dedup();
    Report { findings: findings.list, counts: counts(scan) }
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn add(&mut self, code: Code, path: &str, what: impl Into<String>, cure: impl Into<Cure>) {
        self.list.push(Finding { code, path: path.to_owned(), what: what.into(), cure: cure.into() });
    }
}

impl Findings {
    /// Takes back that files with this extension beside media are of no use: another finding is about all of them.
    pub(super) fn drop_unused(&mut self, extension: &str, media: &BTreeMap<&str, Vec<&str>>) {
        let is_caption =
            |path: &str| path.strip_suffix(extension).is_some_and(|stem| media.contains_key(stem));
        self.list.retain(|finding| finding.code != Code::UnusedKind || !is_caption(&finding.path));
    }
}

/// The files of a folder by what AI Toolkit matches them by.
pub(super) struct Stems<'s> {
    /// Names of pictures, clips and sounds, by stem.
    pub(super) media: BTreeMap<&'s str, Vec<&'s str>>,
    /// Names of captions, by stem.
    pub(super) captions: BTreeMap<&'s str, &'s str>,
    /// Names of all other files, by stem.
    pub(super) others: BTreeMap<&'s str, Vec<&'s str>>,
}

impl<'s> Stems<'s> {
    fn of(scan: &'s Scan) -> Self {
        let mut stems = Self { media: BTreeMap::new(), captions: BTreeMap::new(), others: BTreeMap::new() };
        for file in &scan.files {
            let name = file.name.as_str();
            match caption_stem(scan, name) {
                _ if MediaKind::of(name).is_some() => stems.media.entry(stem(name)).or_default().push(name),
                Some(stem) => drop(stems.captions.insert(stem, name)),
                None => stems.others.entry(stem(name)).or_default().push(name),
            }
        }
        stems
    }
}

/// Returns the stem of a caption: the file's name without the caption extension, which is matched letter by letter.
fn caption_stem<'s>(scan: &Scan, name: &'s str) -> Option<&'s str> {
    name.strip_suffix(scan.caption_ext.as_str()).filter(|stem| !stem.is_empty())
}

pub(super) fn media_of(file: &ScannedFile) -> Option<&Media> {
    match &file.content {
        Content::Media(media) => Some(media),
        _ => None,
    }
}

fn counts(scan: &Scan) -> Counts {
    let mut counts = Counts { skipped: scan.skipped, ..Counts::default() };
    for file in &scan.files {
        counts.files += 1;
        counts.bytes = counts.bytes.saturating_add(file.size);
        match &file.content {
            Content::Media(Media { kind: MediaKind::Picture, .. }) => counts.pictures += 1,
            Content::Media(Media { kind: MediaKind::Clip, .. }) => counts.clips += 1,
            Content::Media(Media { kind: MediaKind::Sound, .. }) => counts.sounds += 1,
            Content::Caption(_) => counts.captions += 1,
            Content::Other | Content::NoFile | Content::Unreadable(_) | Content::NameNotUtf8 => {}
        }
    }
    counts
}

/// What is wrong with the folder as a whole.
fn folder(scan: &Scan, config: Option<&TrainingConfig>, findings: &mut Findings) {
    if !scan.files.iter().any(|file| MediaKind::of(&file.name).is_some()) {
        let mut unused: BTreeMap<String, u64> = BTreeMap::new();
        for extension in scan.files.iter().filter_map(|file| extension(&file.name)) {
            if convertible(extension).is_some() {
                *unused.entry(extension.to_ascii_uppercase()).or_default() += 1;
            }
        }
        let what = match unused.iter().max_by_key(|(_, count)| **count) {
            Some((extension, count)) => {
                format!("no picture, clip or sound that AI Toolkit reads, but {count} {extension} file(s)")
            }
            None if scan.subfolders.iter().any(|folder| !folder.files.is_empty()) => {
                "no picture, clip or sound in the folder itself".to_owned()
            }
            None => "no picture, clip or sound".to_owned(),
        };
        let cure = match unused.is_empty() {
            true => "put .jpg, .jpeg, .png or .webp pictures, or clips such as .mp4, into the folder",
            false => "convert them to JPEG or PNG, and keep the names before the dot",
        };
        findings.add(Code::NoMedia, ".", what, cure);
    }
    if !is_safe_name(&scan.name) {
        let suggestion = safe_name(&scan.name);
        let in_config = config.is_some_and(|config| !config.processes.is_empty());
        let cure = Cure::Rename { suggestion, in_config };
        let what =
            format!("a dataset cannot be called `{}`: letters, digits, `_` and `-` are safe", scan.name);
        findings.add(Code::DatasetName, ".", what, cure);
    }
    for subfolder in &scan.subfolders {
        let what = match subfolder.files.len() {
            0 => "a folder in the folder; a dataset has no folders".to_owned(),
            1 => "a folder with 1 file in it; a dataset has no folders".to_owned(),
            count => format!("a folder with {count} files in it; a dataset has no folders"),
        };
        let cure = Cure::MoveUp { folder: subfolder.path.clone() };
        findings.add(Code::Subfolder, &subfolder.path, what, cure);
    }
}

/// Returns a dataset's name that resembles this one.
#[must_use]
pub(crate) fn safe_name(name: &str) -> String {
    let mut safe = String::new();
    for c in name.trim().chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            safe.push(c);
        } else if !safe.ends_with('-') && !safe.is_empty() {
            safe.push('-');
        }
    }
    let safe = safe.trim_end_matches('-');
    if safe.is_empty() { "my-dataset".to_owned() } else { safe.to_owned() }
}

/// What is wrong with names, whatever is in the files.
fn names(scan: &Scan, findings: &mut Findings) {
    let below = scan.subfolders.iter().flat_map(|folder| {
        folder.files.iter().map(move |name| (name.as_str(), format!("{}/{name}", folder.path)))
    });
    let paths: Vec<(&str, String)> =
        scan.files.iter().map(|file| (file.name.as_str(), file.name.clone())).chain(below).collect();
    let mut taken: HashMap<CollisionKey, &str> = HashMap::new();
    for (name, path) in &paths {
        let first = taken.entry(CollisionKey::of(name)).or_insert(path);
        let base = first.rsplit('/').next().unwrap_or(first);
        if *first == path {
            continue;
        }
        let what = if base == *name {
            format!("the same name as {first}; in a dataset one would replace the other")
        } else {
            format!(
                "its name differs from {first} in case or Unicode form alone; on many disks they are one file"
            )
        };
        findings.add(Code::SameName, path, what, "rename one of them, together with its caption");
    }
    for file in &scan.files {
        let name = file.name.as_str();
        if matches!(file.content, Content::NameNotUtf8) {
            findings.add(Code::NameEncoding, name, "its name is not UTF-8 text", "rename it");
        } else if !is_plain(name) {
            let what = "its name has characters that not every storage keeps";
            findings.add(Code::OddName, name, what, "letters, digits, `.`, `_` and `-` are safe");
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What is wrong within a file.
fn content(file: &ScannedFile, scan: &Scan, findings: &mut Findings) {
    let name = file.name.as_str();
    match &file.content {
        Content::Media(media) => media_content(name, media, findings),
        Content::Caption(caption) => caption_content(name, caption, findings),
        Content::Other => other(name, scan, findings),
        Content::NoFile => {
            let what = "it is no regular file";
            findings.add(Code::Unreadable, name, what, "remove it, or put the file itself there");
        }
        Content::Unreadable(why) => {
            let what = format!("it could not be read: {why}");
            findings.add(Code::Unreadable, name, what, "make it readable, and check again");
        }
        Content::NameNotUtf8 => {}
    }
}

fn media_content(name: &str, media: &Media, findings: &mut Findings) {
    match &media.state {
        MediaState::Whole | MediaState::Unchecked => {}
        MediaState::Empty => {
            findings.add(
                Code::EmptyMedia,
                name,
                "it has no bytes",
                "copy it again from where it is whole, or remove it",
            );
        }
        MediaState::Broken(why) => {
            let cure = if why.starts_with("its bytes are ") {
                "convert it to JPEG or PNG (clips: MP4), or remove it"
            } else {
                "copy or export it again, or remove it"
            };
            findings.add(Code::BrokenMedia, name, why.clone(), cure);
        }
    }
    if let Some(really) = media.is_really {
        let what = format!("its bytes are {really}, which its extension does not say");
        findings.add(Code::WrongExtension, name, what, "give it the extension of its format");
    }
}

fn caption_content(name: &str, caption: &Caption, findings: &mut Findings) {
    match caption {
        Caption::NotUtf8 { offset, byte, is_utf16 } => {
            let (what, from) = if *is_utf16 {
                ("it is UTF-16, not UTF-8".to_owned(), "UTF-16")
            } else {
                (format!("it is not UTF-8: byte {offset} is 0x{byte:02x}{}", meaning(*byte)), "WINDOWS-1252")
            };
            let cure =
                format!("save it as UTF-8, as with `iconv -f {from} -t UTF-8`; a run ends when it reads it");
            findings.add(Code::CaptionEncoding, name, what, cure);
        }
        Caption::NotJson(why) => {
            findings.add(
                Code::CaptionJson,
                name,
                format!("it is not JSON: {why}"),
                "write `{\"caption\": \"…\"}`",
            );
        }
        Caption::Text { is_blank, has_mark, .. } => {
            if *is_blank {
                findings.add(Code::BlankCaption, name, "it is empty", "write a caption, or remove the file");
            }
            if *has_mark {
                let what = "it begins with a byte-order mark, which becomes part of the caption";
                findings.add(Code::CaptionMark, name, what, "save it as UTF-8 without the mark (BOM)");
            }
        }
    }
}

/// Returns what a byte is in Windows-1252, for those that text editors put into captions.
fn meaning(byte: u8) -> &'static str {
    match byte {
        0x91 | 0x92 => ", an apostrophe of Windows-1252",
        0x93 | 0x94 => ", a quotation mark of Windows-1252",
        0x96 | 0x97 => ", a dash of Windows-1252",
        0x85 => ", an ellipsis of Windows-1252",
        0x80 => ", a euro sign of Windows-1252",
        0xc0.. => ", a letter of Windows-1252 or Latin-1",
        _ => "",
    }
}

/// A file that AI Toolkit does not look for.
fn other(name: &str, scan: &Scan, findings: &mut Findings) {
    let is_capital = name.len() > scan.caption_ext.len()
        && !name.ends_with(&scan.caption_ext)
        && name.to_ascii_lowercase().ends_with(&scan.caption_ext.to_ascii_lowercase());
    if is_capital {
        let what = format!("AI Toolkit looks for `{}`, in these letters", scan.caption_ext);
        findings.add(
            Code::CaptionExtension,
            name,
            what,
            format!("rename it to end in `{}`", scan.caption_ext),
        );
        return;
    }
    match extension(name).and_then(convertible) {
        Some(what) => {
            findings.add(
                Code::UnusedKind,
                name,
                format!("AI Toolkit does not look for {what}"),
                "convert it to JPEG or PNG (clips: MP4)",
            );
        }
        None => {
            let what = "AI Toolkit does not look for files of this kind";
            findings.add(Code::UnusedKind, name, what, Cure::MoveAway);
        }
    }
}

/// Returns what media of this extension are called, of those that AI Toolkit does not look for.
fn convertible(extension: &str) -> Option<&'static str> {
    Some(match extension.to_ascii_lowercase().as_str() {
        "heic" | "heif" | "hif" => "HEIC pictures",
        "avif" => "AVIF pictures",
        "gif" => "GIF pictures",
        "bmp" => "BMP pictures",
        "tif" | "tiff" => "TIFF pictures",
        "jxl" => "JPEG XL pictures",
        "jfif" | "jpe" => "pictures under this extension; `.jpg` would do",
        "jp2" | "j2k" => "JPEG 2000 pictures",
        "psd" | "xcf" | "kra" => "layered pictures",
        "svg" => "vector graphics",
        "dng" | "cr2" | "cr3" | "nef" | "arw" | "orf" | "rw2" | "raf" | "raw" => "camera raw pictures",
        "mpg" | "mpeg" | "3gp" | "ts" | "mts" | "m2ts" | "ogv" => "clips of this kind",
        "aif" | "aiff" | "wma" | "opus" => "sounds of this kind",
        _ => return None,
    })
}

/// Media with the same bytes.
fn equal_bytes(scan: &Scan, findings: &mut Findings) {
    let mut first_of = HashMap::new();
    for file in scan.files.iter().filter(|file| media_of(file).is_some() && file.size > 0) {
        let Some(sha256) = file.sha256 else { continue };
        let first: &mut &str = first_of.entry(sha256).or_insert(&file.name);
        if *first != file.name {
            let what = format!("it has the same bytes as {first}");
            findings.add(
                Code::SameBytes,
                &file.name,
                what,
                "remove one: it would be learned twice as strongly",
            );
        }
    }
}

#[cfg(test)]
mod tests;
