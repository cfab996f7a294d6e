//! What completion scripts ask for: words of the mirrors in the current folder and in the folders in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::args::Offered;
use crate::cli::process::Process;
use crate::cli::table::natural;
use crate::engine::destination::folder::known;
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
    let mut words: Vec<String> = words.into_iter().filter(|word| is_plain(word)).collect();
    words.sort_by(|a, b| natural(a, b));
    words
}

/// Whether a shell finds nothing to do in a word. Some shells put it into the command line without quotes, where a name such as
/// `$(reboot)`, which any folder here may have in its records, would be run.
fn is_plain(word: &str) -> bool {
    let is_safe = |c: char| (c.is_alphanumeric() && !is_invisible(c)) || "._-/+@,~".contains(c);
    word.chars().all(is_safe) && !word.starts_with(['-', '+', '@', ',', '~'])
}

fn folders(here: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(here).into_iter().flatten().filter_map(Result::ok);
    let below = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).take(MOST_FOLDERS);
    std::iter::once(here.to_path_buf()).chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_has_anything_for_a_shell_in_it() {
        for word in [
            "dog_000000250.safetensors",
            "samples/1__0_0.jpg",
            "dog~1a2b.pt",
            "犬/é.png",
            "c84e-1",
            "a,b+c@d",
        ] {
            assert!(is_plain(word), "{word}");
        }
        for word in [
            "$(touch${IFS}pwned)",
            "`reboot`",
            "a;reboot",
            "a|b",
            "a&b",
            "a>b",
            "a<b",
            "a b",
            "a\tb",
            "a\nb",
            "$HOME",
            "~root",
            "-rf",
            "@a",
            "!!",
            "a'b",
            "a\"b",
            "a\\b",
            "*",
            "a?",
            "[a]",
            "{a,b}",
            "#a",
            "a=b",
            "a:b",
            "%1",
            "^a",
            "a\u{3164}",
        ] {
            assert!(!is_plain(word), "{word}");
        }
    }
}
