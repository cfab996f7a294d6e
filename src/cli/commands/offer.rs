//! What completion scripts ask for: words of the mirrors in the current folder and in the folders in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::args::Offered;
use crate::cli::process::Process;
use crate::cli::table::natural;
use crate::edge::folder::known::known;
use crate::error::{Error, ExitStatus};
use crate::model::names::sanitize::is_invisible;

/// A shell waits for the answer at each press of the key.
const MOST_FOLDERS: usize = 200;

pub(super) fn run(world: &Process, kind: Offered) -> ExitStatus {
    for word in words(Path::new("."), kind) {
        world.out.line(&word);
    }
    ExitStatus::Complete
}

/// Returns the words, in the order in which people expect them. A mirror that cannot be read has none.
fn words(here: &Path, kind: Offered) -> Vec<String> {
    let mut words = BTreeSet::new();
    for folder in folders(here) {
        match (known(&folder), kind) {
            (Ok(manifest), Offered::Jobs) => {
                words.insert(manifest.job.to_string());
            }
            (Err(Error::NoMirror { job: Some(job), .. }), Offered::Jobs) => {
                words.insert(job.to_string());
            }
            (Ok(manifest), Offered::Steps) => {
                words
                    .extend(manifest.present().iter().filter_map(|(_, entry)| Some(entry.step?.to_string())));
            }
            (Ok(manifest), Offered::Files) => {
                words.extend(manifest.present().iter().map(|(_, entry)| entry.path.as_str().to_owned()));
            }
            (Err(_), _) => {}
        }
    }
    // The shells split at white space, and show the rest as it is.
    let is_plain = |word: &String| !word.contains(|c: char| c.is_whitespace() || is_invisible(c));
    let mut words: Vec<String> = words.into_iter().filter(is_plain).collect();
    words.sort_by(|a, b| natural(a, b));
    words
}

fn folders(here: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(here).into_iter().flatten().filter_map(Result::ok);
    let below = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).take(MOST_FOLDERS);
    std::iter::once(here.to_path_buf()).chain(below).collect()
}
