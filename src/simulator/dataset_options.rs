//! How the simulated Dataset API behaves.

use std::time::Duration;

/// How the simulated Dataset API behaves.
#[derive(Debug, Clone)]
pub struct DatasetOptions {
    /// How many looks at the status it takes from the last upload to READY.
    pub looks_until_ready: u32,
    /// Whether a look between two files finds a READY dataset, whatever the field above says.
    pub ready_between_files: bool,
    /// For so many looks after READY the inventory lacks its last file.
    pub lists_late: u32,
    /// Whether a READY dataset stays so when a file is added or overwritten.
    pub overwrite_keeps_ready: bool,
    /// Whether characters outside of `A-Za-z0-9._-` in file names become `_`.
    pub rewrites_names: bool,
    /// Validation fails with this message.
    pub failure: Option<String>,
    /// The largest body of a form upload, with all that is around the file; a larger one is answered with 413.
    pub form_limit: u64,
    /// How long a signed link lives in real time; `None` means until
    /// [`Simulator::expire_links`](super::Simulator::expire_links).
    pub link_lifetime: Option<Duration>,
    /// So many uploads from now on are stored one byte short.
    pub misstored: u64,
    /// More uploads at a time are answered with 429.
    pub most_at_a_time: Option<usize>,
    /// Bytes that the account has room for; more is answered with 402.
    pub quota: Option<u64>,
    /// Wait before each answer.
    pub latency: Duration,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        Self {
            looks_until_ready: 2,
            ready_between_files: false,
            lists_late: 0,
            overwrite_keeps_ready: false,
            rewrites_names: false,
            failure: None,
            form_limit: 150_000_000,
            link_lifetime: None,
            misstored: 0,
            most_at_a_time: None,
            quota: None,
            latency: Duration::ZERO,
        }
    }
}
