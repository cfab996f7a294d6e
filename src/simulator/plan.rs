//! The plan of a simulated world: jobs, their habits, and the hosts.
//!
//! The one idea: everything that varies is a public field with a default, so that a test names only what it is about.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::model::artifact::{ArtifactKind, Sample};
use crate::model::job::{JobStatus, Progress};

use super::dataset_options::DatasetOptions;

/// How to start a [`Simulator`](super::Simulator).
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// Where the Trainer API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the artifact host listens: another origin than the API.
    pub artifact_listen: SocketAddr,
    /// The bearer token that the API wants.
    pub token: String,
    /// All bytes, names and times derive from this.
    pub seed: u64,
    /// Real time of one training step; `None` leaves time to [`Simulator::advance_steps`](super::Simulator::advance_steps).
    pub step_time: Option<Duration>,
    /// How the artifact host behaves.
    pub host: HostOptions,
    /// The habits of jobs that are submitted through the API. Name, steps and the like come from their YAML.
    pub submitted: JobPlan,
    /// How the Dataset API behaves.
    pub datasets: DatasetOptions,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            artifact_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: "simulated-token".to_owned(),
            seed: 42,
            step_time: None,
            host: HostOptions::default(),
            submitted: JobPlan::default(),
            datasets: DatasetOptions::default(),
        }
    }
}

/// How the artifact host behaves.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Whether ranges are understood at all; without, every answer is a 200 of the whole file.
    pub ranges: bool,
    /// Any request with a range is refused with this status; the same without is served.
    pub refuses_ranges: Option<u16>,
    /// Which validators are sent.
    pub validators: Validators,
    /// Whether `If-Range` is believed to differ whatever it says, as some servers do: the answer is a 200.
    pub if_range_never_matches: bool,
    /// A range is served whatever the `If-Range` beside it says.
    pub if_range_ignored: bool,
    /// Send `Repr-Digest: sha-256=:…:` for whole files.
    pub repr_digest: bool,
    /// Send `x-amz-checksum-crc32c` for whole files.
    pub crc32c: bool,
    /// Send `x-linked-etag` with the SHA-256 for whole files.
    pub linked_etag: bool,
    /// Whether URLs carry `?sig=…&expires=…` and are refused without; a new signature at each result call.
    pub signed: bool,
    /// How long a signature lives in real time; `None` means until [`Simulator::expire_links`](super::Simulator::expire_links).
    pub link_lifetime: Option<Duration>,
    /// Bytes a second of one answer.
    pub throttle: Option<u64>,
    /// Wait before each answer.
    pub latency: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            ranges: true,
            refuses_ranges: None,
            validators: Validators::Strong,
            if_range_never_matches: false,
            if_range_ignored: false,
            repr_digest: false,
            crc32c: false,
            linked_etag: false,
            signed: true,
            link_lifetime: None,
            throttle: None,
            latency: Duration::ZERO,
        }
    }
}

/// Which validators the host sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validators {
    /// A strong ETag of time and size, and `Last-Modified`.
    Strong,
    /// The MD5 of the file as a strong ETag, and `Last-Modified`.
    Md5,
    /// A weak ETag, and `Last-Modified`.
    Weak,
    /// `Last-Modified` alone.
    LastModified,
    /// A strong ETag that differs at every answer although the bytes do not.
    Changing,
    /// None.
    None,
}

/// A training job and its habits.
#[derive(Debug, Clone)]
pub struct JobPlan {
    /// `config.name`.
    pub name: String,
    /// `train.steps`.
    pub steps: u64,
    /// `save.save_every`; 0 for never.
    pub save_every: u64,
    /// `save.max_step_saves_to_keep`; 0 for all.
    pub keep: u64,
    /// `sample.sample_every`; 0 for never.
    pub sample_every: u64,
    /// `sample.prompts`.
    pub prompts: Vec<String>,
    /// `sample.format`.
    pub sample_format: PictureFormat,
    /// `sample.seed`; each prompt takes the next one.
    pub sample_seed: u64,
    /// Whether samples are drawn before the first step.
    pub first_sample: bool,
    /// The model that is trained.
    pub family: Family,
    /// About how long one checkpoint is.
    pub checkpoint_bytes: u64,
    /// What the checkpoints' headers say about their bodies.
    pub trainer_hash: TrainerHash,
    /// Side of the square samples, in pixels.
    pub picture_side: u16,
    /// How a checkpoint comes to its place.
    pub writes: Writes,
    /// For how many steps a checkpoint is being written; `u64::MAX` until
    /// [`Simulator::finish_writes`](super::Simulator::finish_writes).
    pub write_steps: u64,
    /// Steps from one sample of a set to the next; 0 for all at once.
    pub sample_steps: u64,
    /// For how many steps' time the job waits in the queue.
    pub queue_steps: u64,
    /// Whether an `optimizer.pt` is listed too, rewritten after each save.
    pub optimizer: bool,
    /// Whether deleted checkpoints stay in the list although the host answers 404.
    pub list_deleted: bool,
    /// Whether the machine is taken away at this step, once.
    pub preempt_at: Option<u64>,
}

impl Default for JobPlan {
    fn default() -> Self {
        Self {
            name: "my_first_lora".to_owned(),
            steps: 2000,
            save_every: 250,
            keep: 4,
            sample_every: 250,
            prompts: vec![
                "a photo of ohwx dog on a beach".to_owned(),
                "ohwx dog as a watercolour painting".to_owned(),
            ],
            sample_format: PictureFormat::Jpg,
            sample_seed: 42,
            first_sample: true,
            family: Family::Flux,
            checkpoint_bytes: 3 * 1024 * 1024,
            trainer_hash: TrainerHash::Right,
            picture_side: 256,
            writes: Writes::Atomic,
            write_steps: 10,
            sample_steps: 0,
            queue_steps: 0,
            optimizer: false,
            list_deleted: false,
            preempt_at: None,
        }
    }
}

/// The file format of sample pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// JPEG, the trainer's default.
    Jpg,
    /// PNG.
    Png,
}

impl PictureFormat {
    /// Returns the file extension.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Png => "png",
        }
    }
}

/// Which model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// One file a checkpoint.
    Flux,
    /// Two files a checkpoint, `_high_noise` and `_low_noise`, each with the hash of both together.
    Wan22,
}

impl Family {
    /// Returns the word in `ss_base_model_version`.
    #[must_use]
    pub const fn base_model(self) -> &'static str {
        match self {
            Self::Flux => "flux.1",
            Self::Wan22 => "wan_2.2_14b",
        }
    }
}

/// What a checkpoint's header says about its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainerHash {
    /// The body's SHA-256.
    Right,
    /// A hash of something else.
    Wrong,
    /// Nothing. Spares the simulator from hashing very large bodies.
    Missing,
}

/// How a checkpoint comes to its place. It is listed at once in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Whole from the first moment.
    Atomic,
    /// The file grows: header first.
    Growing,
    /// The file has its full length at once, with zeros where nothing was written yet.
    ZeroTail,
}

/// A job that is only a list: for listings with odd names, sizes or lengths.
#[derive(Debug, Clone)]
pub struct StaticJob {
    /// `config.name`.
    pub name: String,
    /// What is listed.
    pub files: Vec<StaticFile>,
    /// What the API says the job is doing.
    pub status: JobStatus,
    /// How far the API says it is.
    pub progress: Progress,
    /// What the API says went wrong.
    pub error: Option<String>,
}

impl Default for StaticJob {
    fn default() -> Self {
        Self {
            name: "static".to_owned(),
            files: Vec::new(),
            status: JobStatus::Stopped,
            progress: Progress { current_step: Some(1000), total_steps: Some(1000), percent: Some(100.0) },
            error: None,
        }
    }
}

/// One file of a [`StaticJob`].
#[derive(Debug, Clone)]
pub struct StaticFile {
    /// Which list it is in.
    pub kind: ArtifactKind,
    /// The path under the job's output folder, in plain words. Only used to build the URL and in
    /// [`Simulator::truth`](super::Simulator::truth).
    pub path: String,
    /// The URL's path exactly as it is listed (or a whole URL, which is listed as it is); `None` builds the usual one.
    pub raw_url: Option<String>,
    /// The bytes.
    pub bytes: StaticBytes,
    /// What is said about a sample.
    pub sample: Option<Sample>,
}

impl StaticFile {
    /// A file at the usual place.
    pub fn new(kind: ArtifactKind, path: impl Into<String>, bytes: StaticBytes) -> Self {
        Self { kind, path: path.into(), raw_url: None, bytes, sample: None }
    }

    /// The same file, listed under this URL path (or whole URL).
    #[must_use]
    pub fn listed_as(mut self, raw_url: impl Into<String>) -> Self {
        self.raw_url = Some(raw_url.into());
        self
    }
}

/// The bytes of a [`StaticFile`].
#[derive(Debug, Clone)]
pub enum StaticBytes {
    /// These.
    Exact(Bytes),
    /// Noise: of any length without taking memory.
    Noise {
        /// The length in bytes.
        length: u64,
    },
    /// A valid safetensors file.
    Weights {
        /// About how long.
        bytes: u64,
        /// The step in its metadata.
        step: u64,
        /// What its header says about its body.
        hash: TrainerHash,
    },
    /// A picture.
    Picture {
        /// The file format.
        format: PictureFormat,
        /// Width and height in pixels.
        side: u16,
    },
    /// Listed, but the host answers 404.
    Gone,
}
