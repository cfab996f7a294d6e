//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub mod api;
pub(crate) mod blocking;
pub mod blocks;
mod causes;
mod claims;
pub mod comfyui;
pub mod comfyui_server;
pub(crate) mod disk;
pub mod exec;
pub(crate) mod handles;
pub mod http;
pub mod link;
pub mod lock;
pub mod part;
pub mod retry_after;
pub(crate) mod sealed;
pub mod store;
pub mod token;
mod trust;
pub mod watch;
pub mod webhook;
pub(crate) mod wire;
pub(crate) mod witness;
