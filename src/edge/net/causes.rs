//! What is behind an error of the HTTP library, whose own sentence has only that a request failed, and may name its URL.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::model::names::sanitize::{for_terminal, secrets_removed};
use crate::model::transport_fault::TransportFault;

use super::names::NameFault;
use super::tls_roots::tls_fault;

/// How long a client waits, for faults that name the limit.
#[derive(Debug, Clone, Copy)]
pub(in crate::edge) struct Deadlines {
    /// For a connection.
    pub(in crate::edge) connect: Duration,
    /// For the whole exchange, or for the next byte.
    pub(in crate::edge) total: Duration,
}

/// Returns an error and its causes, also those that an I/O error wraps and hides.
pub(crate) fn links(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |link| cause_of(*link))
}

fn cause_of<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => link.source(),
    }
}

/// Returns the text of the innermost cause, short and without any query.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    // The outermost link is the library's own error, the one that knows the URL.
    let text = links(error).skip(1).last().map(ToString::to_string);
    for_terminal(&secrets_removed(&text.unwrap_or_else(|| "the request failed".to_owned())), 200)
}

/// Returns the TLS library's error, where the connection failed for a certificate or for TLS itself.
pub(in crate::edge) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    links(error).find_map(|link| link.downcast_ref())
}

/// Classifies an error of the HTTP library. What has no kind of its own keeps the words of its innermost cause.
pub(in crate::edge) fn transport_fault(error: &reqwest::Error, deadlines: Deadlines) -> TransportFault {
    if let Some(fault) = tls_error(error) {
        return TransportFault::Tls(tls_fault(fault));
    }
    if let Some(fault) = links(error).find_map(|link| link.downcast_ref::<NameFault>()) {
        return match fault {
            NameFault::Slow(after) => TransportFault::NameTimedOut { after: *after },
            NameFault::Failed(reported) => {
                TransportFault::NameUnresolved { reported: Some(reported.to_string()) }
            }
        };
    }
    if error.is_dns() {
        return TransportFault::NameUnresolved { reported: None };
    }
    if error.is_timeout() {
        return match error.is_connect() {
            true => TransportFault::ConnectTimedOut { after: deadlines.connect },
            false => TransportFault::TimedOut { after: deadlines.total },
        };
    }
    if links(error).any(|link| link.downcast_ref().is_some_and(hyper::Error::is_parse)) {
        return TransportFault::NotHttp;
    }
    let known = links(error).find_map(|link| link.downcast_ref::<io::Error>().and_then(of_system));
    let is_cut =
        || links(error).any(|link| link.downcast_ref().is_some_and(hyper::Error::is_incomplete_message));
    match known {
        Some(fault) => fault,
        None if is_cut() => TransportFault::ClosedEarly,
        None => TransportFault::Other(innermost(error)),
    }
}

fn of_system(error: &io::Error) -> Option<TransportFault> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => TransportFault::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            TransportFault::Reset
        }
        io::ErrorKind::HostUnreachable => TransportFault::NoRoute,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => TransportFault::NoNetwork,
        io::ErrorKind::UnexpectedEof => TransportFault::ClosedEarly,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_reports_has_a_kind() {
        use io::ErrorKind as K;
        for (kind, fault) in [
            (K::ConnectionRefused, TransportFault::Refused),
            (K::ConnectionReset, TransportFault::Reset),
            (K::ConnectionAborted, TransportFault::Reset),
            (K::BrokenPipe, TransportFault::Reset),
            (K::HostUnreachable, TransportFault::NoRoute),
            (K::NetworkUnreachable, TransportFault::NoNetwork),
            (K::NetworkDown, TransportFault::NoNetwork),
            (K::UnexpectedEof, TransportFault::ClosedEarly),
        ] {
            assert_eq!(of_system(&kind.into()), Some(fault), "{kind:?}");
        }
        assert_eq!(of_system(&io::ErrorKind::Other.into()), None);
    }
}
