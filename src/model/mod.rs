//! What things are: values that are valid by construction.
//!
//! Nothing in this room touches disk, network, clock or environment.

pub mod artifact;
pub mod collision_key;
pub mod digest;
pub mod evidence;
pub mod job;
pub mod listing;
mod local_name;
mod part_name;
pub mod rel_path;
pub mod sanitize;
pub mod source_url;
pub mod units;
