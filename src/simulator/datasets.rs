//! The datasets of the simulated account, and the Dataset API over them.
//!
//! Uploads are hashed as they arrive and never kept: of a file only name, length and digest are known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::model::dataset::{DatasetName, DatasetStatus};
use crate::model::digest::Sha256Digest;
use crate::simulator::hosted_files::encode_segment;
use crate::simulator::state::uuid;

use super::api::{Call, Places, refusal};
use super::dataset_options::DatasetOptions;
use super::links::{BadLink, Links};
use super::reply::Reply;

/// Where the Dataset API is, below the base.
pub(crate) const PATH: &str = "/trainers/datasets";

/// The folder of uploads on the artifact host.
const UPLOADS: &str = "/uploads/";

/// A header that signed uploads must have, beside their content type.
const SIGNED_HEADER: (&str, &str) = ("x-upload-meta", "simulated");
const SIGNED_TYPE: &str = "application/octet-stream";

/// A refusal: HTTP status, the vendor's number for it, and words.
type Refusal = (u16, u32, &'static str);

/// A dataset of the simulated account, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedDataset {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub status: DatasetStatus,
    /// Its files, by name.
    pub files: BTreeMap<String, SimulatedFile>,
}

/// A file of a simulated dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedFile {
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// How often it was uploaded whole.
    pub uploads: u32,
    /// Whether it came by a signed link.
    pub signed: bool,
}

/// What arrived with an upload.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The file name of a form.
    pub(crate) name: Option<String>,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Digest,
    /// The `Content-Length`, which has to be there.
    pub(crate) declared: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Datasets {
    seed: u64,
    created: u64,
    pub(crate) options: DatasetOptions,
    pub(crate) in_flight: usize,
    /// Bytes of files that arrived so far.
    pub(crate) received: Arc<AtomicU64>,
    all: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    dataset: SimulatedDataset,
    /// Signed uploads that no look has counted yet.
    arrived: Vec<(String, SimulatedFile)>,
    looks: u32,
    ready_looks: u32,
    changes: u64,
}

impl Datasets {
    pub(crate) fn new(seed: u64, options: DatasetOptions) -> Self {
        Self { seed, created: 0, options, in_flight: 0, received: Arc::default(), all: Vec::new() }
    }

    /// Returns all, as they are.
    pub(crate) fn all(&self) -> Vec<SimulatedDataset> {
        self.all.iter().map(|stored| stored.dataset.clone()).collect()
    }

    /// Adds a dataset as if it had been made on the web page.
    pub(crate) fn add(&mut self, name: &str, status: DatasetStatus, files: &[(&str, &[u8])]) -> String {
        use sha2::Digest as _;
        let id = self.create(name);
        if let Some(stored) = self.all.last_mut() {
            stored.dataset.status = status;
            for (name, bytes) in files {
                let sha256 = Sha256Digest::new(sha2::Sha256::digest(bytes).into());
                let file = SimulatedFile { size: bytes.len() as u64, sha256, uploads: 0, signed: false };
                stored.dataset.files.insert((*name).to_owned(), file);
            }
        }
        id
    }

    /// Removes a dataset; false where there is none of that name.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|stored| stored.dataset.name != name);
        self.all.len() < before
    }

    fn create(&mut self, name: &str) -> String {
        self.created += 1;
        let id = uuid(super::files::noise::derive(self.seed, &format!("dataset {}", self.created)));
        let dataset = SimulatedDataset {
            id: id.clone(),
            name: name.to_owned(),
            status: DatasetStatus::Draft,
            files: BTreeMap::new(),
        };
        self.all.push(Stored { dataset, arrived: Vec::new(), looks: 0, ready_looks: 0, changes: 0 });
        id
    }

    fn find(&mut self, id: &str) -> Result<&mut Stored, Refusal> {
        if !is_uuid(id) {
            return Err((400, 40001, "INVALID_DATASET_ID: the id is not a UUID"));
        }
        let found = self.all.iter_mut().find(|stored| stored.dataset.id == id);
        found.ok_or((404, 40401, "DATASET_NOT_FOUND: no such dataset"))
    }

    fn used(&self) -> u64 {
        self.all.iter().flat_map(|stored| stored.dataset.files.values()).map(|file| file.size).sum()
    }
}

impl Stored {
    /// Counts what has arrived, and lets the validation continue.
    fn look(&mut self, options: &DatasetOptions) {
        for (name, file) in std::mem::take(&mut self.arrived) {
            self.put(name, file, options);
        }
        if self.dataset.status == DatasetStatus::Ready {
            self.ready_looks += 1;
        }
        if self.dataset.status != DatasetStatus::Uploading {
            return;
        }
        self.looks += 1;
        if self.looks >= options.looks_until_ready || options.ready_between_files {
            self.dataset.status =
                if options.failure.is_some() { DatasetStatus::Failed } else { DatasetStatus::Ready };
        }
    }

    fn put(&mut self, name: String, mut file: SimulatedFile, options: &DatasetOptions) {
        let before = self.dataset.files.get(&name).map_or(0, |file| file.uploads);
        file.uploads = before + 1;
        self.dataset.files.insert(name, file);
        self.changes += 1;
        self.looks = 0;
        self.ready_looks = 0;
        let stays = options.overwrite_keeps_ready && self.dataset.status == DatasetStatus::Ready;
        if !stays {
            self.dataset.status = DatasetStatus::Uploading;
        }
    }

    fn value(&self, options: &DatasetOptions, with_files: bool) -> Value {
        let dataset = &self.dataset;
        let mut value = json!({
            "id": dataset.id,
            "name": dataset.name,
            "status": dataset.status.as_str(),
            "created_at": "2026-01-31T12:00:00Z",
            "updated_at": format!("2026-01-31T12:{:02}:{:02}Z", self.changes / 60 % 60, self.changes % 60),
        });
        if dataset.status == DatasetStatus::Failed {
            value["error"] = options.failure.as_deref().unwrap_or("validation failed").into();
        }
        if with_files {
            let is_late = dataset.status == DatasetStatus::Ready && self.ready_looks < options.lists_late;
            let files = dataset.files.iter().take(dataset.files.len() - usize::from(is_late));
            value["files"] =
                files.map(|(name, file)| json!({"filename": name, "size_bytes": file.size})).collect();
        }
        value
    }
}

/// Whether a request has the bytes of a file, which are not kept.
pub(crate) fn is_upload(is_api: bool, method: &str, path: &str) -> bool {
    if is_api {
        method == "POST" && path.contains(PATH) && path.ends_with("/upload")
    } else {
        method == "PUT" && path.starts_with(UPLOADS)
    }
}

/// What an answer of the Dataset API may depend on.
pub(crate) struct Account<'a> {
    pub(crate) datasets: &'a mut Datasets,
    pub(crate) links: &'a mut Links,
    pub(crate) places: &'a Places,
}

/// Answers a call of the Dataset API; the call's path begins behind [`PATH`].
pub(crate) fn answer(call: &Call<'_>, received: Option<&Received>, account: Account<'_>) -> Reply {
    let Account { datasets, links, places } = account;
    let mut route = || -> Result<Reply, Refusal> {
        let rest = call.path.trim_matches('/');
        let (id, verb) = rest.split_once('/').map_or((rest, None), |(id, verb)| (id, Some(verb)));
        match (call.method, id, verb) {
            ("GET", "", None) => Ok(Reply::json(200, &list(datasets))),
            ("POST", "", None) => create(call.body, datasets),
            ("DELETE", id, None) => {
                let id = datasets.find(id)?.dataset.id.clone();
                datasets.all.retain(|stored| stored.dataset.id != id);
                Ok(Reply::text(204, "application/json", ""))
            }
            ("GET", id, Some("status")) => {
                let options = datasets.options.clone();
                let stored = datasets.find(id)?;
                stored.look(&options);
                Ok(Reply::json(200, &stored.value(&options, true)))
            }
            ("POST", id, Some("upload")) => upload(id, received, datasets),
            ("POST", id, Some("get-upload-endpoint")) => upload_links(id, call.body, datasets, links, places),
            _ => Err((404, 40400, "no such endpoint")),
        }
    };
    route().unwrap_or_else(|(status, code, message)| refusal(status, code, message))
}

fn list(datasets: &Datasets) -> Value {
    let all: Vec<Value> = datasets.all.iter().map(|stored| stored.value(&datasets.options, false)).collect();
    json!({ "datasets": all })
}

fn create(body: &[u8], datasets: &mut Datasets) -> Result<Reply, Refusal> {
    let request: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let name = match request.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => format!("ds_{}", datasets.created + 1),
    };
    if name.parse::<DatasetName>().is_err() {
        return Err((422, 42201, "INVALID_DATASET_NAME: use letters, digits, _ and -"));
    }
    if datasets.all.iter().any(|stored| stored.dataset.name == name) {
        return Err((409, 40901, "DATASET_NAME_CONFLICT: the name is taken"));
    }
    datasets.create(&name);
    let options = &datasets.options;
    Ok(datasets.all.last().map_or_else(
        || refusal(500, 50001, "it was not created"),
        |stored| Reply::json(200, &stored.value(options, false)),
    ))
}

fn upload(id: &str, received: Option<&Received>, datasets: &mut Datasets) -> Result<Reply, Refusal> {
    let Some(received) = received else { return Err((400, 40002, "no file came whole")) };
    let Some(name) = &received.name else { return Err((422, 42202, "the part `file` is missing")) };
    if received.declared.is_none() {
        return Err((411, 41101, "Content-Length is missing"));
    }
    let (file, name) = take(name, received, false, datasets)?;
    let options = datasets.options.clone();
    datasets.find(id)?.put(name.clone(), file, &options);
    Ok(Reply::json(200, &json!({ "filename": name })))
}

/// Makes a file of what came, under the name that it gets.
fn take(
    name: &str,
    received: &Received,
    signed: bool,
    datasets: &mut Datasets,
) -> Result<(SimulatedFile, String), Refusal> {
    if datasets.options.quota.is_some_and(|quota| datasets.used() + received.size > quota) {
        return Err((402, 40201, "the account's storage is full"));
    }
    let short = u64::from(datasets.options.misstored > 0);
    datasets.options.misstored -= short;
    let size = received.size.saturating_sub(short);
    let name = if datasets.options.rewrites_names { rewritten(name) } else { name.to_owned() };
    Ok((SimulatedFile { size, sha256: received.sha256, uploads: 0, signed }, name))
}

fn rewritten(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect()
}

fn upload_links(
    id: &str,
    body: &[u8],
    datasets: &mut Datasets,
    links: &mut Links,
    places: &Places,
) -> Result<Reply, Refusal> {
    datasets.find(id)?;
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(files) = request.get("filenameToByteSize").and_then(Value::as_object) else {
        return Err((422, 42203, "filenameToByteSize is missing"));
    };
    let mut uploads = Map::new();
    for (name, size) in files {
        let Some(size) = size.as_u64() else { return Err((422, 42204, "a size is no number")) };
        let path = format!("{UPLOADS}{id}/{}", encode_segment(name));
        let query = links.sign(&signed_text(&path, size), datasets.options.link_lifetime);
        let link = json!({
            "upload_url": format!("{}{path}?{query}", places.artifact_origin),
            "method": "PUT",
            "headers": { "Content-Type": SIGNED_TYPE, SIGNED_HEADER.0: SIGNED_HEADER.1 },
        });
        uploads.insert(name.clone(), link);
    }
    Ok(Reply::json(200, &json!({ "uploads": uploads })))
}

/// The length is a part of what is signed.
fn signed_text(path: &str, size: u64) -> String {
    format!("PUT {path} {size}")
}

/// Answers an upload to a signed address.
pub(crate) fn answer_signed(
    path: &str,
    query: Option<&str>,
    header: impl Fn(&str) -> Option<String>,
    received: Option<&Received>,
    datasets: &mut Datasets,
    links: &Links,
) -> Reply {
    let Some(received) = received else {
        return Reply::storage_error(400, "IncompleteBody", "the body is not whole");
    };
    let Some(declared) = received.declared else {
        return Reply::storage_error(
            411,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        );
    };
    match links.check(&signed_text(path, declared), query) {
        Ok(()) => {}
        Err(BadLink::Unsigned) => {
            return Reply::storage_error(
                403,
                "SignatureDoesNotMatch",
                "The request signature does not match.",
            );
        }
        Err(BadLink::Expired) => {
            return Reply::storage_error(400, "ExpiredToken", "The provided token has expired.");
        }
    }
    let has = |name: &str, value: &str| header(name).as_deref() == Some(value);
    if !has("content-type", SIGNED_TYPE) || !has(SIGNED_HEADER.0, SIGNED_HEADER.1) {
        return Reply::storage_error(403, "SignatureDoesNotMatch", "A signed header is missing.");
    }
    let place = path.strip_prefix(UPLOADS).and_then(|rest| rest.split_once('/'));
    let decoded = |name: &str| percent_decode_str(name).decode_utf8().map(std::borrow::Cow::into_owned).ok();
    let Some((id, name)) = place.and_then(|(id, name)| Some((id.to_owned(), decoded(name)?))) else {
        return Reply::storage_error(404, "NoSuchBucket", "The specified bucket does not exist.");
    };
    let Ok((file, name)) = take(&name, received, true, datasets) else {
        return Reply::storage_error(403, "QuotaExceeded", "The account's storage is full.");
    };
    match datasets.find(&id) {
        Ok(stored) => {
            stored.arrived.push((name, file));
            Reply::text(200, "application/xml", "")
        }
        Err(_) => Reply::storage_error(404, "NoSuchKey", "The specified key does not exist."),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
