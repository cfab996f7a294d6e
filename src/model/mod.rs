//! What things are: values that are valid by construction.
//!
//! Nothing in this room touches disk, network, clock or environment.

pub(crate) mod artifact;
pub(crate) mod bad_format;
pub(crate) mod bad_hook;
pub(crate) mod claim;
pub(crate) mod comfyui;
pub(crate) mod dataset;
pub(crate) mod destination;
pub(crate) mod digest;
pub(crate) mod error_code;
pub(crate) mod evidence;
pub(crate) mod fault;
pub(crate) mod hook_event;
pub(crate) mod hook_fault;
pub(crate) mod job;
pub(crate) mod job_file;
pub(crate) mod lenient;
pub(crate) mod list_fault;
pub(crate) mod listing;
pub(crate) mod local;
pub(crate) mod manifest;
pub(crate) mod markup;
pub(crate) mod names;
pub(crate) mod placement;
pub(crate) mod response_head;
pub(crate) mod revision;
pub(crate) mod seed;
mod shared_text;
pub(crate) mod signed_page;
pub(crate) mod source_url;
pub(crate) mod tls_fault;
pub(crate) mod training_config;
pub(crate) mod transport_fault;
pub(crate) mod units;
pub(crate) mod unusable;
pub(crate) mod upload_record;
pub(crate) mod weights_kind;
pub(crate) mod yaml11;
