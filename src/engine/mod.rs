//! Where decisions meet effects: loops without rules of their own; typed events come out.

pub mod destination;
pub mod event;
pub(crate) mod fleet;
pub mod mirror;
pub mod options;
pub mod outputs;
pub mod stop;
pub mod transfer;
