//! Where the API is: the one origin that the token may go to, and the addresses of its jobs.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::edge::net::address::is_private;
use crate::model::dataset::DatasetId;
use crate::model::job::{JobId, JobIdError};

/// The base of the Trainer API's addresses.
///
/// - https; plain http only for this machine and for private and link-local addresses written as numbers, because
///   the token would be readable on the way
/// - without user name, password, query and fragment
/// - its path ends in `/prod/v1`, which is added where it is missing
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiBase(Url);

/// The text cannot be the base of the API's addresses. Never quotes it: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiBaseError {
    /// There is no scheme, no host, or something that belongs into no address.
    #[error("it is not an absolute URL such as `{}`", ApiBase::DEFAULT)]
    NotAUrl,
    /// It is neither https nor http.
    #[error("only https (and http on this machine) is spoken here")]
    Scheme,
    /// Plain http to a host that may be anywhere.
    #[error(
        "the token would be readable on the way: use https (http is for `localhost` and private addresses)"
    )]
    PlainHttp,
    /// There is a user name or a password in it.
    #[error("it has a user name or password in it")]
    UserInfo,
    /// There is a query or a fragment in it.
    #[error("it has a query or a fragment")]
    Query,
}

/// The text names no job of the configured API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobReferenceError {
    /// It is no URL, and no id either.
    #[error(transparent)]
    NotAnId(#[from] JobIdError),
    /// It is a URL of another origin.
    #[error("it is not a URL of the configured API at `{expected}`, and the token must never go elsewhere")]
    ForeignOrigin {
        /// The configured origin.
        expected: String,
    },
    /// It is a URL of the configured API, but none of a job.
    #[error("it is not a job's URL such as `{expected}`")]
    NotAJobUrl {
        /// The shape of one.
        expected: String,
    },
}

/// What can be asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEndpoint {
    /// `GET …/status`
    Status,
    /// `GET …/result`
    Result,
    /// `POST …/cancel`
    Cancel,
    /// `POST …/resume`
    Resume,
    /// `POST …/edit`
    Edit,
}

/// Where the documented paths begin, under the origin.
const VERSION_PATH: &str = "/prod/v1";
const JOBS_PATH: &str = "/trainers/ai-toolkit/jobs";
const DATASETS_PATH: &str = "/trainers/datasets";

impl ApiBase {
    /// The vendor's own.
    pub const DEFAULT: &'static str = "https://trainer-api.runcomfy.net/prod/v1";

    /// Returns `scheme://host[:port]`, the port only where it is not the scheme's own.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether the host is this machine or has a private or link-local address: then artifacts may come from such
    /// hosts too.
    #[must_use]
    pub fn is_private(&self) -> bool {
        is_private_host(&self.0)
    }

    /// Whether requests are encrypted on the way.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns the address that jobs are submitted to.
    #[must_use]
    pub fn jobs_url(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{JOBS_PATH}", self.0.path()));
        url
    }

    /// Returns the address that datasets are created at and listed.
    #[must_use]
    pub fn datasets_url(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{DATASETS_PATH}", self.0.path()));
        url
    }

    /// Returns the address of a dataset, or of one question about it.
    #[must_use]
    pub fn dataset_url(&self, dataset: &DatasetId, endpoint: Option<&str>) -> Url {
        let mut url = self.datasets_url();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(dataset.as_str()).extend(endpoint);
        }
        url
    }

    /// Returns the address of one question about a job.
    #[must_use]
    pub fn job_url(&self, job: &JobId, endpoint: JobEndpoint) -> Url {
        let mut url = self.jobs_url();
        // Only URLs without a host cannot have segments; this one was parsed with a host.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(job.as_str()).push(endpoint.name());
        }
        url
    }

    /// Reads a job id, or the `status_url`, `result_url` or `cancel_url` of a job of this API.
    ///
    /// # Errors
    /// When the text is neither, and above all when it is a URL of another origin.
    pub fn job(&self, text: &str) -> Result<JobId, JobReferenceError> {
        let starts_with =
            |scheme: &str| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
        if !(text.contains("://") || starts_with("http:") || starts_with("https:")) {
            return Ok(text.parse()?);
        }
        let foreign = || JobReferenceError::ForeignOrigin { expected: self.origin() };
        let url = Url::parse(text).map_err(|_| foreign())?;
        if url.origin() != self.0.origin() || has_user_info(&url) {
            return Err(foreign());
        }
        self.job_in(&url).ok_or_else(|| JobReferenceError::NotAJobUrl {
            expected: format!("{}/<JOB_ID>/status", self.jobs_url()),
        })
    }

    fn job_in(&self, url: &Url) -> Option<JobId> {
        if url.query().is_some() || url.fragment().is_some() {
            return None;
        }
        let rest = url.path().strip_prefix(self.jobs_url().path())?.strip_prefix('/')?;
        let (id, endpoint) = rest.split_once('/')?;
        let offered = [JobEndpoint::Status, JobEndpoint::Result, JobEndpoint::Cancel];
        if !offered.iter().any(|known| known.name() == endpoint) {
            return None;
        }
        percent_decode_str(id).decode_utf8().ok()?.parse().ok()
    }
}

impl Default for ApiBase {
    fn default() -> Self {
        Self(Url::parse(Self::DEFAULT).expect("the constant is a valid URL, as a test holds"))
    }
}

impl FromStr for ApiBase {
    type Err = ApiBaseError;

    fn from_str(text: &str) -> Result<Self, ApiBaseError> {
        let text = text.trim();
        // The URL parser would quietly drop or rewrite these.
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') || !text.contains("://")
        {
            return Err(ApiBaseError::NotAUrl);
        }
        let mut url = Url::parse(text).map_err(|_| ApiBaseError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ApiBaseError::Scheme);
        }
        if has_user_info(&url) {
            return Err(ApiBaseError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ApiBaseError::Query);
        }
        if url.scheme() == "http" && !is_private_host(&url) {
            return Err(ApiBaseError::PlainHttp);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let version = if path.ends_with(VERSION_PATH) { "" } else { VERSION_PATH };
        url.set_path(&format!("{path}{version}"));
        Ok(Self(url))
    }
}

impl fmt::Display for ApiBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str())
    }
}

impl JobEndpoint {
    /// Returns the last segment of its path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Result => "result",
            Self::Cancel => "cancel",
            Self::Resume => "resume",
            Self::Edit => "edit",
        }
    }
}

fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn is_private_host(url: &Url) -> bool {
    match url.host() {
        // Any other name may mean another machine tomorrow.
        Some(Host::Domain(name)) => matches!(name, "localhost" | "localhost."),
        Some(Host::Ipv4(address)) => is_private(address.into()),
        Some(Host::Ipv6(address)) => is_private(address.into()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Result<String, ApiBaseError> {
        text.parse::<ApiBase>().map(|base| base.to_string())
    }

    #[test]
    fn bases_with_and_without_the_version() {
        assert_eq!(ApiBase::default().to_string(), ApiBase::DEFAULT);
        assert!(!ApiBase::default().is_private());
        for (text, whole) in [
            ("https://trainer-api.runcomfy.net", ApiBase::DEFAULT),
            ("https://trainer-api.runcomfy.net/", ApiBase::DEFAULT),
            (" HTTPS://Trainer-API.runcomfy.net:443/prod/v1// ", ApiBase::DEFAULT),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/prod/v1"),
            ("http://localhost:1/mock/prod/v1/", "http://localhost:1/mock/prod/v1"),
            ("https://proxy.example/runcomfy", "https://proxy.example/runcomfy/prod/v1"),
        ] {
            assert_eq!(base(text).as_deref(), Ok(whole), "{text}");
        }
    }

    #[test]
    fn plain_http_stays_near() {
        for near in [
            "127.1.2.3",
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.9",
            "169.254.1.1",
            "localhost",
            "[::1]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "0x7f.1",
        ] {
            let base: ApiBase = format!("http://{near}:80/").parse().unwrap();
            assert!(base.is_private() && !base.is_https(), "{near}");
        }
        for far in ["example.com", "8.8.8.8", "172.32.0.1", "localhost.example", "0.0.0.0", "[2606:4700::1]"]
        {
            assert_eq!(base(&format!("http://{far}/")), Err(ApiBaseError::PlainHttp), "{far}");
            assert!(!format!("https://{far}/").parse::<ApiBase>().unwrap().is_private(), "{far}");
        }
    }

    #[test]
    fn refused_without_being_quoted() {
        for (text, fault) in [
            ("", ApiBaseError::NotAUrl),
            ("trainer-api.runcomfy.net", ApiBaseError::NotAUrl),
            ("https://", ApiBaseError::NotAUrl),
            ("https://a\tb/", ApiBaseError::NotAUrl),
            ("https:\\\\a/", ApiBaseError::NotAUrl),
            ("file:///etc/passwd", ApiBaseError::Scheme),
            ("ftp://localhost/", ApiBaseError::Scheme),
            ("https://user:s3cret@a/", ApiBaseError::UserInfo),
            ("https://a/?x", ApiBaseError::Query),
            ("https://a/?", ApiBaseError::Query),
            ("https://a/#", ApiBaseError::Query),
        ] {
            assert_eq!(base(text), Err(fault.clone()), "{text}");
            assert!(!fault.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn jobs_have_addresses() {
        let base = ApiBase::default();
        let url = |id: &str, endpoint| base.job_url(&id.parse().unwrap(), endpoint).to_string();
        let jobs = "https://trainer-api.runcomfy.net/prod/v1/trainers/ai-toolkit/jobs";
        assert_eq!(base.jobs_url().as_str(), jobs);
        assert_eq!(url("a-1", JobEndpoint::Status), format!("{jobs}/a-1/status"));
        assert_eq!(url("é\"", JobEndpoint::Edit), format!("{jobs}/%C3%A9%22/edit"));
    }

    #[test]
    fn a_reference_is_an_id_or_one_of_our_urls() {
        let base: ApiBase = "http://127.0.0.1:99".parse().unwrap();
        let jobs = base.jobs_url();
        for text in [
            "a-1".to_owned(),
            format!("{jobs}/a-1/status"),
            format!("{jobs}/a-1/result"),
            format!("{jobs}/a%2D1/cancel"),
        ] {
            assert_eq!(base.job(&text).unwrap().as_str(), "a-1", "{text}");
        }
        for foreign in [
            "https://127.0.0.1:99/prod/v1/trainers/ai-toolkit/jobs/a-1/status",
            "http://127.0.0.1:98/prod/v1/trainers/ai-toolkit/jobs/a-1/status",
            "http://127.0.0.1:99@evil.example/prod/v1/trainers/ai-toolkit/jobs/a-1/status",
            "http://u@127.0.0.1:99/prod/v1/trainers/ai-toolkit/jobs/a-1/status",
            "HTTP:evil.example/a",
            "ftp://127.0.0.1:99/a",
            "://",
        ] {
            assert!(matches!(base.job(foreign), Err(JobReferenceError::ForeignOrigin { .. })), "{foreign}");
        }
        for misshapen in [
            format!("{jobs}/a-1"),
            format!("{jobs}/a-1/edit"),
            format!("{jobs}/a-1/status/"),
            format!("{jobs}/a-1/status?x=1"),
            format!("{jobs}//status"),
            format!("{jobs}/a%2Fb/status"),
            format!("{jobs}/../jobs2/a/status"),
            "http://127.0.0.1:99/".to_owned(),
        ] {
            assert!(matches!(base.job(&misshapen), Err(JobReferenceError::NotAJobUrl { .. })), "{misshapen}");
        }
        assert!(matches!(base.job("a/b"), Err(JobReferenceError::NotAnId(_))));
        assert!(matches!(base.job(""), Err(JobReferenceError::NotAnId(_))));
    }
}
