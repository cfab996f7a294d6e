//! Names from outside become safe relative paths here.

pub(crate) mod collision_key;
pub(crate) mod component;
pub(crate) mod local_name;
pub(crate) mod rel_path;
pub(crate) mod sanitize;
pub(crate) mod taken_names;
