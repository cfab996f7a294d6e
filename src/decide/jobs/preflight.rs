//! What a training configuration must have before it is worth a GPU: the rules that the API documents, checked here
//! because a job that fails at its first step has been waited for and paid.

use std::fmt;

use crate::decide::datasets::{DATASETS, dataset_name, is_safe_name};
use crate::model::names::sanitize::for_terminal;
use crate::model::training_config::{Dataset, Located, Misshapen, Process, Shape, TrainingConfig};
use crate::model::yaml11::{Meaning, RefusalKind};

/// Where the trainer writes, and nowhere else.
const TRAINING_FOLDER: &str = "/app/ai-toolkit/output";

/// One thing that the API would refuse, or that the trainer would fail at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The line it is about, counted from 1, where there is one.
    pub line: Option<u64>,
    /// What is wrong, and what it has to be.
    pub what: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Returns what is wrong with a configuration, in the order in which it is written.
#[must_use]
pub fn objections(config: &TrainingConfig) -> Vec<Objection> {
    let mut found = Vec::new();
    check_job(config, &mut found);
    check_name(config, &mut found);
    let is_misshapen = |key: &str| config.misshapen.iter().any(|misshapen| misshapen.key == key);
    if config.processes.is_empty() && !is_misshapen("config.process") && !is_misshapen("config") {
        object(&mut found, None, "`config.process` is missing: there is nothing to train");
    }
    for process in &config.processes {
        check_type(process, &mut found);
        check_training_folder(process, &mut found);
        for dataset in &process.datasets {
            check_dataset(dataset, &mut found);
        }
    }
    for misshapen in &config.misshapen {
        object(&mut found, Some(misshapen.line), shape(misshapen));
    }
    for (key, value) in &config.no_texts {
        let Located { text, line, meaning } = value;
        let what = format!(
            "`{key}` is `{text}`, which the trainer reads as {}; {}",
            meaning.word(),
            in_quotes(text)
        );
        object(&mut found, Some(*line), what);
    }
    for refusal in &config.refusals {
        // The name has an objection of its own.
        let is_name =
            |text: &str| config.name.as_ref().is_some_and(|it| it.line == refusal.line && it.text == text);
        if !matches!(&refusal.kind, RefusalKind::Scalar(text, _) if is_name(text)) {
            object(&mut found, Some(refusal.line), refused(&refusal.kind));
        }
    }
    found.sort_by_key(|objection| objection.line);
    found
}

/// Returns what is odd about a configuration and may be meant.
#[must_use]
pub fn warnings(config: &TrainingConfig) -> Vec<Objection> {
    let mut found = Vec::new();
    for path in config.processes.iter().flat_map(|process| &process.datasets).flat_map(all_paths) {
        let Some(name) = dataset_name(&path.text) else { continue };
        if is_uuid(name) {
            let what =
                format!("`{name}` looks like a dataset's id; the trainer finds datasets by their names");
            object(&mut found, Some(path.line), what);
        } else if !is_safe_name(name) && is_folder_name(name) {
            let what = format!("a dataset's name has letters, digits, `_` and `-`, and `{name}` has others");
            object(&mut found, Some(path.line), what);
        }
    }
    found.sort_by_key(|objection| objection.line);
    found.dedup();
    found
}

/// The jobs that AI Toolkit knows.
const JOBS: [&str; 5] = ["extension", "train", "extract", "generate", "mod"];

fn check_job(config: &TrainingConfig, found: &mut Vec<Objection>) {
    match &config.job {
        None => object(found, None, "`job` is missing; write `job: extension` at the top"),
        Some(job) if !JOBS.contains(&job.text.as_str()) => {
            let what = format!(
                "`job` is `{}`, which the trainer does not know; it is `extension` for a LoRA",
                job.text
            );
            object(found, Some(job.line), what);
        }
        Some(_) => {}
    }
}

fn check_name(config: &TrainingConfig, found: &mut Vec<Objection>) {
    let is_misshapen = config.misshapen.iter().any(|misshapen| misshapen.key.starts_with("config"));
    let Some(Located { text, line, meaning }) = &config.name else {
        if !is_misshapen {
            object(found, None, "`config.name` is missing: the job's files are named after it");
        }
        return;
    };
    let what = if text.trim().is_empty() {
        "`config.name` is empty".to_owned()
    } else if *meaning != Meaning::Text {
        let quoted = if text.contains('"') { "a word".to_owned() } else { format!("`name: \"{text}\"`") };
        format!(
            "`config.name` is `{text}`, which the trainer reads as {}; put it into quotes: {quoted}",
            meaning.word()
        )
    } else if !is_folder_name(text) {
        format!("`config.name` is `{text}`; it has to be a plain name: the trainer makes a folder of it")
    } else if config.repeats_name && text.contains('"') {
        format!(
            "`config.name` is `{text}`; a quotation mark in it breaks `[name]`, which the trainer replaces by it"
        )
    } else {
        return;
    };
    object(found, Some(*line), what);
}

fn check_type(process: &Process, found: &mut Vec<Objection>) {
    match &process.kind {
        None => object(found, Some(process.line), "`type` is missing here; write `type: sd_trainer`"),
        Some(kind) if kind.meaning != Meaning::Text || kind.text.is_empty() => {
            let what = format!("`type` is `{}`, which is no trainer; write `type: sd_trainer`", kind.text);
            object(found, Some(kind.line), what);
        }
        Some(_) => {}
    }
}

fn check_training_folder(process: &Process, found: &mut Vec<Objection>) {
    match &process.training_folder {
        Some(folder) if folder.text == TRAINING_FOLDER => {}
        Some(folder) => {
            let what = format!("`training_folder` is `{}`; it has to be `{TRAINING_FOLDER}`", folder.text);
            object(found, Some(folder.line), what);
        }
        None => {
            let what = format!("`training_folder` is missing here; it has to be `{TRAINING_FOLDER}`");
            object(found, Some(process.line), what);
        }
    }
}

fn check_dataset(dataset: &Dataset, found: &mut Vec<Objection>) {
    const WANTED: &str = "it has to be `/app/ai-toolkit/datasets/` and the dataset's name";
    if dataset.folders.is_empty() && dataset.dataset_path.is_none() {
        object(found, Some(dataset.line), format!("`folder_path` is missing here; {WANTED}"));
    }
    let folders = dataset.folders.iter().map(|path| ("folder_path", path));
    let path = dataset.dataset_path.iter().map(|path| ("dataset_path", path));
    let companions = dataset.companions.iter().map(|companion| (companion.key, &companion.folder));
    for (key, Located { text, line, .. }) in folders.chain(path).chain(companions) {
        // The documentation's own `{dataset_name}` is to be filled in.
        let is_name = |name: &str| is_folder_name(name) && !name.contains(['{', '}']);
        // A dataset may have folders of its own.
        let is_below = |path: &str| path.trim_end_matches('/').split('/').all(is_name);
        if !text.strip_prefix(DATASETS).is_some_and(is_below) {
            object(found, Some(*line), format!("`{key}` is `{text}`; {WANTED}"));
        }
    }
}

fn all_paths(dataset: &Dataset) -> impl Iterator<Item = &Located> {
    let companions = dataset.companions.iter().map(|companion| &companion.folder);
    dataset.folders.iter().chain(&dataset.dataset_path).chain(companions)
}

/// Says what has another shape than the trainer reads, and which one it has to have.
fn shape(misshapen: &Misshapen) -> String {
    let Misshapen { key, wanted, .. } = misshapen;
    match wanted {
        Shape::List => {
            format!("`{key}` is not a list; write `- ` before each of its entries, indented below the key")
        }
        Shape::Item => format!("this entry of `{key}` has no `key: value` in it; write them behind its `- `"),
        Shape::Mapping => format!("`{key}` has to hold `key: value` lines, indented below it"),
        Shape::Word => format!("`{key}` has to be one word, not a list or `key: value` lines"),
    }
}

/// Says what the trainer's reader ends at, and what to write instead.
fn refused(kind: &RefusalKind) -> String {
    match kind {
        RefusalKind::Variable(name) => format!(
            "`${{{}}}` is replaced by an environment variable that the trainer does not have, also in comments; write the value, or put a blank behind the `$`",
            name.lines().next().unwrap_or_default()
        ),
        RefusalKind::Tab => {
            "a tab where the trainer's reader takes only blanks; replace it by blanks".to_owned()
        }
        RefusalKind::LineBreak(c) => format!(
            "the character U+{:04X}, at which the trainer's reader begins a new line; remove it or put the text into quotes",
            u32::from(*c)
        ),
        RefusalKind::Scalar(text, meaning) => match meaning {
            Meaning::Date => {
                format!(
                    "`{text}` is a date to the trainer's reader, which cannot keep dates; {}",
                    in_quotes(text)
                )
            }
            _ => format!("`{text}` cannot be read by the trainer; {}", in_quotes(text)),
        },
        RefusalKind::Tag(tag) => {
            format!("the tag `{tag}` cannot be read by the trainer; remove it, or put the text into quotes")
        }
        RefusalKind::Key => {
            "a list or a mapping as a key, which the trainer cannot read; write a word".to_owned()
        }
        RefusalKind::Merge => "`<<` takes an alias of a mapping, such as `<<: *defaults`".to_owned(),
        RefusalKind::Anchor(name) => {
            format!("the anchor `&{name}` is there twice, which the trainer's reader refuses; rename one")
        }
        RefusalKind::AnchorName(name) => {
            format!("the anchor `&{name}` may only have letters from a to z, digits, `_` and `-`; rename it")
        }
    }
}

fn in_quotes(text: &str) -> String {
    if text.contains('"') {
        "put it into quotes".to_owned()
    } else {
        format!("put it into quotes: `\"{text}\"`")
    }
}

/// Whether this names one folder, and none above or below it.
fn is_folder_name(name: &str) -> bool {
    !matches!(name.trim(), "" | "." | "..") && !name.contains(['/', '\\']) && !name.contains(char::is_control)
}

/// Whether this has the form of a dataset's id: 8-4-4-4-12 hex digits.
fn is_uuid(name: &str) -> bool {
    let lengths = name.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The longest objection, in characters.
const LONGEST: usize = 2000;

fn object(found: &mut Vec<Objection>, line: Option<u64>, what: impl Into<String>) {
    // It may repeat what is in the file.
    found.push(Objection { line, what: for_terminal(&what.into(), LONGEST) });
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
job: extension
config:
  name: dog
  process:
    - type: sd_trainer
      training_folder: /app/ai-toolkit/output
      datasets:
        - folder_path: /app/ai-toolkit/datasets/dog
";

    fn objections_to(text: &str) -> Vec<String> {
        objections(&TrainingConfig::parse(text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_documentation_asks_for_is_enough() {
        assert_eq!(objections_to(GOOD), [""; 0]);
        let without_datasets = GOOD.split("      datasets").next().unwrap();
        assert_eq!(objections_to(without_datasets), [""; 0]);
    }

    #[test]
    fn what_the_trainers_reader_makes_of_a_name_is_refused_unless_it_is_quoted() {
        for (name, meaning) in [
            ("2024", "a number"),
            ("2024_01", "a number"),
            ("0x1F", "a number"),
            ("017", "a number"),
            ("12:30", "a number"),
            ("1e5", "a number"),
            (".inf", "a number"),
            (".NaN", "a number"),
            ("on", "a truth (true or false)"),
            ("NO", "a truth (true or false)"),
            ("2024-01-31", "a date"),
            ("=", "a sign of YAML's own"),
            ("0x_", "a number that is none"),
            ("!!int 7", "a number"),
            ("! 7", "a number"),
        ] {
            let bare = name.rsplit(' ').next().unwrap();
            let expected = format!(
                "line 3: `config.name` is `{bare}`, which the trainer reads as {meaning}; put it into quotes: `name: \"{bare}\"`"
            );
            assert_eq!(
                objections_to(&GOOD.replace("name: dog", &format!("name: {name}"))),
                [expected],
                "{name}"
            );
        }
        for name in [
            "\"2024\"",
            "'on'",
            "!!str 2024",
            "|-\n    2024",
            "y",
            "n",
            "0o17",
            "08",
            "1:60",
            "2024-01",
            "dog",
        ] {
            assert_eq!(
                objections_to(&GOOD.replace("name: dog", &format!("name: {name}"))),
                [""; 0],
                "{name}"
            );
        }
        for name in ["~", "null", ""] {
            let expected = ["`config.name` is missing: the job's files are named after it"];
            assert_eq!(
                objections_to(&GOOD.replace("name: dog", &format!("name: {name}"))),
                expected,
                "{name}"
            );
        }
        assert_eq!(objections_to(&GOOD.replace("name: dog", "name: 'a \"dog\"'")), [""; 0]);
        let repeated = GOOD.replace("name: dog", "name: 'a \"dog\"'") + "meta: {name: '[name]'}\n";
        assert!(
            objections_to(&repeated)[0].starts_with("line 3: `config.name` is `a \"dog\"`; a quotation mark")
        );
    }

    #[test]
    fn each_shape_that_the_trainer_cannot_read_is_reported_with_its_line() {
        const SECTION: &str = "has to hold `key: value` lines, indented below it";
        const LIST: &str = "is not a list; write `- ` before each of its entries, indented below the key";
        for (from, to, expected) in [
            ("job: extension\n", "", "`job` is missing; write `job: extension` at the top".to_owned()),
            ("job: extension", "job: extention", "line 1: `job` is `extention`, which the trainer does not know; it is `extension` for a LoRA".to_owned()),
            ("type: sd_trainer\n      training", "training", "line 5: `type` is missing here; write `type: sd_trainer`".to_owned()),
            ("type: sd_trainer", "type: on", "line 5: `type` is `on`, which is no trainer; write `type: sd_trainer`".to_owned()),
            ("    - type", "      type", format!("line 5: `config.process` {LIST}")),
            ("        - folder_path", "          folder_path", format!("line 8: `datasets` {LIST}")),
            ("        - folder_path", "        - dog\n        - folder_path", "line 8: this entry of `datasets` has no `key: value` in it; write them behind its `- `".to_owned()),
            ("    - type", "    -\n    - type", "line 5: this entry of `config.process` has no `key: value` in it; write them behind its `- `".to_owned()),
            ("name: dog", "name: [dog]", "line 3: `config.name` has to be one word, not a list or `key: value` lines".to_owned()),
            ("type: sd_trainer", "type: sd_trainer\n      network: 16", format!("line 6: `network` {SECTION}")),
            ("type: sd_trainer", "type: sd_trainer\n      save: [250]", format!("line 6: `save` {SECTION}")),
            ("type: sd_trainer", "type: sd_trainer\n      trigger_word: 2024", "line 6: `trigger_word` is `2024`, which the trainer reads as a number; put it into quotes: `\"2024\"`".to_owned()),
            ("/dog\n", "/dog\n          caption_ext: 1\n", "line 9: `caption_ext` is `1`, which the trainer reads as a number; put it into quotes: `\"1\"`".to_owned()),
            ("type: sd_trainer", "type: sd_trainer\n      sample: {prompts: [a dog, on]}", "line 6: `prompts` is `on`, which the trainer reads as a truth (true or false); put it into quotes: `\"on\"`".to_owned()),
        ] {
            assert_eq!(objections_to(&GOOD.replace(from, to)).first(), Some(&expected), "{to}");
        }
        assert_eq!(objections_to("job: extension\nconfig: dog\n"), [format!("line 2: `config` {SECTION}")]);
        let nothing = GOOD
            .replace("type: sd_trainer", "type: sd_trainer\n      save:\n      network: ~\n      datasets:");
        assert_eq!(objections_to(nothing.split("      datasets:\n        -").next().unwrap()), [""; 0]);
    }

    #[test]
    fn what_the_reader_ends_at_is_reported_with_its_line_and_a_way_out() {
        for (line, expected) in [
            ("x: \"a ${style} dog\"", "`${style}` is replaced by an environment variable"),
            ("# ${style}", "`${style}` is replaced by an environment variable"),
            (
                "x: 2024-01-31",
                "`2024-01-31` is a date to the trainer's reader, which cannot keep dates; put it into quotes: `\"2024-01-31\"`",
            ),
            ("x: !dog barks", "the tag `!dog` cannot be read by the trainer; remove it"),
            ("x: !!binary AP8=", "the tag `!!binary`"),
            ("x: !!set {a, b}", "the tag `!!set`"),
            ("x:\tdog", "a tab where the trainer's reader takes only blanks; replace it by blanks"),
            ("x: =", "`=` cannot be read by the trainer; put it into quotes: `\"=\"`"),
            ("? [x]", "a list or a mapping as a key"),
        ] {
            let all = objections_to(&format!("{GOOD}      {line}\n"));
            assert!(all.len() == 1 && all[0].starts_with(&format!("line 9: {expected}")), "{line}: {all:?}");
        }
    }

    #[test]
    fn other_folders_are_checked_like_the_first_and_odd_names_are_warned_about() {
        const FOLDER: &str = "it has to be `/app/ai-toolkit/datasets/` and the dataset's name";
        let with = |line: &str| GOOD.to_owned() + "          " + line + "\n";
        for key in crate::model::training_config::COMPANION_KEYS.into_iter().chain(["dataset_path"]) {
            let wrong = with(&format!("{key}: /home/me/masks"));
            assert_eq!(objections_to(&wrong), [format!("line 9: `{key}` is `/home/me/masks`; {FOLDER}")]);
            assert_eq!(objections_to(&with(&format!("{key}: /app/ai-toolkit/datasets/masks"))), [""; 0]);
        }
        assert_eq!(
            objections_to(&with("control_path: [/app/ai-toolkit/datasets/a, /b]")),
            [format!("line 9: `control_path` is `/b`; {FOLDER}")]
        );
        assert_eq!(objections_to(&with("control_path: ''")), [""; 0]);
        let by_json = GOOD.replace(
            "folder_path: /app/ai-toolkit/datasets/dog",
            "dataset_path: /app/ai-toolkit/datasets/dog/all.json",
        );
        assert_eq!(objections_to(&by_json), [""; 0]);

        let warned = |text: &str| -> Vec<String> {
            warnings(&TrainingConfig::parse(text).unwrap()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(warned(GOOD), [""; 0]);
        let named = |name: &str| GOOD.replace("datasets/dog", &format!("datasets/{name}"));
        assert_eq!(
            warned(&named("my dog")),
            ["line 8: a dataset's name has letters, digits, `_` and `-`, and `my dog` has others"]
        );
        assert_eq!(warned(&named("größe/sub")).len(), 1);
        assert_eq!(warned(&named("ds_1-A")), [""; 0]);
        assert_eq!(
            warned(&named("5b9b8e8e-1c1f-4c53-8c11-0123456789ab")),
            [
                "line 8: `5b9b8e8e-1c1f-4c53-8c11-0123456789ab` looks like a dataset's id; the trainer finds datasets by their names"
            ]
        );
        assert_eq!(warned(&with("mask_path: /app/ai-toolkit/datasets/my masks")).len(), 1);
    }

    #[test]
    fn each_rule_is_reported_with_its_line_and_its_right_value() {
        const FOLDER: &str = "it has to be `/app/ai-toolkit/datasets/` and the dataset's name";
        for (from, to, expected) in [
            ("  name: dog\n", "", "`config.name` is missing: the job's files are named after it".to_owned()),
            ("name: dog", "name: ' '", "line 3: `config.name` is empty".to_owned()),
            (
                "name: dog",
                "name: ../dog",
                "line 3: `config.name` is `../dog`; it has to be a plain name: the trainer makes a folder of it".to_owned(),
            ),
            (
                "datasets/dog",
                "datasets/{dataset_name}",
                format!("line 8: `folder_path` is `/app/ai-toolkit/datasets/{{dataset_name}}`; {FOLDER}"),
            ),
            (
                "datasets/dog",
                "datasets/../dog",
                format!("line 8: `folder_path` is `/app/ai-toolkit/datasets/../dog`; {FOLDER}"),
            ),
            (
                "/app/ai-toolkit/output",
                "/app/ai-toolkit/output2",
                "line 6: `training_folder` is `/app/ai-toolkit/output2`; it has to be `/app/ai-toolkit/output`".to_owned(),
            ),
            (
                "training_folder: /app/ai-toolkit/output",
                "device: cuda",
                "line 5: `training_folder` is missing here; it has to be `/app/ai-toolkit/output`".to_owned(),
            ),
            ("/app/ai-toolkit/datasets/dog", "/home/me/dog", format!("line 8: `folder_path` is `/home/me/dog`; {FOLDER}")),
            ("datasets/dog", "datasets/", format!("line 8: `folder_path` is `/app/ai-toolkit/datasets/`; {FOLDER}")),
            ("folder_path", "path", format!("line 8: `folder_path` is missing here; {FOLDER}")),
        ] {
            assert_eq!(objections_to(&GOOD.replace(from, to)), [expected], "{to}");
        }
        assert_eq!(
            objections_to("job: extension\n"),
            [
                "`config.name` is missing: the job's files are named after it",
                "`config.process` is missing: there is nothing to train"
            ]
        );
    }
}
