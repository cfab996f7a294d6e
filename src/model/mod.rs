//! What things are: values that are valid by construction.
//!
//! Nothing in this room touches disk, network, clock or environment.

pub mod artifact;
pub mod claim;
pub mod comfyui;
pub mod dataset;
pub mod destination;
pub mod digest;
pub mod error_code;
pub mod evidence;
pub mod fault;
pub mod hook_event;
pub mod hook_fault;
pub mod job;
pub(crate) mod job_file;
pub(crate) mod lenient;
pub mod listing;
pub mod local;
pub mod manifest;
pub(crate) mod markup;
pub mod names;
pub mod placement;
pub mod response_head;
pub mod revision;
pub mod seed;
mod shared_text;
pub mod signed_page;
pub mod source_url;
pub mod training_config;
pub mod units;
pub mod unusable;
pub mod upload_record;
pub mod weights_kind;
pub mod yaml11;
