//! The first pass over a folder whose manifest was lost, or that another folder was copied into.

use std::fs;
use std::path::Path;

use crate::decide::mirror::plan::Action;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::mirror::unlisted::{Situation, candidates, unrecorded};
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::engine::event::{NotAdopted, Notice};
use crate::error::Error;
use crate::model::local::LocalFile;
use crate::model::names::local_name::SAMPLES;
use crate::model::names::rel_path::RelPath;

use super::Run;

/// Names in one notice: enough to see what kind of files they are.
const NAMED: usize = 5;

impl Run {
    /// Records the files that the plan does not handle, as far as `job.json` and `SHA256SUMS` vouch for them, and reports
    /// those that nothing vouches for: once, since the two no longer list them afterwards. Those that cannot be read are
    /// reported by each run until they can. Returns whether all were read.
    pub(super) async fn reclaim(&mut self, looked: &JobSnapshot, actions: &[Action]) -> Result<bool, Error> {
        if self.inspected {
            return Ok(true);
        }
        let (dir, folder) = (self.mirror.dir.clone(), self.folder.clone());
        let names = if folder.is_new {
            let dir = dir.clone();
            let reading = blocking(move || names(&dir));
            reading.await.map_err(lost("look into", &self.mirror.dir))?
        } else {
            Vec::new()
        };
        let (chosen, mut foreign) = {
            // Commits need the lock meanwhile. A manifest that is held while they write would be copied for them.
            let (manifest, lines) = {
                let store = folder.lock();
                (store.manifest().clone(), store.unsettled().clone())
            };
            let situation = Situation {
                job_name: looked.name(),
                actions,
                manifest: &manifest,
                recollections: &folder.recollections,
                lines: &lines,
                lines_are_ours: folder.lines_are_ours,
                rows: &folder.rows_of_lines,
            };
            (candidates(&situation), unrecorded(&situation, names))
        };
        let reclaimed = folder.reclaim(chosen, looked.name(), self.reporter.as_ref(), &self.stop).await?;
        if !reclaimed.is_whole {
            return Ok(false);
        }
        foreign.extend(reclaimed.unrecorded);
        if !foreign.is_empty() || !reclaimed.differing.is_empty() {
            // Without a manifest the next run would report them again.
            let establishing = blocking(move || folder.lock().establish());
            establishing.await.map_err(lost("write", &dir.join(".rcsync")))??;
        }
        let notices = [
            (reclaimed.unreadable, NotAdopted::Unreadable),
            (reclaimed.differing, NotAdopted::Differs),
            (foreign, NotAdopted::Unrecorded),
        ];
        let notices = notices.into_iter().filter(|(paths, _)| !paths.is_empty()).map(|(mut paths, why)| {
            let more = paths.len().saturating_sub(NAMED);
            paths.truncate(NAMED);
            Notice::NotAdopted { paths, more, why }
        });
        for notice in notices {
            self.reported.notice(notice);
        }
        Ok(true)
    }
}

/// Returns the names of the files in DIR and in its folder of samples. A folder that cannot be read has none.
fn names(dir: &Path) -> Vec<RelPath> {
    let below = |folder: &Path, before: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| Some(format!("{before}{}", entry.file_name().to_str()?)));
        names.filter_map(|name| RelPath::parse(&name).ok()).collect::<Vec<_>>()
    };
    let mut names = below(dir, "");
    names.extend(below(&dir.join(SAMPLES), &format!("{SAMPLES}/")));
    names.retain(|path| matches!(disk::look(dir, path.as_str()), Some(LocalFile::File { .. })));
    names
}
