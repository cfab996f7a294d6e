//! Datasets: what is in a folder.

mod content;
pub mod scan;
