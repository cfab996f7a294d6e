//! What touches the world: the only room with sockets, files, locks and the wall clock.

pub mod api;
pub(crate) mod disk;
pub mod lock;
pub mod part;
pub(crate) mod sealed;
pub mod store;
