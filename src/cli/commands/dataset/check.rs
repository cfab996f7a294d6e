//! `rcsync dataset check`: would AI Toolkit train on this folder?

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::args::DatasetCheck;
use crate::cli::command_error::CommandError;
use crate::cli::commands::{Context, wait_for};
use crate::cli::config::Talk;
use crate::cli::exit::Signals;
use crate::cli::findings::{Findings, verdict};
use crate::cli::format::{columns, counted, shown};
use crate::cli::local_folder::ensure_folder;
use crate::cli::reporters::view::CheckView;
use crate::cli::reporters::words as sentences;
use crate::cli::table::natural;
use crate::cli::training_file::TrainingFile;
use crate::cli::values::Format;
use crate::decide::datasets::{
    Code, Companion, Counts, FilePatterns, Finding, Report, Scan, Severity, caption_ext_for, check_with,
    companions_of, name_for,
};
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::datasets::scan::{ScanOptions, companion, scan};
use crate::error::ExitStatus;
use crate::model::training_config::TrainingConfig;
use crate::model::units::ByteCount;

/// How many warnings of one kind are shown; JSON has all, and so has `--verbose`.
const SHOWN_WARNINGS: usize = 20;

pub(super) fn run(context: &Context<'_>, typed: &DatasetCheck) -> Result<ExitStatus, CommandError> {
    let config =
        typed.config.as_deref().map(|path| TrainingFile::read(context.world, path)?.config()).transpose()?;
    let files = FilePatterns::new(&typed.files.include, &typed.files.exclude)
        .map_err(|error| CommandError::misused(error.to_string(), "`rcsync help datasets` has examples"))?;
    let own_name = own_name(&typed.folder)?;
    let name = match (&typed.name, &config) {
        (Some(name), _) => name.clone(),
        (None, Some(config)) => name_for(&own_name, config),
        (None, None) => own_name,
    };
    let of_config = || config.as_ref().and_then(|config| caption_ext_for(&name, config));
    let caption_ext = typed.files.caption_ext.clone().or_else(of_config);
    let options = ScanOptions { name: Some(name), caption_ext, files };
    let found = wait_for(context.world, |signals| async move {
        let ended = signals.clone();
        let scanned = scan_folder(context, &typed.folder, options, signals);
        Ok(match ended.unless_ended(scanned).await {
            Some(scanned) => scanned?.ok_or_else(|| ended.status()),
            None => Err(ended.status()),
        })
    })?;
    let scan = match found {
        Ok(scan) => scan,
        Err(interrupted) => return Ok(interrupted),
    };
    let companions = match &config {
        Some(config) => beside(&typed.folder, &scan.name, config)?,
        None => Vec::new(),
    };
    let report = check_with(&scan, config.as_ref(), &companions);
    show(context, &typed.folder, &scan, &report);
    Ok(if report.errors() == 0 { ExitStatus::Complete } else { ExitStatus::BadData })
}

pub(super) async fn scan_folder(
    context: &Context<'_>,
    folder: &Path,
    options: ScanOptions,
    signals: Signals,
) -> Result<Option<Scan>, CommandError> {
    let path = folder.to_path_buf();
    let name = options.name.clone().unwrap_or_else(|| folder.display().to_string());
    let view = Arc::new(CheckView::new(context.world, &context.settings, &name));
    let drawn = view.clone();
    let on_progress = move |progress| {
        drawn.show(progress);
        if signals.is_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let scanned = blocking(move || scan(&path, &options, &on_progress)).await;
    view.end();
    Ok(scanned.map_err(lost("read", folder))??)
}

/// Lists the folders of control images and masks, where they are beside the folder under their datasets' names.
pub(in crate::cli::commands) fn beside(
    folder: &Path,
    name: &str,
    config: &TrainingConfig,
) -> Result<Vec<Companion>, CommandError> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let Some(parent) = whole.parent() else { return Ok(Vec::new()) };
    let there = companions_of(name, config).into_iter().map(|name| (name, parent.join(name)));
    there.filter(|(_, folder)| folder.is_dir()).map(|(name, folder)| Ok(companion(&folder, name)?)).collect()
}

#[derive(Serialize)]
struct Document<'a> {
    folder: String,
    name: &'a str,
    #[serde(flatten)]
    findings: Findings<'a>,
}

fn show(context: &Context<'_>, folder: &Path, scan: &Scan, report: &Report) {
    let document = Document {
        folder: folder.to_string_lossy().into_owned(),
        name: &scan.name,
        findings: Findings::of(report),
    };
    if context.settings.format == Format::Pretty && context.settings.talk == Talk::Quiet {
        let errors: Vec<&Finding> =
            report.findings.iter().filter(|it| it.severity() == Severity::Error).collect();
        context.world.out.write(&listed(&errors, usize::MAX));
        return;
    }
    let shown_warnings = if context.settings.talk == Talk::Verbose { usize::MAX } else { SHOWN_WARNINGS };
    context.answer(&document, || words(scan, report, shown_warnings));
}

fn words(scan: &Scan, report: &Report, shown_warnings: usize) -> String {
    let findings: Vec<&Finding> = report.findings.iter().collect();
    let mut text = listed(&findings, shown_warnings);
    let Counts { pictures, clips, sounds, captions, bytes, skipped, .. } = report.counts;
    let parts = [(pictures, "picture"), (clips, "clip"), (sounds, "sound"), (captions, "caption")];
    let mut parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| counted(*count, word)).collect();
    if parts.is_empty() {
        parts.push("nothing to train on".to_owned());
    }
    let mut sum = format!("{}, {}", parts.join(", "), ByteCount(bytes));
    if skipped > 0 {
        sum += &format!(" ({skipped} hidden or made by other programs, passed over)");
    }
    text += &format!("{}: {sum}: {}\n", shown(&scan.name), verdict(report));
    text
}

/// Returns the name that a folder has on the command line: its own.
pub(in crate::cli::commands) fn own_name(folder: &Path) -> Result<String, CommandError> {
    ensure_folder(folder, "a dataset is made of")?;
    Ok(crate::engine::datasets::scan::folder_name(folder)?)
}

/// Returns the findings as lines: those of one kind and cure together, the cure once below them.
pub(super) fn listed(findings: &[&Finding], shown_warnings: usize) -> String {
    let mut text = String::new();
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let fits =
            |group: &&mut Vec<&Finding>| group[0].code == finding.code && group[0].cure == finding.cure;
        match groups.iter_mut().rev().find(fits) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    for mut group in groups {
        group.sort_by(|a, b| natural(&a.path, &b.path));
        let first = group[0];
        let (kind, most) = match first.severity() {
            Severity::Error => ("error", usize::MAX),
            Severity::Warning => ("warning", shown_warnings),
        };
        text += &format!("{kind}: {}\n", title(first.code));
        let width = group.iter().take(most).map(|it| columns(&shown(&it.path))).max().unwrap_or(0).min(40);
        for finding in group.iter().take(most) {
            let path = shown(&finding.path);
            let padding = " ".repeat(width.saturating_sub(columns(&path)));
            text += &format!("  {path}{padding}  {}\n", shown(&finding.what));
        }
        if group.len() > most {
            text += &format!("  … and {} more (`--verbose` lists all)\n", group.len() - most);
        }
        text += &format!("  fix: {}\n", shown(&sentences::cure(&first.cure)));
    }
    text
}

/// Returns what findings of a kind are about.
const fn title(code: Code) -> &'static str {
    match code {
        Code::NoMedia => "there is nothing to train on",
        Code::DatasetName => "the dataset's name",
        Code::EmptyMedia => "empty files",
        Code::BrokenMedia => "broken pictures, clips or sounds",
        Code::Unreadable => "files that cannot be read",
        Code::CaptionEncoding => "captions that are not UTF-8",
        Code::CaptionJson => "captions that are not JSON",
        Code::SameStem => "two files for one caption",
        Code::SameName => "two files of one name",
        Code::Subfolder => "folders in the folder",
        Code::NameEncoding => "names that are not UTF-8",
        Code::NotInConfig => "the configuration has another dataset",
        Code::CaptionExtension => "the extension of captions",
        Code::UnusedKind => "files that AI Toolkit does not use",
        Code::NoCaption => "no caption",
        Code::NoPicture => "captions without a picture or clip",
        Code::BlankCaption => "empty captions",
        Code::CaptionMark => "captions with a byte-order mark",
        Code::ClipsUnused => "clips that are not used",
        Code::NoTriggerWord => "`[trigger]` without a trigger word",
        Code::OddName => "names with blanks or special characters",
        Code::WrongExtension => "extensions of another format",
        Code::SameBytes => "the same bytes twice",
        Code::SmallPicture => "small pictures",
        Code::NoCompanion => "no control image, mask or the like",
        Code::UnusedCompanion => "control images, masks or the like without a picture",
    }
}
