//! What a seed makes of the world: a training job with its habits, a host with its quirks, and the mishaps to come.

use std::num::NonZeroU16;
use std::time::Duration;

use fastrand::Rng;

use crate::decide::transfer::group_commit::Gather;
use crate::decide::transfer::portions::Portions;
use crate::engine::options::{OnChange, SyncOptions};
use crate::model::units::ByteCount;
use crate::simulator::{
    Family, Fault, HostOptions, JobPlan, PictureFormat, SimulatorConfig, TrainerHash, Validators, What,
    Writes,
};

use super::disk::FileSystem;

/// One generated world and what will happen in it.
#[derive(Debug, Clone)]
pub(super) struct Universe {
    pub(super) config: SimulatorConfig,
    pub(super) plan: JobPlan,
    /// Virtual time of one training step.
    pub(super) step: Duration,
    pub(super) file_system: FileSystem,
    pub(super) on_change: OnChange,
    /// Whether another program has files in the folder.
    pub(super) foreign_files: bool,
    /// Lives of the mirror before the world comes to rest.
    pub(super) lives: u32,
    pub(super) locks: Locks,
    /// Whether some lives are two mirrors side by side.
    pub(super) twins: bool,
}

/// Something that befalls the world.
#[derive(Debug, Clone)]
pub(super) enum Mishap {
    /// One rule of misbehaviour.
    Fault(Fault),
    /// The API is away for so many requests.
    Outage(u64),
    /// Every link given out so far is dead.
    Expiry,
    /// The machine is taken away.
    Preemption,
    /// The list is empty for so many requests.
    EmptyList(u64),
    /// A checkpoint's transfer breaks after so many bytes, and the next answers come from a replica that has another
    /// version of it.
    Replica { breaks_after: u64, answers: u64 },
}

/// What a folder's lock is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locks {
    /// One holds it at a time.
    Work,
    /// Every process gets it, and none can see whether the other one is alive: two machines on a network disk.
    AreGranted,
}

/// So that small files have many blocks, are written in many groups, and some on another thread.
pub(super) const SMALL_PORTIONS: Portions =
    Portions { group: 1 << 12, group_on_the_spot: 1 << 10, small_file: 1 << 11, block: 1 << 12 };

fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

fn one_in(random: &mut Rng, count: u32) -> bool {
    random.u32(..count) == 0
}

impl Universe {
    pub(super) fn new(seed: u64, random: &mut Rng) -> Self {
        let save_every = random.u64(4..12);
        let family = if one_in(random, 5) { Family::Wan22 } else { Family::Flux };
        let trainer_hash = if one_in(random, 8) { TrainerHash::Missing } else { TrainerHash::Right };
        let writes = match (family, trainer_hash) {
            (Family::Flux, TrainerHash::Right) => {
                pick(random, &[Writes::Atomic, Writes::Growing, Writes::ZeroTail])
            }
            _ => pick(random, &[Writes::Atomic, Writes::Growing]),
        };
        let steps = random.u64(10..40);
        let plan = JobPlan {
            name: pick(random, &["my_first_lora", "über lora", "a.b", "x"]).to_owned(),
            steps,
            save_every: if one_in(random, 10) { 0 } else { save_every },
            keep: random.u64(..4),
            sample_every: if one_in(random, 4) { 0 } else { save_every },
            prompts: (0..random.usize(1..3)).map(|number| format!("prompt {number}")).collect(),
            sample_format: if one_in(random, 3) { PictureFormat::Png } else { PictureFormat::Jpg },
            first_sample: random.bool(),
            family,
            checkpoint_bytes: random.u64(2_000..40_000),
            trainer_hash,
            picture_side: 8,
            writes,
            write_steps: random.u64(1..6),
            sample_steps: random.u64(..3),
            queue_steps: random.u64(..4),
            optimizer: one_in(random, 4),
            list_deleted: one_in(random, 5),
            preempt_at: one_in(random, 3).then(|| random.u64(1..steps)),
            ..JobPlan::default()
        };
        let validators = [
            Validators::Strong,
            Validators::Strong,
            Validators::Strong,
            Validators::Md5,
            Validators::Weak,
            Validators::LastModified,
            Validators::Changing,
            Validators::None,
        ];
        let signed = random.u32(..4) > 0;
        let host = HostOptions {
            ranges: !one_in(random, 10),
            refuses_ranges: one_in(random, 10).then(|| pick(random, &[400, 403, 405, 501, 503])),
            validators: pick(random, &validators),
            if_range_never_matches: one_in(random, 12),
            if_range_ignored: one_in(random, 3),
            repr_digest: one_in(random, 6),
            crc32c: one_in(random, 8),
            linked_etag: one_in(random, 10),
            signed,
            link_lifetime: (signed && one_in(random, 3)).then(|| Duration::from_secs(random.u64(5..40))),
            throttle: one_in(random, 4).then(|| random.u64(4_000..60_000)),
            latency: Duration::from_millis(random.u64(..200)),
        };
        Self {
            config: SimulatorConfig {
                seed,
                host,
                token: super::TOKEN.to_owned(),
                ..SimulatorConfig::default()
            },
            plan,
            step: Duration::from_millis(random.u64(400..4_000)),
            file_system: if random.bool() { FileSystem::Journalled } else { FileSystem::Minimal },
            on_change: if one_in(random, 3) { OnChange::Replace } else { OnChange::Keep },
            foreign_files: one_in(random, 3),
            lives: random.u32(1..6),
            locks: if one_in(random, 3) { Locks::Work } else { Locks::AreGranted },
            twins: one_in(random, 4),
        }
    }

    /// How the mirror is called this time.
    pub(super) fn options(&self, once: bool, random: &mut Rng) -> SyncOptions {
        SyncOptions {
            once,
            interval: random.bool().then(|| Duration::from_secs(random.u64(5..30))),
            connections: NonZeroU16::new(random.u16(1..5)),
            retries: random.u32(1..6),
            stall_timeout: Duration::from_secs(random.u64(3..20)),
            min_free: Some(ByteCount(0)),
            allow_private_hosts: true,
            on_change: self.on_change,
            gather: pick(
                random,
                &[
                    Gather { enough: 1, longest: Duration::ZERO },
                    Gather::default(),
                    Gather { enough: 64, longest: Duration::from_secs(5) },
                ],
            ),
            portions: SMALL_PORTIONS,
            ..SyncOptions::default()
        }
    }
}

impl Mishap {
    pub(super) fn new(random: &mut Rng) -> Self {
        match random.u32(..14) {
            0 => Self::Outage(random.u64(1..8)),
            1 => Self::Expiry,
            2 => Self::Preemption,
            3 => Self::EmptyList(random.u64(1..3)),
            4 | 5 => Self::Replica { breaks_after: random.u64(1..20_000), answers: random.u64(1..3) },
            _ => Self::Fault(fault(random)),
        }
    }
}

fn fault(random: &mut Rng) -> Fault {
    let place =
        pick(random, &[".safetensors", ".safetensors", "samples/", "config.yaml", "/status", "/result", ""]);
    let bytes = random.u64(..30_000);
    let what = match random.u32(..17) {
        0 => What::status(pick(random, &[500, 502, 503, 504, 408, 404, 403, 410])),
        1 => What::retry_after(pick(random, &[429, 503]), pick(random, &["1", "7", "30", "soon", "-1"])),
        2 => What::html(),
        3 => What::Drop,
        4 => What::Cut(bytes),
        5 => What::EndEarly(bytes),
        6 => What::Stall(bytes),
        7 => What::Trickle(random.u64(500..5_000)),
        8 => What::Delay(Duration::from_secs(random.u64(1..70))),
        9 => What::IgnoreRange,
        10 => What::EarlierStart(random.u64(1..5_000)),
        11 => What::WrongStart(random.u64(1..5_000)),
        12 => What::WrongTotal(random.u64(1..5_000)),
        13 => What::NoContentRange,
        14 => What::GzipHeader,
        // Wrong bytes with a length that agrees cannot be recognised in a YAML. These are for answers in JSON.
        15 => return Fault::once(pick(random, &["/status", "/result"]), What::Truncated),
        _ => return Fault::once(pick(random, &["/status", "/result"]), What::WrongJob),
    };
    Fault::once(place, what).times(random.u64(1..4)).after(random.u64(..3))
}

/// Files that are named one by one, after 10 ms, and in full groups: a crash meets each of them.
#[test]
fn every_way_of_gathering_is_played() {
    let mut drawn = Vec::new();
    for seed in 0..20 {
        let mut random = Rng::with_seed(seed);
        let universe = Universe::new(seed, &mut random);
        drawn.push(universe.options(false, &mut random).gather);
    }
    for (enough, millis) in [(1, 0), (64, 10), (64, 5000)] {
        let gather = Gather { enough, longest: Duration::from_millis(millis) };
        assert!(drawn.contains(&gather), "{gather:?}");
    }
}
