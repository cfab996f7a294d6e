//! The one real bucket: the crate `object_store` on our own HTTP client, without retries of its own.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, Checksum, S3CopyIfNotExists};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};

use crate::model::destination::{BucketUrl, StoreKind};
use crate::model::names::sanitize::{for_terminal, secrets_removed};

use super::credentials::Profile;
use super::wire::{OwnWire, Seen, seen};
use super::{About, Answer, Bucket, Listed, Meta, Object, PartTag, Put, StoreFault, Tag, UploadId, When};

/// The mark on our own writes. Azure takes letters and digits alone.
const TOKEN: &str = "rcsynctoken";

/// A store that copies after it answered is asked so often, for ten minutes.
const COPY_LOOKS: u32 = 300;
const BETWEEN_COPY_LOOKS: Duration = Duration::from_secs(2);

/// How a store is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Parts and objects are sent with a checksum that the store checks.
    pub(crate) sends_checksums: bool,
    /// Uploads are completed only where nothing is under their name.
    pub(crate) completes_new_only: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { sends_checksums: true, completes_new_only: true }
    }
}

/// What a store is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// Where its credentials come from.
    pub(crate) credentials: String,
    /// Its address.
    pub(crate) endpoint: String,
}

/// A prefix of a real bucket.
pub(crate) struct Cloud {
    store: Arc<dyn ObjectStore>,
    multipart: Arc<dyn MultipartStore>,
    kind: StoreKind,
    prefix: String,
    pub(crate) described: Described,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The crate's own types hold credentials.
        f.debug_struct("Cloud").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() }
}

fn unusable(error: impl fmt::Display) -> StoreFault {
    StoreFault::Credentials(for_terminal(&secrets_removed(&error.to_string()), 300))
}

impl Cloud {
    /// Gets ready to speak to a bucket. Sends nothing.
    ///
    /// # Errors
    /// When the environment's settings cannot be used.
    pub(crate) fn new(url: &BucketUrl, dialect: Dialect) -> Result<Self, StoreFault> {
        match url.store() {
            StoreKind::S3 => Self::s3(url, dialect),
            StoreKind::Gcs => Self::gcs(url),
            StoreKind::Azure => Self::azure(url),
        }
    }

    fn of<S: ObjectStore + MultipartStore>(url: &BucketUrl, store: S, described: Described) -> Self {
        let store = Arc::new(store);
        Self {
            store: store.clone(),
            multipart: store,
            kind: url.store(),
            prefix: url.prefix().to_owned(),
            described,
        }
    }

    fn s3(url: &BucketUrl, dialect: Dialect) -> Result<Self, StoreFault> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.bucket());
        let profile = Profile::read(&variable).map_err(StoreFault::Credentials)?;
        let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let endpoint = endpoint.or_else(|| profile.as_ref()?.endpoint.clone());
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.or_else(|| profile.as_ref()?.region.clone());
        let plain_http = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let is_r2 =
            endpoint.as_deref().is_some_and(|endpoint| endpoint.contains(".r2.cloudflarestorage.com"));
        if let Some(endpoint) = &endpoint {
            let readable = url::Url::parse(endpoint).is_ok_and(|url| url.host().is_some());
            if !readable {
                return Err(StoreFault::Credentials("`AWS_ENDPOINT_URL` is no address".to_owned()));
            }
            builder = builder.with_endpoint(endpoint).with_allow_http(plain_http);
        }
        if let Some(region) = region.or_else(|| is_r2.then(|| "auto".to_owned())) {
            builder = builder.with_region(region);
        }
        let has_keys = variable("AWS_ACCESS_KEY_ID").is_some() || variable("AWS_SECRET_ACCESS_KEY").is_some();
        let has_identity =
            variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() && variable("AWS_ROLE_ARN").is_some();
        let is_container = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").is_some()
            || variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some();
        let mut credentials = match () {
            () if has_keys => "the environment (`AWS_ACCESS_KEY_ID`)",
            () if has_identity => "the web identity in the environment",
            () if is_container => "the container's role",
            () => "this machine's instance role",
        }
        .to_owned();
        if !has_keys
            && !has_identity
            && let Some(profile) = &profile
            && let Some(provider) = profile.provider().map_err(StoreFault::Credentials)?
        {
            credentials = format!("the profile `{}` of ~/.aws", for_terminal(&profile.name, 60));
            builder = builder.with_credentials(Arc::new(provider));
        }
        let copy = if is_r2 { "cf-copy-destination-if-none-match" } else { "if-none-match" };
        builder = builder
            .with_unsigned_payload(true)
            .with_copy_if_not_exists(S3CopyIfNotExists::Header(copy.to_owned(), "*".to_owned()))
            .with_retry(no_retries())
            .with_http_connector(wire(plain_http, dialect.completes_new_only)?);
        // The variable with which all of AWS's tools are told so: for stores that know no such checksum.
        let when_required = variable("AWS_REQUEST_CHECKSUM_CALCULATION")
            .is_some_and(|when| when.eq_ignore_ascii_case("when_required"));
        if dialect.sends_checksums && !when_required {
            builder = builder.with_checksum_algorithm(Checksum::CRC64NVME);
        }
        let endpoint = endpoint.unwrap_or_else(|| "Amazon S3".to_owned());
        let store = builder.build().map_err(unusable)?;
        Ok(Self::of(url, store, Described { credentials, endpoint: shown(&endpoint) }))
    }

    fn gcs(url: &BucketUrl) -> Result<Self, StoreFault> {
        let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(url.bucket());
        let emulator = variable("STORAGE_EMULATOR_HOST");
        let mut credentials = match variable("GOOGLE_APPLICATION_CREDENTIALS") {
            Some(_) => "the file that `GOOGLE_APPLICATION_CREDENTIALS` names",
            None => "the application default credentials",
        }
        .to_owned();
        if let Some(emulator) = &emulator {
            let base = if emulator.contains("://") { emulator.clone() } else { format!("http://{emulator}") };
            builder = builder.with_base_url(&base).with_skip_signature(true);
            credentials = "none (`STORAGE_EMULATOR_HOST`)".to_owned();
        }
        let endpoint = emulator.unwrap_or_else(|| "Google Cloud Storage".to_owned());
        let plain_http = endpoint != "Google Cloud Storage";
        let builder = builder.with_retry(no_retries()).with_http_connector(wire(plain_http, false)?);
        let store = builder.build().map_err(unusable)?;
        Ok(Self::of(url, store, Described { credentials, endpoint: shown(&endpoint) }))
    }

    fn azure(url: &BucketUrl) -> Result<Self, StoreFault> {
        let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(url.bucket());
        // What Azure's own tools read beside what the crate does.
        let connection = variable("AZURE_STORAGE_CONNECTION_STRING").unwrap_or_default();
        let setting = |name: &str| {
            let parts = connection.split(';').filter_map(|part| part.split_once('='));
            parts.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
        };
        let account = variable("AZURE_STORAGE_ACCOUNT_NAME").or_else(|| variable("AZURE_STORAGE_ACCOUNT"));
        if let Some(account) = account.or_else(|| setting("AccountName")) {
            builder = builder.with_account(account);
        }
        let key = variable("AZURE_STORAGE_ACCOUNT_KEY").or_else(|| variable("AZURE_STORAGE_KEY"));
        let key = key.or_else(|| setting("AccountKey"));
        let has_key = key.is_some();
        if let Some(key) = key {
            builder = builder.with_access_key(key);
        }
        let token = variable("AZURE_STORAGE_SAS_TOKEN").or_else(|| setting("SharedAccessSignature"));
        if let Some(token) = token.filter(|_| !has_key) {
            let pairs = url::form_urlencoded::parse(token.trim_start_matches('?').as_bytes());
            let pairs: Vec<(String, String)> = pairs.into_owned().collect();
            builder = builder.with_sas_authorization(pairs);
        }
        let endpoint = variable("AZURE_STORAGE_ENDPOINT").or_else(|| variable("AZURE_ENDPOINT"));
        let endpoint = endpoint.or_else(|| setting("BlobEndpoint"));
        let plain_http = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
            || variable("AZURE_STORAGE_USE_EMULATOR").is_some();
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        let credentials = if has_key { "the account's key" } else { "the environment or a managed identity" };
        let builder = builder
            .with_allow_http(plain_http)
            .with_retry(no_retries())
            .with_http_connector(wire(plain_http, false)?);
        let endpoint = endpoint.unwrap_or_else(|| "Azure Blob Storage".to_owned());
        let store = builder.build().map_err(unusable)?;
        Ok(Self::of(
            url,
            store,
            Described { credentials: credentials.to_owned(), endpoint: shown(&endpoint) },
        ))
    }

    fn path(&self, key: &str) -> Result<Path, StoreFault> {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        Path::parse(format!("{}{slash}{key}", self.prefix)).map_err(|_| StoreFault::Refused {
            status: 0,
            message: "its name is no key of a bucket".to_owned(),
        })
    }

    fn meta(&self, meta: &ObjectMeta, attributes: &Attributes, seen: &Seen) -> Meta {
        let token = attributes.get(&Attribute::Metadata(TOKEN.into())).map(|token| token.to_string());
        let written = u64::try_from(meta.last_modified.timestamp()).ok();
        let now = seen.date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        let age = now.zip(written).map(|(now, written)| now.saturating_sub(Duration::from_secs(written)));
        Meta { size: meta.size, tag: self.tag(meta.e_tag.as_deref(), meta.version.as_ref()), token, age }
    }

    fn tag(&self, etag: Option<&str>, version: Option<&String>) -> Tag {
        // A version of S3 is not what its conditions compare.
        let generation = version.filter(|_| self.kind == StoreKind::Gcs).cloned();
        Tag::new(etag.unwrap_or_default(), generation)
    }

    async fn get_opts(
        &self,
        key: &str,
        options: GetOptions,
        permission: &'static str,
    ) -> Result<Option<Object>, StoreFault> {
        let path = self.path(key)?;
        let is_head = options.head;
        let has_range = options.range.is_some();
        let (answer, seen) = seen(async {
            let result = self.store.get_opts(&path, options).await?;
            let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
            let bytes = if is_head { Bytes::new() } else { result.bytes().await? };
            Ok((meta, attributes, bytes))
        })
        .await;
        match answer {
            Ok((meta, attributes, bytes)) => {
                Ok(Some(Object { meta: self.meta(&meta, &attributes, &seen), bytes }))
            }
            // A whole object where a range was asked for: some stores do so where the range covers all of it.
            Err(_) if has_range && seen.status == Some(200) => {
                let message = "it serves no ranges".to_owned();
                Err(StoreFault::Refused { status: 200, message })
            }
            Err(error) => match self.fault(permission, &seen, &error) {
                StoreFault::Refused { status: 404, .. } => Ok(None),
                fault => Err(fault),
            },
        }
    }

    /// Makes an error of the crate a fault, by what was seen of the request.
    fn fault(&self, permission: &'static str, seen: &Seen, error: &object_store::Error) -> StoreFault {
        let Seen { code, message, .. } = seen;
        let Some(status) = seen.status else {
            if seen.is_sent && !seen.is_for_credentials {
                return StoreFault::Unknown { cause: seen.cause.clone() };
            }
            let why = if seen.is_sent {
                "nothing is set in the environment, and no instance role answers".to_owned()
            } else {
                innermost(error)
            };
            return StoreFault::Credentials(why);
        };
        if seen.is_for_credentials {
            let from = format!("the service that hands them out answered HTTP {status}");
            return StoreFault::Credentials(from);
        }
        let said = || match (code.is_empty(), message.is_empty()) {
            (true, _) => message.clone(),
            (false, true) => code.clone(),
            (false, false) => format!("{code}: {message}"),
        };
        let is_elsewhere = matches!(
            &**code,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
        );
        let has_expired = matches!(&**code, "ExpiredToken" | "ExpiredTokenException" | "InvalidToken");
        match status {
            301 | 307 | 308 => StoreFault::WrongRegion { region: seen.region.clone() },
            400 if is_elsewhere => StoreFault::WrongRegion { region: seen.region.clone() },
            400 if has_expired => StoreFault::Denied { status, permission, message: said() },
            401 | 403 if code == "RequestTimeTooSkewed" => {
                let message = "this machine's clock is off by more than a quarter of an hour".to_owned();
                StoreFault::Denied { status, permission, message }
            }
            401 | 403 => StoreFault::Denied { status, permission, message: said() },
            404 if code == "NoSuchUpload" => StoreFault::NoUpload,
            404 if matches!(&**code, "NoSuchBucket" | "ContainerNotFound")
                || message.contains("bucket does not exist") =>
            {
                StoreFault::NoBucket
            }
            408 | 500 | 502 | 504 => StoreFault::Unknown { cause: format!("HTTP {status}") },
            409 | 429 | 503 => StoreFault::Busy { status, retry_after: seen.retry_after },
            // An answer that looks like success, and has an error in its body, or cannot be read.
            200..=299 => StoreFault::Unknown { cause: innermost(error) },
            _ => StoreFault::Refused { status, message: said() },
        }
    }

    /// The same for a write under a condition.
    fn put_answer(
        &self,
        answer: object_store::Result<object_store::PutResult>,
        seen: &Seen,
    ) -> Result<Put, StoreFault> {
        match answer {
            Ok(result) => Ok(Put::Done(self.tag(result.e_tag.as_deref(), result.version.as_ref()))),
            Err(error) => self.refusal("writing objects", seen, &error),
        }
    }

    fn refusal(
        &self,
        permission: &'static str,
        seen: &Seen,
        error: &object_store::Error,
    ) -> Result<Put, StoreFault> {
        let is_taken = matches!(&*seen.code, "BlobAlreadyExists" | "TargetConditionNotMet");
        match seen.status {
            Some(412) => Ok(Put::Refused),
            Some(409) if is_taken => Ok(Put::Refused),
            // A swap of an object that is gone.
            Some(404) if !matches!(&*seen.code, "NoSuchBucket" | "ContainerNotFound" | "NoSuchUpload") => {
                Ok(Put::Refused)
            }
            _ => Err(self.fault(permission, seen, error)),
        }
    }

    /// Waits until a copy is whole.
    async fn copied(&self, from: &str, to: &str) -> Result<Put, StoreFault> {
        let size = self.stat(from).await?.map(|meta| meta.size);
        for _ in 0..COPY_LOOKS {
            match self.stat(to).await? {
                Some(meta) if size.is_none_or(|size| size == meta.size) => return Ok(Put::Done(meta.tag)),
                Some(_) | None => tokio::time::sleep(BETWEEN_COPY_LOOKS).await,
            }
        }
        Err(StoreFault::Refused {
            status: 202,
            message: "the copy is not whole after ten minutes".to_owned(),
        })
    }

    fn attributes(&self, about: &About) -> Attributes {
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(TOKEN.into()), about.token.clone().into());
        attributes.insert(Attribute::ContentType, about.media.into());
        attributes
    }
}

fn wire(plain_http: bool, completes_new_only: bool) -> Result<OwnWire, StoreFault> {
    OwnWire::new(plain_http, completes_new_only).map_err(|message| StoreFault::Refused { status: 0, message })
}

/// An endpoint without what may be a secret.
fn shown(endpoint: &str) -> String {
    match url::Url::parse(endpoint) {
        Ok(url) if url.has_host() => url.origin().ascii_serialization(),
        _ => for_terminal(endpoint, 100),
    }
}

fn innermost(error: &object_store::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    for_terminal(&secrets_removed(&cause.to_string()), 200)
}

impl Bucket for Cloud {
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Option<Object>> {
        Box::pin(async move {
            let wanted = range.clone();
            let from_start = wanted.as_ref().is_none_or(|range| range.start == 0);
            let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
            match self.get_opts(key, options, "reading objects").await {
                // An empty object has no range.
                Err(StoreFault::Refused { status: 416, .. }) if from_start => {
                    let meta = self.stat(key).await?;
                    Ok(meta.map(|meta| Object { meta, bytes: Bytes::new() }))
                }
                Err(StoreFault::Refused { status: 200, message }) if from_start => {
                    let size = self.stat(key).await?.map_or(0, |meta| meta.size);
                    if wanted.is_some_and(|range| size > range.end) {
                        return Err(StoreFault::Refused { status: 200, message });
                    }
                    self.get_opts(key, GetOptions::default(), "reading objects").await
                }
                answer => answer,
            }
        })
    }

    fn stat<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Meta>> {
        Box::pin(async move {
            let options = GetOptions { head: true, ..GetOptions::default() };
            Ok(self.get_opts(key, options, "reading objects").await?.map(|object| object.meta))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Listed>> {
        Box::pin(async move {
            let whole = match (self.prefix.is_empty(), prefix.is_empty()) {
                (true, true) => None,
                (true, false) => Some(prefix.to_owned()),
                (false, true) => Some(self.prefix.clone()),
                (false, false) => Some(format!("{}/{prefix}", self.prefix)),
            };
            let folder = whole.map(|whole| Path::parse(whole.trim_end_matches('/'))).transpose();
            let folder = folder.map_err(|error| StoreFault::Refused {
                status: 0,
                message: for_terminal(&error.to_string(), 100),
            })?;
            let (answer, seen) = seen(self.store.list(folder.as_ref()).try_collect::<Vec<_>>()).await;
            let found = answer.map_err(|error| self.fault("listing the bucket", &seen, &error))?;
            let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
            let listed = found.into_iter().filter_map(|meta| {
                let key = meta.location.as_ref().get(skip..)?.to_owned();
                let tag = self.tag(meta.e_tag.as_deref(), meta.version.as_ref());
                Some(Listed { key, size: meta.size, tag })
            });
            Ok(listed.collect())
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When, about: About) -> Answer<'a, Put> {
        Box::pin(async move {
            let path = self.path(key)?;
            let mode = match when {
                When::New => PutMode::Create,
                When::Always => PutMode::Overwrite,
                When::Unchanged(Tag { text, generation }) => {
                    PutMode::Update(UpdateVersion { e_tag: Some(format!("\"{text}\"")), version: generation })
                }
            };
            let options = PutOptions { mode, attributes: self.attributes(&about), ..PutOptions::default() };
            let (answer, seen) = seen(self.store.put_opts(&path, PutPayload::from(bytes), options)).await;
            self.put_answer(answer, &seen)
        })
    }

    fn begin<'a>(&'a self, key: &'a str, about: About) -> Answer<'a, UploadId> {
        Box::pin(async move {
            let path = self.path(key)?;
            // Azure has no uploads, only blocks, and takes no attributes before they are put together.
            let attributes = match self.kind {
                StoreKind::Azure => Attributes::new(),
                StoreKind::S3 | StoreKind::Gcs => self.attributes(&about),
            };
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            let (answer, seen) = seen(self.multipart.create_multipart_opts(&path, options)).await;
            answer.map(UploadId).map_err(|error| self.fault("writing objects", &seen, &error))
        })
    }

    fn part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        number: usize,
        bytes: Bytes,
    ) -> Answer<'a, PartTag> {
        Box::pin(async move {
            let path = self.path(key)?;
            let sending = self.multipart.put_part(&path, &upload.0, number, PutPayload::from(bytes));
            let (answer, seen) = seen(sending).await;
            answer
                .map(|part| PartTag(part.content_id))
                .map_err(|error| self.fault("writing objects", &seen, &error))
        })
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        parts: Vec<PartTag>,
        _: When,
    ) -> Answer<'a, Put> {
        // The condition is the wire's: the crate has none here.
        Box::pin(async move {
            let path = self.path(key)?;
            let parts = parts.into_iter().map(|part| PartId { content_id: part.0 }).collect();
            let (answer, seen) = seen(self.multipart.complete_multipart(&path, &upload.0, parts)).await;
            if seen.status == Some(404) {
                return Err(match self.fault("writing objects", &seen, &no_error()) {
                    StoreFault::Refused { .. } => StoreFault::NoUpload,
                    fault => fault,
                });
            }
            self.put_answer(answer, &seen)
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Put> {
        Box::pin(async move {
            let (source, target) = (self.path(from)?, self.path(to)?);
            let options = CopyOptions { mode: CopyMode::Create, ..CopyOptions::default() };
            let (answer, seen) = seen(self.store.copy_opts(&source, &target, options)).await;
            match answer {
                // Azure may copy a large blob after it answered, and no store tells the new object's tag.
                Ok(()) => self.copied(from, to).await,
                Err(error) if seen.status == Some(404) => {
                    Err(match self.fault("copying objects", &seen, &error) {
                        StoreFault::Refused { .. } => StoreFault::NoUpload,
                        fault => fault,
                    })
                }
                Err(error) => self.refusal("copying objects", &seen, &error),
            }
        })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a UploadId) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = self.path(key)?;
            let (answer, seen) = seen(self.multipart.abort_multipart(&path, &upload.0)).await;
            match answer {
                Ok(()) => Ok(()),
                Err(_) if seen.status == Some(404) => Ok(()),
                Err(error) => Err(self.fault("aborting uploads", &seen, &error)),
            }
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = self.path(key)?;
            use object_store::ObjectStoreExt as _;
            let (answer, seen) = seen(self.store.delete(&path)).await;
            match answer {
                Ok(()) => Ok(()),
                Err(_) if seen.status == Some(404) => Ok(()),
                Err(error) => Err(self.fault("deleting objects", &seen, &error)),
            }
        })
    }
}

fn no_error() -> object_store::Error {
    object_store::Error::NotImplemented { operation: String::new(), implementer: String::new() }
}
