//! The API, its clients and the simulated API for commands, with the errors that fit a command line.

use std::time::Duration;

use crate::cli::command_error::CommandError;
use crate::cli::process::Process;
use crate::edge::api::base_url::ApiBase;
use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::net::http::ArtifactClient;
use crate::engine::options::SyncOptions;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::job::{JobId, ResultAnswer};
use crate::model::listing::Listing;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;
use crate::simulator::{DatasetOptions, JobPlan, Simulator, SimulatorConfig, Writes};

use super::config::Settings;

/// The variable that names the API.
pub(crate) const API_BASE: &str = "RUNCOMFY_TRAINER_API_BASE";

/// Returns the API that the environment names, or the vendor's.
pub(crate) fn api_base(world: &Process) -> Result<ApiBase, CommandError> {
    match world.text(API_BASE)? {
        None => Ok(ApiBase::default()),
        Some(text) => text.parse().map_err(|error| CommandError::variable(format!("`{API_BASE}`: {error}"))),
    }
}

/// Reads a job id, or a status or result URL of this API.
pub(crate) fn job_id(text: &str, base: &ApiBase) -> Result<JobId, CommandError> {
    base.job(text).map_err(|error| {
        let why = format!("`{}`: {error}", crate::cli::format::shown_value(text));
        CommandError::misused(
            why,
            "copy the job's id from the RunComfy site, or from what `rcsync submit` printed",
        )
    })
}

/// Makes the client, with the token from wherever it is.
pub(crate) fn client(
    world: &Process,
    settings: &Settings,
    base: &ApiBase,
) -> Result<ApiClient, CommandError> {
    let tokens = tokens(world, settings);
    // A missing token is reported before anything is requested or created.
    tokens.load()?;
    Ok(ApiClient::new(base.clone(), tokens, Limits::default())?)
}

/// Makes the client for the hosts of artifacts, which knows no token.
pub(crate) fn hosts(settings: &Settings, base: &ApiBase) -> Result<ArtifactClient, CommandError> {
    let private = settings.sync.allow_private_hosts || base.is_private();
    let stall = settings.sync.stall_timeout.unwrap_or_else(|| SyncOptions::default().stall_timeout);
    ArtifactClient::new(private, stall).map_err(|fault| Error::from(fault).into())
}

/// Says where the token would come from, never what it is.
pub(crate) fn token_origin(world: &Process, settings: &Settings) -> Result<String, CommandError> {
    Ok(tokens(world, settings).load()?.origin().to_owned())
}

fn tokens(world: &Process, settings: &Settings) -> TokenSource {
    let variable = world.variable.clone();
    let home = world.folder("HOME").or_else(|| world.folder("USERPROFILE"));
    TokenSource::new(move |name| variable(name), home, settings.token_file.clone())
}

/// Gives what a job offers its local names, those that `manifest` knows first.
pub(crate) fn listing(result: &ResultAnswer, manifest: Option<&Manifest>) -> Listing {
    let known = |key: &ArtifactKey| Some(manifest?.entries.get(key)?.path.clone());
    let entries = manifest.into_iter().flat_map(|manifest| manifest.entries.values());
    let taken: Vec<&RelPath> = entries
        .flat_map(|entry| std::iter::once(&entry.path).chain(entry.older.iter().map(|older| &older.path)))
        .collect();
    Listing::build(result.name.as_deref(), &result.artifacts, &known, taken)
}

/// A simulated Trainer API with one job; it lives as long as this value.
pub(crate) struct Simulated {
    simulator: Simulator,
    /// What to set `RUNCOMFY_TRAINER_API_BASE` to.
    pub(crate) base: String,
    /// What to set `RUNCOMFY_TOKEN` to.
    pub(crate) token: String,
    /// The job that it trains.
    pub(crate) job: JobId,
}

/// How the simulated job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Over within half a minute: saves every two seconds, and keeps two.
    Demo,
    /// For experiments: about ten minutes, at the pace of a small model.
    Long,
}

/// Starts a simulated Trainer API with one job.
pub(crate) async fn simulate(
    listen: std::net::SocketAddr,
    script: Script,
) -> Result<Simulated, CommandError> {
    let plan = match script {
        Script::Demo => demo_job(),
        Script::Long => {
            JobPlan { writes: Writes::Growing, write_steps: 20, queue_steps: 30, ..JobPlan::default() }
        }
    };
    let step = match script {
        Script::Demo => DEMO_STEP,
        Script::Long => Duration::from_millis(300),
    };
    // A client that can reach the API by this address can reach what it lists.
    let artifact_listen = std::net::SocketAddr::new(listen.ip(), 0);
    let config =
        SimulatorConfig { listen, artifact_listen, step_time: Some(step), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.map_err(|error| cannot_listen(listen, &error))?;
    let job = simulator.add_job(plan);
    let (base, token) = (simulator.api_base().to_owned(), simulator.token().to_owned());
    Ok(Simulated { simulator, base, token, job })
}

/// Time of one training step in a demo.
const DEMO_STEP: Duration = Duration::from_millis(25);

fn demo_job() -> JobPlan {
    JobPlan {
        name: "demo_lora".to_owned(),
        steps: 600,
        save_every: 100,
        keep: 2,
        sample_every: 200,
        // Longer than the wait between two polls, so that a checkpoint is seen while it is written.
        writes: Writes::ZeroTail,
        write_steps: 50,
        queue_steps: 40,
        ..JobPlan::default()
    }
}

/// A simulated account without a job; it lives as long as this value.
pub(crate) struct Account {
    _simulator: Simulator,
    /// What to set `RUNCOMFY_TRAINER_API_BASE` to.
    pub(crate) base: String,
    /// What to set `RUNCOMFY_TOKEN` to.
    pub(crate) token: String,
}

/// Starts a simulated account whose jobs take as long as that of a demo.
pub(crate) async fn simulate_account(listen: std::net::SocketAddr) -> Result<Account, CommandError> {
    let artifact_listen = std::net::SocketAddr::new(listen.ip(), 0);
    // An API that is as far away as real ones are, so that something is seen.
    let datasets = DatasetOptions { latency: Duration::from_millis(120), ..DatasetOptions::default() };
    let config = SimulatorConfig {
        listen,
        artifact_listen,
        step_time: Some(DEMO_STEP),
        submitted: demo_job(),
        datasets,
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config).await.map_err(|error| cannot_listen(listen, &error))?;
    let (base, token) = (simulator.api_base().to_owned(), simulator.token().to_owned());
    Ok(Account { _simulator: simulator, base, token })
}

fn cannot_listen(listen: std::net::SocketAddr, error: &dyn std::fmt::Display) -> CommandError {
    CommandError::misused(
        format!("cannot listen on `{listen}`: {error}"),
        "another program may listen there; name another port, or 0 for one that is free: `--listen 127.0.0.1:0`",
    )
}

impl Simulated {
    /// Makes a client for it, which knows no token but the simulator's.
    pub(crate) fn client(&self) -> Result<ApiClient, CommandError> {
        let base =
            self.base.parse().map_err(|error| CommandError::Usage(format!("`{}`: {error}", self.base)))?;
        let token = self.simulator.token().to_owned();
        let tokens = TokenSource::new(
            move |name| (name == "RUNCOMFY_TOKEN").then(|| token.clone().into()),
            None,
            None,
        );
        Ok(ApiClient::new(base, tokens, Limits::default())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn files_are_served_where_the_simulated_api_is() {
        let simulated = simulate("127.0.0.2:0".parse().unwrap(), Script::Long).await.unwrap();
        assert!(simulated.base.starts_with("http://127.0.0.2:"));
        assert!(simulated.simulator.artifact_origin().starts_with("http://127.0.0.2:"));
    }
}
