//! Foreign text made fit to be shown: the one idea is that what a person reads is what is really there.
//!
//! Prompts, job names and error messages come from elsewhere. Shown raw they could move the cursor, recolour
//! or reorder the line, or hide letters; so every character that would not be seen is written out instead.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns `text` as one line of at most `max_chars` characters that is safe on a terminal.
///
/// Runs of line breaks and tabs become one space. Controls (C0, DEL, C1), bidi controls and everything else
/// that takes no room on the screen is written as `\u{202e}`. A longer text ends in `…`, which counts.
#[must_use]
pub(crate) fn for_terminal(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_chars));
    let mut used = 0;
    // Where to cut, should there turn out to be one character too many: always between two whole units.
    let mut last_cut = 0;
    let mut in_break = false;
    for c in text.chars() {
        let is_break = matches!(c, '\n' | '\r' | '\t');
        if is_break && in_break {
            continue;
        }
        in_break = is_break;
        let before = line.len();
        if is_break {
            line.push(' ');
        } else if is_invisible(c) {
            // Writing into a String cannot fail.
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        } else {
            line.push(c);
        }
        used += line[before..].chars().count();
        if used > max_chars {
            line.truncate(last_cut);
            if max_chars > 0 {
                line.push('…');
            }
            return line;
        }
        if used < max_chars {
            last_cut = line.len();
        }
    }
    line
}

/// Returns `text` with everything that looks like a URL's query, or its user name and password, replaced by `…`, for messages
/// that may quote a signed URL.
///
/// A query ends at white space, `"`, `` ` ``, `<` or `>`; none of these may be in one unencoded. A single
/// quote may, so it does not end one: a message may lose a word here, never keep half a signature.
#[must_use]
pub(crate) fn secrets_removed(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let text = without_users(text);
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once('?') {
        let end = after.find(ends_address).unwrap_or(after.len());
        shown.push_str(before);
        shown.push_str(if end == 0 { "?" } else { "?…" });
        rest = &after[end..];
    }
    shown.push_str(rest);
    shown
}

/// Leaves out the user names and passwords before hosts.
fn without_users(text: &str) -> Cow<'_, str> {
    const SCHEME: &str = "://";
    if !text.contains(SCHEME) {
        return text.into();
    }
    let mut parts = text.split(SCHEME);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c| ends_address(c) || "/?#".contains(c)).unwrap_or(part.len());
        let (hidden, host) = part[..end].rfind('@').map_or(("", part), |at| ("…", &part[at..]));
        for piece in [SCHEME, hidden, host] {
            shown.push_str(piece);
        }
    }
    shown.into()
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '`' | '<' | '>')
}

/// Whether `c` would not be seen: a control, a bidi control, a line separator, a character of no width, or a
/// code point that is no character.
///
/// The two selectors that tell emoji from text (U+FE0E, U+FE0F) are not counted: they are part of everyday
/// emoji and hide nothing.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || matches!(code,
            0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164
            | 0xfe00..=0xfe0d | 0xfeff | 0xffa0 | 0xfff0..=0xfffb
            | 0x1_bca0..=0x1_bca3 | 0x1_d173..=0x1_d17a | 0xe_0000..=0xe_0fff
            | 0xfdd0..=0xfdef)
        || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_what_would_not_be_seen() {
        for (text, shown) in [
            ("plain — naïve 日本 🐈", "plain — naïve 日本 🐈"),
            ("\u{1b}[2Jgone\u{7}", "\\u{1b}[2Jgone\\u{7}"),
            ("a\r\n\n\tb", "a b"),
            ("x\u{202e}gpj.exe", "x\\u{202e}gpj.exe"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("\u{9b}31m\u{7f}\u{85}", "\\u{9b}31m\\u{7f}\\u{85}"),
            ("line\u{2028}two\u{ffff}", "line\\u{2028}two\\u{ffff}"),
            ("❤\u{fe0f}", "❤\u{fe0f}"),
        ] {
            assert_eq!(for_terminal(text, 100), shown);
        }
    }

    #[test]
    fn bounded_between_whole_units() {
        assert_eq!(for_terminal("abcdef", 6), "abcdef");
        assert_eq!(for_terminal("abcdef", 5), "abcd…");
        assert_eq!(for_terminal("ab\u{1b}cd", 7), "ab…");
        assert_eq!(for_terminal("ab\u{1b}", 8), "ab\\u{1b}");
        assert_eq!(for_terminal("ab", 1), "…");
        assert_eq!(for_terminal("ab", 0), "");
        assert_eq!(for_terminal("", 0), "");
    }

    #[test]
    fn no_query_and_no_password_survives() {
        for (text, shown) in [
            ("GET https://h/a?sig=1&t=2 gave 403", "GET https://h/a?… gave 403"),
            (r#"{"url":"/a?x=1","b":2}"#, r#"{"url":"/a?…","b":2}"#),
            ("why? ask? me?", "why? ask? me?"),
            ("a?b?c d?e", "a?… d?…"),
            ("h/a?k='s3cret'&z", "h/a?…"),
            ("nothing here", "nothing here"),
            ("GET https://me:s3cret@h/a@2x.png?k=1 failed", "GET https://…@h/a@2x.png?… failed"),
            ("\"http://me:s3cret@h:1\", mail me@h.example", "\"http://…@h:1\", mail me@h.example"),
            ("http://a/x, http://b:s3cret@b://c:s3cret@d", "http://a/x, http://…@b://…@d"),
        ] {
            assert_eq!(secrets_removed(text), shown);
        }
    }

    proptest! {
        #[test]
        fn terminal_lines_are_short_and_visible(text in "\\PC*|[\\s\\S]*", max in 0_usize..40) {
            let line = for_terminal(&text, max);
            prop_assert!(line.chars().count() <= max);
            prop_assert!(!line.chars().any(is_invisible), "{line:?}");
        }
    }
}
