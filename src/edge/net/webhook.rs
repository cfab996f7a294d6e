//! POSTs an event to an address of the user's. Such an address is a secret: only its host is ever shown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use url::{ParseError, Url};

use crate::edge::net::names::{Dialled, Names, Resolver};
use crate::model::bad_hook::{BadAddress, BadHookValue};
use crate::model::hook_event::Occasion;
use crate::model::hook_fault::HookFault;

use super::causes::{Deadlines, transport_fault};
use super::client;
use super::http::names_a_proxy;
use super::retry_after::asked_wait;
use super::wire;

/// How long one try may take; receivers that work for longer than this should answer first.
const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(10), total: Duration::from_secs(30) };

/// Where events are sent.
#[derive(Clone)]
pub(crate) struct Webhook {
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
    pub(crate) fn new(address: &str) -> Result<Self, BadHookValue> {
        let url = Url::parse(address.trim()).map_err(|error| match error {
            // What has no scheme.
            ParseError::RelativeUrlWithoutBase => BadAddress::NoScheme,
            error => BadAddress::Unreadable(error.to_string()),
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(BadAddress::NoHttp.into());
        }
        let names = Names::new(DEADLINES.total);
        let builder = client::builder()
            .connect_timeout(DEADLINES.connect)
            .timeout(DEADLINES.total)
            .dns_resolver(Arc::new(Resolver(names.clone())));
        let client = client::for_origin(builder, url.scheme() == "https")?;
        let may_use_proxy = names_a_proxy(|name| std::env::var(name).ok());
        Ok(Self { url, wire: Arc::new(Dialled { client, names, may_use_proxy }) })
    }

    /// Returns scheme and host, which is all that may be shown.
    #[must_use]
    pub(crate) fn place(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}/…", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    /// Returns the address, which distinguishes this hook from others. It is a secret: not to be shown.
    #[must_use]
    pub(crate) fn identity(&self) -> &str {
        self.url.as_str()
    }

    /// Sends an event: one request, one answer.
    ///
    /// # Errors
    /// What the answer means, without the address.
    pub(crate) async fn post(&self, occasion: &Occasion) -> Result<(), HookFault> {
        let request = self
            .wire
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            // So that a receiver can recognise an event that it got before.
            .header("Idempotency-Key", occasion.id.as_str())
            .body(occasion.json.clone());
        let place = self.place();
        let answer = wire::send(self.wire.as_ref(), request).await.map_err(|error| {
            let (place, cause) = (place.clone(), transport_fault(&error, DEADLINES));
            if error.is_timeout() {
                HookFault::NoAnswer { place, cause }
            } else {
                HookFault::Unreachable { place, cause }
            }
        })?;
        if answer.status().is_success() {
            return Ok(());
        }
        let retry_after = asked_wait(answer.headers());
        Err(HookFault::Refused { place, status: answer.status().as_u16(), retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hook_event::EventId;
    use crate::model::transport_fault::TransportFault;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_in_time_differs_from_one_that_cannot_be_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = format!("http://{}/hook", listener.local_addr().unwrap());
        let occasion = Occasion { id: EventId::of(&["id"]), values: Vec::new(), json: "{}".to_owned() };
        let silent = Webhook::new(&place).unwrap().post(&occasion).await.unwrap_err();
        let cause = TransportFault::TimedOut { after: DEADLINES.total };
        let hook = Webhook::new(&place).unwrap();
        assert_eq!(silent, HookFault::NoAnswer { place: hook.place(), cause });
        drop(listener);
        let closed = Webhook::new(&place).unwrap().post(&occasion).await.unwrap_err();
        let cause = TransportFault::Refused;
        assert_eq!(closed, HookFault::Unreachable { place: hook.place(), cause });
    }

    #[test]
    fn an_address_is_never_shown() {
        let hook = Webhook::new("https://user:s3cret@hooks.example:8443/T0/s3cret?k=s3cret#s3cret").unwrap();
        assert_eq!(hook.place(), "https://hooks.example:8443/…");
        assert!(!format!("{hook:?}").contains("s3cret"));
        for bad in ["s3cret", "ftp://h/s3cret", "https://", "file:///s3cret", "//h/s3cret", "http://[s3cret"]
        {
            let why = Webhook::new(bad).unwrap_err().to_string();
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
