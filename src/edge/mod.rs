//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub mod api;
#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub mod comfyui;
pub mod folder;
pub mod net;
pub mod records;
pub mod system;
