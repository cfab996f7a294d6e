//! What a safetensors header holds: where every tensor lies, how long the file must be, and what the trainer
//! noted about itself. A pure function of the header's bytes.

mod training_metadata;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::model::weights_kind::{Signs, WeightsKind};

pub(crate) use training_metadata::TrainerNotes;

/// The bytes before the header: its length as a little-endian `u64`.
pub(crate) const LENGTH_BYTES: u64 = 8;

/// The shortest header that can be an object: `{}`.
pub(crate) const MIN_HEADER_BYTES: u64 = 2;

/// The longest header that is taken. Real ones have 60 to 250 kB; the format's own readers take 100 MB, which a hostile
/// host could make every connection hold at once.
pub(crate) const MAX_HEADER_BYTES: u64 = 16 << 20;

/// More tensors than any model has (a LoRA has hundreds, the largest full models some ten thousand).
pub(crate) const MAX_TENSORS: usize = 100_000;

/// How many characters of the trainer's free text are kept.
const MAX_TEXT: usize = 200;

/// The element types of the format, with their bits.
const DTYPES: [(&str, u64); 22] = [
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("I64", 64),
    ("U64", 64),
    ("F64", 64),
    ("C64", 64),
];

/// A header that accounts for every byte of its file: tensors without holes, overlaps or second names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsHeader {
    /// Where the tensors' bytes begin. Their hash is the trainer's `sshs_model_hash`.
    pub body_start: u64,
    /// The length that the whole file must have.
    pub declared_length: u64,
    /// How many tensors there are.
    pub tensors: u32,
    /// The element type that most of the body's bytes have.
    pub dtype: Option<&'static str>,
    /// What it holds, by the names of its tensors; `None` where it has none.
    pub kind: Option<WeightsKind>,
    /// The largest rank among the down projections and factors.
    pub rank: Option<u64>,
    /// What the trainer noted.
    pub metadata: TrainerNotes,
}

/// Why a header cannot be the header of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It does not begin like a JSON object.
    #[error("its header does not begin with `{{`")]
    NotAnObject,
    /// It is not text.
    #[error("its header is not UTF-8")]
    NotUtf8,
    /// It is no JSON, or not of the shape that the format asks for.
    #[error("its header cannot be read: {0}")]
    Json(String),
    /// Too many tensors.
    #[error("its header lists more than {MAX_TENSORS} tensors")]
    TooManyTensors,
    /// One name is there twice.
    #[error("its header lists `{0}` twice")]
    Twice(String),
    /// A tensor does not begin where the one before it ends, or ends before it begins.
    #[error("tensor `{0}` leaves a hole or overlaps another")]
    Layout(String),
    /// A tensor's offsets do not fit its shape and element type.
    #[error("the offsets of tensor `{0}` do not fit its shape and element type")]
    Size(String),
    /// A tensor's size cannot be computed.
    #[error("the shape of tensor `{0}` is larger than any file")]
    Overflow(String),
}

impl SafetensorsHeader {
    /// Returns the words that a prompt calls these weights by: the word of an embedding, else the trainer's tags.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match (&self.metadata.embedding_word, self.kind) {
            (Some(word), Some(WeightsKind::Embedding)) => vec![word.clone()],
            _ => self.metadata.trigger_words.clone(),
        }
    }

    /// Reads the JSON text of a header (without the eight bytes before it).
    pub fn parse(json: &[u8]) -> Result<Self, HeaderError> {
        if json.first() != Some(&b'{') {
            return Err(HeaderError::NotAnObject);
        }
        let text = std::str::from_utf8(json).map_err(|_| HeaderError::NotUtf8)?;
        let entries: Entries<'_> =
            serde_json::from_str(text).map_err(|error| HeaderError::Json(tidy(&error.to_string())))?;
        let Entries { mut spans, metadata, dtype_bytes, signs, rank, fault } = entries;
        if let Some(fault) = fault {
            return Err(fault);
        }
        spans.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(pair) = spans.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(HeaderError::Twice(tidy(&pair[0].name)));
        }
        let body_length = check_layout(&mut spans)?;
        let body_start = LENGTH_BYTES + json.len() as u64;
        let declared_length = body_start.checked_add(body_length).ok_or_else(|| {
            HeaderError::Overflow(spans.last().map_or_else(String::new, |span| tidy(&span.name)))
        })?;
        let dtype = (0..DTYPES.len()).filter(|&at| dtype_bytes[at] > 0).max_by_key(|&at| dtype_bytes[at]);
        Ok(Self {
            body_start,
            declared_length,
            tensors: u32::try_from(spans.len()).map_err(|_| HeaderError::TooManyTensors)?,
            dtype: dtype.map(|at| DTYPES[at].0),
            kind: signs.kind(),
            rank,
            metadata: metadata.unwrap_or_default(),
        })
    }
}

/// Puts the tensors in the order of their bytes and returns where the last one ends.
fn check_layout(spans: &mut [Span<'_>]) -> Result<u64, HeaderError> {
    spans.sort_by_key(|span| (span.begin, span.end));
    let mut reached = 0;
    for span in spans {
        if span.begin != reached || span.end < span.begin {
            return Err(HeaderError::Layout(tidy(&span.name)));
        }
        reached = span.end;
    }
    Ok(reached)
}

/// Where one tensor lies in the body.
struct Span<'a> {
    name: Cow<'a, str>,
    begin: u64,
    end: u64,
}

/// Everything that one pass over the header collects. A fault of the layout is kept aside, since `serde` would
/// turn it into mere text.
#[derive(Default)]
struct Entries<'a> {
    spans: Vec<Span<'a>>,
    metadata: Option<TrainerNotes>,
    dtype_bytes: [u64; DTYPES.len()],
    signs: Signs,
    rank: Option<u64>,
    fault: Option<HeaderError>,
}

impl<'a> Entries<'a> {
    fn add(&mut self, name: Cow<'a, str>, tensor: &Tensor<'_>) {
        let (begin, end) = tensor.data_offsets;
        if let Some(at) = DTYPES.iter().position(|(dtype, _)| *dtype == tensor.dtype) {
            if let Err(fault) = check_size(&name, tensor, DTYPES[at].1) {
                self.fault.get_or_insert(fault);
            }
            self.dtype_bytes[at] = self.dtype_bytes[at].saturating_add(end.saturating_sub(begin));
        }
        // An element type from after this version: its size is not known, the layout still is.
        self.signs.see(&name);
        if Signs::has_rank(&name) {
            self.rank = self.rank.max(tensor.shape.first);
        }
        self.spans.push(Span { name, begin, end });
    }
}

fn check_size(name: &str, tensor: &Tensor<'_>, bits_each: u64) -> Result<(), HeaderError> {
    let bits = tensor.shape.elements.and_then(|elements| elements.checked_mul(bits_each));
    let Some(bits) = bits else { return Err(HeaderError::Overflow(tidy(name))) };
    let (begin, end) = tensor.data_offsets;
    if end.checked_sub(begin).and_then(|length| length.checked_mul(8)) == Some(bits) {
        Ok(())
    } else {
        Err(HeaderError::Size(tidy(name)))
    }
}

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Entries::default();
        let mut metadata_seen = false;
        while let Some(Text(name)) = map.next_key()? {
            if name == "__metadata__" {
                if metadata_seen {
                    entries.fault.get_or_insert_with(|| HeaderError::Twice(tidy(&name)));
                }
                metadata_seen = true;
                entries.metadata = map.next_value()?;
            } else if entries.spans.len() == MAX_TENSORS {
                entries.fault = Some(HeaderError::TooManyTensors);
                map.next_value::<serde::de::IgnoredAny>()?;
            } else {
                let tensor = map.next_value()?;
                entries.add(name, &tensor);
            }
        }
        Ok(entries)
    }
}

/// Text that stays where it is in the header, unless it has escapes.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(serde::Deserialize)]
struct Tensor<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// A shape, without keeping its dimensions: a hostile one may have millions.
struct Shape {
    /// The product; `None` where it is past any number.
    elements: Option<u64>,
    first: Option<u64>,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut dimensions: A) -> Result<Self::Value, A::Error> {
        let mut shape = Shape { elements: Some(1), first: None };
        while let Some(dimension) = dimensions.next_element::<u64>()? {
            shape.elements = shape.elements.and_then(|elements| elements.checked_mul(dimension));
            shape.first = shape.first.or(Some(dimension));
        }
        Ok(shape)
    }
}

/// Cuts text of unknown origin to a length for people and drops its control characters.
fn tidy(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SafetensorsHeader, HeaderError> {
        SafetensorsHeader::parse(json.as_bytes())
    }

    #[test]
    fn what_the_trainer_noted() {
        let hash = "ab".repeat(32);
        let json = format!(
            r#"{{"__metadata__":{{"format":"pt","sshs_model_hash":"{hash}","format_of":"x",
            "training_info":"{{\"step\": 250, \"epoch\": 3}}","ss_base_model_version":"wan_2.2\u001b[1m_14b",
            "ss_tag_frequency":"{{\"1_trig\": {{\"rare\": 1, \"trig\": 9}}}}"}},
            "b.lora_B.weight":{{"dtype":"F32","shape":[2,1],"data_offsets":[64,72]}},
            "b.lora_A.weight":{{"dtype":"BF16","shape":[16,2],"data_offsets":[0,64]}}}}   "#
        );
        let header = parse(&json).unwrap();
        assert_eq!(header.body_start, 8 + json.len() as u64);
        assert_eq!(header.declared_length, header.body_start + 72);
        assert_eq!((header.tensors, header.dtype, header.rank), (2, Some("BF16"), Some(16)));
        assert_eq!(header.kind, Some(WeightsKind::Lora));
        let notes = header.metadata;
        assert_eq!(notes.sshs_model_hash, hash.parse().ok());
        assert_eq!(notes.training_step, Some(250));
        assert_eq!(notes.ss_base_model_version.as_deref(), Some("wan_2.2[1m_14b"));
        assert_eq!(notes.trigger_words, ["trig", "rare"]);
    }

    #[test]
    fn the_rank_of_a_factorised_lokr_is_that_of_its_factors() {
        let rank = |second: &str| {
            let header = parse(&format!(
                r#"{{"b.q.lokr_w1":{{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}},{second}}}"#
            ))
            .unwrap();
            (header.kind, header.rank)
        };
        assert_eq!(
            rank(
                r#""b.q.lokr_w2_a":{"dtype":"F32","shape":[6,4],"data_offsets":[16,112]},
                "b.q.lokr_w2_b":{"dtype":"F32","shape":[4,5],"data_offsets":[112,192]}"#
            ),
            (Some(WeightsKind::Lokr), Some(4))
        );
        let whole = r#""b.q.lokr_w2":{"dtype":"F32","shape":[6,4],"data_offsets":[16,112]}"#;
        assert_eq!(rank(whole), (Some(WeightsKind::Lokr), None), "a whole matrix has no rank of its own");
    }

    #[test]
    fn every_byte_belongs_to_exactly_one_tensor() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            parse(&format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#))
        };
        let t = || "t".to_owned();
        assert!(one("F4", "[2,3]", "[0,3]").is_ok());
        assert!(one("NF4X", "[2,3]", "[0,999]").is_ok(), "an element type of the future");
        assert!(one("F32", "[]", "[0,4]").is_ok(), "a scalar");
        assert_eq!(one("F4", "[3]", "[0,2]"), Err(HeaderError::Size(t())));
        assert_eq!(one("F32", "[2]", "[0,4]"), Err(HeaderError::Size(t())));
        assert_eq!(one("F32", "[1]", "[4,0]"), Err(HeaderError::Size(t())));
        assert_eq!(one("F32", "[1]", "[4,8]"), Err(HeaderError::Layout(t())));
        assert_eq!(one("U8", "[4294967296,4294967296]", "[0,0]"), Err(HeaderError::Overflow(t())));
        assert_eq!(one("XX", "[1]", "[0,18446744073709551615]"), Err(HeaderError::Overflow(t())));
        let tensor = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        assert_eq!(
            parse(&format!(r#"{{"t":{tensor},"u":{tensor}}}"#)),
            Err(HeaderError::Layout("u".to_owned()))
        );
        assert_eq!(parse(&format!(r#"{{"t":{tensor},"\u0074":{tensor}}}"#)), Err(HeaderError::Twice(t())));
    }

    #[test]
    fn text_that_is_no_header() {
        assert_eq!(parse(r#"{"__metadata__":null}"#).map(|header| header.tensors), Ok(0), "but this is one");
        assert_eq!(parse(" {}"), Err(HeaderError::NotAnObject));
        assert_eq!(parse(""), Err(HeaderError::NotAnObject));
        assert_eq!(SafetensorsHeader::parse(b"{\xff}"), Err(HeaderError::NotUtf8));
        for bad in [r#"{"__metadata__":{"a":1}}"#, r#"{"t":{}}"#, "{} x", r#"{"t":1}"#, &"[{".repeat(9)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let many: Vec<_> = (0..=MAX_TENSORS)
            .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        assert_eq!(parse(&format!("{{{}}}", many.join(","))), Err(HeaderError::TooManyTensors));
        assert_eq!(parse(&format!("{{{}}}", many[1..].join(","))).map(|header| header.tensors), Ok(100_000));
    }

    #[test]
    fn a_shape_of_a_million_dimensions_is_not_kept() {
        let shape = vec!["1"; 1_000_000].join(",");
        let json = format!(r#"{{"t":{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,1]}}}}"#);
        assert_eq!(parse(&json).map(|header| header.tensors), Ok(1));
    }
}
