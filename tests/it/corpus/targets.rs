//! The fuzz targets: each takes any bytes and panics when a promise is broken. The programs in `fuzz/` call them, and
//! `corpus` replays with them what was found earlier.

#[path = "parsers.rs"]
mod parsers;
#[path = "responses.rs"]
mod responses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcsync::internals::{
    Checker, ContentRange, Format, HeaderError, Listing, PRIVATE, Record, SafetensorsHeader, Store, Verdict,
    is_invisible, read_change, read_refusal, read_result, read_status, read_submit, retry_after,
};
use rcsync::{ArtifactKey, ArtifactKind, JobId, ListedArtifact, RelPath, Sample, SourceUrl};

pub(super) use parsers::{
    config, datasets, destinations, extra_paths, head, job_list, pictures, push_journal, refusals, starting,
};
pub(super) use responses::{packed, response_head};

/// Takes any bytes; panics when a promise is broken.
type Target = fn(&[u8]);

/// Every target with the name of its corpus.
pub(super) const TARGETS: [(&str, Target); 20] = [
    ("names", names),
    ("manifest", manifest),
    ("safetensors", safetensors),
    ("formats", formats),
    ("answers", answers),
    ("content_range", content_range),
    ("retry_after", retry_after_header),
    ("redaction", redaction),
    ("datasets", datasets),
    ("refusals", refusals),
    ("pictures", pictures),
    ("head", head),
    ("job_list", job_list),
    ("config", config),
    ("extra_paths", extra_paths),
    ("starting", starting),
    ("destinations", destinations),
    ("push_journal", push_journal),
    ("packed", packed),
    ("response_head", response_head),
];

/// A listing: the job's name in the first line, then one file a line: `c`, `y` or `s`, and its path.
pub(super) fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let job_name = lines.next().filter(|name| !name.is_empty());
    let listed: Vec<ListedArtifact> = lines.take(200).filter_map(listed).collect();
    let first = Listing::build(job_name, &listed, &|_| None, []);
    holds_what_names_promise(&first);
    // The order of the list does not matter, and a known file keeps its name.
    let reversed: Vec<ListedArtifact> = listed.iter().rev().cloned().collect();
    let paths = |listing: &Listing| -> BTreeMap<ArtifactKey, RelPath> {
        listing.artifacts.iter().map(|artifact| (artifact.key.clone(), artifact.path.clone())).collect()
    };
    let known = paths(&first);
    let again = Listing::build(job_name, &reversed, &|key| known.get(key).cloned(), known.values());
    holds_what_names_promise(&again);
    // Files that only their hosts distinguish are named by which host comes first.
    let hosts: BTreeSet<&str> = listed.iter().map(|listed| listed.url.authority()).collect();
    if hosts.len() < 2 {
        assert_eq!(paths(&again), known, "a known file changed its name");
        let backwards = Listing::build(job_name, &reversed, &|_| None, []);
        assert_eq!(paths(&backwards), known, "the order of the list changed a name");
    }
}

fn listed(line: &str) -> Option<ListedArtifact> {
    let mut chars = line.chars();
    let kind = match chars.next()? {
        'c' => ArtifactKind::Checkpoint,
        'y' => ArtifactKind::Config,
        _ => ArtifactKind::Sample,
    };
    let rest = chars.as_str();
    let url =
        SourceUrl::parse(rest).or_else(|_| SourceUrl::parse(&format!("https://h.example/{rest}"))).ok()?;
    // The same for the same file: one that is listed twice, with two steps and no name, is named by either.
    let sample = (kind == ArtifactKind::Sample).then(|| Sample {
        step: Some(url.url_path().len() as u64 % 7),
        index: Some(0),
        ..Sample::default()
    });
    Some(ListedArtifact { kind, url, sample: sample.map(Into::into) })
}

fn holds_what_names_promise(listing: &Listing) {
    let mut taken = BTreeSet::new();
    let root = Path::new("/root/of/all");
    for artifact in &listing.artifacts {
        let path = &artifact.path;
        assert_eq!(RelPath::parse(path.as_str()).as_ref(), Ok(path), "it does not keep its own rules");
        assert!(taken.insert(path.collision_key()), "`{path}` is there twice");
        let below = path.to_path(root);
        assert!(below.starts_with(root) && below.components().count() == 4 + path.count_parts(), "{path}");
    }
    for artifact in &listing.artifacts {
        let mut folder = artifact.path.parent();
        while let Some(path) = folder {
            assert!(!taken.contains(&path.collision_key()), "`{path}` is a file and a folder");
            folder = path.parent();
        }
    }
    for why in listing.rejected.iter().map(|file| file.why.to_string()) {
        assert!(!why.chars().any(is_invisible), "{why:?} has invisible characters");
    }
}

/// The private state of a folder. The first byte decides which file it is and whether its checksum is made right; a
/// journal comes behind a whole snapshot.
pub(super) fn manifest(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let dir = scratch();
    let private = dir.path().join(PRIVATE);
    fs::create_dir(&private).expect("a scratch folder can be written");
    let write = |name: &str, bytes: &[u8]| fs::write(private.join(name), bytes).expect("it can be written");
    let snapshot = sealed(
        r#"{"format":1,"sequence":0,"manifest":{"job":"job","origin":"https://api.example","entries":[]}}"#,
    );
    match kind % 4 {
        0 => write("manifest.json", rest),
        1 => write("manifest.json", sealed(&text).as_bytes()),
        2 => {
            write("manifest.json", snapshot.as_bytes());
            write("journal.jsonl", rest);
        }
        _ => {
            write("manifest.json", snapshot.as_bytes());
            let lines = text.lines().enumerate().map(|(at, record)| {
                sealed(&format!(r#"{{"sequence":{},"record":{record}}}"#, at + 1)) + "\n"
            });
            write("journal.jsonl", lines.collect::<String>().as_bytes());
        }
    }
    let job: JobId = "job".parse().expect("it is one");
    let load = || Store::load(dir.path(), &job, "https://api.example", || None);
    let Ok((mut store, _)) = load() else { return };
    assert_eq!((&store.manifest().job, store.manifest().origin.as_str()), (&job, "https://api.example"));
    let claims = store.manifest().clone();
    for entry in claims.entries.values() {
        assert_eq!(RelPath::parse(entry.path.as_str()).as_ref(), Ok(&entry.path));
    }
    let (again, damage) = load().expect("what was loaded once is loaded again");
    assert_eq!(again.manifest(), &claims);
    assert!(!damage.snapshot, "what is damaged was put aside");
    // Whatever is in the journal, the next record is durable behind it.
    let key = ArtifactKey { kind: ArtifactKind::Sample, path: "/behind/what/was/there".into() };
    store.append(vec![Record::Abandon { key }]).expect("the disk is in order");
    assert_eq!(load().expect("as before").0.manifest(), store.manifest());
    store.compact().expect("the disk is in order");
    assert_eq!(load().expect("as before").0.manifest(), store.manifest());
}

/// As `edge::sealed` writes it.
fn sealed(body: &str) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body.as_bytes());
    format!(r#"{{"crc32":"{crc:08x}","body":{body}}}"#)
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("there is room for a folder")
}

/// The JSON of a safetensors header: ours and the format's own library must agree on it.
pub(super) fn safetensors(json: &[u8]) {
    let ours = SafetensorsHeader::parse(json);
    let library = serde_json::from_slice::<::safetensors::tensor::Metadata>(json);
    match (&ours, &library) {
        (Ok(ours), Ok(library)) => {
            let body = ours.declared_length - ours.body_start;
            assert_eq!(usize::try_from(body).ok(), Some(library.data_len()), "another length");
            assert_eq!(ours.tensors as usize, library.tensors().len(), "another number of tensors");
        }
        (Err(_), Err(_)) => {}
        // An element type from after this version: they refuse what we cannot know.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("unknown variant"), "they refuse: {error}"),
        // They let the last of two equal names win, and take white space before the `{`, more tensors and larger files.
        (Err(HeaderError::Twice(_) | HeaderError::TooManyTensors | HeaderError::NotAnObject), Ok(_)) => {}
        (Err(HeaderError::Overflow(_)), Ok(library)) => assert!(library.data_len() > usize::MAX / 2),
        // A repeated name may be wrong the first time only.
        (Err(_), Ok(library)) if offsets_in(json) > library.tensors().len() => {}
        (Err(ours), Ok(_)) => panic!("we refuse: {ours}"),
    }
}

/// How many tensors the text lists, also under equal names.
fn offsets_in(json: &[u8]) -> usize {
    String::from_utf8_lossy(json).matches("data_offsets").count()
}

/// A whole file: the first byte is its format, the second where it is cut into chunks.
pub(super) fn formats(bytes: &[u8]) {
    const FORMATS: [Format; 12] = [
        Format::Safetensors,
        Format::Png,
        Format::Jpeg,
        Format::WebP,
        Format::Wav,
        Format::Gif,
        Format::Mp4,
        Format::Yaml,
        Format::Markup,
        Format::Json,
        Format::Mp3,
        Format::Unknown,
    ];
    let [kind, size, file @ ..] = bytes else { return };
    let format = FORMATS[usize::from(*kind) % FORMATS.len()];
    let check = |size: usize| {
        let mut checker = Checker::new(format);
        for chunk in file.chunks(size) {
            checker.feed(chunk);
        }
        let hopeless = checker.is_hopeless();
        (checker.declared_length(), hopeless, checker.finish(file.len() as u64))
    };
    let whole = check(file.len().max(1));
    let pieces = check(usize::from(*size).max(1));
    assert_eq!(whole.2, pieces.2, "the verdict depends on the chunks");
    assert!(!whole.1 || !matches!(whole.2, Verdict::Whole | Verdict::Plausible), "hopeless, and whole");
    if let Verdict::Broken(defect) = &whole.2 {
        assert!(!defect.to_string().chars().any(char::is_control), "{defect}");
    }
    if let (Verdict::Whole, Some(declared)) = (&whole.2, whole.0) {
        assert_eq!(declared, file.len() as u64, "whole, and of another length than it declares");
    }
}

/// Any answer of the API.
pub(super) fn answers(body: &[u8]) {
    let job: JobId = "job".parse().expect("it is one");
    let fit = |text: &str| assert!(!text.chars().any(char::is_control), "{text:?}");
    if let Ok(result) = read_result(body, &job) {
        assert!(result.unusable.len() <= 101, "too many complaints");
        result.unusable.iter().for_each(|row| fit(&row.to_string()));
        assert!(result.unreachable.len() <= 101, "too many complaints");
        result.unreachable.iter().for_each(|file| fit(&file.why.to_string()));
        result.error.iter().for_each(|why| fit(why));
        for listed in result.artifacts.iter().filter_map(|listed| listed.sample.as_ref()) {
            assert!(listed.prompt.as_ref().is_none_or(|prompt| prompt.len() <= 64 << 10));
            assert!(listed.control_images.iter().all(|image| !image.contains(['?', '#'])), "a query is kept");
        }
        holds_what_names_promise(&Listing::build(result.name.as_deref(), &result.artifacts, &|_| None, []));
    }
    if let Ok(status) = read_status(body, &job) {
        status.error.iter().for_each(|why| fit(why));
        assert!(status.name.is_none_or(|name| name.len() <= 1024));
    }
    let faults = [
        read_result(body, &job).err(),
        read_status(body, &job).err(),
        read_change(body, &job).err(),
        read_submit(body).err(),
    ];
    faults.into_iter().flatten().for_each(|fault| fit(&fault.to_string()));
    fit(&read_refusal(body).message);
}

/// A `Content-Range`: what is taken is a range that fits, with the numbers of the text.
pub(super) fn content_range(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let digits: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).collect();
    let numbers: Option<Vec<u64>> = digits.iter().map(|run| run.parse().ok()).collect();
    let said = match ContentRange::parse(&text) {
        ContentRange::Part { start, end, total } => {
            assert!(start < end && total.is_none_or(|total| end <= total), "{text:?}");
            [Some(start), Some(end - 1), total].into_iter().flatten().collect()
        }
        ContentRange::Unsatisfied { total } => vec![total],
        ContentRange::Malformed => {
            // The plainest form of the grammar is understood.
            if let Some([start, last, total]) = numbers.as_deref()
                && text == format!("bytes {start}-{last}/{total}")
            {
                assert!(start > last || last >= total, "{text:?} was refused");
            }
            return;
        }
    };
    assert_eq!(numbers, Some(said), "{text:?} has other numbers");
    assert!(text.trim_start().get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case("bytes ")), "{text:?}");
}

/// A `Retry-After`, and the moment in which it comes: eight bytes, then the text.
pub(super) fn retry_after_header(bytes: &[u8]) {
    let Some((now, text)) = bytes.split_first_chunk() else { return };
    let text = String::from_utf8_lossy(text);
    // Until the year 10,000; later ones are no dates of HTTP.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from_le_bytes(*now) % 253_402_300_800);
    let most = Duration::from_secs(15 * 60);
    let wait = retry_after(&text, now);
    assert!(wait.is_none_or(|wait| wait <= most), "{text:?}: {wait:?}");
    if let Ok(seconds) = text.trim().parse::<u32>() {
        assert_eq!(wait, Some(Duration::from_secs(seconds.into()).min(most)), "{text:?}");
    }
}

/// An address, a line break, and a text that may quote it: no value of its query is ever shown.
pub(super) fn redaction(bytes: &[u8]) {
    /// Shorter ones are numbers and flags.
    const SECRET_FROM: usize = 6;
    let text = String::from_utf8_lossy(bytes);
    let (address, quoting) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(url) = SourceUrl::parse(address) else { return };
    assert_eq!(url.expose(), address);
    let shown = url.to_string();
    assert!(!shown.chars().any(is_invisible), "{shown:?} has invisible characters");
    assert_eq!(serde_json::to_string(&url).ok(), serde_json::to_string(&shown).ok());
    let (before, after) = address.split_at(address.find(['?', '#']).unwrap_or(address.len()));
    // A fragment may follow the query, and is never sent.
    let query = after.strip_prefix('?').unwrap_or_default();
    let secrets = query
        .split(['&', '#'])
        .map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value))
        // What is before the query too is no secret; `…` is what a secret is replaced with.
        .filter(|secret| secret.len() >= SECRET_FROM && !secret.contains('…'))
        .filter(|secret| !format!("{before}?").contains(secret));
    let quoted = url.redact(&format!("{quoting} {address} {quoting}"));
    for secret in secrets {
        assert!(!quoted.contains(secret), "`{secret}` is in {quoted:?}");
        let lower = before.to_ascii_lowercase();
        assert!(
            !shown.contains(secret) || lower.contains(&secret.to_ascii_lowercase()),
            "`{secret}` is in {shown:?}"
        );
    }
}
