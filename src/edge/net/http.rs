//! The artifact host: one ranged GET -> head and body. The one place where the HTTP library's errors become faults.
//!
//! This client has no token, sends no `Referer`, no `HEAD` and no header that a signed URL could object to; it refuses
//! private addresses on the address really used, and every redirect is held to the same rules.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap};
use reqwest::{ClientBuilder, redirect};
use url::{Host, Url};

use crate::edge::net::address::is_public;
use crate::edge::net::names::{Dialled, Names, boxed, dialled};
use crate::edge::net::response_digests;
use crate::edge::net::tls_roots::tls_fault;
use crate::model::fault::{Fault, Forbidden};
use crate::model::markup::{is_markup, text_of};
use crate::model::names::sanitize::for_terminal;
use crate::model::response_head::{ContentRange, Head};
use crate::model::revision::{Condition, Etag, LastModified, Revision};
use crate::model::source_url::SourceUrl;
use crate::model::tls_fault::TlsFault;

use super::causes::{Deadlines, links, transport_fault};
use super::client;
use super::retry_after::asked_wait;
use super::wire::{self, Wire};

/// More redirects than this are a loop or an attack; browsers stop at 20, curl at 50, the vendor's CLI at 10.
const MOST_REDIRECTS: usize = 10;

/// How much of a refusal's body is read for its message.
const EXCERPT_BOUND: usize = 8 << 10;

/// How long that is waited for.
const EXCERPT_TIME: Duration = Duration::from_secs(5);

/// Gets ranges of hosted files.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactClient {
    client: reqwest::Client,
    wire: Arc<dyn Wire>,
    private_hosts: bool,
    stall: Duration,
}

/// What is asked of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RangeRequest {
    /// The first byte.
    pub start: u64,
    /// One past the last byte; `None`: to the end.
    pub end: Option<u64>,
    /// Ask for everything, without a range: some hosts refuse any request that has one.
    pub plain: bool,
    /// Send the range only if the file still has this validator, else all of it.
    pub if_range: Option<Condition>,
    /// Send anything only if the file has this validator no more.
    pub if_changed: Option<Condition>,
}

/// The body of an answer, as it arrives.
#[derive(Debug)]
pub(crate) struct Body {
    response: reqwest::Response,
    received: u64,
    stall: Duration,
    source: SourceUrl,
}

impl ArtifactClient {
    /// Builds a client. `private_hosts`: addresses in private networks are allowed, and so is plain http.
    ///
    /// # Errors
    /// When the system has no certificates to trust, or `SSL_CERT_FILE` names a bad file: names it.
    pub(crate) fn new(private_hosts: bool, stall: Duration) -> Result<Self, TlsFault> {
        let names = Names::new(stall);
        let guarded = guarded(private_hosts, &names);
        let builder = || {
            guarded()
                .redirect(redirect_policy(private_hosts))
                .read_timeout(stall)
                .pool_max_idle_per_host(usize::from(u8::MAX))
        };
        let client = client::for_any_host(builder, private_hosts)?;
        let may_use_proxy = names_a_proxy(|name| std::env::var(name).ok());
        let wire = Arc::new(Dialled { client: client.clone(), names, may_use_proxy });
        Ok(Self { client, wire, private_hosts, stall })
    }

    /// The same client over another wire.
    #[cfg(test)]
    pub(crate) fn over(self, wire: Arc<dyn Wire>) -> Self {
        Self { wire, ..self }
    }

    /// Asks for a range; returns the answer's head at once, its body as it comes.
    ///
    /// # Errors
    /// When no answer came, or the address must not be asked.
    pub(crate) async fn get(&self, source: &SourceUrl, ask: &RangeRequest) -> Result<(Head, Body), Fault> {
        let url = Url::parse(source.expose())
            .map_err(|_| Fault::Forbidden { host: source.host().to_owned(), why: Forbidden::Unreadable })?;
        if let Some(why) = refusal(&url, self.private_hosts) {
            return Err(Fault::Forbidden { host: source.host().to_owned(), why });
        }
        let mut request = self.client.get(url).header(header::ACCEPT_ENCODING, "identity");
        if !ask.plain {
            request = request.header(header::RANGE, range_header(ask));
        }
        if let Some(condition) = &ask.if_range {
            request = request.header(header::IF_RANGE, condition_value(condition));
        }
        match &ask.if_changed {
            Some(tag @ Condition::Etag(_)) => {
                request = request.header(header::IF_NONE_MATCH, condition_value(tag))
            }
            Some(date) => request = request.header(header::IF_MODIFIED_SINCE, condition_value(date)),
            None => {}
        }
        let host = source.host().to_owned();
        let sent = wire::send(self.wire.as_ref(), request).await;
        let response = sent.map_err(|error| self.fault(&host, 0, &error))?;
        let head = read_head(response.status().as_u16(), response.headers());
        Ok((head, Body { response, received: 0, stall: self.stall, source: source.clone() }))
    }

    fn fault(&self, host: &str, received: u64, error: &reqwest::Error) -> Fault {
        classify(host, received, self.stall, error)
    }
}

impl Body {
    /// Wraps an answer to a request for `source`.
    pub(in crate::edge) fn of(response: reqwest::Response, source: SourceUrl, stall: Duration) -> Self {
        Self { response, received: 0, stall, source }
    }

    /// Returns the next bytes, `None` at the end that the answer itself announced.
    ///
    /// # Errors
    /// When the connection broke or no byte came for too long.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        match self.response.chunk().await {
            Ok(Some(bytes)) => {
                self.received += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(classify(self.source.host(), self.received, self.stall, &error)),
        }
    }

    /// Reads the text of a refusal, bounded and sanitised, and makes it a fault.
    pub(crate) async fn into_refusal(mut self) -> Fault {
        let status = self.response.status().as_u16();
        let retry_after = asked_wait(self.response.headers());
        let mut text = Vec::new();
        let reading = async {
            while text.len() < EXCERPT_BOUND {
                match self.chunk().await {
                    Ok(Some(bytes)) => text.extend_from_slice(&bytes),
                    Ok(None) | Err(_) => break,
                }
            }
        };
        // A host that sends its error body byte by byte delays nothing: what came until then is reported.
        let _ = tokio::time::timeout(EXCERPT_TIME, reading).await;
        let is_page = is_markup(&text);
        let mut text = self.source.redact(&String::from_utf8_lossy(&text));
        if is_page {
            // Twice: a page may spell a signature with references to characters.
            text = self.source.redact(&text_of(&text));
        }
        let text = for_terminal(text.trim(), 120);
        Fault::Status { status, retry_after, excerpt: (!text.is_empty()).then_some(text) }
    }
}

fn range_header(ask: &RangeRequest) -> String {
    // The one place where a half-open range becomes HTTP's closed one.
    match ask.end {
        Some(end) => format!("bytes={}-{}", ask.start, end.saturating_sub(1)),
        None => format!("bytes={}-", ask.start),
    }
}

fn condition_value(condition: &Condition) -> String {
    match condition {
        Condition::Etag(tag) => tag.as_str().to_owned(),
        Condition::Date { seconds } => {
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds))
        }
    }
}

/// Returns what matters of a response's head for a transfer.
#[must_use]
pub fn read_head(status: u16, headers: &HeaderMap) -> Head {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let content_range = headers
        .get(header::CONTENT_RANGE)
        .map(|value| value.to_str().map_or(ContentRange::Malformed, ContentRange::parse));
    let content_length = text(header::CONTENT_LENGTH).and_then(|digits| digits.trim().parse().ok());
    let codings = codings(headers);
    let encoded = !codings.is_empty();
    let gzip = matches!(&*codings, [one] if one == "gzip" || one == "x-gzip");
    let multipart = text(header::CONTENT_TYPE)
        .is_some_and(|media| media.trim().to_ascii_lowercase().starts_with("multipart/byteranges"));
    let covers_all = match content_range {
        Some(ContentRange::Part { start, end, total }) => start == 0 && total == Some(end),
        Some(_) => false,
        None => status == 200,
    };
    let length = match content_range {
        Some(ContentRange::Part { total, .. }) => total,
        Some(ContentRange::Unsatisfied { total }) => Some(total),
        Some(ContentRange::Malformed) => None,
        None if status == 200 => content_length,
        None => None,
    };
    let revision = Revision {
        etag: text(header::ETAG).and_then(|tag| Etag::parse(tag).ok()),
        last_modified: last_modified(text(header::LAST_MODIFIED), text(header::DATE)),
        length,
    };
    let claims = if encoded { Vec::new() } else { response_digests::read(headers, covers_all, length) };
    Head { status, content_range, content_length, encoded, gzip, multipart, revision, claims }
}

/// Returns how the body is encoded. `aws-chunked` is how a file was once sent to its store, which took the word for a
/// property of the file; what is served has nothing of it.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    // What cannot be read is no coding that could be undone.
    let words = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    words
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !matches!(&**word, "" | "identity" | "aws-chunked"))
        .collect()
}

fn last_modified(date: Option<&str>, answered: Option<&str>) -> Option<LastModified> {
    let parse = |text: &str| {
        let time = httpdate::parse_http_date(text.trim()).ok()?;
        time.duration_since(SystemTime::UNIX_EPOCH).ok()
    };
    let date = parse(date?)?;
    let age = answered.and_then(parse).map(|answered| answered.saturating_sub(date));
    let strong = age.is_some_and(|age| age >= LastModified::STRONG_AFTER);
    Some(LastModified { seconds: date.as_secs(), strong })
}

/// Begins a client for addresses that come from outside: each one is judged when it is dialled.
pub(in crate::edge) fn guarded(
    private_hosts: bool,
    names: &Arc<Names>,
) -> impl Fn() -> ClientBuilder + use<> {
    let proxies: Arc<[String]> = proxy_hosts(|name| std::env::var(name).ok()).into();
    let names = Arc::clone(names);
    move || {
        let (proxies, names) = (Arc::clone(&proxies), Arc::clone(&names));
        client::builder().connect_timeout(client::CONNECT_TIMEOUT).dns_resolver(Arc::new(GuardedResolver {
            private_hosts,
            proxies,
            names,
        }))
    }
}

fn redirect_policy(private_hosts: bool) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > MOST_REDIRECTS {
            return attempt.error(Refusal(Forbidden::TooManyRedirects));
        }
        let downgraded = attempt.url().scheme() == "http"
            && attempt.previous().last().is_some_and(|previous| previous.scheme() == "https");
        if downgraded {
            return attempt.error(Refusal(Forbidden::Downgrade));
        }
        match refusal(attempt.url(), private_hosts) {
            Some(why) => attempt.error(Refusal(why)),
            None => attempt.follow(),
        }
    })
}

/// Returns why an address must not be asked, as far as the URL alone shows. Names are judged by [`GuardedResolver`].
pub(in crate::edge) fn refusal(url: &Url, private_hosts: bool) -> Option<Forbidden> {
    match url.scheme() {
        "https" => {}
        "http" if private_hosts => {}
        "http" => return Some(Forbidden::PlainHttp),
        _ => return Some(Forbidden::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some(Forbidden::UserName);
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Some(Forbidden::NoHost),
    };
    match address {
        Some(address) if !private_hosts && !is_public(address) => Some(Forbidden::Private),
        _ => None,
    }
}

/// Resolves names by the system, and drops addresses that must not be used: the check is on what is really dialled,
/// so that a name cannot answer public to a check and private to the connection.
#[derive(Debug)]
pub(in crate::edge) struct GuardedResolver {
    pub(in crate::edge) private_hosts: bool,
    /// Hosts that the user configured as proxies, wherever they are.
    pub(in crate::edge) proxies: Arc<[String]>,
    pub(in crate::edge) names: Arc<Names>,
}

/// The variables that name a proxy for HTTPS, the first one in use first.
pub(crate) const PROXIES_FOR_HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Those for plain HTTP alone.
const PROXIES_FOR_HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];

/// Where a proxy is: what may be shown of the value of a variable that names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyAddress {
    /// The host, in lower case.
    pub(crate) host: String,
    /// The port, where the value or its scheme has one.
    pub(crate) port: Option<u16>,
}

impl ProxyAddress {
    /// Reads the value of a variable, with or without a scheme, a user name and a password; `None` where it is no address.
    ///
    /// An `@` after the host means that a `/`, `?` or `#` of the password ended the host: what was read as host and port is the
    /// user name and the first digits of the password.
    pub(crate) fn of(value: &str) -> Option<Self> {
        let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = Url::parse(&with_scheme).ok()?;
        let after_host = [Some(url.path()), url.query(), url.fragment()];
        if after_host.into_iter().flatten().any(|part| part.contains('@')) {
            return None;
        }
        Some(Self { host: url.host_str()?.to_ascii_lowercase(), port: url.port_or_known_default() })
    }
}

/// Returns the hosts of the proxies that the environment names: the HTTP library dials those through the resolver too.
pub(in crate::edge) fn proxy_hosts(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let values = PROXIES_FOR_HTTPS.into_iter().chain(PROXIES_FOR_HTTP).filter_map(variable);
    values.filter_map(|value| Some(ProxyAddress::of(&value)?.host)).collect()
}

/// Whether the environment names a proxy.
pub(crate) fn names_a_proxy(variable: impl Fn(&str) -> Option<String>) -> bool {
    !proxy_hosts(variable).is_empty()
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        let private_hosts = self.private_hosts || is_proxy;
        let names = self.names.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await.map_err(boxed)?;
            let usable = usable(dialled(&found), private_hosts).map_err(boxed)?;
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// Returns those of a name's addresses that may be dialled.
fn usable(found: Vec<SocketAddr>, private_hosts: bool) -> Result<Vec<SocketAddr>, Refusal> {
    let any = !found.is_empty();
    let usable: Vec<SocketAddr> =
        found.into_iter().filter(|address| private_hosts || is_public(address.ip())).collect();
    if any && usable.is_empty() { Err(Refusal(Forbidden::Private)) } else { Ok(usable) }
}

/// A rule that an address breaks, carried through the HTTP library's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(Forbidden);

pub(in crate::edge) fn classify(host: &str, received: u64, stall: Duration, error: &reqwest::Error) -> Fault {
    let host = host.to_owned();
    for link in links(error) {
        if let Some(Refusal(why)) = link.downcast_ref::<Refusal>() {
            return Fault::Forbidden { host, why: *why };
        }
        if let Some(fault) = link.downcast_ref::<rustls::Error>() {
            return Fault::Untrusted { host, cause: tls_fault(fault) };
        }
    }
    let cause = transport_fault(error, Deadlines { connect: client::CONNECT_TIMEOUT, total: stall });
    if error.is_connect() {
        Fault::Connect { host, cause }
    } else if error.is_timeout() {
        Fault::Stalled { after: stall }
    } else {
        Fault::Interrupted { received, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::transport_fault::TransportFault;

    #[test]
    fn private_addresses_in_every_disguise() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn literal_addresses_are_judged_after_parsing() {
        for url in
            ["https://2130706433/x", "https://0x7f.1/x", "https://127.1/x", "https://[::ffff:7f00:1]/x"]
        {
            assert_eq!(refusal(&Url::parse(url).unwrap(), false), Some(Forbidden::Private), "{url}");
        }
        assert!(refusal(&Url::parse("http://example.com/x").unwrap(), false).is_some());
        assert!(refusal(&Url::parse("https://u:p@example.com/x").unwrap(), true).is_some());
        assert_eq!(refusal(&Url::parse("https://example.com/x").unwrap(), false), None);
        assert_eq!(refusal(&Url::parse("http://127.0.0.1/x").unwrap(), true), None);
    }

    #[test]
    fn of_each_answer_of_a_name_server_only_public_addresses_are_dialled() {
        let answer =
            |ips: &[&str]| ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect::<Vec<_>>();
        let public = answer(&["1.1.1.1"]);
        assert_eq!(usable(public.clone(), false).unwrap(), public);
        assert_eq!(usable(answer(&["127.0.0.1", "1.1.1.1", "::1"]), false).unwrap(), public);
        assert!(usable(answer(&["169.254.169.254"]), false).is_err());
        assert_eq!(usable(answer(&["10.0.0.1"]), true).unwrap(), answer(&["10.0.0.1"]));
        assert!(usable(Vec::new(), false).unwrap().is_empty());
    }

    /// A name that the system resolves to this machine (`localhost`) is not dialled, and no connection
    /// that was made before is used again for it.
    #[tokio::test]
    async fn a_name_that_turns_out_private_is_never_dialled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let client = ArtifactClient::new(false, Duration::from_secs(5)).unwrap();
        let source = SourceUrl::parse(&format!("https://localhost:{port}/x")).unwrap();
        for _ in 0..3 {
            let refused = client.get(&source, &RangeRequest::default()).await.unwrap_err();
            assert!(matches!(refused, Fault::Forbidden { why: Forbidden::Private, .. }), "{refused}");
        }
        assert!(listener.accept().is_err(), "no connection was made");
    }

    #[test]
    fn a_proxy_may_be_named_in_any_way() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("proxy.Corp.example:3128".to_owned()),
            "all_proxy" => Some("socks5h://user:s3cret@localhost:1080".to_owned()),
            "http_proxy" => Some("http://".to_owned()),
            _ => None,
        };
        assert_eq!(proxy_hosts(variable), ["proxy.corp.example", "localhost"]);
    }

    #[tokio::test]
    async fn a_proxy_may_be_on_a_private_address() {
        let proxies: Arc<[String]> = ["localhost".to_owned()].into();
        let resolved = |proxies| {
            let names = Names::new(Duration::from_secs(30));
            let resolver = GuardedResolver { private_hosts: false, proxies, names };
            async move { resolver.resolve("localhost".parse().unwrap()).await.is_ok() }
        };
        assert!(resolved(proxies).await);
        assert!(!resolved([].into()).await, "no other host may");
    }

    /// What breaks on a real connection has a kind, and no words of a library.
    #[tokio::test]
    async fn a_connection_that_breaks_is_classified() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let host = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab", "", "no HTTP\r\n\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let client = ArtifactClient::new(true, Duration::from_secs(30)).unwrap();
        let source = SourceUrl::parse(&url).unwrap();
        let ask = RangeRequest::default();
        let (_, mut body) = client.get(&source, &ask).await.unwrap();
        assert_eq!(body.chunk().await.unwrap().as_deref(), Some(&b"ab"[..]));
        let broken = |received, cause| Fault::Interrupted { received, cause };
        assert_eq!(body.chunk().await, Err(broken(2, TransportFault::ClosedEarly)));
        let fault = client.get(&source, &ask).await.unwrap_err();
        assert_eq!(fault, broken(0, TransportFault::ClosedEarly));
        assert_eq!(client.get(&source, &ask).await.unwrap_err(), broken(0, TransportFault::NotHttp));
        host.join().unwrap();
        let refused = Fault::Connect { host: "127.0.0.1".to_owned(), cause: TransportFault::Refused };
        assert_eq!(client.get(&source, &ask).await.unwrap_err(), refused);
    }

    /// A host that sends its excuse byte by byte.
    #[tokio::test]
    async fn an_excuse_is_waited_for_for_a_moment_alone() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let host = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nwait").unwrap();
            let _ = ended.recv();
        });
        let client = ArtifactClient::new(true, Duration::from_hours(1)).unwrap();
        let source = SourceUrl::parse(&url).unwrap();
        let (_, body) = client.get(&source, &RangeRequest::default()).await.unwrap();
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let fault = body.into_refusal().await;
        assert_eq!(began.elapsed().as_secs(), 5);
        assert!(matches!(fault, Fault::Status { status: 500, .. }), "{fault}");
        drop(end);
        host.join().unwrap();
    }

    #[test]
    fn ranges_are_closed_only_on_the_wire() {
        let ask = RangeRequest { start: 10, end: Some(20), ..RangeRequest::default() };
        assert_eq!(range_header(&ask), "bytes=10-19");
        assert_eq!(range_header(&RangeRequest::default()), "bytes=0-");
    }

    #[test]
    fn a_date_is_strong_after_a_minute() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let seconds = 784_111_777;
        assert_eq!(last_modified(date, None), Some(LastModified { seconds, strong: false }));
        let later = Some("Sun, 06 Nov 1994 08:50:36 GMT");
        assert_eq!(last_modified(date, later), Some(LastModified { seconds, strong: false }));
        let later = Some("Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(last_modified(date, later), Some(LastModified { seconds, strong: true }));
    }
}
