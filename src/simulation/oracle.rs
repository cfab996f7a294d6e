//! What must be true of the folder, whatever happened. The numbers are those of `docs/reliability.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::engine::options::OnChange;
use crate::model::digest::{Sha256Digest, hex};
use crate::model::job::JobId;
use crate::simulator::Simulator;

use super::disk::walk;

/// Files that another program put into the folder, one of them under a name that the trainer uses: not ours to touch.
pub(super) const FOREIGN: [&str; 4] = ["notes.txt", "samples/mine.jpg", "foreign.safetensors", "config.yaml"];

/// Checks one mirror's folder against what the world knows.
pub(super) struct Oracle<'a> {
    pub(super) world: &'a Simulator,
    pub(super) job: &'a JobId,
    pub(super) dir: &'a Path,
    pub(super) on_change: OnChange,
    pub(super) foreign_files: bool,
    /// Whether two mirrors worked side by side, and no later one has come to its end: each of them knows only what it did
    /// itself, so what the other one placed is a foreign file or an edit to it, and is kept as such.
    pub(super) doubled: bool,
    /// Whether that ever was so: what was kept as an edit stays.
    pub(super) ever_doubled: bool,
}

/// What was reported as published, newest last.
pub(super) type Published = Vec<(String, Sha256Digest)>;

impl Oracle<'_> {
    /// Checks everything that holds at every instant.
    pub(super) fn at_any_instant(&self, published: &Published) -> Result<(), String> {
        let truth = self.truth();
        let origin = |name: &str| {
            let edited = name.strip_suffix(".edited").filter(|_| self.ever_doubled);
            bare(edited.and_then(|name| name.rsplit_once('~')).map_or(name, |(name, _)| name))
        };
        let mut hashes: BTreeMap<String, Sha256Digest> = BTreeMap::new();
        for (path, bytes) in walk(self.dir) {
            let Some(bytes) = bytes else { continue };
            let name = path.strip_prefix(self.dir).unwrap_or(&path).to_string_lossy().into_owned();
            self.without_secrets(&name, &bytes)?;
            if name.starts_with(".rcsync/") || name == "SHA256SUMS" || name == "job.json" {
                continue;
            }
            if self.foreign_files && FOREIGN.contains(&name.as_str()) {
                if bytes != foreign(&name) {
                    return Err(format!("I3: the foreign file `{name}` was changed"));
                }
                continue;
            }
            let sha256 = Sha256Digest::new(Sha256::digest(&bytes).into());
            let known = truth.get(&origin(&name)).is_some_and(|versions| versions.contains(&sha256));
            if !known {
                return Err(format!("I1: `{name}` ({} bytes) is no whole version of anything", bytes.len()));
            }
            hashes.insert(name, sha256);
        }
        for name in FOREIGN.iter().filter(|_| self.foreign_files) {
            if !self.dir.join(name).exists() {
                return Err(format!("I3: the foreign file `{name}` is gone"));
            }
        }
        if !self.doubled {
            self.sums_pass(&hashes)?;
        }
        self.nothing_is_lost(&hashes, published)
    }

    fn truth(&self) -> BTreeMap<String, BTreeSet<Sha256Digest>> {
        let mut truth: BTreeMap<String, BTreeSet<Sha256Digest>> = BTreeMap::new();
        for (path, versions) in self.world.truth(self.job) {
            truth.entry(path).or_default().extend(versions.into_iter().map(|version| version.sha256));
        }
        // What a replica had is a whole version too.
        for (path, sha256) in self.world.other_versions(self.job) {
            truth.entry(path).or_default().insert(sha256);
        }
        truth
    }

    fn without_secrets(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        // Random bytes may hold a short word by chance; texts may not.
        let text = !name.ends_with(".safetensors") && !name.ends_with(".part") && !name.ends_with(".pt");
        for secret in [self.world.token().as_bytes(), b"sig=", b"expires="] {
            if text && bytes.windows(secret.len()).any(|window| window == secret) {
                return Err(format!("I7: `{name}` holds `{}`", String::from_utf8_lossy(secret)));
            }
        }
        Ok(())
    }

    fn sums_pass(&self, hashes: &BTreeMap<String, Sha256Digest>) -> Result<(), String> {
        let sums = fs::read_to_string(self.dir.join("SHA256SUMS")).unwrap_or_default();
        for line in sums.lines() {
            let Some((expected, name)) = line.split_once("  ") else {
                return Err(format!("SHA256SUMS has the line `{line}`"));
            };
            match hashes.get(name) {
                Some(found) if found.to_string() == expected => {}
                Some(_) => return Err(format!("SHA256SUMS does not fit `{name}`")),
                None => return Err(format!("SHA256SUMS names `{name}`, which is not here")),
            }
        }
        Ok(())
    }

    fn nothing_is_lost(
        &self,
        hashes: &BTreeMap<String, Sha256Digest>,
        published: &Published,
    ) -> Result<(), String> {
        for (at, (path, sha256)) in published.iter().enumerate() {
            let kept = hashes.values().any(|found| found == sha256);
            // Of the optimizer's state only the newest is kept.
            let is_replaced = self.on_change == OnChange::Replace || path == "optimizer.pt";
            // A state that had another name, since that one was taken, makes room for one that was published later.
            let is_older_state = bare(path) == "optimizer.pt"
                && published[at + 1..].iter().any(|(later, newer)| {
                    bare(later) == "optimizer.pt" && hashes.values().any(|found| found == newer)
                });
            let replaced = (is_replaced && hashes.contains_key(path)) || is_older_state;
            if !kept && !replaced {
                return Err(format!("I4: `{path}` ({}) was published and is lost", sha256.short()));
            }
        }
        Ok(())
    }
}

/// The bytes of a foreign file.
pub(super) fn foreign(name: &str) -> Vec<u8> {
    format!("a foreign {name}").into_bytes()
}

/// The name that a file had before it was put beside another one, perhaps more than once: `x~0123abcd.jpg` was `x.jpg`.
pub(super) fn bare(name: &str) -> String {
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    let mut stem = stem;
    while let Some((before, mark)) = stem.rsplit_once('~')
        && mark.len() == 8
        && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        stem = before;
    }
    let dot = if extension.is_empty() { "" } else { "." };
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}{stem}{dot}{extension}")
}

/// Every file below a folder with the hash of its bytes and its time stamp.
pub(super) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (String, std::time::SystemTime)> {
    let files = walk(dir).into_iter();
    files
        .filter_map(|(path, bytes)| {
            let modified = fs::metadata(&path).ok()?.modified().ok()?;
            Some((path, (hex(&Sha256::digest(bytes?)), modified)))
        })
        .collect()
}
