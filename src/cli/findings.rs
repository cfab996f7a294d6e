//! What a check of a folder found: as JSON, and as a count in words.

use serde::Serialize;

use crate::cli::format::counted;
use crate::cli::reporters::words as sentences;
use crate::decide::datasets::{Code, Counts, Finding, Report, Severity};

/// What a check found, as JSON has it.
#[derive(Serialize)]
pub(crate) struct Findings<'a> {
    errors: usize,
    warnings: usize,
    #[serde(flatten)]
    counts: Counts,
    findings: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    severity: Severity,
    code: Code,
    path: &'a str,
    what: &'a str,
    cure: String,
}

impl<'a> Findings<'a> {
    pub(crate) fn of(report: &'a Report) -> Self {
        let row = |finding: &'a Finding| {
            let Finding { code, path, what, cure } = finding;
            Row { severity: finding.severity(), code: *code, path, what, cure: sentences::cure(cure) }
        };
        Self {
            errors: report.errors(),
            warnings: report.warnings(),
            counts: report.counts,
            findings: report.findings.iter().map(row).collect(),
        }
    }
}

/// Returns how many errors and warnings there are, in words.
pub(crate) fn verdict(report: &Report) -> String {
    let parts = [(report.errors(), "error"), (report.warnings(), "warning")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| counted(*count as u64, word))
        .collect();
    if parts.is_empty() { "nothing is wrong".to_owned() } else { parts.join(", ") }
}
