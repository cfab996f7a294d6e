//! The HTTP library, set up for the API.

use std::sync::Arc;

use crate::edge::api::base_url::ApiBase;
use crate::edge::net::client;
use crate::edge::net::names::{Names, Resolver};
use crate::model::tls_fault::TlsFault;

use super::Limits;

/// APIs answer with some twenty headers, behind a CDN with thirty.
const HEADERS_BOUND: usize = 100;

/// Load balancers hang up on idle connections after a minute; one that is left alone for half as long is not used
/// again, since a request on a dead connection may or may not have arrived.
const IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// Builds the one client that ever gets the token.
///
/// # Errors
/// When there are no certificates to trust, or `SSL_CERT_FILE` names a bad file.
pub(super) fn client(
    base: &ApiBase,
    limits: Limits,
    names: &Arc<Names>,
) -> Result<reqwest::Client, TlsFault> {
    let builder = client::builder()
        // Answers are unpacked, within bounds, where they are read: see [`super::body`].
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .http1_max_headers(HEADERS_BOUND)
        .pool_idle_timeout(IDLE)
        .dns_resolver(Arc::new(Resolver(names.clone())))
        .connect_timeout(limits.connect)
        .timeout(limits.total);
    // Plain http is for near hosts alone, so that the token cannot be read on the way: a proxy could.
    let builder = if base.is_https() { builder.https_only(true) } else { builder.no_proxy() };
    client::for_origin(builder, base.is_https())
}
