//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub(crate) mod api;
#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub(crate) mod comfyui;
pub(crate) mod folder;
pub(crate) mod net;
pub(crate) mod records;
pub(crate) mod system;
