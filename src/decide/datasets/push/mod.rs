//! Sending a folder into a dataset: what has to be sent ([`plan`]), what follows from a fault and how many files are
//! sent at a time ([`sending`]), and when the dataset is as the folder is ([`ready`]).

pub(crate) mod plan;
pub(crate) mod ready;
pub(crate) mod sending;
