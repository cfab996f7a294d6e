//! Datasets.

pub mod push;
