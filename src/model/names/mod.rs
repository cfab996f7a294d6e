//! Names from outside become safe relative paths here.

pub mod collision_key;
pub(crate) mod component;
pub(crate) mod local_name;
pub mod rel_path;
pub mod sanitize;
pub mod taken_names;
