//! `rcsync doctor`: what rcsync sees of this machine, with nothing secret in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::super::args::Doctor;
use super::super::config::Settings;
use super::super::options::{GlobalArgs, SyncArgs};
use super::super::words::{shown, state};
use super::super::world::World;
use super::super::{backend, layers};
use super::{Context, look, wait_for};
use crate::edge::comfyui::{self, LoraFolder};
use crate::edge::disk;
use crate::error::{ApiError, Error, ExitStatus, explain_briefly};
use crate::model::units::ByteCount;

/// Asked for when the user names no job: the API answers that it knows none of this name, and by that tells
/// that it can be reached and takes the token.
const NO_SUCH_JOB: &str = "rcsync-doctor";

/// What a person waits for an answer without asking themselves whether anything happens.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(world: &World, global: GlobalArgs, typed: &Doctor) -> Result<ExitStatus, Error> {
    let mut report = Report::default();
    report.good(
        "version",
        format!("rcsync {} ({} {})", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH),
    );
    let settings = settings(world, global, &mut report);
    report.good("terminal", terminal(world));
    disk_space(typed.dir.as_deref().unwrap_or_else(|| Path::new(".")), &mut report);
    comfy_ui(world, &settings, &mut report);
    let context = Context { world, settings };
    wait_for(world, |signals| async move {
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
}

impl Report {
    fn good(&mut self, about: &'static str, text: impl Into<String>) {
        self.findings.push(Finding { about, ok: true, text: text.into() });
    }

    fn bad(&mut self, about: &'static str, error: &Error) {
        let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
        self.findings.push(Finding { about, ok: false, text: format!("{}{hint}", explain_briefly(error)) });
    }
}

/// Settings that are broken are a finding, not the end.
fn settings(world: &World, global: GlobalArgs, report: &mut Report) -> Settings {
    match layers::file_path(world) {
        None => report.good("config", "no place for a file: neither XDG_CONFIG_HOME nor HOME is set"),
        Some(path) => match (world.read_file)(&path) {
            Ok(_) => report.good("config", shown(&path.display().to_string())),
            Err(_) if !path.exists() => {
                report.good("config", format!("no file {}", shown(&path.display().to_string())))
            }
            Err(error) => {
                let fault = Error::Config(format!("could not read `{}`: {error}", path.display()));
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
            for found in &settings.found {
                report.good(
                    "setting",
                    format!("{} = {}, from {}", found.name, found.value, shown(&found.origin)),
                );
            }
            settings
        }
    }
}

fn terminal(world: &World) -> String {
    let kind = |terminal: bool| if terminal { "a terminal" } else { "no terminal" };
    let columns = world.err.columns();
    format!(
        "output is {}, messages are {} of {columns} columns, {} colours",
        kind(world.out.is_terminal()),
        kind(world.err.is_terminal()),
        if world.colours(&world.err) { "with" } else { "without" }
    )
}

/// The ComfyUI that is set, and those at the places where it usually is.
fn comfy_ui(world: &World, settings: &Settings, report: &mut Report) {
    let around = world.surroundings();
    let found = |folder: &LoraFolder| {
        format!("LoRAs would go to {}: {}", shown(&folder.path.display().to_string()), shown(&folder.why))
    };
    if let Some(path) = &settings.sync.comfy.comfyui {
        match comfyui::find(path, &around) {
            Ok(folder) => report.good("comfyui", format!("set; {}", found(&folder))),
            Err(error) => report.bad("comfyui", &error),
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
    match disk::free_space(there.as_deref().unwrap_or(&absolute)) {
        Ok(space) => {
            let (free, total) = (ByteCount(space.free), ByteCount(space.total));
            report.good(
                "disk",
                format!("{free} free of {total} under {}", shown(&absolute.display().to_string())),
            );
        }
        Err(error) => report.bad("disk", &error),
    }
}

async fn ask(context: &Context<'_>, job: Option<&str>, report: &mut Report) -> Result<(), Error> {
    match backend::token_origin(context.world, &context.settings) {
        Ok(origin) => report.good("token", format!("from {origin}")),
        Err(error) => {
            report.bad("token", &error);
            report.findings.push(Finding {
                about: "api",
                ok: false,
                text: "not asked, for want of a token".to_owned(),
            });
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
    match tokio::time::timeout(PATIENCE, client.status(&named)).await {
        Err(_) => report.findings.push(Finding {
            about: "api",
            ok: false,
            text: format!("{base} does not answer within {} s", PATIENCE.as_secs()),
        }),
        Ok(Err(ApiError::UnknownJob { .. } | ApiError::Refused { .. })) if job.is_none() => {
            report.good("api", format!("{base} answers and takes the token"));
        }
        Ok(Err(error)) => report.bad("api", &error.into()),
        Ok(Ok(answer)) => {
            report.good("api", format!("{base} answers and takes the token"));
            let what = state(&answer.status, &answer.progress);
            report.good("job", format!("{named} is {}: {what}", shown(answer.status.as_str())));
        }
    }
    Ok(())
}

fn words(report: &Report) -> String {
    let line = |Finding { about, ok, text }: &Finding| {
        format!("{about:<8}  {}{text}\n", if *ok { "" } else { "PROBLEM: " })
    };
    report.findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::world::fake;

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
