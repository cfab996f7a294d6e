//! How the bytes of a file come: from one small answer, in ranges several at a time, or in one stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use crate::decide::bucket::names::is_free;
use crate::decide::transfer::state::MOST_UNDECLARED;
use crate::edge::bucket::PartTag;
use crate::edge::system::blocking::lost;
use crate::edge::system::clock::until;
use crate::model::fault::{Fault, RangeFault};

use super::super::part_memory::shrink;
use super::super::upload::Upload;
use super::hashes::Hashes;
use super::requests::{Begun, First, Range};
use super::sends::Sends;
use super::{Content, File, Known, Shared, Stopped, Whole};

/// A file that is read in one stream.
struct Stream {
    upload: Option<(Arc<Upload>, Sends)>,
    /// Memory for parts that is free.
    slots: Vec<OwnedSemaphorePermit>,
    total: u64,
}

/// How a stream ended badly.
enum Broken {
    Fault(Fault),
    Stopped(Stopped),
}

impl Stream {
    /// Waits until a part was sent, whose memory is free then.
    async fn freed(&mut self) -> Result<OwnedSemaphorePermit, Broken> {
        let sent = match &mut self.upload {
            Some((_, sends)) => sends.next().await.map_err(Broken::Stopped)?,
            None => None,
        };
        sent.ok_or(Broken::Stopped(Stopped::Changed))
    }
}

type Fetch = Pin<Box<dyn Future<Output = Result<(u64, Bytes, OwnedSemaphorePermit), Stopped>> + Send>>;

impl File {
    /// A file of one part at most: it is created from memory.
    pub(super) async fn small(
        self: Arc<Self>,
        first: First,
        length: u64,
        mut hashes: Hashes,
    ) -> Result<Whole, Stopped> {
        let known = first.known.clone();
        let (mut memory, first) = first.split();
        shrink(&mut memory, length);
        let bytes = self.part(Some(first), &known, 0..length).await?;
        hashes = hashes.feed_beside(bytes.clone()).await?;
        Ok(Whole { received: hashes.finish(), known, content: Content::Small(bytes, memory) })
    }

    /// A whole text, which came packed.
    pub(super) async fn text(
        self: Arc<Self>,
        text: Bytes,
        known: Known,
        memory: OwnedSemaphorePermit,
    ) -> Result<Whole, Stopped> {
        self.report_started(known.length);
        let hashes = Hashes::new(self.order.artifact.path.file_name(), &[]);
        let hashes = hashes.feed_beside(text.clone()).await?;
        Ok(Whole { received: hashes.finish(), known, content: Content::Small(text, memory) })
    }

    async fn upload(&self) -> Result<Arc<Upload>, Stopped> {
        let may_be_direct = self.story().may_be_direct;
        let plain = self.order.artifact.path.clone();
        let Shared { store, head, publish, .. } = self.shared.as_ref();
        let may_be_direct = may_be_direct && is_free(&plain, &head.known());
        Ok(Arc::new(Upload::begin(store.clone(), head.clone(), plain, *publish, may_be_direct).await?))
    }

    /// A large file whose host serves ranges: several at a time, hashed in order, sent as soon as they are hashed.
    pub(super) async fn windowed(
        self: Arc<Self>,
        first: First,
        length: u64,
        part: u64,
        mut hashes: Hashes,
    ) -> Result<Whole, Stopped> {
        let known = Arc::new(first.known.clone());
        let count = length.div_ceil(part);
        let window = self.shared.window;
        let mut fetches: FuturesOrdered<Fetch> = FuturesOrdered::new();
        let (mut next, mut hashed, mut waits_until) = (0, 0, None);
        // The first answer has the first part, unless parts of this file have to be larger.
        if part == self.shared.part {
            let (memory, first) = first.split();
            fetches.push_back(self.clone().fetch(Some(first), known.clone(), 0, 0..part, memory));
            next = 1;
        } else {
            drop(first);
        }
        let upload = self.upload().await?;
        let mut sends = Sends::new(upload.clone(), count);
        let outcome = async {
            loop {
                tokio::select! {
                    biased;
                    Some(fetched) = fetches.next(), if !fetches.is_empty() => {
                        let (number, bytes, memory) = match fetched {
                            // What is not hashed yet is fetched again: its memory is for files of other hosts.
                            Err(Stopped::Waits { until }) => {
                                fetches.clear();
                                (next, waits_until) = (hashed, Some(until));
                                self.have.store(hashed * part, Ordering::Relaxed);
                                continue;
                            }
                            fetched => fetched?,
                        };
                        hashed = number + 1;
                        hashes = hashes.feed_beside(bytes.clone()).await?;
                        if let Some(declared) = hashes.inspection().declared_length().filter(|own| *own > length) {
                            return Err(Stopped::Unfinished { declared: Some(declared), have: length });
                        }
                        sends.send(number, bytes, memory);
                    }
                    memory = self.shared.memory.reserve(part.min(length.saturating_sub(next * part))), if waits_until.is_none() && next < count && fetches.len() < window => {
                        let range = next * part..((next + 1) * part).min(length);
                        fetches.push_back(self.clone().fetch(None, known.clone(), next, range, memory));
                        next += 1;
                    }
                    sent = sends.next(), if sends.is_busy() => drop(sent?),
                    () = until(waits_until), if waits_until.is_some() => waits_until = None,
                    else => return Ok(hashes),
                }
            }
        };
        match outcome.await {
            Ok(hashes) => {
                let parts = sends.finish().await?;
                Ok(whole(hashes, &known, upload, parts))
            }
            Err(stopped) => {
                drop(fetches);
                drop(sends);
                upload.abort().await;
                Err(stopped)
            }
        }
    }

    fn fetch(
        self: Arc<Self>,
        first: Option<Begun>,
        known: Arc<Known>,
        number: u64,
        range: Range,
        memory: OwnedSemaphorePermit,
    ) -> Fetch {
        let fetching = AbortOnDropHandle::new(tokio::spawn(async move {
            Ok((number, self.part(first, &known, range).await?, memory))
        }));
        Box::pin(async move {
            match fetching.await {
                Ok(fetched) => fetched,
                Err(gone) => Err(lost("fetch", std::path::Path::new("a part"))(gone).into()),
            }
        })
    }

    /// A large file in one stream: its host serves no ranges, or its answers cannot be compared. It has the memory of one
    /// part, and of another where that is free: it never waits for memory, since it holds a connection.
    pub(super) async fn streamed(
        self: Arc<Self>,
        first: First,
        part: u64,
        hashes: Hashes,
    ) -> Result<Whole, Stopped> {
        let generation = self.story().generation;
        let mut known = first.known.clone();
        let (memory, first) = first.split();
        let mut stream = Stream { upload: None, slots: vec![memory], total: 0 };
        stream.slots.extend(self.shared.memory.try_reserve(part));
        match self.stream(first, part, known.length, hashes, &mut stream).await {
            Ok((hashes, None)) => {
                let Some((upload, sends)) = stream.upload else { return Err(Stopped::Changed) };
                known.length = known.length.or(Some(stream.total));
                let parts = sends.finish().await?;
                Ok(whole(hashes, &known, upload, parts))
            }
            Ok((hashes, Some((bytes, memory)))) => {
                known.length = Some(stream.total);
                known.revision.length = known.length;
                Ok(Whole { received: hashes.finish(), known, content: Content::Small(bytes, memory) })
            }
            Err(stopped) => {
                let Stream { upload, slots, .. } = stream;
                drop(slots);
                if let Some((upload, sends)) = upload {
                    drop(sends);
                    upload.abort().await;
                }
                match stopped {
                    Broken::Stopped(stopped) => Err(stopped),
                    Broken::Fault(fault) => {
                        // A stream that begins again has made no progress, however far it came.
                        self.stumble(fault, generation, false).await.map_err(Stopped::Ended)?;
                        Err(Stopped::Again)
                    }
                }
            }
        }
    }

    /// Reads a stream to its end. A file that ends within its first part comes back as its bytes.
    async fn stream(
        &self,
        (mut body, mut skip, _connection): Begun,
        part: u64,
        size: Option<u64>,
        mut hashes: Hashes,
        stream: &mut Stream,
    ) -> Result<(Hashes, Option<(Bytes, OwnedSemaphorePermit)>), Broken> {
        let wanted = usize::try_from(part).unwrap_or(usize::MAX);
        let mut carried = Bytes::new();
        let mut number = 0;
        loop {
            let memory = match stream.slots.pop() {
                Some(memory) => memory,
                None => stream.freed().await?,
            };
            let mut buffer = BytesMut::with_capacity(wanted);
            let mut is_over = false;
            while buffer.len() < wanted && !is_over {
                let mut chunk = std::mem::take(&mut carried);
                if chunk.is_empty() {
                    match body.chunk().await.map_err(Broken::Fault)? {
                        Some(bytes) => {
                            let mut bytes = bytes;
                            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                            skip -= dropped as u64;
                            chunk = bytes.split_off(dropped);
                        }
                        None if size.is_none_or(|size| size == stream.total) => break,
                        None => {
                            let received = stream.total;
                            let missing = size.map(|size| size.saturating_sub(stream.total));
                            return Err(Broken::Fault(Fault::ended_early(received, missing)));
                        }
                    }
                }
                let left = size.map_or(u64::MAX, |size| size - stream.total);
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                // Parts are equal: what a chunk has beyond this one is for the next.
                carried = chunk.split_off(chunk.len().min(wanted - buffer.len()));
                stream.total += chunk.len() as u64;
                buffer.extend_from_slice(&chunk);
                self.count(chunk.len(), size).await;
                is_over = size == Some(stream.total);
            }
            let is_last = is_over || buffer.len() < wanted;
            let bytes = buffer.freeze();
            hashes =
                hashes.feed_beside(bytes.clone()).await.map_err(|error| Broken::Stopped(error.into()))?;
            if size.is_none() && (hashes.inspection().is_hopeless() || stream.total > MOST_UNDECLARED) {
                return Err(Broken::Fault(Fault::Range(RangeFault::Overlong)));
            }
            if is_last && stream.upload.is_none() {
                return Ok((hashes, Some((bytes, memory))));
            }
            let sends = match &mut stream.upload {
                Some((_, sends)) => sends,
                None => {
                    let upload = self.upload().await.map_err(Broken::Stopped)?;
                    &mut stream.upload.insert((upload.clone(), Sends::new(upload, 0))).1
                }
            };
            // The stream may end exactly with a part.
            if !bytes.is_empty() {
                sends.send(number, bytes, memory);
                number += 1;
            }
            if is_last {
                return Ok((hashes, None));
            }
        }
    }
}

fn whole(hashes: Hashes, known: &Known, upload: Arc<Upload>, parts: Vec<PartTag>) -> Whole {
    Whole { received: hashes.finish(), known: known.clone(), content: Content::Uploaded(upload, parts) }
}
