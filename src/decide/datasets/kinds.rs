//! Which files AI Toolkit looks for, by name.

/// What a file's extension makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `.jpg`, `.jpeg`, `.png`, `.webp`
    Picture,
    /// `.mp4`, `.mov`, `.webm` and others
    Clip,
    /// `.mp3`, `.wav`, `.flac` and others
    Sound,
}

const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
const CLIPS: [&str; 8] = ["mp4", "avi", "mov", "webm", "mkv", "wmv", "m4v", "flv"];
const SOUNDS: [&str; 6] = ["mp3", "wav", "flac", "aac", "ogg", "m4a"];

impl MediaKind {
    /// Goes by the extension, in either case; `None` for what AI Toolkit does not look for.
    #[must_use]
    pub fn of(file_name: &str) -> Option<Self> {
        let extension = extension(file_name)?.to_ascii_lowercase();
        let is_one_of = |known: &[&str]| known.contains(&extension.as_str());
        if is_one_of(&PICTURES) {
            Some(Self::Picture)
        } else if is_one_of(&CLIPS) {
            Some(Self::Clip)
        } else if is_one_of(&SOUNDS) {
            Some(Self::Sound)
        } else {
            None
        }
    }

    /// Returns the word for one of these.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Clip => "clip",
            Self::Sound => "sound",
        }
    }
}

/// Why a file or folder is passed over without a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Its name begins with a dot: hidden, and AI Toolkit passes it over too.
    Hidden,
    /// An operating system made it.
    System,
    /// AI Toolkit made it while it trained: caches, sizes and generated controls.
    Trainer,
}

/// Returns why a file or folder of this name is passed over, if it is.
#[must_use]
pub(crate) fn is_skipped(name: &str, is_folder: bool) -> Option<Skip> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if name.starts_with('.') {
        Some(Skip::Hidden)
    } else if is("Thumbs.db") || is("desktop.ini") || is("ehthumbs.db") || (is_folder && is("__MACOSX")) {
        Some(Skip::System)
    } else if is_folder
        && matches!(
            name,
            "_controls" | "_latent_cache" | "_t_e_cache" | "_clip_vision_cache" | "_tensor_cache"
        )
    {
        Some(Skip::Trainer)
    } else {
        None
    }
}

/// Returns a file name's extension, without its dot.
pub(super) fn extension(file_name: &str) -> Option<&str> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    (!stem.is_empty()).then_some(extension)
}

/// Returns a file name without its extension, by which AI Toolkit matches captions and control images.
#[must_use]
pub(crate) fn stem(file_name: &str) -> &str {
    extension(file_name).map_or(file_name, |extension| &file_name[..file_name.len() - extension.len() - 1])
}

/// Returns the extension of captions with its dot, as AI Toolkit completes it; `.txt` where there is none.
#[must_use]
pub(crate) fn caption_extension(written: Option<&str>) -> String {
    match written.map(str::trim) {
        None | Some("" | ".") => ".txt".to_owned(),
        Some(dotted) if dotted.starts_with('.') => dotted.to_owned(),
        Some(bare) => format!(".{bare}"),
    }
}

/// Whether a dataset may have this name: letters, digits, `_` and `-`.
#[must_use]
pub(crate) fn is_safe_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_is_what_ai_toolkit_matches_by() {
        for (name, expected) in
            [("a.jpg", "a"), ("a.b.jpg", "a.b"), ("a", "a"), (".jpg", ".jpg"), ("a.", "a"), ("", "")]
        {
            assert_eq!(stem(name), expected, "{name}");
        }
    }

    #[test]
    fn captions_have_a_dot() {
        for (written, expected) in [
            (None, ".txt"),
            (Some(""), ".txt"),
            (Some("."), ".txt"),
            (Some("caption"), ".caption"),
            (Some(".json"), ".json"),
            (Some(" txt "), ".txt"),
        ] {
            assert_eq!(caption_extension(written), expected);
        }
    }

    #[test]
    fn kinds_go_by_the_extension_in_either_case() {
        for (name, expected) in [
            ("a.JPG", Some(MediaKind::Picture)),
            ("a.b.webp", Some(MediaKind::Picture)),
            ("a.MkV", Some(MediaKind::Clip)),
            ("a.m4a", Some(MediaKind::Sound)),
            ("a.heic", None),
            ("jpg", None),
            (".jpg", None),
            ("a.txt", None),
        ] {
            assert_eq!(MediaKind::of(name), expected, "{name}");
        }
    }

    #[test]
    fn what_systems_and_the_trainer_make_is_passed_over() {
        for (name, is_folder, expected) in [
            (".DS_Store", false, Some(Skip::Hidden)),
            (".aitk_size.json", false, Some(Skip::Hidden)),
            ("thumbs.db", false, Some(Skip::System)),
            ("Desktop.ini", false, Some(Skip::System)),
            ("__MACOSX", true, Some(Skip::System)),
            ("_latent_cache", true, Some(Skip::Trainer)),
            ("_t_e_cache", true, Some(Skip::Trainer)),
            ("_controls", true, Some(Skip::Trainer)),
            ("_latent_cache", false, None),
            ("dog.jpg", false, None),
        ] {
            assert_eq!(is_skipped(name, is_folder), expected, "{name}");
        }
    }
}
