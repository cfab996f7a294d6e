//! `rcsync doctor`: what rcsync sees of this machine, with nothing secret in it.

mod machine;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::config_sources;
use crate::cli::format::{files, shown, state};
use crate::cli::process::{Process, Stream};
use crate::cli::reporters::words;
use crate::decide::transfer::disk_space::floor;
use crate::edge::api::ApiClient;
use crate::edge::api::base_url::ApiBase;
use crate::edge::api::toll::{Passed, Toll};
use crate::edge::comfyui::{self, LoraFolder};
use crate::edge::folder::known::known;
use crate::edge::folder::lock;
use crate::edge::net::http::RangeRequest;
use crate::edge::system::{disk, fd_limit};
#[cfg(feature = "buckets")]
use crate::engine;
use crate::engine::retry::{SHORT, api_again, retry};
use crate::error::{ApiError, Error, ExitStatus, NoMirror, Unfit};
use crate::model::artifact::ArtifactKind;
use crate::model::error_code::ErrorCode;
use crate::model::fault::Fault;
use crate::model::job::JobId;
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;
use crate::model::units::ByteCount;

use super::super::args::Doctor;
use super::super::config::Settings;
use super::super::options::{GlobalArgs, SyncArgs};
use super::super::{backend, bucket};
use super::{Context, Events, look, wait_for};

/// Asked for when the user names no job: the answer that it is unknown shows that the API can be reached and takes the
/// token.
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
    report.add("path", machine::copies(world));
    report.add("files", Some(machine::open_files(fd_limit::allowed())));
    report.add("proxy", machine::proxy(world));
    let bucket = typed.dir.as_deref().map(bucket::bucket).transpose()?.flatten();
    let folder_of = typed.dir.as_deref().filter(|_| bucket.is_none());
    let place = folder_of.unwrap_or_else(|| Path::new("."));
    disk_space(world, place, settings.sync.min_free, &mut report);
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
        let hint = error.hint_in("doctor").map_or_else(String::new, |hint| format!("; {hint}"));
        let text = format!("{}{hint}", error.explain_briefly());
        let error_code = error.code().cloned();
        self.findings.push(Finding { about, ok: false, text, error_code });
    }

    fn add(&mut self, about: &'static str, found: Option<machine::Found>) {
        if let Some((ok, text)) = found {
            self.push(about, ok, text);
        }
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

/// A variable with a typing error in its name has no effect, and no other sign.
fn strangers(world: &Process, report: &mut Report) {
    for (name, near) in config_sources::strangers(world) {
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let text = format!("the environment variable `{}` is for no option{near}", shown(&name));
        report.push("settings", false, text);
    }
}

/// ComfyUI looks for previews with a pattern that it makes of the name as it is.
const NO_PREVIEW: &str =
    "a name with `[` in it gets no preview in ComfyUI, which takes it for a pattern; the LoRA itself works";

/// Describes what a folder mirrors.
fn folder(dir: &Path, job: Option<&JobId>, report: &mut Report) {
    if let Some(owner) = lock::owner(dir) {
        let text = format!(
            "another rcsync mirrors into it ({owner}), and a second one ends with 75; wait until it ends, or end it"
        );
        report.push("lock", false, text);
    }
    match known(dir) {
        Err(Error::NoMirror { why, job: None, .. }) if why != NoMirror::Damaged => {
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
        let why = words::lora_folder(&folder.why);
        format!("LoRAs would go to {}: {}", shown(&folder.path.display().to_string()), shown(&why))
    };
    if let Some(path) = &settings.sync.comfy.comfyui {
        match comfyui::find(path, &around) {
            Ok(folder) if !machine::is_writable(&folder.path) => {
                let why = "this user may not write there; run rcsync as the owner of ComfyUI, or change the folder's permissions";
                report.push("comfyui", false, format!("set; {}, and {why}", found(&folder)));
            }
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

fn disk_space(world: &Process, dir: &Path, min_free: Option<ByteCount>, report: &mut Report) {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    // DIR is made by the first run; until then the disk is that of the nearest folder there is.
    let there = disk::nearest_folder(&absolute);
    let place = shown(&absolute.display().to_string());
    match disk::free_space(there) {
        Ok(Some(space)) => {
            let (free, total, kept) =
                (ByteCount(space.free), ByteCount(space.total), ByteCount(floor(min_free, space.total)));
            let text = format!("{free} free of {total} under {place}");
            if free.0 > kept.0 {
                report.good("disk", text);
            } else {
                let why = "so nothing is fetched; make room there, or mirror to another disk";
                report.push("disk", false, format!("{text}, and `--min-free` keeps {kept} free, {why}"));
            }
        }
        Ok(None) => report.good("disk", format!("the file system under {place} does not report its size")),
        Err(error) => report.bad("disk", &error.into()),
    }
    let real = there.canonicalize().unwrap_or_else(|_| absolute.clone());
    let mounts = (world.read_file)(Path::new("/proc/mounts")).unwrap_or_default();
    report.add("disk", machine::share(&real, &mounts));
}

/// Notes what a server's clock showed when it answered.
#[derive(Debug, Default)]
struct ServerClock(Mutex<Option<SystemTime>>);

impl Toll for ServerClock {
    fn pass(&self) -> BoxFuture<'_, Passed> {
        Box::pin(std::future::ready(Passed(Duration::ZERO)))
    }

    fn too_many(&self, _: Passed, _: Option<Duration>) {}

    fn pause(&self, _: Duration) {}

    fn dated(&self, date: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
    }
}

async fn ask(context: &Context<'_>, job: Option<&str>, report: &mut Report) -> Result<(), CommandError> {
    match backend::token_origin(context.world, &context.settings) {
        Ok(origin) => report.good("token", format!("from {origin}")),
        Err(error) => {
            report.bad("token", &error);
            report.push("api", false, "not requested: there is no token");
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
    let server = Arc::new(ServerClock::default());
    let client = client.through(server.clone());
    let answered = tokio::time::timeout(PATIENCE, patiently(|| client.status(&named))).await;
    let seen = *server.0.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = SystemTime::UNIX_EPOCH
        + Duration::try_from((context.world.now)().duration_since(jiff::Timestamp::UNIX_EPOCH))
            .unwrap_or_default();
    report.add("clock", seen.map(|theirs| machine::clock(ours, theirs)));
    match answered {
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
            Ok(Err(fault)) => (false, refused(&fault)),
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

/// Why a host could not be asked, with the option that changes it.
fn refused(fault: &Fault) -> String {
    shown(&words::fault(fault))
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
            ("HTTPS_PROXY", "me:s3cret@proxy:port"),
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
    fn a_host_that_is_refused_has_the_option_that_allows_it() {
        let fault = Fault::Forbidden { host: "h".to_owned(), why: crate::model::fault::Forbidden::Private };
        assert!(refused(&fault).ends_with("(see `--allow-private-hosts`)"), "{}", refused(&fault));
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
            "settings  PROBLEM: the environment variable `RCSYNC_INTERVALL` is for no option; did you mean `RCSYNC_INTERVAL`?",
            "settings  PROBLEM: the environment variable `RCSYNC_STRANGER` is for no option",
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_disk_with_less_than_must_stay_free_is_a_problem() {
        let (world, out, _) = fake::world(&[("RCSYNC_MIN_FREE", "1000T")]);
        run(&world, GlobalArgs::default(), &Doctor { job: None, dir: None }).unwrap();
        let text = out.text();
        assert!(text.contains("disk      PROBLEM: ") && text.contains("make room there"), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_network_share_is_looked_for_under_the_folder() {
        let (mut world, out, _) = fake::world(&[]);
        world.read_file = |path| match path.to_str() {
            Some("/proc/mounts") => Ok("nas:/ / nfs4 rw 0 0\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        run(&world, GlobalArgs::default(), &Doctor { job: None, dir: None }).unwrap();
        assert!(out.text().contains("is on a network share (nfs4)"), "{}", out.text());
    }

    #[test]
    fn a_folder_in_use_and_one_of_a_newer_version_are_problems() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join(".rcsync");
        std::fs::create_dir(&private).unwrap();
        let report = || {
            let mut report = Report::default();
            folder(dir.path(), None, &mut report);
            words(&report)
        };
        assert!(!report().contains("PROBLEM"), "{}", report());
        let held = lock::FolderLock::take(dir.path()).unwrap();
        let said =
            format!("lock      PROBLEM: another rcsync mirrors into it (process {} on ", std::process::id());
        assert!(report().contains(&said), "{}", report());
        drop(held);
        assert!(!private.join("lock").exists() && !report().contains("PROBLEM"), "nothing is left behind");
        #[derive(serde::Serialize)]
        struct Newer {
            format: u32,
        }
        let newer = crate::edge::folder::checksummed::seal(&Newer { format: 1000 }).unwrap();
        std::fs::write(private.join("manifest.json"), newer).unwrap();
        assert!(report().contains("folder    PROBLEM: ") && report().contains("format 1000"), "{}", report());
    }

    /// The fake world's clock shows January 2026.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_clock_is_compared_with_the_api_s() {
        let simulated =
            backend::simulate("127.0.0.1:0".parse().unwrap(), backend::Script::Long).await.unwrap();
        let variables = [("RUNCOMFY_TOKEN", &*simulated.token), (backend::API_BASE, &*simulated.base)];
        let (world, out, _) = fake::world(&variables);
        let typed = Doctor { job: None, dir: None };
        tokio::task::spawn_blocking(move || run(&world, GlobalArgs::default(), &typed))
            .await
            .unwrap()
            .unwrap();
        let text = out.text();
        assert!(text.contains("clock     PROBLEM: ") && text.contains("the API's clock"), "{text}");
        assert!(text.contains("answers and takes the token"), "{text}");
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
