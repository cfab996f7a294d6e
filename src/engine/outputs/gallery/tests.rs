use std::fs;
use std::sync::{Arc, Mutex};

use sha2::Digest as _;

use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::folder::reports::{Latest, Ledger};
use crate::edge::folder::unflushed::Unflushed;
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind};
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::model::manifest::{Entry, examples};
use crate::model::names::rel_path::RelPath;
use crate::model::source_url::SourceUrl;

use super::*;

struct Folder {
    root: tempfile::TempDir,
    job: JobId,
    manifest: Manifest,
    artifacts: Vec<serde_json::Value>,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(PRIVATE)).unwrap();
        let job: JobId = "job-1".parse().unwrap();
        let manifest = Manifest::new(job.clone(), "https://h".to_owned());
        Self { root, job, manifest, artifacts: Vec::new() }
    }

    fn dir(&self) -> &Path {
        self.root.path()
    }

    fn add(&mut self, kind: ArtifactKind, path: &str, step: Option<u64>) -> ArtifactKey {
        let key = ArtifactKey { kind, path: format!("/o/{path}").into() };
        let entry = Entry {
            size: 3 << 20,
            sha256: Sha256Digest::new(sha2::Sha256::digest(path).into()),
            modified: None,
            ..examples::entry(path, step)
        };
        self.manifest.entries.insert(key.clone(), entry);
        key
    }

    fn sample(&mut self, path: &str, step: Option<u64>, prompt: &str) {
        let key = self.add(ArtifactKind::Sample, path, step);
        self.artifacts.push(serde_json::json!({
            "path": path, "kind": "sample", "key": &*key.path, "listed": true, "state": "present",
            "sample": { "prompt": prompt, "seed": "42\"onload=\"x" },
        }));
    }

    fn write_job(&self, name: &str, error: &str, step: u64) {
        let job = serde_json::json!({
            "job_id": self.job, "name": name, "status": "RUNNING", "error": error,
            "progress": { "current_step": step, "total_steps": 2000, "percent": null },
            "created_at": null, "started_at": null, "finished_at": null, "artifacts": self.artifacts,
        });
        fs::write(self.dir().join("job.json"), job.to_string()).unwrap();
    }

    fn look(&self, gallery: &Gallery, last: bool) -> Vec<Error> {
        let reported = Mutex::new(Vec::new());
        let reporter = |event: &Event| {
            if let Event::Notice { notice: Notice::NoGallery(error) } = event {
                reported.lock().unwrap().push(error.clone());
            }
        };
        let (latest, unflushed) = (&Latest::default(), &Unflushed::default());
        let view =
            View { dir: self.dir(), job: &self.job, manifest: &self.manifest, last, latest, unflushed };
        gallery.catch_up(&view, &reporter);
        reported.into_inner().unwrap()
    }

    fn page(&self) -> String {
        fs::read_to_string(self.dir().join("index.html")).unwrap()
    }
}

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{202e}";

#[test]
fn text_from_outside_is_never_markup_and_names_are_only_paths() {
    let mut folder = Folder::new();
    folder.sample("samples/1724085406830__000000500_0.jpg", Some(500), HOSTILE);
    folder.sample("samples/a#b 100%&'(x)é.png", Some(500), "plain");
    folder.sample("samples/x.svg", Some(500), "drawn");
    folder.sample("samples/javascript.html", None, "page");
    folder.add(ArtifactKind::Checkpoint, "javascript'&a.safetensors", Some(500));
    folder.write_job(HOSTILE, HOSTILE, 500);
    refresh(folder.dir(), &folder.manifest).unwrap();
    let page = folder.page();
    assert_eq!(page.matches("<script>").count(), 1, "our own");
    assert_eq!(page.matches("<img ").count(), 2, "one a picture");
    assert!(!page.contains("<img src=x") && !page.contains("\"onload="), "{page}");
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(page.contains(r#"src="samples/a%23b%20100%25%26%27%28x%29%C3%A9.png""#), "{page}");
    assert!(!page.contains(r#"href="samples/x.svg"#) && !page.contains(r#"href="samples/javascript"#));
    assert!(!page.contains("href=\"javascript"));
    for network in ["http:", "https:", "//fonts", "url("] {
        assert!(!page.contains(network), "{network}");
    }
}

#[test]
fn the_page_may_load_what_is_beside_it_and_run_its_own_script_alone() {
    let mut folder = Folder::new();
    folder.sample("samples/1__000000500_0.jpg", Some(500), "a dog");
    folder.write_job("dog", "", 500);
    refresh(folder.dir(), &folder.manifest).unwrap();
    let page = folder.page();
    let (_, rest) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
    let policy = rest.split_once('"').unwrap().0.replace("&#39;", "'");
    let between = |first: &str, last: &str| page.split_once(first).unwrap().1.split_once(last).unwrap().0;
    let hash = |text: &str| {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(text))
    };
    let (style, script) = (hash(between("<style>", "</style>")), hash(between("<script>", "</script>")));
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'sha256-{style}'; \
             script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        )
    );
}

#[test]
fn samples_are_ordered_by_prompt_and_step_in_whatever_order_they_come() {
    let mut folder = Folder::new();
    for (time, step, number, prompt) in [
        (5, 1000, 10, "k"),
        (4, 500, 2, "c"),
        (1, 500, 10, "k"),
        (9, 500, 2, "c"),
        (7, 0, 2, "c"),
        (8, 1000, 2, "another after an edit"),
    ] {
        let path = format!("samples/172408540683{time}__{step:09}_{number}.jpg");
        folder.sample(&path, Some(step), prompt);
    }
    folder.write_job("dog", "", 1000);
    let job = reports::read_job(folder.dir(), &folder.job);
    let album = Album::new(&folder.manifest, job.as_ref(), &History::default());
    assert_eq!(album.steps, [Some(0), Some(500), Some(1000)]);
    let rows: Vec<_> = album.prompts.iter().map(|prompt| prompt.text.unwrap_or_default()).collect();
    assert_eq!(rows, ["another after an edit", "c", "k"], "2 before 10");
    let twice: Vec<_> = album.prompts[1].at(Some(500)).iter().map(|shot| shot.path.as_str()).collect();
    assert_eq!(
        twice,
        ["samples/1724085406834__000000500_2.jpg", "samples/1724085406839__000000500_2.jpg"],
        "the older first"
    );
    assert_eq!(album.count_shots(), 6);
}

/// While a job is mirrored the page is drawn from what `job.json` was written from.
#[test]
fn a_page_drawn_from_memory_is_the_one_that_job_json_gives() {
    let mut folder = Folder::new();
    folder.sample("samples/1__000000500_0.jpg", Some(500), "offered no more");
    folder.sample("samples/2__000000500_1.jpg", Some(500), HOSTILE);
    folder.add(ArtifactKind::Checkpoint, "dog_000000500.safetensors", Some(500));
    folder.write_job("dog", "", 700);
    let read = reports::read_job(folder.dir(), &folder.job).unwrap();
    let listed = [
        (ArtifactKind::Sample, "samples/2__000000500_1.jpg", read.artifacts[1].sample().cloned()),
        (ArtifactKind::Checkpoint, "dog_000000500.safetensors", None),
        (ArtifactKind::Checkpoint, "dog_000000700.safetensors", None),
    ];
    let listed = listed.map(|(kind, path, sample)| {
        let key = ArtifactKey { kind, path: format!("/o/{path}").into() };
        let url = SourceUrl::parse(&format!("https://h.example/o/{path}")).unwrap();
        let path = RelPath::parse(path).unwrap();
        Arc::new(Artifact { key, path, step: Some(700), url, sample: sample.map(Into::into) })
    });
    let (listed, before) = (listed.into(), read.artifacts.into());
    let ledger = Ledger { job: read.job, listed, before, unread: Arc::default() };
    let latest = Latest::default();
    assert!(latest.read(folder.dir(), &folder.job).is_none(), "nothing was written");
    ledger.write(folder.dir(), &folder.manifest).unwrap();
    latest.keep(folder.dir(), ledger);
    let page = |job: &JobFile| page::page(&Album::new(&folder.manifest, Some(job), &History::default()));
    let from_memory = page(&latest.read(folder.dir(), &folder.job).unwrap());
    let from_disk = page(&reports::read_job(folder.dir(), &folder.job).unwrap());
    assert_eq!(from_memory, from_disk);
    for shown in ["offered no more", "dog_000000700.safetensors", "&lt;/script&gt;"] {
        assert!(from_memory.contains(shown), "{shown}");
    }
    assert!(latest.read(folder.dir(), &"another".parse().unwrap()).is_none());
    folder.write_job("edited", "", 700);
    assert!(latest.read(folder.dir(), &folder.job).is_none(), "it was written by another program since");
}

#[test]
fn a_page_is_written_when_it_differs_and_a_foreign_one_never() {
    let mut folder = Folder::new();
    folder.write_job("dog", "", 1);
    assert!(refresh(folder.dir(), &folder.manifest).unwrap().changed);
    assert!(!refresh(folder.dir(), &folder.manifest).unwrap().changed);
    folder.add(ArtifactKind::Checkpoint, "dog.safetensors", None);
    assert!(refresh(folder.dir(), &folder.manifest).unwrap().changed);
    let path = folder.dir().join("index.html");
    for foreign in [folder.page().replacen("dog", "cat", 1), String::new(), "<h1>mine</h1>".to_owned()] {
        fs::write(&path, &foreign).unwrap();
        let error = refresh(folder.dir(), &folder.manifest).unwrap_err();
        assert!(matches!(error, Error::ForeignPage(_)), "{error}");
        assert_eq!(folder.page(), foreign);
    }
    #[cfg(unix)]
    {
        let elsewhere = folder.dir().join("elsewhere");
        fs::remove_file(&path).unwrap();
        fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(refresh(folder.dir(), &folder.manifest).is_err());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
    }
}

#[test]
fn an_idle_look_changes_nothing_and_a_foreign_page_is_reported_once() {
    let mut folder = Folder::new();
    folder.write_job("dog", "", 1);
    assert!(folder.look(&Gallery::default(), true).is_empty());
    let state = |name: &str| {
        let path = folder.root.path().join(name);
        (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap())
    };
    let names = ["index.html", ".rcsync/history.json", ".rcsync/gallery.json"];
    let before = names.map(state);
    assert!(folder.look(&Gallery::default(), true).is_empty());
    assert_eq!(names.map(state), before);

    fs::write(folder.dir().join("index.html"), "mine").unwrap();
    folder.add(ArtifactKind::Checkpoint, "dog.safetensors", None);
    let reported = folder.look(&Gallery::default(), true);
    assert!(matches!(reported.as_slice(), [Error::ForeignPage(_)]), "{reported:?}");
    assert!(folder.look(&Gallery::default(), true).is_empty(), "reported once");
    assert_eq!(folder.page(), "mine");
    fs::remove_file(folder.dir().join("index.html")).unwrap();
    assert!(folder.look(&Gallery::default(), true).is_empty());
    assert!(folder.page().contains("dog.safetensors"));
}

#[test]
fn every_change_is_noted_though_the_page_is_not_drawn_each_time() {
    let folder = Folder::new();
    let gallery = Gallery::default();
    for step in [1, 20, 300] {
        folder.write_job("dog", "", step);
        folder.look(&gallery, false);
    }
    let steps: Vec<_> = History::load(folder.dir()).moments().iter().map(|moment| moment.step).collect();
    assert_eq!(steps, [Some(1), Some(20), Some(300)]);
    assert!(folder.page().contains("step 1 of 2000"));
    folder.look(&gallery, true);
    assert!(folder.page().contains("step 300 of 2000"));
}
