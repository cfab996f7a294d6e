//! What is at many paths of the mirror: the names of a folder are read at once, so that a file which is not here costs no
//! system call of its own.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use crate::edge::system::disk;
use crate::model::local::LocalFile;
use crate::model::names::collision_key::CollisionKey;
use crate::model::names::rel_path::RelPath;

/// Fewer paths in a folder are looked at one by one.
const WORTH_READING: usize = 8;

/// Looks at many paths below `root`, without following links; names those that are here, with what is there.
pub(crate) fn look_at_each(
    root: &Path,
    paths: impl IntoIterator<Item = RelPath>,
) -> impl Iterator<Item = (RelPath, LocalFile)> {
    let mut folders: BTreeMap<String, Vec<RelPath>> = BTreeMap::new();
    for path in paths {
        let folder = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        match folders.get_mut(folder) {
            Some(paths) => paths.push(path),
            None => {
                folders.insert(folder.to_owned(), vec![path]);
            }
        }
    }
    folders.into_iter().flat_map(move |(folder, mut paths)| {
        if paths.len() >= WORTH_READING {
            // A folder that cannot be read may still have files that can be looked at.
            if let Ok(names) = names_in(&root.join(&folder)) {
                keep_those_that_may_be_here(&mut paths, &names);
            }
        }
        // Neighbours share a look at the folders above them.
        let mut through_link = None;
        let look = |path: RelPath| {
            let found = disk::look_by(root, path.as_str(), || {
                *through_link.get_or_insert_with(|| disk::runs_through_link(root, path.as_str()))
            });
            found.map(|found| (path, found))
        };
        paths.into_iter().filter_map(look).collect::<Vec<_>>()
    })
}

/// Drops paths whose name no file has, on a disk that ignores case and normalisation too.
fn keep_those_that_may_be_here(paths: &mut Vec<RelPath>, names: &HashSet<String>) {
    if names.is_empty() {
        return paths.clear();
    }
    let wanted: HashSet<&str> = paths.iter().map(RelPath::file_name).collect();
    let others = names.iter().filter(|name| !wanted.contains(name.as_str()));
    let others: HashSet<CollisionKey> = others.map(|name| CollisionKey::of(name)).collect();
    paths.retain(|path| {
        let name = path.file_name();
        names.contains(name) || (!others.is_empty() && others.contains(&CollisionKey::of(name)))
    });
}

/// Reads the names in a folder; there are none in one that is not there.
fn names_in(folder: &Path) -> io::Result<HashSet<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    // A name that is no text is not one that a listed file has.
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn paths(folder: &str) -> Vec<RelPath> {
        let name = |at| RelPath::parse(&format!("{folder}{at}.png")).unwrap();
        (0..2 * WORTH_READING).map(name).collect()
    }

    #[test]
    fn the_same_is_seen_as_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("some/3.png")).unwrap();
        for name in ["some/0.png", "some/1.png", "some/other", "4.png", "file"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        #[cfg(unix)]
        {
            fs::write(outside.path().join("2.png"), "").unwrap();
            std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
            std::os::unix::fs::symlink("0.png", dir.path().join("some/7.png")).unwrap();
        }
        let all: Vec<RelPath> =
            ["", "some/", "none/", "file/", "link/"].into_iter().flat_map(paths).collect();
        let one_by_one: BTreeMap<RelPath, LocalFile> = all
            .iter()
            .filter_map(|path| Some((path.clone(), disk::look(dir.path(), path.as_str())?)))
            .collect();
        let at_once: BTreeMap<RelPath, LocalFile> = look_at_each(dir.path(), all).collect();
        assert_eq!(at_once, one_by_one);
        assert!(one_by_one.len() > 2 * WORTH_READING, "what is below a file is looked at");
    }

    /// A disk may find a file by another spelling of its name.
    #[test]
    fn another_spelling_of_a_name_may_be_the_file() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let kept = |here: &[&str]| {
            let mut paths: Vec<RelPath> =
                ["Ä.png", "b.png"].iter().map(|path| RelPath::parse(path).unwrap()).collect();
            keep_those_that_may_be_here(&mut paths, &names(here));
            paths.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[]), Vec::<String>::new());
        assert_eq!(kept(&["SHA256SUMS"]), Vec::<String>::new());
        assert_eq!(kept(&["b.png"]), ["b.png"]);
        assert_eq!(kept(&["B.PNG", "A\u{308}.png"]), ["Ä.png", "b.png"]);
    }
}
