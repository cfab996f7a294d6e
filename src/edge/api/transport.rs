//! The HTTP library, set up for the API, and its errors in words that never hold a URL.

use std::io;
use std::sync::Arc;

use crate::edge::api::base_url::ApiBase;
use crate::edge::net::causes::{innermost, links};
use crate::edge::net::client;
use crate::edge::net::names::{NameFault, Names, Resolver};
use crate::edge::net::tls_roots::tls_cause;

use super::Limits;

/// APIs answer with some twenty headers, behind a CDN with thirty.
const HEADERS_BOUND: usize = 100;

/// Load balancers hang up on idle connections after a minute; one that is left alone for half as long is not used
/// again, since a request on a dead connection may or may not have arrived.
const IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// Builds the one client that ever sees the token. The error names what is missing.
pub(super) fn client(base: &ApiBase, limits: Limits, names: &Arc<Names>) -> Result<reqwest::Client, String> {
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

/// Whether what came back was no HTTP at all, or had a head without end.
pub(super) fn is_not_http(error: &reqwest::Error) -> bool {
    links(error).any(|link| link.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
}

/// Whether the connection failed for a certificate or for TLS itself.
pub(super) fn is_tls(error: &reqwest::Error) -> bool {
    tls_fault(error).is_some()
}

fn tls_fault(error: &reqwest::Error) -> Option<&rustls::Error> {
    links(error).find_map(|link| link.downcast_ref())
}

/// The cause, short and without any URL.
pub(in crate::edge) fn cause(error: &reqwest::Error, limits: Limits) -> String {
    if let Some(fault) = tls_fault(error) {
        return format!("TLS: {}", tls_cause(fault));
    }
    if let Some(fault) = links(error).find_map(|link| link.downcast_ref::<NameFault>()) {
        return fault.to_string();
    }
    if error.is_dns() {
        return "could not resolve the host name".to_owned();
    }
    if error.is_timeout() {
        return match error.is_connect() {
            true => format!("no connection within {} s", limits.connect.as_secs_f64()),
            false => format!("timed out after {} s", limits.total.as_secs_f64()),
        };
    }
    if is_not_http(error) {
        return "what came back is not HTTP, or its head is too large".to_owned();
    }
    let kind = links(error).find_map(|link| link.downcast_ref::<io::Error>().and_then(known_kind));
    let cut =
        || links(error).any(|link| link.downcast_ref().is_some_and(hyper::Error::is_incomplete_message));
    match kind {
        Some(words) => words.to_owned(),
        None if cut() => "the connection was closed before the answer was complete".to_owned(),
        None => innermost(error),
    }
}

fn known_kind(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            "the connection was reset"
        }
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => "no network",
        io::ErrorKind::UnexpectedEof => "the connection was closed before the answer was complete",
        _ => return None,
    })
}
