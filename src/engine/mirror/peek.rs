//! A look into hosted checkpoints before they are fetched: the headers alone, a few KiB of each.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use crate::decide::formats::safetensors_header::{HeaderError, LENGTH_BYTES, SafetensorsHeader};
use crate::decide::transfer::backoff::Policy;
use crate::decide::transfer::outcome::{Verdict, verdict};
use crate::decide::transfer::plain_request::{Habit, Instead, instead};
use crate::decide::transfer::resume::{Answer, Asked, resume};
use crate::edge::net::http::{ArtifactClient, Body, RangeRequest};
use crate::engine::retry::{Again, retry};
use crate::model::artifact::{Artifact, ArtifactKind};
use crate::model::fault::Fault;
use crate::model::response_head::{ContentRange, Head};
use crate::model::source_url::SourceUrl;

/// What the first request asks for. Most of it is wasted on a small header, and a larger one (60 to 250 kB where
/// hundreds of tensors have long names) takes one more request for exactly the rest.
const FIRST: u64 = 16 << 10;

/// A longer header than this is none that a trainer wrote: the real ones stay below 250 kB.
const LONGEST: u64 = 8 << 20;

/// Requests at once: enough to hide the way to the host, few enough for any host.
const AT_ONCE: usize = 8;

/// Tries of one file: the table of all of them waits for it.
const PATIENCE: Policy = Policy::patient(4, Duration::from_millis(250), Duration::from_secs(20));

/// What a checkpoint's header has, before any of its weights is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peeked {
    /// The header.
    pub header: SafetensorsHeader,
    /// Bytes that the host has, where it reported them: fewer than declared while the trainer still writes.
    pub hosted: Option<u64>,
}

/// Why a header could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeekError {
    /// The host did not answer as it should.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The file is shorter than the length of a header.
    #[error("only {here} bytes of it are there yet")]
    TooShort {
        /// Bytes that the host has.
        here: usize,
    },
    /// It is no safetensors file: its header would be longer than any.
    #[error("its header claims to have {length} bytes; it is no safetensors file")]
    TooLong {
        /// The length that its first bytes declare.
        length: u64,
    },
    /// The trainer still writes the header.
    #[error("its header is still being written")]
    Unfinished,
    /// What came is no safetensors header.
    #[error(transparent)]
    NoHeader(#[from] HeaderError),
}

/// Whether this artifact has a header to look at.
#[must_use]
pub(crate) fn can_peek(artifact: &Artifact) -> bool {
    artifact.key.kind == ArtifactKind::Checkpoint && artifact.path.as_str().ends_with(".safetensors")
}

/// Reads the headers of these hosted files, in their order.
pub(crate) async fn peek(client: &ArtifactClient, sources: &[&SourceUrl]) -> Vec<Result<Peeked, PeekError>> {
    stream::iter(sources.iter().copied())
        .map(|source| patiently(client, source))
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn patiently(client: &ArtifactClient, source: &SourceUrl) -> Result<Peeked, PeekError> {
    retry(PATIENCE, || once(client, source), again, |_, _| {}).await
}

fn again(error: &PeekError) -> Again {
    match error {
        PeekError::Fault(fault) => match verdict(fault) {
            Verdict::Retry { at_least } => Again::After(at_least),
            _ => Again::Never,
        },
        PeekError::TooShort { .. }
        | PeekError::TooLong { .. }
        | PeekError::Unfinished
        | PeekError::NoHeader(_) => Again::Never,
    }
}

async fn once(client: &ArtifactClient, source: &SourceUrl) -> Result<Peeked, PeekError> {
    let (mut bytes, hosted) = read(client, source, 0, FIRST).await?;
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let Some(length) = length else {
        return Err(PeekError::TooShort { here: bytes.len() });
    };
    if length > LONGEST {
        return Err(PeekError::TooLong { length });
    }
    let end = LENGTH_BYTES + length;
    if (bytes.len() as u64) < end {
        let (more, _) = read(client, source, bytes.len() as u64, end).await?;
        bytes.extend(more);
    }
    let header = usize::try_from(end).ok().and_then(|end| bytes.get(8..end));
    let header = SafetensorsHeader::parse(header.ok_or(PeekError::Unfinished)?)?;
    Ok(Peeked { header, hosted })
}

/// Reads this range or what there is of it, and the length of the whole where the host reports it.
async fn read(
    client: &ArtifactClient,
    source: &SourceUrl,
    start: u64,
    end: u64,
) -> Result<(Vec<u8>, Option<u64>), PeekError> {
    let ask = RangeRequest { start, end: Some(end), ..RangeRequest::default() };
    let (mut head, mut body) = client.get(source, &ask).await?;
    if instead(Habit::Unknown, false, head.status, None) == Instead::AtOnce
        && resume(&Asked { start, end: Some(end), ..Asked::default() }, &head) == Answer::Refused
    {
        (head, body) = client.get(source, &RangeRequest { plain: true, ..ask }).await?;
    }
    // A host that does not know ranges sends all; what is before the range is dropped, and the rest is not read.
    let skip = match (&head, head.content_range) {
        (Head { status: 206, .. }, Some(ContentRange::Part { start: first, .. })) if first == start => 0,
        (Head { status: 200, encoded: false, .. }, None) => start,
        (Head { status: 416, .. }, _) => return Ok((Vec::new(), head.revision.length)),
        _ => return Err(PeekError::Fault(body.into_refusal().await)),
    };
    let bytes = collect(body, skip, end - start).await?;
    Ok((bytes, head.revision.length))
}

async fn collect(mut body: Body, mut skip: u64, most: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < most {
        let Some(chunk) = body.chunk().await? else { break };
        let dropped = skip.min(chunk.len() as u64);
        skip -= dropped;
        let dropped = usize::try_from(dropped).unwrap_or(chunk.len());
        bytes.extend_from_slice(&chunk[dropped..]);
    }
    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(bytes)
}
