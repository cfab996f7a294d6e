//! What fifty thousand artifacts cost, how fast bytes are proven, and a whole mirror against the simulator.
//!
//! `cargo bench` runs everything; `cargo bench -- plan` what has `plan` in its name. What whole transfers reach beside
//! other programs is in `docs/performance.md`.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot continue should stop")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

use rcsync::internals::{
    Cut, Format, Inspection, Listing, Local, LocalFile, PRIVATE, PieceMap, Record, Situation, Step, Store,
    plan,
};
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig, TrainerHash};
use rcsync::{
    ApiClient, ArtifactKind, Entry, EntryState, Event, Evidence, Limits, ListedArtifact, Manifest, Mirror,
    RelPath, Revision, Selection, Sha256Digest, SourceUrl, Stop, TokenSource,
};

/// As many files as a run of a year makes.
const MANY: u64 = 50_000;

const MIB: usize = 1 << 20;

fn main() {
    divan::main();
}

fn listed() -> Vec<ListedArtifact> {
    let sample = |number: u64| ListedArtifact {
        kind: ArtifactKind::Sample,
        url: SourceUrl::parse(&format!(
            "https://files.example/output/run/samples/{}__{number:09}_0.jpg",
            1_700_000_000_000 + number
        ))
        .unwrap(),
        sample: None,
    };
    (0..MANY).map(sample).collect()
}

fn listing(listed: &[ListedArtifact]) -> Listing {
    Listing::build(Some("run"), listed, &|_| None, std::iter::empty())
}

fn entry(path: &RelPath) -> Entry {
    Entry {
        path: path.clone(),
        step: Some(1),
        size: 120_000,
        sha256: Sha256Digest::new([7; 32]),
        evidence: Evidence::Structure,
        revision: Revision::default(),
        run: "2026-01-31T12:00:00".into(),
        modified: Some(1),
        state: EntryState::Present,
        older: Vec::new(),
    }
}

fn know(listing: &Listing) -> Vec<Record> {
    let know = |artifact: &Arc<rcsync::internals::Artifact>| Record::Know {
        key: artifact.key.clone(),
        entry: entry(&artifact.path),
    };
    listing.artifacts.iter().map(know).collect()
}

fn manifest(listing: &Listing) -> Manifest {
    let mut manifest = Manifest::new("job".parse().unwrap(), "https://api.example".to_owned());
    know(listing).into_iter().for_each(|record| manifest.apply(record));
    manifest
}

/// Fifty thousand listed files get their names.
#[divan::bench(sample_count = 10)]
fn names_of_50_000(bencher: Bencher<'_, '_>) {
    let listed = listed();
    bencher.bench_local(|| listing(black_box(&listed)));
}

/// Fifty thousand files that are all here: nothing to do, and that has to be found out.
#[divan::bench(sample_count = 10)]
fn plan_of_50_000(bencher: Bencher<'_, '_>) {
    let listing = listing(&listed());
    let manifest = manifest(&listing);
    let here = LocalFile::File { size: 120_000, modified: Some(1) };
    let local: Local = listing.artifacts.iter().map(|artifact| (artifact.path.clone(), here)).collect();
    let (recollections, selection) = (HashMap::new(), Selection::default());
    bencher.bench_local(|| {
        let actions = plan(&Situation {
            listing: &listing,
            manifest: &manifest,
            recollections: &recollections,
            local: &local,
            selection: &selection,
            run: "2026-01-31T12:00:00",
            reached: None,
        });
        assert!(actions.iter().all(|action| action.step == Step::Keep));
        actions
    });
}

fn load(dir: &Path) -> Store {
    Store::load(dir, &"job".parse().unwrap(), "https://api.example", || None).unwrap().0
}

/// A manifest of fifty thousand entries is read from its snapshot.
#[divan::bench(sample_count = 10)]
fn manifest_of_50_000(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(PRIVATE)).unwrap();
    let mut store = load(dir.path());
    store.append(know(&listing(&listed()))).unwrap();
    store.compact().unwrap();
    bencher.bench_local(|| load(dir.path()));
}

/// One batch of 256 records is made durable.
#[divan::bench(sample_count = 20)]
fn journal_batch(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(PRIVATE)).unwrap();
    let mut store = load(dir.path());
    let records: Vec<Record> = know(&listing(&listed())).into_iter().take(256).collect();
    bencher.bench_local(|| store.append(records.clone()).unwrap());
}

/// Everything that is computed over a file's bytes while they pass.
#[divan::bench(sample_count = 10)]
fn inspection_of_64_mib(bencher: Bencher<'_, '_>) {
    let bytes = vec![42_u8; 64 * MIB];
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut inspection = Inspection::new(Format::Unknown, &[]);
        bytes.chunks(MIB).for_each(|chunk| inspection.feed(chunk));
        inspection.finish(None)
    });
}

/// The books of one file of 100 GiB: every piece leased and booked.
#[divan::bench(sample_count = 10)]
fn pieces_of_100_gib(bencher: Bencher<'_, '_>) {
    let cut = Cut { piece: 16 << 20, first: 16 << 20, split: 2 << 20, block: 1 << 20 };
    bencher.bench_local(|| {
        let mut map = PieceMap::resumed(100 << 30, []);
        while let Some((lease, range)) = map.next(&cut) {
            map.advance(lease, range.end - range.start);
            map.release(lease);
        }
        assert!(map.is_complete());
    });
}

/// A whole mirror of one checkpoint of 64 MiB. The simulator makes the bytes in the same process: what is measured is
/// change from one version to the next, not what a real host allows.
#[divan::bench(sample_count = 5)]
fn mirror_of_64_mib(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let simulator = runtime.block_on(Simulator::start(SimulatorConfig::default())).unwrap();
    let job = simulator.add_job(JobPlan {
        steps: 100,
        save_every: 0,
        sample_every: 0,
        checkpoint_bytes: 64 << 20,
        trainer_hash: TrainerHash::Missing,
        ..JobPlan::default()
    });
    simulator.finish(&job);
    bencher.counter(BytesCount::new(64 * MIB)).bench_local(|| {
        let folder = tempfile::tempdir().unwrap();
        let tokens = TokenSource::fixed("simulated-token");
        let api = ApiClient::new(simulator.api_base().parse().unwrap(), tokens, Limits::default()).unwrap();
        let mirror =
            Mirror::new(api, job.clone(), folder.path().join("out")).configure(|options| options.once = true);
        let status = runtime.block_on(mirror.run(Arc::new(|_: &Event| {}), Stop::new())).unwrap();
        assert_eq!(status.code(), 0);
    });
}
