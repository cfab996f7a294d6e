//! What the scripted servers host: a job, its files, and how each of them is served.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::host::{Ask, Script};
use super::reply::Reply;

/// The job that every case mirrors.
pub(crate) const JOB: &str = "job-0001";

/// A canary: it must not be seen anywhere but at the API.
pub(crate) const TOKEN: &str = "canary-token-5f1d2c";

/// A canary in the query of every listed address: it must not be seen anywhere but at the file's host.
pub(crate) const SIGNATURE: &str = "canary-signature-77aa";

/// One MiB.
pub(crate) const MIB: usize = 1 << 20;

/// One version of a hosted file, and the honest way of serving it.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
}

impl File {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", &hex(&Sha256::digest(&bytes))[..12]);
        Self { bytes: Arc::new(bytes), etag: Some(etag), modified: None }
    }

    pub(crate) fn etag(mut self, etag: &str) -> Self {
        self.etag = (!etag.is_empty()).then(|| etag.to_owned());
        self
    }

    pub(crate) fn modified(mut self, date: &str) -> Self {
        self.modified = Some(date.to_owned());
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Serves it as RFC 9110 wants it.
    pub(crate) fn honest(&self, ask: &Ask) -> Reply {
        let same = |condition: &str| {
            self.etag.as_deref() == Some(condition) || self.modified.as_deref() == Some(condition)
        };
        let honoured = ask.header("if-range").is_none_or(same);
        match ask.range().filter(|_| honoured) {
            Some((first, _)) if first >= self.len() => {
                self.stamped(Reply::new(416, b"")).header("Content-Range", &format!("bytes */{}", self.len()))
            }
            Some((first, last)) => self.part(first, last.map_or(self.len(), |last| last + 1)),
            None => self.whole(),
        }
    }

    /// The whole file, whatever was asked.
    pub(crate) fn whole(&self) -> Reply {
        self.stamped(Reply::new(200, &self.bytes))
    }

    /// These bytes, half-open, as a 206.
    pub(crate) fn part(&self, start: usize, end: usize) -> Reply {
        let end = end.min(self.len());
        let range = format!("bytes {start}-{}/{}", end - 1, self.len());
        self.stamped(Reply::new(206, &self.bytes[start..end])).header("Content-Range", &range)
    }

    fn stamped(&self, reply: Reply) -> Reply {
        let mut reply = reply
            .header("Date", "Tue, 24 Nov 2026 12:00:00 GMT")
            .header("Accept-Ranges", "bytes")
            .header("Content-Type", "application/octet-stream");
        if let Some(etag) = &self.etag {
            reply = reply.header("ETag", etag);
        }
        if let Some(modified) = &self.modified {
            reply = reply.header("Last-Modified", modified);
        }
        reply
    }
}

/// One listed file.
#[derive(Clone)]
pub(crate) struct Hosted {
    pub(crate) kind: Kind,
    /// The path in its address, as it is listed.
    pub(crate) path: String,
    /// Where rcsync should put it, when at all.
    pub(crate) local: String,
    /// Every version that may be published.
    pub(crate) truth: Vec<File>,
    pub(crate) script: Script,
}

/// A file's place in the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Checkpoint,
    Sample,
    Config,
}

impl Hosted {
    /// A checkpoint at step 250, served by a script.
    pub(crate) fn checkpoint(
        file: &File,
        script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(Kind::Checkpoint, "lora_000000250.safetensors", file, script)
    }

    pub(crate) fn sample(
        name: &str,
        file: &File,
        script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(Kind::Sample, &format!("samples/{name}"), file, script)
    }

    pub(crate) fn config(file: &File, script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(Kind::Config, "config.yaml", file, script)
    }

    fn new(
        kind: Kind,
        local: &str,
        file: &File,
        script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let served = file.clone();
        Self {
            kind,
            path: format!("/output/{local}"),
            local: local.to_owned(),
            truth: vec![file.clone()],
            script: Arc::new(move |ask| script(&served, ask)),
        }
    }

    /// Another version that may be published too.
    pub(crate) fn or(mut self, file: &File) -> Self {
        self.truth.push(file.clone());
        self
    }

    /// Only this version may be published.
    pub(crate) fn only(mut self, file: &File) -> Self {
        self.truth = vec![file.clone()];
        self
    }

    pub(crate) fn at(mut self, path: &str, local: &str) -> Self {
        (self.path, self.local) = (path.to_owned(), local.to_owned());
        self
    }
}

/// Returns a whole checkpoint, with the hash of its body in its header. The same seed gives the same bytes.
pub(crate) fn weights(seed: u64, body: usize) -> File {
    File::new(weight_bytes(seed, body))
}

pub(crate) fn weight_bytes(seed: u64, body: usize) -> Vec<u8> {
    let mut tensor = vec![0; body];
    fastrand::Rng::with_seed(seed).fill(&mut tensor);
    with_header(&tensor)
}

/// Returns a whole checkpoint with this body.
pub(crate) fn weights_of(tensor: &[u8]) -> File {
    File::new(with_header(tensor))
}

fn with_header(tensor: &[u8]) -> Vec<u8> {
    let body = tensor.len();
    let hash = hex(&Sha256::digest(tensor));
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt","sshs_model_hash":"{hash}"}},"lora.weight":{{"dtype":"U8","shape":[{body}],"data_offsets":[0,{body}]}}}}"#
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(tensor);
    file
}

/// Returns a checkpoint without any hash in it: only its structure can be proven.
pub(crate) fn unhashed_weights(seed: u64, body: usize) -> File {
    let mut tensor = vec![0; body];
    fastrand::Rng::with_seed(seed).fill(&mut tensor);
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{body}],"data_offsets":[0,{body}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&tensor);
    File::new(file)
}

/// Returns a small, valid picture.
pub(crate) fn picture(seed: u64) -> File {
    let mut pixels = vec![0; 32 * 32 * 3];
    fastrand::Rng::with_seed(seed).fill(&mut pixels);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 32, 32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    File::new(bytes)
}

pub(crate) fn yaml() -> File {
    File::new(
        b"job: extension\nconfig:\n  name: lora\n  process:\n    - save:\n        save_every: 250\n".to_vec(),
    )
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    rcsync::internals::hex(bytes)
}
