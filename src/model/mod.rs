//! What things are: values that are valid by construction.
//!
//! Nothing in this room touches disk, network, clock or environment.

pub mod api_answer;
pub mod api_base;
pub mod api_message;
pub mod api_request;
pub mod artifact;
pub mod claim;
pub mod collision_key;
pub mod digest;
pub mod evidence;
pub mod fault;
pub mod head;
pub mod job;
pub mod listing;
pub mod local;
mod local_name;
mod loose_json;
pub mod manifest;
pub mod occasion;
mod part_name;
pub mod placement;
pub mod rel_path;
pub mod revision;
pub mod safetensors;
pub mod sanitize;
pub mod source_url;
pub mod training_config;
pub mod units;
