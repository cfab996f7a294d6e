//! Shows a run: lines, JSON, live view, metrics, systemd.

pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod logs;
pub(crate) mod metrics;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(unix)]
pub(crate) mod systemd;
pub(crate) mod throughput;
pub(crate) mod view;
pub(crate) mod words;
