//! Mirrors a RunComfy AI Toolkit training job to disk while it trains: resumable, proven, never half a file.
//!
//! This is the library behind the command `rcsync`. A [`Mirror`] polls a job (status, result, local folder), decides (a pure
//! plan), acts (fetch, verify, publish), records, and polls again, until the job is over. It reports [`Event`]s to a
//! [`Reporter`], with typed [`causes`]; a [`Follower`] works with published files; a [`Stop`] ends a run gracefully.
//!
//! ```
//! use std::sync::Arc;
//! use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
//! use rcsync::{ApiClient, Event, ExitStatus, Limits, Mirror, Stop, TokenSource};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A simulated trainer; with a real one: `ApiBase::default()` and `TokenSource::of_process(None)`.
//! let simulator = Simulator::start(SimulatorConfig::default()).await?;
//! let job = simulator.add_job(JobPlan { steps: 250, ..JobPlan::default() });
//! simulator.finish(&job);
//!
//! let tokens = TokenSource::fixed("simulated-token");
//! let api = ApiClient::new(simulator.api_base().parse()?, tokens, Limits::default())?;
//! let folder = tempfile::tempdir()?;
//! let reporter = |event: &Event| {
//!     if let Event::Published { path, evidence, .. } = event {
//!         println!("{path}: {evidence}");
//!     }
//! };
//! let mirror = Mirror::new(api, job, folder.path().join("out")).configure(|options| options.once = true);
//! assert_eq!(mirror.run(Arc::new(reporter), Stop::new()).await?, ExitStatus::Complete);
//! assert!(folder.path().join("out/my_first_lora.safetensors").exists());
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//!
//! At every instant, also after a kill, a power cut or on a full disk:
//! - a file under its final name is whole and verified, and the manifest never claims bytes that are not on the disk;
//! - nothing is deleted because it vanished remotely, and nothing that rcsync did not write is overwritten;
//! - a second run with nothing new asks the API twice, no artifact host, and changes no file;
//! - the token goes to the API's origin alone; neither it nor a URL's query is printed, logged or stored.
//!
//! Semantic versioning covers what this page lists. The feature `internals` is for the tests, benchmarks and fuzz targets of
//! this crate.
// With `internals` all rooms are public, so that what still cannot be reached from outside needs no `pub`. Without `buckets` less
// is reached.
#![cfg_attr(all(feature = "internals", feature = "buckets"), warn(unreachable_pub))]

pub(crate) mod cli;
pub(crate) mod decide;
pub(crate) mod edge;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod model;
#[cfg(test)]
mod simulation;
pub mod simulator;

/// What `main` of the program calls.
#[doc(hidden)]
pub use cli::main as program;

/// What the tests, benchmarks and fuzz targets of this crate use beside the public names.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::decide::formats::safetensors_header::{HeaderError, SafetensorsHeader};
    pub use crate::decide::formats::{Checker, Format, Verdict};
    pub use crate::decide::mirror::plan::{Situation, Step, plan};
    pub use crate::decide::transfer::ranges::{Cut, PieceMap};
    pub use crate::decide::transfer::verify::Inspection;
    pub use crate::edge::api::error_body::read_refusal;
    pub use crate::edge::api::responses::{read_change, read_result, read_status, read_submit};
    pub use crate::edge::folder::manifest_store::{PRIVATE, Store};
    pub use crate::edge::net::retry_after::retry_after;
    pub use crate::model::artifact::Artifact;
    pub use crate::model::digest::hex;
    pub use crate::model::listing::Listing;
    pub use crate::model::local::{Local, LocalFile};
    pub use crate::model::manifest::Record;
    pub use crate::model::names::sanitize::is_invisible;
    pub use crate::model::response_head::ContentRange;

    /// What the fuzz targets of datasets, buckets, fleets, configurations and responses call.
    pub mod parsers {
        #[cfg(feature = "buckets")]
        pub use crate::decide::bucket::head::{Head, Known, Line};
        #[cfg(feature = "buckets")]
        pub use crate::decide::bucket::names::candidates;
        pub use crate::decide::datasets::{
            BaseModel, Caption, Content, Wishes, check, check_with, dataset_names, roles, starting_config,
        };
        pub use crate::decide::fleet::job_list;
        pub use crate::decide::fleet::template::Template;
        pub use crate::decide::jobs::preflight;
        pub use crate::edge::api::dataset_responses::{
            read_dataset, read_datasets, read_deletion, read_upload, read_upload_link,
        };
        pub use crate::edge::api::error_body::{fault_of_status, read_refusal};
        pub use crate::edge::comfyui::{Surroundings, find};
        pub use crate::edge::net::http::read_head;
        pub use crate::edge::net::unpack::{MOST, unpack};
        pub use crate::edge::records::push_journal::PushJournal;
        pub use crate::engine::datasets::scan::{ScanOptions, scan};
        pub use crate::model::destination::{BucketUrl, Destination};
        pub use crate::model::revision::Condition;
        pub use crate::model::training_config::TrainingConfig;
        pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    }
}

pub use decide::mirror::retention::Retention;
pub use decide::mirror::select::{PatternError, Selection};
pub use decide::mirror::steps::{Steps, StepsError};
pub use decide::transfer::task::FailureCause;
pub use edge::api::base_url::{ApiBase, ApiBaseError};
pub use edge::api::requests::{GpuCount, GpuType, SubmitRequest};
pub use edge::api::responses::{ChangeAnswer, SubmitAnswer};
pub use edge::api::token::{Token, TokenSource};
pub use edge::api::{ApiClient, Limits};
pub use engine::event::{Event, Notice, Reporter, ResumeReason, RetryCause};
pub use engine::follower::{Follower, View};
pub use engine::mirror::Mirror;
pub use engine::options::{OnChange, SyncOptions};
pub use engine::stop::Stop;
pub use error::{ApiError, Error, ExitStatus, explain_briefly};
pub use model::artifact::{ArtifactKey, ArtifactKind, Sample};
pub use model::dataset::{Dataset, DatasetId, DatasetName, DatasetNameError, DatasetStatus, RemoteFile};
pub use model::digest::{DigestError, Sha256Digest};
pub use model::error_code::{ErrorCode, KnownCode, Subject};
pub use model::evidence::Evidence;
pub use model::job::{
    JobId, JobIdError, JobStatus, JobTimes, ListedArtifact, Progress, ResultAnswer, StatusAnswer, Unreachable,
};
pub use model::manifest::{Entry, EntryState, Manifest, Older};
pub use model::names::rel_path::{RelPath, RelPathError};
pub use model::revision::Revision;
pub use model::seed::Seed;
pub use model::source_url::SourceUrl;
pub use model::units::{ByteCount, ByteCountError};

/// What errors, events and notices are made of: a program matches on these where the kind of a failure matters.
pub mod causes {
    pub use crate::decide::mirror::auto_resume::Stopped;
    pub use crate::decide::mirror::disk_forecast::Full;
    pub use crate::decide::mirror::eviction_forecast::Late;
    pub use crate::decide::mirror::plan::PlannedStep;
    pub use crate::decide::transfer::disk_space::Shortage;
    pub use crate::decide::transfer::verify::Contradiction;
    pub use crate::engine::event::{
        AfterFailure, ComfyNotice, HookEvent, HookKind, HookTrouble, NoStart, ServerAnswer,
    };
    pub use crate::error::{
        BadInput, BucketError, Condition, NoCredentials, NoMirror, OddAnswer, StoreRefusal,
        SurroundingsFault, SystemError, TokenFault, Unanswered, Unfit, UnfitPrefix, UnknownOutcome,
    };
    pub use crate::model::bad_format::BadFormat;
    pub use crate::model::comfyui::{
        AwayFolder, ConfiguredFolder, LoraFolderReason, NoList, NoLoraFolder, PathsFault, PathsPlace,
        PathsRefusal,
    };
    pub use crate::model::destination::DestinationError;
    pub use crate::model::fault::{Fault, Forbidden, LocalFault, RangeFault};
    pub use crate::model::hook_fault::{Ending, HookFault};
    pub use crate::model::list_fault::{BadLine, LineFault, ListFaults};
    pub use crate::model::source_url::SourceUrlError;
    pub use crate::model::tls_fault::{CertificateFault, TlsAlert, TlsFault};
    pub use crate::model::transport_fault::TransportFault;
    pub use crate::model::unusable::{Unfetchable, UnusableRow};
    pub use crate::model::weights_kind::WeightsKind;

    /// What is wrong with a YAML file.
    pub mod yaml {
        pub use crate::model::yaml11::{Meaning, Refusal, RefusalKind, Unreadable};
    }
}
