//! What the comparison shows, put in order: a pure view of several albums.

use std::collections::{BTreeMap, HashMap};

use super::super::album::{Album, Shot};
use super::settings::{Difference, Settings, differences};

/// One mirror on the page.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Its folder below ROOT, with `/` between parts.
    pub(super) below: &'a str,
    pub(super) album: &'a Album<'a>,
    pub(super) settings: &'a Settings,
    /// Whether the mirror has a gallery of its own to link to.
    pub(super) has_page: bool,
}

/// Everything on the page.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    pub(super) runs: Vec<Run<'a>>,
    /// Names of the runs; where two have one name, their folders follow.
    pub(super) names: Vec<String>,
    /// One row a prompt.
    pub(super) rows: Vec<Row<'a>>,
    pub(super) differences: Vec<Difference<'a>>,
}

/// One prompt and what each run drew for it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) text: Option<&'a str>,
    /// For each run its samples, oldest step first; those without a step first of all.
    pub(super) cells: Vec<Vec<(Option<u64>, &'a Shot<'a>)>>,
}

impl<'a> Comparison<'a> {
    /// Puts everything in order. Prompts of two runs are one row where their texts, or without texts their numbers, are
    /// equal.
    pub(super) fn new(runs: Vec<Run<'a>>) -> Self {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut known: HashMap<(Option<&str>, usize), usize> = HashMap::new();
        for (at, run) in runs.iter().enumerate() {
            let mut seen: BTreeMap<Option<&str>, usize> = BTreeMap::new();
            for prompt in &run.album.prompts {
                // The n-th prompt of one text: a configuration may draw one prompt twice, with two seeds.
                let count = seen.entry(prompt.text).or_default();
                let row = *known.entry((prompt.text, *count)).or_insert_with(|| {
                    rows.push(Row { text: prompt.text, cells: Vec::new() });
                    rows.len() - 1
                });
                *count += 1;
                rows[row].cells.resize_with(at + 1, Vec::new);
                let cell = &mut rows[row].cells[at];
                cell.extend(prompt.stepless.iter().map(|shot| (None, shot)));
                for (step, shots) in &prompt.shots {
                    // A step that was trained again is drawn again: the newest counts.
                    cell.extend(shots.last().map(|shot| (Some(*step), shot)));
                }
            }
        }
        for row in &mut rows {
            row.cells.resize_with(runs.len(), Vec::new);
        }
        let settings: Vec<&Settings> = runs.iter().map(|run| run.settings).collect();
        Self { names: names(&runs), differences: differences(&settings), rows, runs }
    }
}

fn names(runs: &[Run<'_>]) -> Vec<String> {
    let name = |run: &Run<'_>| super::super::page::title(run.album).to_owned();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for run in runs {
        *count.entry(name(run)).or_default() += 1;
    }
    let unique = |run: &Run<'_>| {
        let name = name(run);
        if count[&name] > 1 && name != run.below { format!("{name} ({})", run.below) } else { name }
    };
    runs.iter().map(unique).collect()
}
