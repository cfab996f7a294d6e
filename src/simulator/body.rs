//! Sending a body: at what pace, up to which byte, and how it ends.
//!
//! The one idea: bytes are made when the connection wants them, so any number of huge answers takes little memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::simulator::request_log::Meter;

use super::reply::{Manner, Slice};

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Large enough for speed, small enough for thousands of connections.
const CHUNK: usize = 128 * 1024;

/// A throttled body is sent in this many portions a second: smooth to a progress bar.
const PORTIONS_A_SECOND: u64 = 20;

/// Tells when everything that was given to the connection has been handed to the system.
#[derive(Debug, Default)]
pub(crate) struct FlushGate {
    flushes: AtomicU64,
    changed: Notify,
}

impl FlushGate {
    /// To be called whenever the connection has written all it had.
    pub(crate) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until all bytes given before this call are written.
    async fn wait(&self) {
        let before = self.flushes.load(Ordering::Acquire);
        loop {
            let changed = self.changed.notified();
            if self.flushes.load(Ordering::Acquire) > before {
                return;
            }
            changed.await;
        }
    }
}

/// A body of nothing.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The body that `slice` and `manner` describe.
pub(crate) fn body(slice: Slice, manner: Manner, meter: Meter, gate: Option<Arc<FlushGate>>) -> Body {
    let sending = Sending { slice, manner, meter, gate, sent: 0, began: None };
    StreamBody::new(stream::unfold(Some(sending), Sending::next)).boxed_unsync()
}

struct Sending {
    slice: Slice,
    manner: Manner,
    meter: Meter,
    gate: Option<Arc<FlushGate>>,
    sent: u64,
    began: Option<Instant>,
}

type Step = Option<(Result<Frame<Bytes>, io::Error>, Option<Sending>)>;

impl Sending {
    async fn next(state: Option<Self>) -> Step {
        let mut sending = state?;
        if sending.manner.end_early == Some(sending.sent) {
            return None;
        }
        if sending.manner.cut == Some(sending.sent) {
            // Otherwise bytes that were sent would be lost with the connection, and the cut come early.
            if let Some(gate) = &sending.gate {
                gate.wait().await;
            }
            return Some((Err(io::ErrorKind::ConnectionReset.into()), None));
        }
        if sending.manner.stall == Some(sending.sent) {
            std::future::pending::<()>().await;
        }
        let bytes = sending.slice.read(sending.sent, sending.portion());
        if bytes.is_empty() {
            return None;
        }
        sending.sent += bytes.len() as u64;
        sending.keep_pace().await;
        sending.meter.add(bytes.len() as u64);
        Some((Ok(Frame::data(bytes)), Some(sending)))
    }

    /// How many bytes come next: up to the next place where something is to happen.
    fn portion(&self) -> usize {
        let Manner { cut, stall, end_early, rate } = self.manner;
        let stop = [cut, stall, end_early].into_iter().flatten().filter(|stop| *stop > self.sent).min();
        let until_stop = stop.map_or(u64::MAX, |stop| stop - self.sent);
        let paced = rate.map_or(u64::MAX, |rate| (rate / PORTIONS_A_SECOND).max(1));
        usize::try_from(until_stop.min(paced)).unwrap_or(usize::MAX).min(CHUNK)
    }

    /// Waits until the bytes counted so far may be out.
    async fn keep_pace(&mut self) {
        let Some(rate) = self.manner.rate else { return };
        let began = *self.began.get_or_insert_with(Instant::now);
        let micros = u128::from(self.sent) * 1_000_000 / u128::from(rate.max(1));
        let due = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        tokio::time::sleep_until(began + due).await;
    }
}
