//! POSTs an event to an address of the user's. Such an address is a secret: only its host is ever shown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use url::{ParseError, Url};

use crate::edge::api;
use crate::edge::api::Limits;
use crate::edge::net::names::{Dialled, Names, Resolver};
use crate::model::hook_event::Occasion;
use crate::model::units::ByteCount;

use super::client;
use super::http::names_a_proxy;
use super::retry_after::asked_wait;
use super::wire;

/// Tries of one call while nothing or a passing trouble comes back.
const TRIES: u32 = 3;

/// Waits between them: doubled each time, so that a service that is started anew is met again.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait that a receiver may ask for between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long one try may take; receivers that work for longer than this should answer first.
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(10), total: Duration::from_secs(30), answer: ByteCount(0) };

/// Where events are sent.
#[derive(Clone)]
pub struct Webhook {
    url: Url,
    wire: Arc<Dialled>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.place())
    }
}

impl Webhook {
    /// Takes an address, on whatever host: the user typed it.
    ///
    /// # Errors
    /// What is wrong with it, without the address itself.
    pub fn new(address: &str) -> Result<Self, String> {
        const FORM: &str = "write an address such as `https://example.com/hook`";
        let url = Url::parse(address.trim()).map_err(|error| match error {
            // What has no scheme.
            ParseError::RelativeUrlWithoutBase => FORM.to_owned(),
            error => format!("{FORM} ({error})"),
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!("{FORM}, with `https://` or `http://` in front"));
        }
        let names = Names::new(LIMITS.total);
        let builder = client::builder()
            .connect_timeout(LIMITS.connect)
            .timeout(LIMITS.total)
            .dns_resolver(Arc::new(Resolver(names.clone())));
        let client = client::for_origin(builder, url.scheme() == "https")?;
        let may_use_proxy = names_a_proxy(|name| std::env::var(name).ok());
        Ok(Self { url, wire: Arc::new(Dialled { client, names, may_use_proxy }) })
    }

    /// Returns scheme and host, which is all that may be shown.
    #[must_use]
    pub fn place(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}/…", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    /// Returns the address, which distinguishes this hook from others. It is a secret: not to be shown.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.url.as_str()
    }

    /// Sends an event, a few times if need be.
    ///
    /// # Errors
    /// What the last try came to, without the address.
    pub async fn post(&self, occasion: &Occasion) -> Result<(), String> {
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            let (cause, passing, asked) = match self.send(occasion).await {
                Ok((status, _)) if status.is_success() => return Ok(()),
                Ok((status, asked)) => (format!("HTTP {}", status.as_u16()), is_passing(status), asked),
                Err(error) => (api::cause(&error, LIMITS), true, None),
            };
            if !passing || tries >= TRIES {
                return Err(cause);
            }
            // The wait that a receiver asks for is granted, up to a minute.
            tokio::time::sleep(asked.map_or(wait, |asked| asked.clamp(wait, LONGEST_WAIT))).await;
            wait *= 2;
            tries += 1;
        }
    }

    /// Sends it once; returns the answer's status, and how long it asks to wait.
    async fn send(&self, occasion: &Occasion) -> reqwest::Result<(StatusCode, Option<Duration>)> {
        let request = self
            .wire
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            // So that a receiver can recognise an event that it got before.
            .header("Idempotency-Key", occasion.id.as_str())
            .body(occasion.json.clone());
        let answer = wire::send(self.wire.as_ref(), request).await?;
        Ok((answer.status(), asked_wait(answer.headers())))
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hook_event::EventId;

    #[tokio::test]
    async fn the_wait_that_a_receiver_asks_for_is_granted() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for head in ["429 Busy\r\nRetry-After: 1", "200 Fine"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        let began = std::time::Instant::now();
        let occasion = Occasion { id: EventId::of(&["a"]), values: Vec::new(), json: "{}".to_owned() };
        Webhook::new(&url).unwrap().post(&occasion).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[test]
    fn an_address_is_never_shown() {
        let hook = Webhook::new("https://user:s3cret@hooks.example:8443/T0/s3cret?k=s3cret#s3cret").unwrap();
        assert_eq!(hook.place(), "https://hooks.example:8443/…");
        assert!(!format!("{hook:?}").contains("s3cret"));
        for bad in ["s3cret", "ftp://h/s3cret", "https://", "file:///s3cret", "//h/s3cret", "http://[s3cret"]
        {
            let why = Webhook::new(bad).unwrap_err();
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
