//! The Dataset API: one request, one answer, one attempt, as [`crate::edge::api`] for jobs.
//!
//! Creating and deleting may be repeated: names are unique in an account, and an upload overwrites the file of its name.

use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::edge::api::dataset_responses::{
    read_dataset, read_datasets, read_deletion, read_upload, read_upload_link,
};
use crate::edge::api::{Answer, ApiClient, Effect, Request};
use crate::edge::net::file_body::FileBody;
use crate::error::ApiError;
use crate::model::dataset::{Dataset, DatasetId, DatasetName, UploadAnswer, UploadLink};
use crate::model::transport_fault::TransportFault;

/// The longest upload of one file. What keeps one from hanging is the watch on its bytes; this is for the HTTP library,
/// which wants a number.
const UPLOAD_TIME: Duration = Duration::from_secs(7 * 86_400);

/// How long the list is waited for where it is a help and no need.
const SHORT_TIME: Duration = Duration::from_secs(10);

impl ApiClient {
    /// Lists the account's datasets, without their files.
    ///
    /// # Errors
    /// When there is no usable token or no usable answer.
    pub async fn datasets(&self) -> Result<Vec<Dataset>, ApiError> {
        let request = repeatable(Method::GET, self.0.base.datasets_url(), None);
        self.call(&request, read_datasets).await
    }

    /// The same for a caller who can do without: it is waited for a few seconds.
    ///
    /// # Errors
    /// When there is no usable token or no usable answer.
    pub async fn datasets_soon(&self) -> Result<Vec<Dataset>, ApiError> {
        let late = || ApiError::Unreachable {
            origin: self.origin(),
            cause: TransportFault::NoAnswer { after: SHORT_TIME },
        };
        tokio::time::timeout(SHORT_TIME, self.datasets()).await.unwrap_or_else(|_| Err(late()))
    }

    /// Creates a dataset without files.
    ///
    /// # Errors
    /// When there is no usable token, no usable answer, or the API refuses: with 409 where the name is taken.
    pub async fn create_dataset(&self, name: &DatasetName) -> Result<Dataset, ApiError> {
        let body = json!({ "name": name.as_str() }).to_string();
        let request = repeatable(Method::POST, self.0.base.datasets_url(), Some(body));
        self.call(&request, |body| read_dataset(body, None)).await
    }

    /// Asks for a dataset's status and files. That also makes the API count what has arrived.
    ///
    /// # Errors
    /// When there is no usable token or no usable answer.
    pub async fn dataset(&self, id: &DatasetId) -> Result<Dataset, ApiError> {
        let request = repeatable(Method::GET, self.0.base.dataset_url(id, Some("status")), None);
        named(id, self.call(&request, |body| read_dataset(body, Some(id))).await)
    }

    /// Deletes a dataset and its files for good.
    ///
    /// # Errors
    /// When there is no usable token, no usable answer, or the API refuses.
    pub async fn delete_dataset(&self, id: &DatasetId) -> Result<(), ApiError> {
        let request = repeatable(Method::DELETE, self.0.base.dataset_url(id, None), None);
        named(id, self.call(&request, read_deletion).await)
    }

    /// Sends one file as a part of a form, under `name`.
    ///
    /// # Errors
    /// When there is no usable token, no usable answer, the API refuses, or no byte is taken for too long. What is wrong
    /// with the file itself is known to `body`.
    pub async fn upload(
        &self,
        id: &DatasetId,
        name: &str,
        body: &FileBody,
    ) -> Result<UploadAnswer, ApiError> {
        let request = repeatable(Method::POST, self.0.base.dataset_url(id, Some("upload")), None);
        let build = |builder: reqwest::RequestBuilder| {
            let part = Part::stream_with_length(body.begin(), body.length()).file_name(name.to_owned());
            builder.multipart(Form::new().part("file", part)).timeout(UPLOAD_TIME)
        };
        let sending = self.call_built(&request, build, read_upload);
        let stalled = |after: Duration| ApiError::Unreachable {
            origin: self.origin(),
            cause: TransportFault::Stalled { after },
        };
        named(id, body.unless_stalled(sending).await.unwrap_or_else(|after| Err(stalled(after))))
    }

    /// Asks for a signed address for one file of exactly this length.
    ///
    /// # Errors
    /// When there is no usable token, no usable answer, or the API refuses.
    pub async fn upload_link(&self, id: &DatasetId, name: &str, length: u64) -> Result<UploadLink, ApiError> {
        let body = json!({ "filenameToByteSize": { name: length } }).to_string();
        let url = self.0.base.dataset_url(id, Some("get-upload-endpoint"));
        let request = repeatable(Method::POST, url, Some(body));
        named(id, self.call(&request, |body| read_upload_link(body, name)).await)
    }
}

fn repeatable(method: Method, url: url::Url, body: Option<String>) -> Request<'static> {
    // Only what is read grows, with the files of a dataset and the datasets of an account.
    let answer = if method == Method::GET { Answer::List } else { Answer::Short };
    Request { method, url, job: None, body, effect: Effect::Repeatable, answer }
}

/// Adds to a 404 which dataset it was about.
fn named<T>(id: &DatasetId, answer: Result<T, ApiError>) -> Result<T, ApiError> {
    answer.map_err(|fault| match fault {
        ApiError::Refused { status: 404, message, .. } => {
            ApiError::UnknownDataset { dataset: id.as_str().to_owned(), message }
        }
        fault => fault,
    })
}
