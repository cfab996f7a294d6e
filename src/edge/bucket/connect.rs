//! The way to a store, from what the environment has: endpoint, region, credentials, as the clouds' own tools read them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, Checksum, S3CopyIfNotExists};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::{ObjectStore, RetryConfig};

use crate::error::{NoCredentials, StoreRefusal};
use crate::model::destination::{BucketUrl, StoreKind};
use crate::model::names::sanitize::{for_terminal, secrets_removed};

use super::StoreFault;
use super::credentials::{FromProfile, Profile, Variables};
use super::wire::OwnWire;

/// How a store is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Uploads are completed only where nothing is under their name.
    pub(crate) completes_new_only: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { completes_new_only: true }
    }
}

/// A store, described for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// Where its credentials come from.
    pub(crate) credentials: String,
    pub(crate) endpoint: String,
}

/// A client that sends one kind of checksum, or none.
pub(super) struct Level {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) multipart: Arc<dyn MultipartStore>,
}

impl Level {
    fn of<S: ObjectStore + MultipartStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self { store: store.clone(), multipart: store }
    }
}

/// Everything that is needed to speak to a store.
pub(super) struct Connected {
    /// Clients by the checksum that they send: a store that does not know the first one is asked with the next.
    pub(super) levels: Vec<Level>,
    /// Credentials that can be had anew before they expire.
    pub(super) renewable: Option<Arc<FromProfile>>,
    pub(super) described: Described,
}

impl Connected {
    fn one<S: ObjectStore + MultipartStore>(store: S, described: Described) -> Self {
        Self { levels: vec![Level::of(store)], renewable: None, described }
    }
}

/// Gets ready to speak to a bucket. Sends nothing.
///
/// # Errors
/// When the environment's settings cannot be used.
pub(super) fn connect(
    url: &BucketUrl,
    dialect: Dialect,
    variable: Variables<'_>,
) -> Result<Connected, StoreFault> {
    match url.store() {
        StoreKind::S3 => s3(url, dialect, variable),
        StoreKind::Gcs => gcs(url, variable),
        StoreKind::Azure => azure(url, variable),
    }
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() }
}

fn unusable(error: impl fmt::Display) -> StoreFault {
    StoreFault::Credentials(NoCredentials::Other(for_terminal(&secrets_removed(&error.to_string()), 300)))
}

fn s3(url: &BucketUrl, dialect: Dialect, variable: Variables<'_>) -> Result<Connected, StoreFault> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.bucket());
    let profile = Profile::read(variable).map_err(StoreFault::Credentials)?;
    let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.or_else(|| profile.as_ref()?.endpoint.clone());
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let region = region.or_else(|| profile.as_ref()?.region.clone());
    let plain_http = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let is_r2 = endpoint.as_deref().is_some_and(|endpoint| endpoint.contains(".r2.cloudflarestorage.com"));
    if let Some(endpoint) = &endpoint {
        let readable = url::Url::parse(endpoint).is_ok_and(|url| url.host().is_some());
        if !readable {
            return Err(StoreFault::Credentials(NoCredentials::BadEndpoint));
        }
        builder = builder.with_endpoint(endpoint).with_allow_http(plain_http);
    }
    if let Some(region) = region.or_else(|| is_r2.then(|| "auto".to_owned())) {
        builder = builder.with_region(region);
    }
    let keys = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
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
    let mut renewable = None;
    if let Some((id, secret)) = keys {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    if !has_keys
        && !has_identity
        && let Some(profile) = &profile
        && let Some(provider) = profile.provider(variable).map_err(StoreFault::Credentials)?
    {
        credentials = format!("the profile `{}` of ~/.aws", for_terminal(&profile.name, 60));
        let provider = Arc::new(provider);
        renewable = Some(provider.clone());
        builder = builder.with_credentials(provider);
    }
    let copy = if is_r2 { "cf-copy-destination-if-none-match" } else { "if-none-match" };
    builder = builder
        .with_unsigned_payload(true)
        .with_copy_if_not_exists(S3CopyIfNotExists::Header(copy.to_owned(), "*".to_owned()))
        .with_retry(no_retries())
        .with_http_connector(wire(plain_http, dialect.completes_new_only)?);
    // The variable that all of AWS's tools read: for stores that know no such checksum.
    let when_required = variable("AWS_REQUEST_CHECKSUM_CALCULATION")
        .is_some_and(|when| when.eq_ignore_ascii_case("when_required"));
    // In this order: the first is cheap and covers whole objects, and older stores know the second alone.
    let checksums: &[Option<Checksum>] =
        if when_required { &[None] } else { &[Some(Checksum::CRC64NVME), Some(Checksum::SHA256), None] };
    let mut levels = Vec::new();
    for checksum in checksums {
        let builder = builder.clone();
        let builder = match checksum {
            Some(checksum) => builder.with_checksum_algorithm(*checksum),
            None => builder,
        };
        levels.push(Level::of(builder.build().map_err(unusable)?));
    }
    let described = Described { credentials, endpoint: shown(endpoint.as_deref(), "Amazon S3") };
    Ok(Connected { levels, renewable, described })
}

fn gcs(url: &BucketUrl, variable: Variables<'_>) -> Result<Connected, StoreFault> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(url.bucket());
    let emulator = variable("STORAGE_EMULATOR_HOST").map(|emulator| match emulator.contains("://") {
        true => emulator,
        false => format!("http://{emulator}"),
    });
    let mut credentials = match variable("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(_) => "the file that `GOOGLE_APPLICATION_CREDENTIALS` names",
        None => "the application default credentials",
    }
    .to_owned();
    if let Some(emulator) = &emulator {
        builder = builder.with_base_url(emulator).with_skip_signature(true);
        credentials = "none (`STORAGE_EMULATOR_HOST`)".to_owned();
    }
    let plain_http = emulator.is_some();
    let builder = builder.with_retry(no_retries()).with_http_connector(wire(plain_http, false)?);
    let store = builder.build().map_err(unusable)?;
    let endpoint = shown(emulator.as_deref(), "Google Cloud Storage");
    Ok(Connected::one(store, Described { credentials, endpoint }))
}

fn azure(url: &BucketUrl, variable: Variables<'_>) -> Result<Connected, StoreFault> {
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
    let store = builder.build().map_err(unusable)?;
    let endpoint = shown(endpoint.as_deref(), "Azure Blob Storage");
    Ok(Connected::one(store, Described { credentials: credentials.to_owned(), endpoint }))
}

fn wire(plain_http: bool, completes_new_only: bool) -> Result<OwnWire, StoreFault> {
    OwnWire::new(plain_http, completes_new_only)
        .map_err(|fault| StoreFault::Unusable(StoreRefusal::Tls(fault)))
}

/// Names the endpoint that is set, or the cloud itself. What cannot be read as an address may hold a key all the same.
fn shown(endpoint: Option<&str>, cloud: &str) -> String {
    let Some(endpoint) = endpoint else { return cloud.to_owned() };
    match url::Url::parse(endpoint) {
        Ok(url) if url.has_host() => url.origin().ascii_serialization(),
        _ => "an address that cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_without_its_secrets() {
        for (endpoint, said) in [
            (None, "Amazon S3"),
            (Some("http://me:s3cret@h:9000/x?sig=s3cret"), "http://h:9000"),
            (Some("https://me:s3cret@h:port"), "an address that cannot be read"),
            (Some("me:s3cret@h"), "an address that cannot be read"),
        ] {
            assert_eq!(shown(endpoint, "Amazon S3"), said);
        }
    }
}
