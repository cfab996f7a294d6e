//! One part of a path: what it must not be on any system, and how a remote name becomes one.
//!
//! A remote name is kept as it is or marked: whatever had to be altered gets `~` and eight hex digits of its
//! own hash before the extension, and so does every name that looks as if it had been. Hence no two remote
//! names become one, short of a 32-bit hash collision.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::model::digest::short_hash;

use super::collision_key::CollisionKey;
use super::sanitize::is_invisible;

/// The longest part: 255 bytes is the least that common file systems take, less room for what tools append
/// (a temporary name's ending, a sidecar's extension).
pub(crate) const MAX_BYTES: usize = 200;

/// How much is left free at the end of a name that comes from a URL: a collision's suffix of 16 digits and an
/// old version's of eight, each with its `~`.
pub(crate) const ROOM_FOR_SUFFIXES: usize = 17 + 9;

/// The longest extension, with its dot: `.safetensors` has 12 bytes. A longer tail belongs to the stem.
const MAX_EXTENSION_BYTES: usize = 16;

/// What Windows forbids in names; the slash and the backslash separate parts there.
const FORBIDDEN: &[char] = &['<', '>', ':', '"', '|', '?', '*', '\\', '/'];

/// What rcsync writes itself at the top of DIR; private state is `.rcsync`.
const OWN_NAMES: [&str; 4] = ["job.json", "sha256sums", "index.html", ".rcsync"];

/// The ending of files that are still being written, in DIR and in the folders that are mirrored into.
const PART_ENDING: &str = ".rcsync-part";

/// Returns what is wrong with `part`, or `None`. `is_top`: it is directly in DIR.
pub(crate) fn fault(part: &str, is_top: bool) -> Option<&'static str> {
    if part.is_empty() {
        Some("a part is empty")
    } else if part.len() > MAX_BYTES {
        Some("a part is longer than 200 bytes")
    } else if part.starts_with(is_bad_start) {
        Some("a part begins with `.`, `-`, `~` or white space")
    } else if part.ends_with(is_bad_end) {
        Some("a part ends in `.` or white space")
    } else if part.contains(is_bad_anywhere) {
        Some("a part has characters in it that some systems forbid, or that are invisible")
    } else if is_device(part) {
        Some("a part is the name of a Windows device")
    } else if is_own(part, is_top) {
        Some("a part is a name that rcsync keeps for itself")
    } else {
        None
    }
}

/// Returns the local name of one percent-encoded segment of a URL's path.
pub(crate) fn from_segment(segment: &str, is_top: bool) -> String {
    let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
    match std::str::from_utf8(&decoded) {
        Ok(name) if is_kept(name, is_top) => name.to_owned(),
        _ => marked(&decoded),
    }
}

/// Returns `name` if it is fit for a disk, else its altered and marked form.
pub(crate) fn fitted(name: String, is_top: bool) -> String {
    if fault(&name, is_top).is_none() { name } else { marked(name.as_bytes()) }
}

/// Splits `name` before its last dot. The extension is empty where there is no stem, or where what follows the
/// dot is too long or has more in it than ASCII letters and digits (so `.rcsync-part` is none).
pub(crate) fn split_extension(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((stem, tail))
            if !stem.is_empty()
                && (1..MAX_EXTENSION_BYTES).contains(&tail.len())
                && tail.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            name.split_at(stem.len())
        }
        _ => (name, ""),
    }
}

fn is_kept(name: &str, is_top: bool) -> bool {
    name.len() <= MAX_BYTES - ROOM_FOR_SUFFIXES && fault(name, is_top).is_none() && !looks_marked(name)
}

/// Whether a name has the shape of those that [`marked`] makes: the mark at its end or before its extension.
fn looks_marked(name: &str) -> bool {
    split_extension(name)
        .0
        .rsplit_once('~')
        .is_some_and(|(_, mark)| mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns `<stem>~<8 hex of the original's hash><extension>` with everything unfit replaced by `_`.
fn marked(original: &[u8]) -> String {
    let replaced = replaced(original);
    let (stem, extension) = split_extension(&replaced);
    let mark = short_hash(original, 8);
    let room = MAX_BYTES - ROOM_FOR_SUFFIXES - 1 - mark.len() - extension.len();
    let stem = &stem[..stem.floor_char_boundary(room)];
    format!("{stem}~{mark}{extension}")
}

fn replaced(original: &[u8]) -> String {
    let mut name = String::with_capacity(original.len() + 1);
    for chunk in original.utf8_chunks() {
        name.extend(chunk.valid().chars().map(|c| if is_bad_anywhere(c) { '_' } else { c }));
        name.extend(chunk.invalid().iter().map(|_| '_'));
    }
    if let Some(last) = name.chars().next_back().filter(|c| is_bad_end(*c)) {
        name.truncate(name.len() - last.len_utf8());
        name.push('_');
    }
    if let Some(first) = name.chars().next().filter(|c| is_bad_start(*c)) {
        name.replace_range(..first.len_utf8(), "_");
    }
    if name.is_empty() || is_device(&name) {
        // In front, since `CON.tar.gz` is a device up to its first dot.
        name.insert(0, '_');
    }
    name
}

fn is_bad_anywhere(c: char) -> bool {
    is_invisible(c) || FORBIDDEN.contains(&c)
}

/// Hidden files, options of commands, home folders, and blanks that get lost.
fn is_bad_start(c: char) -> bool {
    matches!(c, '.' | '-' | '~') || c.is_whitespace()
}

/// Windows drops these, so that two names would be one.
fn is_bad_end(c: char) -> bool {
    c == '.' || c.is_whitespace()
}

/// Whether Windows opens a device under this name: up to the first dot, blanks before it not counted.
fn is_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or(name).trim_end();
    if base.len() > "CONOUT$".len() {
        return false;
    }
    let base = base.to_ascii_uppercase();
    if matches!(base.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$") {
        return true;
    }
    let port = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT"));
    port.is_some_and(|number| {
        let mut digits = number.chars();
        // The superscripts 1 to 3 are digits of the Latin-1 code page, and Windows takes them.
        matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

fn is_own(name: &str, is_top: bool) -> bool {
    let key = CollisionKey::of(name);
    key.as_str().ends_with(PART_ENDING) || (is_top && OWN_NAMES.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for device in
            ["CON", "con.png", "Nul.tar.gz", "COM1", "com¹.txt", "LPT0", "CONIN$", "aux .x", "conout$.a"]
        {
            assert!(is_device(device), "{device}");
        }
        for name in ["CONS", "COM", "COM10", "COMA", "xCON", "CON~", "LPT¼", "config.yaml"] {
            assert!(!is_device(name), "{name}");
        }
    }

    #[test]
    fn extensions() {
        for (name, parts) in [
            ("a.safetensors", ("a", ".safetensors")),
            ("a.tar.gz", ("a.tar", ".gz")),
            ("a", ("a", "")),
            (".a", (".a", "")),
            ("a.", ("a.", "")),
            ("a.thisisnoextension", ("a.thisisnoextension", "")),
            ("a.rcsync-part", ("a.rcsync-part", "")),
            ("a.é", ("a.é", "")),
        ] {
            assert_eq!(split_extension(name), parts);
        }
    }

    #[test]
    fn marks_are_seen_wherever_one_can_be() {
        for name in ["a~0123abcd", "a~0123ABCD.png", "a.png~0123abcd", "~00000000"] {
            assert!(looks_marked(name), "{name}");
        }
        for name in ["a~0123abc", "a~0123abcde", "a~0123abcg.png", "a0123abcd", "a~0123abcd.b.c"] {
            assert!(!looks_marked(name), "{name}");
        }
    }

    /// A cut can leave a dot near the end; the mark must still be seen for what it is.
    #[test]
    fn a_cut_name_is_a_marked_one() {
        for length in 150..320 {
            let name = format!("{}.abc{}", "x".repeat(length), "y".repeat(length));
            assert!(looks_marked(&marked(name.as_bytes())), "{length}");
        }
    }
}
