//! A training configuration, as far as rcsync reads it: which job it names, and where it says that files are.
//!
//! Everything else in it is the trainer's business and goes to the API as the user wrote it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Options, Spanned, budget, options};

use crate::model::names::sanitize::for_terminal;

/// What is read of a training configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingConfig {
    /// `config.name`, where there is one.
    pub name: Option<Located>,
    /// What is in `config.process`.
    pub processes: Vec<Process>,
}

/// A value and the line that it stands in, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The value, as text.
    pub text: String,
    /// Its line.
    pub line: u64,
}

/// One of `config.process`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The line it begins in.
    pub line: u64,
    /// `training_folder`, where there is one.
    pub training_folder: Option<Located>,
    /// `trigger_word`, which holds for all datasets without one of their own.
    pub trigger_word: Option<Located>,
    /// What is in `datasets`.
    pub datasets: Vec<Dataset>,
    /// What is in `save`.
    pub saving: Saving,
}

/// How a training saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saving {
    /// `save.save_every`: steps between two saves.
    pub save_every: Option<u64>,
    /// `save.max_step_saves_to_keep`: how many of them the trainer keeps.
    pub keep: Option<u64>,
}

/// One of `datasets`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dataset {
    /// The line it begins in.
    pub line: u64,
    /// `folder_path`: usually one, none where it is missing.
    pub folders: Vec<Located>,
    /// `dataset_path`, which is read instead of `folder_path` where it is there.
    pub dataset_path: Option<Located>,
    /// The folders whose files are matched to those of `folder_path` by their stems.
    pub companions: Vec<CompanionPath>,
    /// `caption_ext`, or `caption_type`, its old name, which is stronger.
    pub caption_ext: Option<Located>,
    /// `default_caption`.
    pub default_caption: Option<Located>,
    /// `trigger_word` of this dataset alone.
    pub trigger_word: Option<Located>,
    /// `num_frames`.
    pub num_frames: Option<u64>,
    /// `auto_frame_count`: clips are looked for although `num_frames` is 1.
    pub auto_frame_count: bool,
    /// `resolution`: one or several.
    pub resolutions: Vec<u64>,
}

impl Dataset {
    /// Whether AI Toolkit looks for clips in this dataset.
    #[must_use]
    pub fn takes_clips(&self) -> bool {
        self.auto_frame_count || self.num_frames.is_some_and(|frames| frames > 1)
    }
}

/// A folder of control images, masks or the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompanionPath {
    /// The key: one of [`COMPANION_KEYS`].
    pub key: &'static str,
    /// The folder.
    pub folder: Located,
}

/// The keys of a dataset under which AI Toolkit looks for files of the same stem.
pub const COMPANION_KEYS: [&str; 8] = [
    "control_path",
    "control_path_1",
    "control_path_2",
    "control_path_3",
    "mask_path",
    "inpaint_path",
    "unconditional_path",
    "clip_image_path",
];

/// The text is no YAML mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", place(*.at))]
pub struct NotYaml {
    /// Line and column, counted from 1, where they are known.
    pub at: Option<(u64, u64)>,
    /// What is wrong there.
    pub why: String,
}

fn place(at: Option<(u64, u64)>) -> String {
    at.map_or_else(String::new, |(line, column)| format!("line {line}, column {column}: "))
}

impl TrainingConfig {
    /// Reads a configuration, within bounds.
    ///
    /// # Errors
    /// When it is no YAML, or no mapping.
    pub fn parse(text: &str) -> Result<Self, NotYaml> {
        let root: Spanned<Node> =
            serde_saphyr::from_str_with_options(text, reading()).map_err(|error| not_yaml(&error))?;
        if !matches!(root.value, Node::Map(_)) {
            let at = Some((root.referenced.line().max(1), root.referenced.column().max(1)));
            return Err(NotYaml { at, why: "it is not a mapping (`job: …`, `config: …`)".to_owned() });
        }
        let config = root.value.get("config").map(|config| &config.value);
        Ok(Self {
            name: config.and_then(|config| config.get("name")).and_then(located),
            processes: config
                .and_then(|config| config.get("process"))
                .map(|processes| items(processes).into_iter().map(process).collect())
                .unwrap_or_default(),
        })
    }
}

impl TrainingConfig {
    /// Returns how the training saves; that of its first process that says so.
    #[must_use]
    pub fn saving(&self) -> Option<Saving> {
        self.processes.iter().map(|process| process.saving).find(|saving| saving.save_every.is_some())
    }
}

/// How a configuration is read, one that is sent and one that was mirrored.
pub(crate) fn reading() -> Options {
    options! {
        // Far more than any real one has, and an end to those made to hurt.
        budget: budget! { max_events: 500_000, max_depth: 64, max_documents: 1, max_aliases: 10_000, max_anchors: 10_000 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // What a value means is the trainer's business.
        ignore_binary_tag_for_string: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        // The text may hold secrets, and the message goes to the log.
        with_snippet: false,
    }
}

fn not_yaml(error: &serde_saphyr::Error) -> NotYaml {
    let error = error.without_snippet();
    let at = error.location().map(|place| (place.line(), place.column()));
    let said = match error.to_string() {
        said if said.contains("budget breached: Documents") => "a second document begins here".to_owned(),
        said if said.contains("budget breached") => {
            "it is larger, deeper or more tangled than any training configuration".to_owned()
        }
        said => said,
    };
    // The place is told in front, in the same words for every error.
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    NotYaml { at, why: for_terminal(said, 300) }
}

fn process(node: &Spanned<Node>) -> Process {
    let datasets = node.value.get("datasets").map(items).unwrap_or_default();
    Process {
        line: node.referenced.line(),
        training_folder: node.value.get("training_folder").and_then(located),
        trigger_word: node.value.get("trigger_word").and_then(located),
        datasets: datasets
            .into_iter()
            .filter(|dataset| !matches!(dataset.value, Node::Null))
            .map(dataset)
            .collect(),
        saving: node.value.get("save").map(|save| saving(&save.value)).unwrap_or_default(),
    }
}

fn saving(save: &Node) -> Saving {
    let number = |key| save.get(key).and_then(located).and_then(|located| located.text.parse().ok());
    Saving { save_every: number("save_every"), keep: number("max_step_saves_to_keep") }
}

fn dataset(node: &Spanned<Node>) -> Dataset {
    let all = |key: &str| -> Vec<Located> {
        let nodes = node.value.get(key).map(items).unwrap_or_default();
        nodes.into_iter().filter_map(located).filter(|located| !located.text.is_empty()).collect()
    };
    let text = |key: &str| node.value.get(key).and_then(located);
    let number = |key: &str| text(key).and_then(|located| located.text.parse().ok());
    let of_key = |key: &'static str| all(key).into_iter().map(move |folder| CompanionPath { key, folder });
    Dataset {
        line: node.referenced.line(),
        folders: node
            .value
            .get("folder_path")
            .map(items)
            .unwrap_or_default()
            .into_iter()
            .filter_map(located)
            .collect(),
        dataset_path: text("dataset_path"),
        companions: COMPANION_KEYS.into_iter().flat_map(of_key).collect(),
        caption_ext: text("caption_type").filter(|ext| !ext.text.is_empty()).or_else(|| text("caption_ext")),
        default_caption: text("default_caption"),
        trigger_word: text("trigger_word"),
        num_frames: number("num_frames"),
        auto_frame_count: text("auto_frame_count").is_some_and(|it| it.text == "true"),
        resolutions: all("resolution").iter().filter_map(|it| it.text.parse().ok()).collect(),
    }
}

/// Returns the items of a list; what stands alone where a list could be is one item: the documentation writes
/// `datasets:` both ways.
fn items(node: &Spanned<Node>) -> Vec<&Spanned<Node>> {
    match &node.value {
        Node::List(items) => items.iter().collect(),
        Node::Null => Vec::new(),
        Node::Map(_) | Node::Scalar(_) => vec![node],
    }
}

fn located(node: &Spanned<Node>) -> Option<Located> {
    match &node.value {
        Node::Scalar(text) => Some(Located { text: text.clone(), line: node.referenced.line() }),
        Node::Map(_) | Node::List(_) | Node::Null => None,
    }
}

/// Any YAML, with every scalar as text.
#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
    List(Vec<Spanned<Self>>),
    Scalar(String),
    Null,
}

impl Node {
    /// Returns the value of a key; the last one where it stands there twice, as the trainer reads it.
    fn get(&self, key: &str) -> Option<&Spanned<Self>> {
        let Self::Map(pairs) = self else { return None };
        let is_it = |name: &Spanned<Self>| matches!(&name.value, Self::Scalar(name) if name == key);
        pairs.iter().rev().find(|(name, _)| is_it(name)).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Node, E> {
        Ok(Node::Scalar(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
job: extension
config:
  name: \"my_lora_v1\"
  process:
    - &id001
      type: 'sd_trainer'
      training_folder: \"/app/ai-toolkit/output\"
      datasets:
        - folder_path: /app/ai-toolkit/datasets/dog
          caption_ext: txt
        - folder_path: \"/app/ai-toolkit/datasets/größe\"
      prompts: [\"a: b # {c}\", 'it''s']
      lr: 1e-4
      cap: .inf
      raw: !!binary AP8=
      pair: !!python/tuple [1, 2]
      12: odd
      ~: null
      ? [a, b]
      : complex
    - *id001
meta:
  name: '[name]'
  version: '1.0'
";

    fn located(text: &str, line: u64) -> Located {
        Located { text: text.to_owned(), line }
    }

    #[test]
    fn what_is_read_has_its_line() {
        let config = TrainingConfig::parse(CONFIG).unwrap();
        assert_eq!(config.name, Some(located("my_lora_v1", 3)));
        assert_eq!(config.processes.len(), 2);
        let process = &config.processes[0];
        assert_eq!(process.training_folder, Some(located("/app/ai-toolkit/output", 7)));
        let folders: Vec<&Located> = process.datasets.iter().flat_map(|dataset| &dataset.folders).collect();
        assert_eq!(
            folders,
            [&located("/app/ai-toolkit/datasets/dog", 9), &located("/app/ai-toolkit/datasets/größe", 11)]
        );
    }

    #[test]
    fn the_documented_snippet_is_understood() {
        let text = "config:\n  name: x\n  process:\n    - save:\n      datasets:\n        folder_path: /d/a\n      training_folder: /o\n";
        let config = TrainingConfig::parse(text).unwrap();
        assert_eq!(
            config.processes[0].datasets,
            [Dataset { line: 6, folders: vec![located("/d/a", 6)], ..Dataset::default() }]
        );
        let bare = TrainingConfig::parse("config:\n  name: 7\n").unwrap();
        assert_eq!((bare.name, bare.processes.len()), (Some(located("7", 2)), 0));
        assert_eq!(TrainingConfig::parse("job: x\r\nconfig:\r\n  name: [a]\r\n").unwrap().name, None);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        for (text, at) in [
            ("a: [1\n", Some(1)),
            ("job: x\nconfig:\n  name: \"y\n", Some(3)),
            ("job: x\n\tconfig: y\n", Some(1)),
            ("job: x\n  name: y\n", Some(2)),
            ("- a\n", Some(1)),
            ("text\n", Some(1)),
            ("a: 1\n---\nb: 2\n", Some(2)),
            ("a: *nowhere\n", Some(1)),
        ] {
            let error = TrainingConfig::parse(text).unwrap_err();
            assert_eq!(error.at.map(|(line, _)| line), at, "{text:?}: {error}");
            assert!(error.to_string().starts_with("line ") && !error.why.contains('\n'), "{error}");
        }
        assert!(TrainingConfig::parse("").is_err());
    }

    #[test]
    fn bombs_end_early() {
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(","));
        }
        assert!(TrainingConfig::parse(&laughs).is_err());
        assert!(TrainingConfig::parse(&format!("a: {}\n", "[".repeat(1 << 18))).is_err());
    }
}
