//! What a fault makes of the text of an answer: a lie, an older state, or the same text packed.

use std::io::{self, Read as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::faults::What;
use super::files::content::Content;
use super::reply::{Reply, Slice};

/// Puts what `what` makes of an answer's text in its place.
pub(crate) fn alter(reply: &mut Reply, what: &What) {
    let text = || String::from_utf8_lossy(&reply.slice.read(0, usize::MAX)).into_owned();
    let (bytes, is_packed) = match what {
        What::WrongJob => (wrong_job(&text()).into_bytes(), false),
        What::LaggingResult => (lagging(&text()).into_bytes(), false),
        What::Gzip => (gzip(&mut text().as_bytes()), true),
        What::GzipBomb(mib) => (gzip(&mut io::repeat(b' ').take(u64::from(*mib) << 20)), true),
        _ => return,
    };
    reply.slice = Slice::whole(Content::bytes(bytes));
    if is_packed {
        reply.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
}

/// Puts another job's id into an answer.
fn wrong_job(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    if let Some(id) = value.get_mut("id") {
        *id = Value::from("00000000-0000-4000-8000-000000000000");
    }
    value.to_string()
}

/// Makes an answer of `result` what it was before the job's end.
fn lagging(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    if let Some(answer) = value.as_object_mut() {
        answer.insert("status".to_owned(), Value::from("RUNNING"));
        answer.insert("finished_at".to_owned(), Value::Null);
    }
    if let Some(checkpoints) = value.pointer_mut("/artifacts/checkpoints").and_then(Value::as_array_mut) {
        checkpoints.pop();
    }
    value.to_string()
}

/// A text in memory can be packed without a fault.
fn gzip(text: &mut impl io::Read) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let _ = io::copy(text, &mut encoder);
    encoder.finish().unwrap_or_default()
}
