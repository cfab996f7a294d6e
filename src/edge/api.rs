//! The Trainer API client.
