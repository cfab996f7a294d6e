//! Whom to trust: the system's certificates, or those in `SSL_CERT_FILE`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use reqwest::{Certificate, ClientBuilder};
use rustls::{AlertDescription, CertificateError};

use crate::model::names::sanitize::for_terminal;

/// The variable that OpenSSL, curl, Python and Go know.
const VARIABLE: &str = "SSL_CERT_FILE";

/// The bundles of all known vendors are well below a megabyte.
const FILE_BOUND: u64 = 16 << 20;

/// Tells the client whom to trust. The error says what is wrong with the file that `SSL_CERT_FILE` names.
///
/// The HTTP library reads that variable by itself where certificates are plain files, but it passes over a file
/// that cannot be read; and on Windows and macOS it asks the system alone.
pub(crate) fn with_trusted_roots(builder: ClientBuilder) -> Result<ClientBuilder, String> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else { return Ok(builder) };
    let certificates = read(path)?;
    let asks_the_system_alone = cfg!(any(windows, target_vendor = "apple"));
    Ok(if asks_the_system_alone { builder.tls_certs_merge(certificates) } else { builder })
}

/// Says why no client could be made: as a rule there are no certificates, as in small containers.
pub(crate) fn no_client(cause: &str) -> String {
    format!("TLS: {cause} (`{VARIABLE}` can name a file with certificates)")
}

fn read(path: OsString) -> Result<Vec<Certificate>, String> {
    let path = Path::new(&path);
    let complaint = |why: &str| format!("TLS: `{VARIABLE}` names `{}`, {why}", path.display());
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BOUND).read_to_end(&mut text))
        .map_err(|error| complaint(&format!("which cannot be read ({error})")))?;
    match Certificate::from_pem_bundle(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(complaint("which holds no certificate in PEM format")),
    }
}

/// Returns what is wrong with the other side's certificate or protocol, and what helps where that is known.
pub(crate) fn tls_cause(fault: &rustls::Error) -> String {
    use rustls::Error as E;
    let said = match fault {
        E::InvalidCertificate(certificate) => return certificate_cause(certificate),
        E::AlertReceived(alert) => return alert_cause(*alert),
        E::InvalidMessage(_) | E::PeerSentOversizedRecord => {
            "what answers there does not speak TLS (plain http behind an https address, or a proxy in between)"
        }
        E::InappropriateMessage { .. }
        | E::InappropriateHandshakeMessage { .. }
        | E::PeerMisbehaved(_)
        | E::DecryptError => {
            "the TLS handshake was broken off: what came is not what TLS expects (a proxy or a firewall in between?)"
        }
        E::PeerIncompatible(_) => "the server speaks no TLS that is safe today (1.2 or 1.3 is needed)",
        E::NoApplicationProtocol => "the server does not speak HTTP/1.1 over TLS",
        E::NoCertificatesPresented => "the server presents no certificate",
        E::FailedToGetCurrentTime => "this machine's clock cannot be read",
        _ => return unnamed("the TLS handshake failed", &fault.to_string()),
    };
    said.to_owned()
}

fn certificate_cause(fault: &CertificateError) -> String {
    use CertificateError as C;
    let said = match fault {
        C::Expired | C::ExpiredContext { .. } => {
            "the certificate has expired (or is this machine's clock wrong?)"
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "the certificate is not valid yet (is this machine's clock right?)"
        }
        C::UnknownIssuer => "the certificate's issuer is not trusted here (`SSL_CERT_FILE` can name more)",
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "the certificate is for another host name (its `subjectAltName` has to contain the host; the common name does not count)"
        }
        C::Revoked => "the certificate was revoked by its issuer",
        C::BadEncoding => "the certificate is damaged or no X.509 certificate",
        C::UnhandledCriticalExtension => "the certificate demands an extension that is not known here",
        C::BadSignature => {
            "the certificate's signature does not fit its issuer (two authorities of one name? `SSL_CERT_FILE` has to hold the one in use)"
        }
        C::UnsupportedSignatureAlgorithmContext { .. }
        | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => WEAK_SIGNATURE,
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "the certificate is not made for servers (its extended key usage lacks `serverAuth`)"
        }
        C::UnknownRevocationStatus
        | C::ExpiredRevocationList
        | C::ExpiredRevocationListContext { .. }
        | C::InvalidOcspResponse => "whether the certificate was revoked is unknown",
        C::ApplicationVerificationFailure => "the system does not accept the certificate",
        // What has no variant of its own is known by the verifier's word for it.
        C::Other(other) => return other_certificate_cause(&other.to_string()),
        _ => return unnamed("the certificate is not accepted", &fault.to_string()),
    };
    said.to_owned()
}

const WEAK_SIGNATURE: &str =
    "the certificate is signed in a way that is not accepted (SHA-1 or MD5, or a key of an odd kind)";

fn other_certificate_cause(word: &str) -> String {
    let word = word.split(['(', ' ']).next().unwrap_or_default();
    let said = match word {
        "CaUsedAsEndEntity" => {
            "the server presents the certificate of an authority as its own (`CA:TRUE`, what `openssl req -x509` makes); make one with `basicConstraints=CA:FALSE`, or sign one for the server with it"
        }
        "EndEntityUsedAsCa" => {
            "the certificate is signed by one that is no authority (`CA:FALSE`); sign it with one that has `basicConstraints=CA:TRUE`"
        }
        "UnsupportedCertVersion" => {
            "the certificate is of an old version of X.509; make one of version 3, with a `subjectAltName`"
        }
        "NameConstraintViolation" | "MalformedNameConstraint" | "InvalidNetworkMaskConstraint" => {
            "the certificate's authority may not sign for this host name (its name constraints)"
        }
        "PathLenConstraintViolated"
        | "MaximumPathDepthExceeded"
        | "MaximumPathBuildCallsExceeded"
        | "MaximumSignatureChecksExceeded"
        | "MaximumNameConstraintComparisonsExceeded" => {
            "the chain of certificates is longer than its authorities allow"
        }
        "EmptyEkuExtension" | "RequiredEkuNotFound" | "RequiredEkuNotFoundContext" => {
            "the certificate is not made for servers (its extended key usage lacks `serverAuth`)"
        }
        "InvalidSerialNumber"
        | "MalformedExtensions"
        | "ExtensionValueInvalid"
        | "InvalidCertValidity"
        | "MalformedDnsIdentifier"
        | "BadDer"
        | "BadDerTime"
        | "TrailingData" => "the certificate breaks the rules of X.509 and has to be made anew",
        "SignatureAlgorithmMismatch" | "InvalidSignatureForPublicKey" => WEAK_SIGNATURE,
        _ => return unnamed("the certificate is not accepted", word),
    };
    said.to_owned()
}

fn alert_cause(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let said = match alert {
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity | A::InappropriateFallback => {
            "the server refuses the TLS that is spoken here (1.2 and 1.3)"
        }
        A::UnrecognisedName => "the server has no host of this name",
        A::CertificateRequired | A::NoCertificate | A::BadCertificate | A::UnknownCA | A::AccessDenied => {
            "the server asks for a certificate of the client, and rcsync has none"
        }
        A::NoApplicationProtocol => "the server does not speak HTTP/1.1 over TLS",
        A::InternalError => "the server ended the TLS handshake because of a fault of its own",
        _ => return unnamed("the server ended the TLS handshake", &format!("{alert:?}")),
    };
    said.to_owned()
}

/// What has no words of its own yet is named as the library names it.
fn unnamed(what: &str, word: &str) -> String {
    format!("{what} ({})", for_terminal(word, 120))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let said = read(path.clone().into()).unwrap_err();
        assert!(said.contains("roots.pem`, which cannot be read"), "{said}");
        std::fs::write(&path, "not a certificate").unwrap();
        let said = read(path.into()).unwrap_err();
        assert!(said.ends_with("which holds no certificate in PEM format"), "{said}");
    }

    #[test]
    fn every_kind_of_failure_has_words() {
        use rustls::{Error as E, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Word(&'static str);
        let other = |word| {
            let fault = OtherError(std::sync::Arc::new(Word(word)));
            E::InvalidCertificate(CertificateError::Other(fault))
        };
        for (fault, words) in [
            (other("CaUsedAsEndEntity"), "basicConstraints=CA:FALSE"),
            (other("EndEntityUsedAsCa"), "no authority"),
            (other("UnsupportedCertVersion"), "version 3"),
            (other("RequiredEkuNotFoundContext(x)"), "serverAuth"),
            (other("NameConstraintViolation"), "may not sign"),
            (other("Novelty"), "not accepted (Novelty)"),
            (CertificateError::Expired.into(), "expired"),
            (CertificateError::UnknownIssuer.into(), "`SSL_CERT_FILE`"),
            (CertificateError::NotValidForName.into(), "another host name"),
            (CertificateError::BadSignature.into(), "does not fit its issuer"),
            (CertificateError::InvalidPurpose.into(), "not made for servers"),
            (CertificateError::Revoked.into(), "revoked"),
            (E::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
            (E::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13), "1.2 or 1.3"),
            (E::PeerMisbehaved(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec), "broken off"),
            (E::AlertReceived(AlertDescription::ProtocolVersion), "1.2 and 1.3"),
            (E::AlertReceived(AlertDescription::CertificateRequired), "certificate of the client"),
            (E::AlertReceived(AlertDescription::Unknown(200)), "ended the TLS handshake"),
            (E::General("odd \u{1b}[2J".to_owned()), "failed (unexpected error: odd \\u{1b}[2J)"),
        ] {
            let said = tls_cause(&fault);
            assert!(said.contains(words), "{fault:?}: {said}");
            assert!(!said.contains("Other"), "{said}");
        }
    }
}
