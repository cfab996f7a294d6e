//! What carries a request to a host and the answer back: the HTTP library, or a world in memory on which whole mirrors
//! are rehearsed. Everything that is said and understood stays on this side of it.

use std::fmt;

use futures::future::BoxFuture;
use reqwest::{Request, RequestBuilder, Response};

/// Carries requests. An answer is returned as soon as its head is here.
pub(crate) trait Wire: fmt::Debug + Send + Sync {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>>;
}

pub(crate) async fn send(wire: &dyn Wire, request: RequestBuilder) -> reqwest::Result<Response> {
    wire.carry(request.build()?).await
}
