//! When a file that is here is asked about again.

use crate::model::source_url::SourceUrl;

use super::*;

/// A known file under this name, last asked about in `entry_run`.
fn step_of(name: &str, entry_run: &str, run: &str, reached: Option<u64>) -> Step {
    step_proven(Evidence::Structure, name, entry_run, run, reached)
}

fn step_proven(evidence: Evidence, name: &str, entry_run: &str, run: &str, reached: Option<u64>) -> Step {
    let kind = match name.rsplit_once('.') {
        Some((_, "yaml")) => ArtifactKind::Config,
        Some((_, "jpg")) => ArtifactKind::Sample,
        _ => ArtifactKind::Checkpoint,
    };
    let path = RelPath::parse(name).unwrap();
    let key = ArtifactKey { kind, path: format!("/o/{name}").into() };
    let step = name.split('_').nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    let url = SourceUrl::parse(&format!("https://h/o/{name}")).unwrap();
    let entry = Entry {
        path: path.clone(),
        step,
        size: 5,
        sha256: Sha256Digest::new([1; 32]),
        evidence,
        revision: Revision::default(),
        run: entry_run.into(),
        modified: Some(7),
        state: EntryState::Present,
        older: Vec::new(),
    };
    let mut manifest = Manifest::new("job-1".parse().unwrap(), String::new());
    manifest.entries.insert(key.clone(), entry);
    let artifact = Artifact { key, path: path.clone(), step, url, sample: None };
    let actions = plan(&Situation {
        listing: &Listing { artifacts: vec![artifact.into()], rejected: Vec::new() },
        manifest: &manifest,
        recollections: &HashMap::new(),
        local: &[(path, LocalFile::File { size: 5, modified: Some(7) })].into(),
        selection: &Selection::default(),
        run,
        reached,
    });
    actions[0].step.clone()
}

fn stamp(status: JobStatus, started: Option<&str>, finished: Option<&str>, resumes: u32) -> String {
    let times = JobTimes {
        created_at: None,
        started_at: started.map(str::to_owned),
        finished_at: finished.map(str::to_owned),
    };
    run_stamp(&status, &times, resumes)
}

#[test]
fn runs_have_names_of_their_own() {
    use JobStatus::{Failed, InQueue, Running, Stopped};
    assert_eq!(stamp(Running, Some("a"), None, 0), "a");
    assert_eq!(stamp(Running, Some("a"), Some("old"), 1), "a#1");
    assert_eq!(stamp(Stopped, Some("a"), Some("b"), 0), "a/b");
    assert_eq!(stamp(Failed, None, None, 2), "?#2/?");
    assert_eq!(stamp(InQueue, Some("a"), Some("b"), 3), "", "a job in the queue writes nothing");
}

#[test]
fn what_is_known_by_its_length_alone_is_asked_about_once_more_when_the_run_has_ended() {
    for name in ["dog_000000250.safetensors", "samples_1.jpg"] {
        for (before, now, reached, asked) in [
            ("a", "a", Some(900), false),
            ("a", "a/b", None, true),
            ("", "a/b", None, true),
            ("a/b", "a/b", None, false),
            ("a/b", "c", Some(0), false),
            // The job was resumed, perhaps before the file was whole here.
            ("a/b", "c/d", None, true),
        ] {
            let is_asked = |evidence| {
                let step = step_proven(evidence, name, before, now, reached);
                matches!(step, Step::Fetch(FetchReason::Recheck(_)))
            };
            assert_eq!(is_asked(Evidence::Length), asked, "{name} {before} {now}");
            // A numbered save of another run is asked about in any case.
            let other_run = before.is_empty() || now.starts_with('c');
            assert!(other_run || !is_asked(Evidence::Structure), "{name} {before} {now}");
        }
    }
}

#[test]
fn only_what_a_new_run_can_rewrite_is_asked_about_again_and_once() {
    const NUMBERED: &str = "dog_000000250.safetensors";
    for (name, before, now, reached, asked) in [
        // The same run, and the queue.
        (NUMBERED, "a", "a", Some(900), false),
        ("dog.safetensors", "a/b", "a/b", None, false),
        ("dog.safetensors", "a/b", "", Some(0), false),
        // The end of a run: the files that are written last.
        (NUMBERED, "a", "a/b", None, false),
        ("dog.safetensors", "a", "a/b", None, true),
        ("config.yaml", "a", "a/b", None, true),
        // Another run: numbered ones once their step has been passed, samples never.
        (NUMBERED, "a/b", "c", Some(249), false),
        (NUMBERED, "a/b", "c", Some(250), true),
        (NUMBERED, "a/b", "c/d", None, true),
        ("dog.safetensors", "a/b", "c", Some(0), true),
        ("config.yaml", "a/b", "c", Some(0), true),
        ("1__000000250_0.jpg", "a/b", "c/d", None, false),
        // A run that only the status tells of.
        (NUMBERED, "a", "a#1", Some(250), true),
        (NUMBERED, "a#1", "a#1", Some(250), false),
        ("dog.safetensors", "?/?", "?#1", Some(0), true),
        ("dog.safetensors", "?#1", "?#1/?", None, true),
        ("dog.safetensors", "?#1/?", "?#1/?", None, false),
    ] {
        let step = step_of(name, before, now, reached);
        let expected =
            if asked { Step::Fetch(FetchReason::Recheck(Revision::default())) } else { Step::Keep };
        assert_eq!(step, expected, "{name}: {before} -> {now} at {reached:?}");
    }
}

/// Whether an optimizer's state that was asked about in `asked_in` is due while these saves are listed.
fn optimizer_is_due(asked_in: &str, run: &str, saves: &[(&str, Option<u64>)]) -> bool {
    let artifact = |name: &str, step| {
        let key = ArtifactKey { kind: ArtifactKind::Checkpoint, path: format!("/o/{name}").into() };
        let url = SourceUrl::parse(&format!("https://h/o/{name}")).unwrap();
        Artifact { key, path: RelPath::parse(name).unwrap(), step, url, sample: None }
    };
    let optimizer = artifact("optimizer.pt", None);
    let others = saves.iter().map(|(name, step)| artifact(name, *step).into());
    let artifacts = others.chain([optimizer.clone().into()]).collect();
    let listing = Listing { artifacts, rejected: Vec::new() };
    let situation = Situation {
        listing: &listing,
        manifest: &Manifest::new("job-1".parse().unwrap(), String::new()),
        recollections: &HashMap::new(),
        local: &Local::new(),
        selection: &Selection::default(),
        run,
        reached: Some(250),
    };
    is_due(&situation, &optimizer, Evidence::Structure, asked_in)
}

#[test]
fn the_state_of_the_optimizer_is_due_with_each_new_checkpoint() {
    let (one, two) = (("d_000000250.safetensors", Some(250)), ("d_000000500.safetensors", Some(500)));
    let last = ("d.safetensors", None);
    assert!(!optimizer_is_due("a@250", "a", &[one]));
    assert!(optimizer_is_due("a@250", "a", &[one, two]));
    assert!(optimizer_is_due("a@500", "a", &[one, two, last]));
    assert!(!optimizer_is_due("a@final", "a", &[one, two, last]));
    assert!(optimizer_is_due("a@final", "a/b", &[one, two, last]), "the run ended since");
    assert!(!optimizer_is_due("a", "a", &[]), "without a checkpoint it is like all files");
    assert!(!optimizer_is_due("a/b", "a/b", &[last]), "noted before there was such a note");
}

/// A file that is asked about again is here: it is fetched only where the host has new bytes.
#[test]
fn files_that_are_asked_about_are_not_counted_as_fetched() {
    let recheck = || Step::Fetch(FetchReason::Recheck(Revision::default()));
    let steps = [
        Step::Keep,
        Step::Keep,
        recheck(),
        Step::Fetch(FetchReason::New),
        Step::Fetch(FetchReason::Unproven),
        Step::Fetch(FetchReason::Missing),
        Step::Fetch(FetchReason::Damaged),
        Step::Inspect { due: true },
        Step::Skip(SkipReason::Unwanted),
        Step::Skip(SkipReason::Pruned),
    ];
    let counts = Counts::of(&steps);
    assert_eq!(counts, Counts { fetch: 4, ask: 1, present: 3 });
    assert_eq!(counts.plus(counts), Counts { fetch: 8, ask: 2, present: 6 });
}

#[test]
fn what_a_choice_finds_nothing_of_is_worth_a_word_when_the_files_are_known() {
    let action = |name: &str, is_wanted: bool| {
        let kind = if name.ends_with(".yaml") { ArtifactKind::Config } else { ArtifactKind::Checkpoint };
        let url = SourceUrl::parse(&format!("https://h/o/{name}")).unwrap();
        let key = ArtifactKey { kind, path: format!("/o/{name}").into() };
        let artifact = Artifact { key, path: RelPath::parse(name).unwrap(), step: None, url, sample: None };
        let step = if is_wanted { Step::Keep } else { Step::Skip(SkipReason::Unwanted) };
        Action { artifact: artifact.into(), step }
    };
    let patterns = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let found = |actions: &[Action], include: &[&str], sight| {
        nothing_found(actions, &Selection::new(&[], &patterns(include), &[], &[]).unwrap(), sight)
    };
    let (early, later) = (
        [action("c.yaml", false)],
        [action("c.yaml", true), action("dog_250.safetensors", true), action("dog.safetensors", false)],
    );
    let slip = Some(NothingFound::For(patterns(&["x*"])));
    for (actions, include, sight, expected) in [
        (&early[..], &["x*"][..], Sight::Once, None),
        (&early, &["x*"], Sight::JustOver, Some(NothingFound::AtAll)),
        (&later, &["x*", "c*"], Sight::Once, slip.clone()),
        (&later, &["x*", "c*"], Sight::JustOver, slip),
        (&later, &["x*", "c*"], Sight::LongOver, None),
        (&later, &["x*", "c*"], Sight::Followed, None),
        (&later, &["d*", "c*"], Sight::Once, None),
        (&later, &[], Sight::JustOver, None),
        (&[], &["x*"], Sight::JustOver, None),
    ] {
        assert_eq!(found(actions, include, sight), expected, "{include:?} {sight:?}");
    }
    assert_eq!(Sight::of(true, false, true), Sight::LongOver);
    assert_eq!(Sight::of(false, true, true), Sight::Once);
}
