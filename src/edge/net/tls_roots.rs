//! Whom to trust: the system's certificates, or those in `SSL_CERT_FILE`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use reqwest::{Certificate, ClientBuilder};
use rustls::CertificateError;

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

/// Says what is wrong with the other side's certificate or protocol.
pub(crate) fn tls_cause(fault: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = fault else {
        return for_terminal(&fault.to_string(), 200);
    };
    let said = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet (is this machine's clock right?)"
        }
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is not trusted here (`SSL_CERT_FILE` can name more)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another host name"
        }
        _ => return for_terminal(&fault.to_string(), 200),
    };
    said.to_owned()
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
}
