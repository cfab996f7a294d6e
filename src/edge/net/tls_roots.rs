//! Certificates that are trusted (the system's, or those in `SSL_CERT_FILE`), and what an error of the TLS library means.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use reqwest::{Certificate, ClientBuilder};
use rustls::{AlertDescription, CertificateError};

use crate::model::names::sanitize::for_terminal;
use crate::model::tls_fault::{CertificateFault, TlsAlert, TlsFault};

/// The variable that OpenSSL, curl, Python and Go know.
const VARIABLE: &str = "SSL_CERT_FILE";

/// The bundles of all known vendors are well below a megabyte.
const FILE_BOUND: u64 = 16 << 20;

/// Sets the certificates that a client trusts.
///
/// The HTTP library reads that variable by itself where certificates are plain files, but it passes over a file
/// that cannot be read; and on Windows and macOS it asks the system alone.
///
/// # Errors
/// What is wrong with the file that `SSL_CERT_FILE` names.
pub(crate) fn with_trusted_roots(builder: ClientBuilder) -> Result<ClientBuilder, TlsFault> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else { return Ok(builder) };
    let certificates = read(path.into())?;
    let asks_the_system_alone = cfg!(any(windows, target_vendor = "apple"));
    Ok(if asks_the_system_alone { builder.tls_certs_merge(certificates) } else { builder })
}

fn read(path: PathBuf) -> Result<Vec<Certificate>, TlsFault> {
    let mut text = Vec::new();
    let bytes = File::open(&path).and_then(|file| file.take(FILE_BOUND).read_to_end(&mut text));
    if let Err(error) = bytes {
        return Err(TlsFault::RootsUnreadable { path, cause: error.into() });
    }
    match Certificate::from_pem_bundle(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsFault::NoRoots { path }),
    }
}

/// Classifies an error of the TLS library.
pub(crate) fn tls_fault(fault: &rustls::Error) -> TlsFault {
    use rustls::Error as E;
    match fault {
        E::InvalidCertificate(certificate) => certificate_fault(certificate).into(),
        E::AlertReceived(alert) => alert_fault(*alert),
        E::InvalidMessage(_) | E::PeerSentOversizedRecord => TlsFault::NoTls,
        E::InappropriateMessage { .. }
        | E::InappropriateHandshakeMessage { .. }
        | E::PeerMisbehaved(_)
        | E::DecryptError => TlsFault::Handshake,
        E::PeerIncompatible(_) => TlsFault::NoSafeVersion,
        E::NoApplicationProtocol => TlsFault::NoHttp,
        E::NoCertificatesPresented => TlsFault::NoCertificate,
        E::FailedToGetCurrentTime => TlsFault::NoClock,
        _ => TlsFault::Other(for_terminal(&fault.to_string(), 120)),
    }
}

fn certificate_fault(fault: &CertificateError) -> CertificateFault {
    use CertificateError as C;
    match fault {
        C::Expired | C::ExpiredContext { .. } => CertificateFault::Expired,
        C::NotValidYet | C::NotValidYetContext { .. } => CertificateFault::NotValidYet,
        C::UnknownIssuer => CertificateFault::UnknownIssuer,
        C::NotValidForName | C::NotValidForNameContext { .. } => CertificateFault::OtherHost,
        C::Revoked => CertificateFault::Revoked,
        C::BadEncoding => CertificateFault::Unreadable,
        C::UnhandledCriticalExtension => CertificateFault::UnknownExtension,
        C::BadSignature => CertificateFault::BadSignature,
        C::UnsupportedSignatureAlgorithmContext { .. }
        | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => CertificateFault::WeakSignature,
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => CertificateFault::NotForServers,
        C::UnknownRevocationStatus
        | C::ExpiredRevocationList
        | C::ExpiredRevocationListContext { .. }
        | C::InvalidOcspResponse => CertificateFault::RevocationUnknown,
        C::ApplicationVerificationFailure => CertificateFault::RefusedBySystem,
        // What has no variant of its own is known by the verifier's word for it.
        C::Other(other) => named_fault(&other.to_string()),
        _ => CertificateFault::Other(for_terminal(&fault.to_string(), 120)),
    }
}

fn named_fault(word: &str) -> CertificateFault {
    let word = word.split(['(', ' ']).next().unwrap_or_default();
    match word {
        "CaUsedAsEndEntity" => CertificateFault::IsAuthority,
        "EndEntityUsedAsCa" => CertificateFault::NoAuthority,
        "UnsupportedCertVersion" => CertificateFault::OldVersion,
        "NameConstraintViolation" | "MalformedNameConstraint" | "InvalidNetworkMaskConstraint" => {
            CertificateFault::NameConstraints
        }
        "PathLenConstraintViolated"
        | "MaximumPathDepthExceeded"
        | "MaximumPathBuildCallsExceeded"
        | "MaximumSignatureChecksExceeded"
        | "MaximumNameConstraintComparisonsExceeded" => CertificateFault::ChainTooLong,
        "EmptyEkuExtension" | "RequiredEkuNotFound" | "RequiredEkuNotFoundContext" => {
            CertificateFault::NotForServers
        }
        "InvalidSerialNumber"
        | "MalformedExtensions"
        | "ExtensionValueInvalid"
        | "InvalidCertValidity"
        | "MalformedDnsIdentifier"
        | "BadDer"
        | "BadDerTime"
        | "TrailingData" => CertificateFault::Malformed,
        "SignatureAlgorithmMismatch" | "InvalidSignatureForPublicKey" => CertificateFault::WeakSignature,
        _ => CertificateFault::Other(for_terminal(word, 120)),
    }
}

fn alert_fault(alert: AlertDescription) -> TlsFault {
    use AlertDescription as A;
    let alert = match alert {
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity | A::InappropriateFallback => {
            TlsAlert::Version
        }
        A::UnrecognisedName => TlsAlert::UnknownName,
        A::CertificateRequired | A::NoCertificate | A::BadCertificate | A::UnknownCA | A::AccessDenied => {
            TlsAlert::ClientCertificate
        }
        A::NoApplicationProtocol => return TlsFault::NoHttp,
        A::InternalError => TlsAlert::Internal,
        _ => TlsAlert::Other(for_terminal(&format!("{alert:?}"), 120)),
    };
    alert.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let said = read(path.clone()).unwrap_err().to_string();
        assert!(said.contains("roots.pem`, which cannot be read"), "{said}");
        std::fs::write(&path, "not a certificate").unwrap();
        let said = read(path).unwrap_err().to_string();
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
            let said = tls_fault(&fault).to_string();
            assert!(said.contains(words), "{fault:?}: {said}");
            assert!(!said.contains("Other"), "{said}");
        }
    }
}
