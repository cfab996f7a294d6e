//! YAML: collected up to a bound and parsed within a budget. A configuration is a mapping.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::model::training_config::reading;

use super::verdict::{Defect, Fault, Verdict};

/// A real configuration has some kilobytes, mostly prompts. Past this it is not kept and not parsed.
const MAX_BYTES: usize = 4 << 20;

/// A mapping that has one of these and none of [`OF_A_CONFIG`] is an error that an API sent as JSON.
const OF_AN_ERROR: [&str; 6] = ["error", "error_code", "error_message", "errors", "message", "detail"];

/// What every configuration of the trainer has.
const OF_A_CONFIG: [&str; 2] = ["job", "config"];

#[derive(Debug, Default)]
pub(super) struct Walk {
    text: Vec<u8>,
    too_long: bool,
}

impl Walk {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.too_long |= self.text.len() + bytes.len() > MAX_BYTES;
        if self.too_long {
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        if self.too_long {
            return Ok(Verdict::Unchecked);
        }
        let ends_with_a_line = self.text.ends_with(b"\n");
        match parse(&self.text) {
            Ok(keys) if keys.are_of_an_error => {
                Err(Fault::bad("it is an error document, not a configuration"))
            }
            // A text that was cut within its last line may well parse.
            Ok(_) if ends_with_a_line => Ok(Verdict::Whole),
            Ok(_) => Ok(Verdict::Plausible),
            Err(why) if ends_with_a_line => Err(Fault::bad(&why)),
            Err(why) => Err(Fault::Bad(Defect::truncation(&why))),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Keys, String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err("it is nothing but zeros".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| match error.error_len() {
        None => "it ends in the middle of a character".to_owned(),
        Some(_) => "it is not UTF-8 text".to_owned(),
    })?;
    serde_saphyr::from_str_with_options(text, reading())
        .map_err(|error| format!("it is not a YAML mapping: {error}"))
}

/// What the keys of the outermost mapping say.
struct Keys {
    are_of_an_error: bool,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut error, mut config, mut count) = (false, false, 0_u64);
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            map.next_value::<IgnoredAny>()?;
            error |= OF_AN_ERROR.contains(&&*key);
            config |= OF_A_CONFIG.contains(&&*key);
            count += 1;
        }
        if count == 0 {
            return Err(serde::de::Error::custom("it has no keys"));
        }
        Ok(Keys { are_of_an_error: error && !config })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::check;
    use super::*;

    fn verdict(text: &str) -> Verdict {
        check(Format::Yaml, text.as_bytes())
    }

    const CONFIG: &str = "job: extension\nconfig:\n  name: \"my_lora_v1\"\n  process:\n  - &id001\n    type: 'sd_trainer'\n    \
        prompts: [\"a: b # {c}\", 'it''s']\n    lr: 1e-4\n    cap: .inf\n    raw: !!binary AP8=\n    pair: !!python/tuple [1, 2]\n  - *id001\nmeta:\n  version: '1.0'\n  größe: 中\n";

    #[test]
    fn a_configuration_is_a_mapping() {
        assert_eq!(verdict(CONFIG), Verdict::Whole);
        assert_eq!(verdict(CONFIG.trim_end()), Verdict::Plausible, "it may be cut within its last line");
        assert_eq!(verdict("{\"job\": \"extension\", \"config\": {\"error\": 1}}\n"), Verdict::Whole);
        for wrong in [
            "- a\n",
            "text\n",
            "a: [1\n",
            "\n",
            "# nothing\n",
            "{}\n",
            "a: 1\n---\nb: 2\n",
            "a: \"x\n",
            "\0\0\n",
        ] {
            assert!(matches!(verdict(wrong), Verdict::Broken(_)), "{wrong}");
        }
        assert!(matches!(check(Format::Yaml, b"a: \xff\n"), Verdict::Broken(_)));
    }

    #[test]
    fn an_error_that_came_as_json_is_no_configuration() {
        for text in
            ["{\"error_code\":40401,\"error_message\":\"no\"}", "{\"detail\":[{}]}\n", "message: gone\n"]
        {
            assert!(matches!(verdict(text), Verdict::Broken(_)), "{text}");
        }
    }

    #[test]
    fn a_cut_that_does_not_parse_may_be_unfinished() {
        assert!(verdict("job: extension\nconfig:\n  name: \"my_l").is_unfinished());
        assert!(check(Format::Yaml, "name: größe\n".as_bytes().split_at(9).0).is_unfinished());
    }

    #[test]
    fn bombs_end_early() {
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(","));
        }
        assert!(matches!(verdict(&laughs), Verdict::Broken(_)));
        assert!(matches!(verdict(&format!("a: {}\n", "[".repeat(1 << 20))), Verdict::Broken(_)));
        assert!(matches!(verdict(&format!("a: {}\n", "{b: ".repeat(1 << 18))), Verdict::Broken(_)));
        let nested: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(matches!(verdict(&nested), Verdict::Broken(_)));
        assert_eq!(verdict(&"# long\n".repeat(MAX_BYTES / 7 + 1)), Verdict::Unchecked);
    }
}
