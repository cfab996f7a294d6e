//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub mod api;
#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub(crate) mod clock;
pub mod comfyui;
pub mod datasets;
pub mod file_body;
pub mod folder;
mod names;
pub mod net;
pub mod push_journal;
pub mod submit_record;
pub mod system;
pub(crate) mod toll;
pub(crate) mod unpack;
pub mod upload;
