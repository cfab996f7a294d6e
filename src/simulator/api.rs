//! The Trainer API: six endpoints over the simulated world.
//!
//! The one idea: a pure function of the request and the world; HTTP is elsewhere.

use serde_json::{Map, Value, json};

use crate::model::artifact::ArtifactKind;
use crate::model::job::JobId;
use crate::simulator::hosted_files::{Hosted, request_path};
use crate::simulator::state::{Job, World};

use super::links::Links;
use super::plan::{HostOptions, JobPlan};
use super::reply::Reply;
use super::submitted;

/// Where everything is, as responses have it.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// `http://host:port/prod/v1` of the API.
    pub(crate) api_base: String,
    /// `http://host:port` of the artifact host.
    pub(crate) artifact_origin: String,
}

/// A request to the API.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
}

/// What an answer may depend on.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) links: &'a mut Links,
    pub(crate) places: &'a Places,
    pub(crate) host: &'a HostOptions,
    pub(crate) habits: &'a JobPlan,
}

/// A refusal: HTTP status, the vendor's number for it, and words.
type Refusal = (u16, u32, String);

/// Answers a call with the right token.
pub(crate) fn answer(call: &Call<'_>, scene: &mut Scene<'_>) -> Reply {
    match route(call, scene) {
        Ok(value) => Reply::json(200, &value),
        Err((status, code, message)) => refusal(status, code, &message),
    }
}

/// The answer to a call without the right token.
pub(crate) fn unauthorized() -> Reply {
    refusal(401, 40151, "invalid or missing bearer token")
}

/// An error body in the vendor's form. The vendor's documentation has codes of datasets alone; those of jobs (51 to 99 at
/// their end) are invented here, by its rule, and no client should depend on one of them.
pub(crate) fn refusal(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(status, &json!({"error_code": code, "message": message}))
}

fn route(call: &Call<'_>, scene: &mut Scene<'_>) -> Result<Value, Refusal> {
    let path = call.path.strip_prefix("/prod/v1").unwrap_or(call.path);
    let unknown = || (404, 40400, format!("no such endpoint: {} {path}", call.method));
    let rest = path.strip_prefix("/trainers/ai-toolkit/jobs").ok_or_else(unknown)?;
    if rest.is_empty() || rest == "/" {
        return if call.method == "POST" { submit(call.body, scene) } else { Err(wrong_method()) };
    }
    let (id, verb) = rest.strip_prefix('/').and_then(|rest| rest.split_once('/')).ok_or_else(unknown)?;
    let wanted = match verb {
        "status" | "result" => "GET",
        "cancel" | "resume" | "edit" => "POST",
        _ => return Err(unknown()),
    };
    if call.method != wanted {
        return Err(wrong_method());
    }
    let no_job = || (404, 40451, format!("training job not found: {id}"));
    let id: JobId = id.parse().map_err(|_| no_job())?;
    match verb {
        "status" => scene.world.job(&id).map(|job| status(job, scene.places)).ok_or_else(no_job),
        "result" => {
            let Scene { world, links, places, host, .. } = scene;
            world.job(&id).map(|job| result(job, links, places, host)).ok_or_else(no_job)
        }
        _ => {
            let job = scene.world.job_mut(&id).ok_or_else(no_job)?;
            command(verb, job, call.body, scene.places, scene.habits)
        }
    }
}

fn submit(body: &[u8], scene: &mut Scene<'_>) -> Result<Value, Refusal> {
    let request = read_object(body)?;
    let config = config_file(&request)?;
    let gpu = request.get("gpu_type").and_then(Value::as_str).unwrap_or_default();
    if !matches!(gpu, "ADA_80_PLUS" | "HOPPER_141") {
        return Err(invalid("gpu_type must be ADA_80_PLUS or HOPPER_141"));
    }
    match request.get("gpu_count").map(Value::as_u64) {
        None | Some(Some(1)) => {}
        Some(Some(8)) if gpu == "ADA_80_PLUS" => {}
        Some(_) => return Err(invalid("gpu_count must be 1, or 8 with ADA_80_PLUS")),
    }
    let plan = submitted::plan(&config, scene.habits).map_err(|why| invalid(&why))?;
    let name = plan.name.clone();
    let id = scene.world.submit(plan, Some(config));
    Ok(with_links(
        json!({"id": id.as_str(), "name": name}),
        &id,
        scene.places,
        &["status", "result", "cancel"],
    ))
}

fn command(
    verb: &str,
    job: &mut Job,
    body: &[u8],
    places: &Places,
    habits: &JobPlan,
) -> Result<Value, Refusal> {
    let id = job.id.clone();
    let name = job.name().to_owned();
    let illegal = |why: String| (409, 40951, why);
    let training =
        job.training_mut().ok_or_else(|| illegal("this simulated job is only a list".to_owned()))?;
    let links: &[&str] = match verb {
        "cancel" => {
            training.cancel().map_err(illegal)?;
            &[]
        }
        "resume" => {
            training.resume().map_err(illegal)?;
            &["status", "result", "cancel"]
        }
        _ => {
            if training.status().may_write() {
                return Err(illegal(format!("a job that is {} cannot be edited", training.status())));
            }
            let config = config_file(&read_object(body)?)?;
            let plan = submitted::plan(&config, habits).map_err(|why| invalid(&why))?;
            if plan.name != name {
                return Err(invalid("config.name cannot be changed"));
            }
            training.edit(plan, config).map_err(illegal)?;
            &["status", "result", "cancel"]
        }
    };
    let mut answer = json!({"id": id.as_str(), "name": name});
    if verb != "resume" {
        answer["status"] = Value::from(job.status().as_str());
    }
    Ok(with_links(answer, &id, places, links))
}

fn status(job: &Job, places: &Places) -> Value {
    let progress = job.progress();
    let mut answer = json!({
        "id": job.id.as_str(),
        "name": job.name(),
        "status": job.status().as_str(),
        "progress": {
            "current_step": progress.current_step,
            "total_steps": progress.total_steps,
            // A whole number is written as one.
            "percent": progress.percent.map(whole_number),
        },
    });
    if let Some(error) = job.error() {
        answer["error"] = error_object(error);
    }
    with_links(answer, &job.id, places, &["result", "cancel"])
}

fn result(job: &Job, links: &mut Links, places: &Places, host: &HostOptions) -> Value {
    let mut checkpoints = Vec::new();
    let mut samples = Vec::new();
    let mut artifacts = Map::new();
    for file in job.shelf().list() {
        let url = hosted_url(file, links, places, host);
        match file.kind {
            ArtifactKind::Checkpoint => checkpoints.push(json!({"path": url})),
            ArtifactKind::Sample => samples.push(sample(file, &url)),
            ArtifactKind::Config => {
                artifacts.insert("config".to_owned(), json!({"path": url}));
            }
        }
    }
    artifacts.insert("checkpoints".to_owned(), checkpoints.into());
    artifacts.insert("samples".to_owned(), samples.into());
    let times = job.times();
    let mut answer = json!({
        "id": job.id.as_str(),
        "name": job.name(),
        "status": job.status().as_str(),
        "artifacts": artifacts,
        "created_at": time_stamp(times.created),
        "started_at": times.started.map(time_stamp),
        "finished_at": times.finished.map(time_stamp),
    });
    if let Some(error) = job.result_error() {
        answer["error"] = error_object(error);
    }
    answer
}

fn sample(file: &Hosted, url: &str) -> Value {
    let about = file.sample.clone().unwrap_or_default();
    json!({
        "sample_index": about.index,
        "type": about.media,
        "step": about.step,
        "seed": about.seed,
        "prompt": about.prompt,
        "control_image": about.control_images,
        "path": url,
    })
}

fn hosted_url(file: &Hosted, links: &mut Links, places: &Places, host: &HostOptions) -> String {
    if file.url.contains("://") {
        return file.url.clone();
    }
    let plain = format!("{}{}", places.artifact_origin, file.url);
    if !host.signed {
        return plain;
    }
    let joint = if plain.contains('?') { '&' } else { '?' };
    format!("{plain}{joint}{}", links.sign(&request_path(&file.url), host.link_lifetime))
}

fn with_links(mut answer: Value, id: &JobId, places: &Places, verbs: &[&str]) -> Value {
    for verb in verbs {
        let url = format!("{}/trainers/ai-toolkit/jobs/{id}/{verb}", places.api_base);
        answer[format!("{verb}_url")] = Value::from(url);
    }
    answer
}

fn read_object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|error| invalid(&format!("the body is not a JSON object: {error}")))
}

fn config_file(request: &Map<String, Value>) -> Result<String, Refusal> {
    if request.get("config_file_format").and_then(Value::as_str) != Some("yaml") {
        return Err(invalid("config_file_format must be yaml"));
    }
    let text = request.get("config_file").and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| invalid("config_file is missing"))
}

fn error_object(message: &str) -> Value {
    json!({"message": message, "code": "TRAINING_ERROR"})
}

fn invalid(why: &str) -> Refusal {
    (400, 40051, why.to_owned())
}

fn wrong_method() -> Refusal {
    (405, 40500, "method not allowed".to_owned())
}

fn whole_number(percent: f64) -> Value {
    if percent.fract() == 0.0 && (0.0..1e9).contains(&percent) {
        Value::from(format!("{percent:.0}").parse::<u64>().unwrap_or(0))
    } else {
        Value::from(percent)
    }
}

/// Without a zone and with microseconds, as the vendor writes it.
fn time_stamp(ms: i64) -> String {
    /// The part of a second that milliseconds do not show.
    const MICROSECONDS: i64 = 86;
    let moment = jiff::Timestamp::from_microsecond(ms.saturating_mul(1000).saturating_add(MICROSECONDS));
    moment.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}
