//! A training configuration, as far as rcsync reads it: which job it names, and where it says that files are.
//!
//! Everything else in it is the trainer's business and goes to the API as the user wrote it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Options, Spanned, budget, options};

use crate::model::names::sanitize::for_terminal;

use super::yaml11::{Meaning, Reading, Refusal};

/// What is read of a training configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingConfig {
    /// `job`: what kind of job it is.
    pub job: Option<Located>,
    /// `config.name`, where there is one.
    pub name: Option<Located>,
    /// What is in `config.process`.
    pub processes: Vec<Process>,
    /// Whether `[name]`, which the trainer replaces by the name, is anywhere in it.
    pub repeats_name: bool,
    /// What AI Toolkit's reader ends at.
    pub refusals: Vec<Refusal>,
    /// What is of another shape than AI Toolkit reads.
    pub misshapen: Vec<Misshapen>,
    /// Values that the trainer takes for text and the reader for something else.
    pub no_texts: Vec<(&'static str, Located)>,
}

/// A value and its line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The value, as it is written.
    pub text: String,
    pub line: u64,
    /// What it means to AI Toolkit's reader.
    pub meaning: Meaning,
}

/// Something of another shape than AI Toolkit reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshapen {
    pub line: u64,
    /// The key, as it is written in the configuration.
    pub key: &'static str,
    /// What it has to be.
    pub wanted: Shape,
}

/// A shape of YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `- …`
    List,
    /// An item of a list: `- key: value`
    Item,
    /// `key: value`
    Mapping,
    Word,
}

/// One of `config.process`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The line it begins in.
    pub line: u64,
    /// `type`, where there is one.
    pub kind: Option<Located>,
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
    pub folder: Located,
}

/// The keys of a dataset under which AI Toolkit looks for files of the same stem.
pub(crate) const COMPANION_KEYS: [&str; 8] = [
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
        let config = root.value.get("config");
        let mut read = Read { reading: Reading::of(text), misshapen: Vec::new(), no_texts: Vec::new() };
        let name = config.and_then(|config| config.value.get("name"));
        read.shape(config, "config", Shape::Mapping);
        read.shape(name, "config.name", Shape::Word);
        let listed = config.and_then(|config| config.value.get("process"));
        read.shape(listed, "config.process", Shape::List);
        let processes = listed.map(items).unwrap_or_default();
        Ok(Self {
            job: root.value.get("job").and_then(|job| read.located(job)),
            name: name.and_then(|name| read.located(name)),
            processes: processes.into_iter().filter_map(|node| read.process(node)).collect(),
            repeats_name: text.contains("[name]"),
            refusals: read.reading.refusals,
            misshapen: read.misshapen,
            no_texts: read.no_texts,
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
    // The position is put in front, in the same form for every error.
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    NotYaml { at, why: for_terminal(said, 300) }
}

/// The sections of a process that AI Toolkit reads as mappings.
const SECTIONS: [&str; 11] = [
    "network",
    "train",
    "model",
    "save",
    "sample",
    "first_sample",
    "logging",
    "guidance",
    "embedding",
    "decorator",
    "adapter",
];

/// A configuration that is being read.
struct Read {
    reading: Reading,
    misshapen: Vec<Misshapen>,
    no_texts: Vec<(&'static str, Located)>,
}

impl Read {
    fn located(&self, node: &Spanned<Node>) -> Option<Located> {
        let Node::Scalar(text) = &node.value else { return None };
        let written = self.reading.at(node.defined.line(), node.defined.column());
        let (text, meaning) = written.unwrap_or((text, Meaning::Text));
        Some(Located { text: text.to_owned(), line: node.referenced.line(), meaning })
    }

    /// Notes what is not as it has to be; what is missing, or nothing, is another matter.
    fn shape(&mut self, node: Option<&Spanned<Node>>, key: &'static str, wanted: Shape) {
        let Some(node) = node else { return };
        let is_right = match (&node.value, wanted) {
            (Node::Null, wanted) => wanted != Shape::Item,
            (Node::Map(_), wanted) => matches!(wanted, Shape::Mapping | Shape::Item),
            (Node::List(_), wanted) => wanted == Shape::List,
            (Node::Scalar(_), wanted) => wanted == Shape::Word,
        };
        if !is_right {
            self.misshapen.push(Misshapen { line: node.referenced.line(), key, wanted });
        }
    }

    /// Returns a value that the trainer takes for text, and notes where it is none.
    fn text(&mut self, of: &Node, key: &'static str) -> Option<Located> {
        let located = self.located(of.get(key)?)?;
        if !matches!(located.meaning, Meaning::Text | Meaning::Null) {
            self.no_texts.push((key, located.clone()));
        }
        Some(located)
    }

    fn all(&self, of: &Node, key: &str) -> Vec<Located> {
        let nodes = of.get(key).map(items).unwrap_or_default();
        nodes.into_iter().filter_map(|node| self.located(node)).collect()
    }

    fn number(&self, of: &Node, key: &str) -> Option<u64> {
        of.get(key).and_then(|node| self.located(node)).and_then(|located| number(&located))
    }

    /// Returns a process; `None` where something else is there.
    fn process(&mut self, node: &Spanned<Node>) -> Option<Process> {
        self.shape(Some(node), "config.process", Shape::Item);
        if !matches!(node.value, Node::Map(_)) {
            return None;
        }
        let of = &node.value;
        for key in SECTIONS {
            self.shape(of.get(key), key, Shape::Mapping);
        }
        self.shape(of.get("datasets"), "datasets", Shape::List);
        if let Some(model) = of.get("model") {
            self.text(&model.value, "name_or_path");
        }
        if let Some(sample) = of.get("sample") {
            self.sample(&sample.value);
        }
        let kind = of.get("type").and_then(|kind| self.located(kind));
        self.shape(of.get("type"), "type", Shape::Word);
        let trigger_word = self.text(of, "trigger_word");
        let training_folder = of.get("training_folder").and_then(|folder| self.located(folder));
        let datasets = of.get("datasets").map(items).unwrap_or_default();
        Some(Process {
            line: node.referenced.line(),
            kind,
            training_folder,
            trigger_word,
            datasets: datasets.into_iter().filter_map(|dataset| self.dataset(dataset)).collect(),
            saving: of.get("save").map(|save| self.saving(&save.value)).unwrap_or_default(),
        })
    }

    fn sample(&mut self, sample: &Node) {
        self.text(sample, "neg");
        self.shape(sample.get("prompts"), "prompts", Shape::List);
        let is_no_text = |prompt: &Located| !matches!(prompt.meaning, Meaning::Text);
        let prompts = self.all(sample, "prompts").into_iter().filter(is_no_text);
        self.no_texts.extend(prompts.map(|prompt| ("prompts", prompt)));
    }

    fn saving(&self, save: &Node) -> Saving {
        Saving {
            save_every: self.number(save, "save_every"),
            keep: self.number(save, "max_step_saves_to_keep"),
        }
    }

    /// Returns a dataset; `None` where something else is there.
    fn dataset(&mut self, node: &Spanned<Node>) -> Option<Dataset> {
        self.shape(Some(node), "datasets", Shape::Item);
        if !matches!(node.value, Node::Map(_)) {
            return None;
        }
        let of = &node.value;
        let mut companions = Vec::new();
        for key in COMPANION_KEYS {
            let folders = self.all(of, key).into_iter().filter(|folder| !folder.text.is_empty());
            companions.extend(folders.map(|folder| CompanionPath { key, folder }));
        }
        let old_ext = self.text(of, "caption_type").filter(|ext| !ext.text.is_empty());
        let caption_ext = self.text(of, "caption_ext");
        let is_on = |it: &Located| matches!(it.text.to_ascii_lowercase().as_str(), "true" | "yes" | "on");
        Some(Dataset {
            line: node.referenced.line(),
            folders: self.all(of, "folder_path"),
            dataset_path: of.get("dataset_path").and_then(|path| self.located(path)),
            companions,
            caption_ext: old_ext.or(caption_ext),
            default_caption: self.text(of, "default_caption"),
            trigger_word: self.text(of, "trigger_word"),
            num_frames: self.number(of, "num_frames"),
            auto_frame_count: of
                .get("auto_frame_count")
                .and_then(|it| self.located(it))
                .is_some_and(|it| is_on(&it)),
            resolutions: self.all(of, "resolution").iter().filter_map(number).collect(),
        })
    }
}

/// Returns a whole number, as YAML 1.1 writes them.
fn number(located: &Located) -> Option<u64> {
    located.text.replace('_', "").parse().ok()
}

/// Returns the items of a list; a single value where a list could be is one item: the documentation writes
/// `datasets:` both ways.
fn items(node: &Spanned<Node>) -> Vec<&Spanned<Node>> {
    match &node.value {
        Node::List(items) => items.iter().collect(),
        Node::Null => Vec::new(),
        Node::Map(_) | Node::Scalar(_) => vec![node],
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
    /// Returns the value of a key; the last one where the key is repeated, as the trainer reads it.
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
        Located { text: text.to_owned(), line, meaning: Meaning::Text }
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
        assert_eq!(
            (bare.name, bare.processes.len()),
            (Some(Located { meaning: Meaning::Integer, ..located("7", 2) }), 0)
        );
        assert_eq!(TrainingConfig::parse("job: x\r\nconfig:\r\n  name: [a]\r\n").unwrap().name, None);
    }

    #[test]
    fn what_is_no_yaml_is_reported_with_its_place() {
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
