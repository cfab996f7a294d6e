//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub mod api;
pub mod comfyui;
pub mod folder;
pub mod net;
pub mod system;
pub(crate) mod toll;
