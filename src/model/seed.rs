//! A sample's random seed, of the type that the API gave it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::model::lenient::Loose;

/// The longest text of a seed; 64 bits have twenty digits.
const LONGEST: usize = 64;

/// A seed: a number of any size, digit by digit, or a text where the API or an older `job.json` has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seed {
    /// What a reader sees: digits, or the text.
    text: Box<str>,
    is_number: bool,
}

impl Seed {
    /// Reads a JSON value; `None` where it is neither a number nor a text, or is far too long.
    pub(crate) fn read(value: Loose<'_>) -> Option<Self> {
        let is_number = value.raw().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let is_short = value.raw().len() <= LONGEST;
        if !(is_short || value.is_string()) || !(is_number || value.is_string()) {
            return None;
        }
        let text = value.text(LONGEST).filter(|text| !text.trim().is_empty())?;
        Some(Self { text: text.into(), is_number })
    }

    /// Returns the digits, or the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<u64> for Seed {
    fn from(seed: u64) -> Self {
        Self { text: seed.to_string().into(), is_number: true }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_number {
            return serializer.serialize_str(&self.text);
        }
        // The digits as they came: a float in between would round them above 2^53.
        RawValue::from_string(self.text.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Loose::parse(raw.get().as_bytes())
            .ok()
            .and_then(Self::read)
            .ok_or_else(|| serde::de::Error::custom("a seed is a number or a text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_their_type_and_every_digit() {
        for json in
            ["42", "-1", "0", "9007199254740993", "18446744073709551617", "1.5", "1e300", "\"42\"", "\"a b\""]
        {
            let seed: Seed = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&seed).unwrap(), json);
            let from_reader: Seed = serde_json::from_reader(json.as_bytes()).unwrap();
            assert_eq!(from_reader, seed);
        }
        assert_eq!(Seed::from(u64::MAX).as_str(), "18446744073709551615");
        let long = format!("1{}", "0".repeat(LONGEST));
        for none in ["null", "true", "[1]", "{}", "\"\"", long.as_str()] {
            assert!(Seed::read(Loose::parse(none.as_bytes()).unwrap()).is_none(), "{none}");
        }
    }
}
