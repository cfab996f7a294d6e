//! `SHA256SUMS`: what `sha256sum -c` checks.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::error::Error;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{EntryState, Manifest};
use crate::model::names::rel_path::RelPath;

/// Rewrites `SHA256SUMS` where it differs: every file that should be in DIR and `listed` keeps.
pub(crate) fn write_sums(
    dir: &Path,
    manifest: &Manifest,
    listed: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let mut lines: Vec<(&RelPath, &Sha256Digest)> = Vec::new();
    for entry in manifest.entries.values() {
        if entry.state == EntryState::Present {
            lines.push((&entry.path, &entry.sha256));
        }
        lines.extend(entry.older.iter().map(|older| (&older.path, &older.sha256)));
    }
    lines.retain(|(path, _)| listed(path.as_str()));
    lines.sort();
    lines.dedup();
    let path = dir.join("SHA256SUMS");
    if lines.is_empty() && !path.exists() {
        return Ok(());
    }
    disk::replace_if_changed(&path, &dir.join(PRIVATE), |text| {
        // Pieces of a line are gathered here: each would be a call of its own.
        let mut text = BufWriter::new(text);
        lines.iter().try_for_each(|(path, sha256)| writeln!(text, "{sha256}  {path}"))?;
        text.flush()
    })
}
