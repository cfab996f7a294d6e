//! One look: what is missing is staged, recorded, renamed into place; what has to go goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::decide::comfyui::loras;
use crate::decide::comfyui::loras::{Lora, Loras, Part};
use crate::decide::comfyui::placing::{Naming, Standing, kept_steps, places, standing};
use crate::decide::mirror::reported::is_news;
use crate::edge::folder::hashing::{is_as_published, sha256_of};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::edge::system::link::{Linked, link};
use crate::engine::event::{ComfyNotice, Event, Notice, Reporter};
use crate::error::Error;
use crate::model::job::JobId;
use crate::model::local::LocalFile;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;
use crate::model::placement::{Placed, PlacedState, What};
use crate::model::weights_kind::WeightsKind;

use super::record::Held;
use super::{ComfyUi, Outcome, running};

/// Everything one look depends on.
pub(super) struct Placing<'a> {
    pub(super) comfy: &'a ComfyUi,
    pub(super) dir: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) job: &'a JobId,
    pub(super) name: Option<&'a str>,
    pub(super) subdir: Option<&'a RelPath>,
    /// Whether this is the last look of the run.
    pub(super) is_last: bool,
    pub(super) reporter: &'a dyn Reporter,
}

/// One look in progress.
pub(super) struct Work<'a> {
    pub(super) on: &'a Placing<'a>,
    pub(super) root: &'a Path,
    pub(super) held: Held,
    pub(super) outcome: Outcome,
    new: Vec<RelPath>,
}

/// A LoRA and the places of its files, with what is there.
pub(super) struct Seat<'a> {
    pub(super) lora: &'a Lora<'a>,
    pub(super) files: Vec<(Part<'a>, RelPath, Standing)>,
}

/// A file that has its bytes, and not yet its name.
struct Staged<'a> {
    path: PathBuf,
    /// `None` where DIR has not got the bytes any more.
    linked: Option<Linked>,
    part: Part<'a>,
    to: RelPath,
}

impl Placing<'_> {
    pub(super) fn run(&self) -> Result<Outcome, Error> {
        let options = &self.comfy.options;
        if loras::candidates(self.manifest, options.weights).next().is_none() {
            return Ok(Outcome::default());
        }
        let folder = &options.folder;
        let embeddings = folder.embeddings.as_deref().filter(|root| root.is_dir());
        let placed = Held::peek(self.dir, &folder.path);
        let embedded = embeddings.map(|root| Held::peek(self.dir, root)).unwrap_or_default();
        let placed = [(&placed, WeightsKind::Lora), (&embedded, WeightsKind::Embedding)];
        let kinds = self.comfy.headers.kinds(self.dir, self.manifest, options.weights, &placed);
        let found = loras::find(self.manifest, self.name, options.weights, &kinds);
        self.report_not_placed(&found, embeddings)?;
        let mut outcome = Outcome {
            halves: found.halves.len() as u64,
            unsettled: found.unread.len() as u64,
            ..Outcome::default()
        };
        let anew = self.comfy.anew.load(Ordering::Relaxed);
        if !found.whole.is_empty() {
            let root = self.comfy.enter()?;
            let (here, new) = self.fill(root, &found.whole, anew)?;
            outcome.add(here);
            if let Some(url) = &options.url
                && !new.is_empty()
            {
                running::ask(url, root, &new, self.reporter);
            }
        }
        if let Some(root) = embeddings
            && !found.embeddings.is_empty()
        {
            outcome.add(self.fill(root, &found.embeddings, anew)?.0);
        }
        self.comfy.anew.store(false, Ordering::Relaxed);
        Ok(outcome)
    }

    /// Places what belongs below one folder; returns the files that are new there as well.
    fn fill(&self, root: &Path, whole: &[Lora<'_>], anew: bool) -> Result<(Outcome, Vec<RelPath>), Error> {
        let held = Held::take(self.dir, root)?;
        let mut work = Work { on: self, root, held, outcome: Outcome::default(), new: Vec::new() };
        if anew {
            work.forget_withdrawn();
        }
        let result = work.run(whole);
        // Whatever happened, what is known of it is kept.
        work.held.save()?;
        result?;
        Ok((work.outcome, work.new))
    }

    /// Reports once what is not placed.
    fn report_not_placed(&self, found: &Loras<'_>, embeddings: Option<&Path>) -> Result<(), Error> {
        let mut notices = Vec::new();
        for (part, kind) in &found.others {
            notices.push(ComfyNotice::NotALora { path: part.entry.path.clone(), kind: *kind });
        }
        if embeddings.is_none() {
            for lora in &found.embeddings {
                notices.push(ComfyNotice::NoFolderForEmbedding(lora.files[0].entry.path.clone()));
            }
        }
        // While a run continues, its trainer may still be writing the other half.
        for half in found.halves.iter().filter(|_| self.is_last) {
            notices.push(ComfyNotice::HalfOfPair(half.entry.path.clone()));
        }
        if notices.is_empty() {
            return Ok(());
        }
        let root = &self.comfy.options.folder.path;
        let held = Held::take(self.dir, root)?;
        let mut work = Work { on: self, root, held, outcome: Outcome::default(), new: Vec::new() };
        notices.into_iter().for_each(|notice| work.report_once(notice));
        work.held.save()
    }
}

impl<'a> Work<'a> {
    fn run(&mut self, whole: &'a [Lora<'a>]) -> Result<(), Error> {
        let keep = self.on.comfy.options.keep;
        let kept = keep.map(|keep| kept_steps(whole, &self.held.placements.files, keep));
        let stays = |step: Option<u64>| match (&kept, step) {
            (Some(kept), Some(step)) => kept.contains(&step),
            _ => true,
        };
        let mut seats = Vec::new();
        for lora in whole.iter().filter(|lora| stays(lora.step)) {
            seats.extend(self.seat(lora)?);
        }
        if !self.held.placements.files.is_empty() || seats.iter().any(Seat::is_wanting) {
            let known: BTreeSet<PathBuf> = self
                .held
                .placements
                .files
                .iter()
                .map(|placed| disk::parent(&placed.to.to_path(self.root)).to_path_buf())
                .chain([self.folder()])
                .collect();
            known.iter().for_each(|folder| self.held.sweep(folder));
        }
        self.intend(&seats)?;
        let mut trouble = None;
        for seat in &seats {
            // One that does not fit on the disk does not keep the others away; its trouble is reported at the end.
            if let Err(error) = self.fill(seat) {
                trouble = Some(error);
            }
        }
        self.held.save()?;
        self.extras(&seats)?;
        // No older LoRA goes for newer ones that could not be placed.
        if let Some(kept) = &kept
            && trouble.is_none()
        {
            self.remove_surplus(whole, kept);
        }
        trouble.map_or(Ok(()), Err)
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.on.subdir.map_or_else(|| self.root.to_path_buf(), |subdir| subdir.to_path(self.root))
    }

    /// Finds the names under which a LoRA is there or can be; `None` where there are none, or DIR has not got its bytes.
    fn seat(&mut self, lora: &'a Lora<'a>) -> Result<Option<Seat<'a>>, Error> {
        let mut taken = None;
        for naming in self.namings(lora) {
            let Some(names) = places(lora, self.on.subdir, naming) else { continue };
            let files: Vec<_> = lora
                .files
                .iter()
                .zip(names)
                .map(|(part, to)| {
                    let standing = self.standing_at(&to, part);
                    (*part, to, standing)
                })
                .collect();
            match files.iter().find(|(_, _, standing)| *standing == Standing::Foreign) {
                Some((_, to, _)) => taken = taken.or_else(|| Some(to.clone())),
                None => {
                    for (_, to, _) in files.iter().filter(|(.., standing)| *standing == Standing::Withdrawn) {
                        self.outcome.withdrawn += 1;
                        self.report_once(ComfyNotice::Withdrawn(to.clone()));
                    }
                    return Ok(Some(Seat { lora, files }));
                }
            }
        }
        self.outcome.blocked += lora.files.len() as u64;
        let name = lora.files[0].entry.path.file_name().to_owned();
        self.report_once(match taken {
            Some(at) => ComfyNotice::NameTaken { name, at },
            None => ComfyNotice::NameTooLong { name },
        });
        Ok(None)
    }

    /// A name once chosen is kept to, so that one LoRA is never there twice.
    fn namings(&self, lora: &Lora<'_>) -> [Naming; 2] {
        let marked = places(lora, self.on.subdir, Naming::Marked).unwrap_or_default();
        let is_marked =
            marked.iter().any(|to| self.held.placements.files.iter().any(|placed| placed.to == *to));
        if is_marked { [Naming::Marked, Naming::Plain] } else { [Naming::Plain, Naming::Marked] }
    }

    fn standing_at(&mut self, to: &RelPath, part: &Part<'_>) -> Standing {
        let entry = part.entry;
        let found = disk::look_through_links(self.root, to.as_str());
        let path = to.to_path(self.root);
        let record = self.held.placements.files.iter_mut().find(|placed| placed.to == *to);
        let standing =
            standing(record.as_deref(), (entry.size, entry.sha256), found, || sha256_of(&path).ok());
        // What had to be read to be known is known from now on.
        if let (Some(record), Some(LocalFile::File { size, modified })) = (record, found) {
            let state = match standing {
                Standing::Ours => PlacedState::Placed,
                Standing::Same => PlacedState::Adopted,
                Standing::Edited => PlacedState::Edited,
                Standing::Nothing | Standing::Withdrawn | Standing::Foreign => return standing,
            };
            (record.size, record.modified, record.state) = (size, modified, state);
        } else if standing == Standing::Same
            && let Some(LocalFile::File { size, modified }) = found
        {
            self.held.placements.files.push(Placed {
                to: to.clone(),
                what: What::Lora,
                key: part.key.clone(),
                lora: entry.sha256,
                step: entry.step,
                sha256: entry.sha256,
                size,
                modified,
                state: PlacedState::Adopted,
            });
        }
        standing
    }

    /// Records what is about to be placed, so that it counts as ours even if we are killed right after the rename.
    fn intend(&mut self, seats: &[Seat<'a>]) -> Result<(), Error> {
        for (part, to, _) in seats.iter().flat_map(Seat::wanting) {
            self.remember(Placed {
                to: to.clone(),
                what: What::Lora,
                key: part.key.clone(),
                lora: part.entry.sha256,
                step: part.entry.step,
                sha256: part.entry.sha256,
                size: part.entry.size,
                modified: part.entry.modified,
                state: PlacedState::Placing,
            });
        }
        self.held.save()
    }

    pub(super) fn remember(&mut self, placed: Placed) {
        self.held.placements.files.retain(|other| other.to != placed.to);
        self.held.placements.files.push(placed);
    }

    pub(super) fn forget(&mut self, to: &RelPath) {
        self.held.placements.files.retain(|other| other.to != *to);
    }

    /// Forgets what is gone from ComfyUI, so that it counts as never placed.
    fn forget_withdrawn(&mut self) {
        let root = self.root;
        self.held
            .placements
            .files
            .retain(|placed| disk::look_through_links(root, placed.to.as_str()).is_some());
    }

    /// Places the missing files of one LoRA: all are staged before the first gets its name, so that both halves of a
    /// pair come within a moment, or none.
    fn fill(&mut self, seat: &Seat<'a>) -> Result<(), Error> {
        let wanting: Vec<_> = seat.wanting().collect();
        let there = seat.files.iter().filter(|(.., standing)| standing.is_there()).count();
        if wanting.is_empty() {
            self.outcome.there += there as u64;
            return Ok(());
        }
        let folder = self.folder();
        let mut staged = Vec::new();
        let result = disk::create_folders_through_links(self.root, &folder).and_then(|()| {
            for (part, to, _) in &wanting {
                staged.push(self.stage(part, to, &folder)?);
            }
            self.rename_all(&staged)
        });
        for staged in &staged {
            // Those that got their names are not there any more.
            disk::remove(&staged.path)?;
        }
        match result {
            Ok(true) => {
                self.outcome.there += (there + wanting.len()) as u64;
                self.outcome.placed += wanting.len() as u64;
                Ok(())
            }
            // Not as published any more: the next look finds out what it is.
            Ok(false) => {
                self.outcome.unsettled += wanting.len() as u64;
                self.forget_missing(&wanting);
                Ok(())
            }
            Err(error) => {
                self.forget_missing(&wanting);
                Err(error)
            }
        }
    }

    fn forget_missing(&mut self, wanting: &[&(Part<'a>, RelPath, Standing)]) {
        for (_, to, _) in wanting {
            if disk::look_through_links(self.root, to.as_str()).is_none() {
                self.forget(to);
            }
        }
    }

    /// Puts a file's bytes into `folder` under a name that no program lists.
    fn stage(&self, part: &Part<'a>, to: &RelPath, folder: &Path) -> Result<Staged<'a>, Error> {
        let path = self.held.staged_name(folder);
        let mut staged = Staged { path, linked: None, part: *part, to: to.clone() };
        if !is_as_published(self.on.dir, part.entry) {
            return Ok(staged);
        }
        let source = part.entry.path.to_path(self.on.dir);
        let linked = link(&source, &staged.path, self.on.comfy.options.link)?;
        // The source may have been replaced between the two looks; then what was staged is not what was proven.
        let size = fs::symlink_metadata(&staged.path).map_err(fault("read", &staged.path))?.len();
        let is_same = size == part.entry.size && is_as_published(self.on.dir, part.entry);
        staged.linked = is_same.then_some(linked);
        Ok(staged)
    }

    /// Renames everything, or takes back what was renamed. `false` where DIR has not got the bytes of one of them.
    fn rename_all(&mut self, staged: &[Staged<'a>]) -> Result<bool, Error> {
        if staged.iter().any(|staged| staged.linked.is_none()) {
            return Ok(false);
        }
        self.on.comfy.report_folder(self.on.reporter);
        let mut named: Vec<PathBuf> = Vec::new();
        for Staged { path: from, to, .. } in staged {
            let path = to.to_path(self.root);
            if let Err(error) = disk::rename_to_free_name(from, &path) {
                for path in named {
                    disk::remove(&path)?;
                }
                return Err(fault("place", &path)(error));
            }
            named.push(path);
        }
        disk::flush_folder(&self.folder())?;
        for Staged { linked, part, to, .. } in staged {
            let path = to.to_path(self.root);
            let modified = fs::symlink_metadata(&path).ok().and_then(|metadata| disk::modified(&metadata));
            if let Some(record) = self.held.placements.files.iter_mut().find(|placed| placed.to == *to) {
                (record.modified, record.state) = (modified, PlacedState::Placed);
            }
            self.new.push(to.clone());
            self.on.reporter.report(&Event::Mirrored {
                path: part.entry.path.clone(),
                to: path,
                how: linked.map_or("copy", Linked::name),
            });
        }
        Ok(true)
    }

    /// Reports what was not reported yet by any run.
    pub(super) fn report_once(&mut self, notice: ComfyNotice) {
        // Recorded as a value: its words may change with the version.
        let Ok(record) = serde_json::to_string(&notice) else { return };
        if is_news(&mut self.held.placements.told, &record) {
            self.on.reporter.report(&Event::Notice { notice: Notice::ComfyUi(notice) });
        }
    }
}

impl<'a> Seat<'a> {
    fn wanting(&self) -> impl Iterator<Item = &(Part<'a>, RelPath, Standing)> {
        self.files.iter().filter(|(_, _, standing)| *standing == Standing::Nothing)
    }

    fn is_wanting(&self) -> bool {
        self.wanting().next().is_some()
    }
}
