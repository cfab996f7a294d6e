//! The datasets of a submission: those that the account has to have, and the folders that are sent first.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::command_error::CommandError;
use crate::cli::commands::Context;
use crate::cli::commands::dataset::check::{beside, own_name};
use crate::cli::commands::dataset::folder::{Against, Checked, Folder, Target};
use crate::cli::commands::dataset::unknown;
use crate::cli::exit::Signals;
use crate::cli::format::shown;
use crate::cli::push_report::PushReport;
use crate::decide::datasets::{
    AssignError, Companion, assign, caption_ext_for, companions_of, needed_datasets,
};
use crate::edge::api::ApiClient;
use crate::engine::datasets::asking::read;
use crate::engine::datasets::push::{Prepared, Pushed};
use crate::engine::datasets::scan::{ScanOptions, companion};
use crate::error::ExitStatus;
use crate::model::dataset::{Dataset, DatasetName, DatasetStatus};
use crate::model::training_config::TrainingConfig;

/// Folders that are sent before the job is submitted.
pub(super) struct Folders {
    folders: Vec<Folder>,
}

/// The submission that folders are sent for.
#[derive(Clone, Copy)]
pub(super) struct Submission<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) signals: &'a Signals,
    pub(super) config: Option<&'a TrainingConfig>,
    /// Errors of a folder keep nothing from being sent.
    pub(super) force: bool,
    /// Whether what happens to folders is part of the events of the command.
    pub(super) events: bool,
}

/// What was typed behind `--dataset`.
fn parse(typed: &str) -> (Option<&str>, PathBuf) {
    let is_folder = || std::path::Path::new(typed).is_dir();
    match typed.split_once('=') {
        Some((name, folder)) if name.parse::<DatasetName>().is_ok() && !folder.is_empty() && !is_folder() => {
            (Some(name), folder.into())
        }
        _ => (None, typed.into()),
    }
}

impl Folders {
    /// Finds out which folder is which dataset of the configuration.
    ///
    /// # Errors
    /// A folder that is not there, or that the configuration does not name.
    pub(super) fn of(typed: &[String], config: Option<&TrainingConfig>) -> Result<Self, CommandError> {
        if typed.is_empty() {
            return Ok(Self { folders: Vec::new() });
        }
        let Some(config) = config else {
            return Err(CommandError::BadInput(
                "without a configuration that can be read, no dataset has a name".to_owned(),
            ));
        };
        let parsed: Vec<(Option<&str>, PathBuf)> = typed.iter().map(|typed| parse(typed)).collect();
        let mut own = Vec::new();
        for (_, folder) in &parsed {
            own.push(own_name(folder)?);
        }
        let given: Vec<(Option<&str>, &str)> =
            parsed.iter().zip(&own).map(|((name, _), own)| (*name, own.as_str())).collect();
        let names = assign(&given, config).map_err(|fault| CommandError::Declined {
            why: unassigned(&fault),
            next: "nothing was sent; the name of a folder's dataset is what the configuration has behind `/app/ai-toolkit/datasets/`".to_owned(),
        })?;
        let folders = parsed.iter().zip(names).map(|((_, path), name)| Folder {
            path: path.clone(),
            name: name.to_owned(),
            scan: ScanOptions {
                name: Some(name.to_owned()),
                caption_ext: caption_ext_for(name, config),
                ..ScanOptions::default()
            },
        });
        Ok(Self { folders: folders.collect() })
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// Returns the names of the datasets.
    pub(super) fn names(&self) -> Vec<String> {
        self.folders.iter().map(|folder| folder.name.clone()).collect()
    }

    /// Checks all folders and compares them with the account, and only then sends them; returns a code other than 0 when
    /// one of them is not READY in the end.
    ///
    /// # Errors
    /// What is wrong with a folder, the account or the API.
    pub(super) async fn send(
        self,
        submission: Submission<'_>,
        target: &Target<'_>,
    ) -> Result<ExitStatus, CommandError> {
        let signals = submission.signals;
        let Some(all) = self.prepare(submission, target).await? else {
            return Ok(signals.status());
        };
        for (prepared, report) in all {
            let pushed = prepared.run(report.clone(), &signals.stop).await;
            report.end();
            let Pushed { exit, .. } = pushed?;
            if exit != ExitStatus::Complete {
                return Ok(exit);
            }
        }
        Ok(ExitStatus::Complete)
    }

    /// Does all of that but the sending; `None` when a signal came.
    ///
    /// # Errors
    /// What is wrong with a folder, the account or the API.
    pub(super) async fn prepare(
        self,
        submission: Submission<'_>,
        target: &Target<'_>,
    ) -> Result<Option<Vec<(Prepared, Arc<PushReport>)>>, CommandError> {
        let Some(checked) = self.check(submission).await? else {
            return Ok(None);
        };
        let signals = submission.signals;
        let listed = read(&target.api, &signals.stop, |api| async move { api.datasets().await }).await?;
        let Some(listed) = listed else { return Ok(None) };
        let mut all = Vec::new();
        for (checked, report) in checked {
            let Some(prepared) = checked.prepare(target, &listed, &report, signals).await? else {
                return Ok(None);
            };
            all.push((prepared, report));
        }
        Ok(Some(all))
    }

    /// Checks all folders, all of them before the first complaint.
    pub(super) async fn check(
        self,
        submission: Submission<'_>,
    ) -> Result<Option<Vec<(Checked, Arc<PushReport>)>>, CommandError> {
        let Submission { context, signals, config, force, events } = submission;
        let paths: Vec<(String, PathBuf)> =
            self.folders.iter().map(|folder| (folder.name.clone(), folder.path.clone())).collect();
        let (mut all, mut first_fault) = (Vec::new(), None);
        for folder in self.folders {
            let report = PushReport::part(context.world, &context.settings, &folder.name, signals, events);
            let companions = companions(&folder, &paths, config)?;
            let against = Against { config, companions: &companions, force };
            match folder.check(context, signals, &report, against).await {
                Ok(None) => return Ok(None),
                Ok(Some(checked)) => all.push((checked, report)),
                Err(fault) => {
                    report.end();
                    first_fault.get_or_insert(fault);
                }
            }
        }
        first_fault.map_or(Ok(Some(all)), Err)
    }
}

/// Lists the folders of control images and masks: those that are typed too, and those beside the folder.
fn companions(
    folder: &Folder,
    typed: &[(String, PathBuf)],
    config: Option<&TrainingConfig>,
) -> Result<Vec<Companion>, CommandError> {
    let Some(config) = config else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in companions_of(&folder.name, config) {
        if let Some((_, path)) = typed.iter().find(|(typed, _)| typed == name) {
            found.push(companion(path, name)?);
        }
    }
    for other in beside(&folder.path, &folder.name, config)? {
        if !found.iter().any(|known| known.name == other.name) {
            found.push(other);
        }
    }
    Ok(found)
}

/// Looks whether the account has the datasets that the configuration names, apart from those that are sent. A list that
/// cannot be had stops nothing, and is not waited for.
///
/// # Errors
/// A dataset that is not there or cannot be trained on, unless `force`: then it is a warning.
pub(super) async fn preflight(
    context: &Context<'_>,
    api: &ApiClient,
    config: Option<&TrainingConfig>,
    sent: &[String],
    force: bool,
) -> Result<(), CommandError> {
    let needed: Vec<&str> = config.map(needed_datasets).unwrap_or_default();
    let needed: Vec<&str> = needed.into_iter().filter(|name| !sent.iter().any(|sent| sent == name)).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let Ok(listed) = api.datasets_soon().await else { return Ok(()) };
    // A list without names says nothing about a name.
    if listed.iter().any(|dataset| dataset.name.is_none()) {
        return Ok(());
    }
    for name in needed {
        let Some(fault) = objection(name, &listed) else { continue };
        if !force {
            return Err(fault);
        }
        context.world.err.line(&format!("warning: {fault}"));
    }
    Ok(())
}

fn objection(name: &str, listed: &[Dataset]) -> Option<CommandError> {
    let Some(found) = listed.iter().find(|dataset| dataset.name.as_deref() == Some(name)) else {
        return Some(unknown(name, listed));
    };
    let name = shown(name);
    match &found.status {
        DatasetStatus::Ready | DatasetStatus::Other(_) => None,
        status => {
            let error =
                found.error.as_deref().map_or_else(String::new, |error| format!(": {}", shown(error)));
            Some(CommandError::Declined {
                why: format!("the dataset `{name}` is {status}{error}; only a READY one can be trained on"),
                next: format!(
                    "nothing was sent; `rcsync dataset status {name}` shows it, and `--dataset {name}=<FOLDER>` sends what is missing first"
                ),
            })
        }
    }
}

/// Says why folders cannot be given their datasets.
fn unassigned(fault: &AssignError) -> String {
    let named = |needed: &[String]| format!("`{}`", needed.join("`, `"));
    match fault {
        AssignError::NoDataset => {
            "the configuration names no dataset: it needs `folder_path: /app/ai-toolkit/datasets/NAME`"
                .to_owned()
        }
        AssignError::Unknown { name, needed } => {
            format!("the configuration names no dataset `{name}`; it names {}", named(needed))
        }
        AssignError::Unnamed { folder, needed } => format!(
            "the configuration names {}, and none of them is the folder `{folder}`: write `--dataset NAME={folder}`",
            named(needed)
        ),
        AssignError::Twice(name) => format!("two folders are for the dataset `{name}`"),
    }
}
