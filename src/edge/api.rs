//! The Trainer API client.

/// Stand-in until the client lands.
#[derive(Debug)]
pub struct ApiClient;
