//! HTTP to artifact hosts and webhooks.

pub(crate) mod address;
pub(crate) mod causes;
pub(crate) mod client;
pub mod file_body;
pub mod http;
pub(crate) mod names;
pub(crate) mod response_digests;
pub mod retry_after;
pub(crate) mod tls_roots;
pub mod unpack;
pub mod upload;
pub mod webhook;
pub(crate) mod wire;
