//! How HTTP clients are built: what all of them have, and which certificates they trust.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect};

use crate::model::tls_fault::TlsFault;

use super::causes::innermost;
use super::tls_roots::with_trusted_roots;

/// Connecting takes one round trip, two with TLS; ten seconds covers a lost packet or two on the worst links.
pub(in crate::edge) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all clients have. No redirect is followed, unless a client has rules for it: a request may hold a secret.
pub(in crate::edge) fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("rcsync/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
}

/// Builds a client for one origin. Plain HTTP needs no certificates, which small containers do not have.
///
/// # Errors
/// When there are no certificates to trust, or `SSL_CERT_FILE` names a bad file.
pub(in crate::edge) fn for_origin(builder: ClientBuilder, is_https: bool) -> Result<Client, TlsFault> {
    let builder = if is_https { with_trusted_roots(builder)? } else { builder.tls_certs_only([]) };
    builder.build().map_err(|error| no_client(&error))
}

/// Builds a client for hosts that are not known yet. Where plain HTTP is allowed, certificates may not be needed, so their
/// lack is no error.
///
/// # Errors
/// As [`for_origin`].
pub(in crate::edge) fn for_any_host(
    builder: impl Fn() -> ClientBuilder,
    plain_http: bool,
) -> Result<Client, TlsFault> {
    let built = match with_trusted_roots(builder())?.build() {
        Err(_) if plain_http => builder().tls_certs_only([]).build(),
        built => built,
    };
    built.map_err(|error| no_client(&error))
}

fn no_client(error: &reqwest::Error) -> TlsFault {
    TlsFault::NoClient(innermost(error))
}
