//! `rcsync dataset ls`, `status` and `rm`: the datasets of the account.

use serde::Serialize;

use crate::cli::args::{DatasetRemove, DatasetStatusOf};
use crate::cli::backend;
use crate::cli::command_error::CommandError;
use crate::cli::commands::{Context, wait_for};
use crate::cli::config::Talk;
use crate::cli::exit::Signals;
use crate::cli::format::{files, shown};
use crate::cli::suggest::nearest;
use crate::cli::table::{Column, table};
use crate::decide::datasets::FilePatterns;
use crate::decide::datasets::push::ready::{Difference, Expected, difference};
use crate::edge::api::ApiClient;
use crate::edge::records::push_journal::forget;
use crate::engine::datasets::asking::read;
use crate::engine::datasets::scan::{ScanOptions, sizes};
use crate::error::{ApiError, ExitStatus};
use crate::model::dataset::{Dataset, DatasetId, DatasetStatus};
use crate::model::units::ByteCount;

use super::check::own_name;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: Option<&'a str>,
    status: &'a str,
    created_at: Option<&'a str>,
    updated_at: Option<&'a str>,
    error: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(dataset: &'a Dataset) -> Self {
        Self {
            id: dataset.id.as_str(),
            name: dataset.name.as_deref(),
            status: dataset.status.as_str(),
            created_at: dataset.created_at.as_deref(),
            updated_at: dataset.updated_at.as_deref(),
            error: dataset.error.as_deref(),
        }
    }
}

pub(super) fn ls(context: &Context<'_>) -> Result<ExitStatus, CommandError> {
    #[derive(Serialize)]
    struct Document<'a> {
        datasets: Vec<Row<'a>>,
    }
    let base = backend::api_base(context.world)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals| async move {
        let Some(all) = read(&api, &signals.stop, |api| async move { api.datasets().await }).await? else {
            return Ok(signals.status());
        };
        let document = Document { datasets: all.iter().map(Row::of).collect() };
        context.answer(&document, || {
            let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), shown);
            let row = |dataset: &Dataset| {
                vec![
                    text(dataset.name.as_deref()),
                    shown(dataset.status.as_str()),
                    text(dataset.updated_at.as_deref().or(dataset.created_at.as_deref())),
                    shown(dataset.id.as_str()),
                ]
            };
            let columns = [
                Column::left("NAME"),
                Column::left("STATUS"),
                Column::left("CHANGED").goes(1),
                Column::left("ID").goes(2),
            ];
            table(&columns, all.iter().map(row).collect(), context.room())
        });
        if all.is_empty() && context.settings.talk > Talk::Quiet {
            context.world.err.line("the account has no dataset; `rcsync dataset push <FOLDER>` makes one");
        }
        Ok(ExitStatus::Complete)
    })
}

pub(super) fn status(context: &Context<'_>, typed: &DatasetStatusOf) -> Result<ExitStatus, CommandError> {
    let base = backend::api_base(context.world)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let local = typed.against.as_deref().map(|folder| -> Result<_, CommandError> {
        let files = FilePatterns::new(&typed.files.include, &typed.files.exclude).map_err(|error| {
            CommandError::misused(error.to_string(), "`rcsync help datasets` has examples")
        })?;
        let options = ScanOptions { name: Some(own_name(folder)?), files, ..ScanOptions::default() };
        Ok(sizes(folder, &options)?)
    });
    let local = local.transpose()?;
    wait_for(context.world, |signals| async move {
        let Some(found) = find(&api, &signals, &typed.dataset).await? else { return Ok(signals.status()) };
        let asked = read(&api, &signals.stop, |api| {
            let id = found.id.clone();
            async move { api.dataset(&id).await }
        });
        let Some(mut dataset) = asked.await? else { return Ok(signals.status()) };
        dataset.name = dataset.name.or(found.name);
        let inventory = dataset.files.clone().unwrap_or_default();
        let compared = local.map(|local| difference(&local.into_iter().collect::<Expected>(), &inventory));
        context.answer(&document(&dataset, compared.as_ref()), || words(&dataset, compared.as_ref()));
        let differs = compared.is_some_and(|difference| !difference.is_empty());
        Ok(if differs { ExitStatus::Negative } else { ExitStatus::Complete })
    })
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    files: Option<Vec<File<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    size_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Against<'a> {
    equal: bool,
    missing: &'a [String],
    other_length: Vec<OtherLength<'a>>,
    foreign: &'a [String],
}

#[derive(Serialize)]
struct OtherLength<'a> {
    filename: &'a str,
    folder: u64,
    dataset: u64,
}

fn document<'a>(dataset: &'a Dataset, compared: Option<&'a Difference>) -> Document<'a> {
    let file =
        |file: &'a crate::model::dataset::RemoteFile| File { filename: &file.name, size_bytes: file.size };
    Document {
        row: Row::of(dataset),
        files: dataset.files.as_ref().map(|files| files.iter().map(file).collect()),
        against: compared.map(|difference| Against {
            equal: difference.is_empty(),
            missing: &difference.missing,
            other_length: difference
                .lengths
                .iter()
                .map(|(filename, folder, dataset)| OtherLength {
                    filename,
                    folder: *folder,
                    dataset: *dataset,
                })
                .collect(),
            foreign: &difference.foreign,
        }),
    }
}

fn words(dataset: &Dataset, compared: Option<&Difference>) -> String {
    let name = dataset.name.as_deref().map_or_else(|| shown(dataset.id.as_str()), shown);
    let mut text = format!("{name}  {}", shown(dataset.status.as_str()));
    if let Some(list) = &dataset.files {
        let bytes = list.iter().filter_map(|file| file.size).sum();
        text += &format!("  {}, {}", files(list.len() as u64), ByteCount(bytes));
    }
    text += &format!("\nid: {}\n", shown(dataset.id.as_str()));
    if let Some(error) = &dataset.error {
        text += &format!("error: {}\n", shown(error));
    }
    let Some(difference) = compared else { return text };
    if difference.is_empty() {
        text += "the folder has the same files, by name and length\n";
    }
    for name in &difference.missing {
        text += &format!("missing  {}\n", shown(name));
    }
    for (name, folder, dataset) in &difference.lengths {
        text +=
            &format!("differs  {}  {folder} bytes in the folder, {dataset} in the dataset\n", shown(name));
    }
    for name in &difference.foreign {
        text += &format!("foreign  {}  (not in the folder)\n", shown(name));
    }
    if let Some(next) = next_step(difference, &name) {
        text += &format!("next: {next}\n");
    }
    text
}

/// Returns what makes folder and dataset equal. No push does while the dataset has files that the folder lacks.
fn next_step(difference: &Difference, name: &str) -> Option<String> {
    if !difference.foreign.is_empty() {
        return Some(format!(
            "`rcsync dataset rm {name}` deletes the whole dataset, so that a push makes it anew; or push the folder \
             under another `--name`"
        ));
    }
    (!difference.is_empty())
        .then(|| format!("`rcsync dataset push <FOLDER> --name {name}` sends what is missing or differs"))
}

pub(super) fn rm(context: &Context<'_>, typed: &DatasetRemove) -> Result<ExitStatus, CommandError> {
    context.refuse_dry_run("`dataset rm`")?;
    let base = backend::api_base(context.world)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals| async move {
        let Some(found) = find(&api, &signals, &typed.dataset).await? else { return Ok(signals.status()) };
        let name = found.name.as_deref().map_or_else(|| shown(found.id.as_str()), shown);
        if !typed.yes && !confirm(context, &found, &name)? {
            context.world.err.line("nothing was deleted");
            return Ok(ExitStatus::Negative);
        }
        let deleted = read(&api, &signals.stop, |api| {
            let id = found.id.clone();
            async move {
                match api.delete_dataset(&id).await {
                    // A try whose answer was lost may have done it.
                    Err(ApiError::UnknownDataset { .. }) => Ok(()),
                    answer => answer,
                }
            }
        });
        if deleted.await?.is_none() {
            return Ok(signals.status());
        }
        if let Some(folder) = context.world.state_folder() {
            forget(&folder.join("push"), &api.origin(), &found.id);
        }
        #[derive(Serialize)]
        struct Deleted<'a> {
            deleted: bool,
            id: &'a str,
            name: Option<&'a str>,
        }
        let document = Deleted { deleted: true, id: found.id.as_str(), name: found.name.as_deref() };
        context.answer(&document, || format!("{name}  deleted\n"));
        Ok(ExitStatus::Complete)
    })
}

/// Asks whether the dataset is to be deleted.
///
/// # Errors
/// When there is no terminal to answer on; then nothing is asked.
fn confirm(context: &Context<'_>, dataset: &Dataset, name: &str) -> Result<bool, CommandError> {
    let question = format!(
        "delete the dataset `{name}` ({}, {}) and all its files for good? [y/N] ",
        shown(dataset.id.as_str()),
        shown(dataset.status.as_str())
    );
    let Some(answer) = (context.world.answer)(&context.world.err, &question) else {
        return Err(CommandError::misused(
            "`dataset rm` asks, and there is no terminal to answer on",
            "nothing was deleted; `--yes` deletes without asking",
        ));
    };
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Finds a dataset by its name or id; `None` when a signal came.
async fn find(api: &ApiClient, signals: &Signals, text: &str) -> Result<Option<Dataset>, CommandError> {
    let listed = read(api, &signals.stop, |api| async move { api.datasets().await });
    let Some(listed) = listed.await? else { return Ok(None) };
    let by_name = listed.iter().find(|dataset| dataset.name.as_deref() == Some(text));
    let by_id = || listed.iter().find(|dataset| dataset.id.as_str().eq_ignore_ascii_case(text));
    if let Some(found) = by_name.or_else(by_id) {
        return Ok(Some(found.clone()));
    }
    // An id that the list does not have, of an account with more datasets than the list.
    if is_uuid(text)
        && let Ok(id) = text.parse::<DatasetId>()
    {
        return Ok(Some(Dataset {
            id,
            name: None,
            status: DatasetStatus::Other("UNKNOWN".into()),
            error: None,
            files: None,
            created_at: None,
            updated_at: None,
        }));
    }
    Err(unknown(text, &listed))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Says that there is no such dataset, and which one may be meant.
pub(in crate::cli::commands) fn unknown(name: &str, listed: &[Dataset]) -> CommandError {
    let names = listed.iter().filter_map(|dataset| dataset.name.as_deref());
    let near =
        nearest(name, names).map_or_else(String::new, |near| format!("; did you mean `{}`?", shown(near)));
    CommandError::Declined {
        why: format!("the account has no dataset `{}`{near}", shown(name)),
        next: "nothing was sent; `rcsync dataset ls` lists those that there are, and `rcsync dataset push <FOLDER>` makes one".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_is_one_that_can_work() {
        let missing = Difference { missing: vec!["a.png".to_owned()], ..Difference::default() };
        let foreign = Difference { foreign: vec!["b.png".to_owned()], ..missing.clone() };
        assert_eq!(next_step(&Difference::default(), "dog"), None);
        assert!(next_step(&missing, "dog").unwrap().starts_with("`rcsync dataset push <FOLDER> --name dog`"));
        assert!(next_step(&foreign, "dog").unwrap().starts_with("`rcsync dataset rm dog` deletes"));
    }
}
