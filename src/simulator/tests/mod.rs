//! Tests over HTTP: what a client sees.

mod api;
mod faults;
mod host;
mod training;

use serde_json::Value;

use super::{JobPlan, Simulator, SimulatorConfig};
use crate::model::job::JobId;

/// A small job: steps 40, saves at 10, 20, 30, two samples every 20 steps.
fn small() -> JobPlan {
    JobPlan {
        name: "dog".to_owned(),
        steps: 40,
        save_every: 10,
        keep: 2,
        sample_every: 20,
        checkpoint_bytes: 50_000,
        picture_side: 32,
        ..JobPlan::default()
    }
}

async fn start() -> Simulator {
    start_with(SimulatorConfig::default()).await
}

async fn start_with(config: SimulatorConfig) -> Simulator {
    Simulator::start(config).await.expect("loopback ports")
}

/// What a client got.
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    /// The body, as far as it came.
    body: Vec<u8>,
    /// Whether the body came whole.
    whole: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Ok(Answer { status, headers, body, whole })
}

async fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(client().get(url), |request, (name, value)| request.header(*name, *value));
    send(request).await.expect("an answer")
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

async fn call(simulator: &Simulator, method: &str, path: &str, body: &str) -> Answer {
    let url = format!("{}/trainers/ai-toolkit/jobs{path}", simulator.api_base());
    let method = method.parse().expect("a method");
    let request = client().request(method, url).bearer_auth(simulator.token()).body(body.to_owned());
    send(request).await.expect("an answer")
}

async fn result(simulator: &Simulator, job: &JobId) -> Value {
    let answer = call(simulator, "GET", &format!("/{job}/result"), "").await;
    assert_eq!(answer.status, 200);
    answer.json()
}

/// The URLs of what is listed now: all checkpoints, the config, all samples.
async fn urls(simulator: &Simulator, job: &JobId) -> Vec<String> {
    let result = result(simulator, job).await;
    let artifacts = &result["artifacts"];
    let path = |item: &Value| item["path"].as_str().expect("a path").to_owned();
    let list = |name: &str| artifacts[name].as_array().into_iter().flatten().map(path).collect::<Vec<_>>();
    let config = artifacts.get("config").map(path);
    list("checkpoints").into_iter().chain(config).chain(list("samples")).collect()
}

/// The URL of the listed file whose name begins like this.
async fn url_of(simulator: &Simulator, job: &JobId, name: &str) -> String {
    let urls = urls(simulator, job).await;
    let found =
        urls.into_iter().find(|url| url.rsplit('/').next().is_some_and(|last| last.starts_with(name)));
    found.unwrap_or_else(|| panic!("`{name}` is not listed"))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    crate::model::digest::hex(&sha2::Sha256::digest(bytes))
}
