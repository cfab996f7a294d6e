//! What the trainer noted about itself in a header's `__metadata__`. Notes that make no sense are left out: they are
//! no fault of the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::model::digest::Sha256Digest;

use super::{Text, tidy};

/// How many trigger words are kept.
const MAX_TRIGGER_WORDS: usize = 16;

/// Longer JSON inside a metadata value is not looked into: the trainer's own has some 50 bytes, and the tag
/// statistics of other tools are no trigger words.
const MAX_NESTED_JSON: usize = 256 * 1024;

/// What the trainer noted in `__metadata__`, as far as it is of use here. Text is bounded and has no control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrainerNotes {
    /// SHA-256 of everything behind the header. In a Wan 2.2 half it is that of both halves together.
    pub sshs_model_hash: Option<Sha256Digest>,
    /// `step` of `training_info`, or of an embedding: the step of these weights, also in a final file without a number
    /// in its name.
    pub training_step: Option<u64>,
    /// Which family of models this belongs to, such as `wan_2.2_14b`.
    pub ss_base_model_version: Option<String>,
    /// The word of an embedding: AI Toolkit writes its `name` as a JSON string, and that of other files as it is.
    pub embedding_word: Option<String>,
    /// The tags of `ss_tag_frequency`, most frequent first.
    pub trigger_words: Vec<String>,
}

impl<'de> Deserialize<'de> for TrainerNotes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NotesVisitor)
    }
}

struct NotesVisitor;

impl<'de> Visitor<'de> for NotesVisitor {
    type Value = TrainerNotes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut notes = TrainerNotes::default();
        let mut embedding_step = None;
        while let Some((Text(key), Text(value))) = map.next_entry()? {
            match &*key {
                "sshs_model_hash" => notes.sshs_model_hash = value.trim().parse().ok(),
                "training_info" => notes.training_step = training_step(&value),
                "ss_base_model_version" => notes.ss_base_model_version = Some(tidy(&value)),
                "step" => embedding_step = value.trim().parse().ok(),
                "name" => notes.embedding_word = embedding_word(&value),
                "ss_tag_frequency" => notes.trigger_words = trigger_words(&value),
                _ => {}
            }
        }
        notes.training_step = notes.training_step.or(embedding_step);
        Ok(notes)
    }
}

fn embedding_word(json: &str) -> Option<String> {
    if json.len() > MAX_NESTED_JSON || !json.starts_with('"') {
        return None;
    }
    let word = tidy(serde_json::from_str::<String>(json).ok()?.trim());
    Some(word).filter(|word| !word.is_empty())
}

fn training_step(json: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct TrainingInfo {
        step: u64,
    }
    if json.len() > MAX_NESTED_JSON {
        return None;
    }
    serde_json::from_str::<TrainingInfo>(json).ok().map(|info| info.step)
}

/// Reads `{"<folder>": {"<tag>": <count>, …}, …}`.
fn trigger_words(json: &str) -> Vec<String> {
    if json.len() > MAX_NESTED_JSON {
        return Vec::new();
    }
    let folders: BTreeMap<Text<'_>, BTreeMap<Text<'_>, u64>> = serde_json::from_str(json).unwrap_or_default();
    let mut counts = BTreeMap::<String, u64>::new();
    for (Text(tag), count) in folders.into_values().flatten() {
        let sum = counts.entry(tidy(tag.trim())).or_default();
        *sum = sum.saturating_add(count);
    }
    counts.remove("");
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    words.into_iter().take(MAX_TRIGGER_WORDS).map(|(word, _)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(json: &str) -> TrainerNotes {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn notes_that_make_no_sense_are_no_fault() {
        let json = r#"{"sshs_model_hash":"?","training_info":"[","ss_tag_frequency":"{\"a\":1}","other":""}"#;
        assert_eq!(notes(json), TrainerNotes::default());
        assert!(
            serde_json::from_str::<TrainerNotes>(r#"{"other":1}"#).is_err(),
            "the format has only strings"
        );
    }

    #[test]
    fn an_embedding_has_its_word_and_step_as_json() {
        let embedding = notes(r#"{"name":"\"ohwx\"","step":"250","string_to_param":"{}"}"#);
        assert_eq!((embedding.embedding_word.as_deref(), embedding.training_step), (Some("ohwx"), Some(250)));
        let lora = notes(r#"{"name":"my_lora","step":"7","training_info":"{\"step\":500}"}"#);
        assert_eq!((lora.embedding_word, lora.training_step), (None, Some(500)));
    }

    #[test]
    fn text_and_words_are_bounded() {
        let tags: Vec<_> = (0..100).map(|at| format!(r#"\"word {at}\":{at}"#)).collect();
        let long = "x".repeat(5000);
        let json = format!(
            r#"{{"ss_base_model_version":"{long}","ss_tag_frequency":"{{\"a\":{{{}}}}}"}}"#,
            tags.join(",")
        );
        let notes = notes(&json);
        assert_eq!(notes.ss_base_model_version.map(|name| name.len()), Some(200));
        assert_eq!(notes.trigger_words.len(), MAX_TRIGGER_WORDS);
        assert_eq!(notes.trigger_words[0], "word 99");
    }
}
