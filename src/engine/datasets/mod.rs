//! Datasets: what is in a folder, and sending it.

pub mod asking;
mod content;
pub mod event;
pub mod push;
pub mod scan;
