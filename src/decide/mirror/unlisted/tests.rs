use std::sync::Arc;

use crate::decide::mirror::plan::FetchReason;
use crate::model::artifact::Artifact;
use crate::model::evidence::Evidence;
use crate::model::manifest::examples::{entry, key, manifest};
use crate::model::manifest::{Entry, Older};
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

use super::*;

use ArtifactKind::{Checkpoint, Config, Sample};

const JOB: &str = "dog";

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest::new([byte; 32])
}

fn memory(text: &str, step: Option<u64>, byte: u8) -> Recollection {
    Recollection {
        path: path(text),
        step,
        size: 7,
        sha256: digest(byte),
        evidence: Evidence::TrainerHash,
        revision: Revision::default(),
        run: "run".to_owned(),
    }
}

fn action(kind: ArtifactKind, text: &str, step: Step) -> Action {
    let url = SourceUrl::parse(&format!("https://h/output/dog/{text}")).unwrap();
    let artifact = Artifact { key: key(kind, text), path: path(text), step: None, url, sample: None };
    Action { artifact: Arc::new(artifact), step }
}

/// A folder, and what is known of it.
struct Folder {
    actions: Vec<Action>,
    manifest: Manifest,
    recollections: HashMap<ArtifactKey, Recollection>,
    lines: BTreeMap<RelPath, Sha256Digest>,
    rows: HashMap<RelPath, (ArtifactKey, Option<u64>)>,
    is_ours: bool,
}

impl Default for Folder {
    fn default() -> Self {
        let final_save = Step::Fetch(FetchReason::New);
        Self {
            actions: vec![action(Checkpoint, "dog.safetensors", final_save)],
            manifest: manifest(&[]),
            recollections: HashMap::new(),
            lines: BTreeMap::new(),
            rows: HashMap::new(),
            is_ours: true,
        }
    }
}

impl Folder {
    fn situation(&self) -> Situation<'_> {
        Situation {
            job_name: Some(JOB),
            actions: &self.actions,
            manifest: &self.manifest,
            recollections: &self.recollections,
            lines: &self.lines,
            lines_are_ours: self.is_ours,
            rows: &self.rows,
        }
    }

    fn remembers(mut self, kind: ArtifactKind, text: &str, byte: u8) -> Self {
        self.recollections.insert(key(kind, text), memory(text, Some(250), byte));
        self
    }

    fn lists(mut self, text: &str, byte: u8) -> Self {
        self.lines.insert(path(text), digest(byte));
        self
    }

    fn candidates(&self) -> Vec<(String, Role)> {
        let named = |candidate: Candidate| (candidate.path.to_string(), candidate.role);
        candidates(&self.situation()).into_iter().map(named).collect()
    }
}

fn save(text: &str, step: Option<u64>) -> (String, Role) {
    (text.to_owned(), Role::Entry { key: key(Checkpoint, text), step })
}

#[test]
fn a_row_of_job_json_makes_a_candidate_unless_the_file_is_handled_or_known() {
    let old = "dog_000000250.safetensors";
    let folder = || Folder::default().remembers(Checkpoint, old, 1);
    assert_eq!(folder().candidates(), [save(old, Some(250))]);
    // The plan handles it.
    for step in [Step::Keep, Step::Fetch(FetchReason::Unproven), Step::Skip(SkipReason::Pruned)] {
        let mut listed = folder();
        listed.actions.push(action(Checkpoint, old, step));
        assert_eq!(listed.candidates(), []);
    }
    // It is listed, and the user chose other files.
    let mut unchosen = folder();
    unchosen.actions.push(action(Checkpoint, old, Step::Skip(SkipReason::Unwanted)));
    assert_eq!(unchosen.candidates(), [save(old, Some(250))]);
    // The manifest has it, or another file of its name.
    let known = Folder { manifest: manifest(&[(Checkpoint, old, Some(250))]), ..folder() };
    assert_eq!(known.candidates(), []);
    let upper = "DOG_000000250.safetensors";
    let known = Folder { manifest: manifest(&[(Checkpoint, upper, Some(250))]), ..folder() };
    assert_eq!(known.candidates(), [], "one file on a disk that ignores case");
}

#[test]
fn a_line_makes_a_candidate_where_its_name_is_one_that_the_trainer_gives() {
    let foreign = |text: &str| (text.to_owned(), Role::Foreign);
    let entry = |kind, text: &str, step| (text.to_owned(), Role::Entry { key: key(kind, text), step });
    for expected in [
        save("dog_000000250.safetensors", Some(250)),
        save("dog_000000250_high_noise.safetensors", Some(250)),
        save("dog_LoRA_000000250.safetensors", Some(250)),
        save("dog_000000250/transformer/model.safetensors", Some(250)),
        save("optimizer.pt", None),
        entry(Config, "config.yaml", None),
        entry(Sample, "samples/1724085406830__000000250_0.jpg", Some(250)),
        foreign("notes.txt"),
        foreign("cat_000000250.safetensors"),
        foreign("dog_big_000000250.safetensors"),
        foreign("doggy.safetensors"),
        foreign("mine/dog_000000250.safetensors"),
    ] {
        assert_eq!(Folder::default().lists(&expected.0, 1).candidates(), [expected]);
    }
    // What a row has of the name counts more.
    let odd = "trigger_word.safetensors";
    let mut folder = Folder::default().lists(odd, 1);
    assert_eq!(folder.candidates(), [foreign(odd)]);
    folder.rows.insert(path(odd), (key(Checkpoint, odd), Some(9)));
    assert_eq!(folder.candidates(), [save(odd, Some(9))]);
    // Beside another job's `job.json`, lines may be that job's.
    let theirs = Folder { is_ours: false, ..Folder::default().lists("dog_000000250.safetensors", 1) };
    assert_eq!(theirs.candidates(), [foreign("dog_000000250.safetensors")]);
    // Names that the plan handles are compared with the hosted file.
    assert_eq!(Folder::default().lists("dog.safetensors", 1).candidates(), []);
}

#[test]
fn keys_are_those_that_the_host_would_give() {
    let mut folder = Folder::default().lists("samples/a b.jpg", 1);
    let root_of = |folder: &Folder| match &folder.candidates()[0].1 {
        Role::Entry { key, .. } => key.path.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(root_of(&folder), "/output/dog/samples/a%20b.jpg");
    folder.actions.clear();
    assert_eq!(root_of(&folder), "/samples/a%20b.jpg", "nothing is listed");
}

#[test]
fn an_older_version_belongs_to_its_file() {
    let name = format!("dog~{}.safetensors", digest(9).short());
    let older = (name.clone(), Role::Older { of: key(Checkpoint, "dog.safetensors") });
    assert_eq!(Folder::default().lists(&name, 9).candidates(), std::slice::from_ref(&older));
    let lone = Folder { actions: Vec::new(), ..Folder::default().lists(&name, 9) };
    assert_eq!(lone.candidates(), [(name.clone(), Role::Foreign)], "of no file that is known");
    // Its file is known from before, and comes first.
    let both = Folder { actions: Vec::new(), ..Folder::default().lists(&name, 9) };
    let both = both.remembers(Checkpoint, "dog.safetensors", 8);
    assert_eq!(both.candidates(), [save("dog.safetensors", Some(250)), older]);
    let known = Entry {
        older: vec![Older { path: path(&name), size: 1, sha256: digest(9) }],
        ..entry("dog.safetensors", None)
    };
    let mut folder = Folder::default().lists(&name, 9);
    folder.manifest.entries.insert(key(Checkpoint, "dog.safetensors"), known);
    assert_eq!(folder.candidates(), []);
}

#[test]
fn only_recorded_bytes_are_vouched_for() {
    let of = |role: Role, memory: Option<Recollection>, line: Option<u8>| Candidate {
        path: path("dog.safetensors"),
        role,
        memory,
        line: line.map(digest),
    };
    let own = || Role::Entry { key: key(Checkpoint, "dog.safetensors"), step: None };
    let row = || Some(memory("dog.safetensors", None, 1));
    for (candidate, found, expected) in [
        (of(own(), row(), None), 1, Some(Voucher::Row)),
        (of(own(), row(), None), 2, None),
        (of(own(), row(), Some(1)), 1, Some(Voucher::Row)),
        (of(own(), row(), Some(2)), 2, Some(Voucher::Line)),
        (of(own(), None, Some(2)), 2, Some(Voucher::Line)),
        (of(own(), None, Some(2)), 1, None),
        (of(Role::Foreign, None, Some(2)), 2, None),
    ] {
        assert_eq!(candidate.voucher(digest(found)), expected, "{candidate:?}");
    }
    for (candidate, expected) in [
        (of(own(), row(), None), None),
        (of(own(), row(), Some(1)), None),
        (of(own(), row(), Some(2)), Some(2)),
        (of(own(), None, Some(2)), Some(2)),
    ] {
        assert_eq!(candidate.line_while_unread(), expected.map(digest), "{candidate:?}");
    }
    for (candidate, size, expected) in [
        (of(own(), row(), None), 7, true),
        (of(own(), row(), None), 6, false),
        (of(own(), row(), Some(1)), 6, true),
        (of(Role::Foreign, None, Some(1)), 7, false),
    ] {
        assert_eq!(candidate.may_be(size), expected, "{candidate:?}");
    }
}

#[test]
fn names_that_look_like_the_jobs_and_are_recorded_nowhere_are_found() {
    let folder = Folder::default()
        .remembers(Checkpoint, "dog_000000250.safetensors", 1)
        .lists("dog_000000500.safetensors", 1);
    let names = [
        "dog.safetensors",
        "dog_000000250.safetensors",
        "dog_000000500.safetensors",
        "dog_000000750.safetensors",
        "dog_notes.txt",
        "cat.safetensors",
        "config.yaml",
        "samples/holiday.jpg",
        "samples/1724085406830__000000250_0.jpg",
    ];
    let found = unrecorded(&folder.situation(), names.map(path));
    let found: Vec<&str> = found.iter().map(RelPath::as_str).collect();
    assert_eq!(found, ["dog_000000750.safetensors", "samples/1724085406830__000000250_0.jpg"]);
}
