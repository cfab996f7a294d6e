//! What has to go because newer ones are kept: only what we placed, and only as long as it is what we placed.

use std::collections::BTreeSet;
use std::fs;

use crate::decide::comfyui::loras::Lora;
use crate::decide::comfyui::placing::is_surplus;
use crate::edge::folder::hashing::sha256_of;
use crate::edge::system::disk;
use crate::engine::event::{ComfyNotice, Event, Notice};
use crate::error::Error;
use crate::model::local::LocalFile;
use crate::model::names::rel_path::RelPath;
use crate::model::placement::{Placed, What};

use super::place::Work;

/// More names than these make a message hard to read.
const NAMED: usize = 8;

impl Work<'_> {
    /// Removes what is not kept: files first, then the record, so that a kill in between leaves a record of nothing,
    /// which the next look drops.
    pub(super) fn remove_surplus(&mut self, whole: &[Lora<'_>], kept: &BTreeSet<u64>) {
        let surplus: Vec<Placed> = self
            .held
            .placements
            .files
            .iter()
            .filter(|placed| placed.is_ours() && is_surplus(placed, whole, kept))
            .cloned()
            .collect();
        let mut removed = Vec::new();
        for placed in surplus {
            match self.remove(&placed) {
                Ok(true) => {
                    self.forget(&placed.to);
                    if placed.what == What::Lora {
                        self.outcome.removed += 1;
                        removed.push(placed.to.clone());
                        let notice = Notice::ComfyUi(ComfyNotice::Removed(placed.to.clone()));
                        self.on.reporter.report(&Event::Notice { notice });
                    }
                }
                Ok(false) => self.forget(&placed.to),
                // A program that has it open may keep it from being removed; the next look tries again.
                Err(error) => self.report_once(ComfyNotice::NotRemoved(error)),
            }
        }
        for lora in &removed {
            self.report_left_beside(lora);
        }
    }

    /// Names what other tools wrote beside a LoRA that is gone: it stays, and is of no use any more.
    fn report_left_beside(&self, lora: &RelPath) {
        let (stem, _) = lora.stem_and_extension();
        let folder = lora.to_path(self.root);
        let left: BTreeSet<String> = fs::read_dir(disk::parent(&folder))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.')))
            .filter(|name| !self.held.placements.files.iter().any(|placed| placed.to.file_name() == name))
            .collect();
        if left.is_empty() {
            return;
        }
        let more = left.len().saturating_sub(NAMED);
        let names = left.into_iter().take(NAMED).collect();
        let notice = Notice::ComfyUi(ComfyNotice::LeftBeside { lora: lora.clone(), names, more });
        self.on.reporter.report(&Event::Notice { notice });
    }

    /// Removes a placed file as long as it is what we placed.
    fn remove(&self, placed: &Placed) -> Result<bool, Error> {
        let path = placed.to.to_path(self.root);
        let is_ours = match disk::look_through_links(self.root, placed.to.as_str()) {
            Some(LocalFile::File { size, modified }) if size == placed.size => {
                modified == placed.modified || sha256_of(&path)? == placed.sha256
            }
            _ => false,
        };
        if is_ours {
            disk::remove(&path)?;
        }
        Ok(is_ours)
    }
}
