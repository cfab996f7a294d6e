//! Targets for what was added to the first eight: datasets, buckets, fleets, configurations, and files of a user's folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use rcsync::internals::is_invisible;
use rcsync::internals::parsers::{
    BaseModel, BucketUrl, Caption, Content, Destination, Head, Known, Line, MOST, PushJournal, ScanOptions,
    Surroundings, Template, TrainingConfig, Wishes, candidates, check, check_with, dataset_names,
    fault_of_status, find, job_list, preflight, read_dataset, read_datasets, read_deletion, read_refusal,
    read_upload, read_upload_link, roles, scan, starting_config, unpack,
};
use rcsync::{Dataset, DatasetId, EntryState, JobId, RelPath, Sha256Digest};

use super::{scratch, sealed};

fn assert_fit(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?} has control characters");
}

fn job() -> JobId {
    "job".parse().expect("it is one")
}

/// Any answer of the Dataset API.
pub(crate) fn datasets(body: &[u8]) {
    let asked: DatasetId = "dataset".parse().expect("it is one");
    let fit = |dataset: &Dataset| {
        // The name stays as it is, since it is compared with what the user typed; the terminal gets it made fit.
        let texts = [&dataset.error, &dataset.created_at, &dataset.updated_at];
        texts.into_iter().flatten().for_each(|text| assert_fit(text));
        assert_fit(dataset.status.as_str());
        assert!(dataset.name.as_ref().is_none_or(|name| name.len() <= 1024));
        dataset.files.iter().flatten().for_each(|file| assert!(file.name.len() <= 1024));
    };
    read_datasets(body).into_iter().flatten().for_each(|dataset| fit(&dataset));
    let read = read_dataset(body, Some(&asked));
    if let Ok(dataset) = &read {
        fit(dataset);
        assert!(dataset.id.as_str().eq_ignore_ascii_case(asked.as_str()), "it is another dataset");
    }
    let link = read_upload_link(body, "a.jpg");
    if let Ok(link) = &link {
        let shown = format!("{link:?}");
        assert!(link.headers.iter().all(|(_, value)| value.len() < 12 || !shown.contains(value.as_str())));
    }
    let faults = [
        read_datasets(body).err(),
        read.err(),
        read_dataset(body, None).err(),
        read_upload(body).err(),
        link.err(),
        read_deletion(body).err(),
    ];
    faults.into_iter().flatten().for_each(|fault| assert_fit(&fault.to_string()));
}

/// An error body under any status: two bytes, then the body.
pub(crate) fn refusals(bytes: &[u8]) {
    let Some((status, body)) = bytes.split_first_chunk() else { return };
    let status = u16::from_le_bytes(*status) % 600;
    let refusal = read_refusal(body);
    assert!(refusal.message.len() <= 16 << 10, "{} bytes", refusal.message.len());
    for of in [None, Some(&job())] {
        let fault = fault_of_status(status, refusal.clone(), of, None);
        assert_fit(&fault.to_string());
    }
}

/// A file in a folder of pictures: the first byte says what it is called.
pub(crate) fn pictures(bytes: &[u8]) {
    const NAMES: [&str; 20] = [
        "a.txt", "a.json", "a.jpg", "a.png", "a.webp", "a.jxl", "a.bmp", "a.gif", "a.mp4", "a.mov", "a.avi",
        "a.mkv", "a.webm", "a.wmv", "a.m4v", "a.flac", "a.mp3", "a.ogg", "a.wav", "a.heic",
    ];
    let Some((kind, file)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(*kind) % NAMES.len()];
    let folder = scratch();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("it is written");
    write(name, file);
    let caption_ext = name.ends_with(".json").then(|| ".json".to_owned());
    let options = ScanOptions { name: Some("dog".to_owned()), caption_ext, ..ScanOptions::default() };
    let scanned = || {
        let found = scan(folder.path(), &options, &|_| ControlFlow::Continue(()));
        found.expect("the folder can be listed").expect("it was not asked to end")
    };
    let found = scanned();
    let [only] = found.files.as_slice() else { panic!("one file: {:?}", found.files) };
    assert_eq!(only.size, file.len() as u64);
    match &only.content {
        Content::Caption(Caption::NotUtf8 { offset, byte, .. }) => {
            let error = std::str::from_utf8(file).expect_err("it is no UTF-8");
            assert_eq!((*offset, *byte), (error.valid_up_to() as u64, file[error.valid_up_to()]));
        }
        Content::Caption(_) => assert!(std::str::from_utf8(file).is_ok()),
        _ => {}
    }
    for finding in check(&found, None).findings {
        assert_fit(&finding.what);
        assert_fit(&format!("{:?}", finding.cure));
    }
    // The same bytes under another name are found.
    if let Content::Media(_) = &only.content
        && !file.is_empty()
    {
        write(&format!("b{name}"), file);
        let files = scanned().files;
        assert!(files.iter().all(|file| file.sha256.is_some()) && files[0].sha256 == files[1].sha256);
    }
}

/// The head of a bucket, and lines that are folded into what is known.
pub(crate) fn head(bytes: &[u8]) {
    let Ok(head) = serde_json::from_slice::<Head>(bytes) else { return };
    let text = serde_json::to_string(&head).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<Head>(&text).ok().as_ref(), Some(&head), "{text}");
    let mut known = Known::new(head.job.clone(), head.origin.clone());
    for line in head.lines.clone() {
        let retired = match &line {
            Line::Retire { path, .. } => Some(path.clone()),
            _ => None,
        };
        known.apply(line);
        assert!(retired.is_none_or(|path| known.used().contains(&path)), "a retired name is free again");
    }
    let (used, claimed) = (known.used(), known.claimed());
    assert!(claimed.keys().all(|path| used.contains(path)), "what is claimed has no name");
    for (key, entry) in &known.manifest.entries {
        assert_eq!(RelPath::parse(entry.path.as_str()).as_ref(), Ok(&entry.path));
        assert_eq!(known.plain_name(key).is_some(), RelPath::parse(entry.path.as_str()).is_ok());
        let other = Sha256Digest::new([0xa5; 32]);
        if entry.sha256 != other && entry.state == EntryState::Present {
            let names = candidates(&entry.path, other, &known);
            assert!(names.iter().all(|name| claimed.get(name).is_none_or(|here| *here == other)));
        }
    }
}

/// A fleet's list of jobs.
pub(crate) fn job_list(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let read = |text: &str| {
        job_list::parse(
            text,
            |id| id.parse::<JobId>().map_err(|error| error.to_string()),
            |overrides| {
                let pairs = overrides.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
                Ok(pairs.collect::<Vec<_>>())
            },
        )
    };
    match read(&text) {
        Ok(jobs) => {
            let ids: BTreeSet<&str> = jobs.iter().map(|listed| listed.job.as_str()).collect();
            assert_eq!(ids.len(), jobs.len(), "a job is there twice");
            let lines = jobs.iter().map(|listed| {
                let pairs: Vec<(&str, String)> =
                    listed.overrides.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
                job_list::line(&listed.job, &pairs) + "\n"
            });
            let written: String = lines.collect();
            let again = read(&written).expect("what was written is read");
            let same = again.iter().map(|listed| &listed.job).eq(jobs.iter().map(|listed| &listed.job));
            assert!(same, "{text:?} became {written:?}");
        }
        Err(faults) => assert_fit(&faults.to_string()),
    }
}

/// A training configuration, also one that came compressed.
pub(crate) fn config(bytes: &[u8]) {
    if let Ok(text) = unpack(bytes) {
        assert!(text.len() <= MOST);
    }
    let text = String::from_utf8_lossy(bytes);
    let config = match TrainingConfig::parse(&text) {
        Ok(config) => config,
        Err(error) => return assert_fit(&error.to_string()),
    };
    // A carriage return alone ends a line of YAML too.
    let lines = text.split(['\n', '\r']).count() as u64;
    for objection in preflight::objections(&config).into_iter().chain(preflight::warnings(&config)) {
        assert_fit(&objection.what);
        assert!(objection.line.is_none_or(|line| (1..=lines).contains(&line)), "{objection}");
    }
    let _ = config.saving();
    for name in dataset_names(&config) {
        assert!(!roles(&config, name).is_empty(), "`{name}` is named and has no part");
        assert!(!name.contains('/'), "{name}");
    }
}

/// `extra_model_paths.yaml`, as ComfyUI reads it.
pub(crate) fn extra_paths(bytes: &[u8]) {
    let folder = scratch();
    let yaml = folder.path().join("extra_model_paths.yaml");
    fs::write(&yaml, bytes).expect("it is written");
    let around = Surroundings { variable: &|_| None, home: Some(PathBuf::from("/home/user")) };
    let first = find(&yaml, &around).map_err(|error| error.to_string());
    assert_eq!(first, find(&yaml, &around).map_err(|error| error.to_string()));
    if let Ok(found) = first {
        assert!(found.path.is_absolute(), "{found:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1, "it made something");
}

/// What `init` writes for any names: a configuration that is read and has no objection.
pub(crate) fn starting(bytes: &[u8]) {
    let Some(([model, counts], text)) = bytes.split_first_chunk() else { return };
    let text = String::from_utf8_lossy(text);
    let mut words = text.split('\n');
    let mut word = || words.next().unwrap_or_default();
    let (name, dataset, folder, file) = (word(), word(), word(), word());
    let trigger = Some(word()).filter(|word| !word.is_empty());
    let counts = usize::from(*counts);
    let notes = [format!("rcsync submit {file}")];
    let wishes = Wishes {
        name,
        dataset,
        folder,
        notes: &notes,
        model: BaseModel::ALL[usize::from(*model) % BaseModel::ALL.len()],
        trigger,
        caption_ext: "txt",
        pictures: counts & 7,
        clips: counts >> 3 & 3,
        captions: counts >> 5,
    };
    let written = starting_config(&wishes);
    let config = TrainingConfig::parse(&written).unwrap_or_else(|error| panic!("{error}:\n{written}"));
    // The command line takes no other names.
    let is_plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if is_plain(name) && is_plain(dataset) {
        let objections = preflight::objections(&config);
        assert!(objections.is_empty(), "{objections:?}:\n{written}");
        assert_eq!(dataset_names(&config), [dataset]);
        assert_eq!(config.name.as_ref().map(|name| name.text.as_str()), Some(name), "{written}");
    }
    let folder = scratch();
    let found = scan(folder.path(), &ScanOptions::default(), &|_| ControlFlow::Continue(()));
    let found = found.expect("the folder can be listed").expect("it was not asked to end");
    let _ = check_with(&found, Some(&config), &[]);
}

/// Where a mirror goes: the first line is what was typed, the second a job's name.
pub(crate) fn destinations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (typed, name) = text.split_once('\n').unwrap_or((&text, ""));
    let filled = Destination::fill(typed, &job(), Some(name));
    assert_eq!(filled, Destination::fill(typed, &job(), Some(name)));
    match Destination::parse(PathBuf::from(&filled)) {
        Ok(Destination::Bucket(bucket)) => {
            let again = BucketUrl::parse(&bucket.to_string()).expect("it is a bucket");
            assert_eq!(again.as_ref(), Ok(&bucket));
        }
        Ok(Destination::Folder(path)) => assert_eq!(path, PathBuf::from(&filled)),
        Err(error) => assert!(!error.to_string().chars().any(is_invisible), "{error}"),
    }
    if let Ok(template) = typed.parse::<Template>() {
        match (template.root(), template.fill(&job(), Some(name))) {
            (Destination::Folder(root), Ok(Destination::Folder(path))) => {
                assert!(path != root, "{typed:?} and {name:?}: {path:?}");
                let inside = path.strip_prefix(&root).unwrap_or(&path);
                let is_plain = |part| matches!(part, std::path::Component::Normal(_));
                assert!(inside.components().all(is_plain), "{typed:?} and {name:?}: {path:?}");
            }
            (Destination::Bucket(root), Ok(Destination::Bucket(url))) => {
                assert!(url.to_string().starts_with(&format!("{root}/")), "{typed:?} and {name:?}: {url}");
            }
            // A long name makes a prefix that stores do not take.
            (Destination::Bucket(_), Err(_)) => {}
            other => panic!("{typed:?} and {name:?}: {other:?}"),
        }
    }
}

/// The journal of a push, raw or with checksums that are right.
pub(crate) fn push_journal(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let folder = scratch();
    let dataset: DatasetId = "dataset".parse().expect("it is one");
    let open = || PushJournal::open(folder.path(), "https://api.example", &dataset, "dog");
    drop(open().expect("the disk is in order"));
    let path = fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .find(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .expect("there is a journal");
    let text = String::from_utf8_lossy(rest);
    match kind % 2 {
        0 => fs::write(&path, rest),
        _ => fs::write(&path, text.lines().map(|line| sealed(line) + "\n").collect::<String>()),
    }
    .expect("it is written");
    let records: BTreeMap<_, _> =
        open().expect("the disk is in order").records().iter().map(|(a, b)| (a.clone(), b.clone())).collect();
    let again: BTreeMap<_, _> =
        open().expect("the disk is in order").records().iter().map(|(a, b)| (a.clone(), b.clone())).collect();
    assert_eq!(records, again);
}
