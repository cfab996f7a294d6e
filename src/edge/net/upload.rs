//! The storage behind a signed address: one upload, one answer, one attempt.
//!
//! This client has no token and follows no redirect; it refuses private addresses by the rules of [`crate::edge::net::http`].

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::edge::net::client;
use crate::edge::net::file_body::FileBody;
use crate::edge::net::http::{Body, classify, guarded, refusal};
use crate::edge::net::names::Names;
use crate::model::dataset::{UploadLink, UploadMethod};
use crate::model::fault::{Fault, Forbidden};
use crate::model::tls_fault::TlsFault;

/// How long the look-up of a name may take: name servers may be slow, an upload need not be given up for that.
const NAME_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the text of a refusal is waited for.
const REFUSAL_TIME: Duration = Duration::from_secs(10);

/// Sends files to signed addresses.
#[derive(Debug, Clone)]
pub(crate) struct UploadClient {
    client: reqwest::Client,
    private_hosts: bool,
}

impl UploadClient {
    /// Builds a client. `private_hosts`: addresses in private networks are allowed, and so is plain http.
    ///
    /// # Errors
    /// When the system has no certificates to trust, or `SSL_CERT_FILE` names a bad file: names it.
    pub(crate) fn new(private_hosts: bool) -> Result<Self, TlsFault> {
        let builder = guarded(private_hosts, &Names::new(NAME_TIMEOUT));
        let client = client::for_any_host(builder, private_hosts)?;
        Ok(Self { client, private_hosts })
    }

    /// Sends a file as a link asks for it: its method and headers, the raw bytes, their exact number.
    ///
    /// # Errors
    /// When the storage refuses, the connection breaks, no byte is taken for too long, or the address must not be used.
    /// What is wrong with the file itself is known to `body`.
    pub(crate) async fn send(&self, link: &UploadLink, body: &FileBody) -> Result<(), Fault> {
        let host = link.url.host().to_owned();
        let forbidden = |why| Fault::Forbidden { host: host.clone(), why };
        let url = Url::parse(link.url.expose()).map_err(|_| forbidden(Forbidden::Unreadable))?;
        if let Some(why) = refusal(&url, self.private_hosts) {
            return Err(forbidden(why));
        }
        let headers = headers(link).ok_or_else(|| forbidden(Forbidden::Headers))?;
        let method = match link.method {
            UploadMethod::Put => Method::PUT,
            UploadMethod::Post => Method::POST,
        };
        let request = self
            .client
            .request(method, url)
            .headers(headers)
            // With it, the stream is sent as it is, and not in chunks.
            .header(header::CONTENT_LENGTH, body.length())
            .body(body.begin());
        let stall = |after| Fault::Stalled { after };
        let sent = body.unless_stalled(request.send()).await.map_err(stall)?;
        let response = sent.map_err(|error| classify(&host, 0, Duration::ZERO, &error))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(Body::of(response, link.url.clone(), REFUSAL_TIME).into_refusal().await)
    }
}

/// Returns the headers of a link; `None` where one of them is none. Those that belong to the connection are left to it.
fn headers(link: &UploadLink) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &link.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let is_the_connection_s = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
            header::TE,
            header::UPGRADE,
            header::EXPECT,
        ];
        if !is_the_connection_s.contains(&name) {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    Some(headers)
}
