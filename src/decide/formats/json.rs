//! JSON: brackets, strings and commas where they belong, however long the text is. What is no JSON by the letter (comments,
//! several values) is nothing that a trainer's file must not be, so it is not refused: whether it is whole is unknown.

use super::verdict::{Fault, Verdict};

/// Deeper nests are not followed.
const DEEPEST: usize = 1024;

/// Longer than any number or word.
const LONGEST_WORD: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Walk {
    expect: Expect,
    open: Vec<Bracket>,
    word: Vec<u8>,
    /// What follows cannot be judged.
    is_odd: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Map,
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expect {
    #[default]
    Value,
    /// A value, or the end of a list.
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// Inside of a string; `escaped` after a backslash, `key` where a colon must follow.
    Text {
        escaped: bool,
        key: bool,
    },
    /// Inside of a number or a word.
    Word,
    /// Behind the value.
    Nothing,
}

impl Walk {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.is_odd {
                return;
            }
            self.take(*byte);
        }
    }

    fn take(&mut self, byte: u8) {
        if self.expect == Expect::Word {
            if matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') {
                self.word.push(byte);
                self.is_odd = self.word.len() > LONGEST_WORD;
                return;
            }
            if !self.end_word() {
                return;
            }
        }
        match (self.expect, byte) {
            (Expect::Text { escaped: true, key }, _) => self.expect = Expect::Text { escaped: false, key },
            (Expect::Text { key, .. }, b'\\') => self.expect = Expect::Text { escaped: true, key },
            (Expect::Text { key: true, .. }, b'"') => self.expect = Expect::Colon,
            (Expect::Text { key: false, .. }, b'"') => self.end_value(),
            (Expect::Text { .. }, 0..0x20) => self.is_odd = true,
            (Expect::Text { .. }, _) | (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                self.expect = Expect::Text { escaped: false, key: true }
            }
            (Expect::Colon, b':') => self.expect = Expect::Value,
            (Expect::Value | Expect::ValueOrEnd, b'"') => {
                self.expect = Expect::Text { escaped: false, key: false };
            }
            (Expect::Value | Expect::ValueOrEnd, b'{') => self.open(Bracket::Map),
            (Expect::Value | Expect::ValueOrEnd, b'[') => self.open(Bracket::List),
            (Expect::Value | Expect::ValueOrEnd, b'0'..=b'9' | b'-' | b'a'..=b'z' | b'A'..=b'Z') => {
                self.word = vec![byte];
                self.expect = Expect::Word;
            }
            (Expect::CommaOrEnd, b',') => {
                let map = self.open.last() == Some(&Bracket::Map);
                self.expect = if map { Expect::Key } else { Expect::Value };
            }
            (Expect::KeyOrEnd | Expect::CommaOrEnd, b'}') => self.close(Bracket::Map),
            (Expect::ValueOrEnd | Expect::CommaOrEnd, b']') => self.close(Bracket::List),
            _ => self.is_odd = true,
        }
    }

    fn open(&mut self, bracket: Bracket) {
        self.is_odd = self.open.len() >= DEEPEST;
        self.open.push(bracket);
        self.expect = if bracket == Bracket::Map { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
    }

    fn close(&mut self, bracket: Bracket) {
        self.is_odd = self.open.pop() != Some(bracket);
        self.end_value();
    }

    fn end_value(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    /// Ends a number or a word, if it is one. Python writes `NaN` and `Infinity` too.
    fn end_word(&mut self) -> bool {
        let word = std::mem::take(&mut self.word);
        let begins_as_number = matches!(&*word, [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..]);
        let is_word = matches!(&*word, b"true" | b"false" | b"null" | b"NaN" | b"Infinity" | b"-Infinity");
        self.is_odd = !begins_as_number && !is_word;
        self.end_value();
        !self.is_odd
    }

    /// `unwritten`: the file ends in many zeros.
    pub(super) fn finish(mut self, unwritten: bool) -> Result<Verdict, Fault> {
        // A number at the very end may continue, and where it is the whole text, nothing shows its end.
        if self.expect == Expect::Word && self.open.is_empty() {
            let ended = self.end_word();
            return Ok(if ended { Verdict::Plausible } else { Verdict::Unchecked });
        }
        match (self.is_odd, self.expect) {
            (true, _) if unwritten => Err(Fault::cut("the text: zeros follow")),
            (true, _) => Ok(Verdict::Unchecked),
            (false, Expect::Nothing) => Ok(Verdict::Whole),
            (false, _) => Err(Fault::cut("the text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::check;
    use super::*;

    fn verdict(text: &str) -> Verdict {
        check(Format::Json, text.as_bytes())
    }

    #[test]
    fn brackets_and_texts_are_closed() {
        let text = r#" {"a": [1, -2.5e3, NaN, -Infinity, "x\"]}", {}, []], "b": {"c": null, "ä": true}} "#;
        let end = text.trim_end().len();
        for length in (0..text.len()).filter(|length| text.is_char_boundary(*length)) {
            let verdict = verdict(&text[..length]);
            if length >= end {
                assert_eq!(verdict, Verdict::Whole);
            } else {
                assert!(verdict.is_unfinished(), "{length}: {verdict:?}");
            }
        }
        assert_eq!(verdict("\"text\""), Verdict::Whole);
        assert_eq!(verdict("42"), Verdict::Plausible, "more digits may follow");
    }

    #[test]
    fn what_is_no_json_by_the_letter_is_not_refused() {
        for odd in [
            "{a: 1}",
            "{\"a\": 1} {\"a\": 2}",
            "[1, // no\n 2]",
            "[1}",
            "[1,]",
            "{\"a\" 1}",
            "[wrong]",
            "\"a\nb\"",
        ] {
            assert_eq!(verdict(odd), Verdict::Unchecked, "{odd}");
        }
        assert_eq!(verdict(&"[".repeat(2000)), Verdict::Unchecked, "too deep to follow");
        assert_eq!(verdict(&format!("[{}]", "1".repeat(100))), Verdict::Unchecked);
    }

    #[test]
    fn zeros_behind_the_text_are_bytes_that_are_still_to_come() {
        let text = format!("{{\"a\": 1, \"b\": {}", "\0".repeat(600));
        assert!(verdict(&text).is_unfinished());
    }
}
