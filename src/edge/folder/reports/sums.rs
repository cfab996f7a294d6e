//! `SHA256SUMS`: what `sha256sum -c` checks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use crate::edge::folder::manifest_store::{PRIVATE, Store};
use crate::edge::system::disk::{self, Durability};
use crate::error::Error;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::EntryState;
use crate::model::names::rel_path::RelPath;

/// A list larger than this was not written by us: 50,000 lines with long names take some 10 MB.
const LIST_BOUND: u64 = 256 << 20;

/// Rewrites `SHA256SUMS` where it differs: every file that should be in DIR, and what is not settled yet, as far as
/// `listed` keeps it. A file that was deleted here has no line until it is here again. After a power cut the list is the old or the new one until the folder is flushed.
pub(crate) fn write_sums(dir: &Path, store: &Store, listed: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut lines: Vec<(&RelPath, &Sha256Digest)> = Vec::new();
    for entry in store.manifest().entries.values() {
        if entry.state == EntryState::Present {
            lines.push((&entry.path, &entry.sha256));
        }
        lines.extend(entry.older.iter().map(|older| (&older.path, &older.sha256)));
    }
    if !store.unsettled().is_empty() {
        let known: BTreeSet<&RelPath> = store.manifest().paths().collect();
        lines.extend(store.unsettled().iter().filter(|(path, _)| !known.contains(path)));
    }
    let is_gone = |path: &RelPath| store.may_be_gone(path) && disk::is_gone(&path.to_path(dir));
    lines.retain(|(path, _)| listed(path.as_str()) && !is_gone(path));
    lines.sort();
    lines.dedup();
    let path = dir.join("SHA256SUMS");
    if lines.is_empty() && !path.exists() {
        return Ok(());
    }
    let replaced = disk::replace_if_changed(&path, &dir.join(PRIVATE), Durability::Whole, |text| {
        // Pieces of a line are gathered here: each would be a call of its own.
        let mut text = BufWriter::new(text);
        lines.iter().try_for_each(|(path, sha256)| writeln!(text, "{sha256}  {path}"))?;
        text.flush()
    });
    if replaced? {
        store.unflushed().add(dir);
    }
    Ok(())
}

/// Reads the lines of `SHA256SUMS` with a path that `wanted` takes. What is no line of ours is left out, and so is a list
/// that cannot be read.
pub(crate) fn read_sums(dir: &Path, wanted: impl Fn(&str) -> bool) -> BTreeMap<RelPath, Sha256Digest> {
    let Ok(file) = disk::open_regular(&dir.join("SHA256SUMS")) else { return BTreeMap::new() };
    let mut list = BufReader::with_capacity(64 << 10, file.take(LIST_BOUND));
    let (mut lines, mut line) = (BTreeMap::new(), Vec::new());
    loop {
        line.clear();
        match list.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return lines,
            Ok(_) => lines.extend(std::str::from_utf8(&line).ok().and_then(|line| parse(line, &wanted))),
        }
    }
}

/// Reads one line: a digest, a space, a space or a star, a path.
fn parse(line: &str, wanted: impl Fn(&str) -> bool) -> Option<(RelPath, Sha256Digest)> {
    let line = line.trim_end_matches(['\r', '\n']).trim_start_matches('\u{feff}');
    let (digest, path) = line.split_once(' ')?;
    let path = path.strip_prefix([' ', '*'])?;
    wanted(path).then(|| Some((RelPath::parse(path).ok()?, digest.parse().ok()?))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written_and_others_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = |text: &str| RelPath::parse(text).unwrap();
        assert!(read_sums(dir.path(), |_| true).is_empty(), "there is none");
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let odd = [
            format!("{a}  one.jpg"),
            format!("{b} *samples/a b.jpg\r"),
            format!("{a}  ../outside"),
            format!("{a}  known"),
            format!("{}  short", &a[1..]),
            "words".to_owned(),
            String::new(),
        ];
        let mut text = odd.join("\n").into_bytes();
        text.extend(b"\n\xff\xfe\n");
        std::fs::write(dir.path().join("SHA256SUMS"), text).unwrap();
        let read = read_sums(dir.path(), |path| path != "known");
        let expected = [(path("one.jpg"), a.parse().unwrap()), (path("samples/a b.jpg"), b.parse().unwrap())];
        assert_eq!(read, expected.into());
    }
}
