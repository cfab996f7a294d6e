//! Where decisions meet effects: loops without rules of their own; typed events come out.

mod adopt;
pub mod destination;
pub mod event;
pub mod mirror;
pub mod options;
pub mod outputs;
pub mod stop;
mod transfer;
