//! What things are: values that are valid by construction.
//!
//! Nothing in this room touches disk, network, clock or environment.

pub mod artifact;
pub mod digest;
pub mod evidence;
pub mod job;
pub mod listing;
pub mod rel_path;
pub mod safetensors;
pub mod source_url;
pub mod units;
