//! `rcsync dataset push`: check a folder, send what is missing, wait until the dataset is READY.

use std::time::Instant;

use serde::Serialize;

use crate::cli::args::DatasetPush;
use crate::cli::backend;
use crate::cli::command_error::CommandError;
use crate::cli::commands::{Context, wait_for};
use crate::cli::exit::Signals;
use crate::cli::format::shown;
use crate::cli::push_report::PushReport;
use crate::cli::reporters::json;
use crate::cli::training_file::TrainingFile;
use crate::cli::values::Format;
use crate::decide::datasets::{FilePatterns, caption_ext_for, name_for};
use crate::engine::datasets::asking::read;
use crate::engine::datasets::event::{PushEvent, PushReporter};
use crate::engine::datasets::push::{Prepared, PushOptions};
use crate::engine::datasets::scan::ScanOptions;
use crate::error::ExitStatus;
use crate::model::training_config::TrainingConfig;
use crate::model::units::ByteCount;

use super::check::own_name;
use super::folder::{Against, Folder, Target, ended};

pub(super) fn run(context: &Context<'_>, typed: &DatasetPush) -> Result<ExitStatus, CommandError> {
    let config =
        typed.config.as_deref().map(|path| TrainingFile::read(context.world, path)?.config()).transpose()?;
    let folder = folder(typed, config.as_ref())?;
    let base = backend::api_base(context.world)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let target = Target::new(context, &base, api, options(context, typed))?;
    let is_dry = typed.dry_run || context.settings.sync.dry_run;
    wait_for(context.world, |signals| async move {
        let began = Instant::now();
        let report = PushReport::new(context.world, &context.settings, &folder.name, &signals);
        let work = Work { context, target: &target, report: &report, signals: &signals, is_dry };
        let done = work.carry_out(folder, config.as_ref(), typed.force).await;
        let done = match done {
            Ok(done) => {
                let elapsed = began.elapsed();
                let Done { exit, sent, bytes, present, failed } = done;
                if !is_dry {
                    report.report(&PushEvent::Done { exit, sent, bytes, present, failed, elapsed });
                }
                Ok(exit)
            }
            Err(error) => {
                if context.settings.format == Format::Json {
                    ended(&report, &error, began.elapsed());
                    context.events.have_error();
                }
                Err(error)
            }
        };
        report.end();
        done
    })
}

fn folder(typed: &DatasetPush, config: Option<&TrainingConfig>) -> Result<Folder, CommandError> {
    let files = FilePatterns::new(&typed.files.include, &typed.files.exclude)
        .map_err(|error| CommandError::misused(error.to_string(), "`rcsync help datasets` has examples"))?;
    let own = own_name(&typed.folder)?;
    let name = match (&typed.name, config) {
        (Some(name), _) => name.clone(),
        (None, Some(config)) => name_for(&own, config),
        (None, None) => own,
    };
    let of_config = || config.and_then(|config| caption_ext_for(&name, config));
    let caption_ext = typed.files.caption_ext.clone().or_else(of_config);
    let scan = ScanOptions { name: Some(name.clone()), caption_ext, files };
    Ok(Folder { path: typed.folder.clone(), name, scan })
}

fn options(context: &Context<'_>, typed: &DatasetPush) -> PushOptions {
    let default = PushOptions::default();
    let settings = &context.settings.sync;
    PushOptions {
        connections: typed.connections.map_or(default.connections, |number| usize::from(number.get())),
        limit_rate: typed.limit_rate.or(settings.limit_rate),
        retries: typed.retries.or(settings.retries).unwrap_or(default.retries),
        wait: !typed.no_wait,
        timeout: typed.timeout.unwrap_or(default.timeout),
    }
}

struct Work<'a> {
    context: &'a Context<'a>,
    target: &'a Target<'a>,
    report: &'a std::sync::Arc<PushReport>,
    signals: &'a Signals,
    is_dry: bool,
}

/// How it ended.
struct Done {
    exit: ExitStatus,
    sent: u64,
    bytes: u64,
    present: u64,
    failed: u64,
}

impl Done {
    const fn nothing(exit: ExitStatus) -> Self {
        Self { exit, sent: 0, bytes: 0, present: 0, failed: 0 }
    }
}

impl Work<'_> {
    async fn carry_out(
        &self,
        folder: Folder,
        config: Option<&TrainingConfig>,
        force: bool,
    ) -> Result<Done, CommandError> {
        let Self { context, target, report, signals, .. } = *self;
        let interrupted = || Done::nothing(signals.status());
        let companions = match config {
            Some(config) => super::check::beside(&folder.path, &folder.name, config)?,
            None => Vec::new(),
        };
        let name = folder.name.clone();
        let against = Against { config, companions: &companions, force };
        let checked = folder.check(context, signals, report, against).await?;
        let Some(checked) = checked else { return Ok(interrupted()) };
        let listed = read(&target.api, &signals.stop, |api| async move { api.datasets().await }).await?;
        let Some(listed) = listed else { return Ok(interrupted()) };
        let Some(prepared) = checked.prepare(target, &listed, report, signals).await? else {
            return Ok(interrupted());
        };
        if self.is_dry {
            self.rehearse(&name, &prepared);
            return Ok(Done::nothing(ExitStatus::Complete));
        }
        let pushed = prepared.run(report.clone(), &signals.stop).await?;
        if pushed.exit == ExitStatus::Complete && context.settings.format == Format::Pretty {
            report.end();
            let ready =
                if pushed.sent + pushed.present > 0 { "folder_path: /app/ai-toolkit/datasets/" } else { "" };
            context.world.out.line(&format!("{ready}{}", shown(&name)));
        }
        Ok(Done {
            exit: pushed.exit,
            sent: pushed.sent,
            bytes: pushed.bytes,
            present: pushed.present,
            failed: pushed.failed,
        })
    }

    /// Shows what would be sent.
    fn rehearse(&self, name: &str, prepared: &Prepared) {
        #[derive(Serialize)]
        struct Planned<'a> {
            event: &'static str,
            dataset: &'a str,
            path: &'a str,
            size: u64,
            reason: String,
        }
        let out = &self.context.world.out;
        self.report.report(&prepared.planned());
        for (file, reason) in prepared.to_send() {
            let reason = reason.to_string();
            match self.context.settings.format {
                Format::Json => {
                    let line = Planned {
                        event: "planned",
                        dataset: name,
                        path: &file.name,
                        size: file.stamp.size,
                        reason,
                    };
                    out.line(&json::text(&line).unwrap_or_default());
                }
                Format::Pretty => {
                    let size = ByteCount(file.stamp.size);
                    out.line(&format!("send  {}  {size}  {reason}", shown(&file.name)));
                }
            }
        }
    }
}
