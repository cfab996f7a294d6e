//! HTTP to artifact hosts and webhooks.

pub(crate) mod address;
pub(crate) mod causes;
pub(crate) mod client;
pub(crate) mod file_body;
pub(crate) mod http;
pub(crate) mod names;
pub(crate) mod rate_limit;
pub(crate) mod response_digests;
pub(crate) mod retry_after;
pub(crate) mod tls_roots;
pub(crate) mod unpack;
pub(crate) mod upload;
pub(crate) mod webhook;
pub(crate) mod wire;
