//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub mod api;
pub mod comfyui;
pub mod datasets;
pub mod file_body;
pub mod folder;
pub mod net;
pub mod push_journal;
pub mod submit_record;
pub mod system;
pub mod upload;
