//! Datasets: what is in a folder, and sending it.

pub(crate) mod asking;
mod content;
pub(crate) mod event;
pub(crate) mod push;
pub(crate) mod scan;
