//! One look: what is missing is staged, recorded, renamed into place; what has to go goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::decide::comfyui::loras;
use crate::decide::comfyui::loras::{Lora, Part};
use crate::decide::comfyui::placing::{Naming, Standing, kept_steps, places, standing};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::edge::system::link::{Linked, link};
use crate::engine::destination::hashing::{is_as_published, sha256_of};
use crate::engine::event::{Event, Reporter};
use crate::error::Error;
use crate::model::local::LocalFile;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;
use crate::model::placement::{Placed, PlacedState, What};

use super::record::Held;
use super::{ComfyUi, Outcome, running};

/// Everything one look depends on.
pub(super) struct Placing<'a> {
    pub(super) comfy: &'a ComfyUi,
    pub(super) dir: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) name: Option<&'a str>,
    pub(super) subdir: Option<&'a RelPath>,
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

/// A LoRA and the places of its files, with what stands there.
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
        let found = loras::find(self.manifest, self.name, self.comfy.options.weights);
        let halves = found.halves.len() as u64;
        if found.whole.is_empty() {
            return Ok(Outcome { halves, ..Outcome::default() });
        }
        let root = self.comfy.enter()?;
        let held = Held::take(self.dir, root)?;
        let mut work =
            Work { on: self, root, held, outcome: Outcome { halves, ..Outcome::default() }, new: Vec::new() };
        let result = work.run(&found.whole);
        // Whatever happened, what is known of it is kept.
        work.held.save()?;
        result?;
        if let Some(url) = &self.comfy.options.url
            && !work.new.is_empty()
        {
            running::ask(url, root, &work.new, self.reporter);
        }
        Ok(work.outcome)
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
            // One that does not fit on the disk does not keep the others away; its trouble is told at the end.
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
                    let standing = self.stands_at(&to, part);
                    (*part, to, standing)
                })
                .collect();
            match files.iter().find(|(_, _, standing)| *standing == Standing::Foreign) {
                Some((_, to, _)) => taken = taken.or_else(|| Some(to.clone())),
                None => return Ok(Some(Seat { lora, files })),
            }
        }
        self.outcome.blocked += lora.files.len() as u64;
        let name = lora.files[0].entry.path.file_name();
        self.tell_once(match taken {
            Some(to) => {
                format!("`{name}` is not placed: something else stands at `{}` in ComfyUI, and it stays", to)
            }
            None => format!("`{name}` is not placed: its name is too long for a folder in ComfyUI"),
        });
        Ok(None)
    }

    /// A name once chosen is kept to, so that one LoRA never stands there twice.
    fn namings(&self, lora: &Lora<'_>) -> [Naming; 2] {
        let marked = places(lora, self.on.subdir, Naming::Marked).unwrap_or_default();
        let is_marked =
            marked.iter().any(|to| self.held.placements.files.iter().any(|placed| placed.to == *to));
        if is_marked { [Naming::Marked, Naming::Plain] } else { [Naming::Plain, Naming::Marked] }
    }

    fn stands_at(&mut self, to: &RelPath, part: &Part<'_>) -> Standing {
        let entry = part.entry;
        let found = disk::look(self.root, to.as_str());
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
                Standing::Nothing | Standing::Foreign => return standing,
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

    /// Places the missing files of one LoRA: all are staged before the first gets its name, so that both halves of a
    /// pair come within a moment, or none.
    fn fill(&mut self, seat: &Seat<'a>) -> Result<(), Error> {
        let wanting: Vec<_> = seat.wanting().collect();
        let there = seat.files.len() - wanting.len();
        if wanting.is_empty() {
            self.outcome.there += there as u64;
            return Ok(());
        }
        let folder = self.folder();
        let mut staged = Vec::new();
        let result = disk::create_folders(self.root, &folder).and_then(|()| {
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
                self.outcome.there += seat.files.len() as u64;
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
            if disk::look(self.root, to.as_str()).is_none() {
                self.forget(to);
            }
        }
    }

    /// Puts a file's bytes into `folder` under a name that nobody lists.
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
        self.on.comfy.tell_where(self.on.reporter);
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

    pub(super) fn tell_once(&mut self, message: String) {
        // Bounded, since names come from outside.
        if self.held.placements.told.len() < 1000 && !self.held.placements.told.contains(&message) {
            self.on.reporter.report(&Event::Notice { message: message.clone() });
            self.held.placements.told.push(message);
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
