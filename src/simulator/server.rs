//! HTTP on a socket: one listener for each origin, one task for each connection.
//!
//! The one idea: this file knows bytes and connections and nothing of trainings; a [`Service`] decides.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::body::{Body, FlushGate};

/// How long to wait after the system refused a connection, for lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Answers requests. An error drops the connection without an answer.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    fn call(
        &self,
        request: Request<Incoming>,
        gate: Arc<FlushGate>,
    ) -> impl Future<Output = io::Result<Response<Body>>> + Send;
}

/// Serves until it is dropped, and all its connections with it.
pub(crate) async fn serve(listener: TcpListener, service: impl Service) {
    let mut connections = JoinSet::new();
    loop {
        // What has ended is taken away as it goes, so that the set stays as small as the number of connections.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers would wait for acknowledgements otherwise.
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, service.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, service: impl Service) {
    let gate = Arc::new(FlushGate::default());
    let io = TokioIo::new(Gated { stream, gate: Arc::clone(&gate) });
    let answer = service_fn(move |request| {
        let (service, gate) = (service.clone(), Arc::clone(&gate));
        async move { service.call(request, gate).await }
    });
    // An error here is a client that left or a fault on cue; the record of requests tells about both.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, answer).await;
}

/// A connection that tells its gate when all was written.
struct Gated {
    stream: TcpStream,
    gate: Arc<FlushGate>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.gate.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
