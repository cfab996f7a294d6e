//! Files that an earlier run saw offered and did not get. Where the job offers them no more they are lost, and the run that
//! notices reports it: from cron each look is a run of its own.

use std::collections::HashSet;

use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::job_file::JobArtifact;
use crate::model::listing::Listing;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;

use super::select::Selection;

/// Files that `job.json` has as offered and missing, until a list shows what became of them.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Vec<File>);

#[derive(Debug)]
struct File {
    key: ArtifactKey,
    path: RelPath,
    step: Option<u64>,
}

impl Awaited {
    /// Adds the file of a row, if it was offered and not here.
    pub(crate) fn add(&mut self, row: &JobArtifact) {
        if row.is_awaited() {
            self.0.push(File { key: row.key(), path: row.path().clone(), step: row.step() });
        }
    }

    /// Returns the wanted files that the job offers no more, and forgets all that this list decides about.
    ///
    /// A list in which nothing of a kind is, or not all that the API has (`is_complete`), does not show what the machine has: that
    /// of a machine that just took over is empty. Files of that kind wait for a later list.
    pub(crate) fn vanished(
        &mut self,
        listing: &Listing,
        is_complete: impl Fn(ArtifactKind) -> bool,
        selection: &Selection,
        manifest: &Manifest,
    ) -> Vec<RelPath> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let artifacts = &listing.artifacts;
        let listed: HashSet<ArtifactKind> = artifacts.iter().map(|artifact| artifact.key.kind).collect();
        let is_decided = |file: &File| listed.contains(&file.key.kind) && is_complete(file.key.kind);
        let (decided, waiting): (Vec<File>, Vec<File>) =
            std::mem::take(&mut self.0).into_iter().partition(is_decided);
        self.0 = waiting;
        let keys: HashSet<&ArtifactKey> = artifacts.iter().map(|artifact| &artifact.key).collect();
        // A machine that took over may host the same file under another address.
        let paths: HashSet<&RelPath> = artifacts.iter().map(|artifact| &artifact.path).collect();
        let wanted = selection.of(artifacts);
        let is_gone = |File { key, path, step }: &File| {
            // One that the manifest has came after `job.json` was written, and the run was killed then.
            let is_elsewhere =
                keys.contains(key) || paths.contains(path) || manifest.entries.contains_key(key);
            !is_elsewhere && wanted.has_one(key.kind, path, *step)
        };
        decided.into_iter().filter(is_gone).map(|file| file.path).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use crate::model::artifact::Artifact;
    use crate::model::manifest::examples::{key, manifest};
    use crate::model::source_url::SourceUrl;

    use super::*;

    use ArtifactKind::{Checkpoint, Sample};

    const OLD: &str = "dog_000000250.safetensors";
    const NEW: &str = "dog_000000500.safetensors";
    const PICTURE: &str = "samples/1724085406830__000000250_0.jpg";

    fn step(name: &str) -> Option<u64> {
        [(OLD, 250), (NEW, 500)].into_iter().find(|(known, _)| *known == name).map(|(_, step)| step)
    }

    fn row(kind: ArtifactKind, name: &str, listed: bool, state: &str) -> JobArtifact {
        let (key, path) = (key(kind, name), RelPath::parse(name).unwrap());
        let url = SourceUrl::parse(&format!("https://h{}", key.path)).unwrap();
        let artifact = Artifact { key, path, step: step(name), url, sample: None };
        JobArtifact { listed, state: state.to_owned(), ..JobArtifact::offered(&artifact) }
    }

    fn awaited(rows: &[JobArtifact]) -> Awaited {
        let mut awaited = Awaited::default();
        rows.iter().for_each(|row| awaited.add(row));
        awaited
    }

    /// A list with these files, each under the address that its own name or the other one has.
    fn listing(files: &[(ArtifactKind, &str, &str)]) -> Listing {
        let artifact = |(kind, name, hosted_as): &(ArtifactKind, &str, &str)| {
            let url = SourceUrl::parse(&format!("https://h/output/dog/{hosted_as}")).unwrap();
            let path = RelPath::parse(name).unwrap();
            Artifact { key: key(*kind, hosted_as), path, step: step(name), url, sample: None }.into()
        };
        Listing { artifacts: files.iter().map(artifact).collect(), rejected: Vec::new() }
    }

    #[test]
    fn only_what_was_offered_and_missing_is_awaited() {
        for (listed, state, count) in
            [(true, "missing", 1), (false, "missing", 0), (true, "present", 0), (true, "pruned", 0)]
        {
            assert_eq!(awaited(&[row(Checkpoint, OLD, listed, state)]).0.len(), count, "{listed} {state}");
        }
    }

    #[test]
    fn a_file_vanished_where_a_list_that_shows_its_kind_lacks_it() {
        let all = Selection::default;
        let newest = || all().among(None, NonZeroU32::new(1));
        let pictures = || Selection::new(&[Sample], &[], &[], &[]).unwrap();
        let nothing = || manifest(&[]);
        let old_here = || manifest(&[(Checkpoint, OLD, Some(250))]);
        let new = (Checkpoint, NEW, NEW);
        // What the list has, whether it is complete, what is wanted, what the manifest has: whether the old checkpoint is
        // reported, and whether it is awaited further.
        let rows = [
            (vec![new], true, all(), nothing(), true, false),
            (vec![new, (Checkpoint, OLD, OLD)], true, all(), nothing(), false, false),
            (vec![new, (Checkpoint, OLD, "again/old.safetensors")], true, all(), nothing(), false, false),
            (vec![new], true, all(), old_here(), false, false),
            (vec![new], true, newest(), nothing(), false, false),
            (vec![new], true, pictures(), nothing(), false, false),
            (vec![new], false, all(), nothing(), false, true),
            (vec![], true, all(), nothing(), false, true),
            (vec![(Sample, PICTURE, PICTURE)], true, all(), nothing(), false, true),
        ];
        for (files, is_complete, selection, manifest, vanished, waits) in rows {
            let mut awaited = awaited(&[row(Checkpoint, OLD, true, "missing")]);
            let found = awaited.vanished(&listing(&files), |_| is_complete, &selection, &manifest);
            let about = format!("{files:?} {is_complete} {selection:?}");
            assert_eq!(found.len(), usize::from(vanished), "{about}");
            assert_eq!(awaited.0.len(), usize::from(waits), "{about}");
            let again = awaited.vanished(&listing(&[new]), |_| true, &all(), &nothing());
            assert_eq!(again.len(), usize::from(waits), "{about}");
        }
    }
}
