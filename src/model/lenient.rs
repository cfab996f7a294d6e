//! JSON read field by field: the one idea is that an odd field costs itself alone, never its neighbours.
//!
//! Nothing becomes a tree in memory; members that are not asked for are skipped in place, however deep or large.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// An object with more members than this is not what any API documents; the rest is ignored.
const MEMBERS_BOUND: usize = 1000;

/// One value in a JSON text, not yet read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loose<'a>(&'a RawValue);

impl<'a> Loose<'a> {
    /// Takes a whole text (a byte order mark before it is tolerated), which must be JSON to its end.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        serde_json::from_slice(text).map(Self)
    }

    /// Returns the text unchanged.
    pub(crate) fn raw(self) -> &'a str {
        self.0.get()
    }

    pub(crate) fn is_object(self) -> bool {
        self.raw().starts_with('{')
    }

    pub(crate) fn is_list(self) -> bool {
        self.raw().starts_with('[')
    }

    pub(crate) fn is_string(self) -> bool {
        self.raw().starts_with('"')
    }

    pub(crate) fn is_null(self) -> bool {
        self.raw() == "null"
    }

    /// Returns the members of an object; of anything else none.
    pub(crate) fn members(self) -> Members<'a> {
        serde_json::from_str(self.raw()).unwrap_or_default()
    }

    /// Shows the elements of a list one after the other. Of anything else there are none.
    pub(crate) fn for_each(self, see: impl FnMut(Self)) {
        // The text is known to be JSON, so the only error is that it is no list.
        let _ = serde_json::Deserializer::from_str(self.raw()).deserialize_seq(Elements(see));
    }

    /// Returns a string, or a number or truth value as it was written. A longer one than `max_bytes` is cut.
    pub(crate) fn text(self, max_bytes: usize) -> Option<String> {
        let raw = self.raw();
        let mut text = match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok()?,
            b'{' | b'[' | b'n' => return None,
            _ => raw.to_owned(),
        };
        text.truncate(text.floor_char_boundary(max_bytes));
        Some(text)
    }

    /// Returns a number that is not negative, also out of a string; fractions are dropped.
    pub(crate) fn whole(self) -> Option<u64> {
        let text = self.number()?;
        text.parse().ok().or_else(|| {
            // Beyond 2^53 a float is no count of anything.
            let float: f64 = text.parse().ok()?;
            (0.0..9_007_199_254_740_992.0).contains(&float).then_some(float as u64)
        })
    }

    /// Returns a finite number, also out of a string.
    pub(crate) fn decimal(self) -> Option<f64> {
        self.number()?.trim_end_matches('%').trim_end().parse().ok().filter(|float: &f64| float.is_finite())
    }

    fn number(self) -> Option<String> {
        // The longest f64 that is written out has some 20 digits.
        self.text(64).map(|text| text.trim().to_owned())
    }
}

/// The members of an object, in their order.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(Vec<(String, Loose<'a>)>);

impl<'a> Members<'a> {
    /// Returns a member that is there and is not null; of several with one name the last, as most readers do.
    pub(crate) fn get(&self, name: &str) -> Option<Loose<'a>> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| *value).filter(|value| !value.is_null())
    }

    /// Returns a member as text, where it is neither absent nor empty.
    pub(crate) fn text(&self, name: &str, max_bytes: usize) -> Option<String> {
        self.get(name)?.text(max_bytes).filter(|text| !text.trim().is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Loose<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_str(), *value))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while members.len() < MEMBERS_BOUND {
                    let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? else {
                        return Ok(Members(members));
                    };
                    // Half a surrogate pair is valid JSON and no text: no such member is ever asked for.
                    if let Ok(key) = serde_json::from_str(key.get()) {
                        members.push((key, Loose(value)));
                    }
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

struct Elements<F>(F);

impl<'de, F: FnMut(Loose<'de>)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<&'de RawValue>()? {
            (self.0)(Loose(element));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(json: &str) -> Option<u64> {
        Loose::parse(json.as_bytes()).unwrap().whole()
    }

    #[test]
    fn a_name_that_is_no_text_costs_its_member_alone() {
        let json = br#"{"a":1,"\ud800":2,"\u0062":3}"#;
        let members = Loose::parse(json).unwrap().members();
        let read: Vec<_> = members.iter().map(|(name, value)| (name, value.whole())).collect();
        assert_eq!(read, [("a", Some(1)), ("b", Some(3))]);
    }

    #[test]
    fn counts_in_every_dress() {
        for (json, count) in [
            ("320", Some(320)),
            ("320.0", Some(320)),
            ("320.9", Some(320)),
            ("\" 320 \"", Some(320)),
            ("3.2e2", Some(320)),
            ("18446744073709551615", Some(u64::MAX)),
            ("-1", None),
            ("1e400", None),
            ("1e300", None),
            ("\"NaN\"", None),
            ("\"many\"", None),
            ("true", None),
            ("null", None),
            ("[1]", None),
        ] {
            assert_eq!(whole(json), count, "{json}");
        }
        assert_eq!(Loose::parse(b"\"16.5 %\"").unwrap().decimal(), Some(16.5));
        assert_eq!(Loose::parse(b"1e400").unwrap().decimal(), None);
        assert_eq!(Loose::parse(b"\"inf\"").unwrap().decimal(), None);
    }

    #[test]
    fn an_odd_member_costs_itself_alone() {
        let json = br#"{"a":"\ud800","b":"good","c":1e999,"d":{},"b":null,"e":"","f":"x"}"#;
        let members = Loose::parse(json).unwrap().members();
        assert_eq!(members.text("a", 9), None);
        assert!(members.get("b").is_none(), "the last one counts");
        assert_eq!(members.text("c", 9).as_deref(), Some("1e999"));
        assert_eq!(members.text("d", 9), None);
        assert_eq!(members.text("e", 9), None);
        assert_eq!(members.text("f", 9).as_deref(), Some("x"));
    }

    #[test]
    fn deep_and_wide_texts_cost_little() {
        let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
        let mut seen = 0;
        Loose::parse(&deep).unwrap().for_each(|_| seen += 1);
        assert_eq!(seen, 1);
        let wide = format!("{{{}\"z\":1}}", "\"a\":[],".repeat(5000));
        assert_eq!(Loose::parse(wide.as_bytes()).unwrap().members().iter().count(), MEMBERS_BOUND);
    }

    #[test]
    fn cut_between_characters() {
        assert_eq!(Loose::parse("\"aéb\"".as_bytes()).unwrap().text(2).as_deref(), Some("a"));
    }
}
