//! `rcsync doctor`: what rcsync sees of this machine, with nothing secret in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::config_sources;
use crate::cli::format::{files, shown, state};
use crate::cli::process::{Process, Stream};
use crate::edge::api::ApiClient;
use crate::edge::api::base_url::ApiBase;
use crate::edge::comfyui::{self, LoraFolder};
use crate::edge::net::http::RangeRequest;
use crate::edge::system::disk;
use crate::engine;
use crate::engine::mirror::poll::SHORT;
use crate::engine::retry::{api_again, retry};
use crate::error::{ApiError, Error, ExitStatus, Unfit};
use crate::model::artifact::ArtifactKind;
use crate::model::error_code::ErrorCode;
use crate::model::job::JobId;
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;
use crate::model::units::ByteCount;

use super::super::args::Doctor;
use super::super::config::Settings;
use super::super::options::{GlobalArgs, SyncArgs};
use super::super::{backend, bucket};
use super::{Context, Events, look, wait_for};

/// Asked for when the user names no job: the API answers that it knows none of this name, and by that tells
/// that it can be reached and takes the token.
const NO_SUCH_JOB: &str = "rcsync-doctor";

/// What a person waits for an answer without asking themselves whether anything happens.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(world: &Process, global: GlobalArgs, typed: &Doctor) -> Result<ExitStatus, CommandError> {
    let mut report = Report::default();
    report.good(
        "version",
        format!("rcsync {} ({} {})", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH),
    );
    let settings = settings(world, global, &mut report);
    strangers(world, &mut report);
    report.good("terminal", terminal(world));
    let bucket = typed.dir.as_deref().map(bucket::bucket).transpose()?.flatten();
    let folder_of = typed.dir.as_deref().filter(|_| bucket.is_none());
    disk_space(folder_of.unwrap_or_else(|| Path::new(".")), &mut report);
    comfy_ui(world, &settings, &mut report);
    if let Some(dir) = folder_of {
        let base = backend::api_base(world).unwrap_or_default();
        let job = typed.job.as_deref().map(|job| backend::job_id(job, &base)).transpose()?;
        folder(dir, job.as_ref(), &mut report);
    }
    let context = Context { world, settings, events: Events::default() };
    wait_for(world, |signals| async move {
        #[cfg(feature = "buckets")]
        if let Some(url) = &bucket {
            let options = bucket::options(&context.settings);
            let examining =
                async { Ok::<_, CommandError>(engine::bucket::read::examine(url, &options).await) };
            let Some(steps) = look(&signals, examining).await? else { return Ok(signals.status()) };
            for step in steps {
                match step.found {
                    Ok(text) => report.good(step.about, text),
                    Err(error) => report.bad(step.about, &error.into()),
                }
            }
        }
        let asked = look(&signals, ask(&context, typed.job.as_deref(), &mut report)).await?;
        if asked.is_none() {
            return Ok(signals.status());
        }
        context.answer(&report, || words(&report));
        Ok(ExitStatus::Complete)
    })
}

/// What was found, in order.
#[derive(Debug, Default, Serialize)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    ok: bool,
    text: String,
    /// The API's own code for what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<ErrorCode>,
}

impl Report {
    fn good(&mut self, about: &'static str, text: impl Into<String>) {
        self.push(about, true, text);
    }

    fn bad(&mut self, about: &'static str, error: &CommandError) {
        let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
        let text = format!("{}{hint}", error.explain_briefly());
        let error_code = error.code().cloned();
        self.findings.push(Finding { about, ok: false, text, error_code });
    }

    fn push(&mut self, about: &'static str, ok: bool, text: impl Into<String>) {
        self.findings.push(Finding { about, ok, text: text.into(), error_code: None });
    }
}

/// Settings that are broken are a finding, not the end.
fn settings(world: &Process, global: GlobalArgs, report: &mut Report) -> Settings {
    match config_sources::file_path(world) {
        None => report.good("config", "no place for a file: neither XDG_CONFIG_HOME nor HOME is set"),
        Some(path) => match (world.read_file)(&path) {
            Ok(_) => {
                let path = shown(&path.display().to_string());
                report.good("config", format!("{path}; a variable comes before it, a flag before both"));
            }
            Err(_) if !path.exists() => {
                report.good("config", format!("no file {}", shown(&path.display().to_string())))
            }
            Err(error) => {
                let fault = CommandError::Config(format!("could not read `{}`: {error}", path.display()));
                report.bad("config", &fault);
            }
        },
    }
    match Settings::settle(world, global, SyncArgs::default()) {
        Err(error) => {
            report.bad("settings", &error);
            Settings::default()
        }
        Ok(settings) => {
            for (at, found) in settings.found.iter().enumerate() {
                let above = settings.found[..at].iter().find(|above| above.name == found.name);
                let unused = above.map_or_else(String::new, |above| {
                    format!(" (not used: {} comes first)", shown(&above.origin))
                });
                report.good(
                    "setting",
                    format!("{} = {}, from {}{unused}", found.name, found.value, shown(&found.origin)),
                );
            }
            settings
        }
    }
}

/// A variable with a slip in its name does nothing, and nobody would notice.
fn strangers(world: &Process, report: &mut Report) {
    for name in (world.variables)() {
        let Some(near) = config_sources::nearest_variable(&name) else { continue };
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let text = format!("the environment variable `{}` stands for no option{near}", shown(&name));
        report.push("settings", false, text);
    }
}

/// ComfyUI looks for previews with a pattern that it makes of the name as it is.
const NO_PREVIEW: &str =
    "a name with `[` in it gets no preview in ComfyUI, which takes it for a pattern; the LoRA itself works";

/// Says what a folder mirrors.
fn folder(dir: &Path, job: Option<&JobId>, report: &mut Report) {
    match engine::destination::folder::known(dir) {
        Err(Error::NoMirror { why, job: None, .. }) => {
            report.good("folder", format!("{}: {why}", shown(&dir.display().to_string())));
        }
        Err(error) => report.bad("folder", &error.into()),
        Ok(manifest) if job.is_some_and(|job| manifest.job != *job) => {
            let why = Unfit::OtherJob(manifest.job);
            report.bad("folder", &Error::FolderUnfit { path: dir.to_path_buf(), why }.into());
        }
        Ok(manifest) => {
            let there = manifest.present();
            let bytes = there.iter().fold(0_u64, |sum, (_, entry)| sum.saturating_add(entry.size));
            let count = files(there.len() as u64);
            report.good("folder", format!("mirrors job {}: {count}, {}", manifest.job, ByteCount(bytes)));
            if there
                .iter()
                .any(|(kind, entry)| *kind == ArtifactKind::Checkpoint && entry.path.as_str().contains('['))
            {
                report.good("comfyui", NO_PREVIEW);
            }
        }
    }
}

fn terminal(world: &Process) -> String {
    let kind = |stream: &Stream| match stream.is_terminal() {
        true => format!("a terminal of {} columns", stream.columns()),
        false => "no terminal".to_owned(),
    };
    format!(
        "output is {}, messages are {}, {} colours, {} Unicode",
        kind(&world.out),
        kind(&world.err),
        if world.colours(&world.err) { "with" } else { "without" },
        if world.speaks_unicode() { "with" } else { "without" }
    )
}

/// The ComfyUI that is set, and those at the places where it usually is.
fn comfy_ui(world: &Process, settings: &Settings, report: &mut Report) {
    let around = world.surroundings();
    let found = |folder: &LoraFolder| {
        format!("LoRAs would go to {}: {}", shown(&folder.path.display().to_string()), shown(&folder.why))
    };
    if let Some(path) = &settings.sync.comfy.comfyui {
        match comfyui::find(path, &around) {
            Ok(folder) => report.good("comfyui", format!("set; {}", found(&folder))),
            Err(error) => report.bad("comfyui", &error.into()),
        }
    }
    let mut none = true;
    for (name, place) in comfyui::usual_places(&around).into_iter().filter(|(_, place)| place.exists()) {
        if let Ok(folder) = comfyui::find(&place, &around) {
            none = false;
            let place = shown(&place.display().to_string());
            report.good("comfyui", format!("{name} at {place}; {}", found(&folder)));
        }
    }
    if none && settings.sync.comfy.comfyui.is_none() {
        report.good("comfyui", "none at the usual places; `--comfyui <PATH>` takes any");
    }
}

fn disk_space(dir: &Path, report: &mut Report) {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    // DIR is made by the first run; until then the disk is that of the nearest folder there is.
    let there: Option<PathBuf> = absolute.ancestors().find(|folder| folder.exists()).map(Path::to_path_buf);
    let place = shown(&absolute.display().to_string());
    match disk::free_space(there.as_deref().unwrap_or(&absolute)) {
        Ok(Some(space)) => {
            let (free, total) = (ByteCount(space.free), ByteCount(space.total));
            report.good("disk", format!("{free} free of {total} under {place}"));
        }
        Ok(None) => report.good("disk", format!("the file system under {place} does not report its size")),
        Err(error) => report.bad("disk", &error.into()),
    }
}

async fn ask(context: &Context<'_>, job: Option<&str>, report: &mut Report) -> Result<(), CommandError> {
    match backend::token_origin(context.world, &context.settings) {
        Ok(origin) => report.good("token", format!("from {origin}")),
        Err(error) => {
            report.bad("token", &error);
            report.push("api", false, "not asked, for want of a token");
            return Ok(());
        }
    }
    let base = match backend::api_base(context.world) {
        Ok(base) => base,
        Err(error) => {
            report.bad("api", &error);
            return Ok(());
        }
    };
    let named = backend::job_id(job.unwrap_or(NO_SUCH_JOB), &base)?;
    let client = match backend::client(context.world, &context.settings, &base) {
        Ok(client) => client,
        Err(error) => {
            report.bad("api", &error);
            return Ok(());
        }
    };
    match tokio::time::timeout(PATIENCE, patiently(|| client.status(&named))).await {
        Err(_) => {
            report.push("api", false, format!("{base} does not answer within {} s", PATIENCE.as_secs()));
        }
        Ok(Err(ApiError::UnknownJob { .. } | ApiError::Refused { .. })) if job.is_none() => {
            report.good("api", format!("{base} answers and takes the token"));
        }
        Ok(Err(error)) => report.bad("api", &error.into()),
        Ok(Ok(answer)) => {
            report.good("api", format!("{base} answers and takes the token"));
            let what = state(&answer.status, &answer.progress);
            report.good("job", format!("{named} is {}: {what}", shown(answer.status.as_str())));
            if answer.name.as_deref().is_some_and(|name| name.contains('[')) {
                report.good("comfyui", NO_PREVIEW);
            }
            ask_hosts(context, &client, &base, &named, report).await?;
        }
    }
    Ok(())
}

/// Rides out what passes, as a mirror does.
async fn patiently<T, W>(question: impl FnMut() -> W) -> Result<T, ApiError>
where
    W: Future<Output = Result<T, ApiError>>,
{
    retry(SHORT, question, api_again, |_, _| {}).await
}

/// Hosts that are asked; more than one is rare.
const MOST_HOSTS: usize = 4;

/// Asks each host of the job's files for one byte of one file.
async fn ask_hosts(
    context: &Context<'_>,
    api: &ApiClient,
    base: &ApiBase,
    job: &JobId,
    report: &mut Report,
) -> Result<(), CommandError> {
    let listed = match tokio::time::timeout(PATIENCE, patiently(|| api.result(job))).await {
        Ok(Ok(answer)) => answer.artifacts,
        Ok(Err(error)) => {
            report.bad("hosts", &error.into());
            return Ok(());
        }
        Err(_) => Vec::new(),
    };
    let mut hosts: BTreeMap<&str, (&SourceUrl, u64)> = BTreeMap::new();
    for artifact in &listed {
        hosts.entry(artifact.url.host()).or_insert((&artifact.url, 0)).1 += 1;
    }
    let client = backend::hosts(&context.settings, base)?;
    for (host, (url, count)) in hosts.into_iter().take(MOST_HOSTS) {
        let ask = RangeRequest { start: 0, end: Some(1), ..RangeRequest::default() };
        let (ok, said) = match tokio::time::timeout(PATIENCE, client.get(url, &ask)).await {
            Err(_) => (false, format!("does not answer within {} s", PATIENCE.as_secs())),
            Ok(Err(fault)) => (false, shown(&fault.to_string())),
            Ok(Ok((head, _))) => match head.status {
                206 => (true, format!("answers, with ranges and {}", validators(&head.revision))),
                200 => (true, format!("answers, without ranges and with {}", validators(&head.revision))),
                status => (false, format!("answers HTTP {status} to a request for one of them")),
            },
        };
        let text = format!("{} has {}; it {said}", shown(host), files(count));
        report.push("host", ok, text);
    }
    Ok(())
}

fn validators(revision: &Revision) -> &'static str {
    match (&revision.etag, &revision.last_modified) {
        (Some(_), _) => "an ETag",
        (None, Some(_)) => "a date",
        (None, None) => "nothing to tell versions apart",
    }
}

fn words(report: &Report) -> String {
    let line = |Finding { about, ok, text, .. }: &Finding| {
        format!("{about:<8}  {}{text}\n", if *ok { "" } else { "PROBLEM: " })
    };
    report.findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::process::fake;

    #[test]
    fn nothing_secret_is_in_it() {
        let (world, out, _) = fake::world(&[
            ("RUNCOMFY_TOKEN", "t0ken"),
            ("RCSYNC_WEBHOOK", "https://h/?key=s3cret"),
            ("RCSYNC_RETRIES", "7"),
            ("HOME", "/home/u"),
        ]);
        let typed = Doctor { job: None, dir: None };
        assert_eq!(run(&world, GlobalArgs::default(), &typed).unwrap(), ExitStatus::Complete);
        let text = out.text();
        assert!(!text.contains("t0ken") && !text.contains("s3cret"), "{text}");
        for part in ["rcsync 0.", "retries = 7, from RCSYNC_RETRIES", "from RUNCOMFY_TOKEN", " free of "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_comfyui_is_found_where_it_usually_is() {
        let home = tempfile::tempdir().unwrap();
        let said = || {
            let (world, out, _) = fake::world(&[("HOME", home.path().to_str().unwrap())]);
            run(&world, GlobalArgs::default(), &Doctor { job: None, dir: None }).unwrap();
            out.text()
        };
        assert!(said().contains("comfyui   none at the usual places"), "{}", said());
        std::fs::create_dir_all(home.path().join("comfy/ComfyUI/models/loras")).unwrap();
        assert!(said().contains("comfyui   comfy-cli at "), "{}", said());
    }

    #[test]
    #[cfg(unix)]
    fn what_comes_first_and_what_is_not_used() {
        let (mut world, out, _) = fake::world(&[
            ("HOME", "/h"),
            ("RCSYNC_RETRIES", "7"),
            ("RCSYNC_INTERVALL", "5s"),
            ("RCSYNC_STRANGER", "1"),
        ]);
        world.read_file = |_| Ok("retries = 9\ninterval = '5s'\n".to_owned());
        run(&world, GlobalArgs::default(), &Doctor { job: None, dir: None }).unwrap();
        let text = out.text();
        for line in [
            "config    /h/.config/rcsync/config.toml; a variable comes before it, a flag before both",
            "setting   retries = 7, from RCSYNC_RETRIES",
            "setting   retries = 9, from /h/.config/rcsync/config.toml line 1 (not used: RCSYNC_RETRIES comes first)",
            "setting   interval = '5s', from /h/.config/rcsync/config.toml line 2",
            "settings  PROBLEM: the environment variable `RCSYNC_INTERVALL` stands for no option; did you mean `RCSYNC_INTERVAL`?",
            "settings  PROBLEM: the environment variable `RCSYNC_STRANGER` stands for no option",
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }

    #[test]
    fn broken_settings_are_a_finding() {
        let (world, out, _) = fake::world(&[("RCSYNC_RETRIES", "many")]);
        run(&world, GlobalArgs::default(), &Doctor { job: None, dir: None }).unwrap();
        assert!(
            out.text().contains("settings  PROBLEM: the environment variable `RCSYNC_RETRIES` is `many`"),
            "{}",
            out.text()
        );
    }
}
