//! Credentials for S3 as AWS's own tools take them from `~/.aws`: static keys and `credential_process` of a profile. The
//! environment, web identity, containers and instance roles are the crate's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;

use crate::edge::api::token::SECRET_VARIABLES;
use crate::edge::system::exec::ending;
use crate::error::NoCredentials;
use crate::model::names::sanitize::for_terminal;

/// A program that hands out credentials may ask a server.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Keys of a file are read again after this long: another tool may renew them.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// Credentials are renewed this long before they expire.
const BEFORE_EXPIRY: Duration = Duration::from_secs(120);

/// The settings of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    source: Option<Source>,
}

/// Where a profile's credentials come from.
#[derive(Clone, PartialEq, Eq)]
enum Source {
    Keys {
        id: String,
        secret: String,
        token: Option<String>,
    },
    Process(String),
    /// Something that is not supported: which setting.
    Unsupported(&'static str),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keys { .. } => "Keys",
            Self::Process(_) => "Process",
            Self::Unsupported(_) => "Unsupported",
        })
    }
}

pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Profile {
    /// Reads the profile that the environment chooses; `None` where no file has one.
    ///
    /// # Errors
    /// When the environment names a profile that is in no file.
    pub(super) fn read(variable: Variables<'_>) -> Result<Option<Self>, NoCredentials> {
        let chosen = variable("AWS_PROFILE").filter(|name| !name.is_empty());
        let name = chosen.clone().unwrap_or_else(|| "default".to_owned());
        let home = variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
        let file = |set: &str, usual: &str| {
            let path = variable(set).map(PathBuf::from);
            path.or_else(|| Some(home.as_ref()?.join(".aws").join(usual)))
        };
        let text = |path: Option<PathBuf>| {
            path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
        };
        let config = text(file("AWS_CONFIG_FILE", "config"));
        let credentials = text(file("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        let long_name = format!("profile {name}");
        let mut settings = section(&config, &[&*long_name, &*name]);
        settings.extend(section(&credentials, &[&*name]));
        if settings.is_empty() {
            return match chosen {
                Some(name) => Err(NoCredentials::NoProfile(for_terminal(&name, 60))),
                None => Ok(None),
            };
        }
        let get = |name: &str| settings.get(name).filter(|value| !value.is_empty()).cloned();
        let source = match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Some(Source::Keys { id, secret, token: get("aws_session_token") }),
            _ => match get("credential_process") {
                Some(command) => Some(Source::Process(command)),
                None => ["sso_session", "sso_start_url", "role_arn", "credential_source", "login_session"]
                    .into_iter()
                    .find(|name| settings.contains_key(*name))
                    .map(Source::Unsupported),
            },
        };
        Ok(Some(Self { name, region: get("region"), endpoint: get("endpoint_url"), source }))
    }

    /// Returns a provider of the profile's credentials; `None` where it has none.
    ///
    /// # Errors
    /// When it has some that are not supported: the error names what to type.
    pub(super) fn provider(&self, variable: Variables<'_>) -> Result<Option<FromProfile>, NoCredentials> {
        match &self.source {
            None => Ok(None),
            Some(Source::Unsupported(setting)) => {
                Err(NoCredentials::Unsupported { profile: for_terminal(&self.name, 60), setting })
            }
            Some(_) => {
                let variables = READ.iter().filter_map(|name| Some((*name, variable(name)?)));
                Ok(Some(FromProfile { variables: variables.collect(), ..FromProfile::default() }))
            }
        }
    }
}

/// Reads one section of an INI file; later files and lines win.
fn section(text: &str, names: &[&str]) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut is_inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(title) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            is_inside = names.contains(&title.0.trim());
        } else if is_inside
            && !line.starts_with([' ', '\t'])
            && !trimmed.starts_with(['#', ';'])
            && let Some((name, value)) = trimmed.split_once('=')
        {
            settings.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    settings
}

/// Requests that were sent with the old credentials may fail until this long after they were dropped.
const AFTER_RENEWAL: Duration = Duration::from_secs(10);

/// Variables that tell where a profile is.
const READ: [&str; 5] =
    ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME", "USERPROFILE"];

/// Hands out a profile's credentials, renewed before they expire.
#[derive(Debug, Default)]
pub(super) struct FromProfile {
    /// Where the profile is.
    variables: BTreeMap<&'static str, String>,
    cached: Mutex<Option<Cached>>,
    dropped: Mutex<Option<Dropped>>,
}

/// Credentials that a store refused as expired.
#[derive(Debug)]
struct Dropped {
    credential: Arc<AwsCredential>,
    at: Instant,
}

impl FromProfile {
    /// The store refused the credentials as expired: they are had anew. `false` where that was tried and they are the same.
    pub(super) fn renew(&self) -> bool {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |one: &AwsCredential, other: &AwsCredential| {
            (&one.key_id, &one.secret_key, &one.token) == (&other.key_id, &other.secret_key, &other.token)
        };
        if let Some(dropped) = dropped.as_ref().filter(|dropped| dropped.at.elapsed() < AFTER_RENEWAL) {
            return cached.as_ref().is_none_or(|now| !is_same(&now.credential, &dropped.credential));
        }
        let Some(Cached { credential, .. }) = cached.take() else { return true };
        *dropped = Some(Dropped { credential, at: Instant::now() });
        true
    }

    async fn fetch(&self) -> Result<Cached, NoCredentials> {
        // Read anew each time: another tool may have renewed what is there.
        let profile = Profile::read(&|name| self.variables.get(name).cloned())?.unwrap_or_default();
        match profile.source {
            Some(Source::Keys { id, secret, token }) => Ok(Cached {
                credential: Arc::new(AwsCredential { key_id: id, secret_key: secret, token }),
                until: Instant::now() + READ_AGAIN,
            }),
            Some(Source::Process(command)) => run(&command).await,
            Some(Source::Unsupported(_)) | None => Err(NoCredentials::Gone(for_terminal(&profile.name, 60))),
        }
    }
}

#[derive(Debug, Clone)]
struct Cached {
    credential: Arc<AwsCredential>,
    until: Instant,
}

/// What `credential_process` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

#[async_trait]
impl CredentialProvider for FromProfile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(cached) = cached.filter(|cached| cached.until > Instant::now()) {
            return Ok(cached.credential);
        }
        let fetched = self
            .fetch()
            .await
            .map_err(|why| object_store::Error::Generic { store: "S3", source: Box::new(why) })?;
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched.credential)
    }
}

fn process(words: &[String]) -> tokio::process::Command {
    let mut process = tokio::process::Command::new(&words[0]);
    process.args(&words[1..]).stdin(std::process::Stdio::null()).kill_on_drop(true);
    for name in SECRET_VARIABLES {
        process.env_remove(name);
    }
    process
}

/// Runs `credential_process`. What it prints is never shown.
async fn run(command: &str) -> Result<Cached, NoCredentials> {
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let words = words.ok_or(NoCredentials::NoCommand)?;
    let output = tokio::time::timeout(PROCESS_TIMEOUT, process(&words).output()).await;
    let program = for_terminal(&words[0], 100);
    let output = match output {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(NoCredentials::NotStarted { program, cause: error.into() }),
        Err(_) => return Err(NoCredentials::TimedOut { program, after: PROCESS_TIMEOUT }),
    };
    if !output.status.success() {
        return Err(NoCredentials::Failed { program, ending: ending(output.status) });
    }
    let printed: Printed =
        serde_json::from_slice(&output.stdout).map_err(|_| NoCredentials::NoJson { program })?;
    let lasts = printed.expiration.as_deref().and_then(lasts).unwrap_or(READ_AGAIN);
    let credential = AwsCredential {
        key_id: printed.access_key_id,
        secret_key: printed.secret_access_key,
        token: printed.session_token,
    };
    Ok(Cached { credential: Arc::new(credential), until: Instant::now() + lasts })
}

fn lasts(expiration: &str) -> Option<Duration> {
    let until: jiff::Timestamp = expiration.parse().ok()?;
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(until.as_second()).ok()?);
    Some(until.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(BEFORE_EXPIRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        config: &str,
        credentials: &str,
        profile: Option<&str>,
    ) -> Result<Option<Profile>, NoCredentials> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), config).unwrap();
        std::fs::write(dir.path().join("credentials"), credentials).unwrap();
        let file = |name: &str| Some(dir.path().join(name).to_str().unwrap().to_owned());
        Profile::read(&|name| match name {
            "AWS_PROFILE" => profile.map(str::to_owned),
            "AWS_CONFIG_FILE" => file("config"),
            "AWS_SHARED_CREDENTIALS_FILE" => file("credentials"),
            _ => None,
        })
    }

    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile work]\nregion=us-east-2\nendpoint_url = http://h:1\ns3 =\n  region = nested\ncredential_process = /bin/make keys\n[profile sso]\nsso_session = x\n";
    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = AK\naws_secret_access_key = SE=CRET\n";

    #[test]
    fn the_token_is_not_in_the_environment_of_credential_process() {
        let process = process(&["make".to_owned(), "keys".to_owned()]);
        let changed: Vec<_> = process.as_std().get_envs().collect();
        assert_eq!(changed, [("RUNCOMFY_TOKEN".as_ref(), None)]);
    }

    #[test]
    fn profiles_are_read_as_the_aws_tools_do() {
        let default = read(CONFIG, CREDENTIALS, None).unwrap().unwrap();
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        let keys = Source::Keys { id: "AK".into(), secret: "SE=CRET".into(), token: None };
        assert_eq!(default.source, Some(keys));
        let work = read(CONFIG, CREDENTIALS, Some("work")).unwrap().unwrap();
        assert_eq!(
            (work.region.as_deref(), work.endpoint.as_deref()),
            (Some("us-east-2"), Some("http://h:1"))
        );
        assert_eq!(work.source, Some(Source::Process("/bin/make keys".into())));
        assert!(read(CONFIG, CREDENTIALS, Some("none")).unwrap_err().to_string().contains("`none`"));
        assert_eq!(read("", "", None), Ok(None));
        let sso = read(CONFIG, CREDENTIALS, Some("sso")).unwrap().unwrap();
        assert!(sso.provider(&|_| None).unwrap_err().to_string().contains("export-credentials"));
        assert!(!format!("{default:?}").contains("SE=CRET"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_process_hands_out_credentials_and_its_words_are_not_shown() {
        let print = r#"{"Version":1,"AccessKeyId":"AK","SecretAccessKey":"SECRET","Expiration":"2999-01-01T00:00:00Z"}"#;
        let given = run(&format!("printf '%s' '{print}'")).await.unwrap();
        assert_eq!((&*given.credential.key_id, &*given.credential.secret_key), ("AK", "SECRET"));
        assert!(given.until > Instant::now() + Duration::from_secs(3600));
        for command in ["false SECRET", "echo SECRET", "/nowhere/SECRET", "'"] {
            let why = run(command).await.map(|_| ()).unwrap_err().to_string();
            assert!(!why.contains("SECRET") || command.starts_with("/nowhere"), "{why}");
        }
    }
}
