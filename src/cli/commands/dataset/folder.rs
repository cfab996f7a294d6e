//! A folder on its way into a dataset: checked, compared, sent. For `dataset push` and `submit --dataset`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::command_error::CommandError;
use crate::cli::commands::Context;
use crate::cli::config::Talk;
use crate::cli::exit::Signals;
use crate::cli::format::{counted, shown};
use crate::cli::push_report::PushReport;
use crate::decide::datasets::{Companion, Content, Finding, Report, Scan, ScannedFile, Severity, check_with};
use crate::edge::api::ApiClient;
use crate::edge::api::base_url::ApiBase;
use crate::edge::net::upload::UploadClient;
use crate::engine::datasets::event::{PushEvent, PushNotice, PushReporter};
use crate::engine::datasets::push::{Prepared, Push, PushFile, PushOptions};
use crate::engine::datasets::scan::{ScanOptions, sizes};
use crate::error::{Error, ExitStatus};
use crate::model::dataset::{Dataset, DatasetName};
use crate::model::training_config::TrainingConfig;
use crate::model::upload_record::Stamp;

use super::check::{listed, scan_folder};

/// How many warnings of one kind are shown.
const SHOWN_WARNINGS: usize = 10;

/// A folder and what it is for.
pub(in crate::cli::commands) struct Folder {
    pub(in crate::cli::commands) path: PathBuf,
    pub(in crate::cli::commands) name: String,
    pub(in crate::cli::commands) scan: ScanOptions,
}

/// What a folder is checked against.
#[derive(Clone, Copy)]
pub(in crate::cli::commands) struct Against<'a> {
    pub(in crate::cli::commands) config: Option<&'a TrainingConfig>,
    /// Folders of control images and masks that belong to it.
    pub(in crate::cli::commands) companions: &'a [Companion],
    /// Errors keep nothing from being sent.
    pub(in crate::cli::commands) force: bool,
}

/// A folder that was checked.
pub(in crate::cli::commands) struct Checked {
    folder: Folder,
    name: DatasetName,
    files: Vec<PushFile>,
    /// Names of files that cannot be sent.
    left_out: Vec<String>,
}

impl Folder {
    /// Reads the folder whole and reports what is wrong with it; `None` when a signal came.
    ///
    /// # Errors
    /// When something is wrong with it, unless the user forces it; and a name that no dataset can have, in any case.
    pub(in crate::cli::commands) async fn check(
        self,
        context: &Context<'_>,
        signals: &Signals,
        report: &PushReport,
        against: Against<'_>,
    ) -> Result<Option<Checked>, CommandError> {
        let Against { config, companions, force } = against;
        let scanning = scan_folder(context, &self.path, self.scan.clone(), signals.clone());
        let Some(scanned) = signals.unless_ended(scanning).await else { return Ok(None) };
        let Some(scan) = scanned? else { return Ok(None) };
        let found = check_with(&scan, config, companions);
        report.checked(&found);
        show(context, &found);
        if found.errors() > 0 && !force {
            let count = counted(found.errors() as u64, "error");
            return Err(CommandError::Declined {
                why: format!("the folder `{}` has {count}", shown(&self.path.display().to_string())),
                next: "nothing was sent; correct what is listed above and type the same command again, or add `--force` to send it as it is".to_owned(),
            });
        }
        let name = self.name.parse::<DatasetName>().map_err(|why| {
            CommandError::BadInput(format!("`{}` cannot be the name of a dataset: {why}", shown(&self.name)))
        })?;
        let (files, unsendable) = sendable(&scan);
        let left_out: Vec<String> = unsendable.iter().map(|file| file.name.clone()).collect();
        for name in &left_out {
            let notice = PushNotice::LeftOut(name.clone());
            report.report(&PushEvent::Notice { notice });
        }
        Ok(Some(Checked { folder: self, name, files, left_out }))
    }
}

impl Checked {
    /// Compares it with the dataset of its name; `None` when a signal came.
    ///
    /// # Errors
    /// When the API gives no answer, another process sends into the dataset, or it has files that the folder lacks.
    pub(in crate::cli::commands) async fn prepare(
        self,
        to: &Target<'_>,
        listed: &[Dataset],
        report: &PushReport,
        signals: &Signals,
    ) -> Result<Option<Prepared>, CommandError> {
        let Self { folder, name, files, left_out } = self;
        let Folder { path, scan, .. } = folder;
        let push = Push {
            api: to.api.clone(),
            uploads: to.uploads.clone(),
            name,
            files,
            options: to.options.clone(),
            state: to.context.world.state_folder().map(|folder| folder.join("push")),
            relist: Arc::new(move || {
                let names = sizes(&path, &scan)?.into_iter().map(|(name, _)| name);
                Ok(names.filter(|name| !left_out.contains(name)).collect())
            }),
        };
        let prepared = push.prepare(listed, report, &signals.stop).await?;
        if let Some(id) = prepared.as_ref().and_then(Prepared::id) {
            report.set_id(id.as_str());
        }
        Ok(prepared)
    }
}

/// Where folders are sent, and how.
pub(in crate::cli::commands) struct Target<'a> {
    context: &'a Context<'a>,
    pub(in crate::cli::commands) api: ApiClient,
    uploads: UploadClient,
    options: PushOptions,
}

impl<'a> Target<'a> {
    pub(in crate::cli::commands) fn new(
        context: &'a Context<'a>,
        base: &ApiBase,
        api: ApiClient,
        options: PushOptions,
    ) -> Result<Self, CommandError> {
        let private = context.settings.sync.allow_private_hosts || base.is_private();
        let uploads = UploadClient::new(private).map_err(Error::from)?;
        Ok(Self { context, api, uploads, options })
    }
}

/// Returns the files that can be sent, and those that cannot.
fn sendable(scan: &Scan) -> (Vec<PushFile>, Vec<&ScannedFile>) {
    let can = |file: &&ScannedFile| {
        matches!(file.content, Content::Media(_) | Content::Caption(_) | Content::Other)
    };
    let (good, bad): (Vec<_>, Vec<_>) = scan.files.iter().partition(can);
    let file = |file: &ScannedFile| PushFile {
        name: file.name.clone(),
        path: file.path.clone(),
        stamp: Stamp { size: file.size, modified: file.modified.and_then(nanoseconds) },
    };
    (good.into_iter().map(file).collect(), bad)
}

/// Returns a time as the disk room has it.
fn nanoseconds(time: SystemTime) -> Option<i64> {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).ok();
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => nanos(before.duration()).map(|nanos| -nanos),
    }
}

/// Shows findings; those that keep nothing from being sent only where there is talk.
fn show(context: &Context<'_>, report: &Report) {
    // JSON has counts of them; the errors themselves are for the user, who has to correct them.
    let is_pretty = context.settings.format == crate::cli::values::Format::Pretty;
    let talk = context.settings.talk;
    let is_shown =
        |finding: &&Finding| finding.severity() == Severity::Error || (is_pretty && talk > Talk::Quiet);
    let findings: Vec<&Finding> = report.findings.iter().filter(is_shown).collect();
    let most = if talk == Talk::Verbose { usize::MAX } else { SHOWN_WARNINGS };
    context.world.err.write(&listed(&findings, most));
}

/// Returns the code for a push that ended with an error, and reports its end.
pub(in crate::cli::commands) fn ended(
    report: &PushReport,
    error: &CommandError,
    elapsed: Duration,
) -> ExitStatus {
    let exit = error.exit_status();
    report.error(error);
    report.report(&PushEvent::Done { exit, sent: 0, bytes: 0, present: 0, failed: 0, elapsed });
    exit
}
