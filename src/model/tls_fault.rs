//! Why there is no trusted connection: certificates that are missing here, a certificate of the server, or TLS itself.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::system::{SystemError, lossy};

/// What is wrong with TLS, and what helps where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TlsFault {
    /// No client can be made: as a rule the system has no certificates, as in small containers.
    #[error("{0} (`SSL_CERT_FILE` can name a file with certificates)")]
    NoClient(String),
    /// The file with the certificates to trust cannot be read.
    #[error("`SSL_CERT_FILE` names `{}`, which cannot be read ({cause})", path.display())]
    RootsUnreadable {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What the system reported.
        cause: SystemError,
    },
    /// The file with the certificates to trust has none.
    #[error("`SSL_CERT_FILE` names `{}`, which holds no certificate in PEM format", path.display())]
    NoRoots {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// The server's certificate cannot be trusted.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// The other side ended the handshake.
    #[error(transparent)]
    Alert(#[from] TlsAlert),
    /// The other side does not speak TLS.
    #[error(
        "what answers there does not speak TLS (plain http behind an https address, or a proxy in between)"
    )]
    NoTls,
    /// A message that does not belong there.
    #[error(
        "the TLS handshake was broken off: what came is not what TLS expects (a proxy or a firewall in between?)"
    )]
    Handshake,
    /// No version or cipher in common.
    #[error("the server speaks no TLS that is safe today (1.2 or 1.3 is needed)")]
    NoSafeVersion,
    /// No HTTP version in common.
    #[error("the server does not speak HTTP/1.1 over TLS")]
    NoHttp,
    /// The server has no certificate.
    #[error("the server presents no certificate")]
    NoCertificate,
    /// Whether a certificate is valid cannot be known.
    #[error("this machine's clock cannot be read")]
    NoClock,
    /// Another fault, in the TLS library's words.
    #[error("the TLS handshake failed ({0})")]
    Other(String),
}

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CertificateFault {
    /// Its time is over.
    #[error("the certificate has expired (or is this machine's clock wrong?)")]
    Expired,
    /// Its time has not begun.
    #[error("the certificate is not valid yet (is this machine's clock right?)")]
    NotValidYet,
    /// Its issuer is not among the trusted ones.
    #[error("the certificate's issuer is not trusted here (`SSL_CERT_FILE` can name more)")]
    UnknownIssuer,
    /// It is for another host.
    #[error(
        "the certificate is for another host name (its `subjectAltName` has to contain the host; the common name does not count)"
    )]
    OtherHost,
    /// Its issuer revoked it.
    #[error("the certificate was revoked by its issuer")]
    Revoked,
    /// Whether it was revoked is unknown.
    #[error("whether the certificate was revoked is unknown")]
    RevocationUnknown,
    /// It cannot be parsed.
    #[error("the certificate is damaged or no X.509 certificate")]
    Unreadable,
    /// It has a critical extension that is not known.
    #[error("the certificate demands an extension that is not known here")]
    UnknownExtension,
    /// Its signature is not its issuer's.
    #[error(
        "the certificate's signature does not fit its issuer (two authorities of one name? `SSL_CERT_FILE` has to hold the one in use)"
    )]
    BadSignature,
    /// Its signature is of a kind that is not accepted.
    #[error(
        "the certificate is signed in a way that is not accepted (SHA-1 or MD5, or a key of an odd kind)"
    )]
    WeakSignature,
    /// It is for another purpose.
    #[error("the certificate is not made for servers (its extended key usage lacks `serverAuth`)")]
    NotForServers,
    /// The system's own check refuses it.
    #[error("the system does not accept the certificate")]
    RefusedBySystem,
    /// It is an authority's.
    #[error(
        "the server presents the certificate of an authority as its own (`CA:TRUE`, what `openssl req -x509` makes); make one with `basicConstraints=CA:FALSE`, or sign one for the server with it"
    )]
    IsAuthority,
    /// It is signed by a certificate that is no authority's.
    #[error(
        "the certificate is signed by one that is no authority (`CA:FALSE`); sign it with one that has `basicConstraints=CA:TRUE`"
    )]
    NoAuthority,
    /// It is of X.509 version 1 or 2.
    #[error("the certificate is of an old version of X.509; make one of version 3, with a `subjectAltName`")]
    OldVersion,
    /// Its authority may not sign for the host.
    #[error("the certificate's authority may not sign for this host name (its name constraints)")]
    NameConstraints,
    /// Its chain is too long.
    #[error("the chain of certificates is longer than its authorities allow")]
    ChainTooLong,
    /// It is not as X.509 demands.
    #[error("the certificate breaks the rules of X.509 and has to be made anew")]
    Malformed,
    /// Another fault, in the TLS library's words.
    #[error("the certificate is not accepted ({0})")]
    Other(String),
}

/// Why the other side ended the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TlsAlert {
    /// No version or cipher in common.
    #[error("the server refuses the TLS that is spoken here (1.2 and 1.3)")]
    Version,
    /// The name that was asked for is not one of its hosts.
    #[error("the server has no host of this name")]
    UnknownName,
    /// It wants to know the client.
    #[error("the server asks for a certificate of the client, and rcsync has none")]
    ClientCertificate,
    /// It failed.
    #[error("the server ended the TLS handshake because of a fault of its own")]
    Internal,
    /// Another alert, by its name.
    #[error("the server ended the TLS handshake ({0})")]
    Other(String),
}
