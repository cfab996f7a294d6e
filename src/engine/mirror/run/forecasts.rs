//! Forecasts, reported in time: saves that the link will not deliver, and a disk that will be full.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use tokio::time::Instant;

use crate::decide::mirror::disk_forecast::{Course, forecast};
use crate::decide::mirror::eviction_forecast::{Race, Save, late};
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::edge::system::disk;
use crate::engine::event::{Event, Notice};
use crate::engine::transfer::Progress;
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::digest::Sha256Digest;
use crate::model::listing::Listing;
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::training_config::{Saving, TrainingConfig};
use crate::model::units::as_f64;

use super::Run;

/// A configuration larger than this is none: real ones have a few KiB.
const CONFIG_BOUND: u64 = 1 << 20;

/// What the trainer keeps where its configuration has no number.
const KEPT_BY_DEFAULT: u64 = 5;

/// What was measured for forecasts, and what was reported.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// How the run saves, from the configuration with this hash.
    saving: Option<(Sha256Digest, Saving)>,
    /// When transfers were last seen under way, and bytes received until then.
    busy: Option<(Instant, u64)>,
    /// Bytes a second while transfers were under way.
    rate: Option<f64>,
    told_late: BTreeSet<u64>,
    told_full: bool,
}

/// What is here and what is missing, by step.
struct Stock {
    saves: Vec<Save>,
    save_bytes: u64,
    sample_bytes: u64,
}

impl Run {
    /// Reports what will fail if everything continues as it is.
    pub(super) async fn look_ahead(&mut self, looked: &JobSnapshot, listing: &Listing, state: RunState) {
        self.measure();
        let (Some(step), Some(steps)) =
            (looked.status.progress.current_step, looked.status.progress.total_steps)
        else {
            return;
        };
        if state.is_over() || self.mirror.options.once {
            return self.transfers.set_hurry(false);
        }
        let under_way = self.transfers.progress().await;
        let folder = self.folder.lock();
        let saving = saving(&self.mirror.dir, folder.manifest(), &mut self.outlook.saving);
        let stock = stock(&under_way, folder.manifest(), listing);
        drop(folder);
        let Some(save_every) = saving.save_every.filter(|every| *every > 0) else { return };
        if let (Some(seconds_a_step), Some(rate)) = (self.cadence.seconds_a_step(), self.outlook.rate) {
            let keep = saving.keep.unwrap_or(KEPT_BY_DEFAULT);
            let saves = &stock.saves;
            let late = late(&Race { saves, step, steps, save_every, keep, seconds_a_step, rate });
            self.transfers.set_hurry(!late.is_empty());
            for save in late {
                if self.outlook.told_late.insert(save.step) {
                    self.reporter.report(&Event::Notice { notice: Notice::Late(save) });
                }
            }
        }
        let missing: u64 = stock.saves.iter().map(|save| save.left).sum();
        // Where the free space is unknown, there is no forecast.
        let Ok(Some(free)) = self.transfers.room_above_floor() else { return };
        let course = Course {
            step,
            steps,
            save_every,
            save_bytes: stock.save_bytes,
            sample_bytes: stock.sample_bytes,
            room: free.saturating_sub(missing),
        };
        let full = forecast(&course);
        // Reported again only after it looked better in between.
        let told = std::mem::replace(&mut self.outlook.told_full, full.is_some());
        if let Some(full) = full.filter(|_| !told) {
            self.reporter.report(&Event::Notice { notice: Notice::DiskWillFill(full) });
        }
    }

    /// Measures what the link delivers, from one look to the next while transfers are under way.
    fn measure(&mut self) {
        let received = self.transfers.received();
        let now = Instant::now();
        let before = if self.transfers.is_quiet() {
            self.outlook.busy.take()
        } else {
            self.outlook.busy.replace((now, received))
        };
        let Some((then, received_then)) = before else { return };
        let elapsed = now.saturating_duration_since(then).as_secs_f64();
        let came = received.saturating_sub(received_then);
        // What ended in between is too short to measure.
        if elapsed < 1.0 || self.outlook.busy.is_none() {
            return;
        }
        let rate = as_f64(came) / elapsed;
        self.outlook.rate = Some(self.outlook.rate.map_or(rate, |known| f64::midpoint(known, rate)));
    }
}

fn stock(under_way: &[Progress], manifest: &Manifest, listing: &Listing) -> Stock {
    let under_way: HashMap<&ArtifactKey, (u64, Option<u64>)> =
        under_way.iter().map(|file| (&file.key, (file.have, file.length))).collect();
    let length = |key: &ArtifactKey| {
        let known = manifest.entries.get(key).map(|entry| entry.size);
        known.or_else(|| under_way.get(key).and_then(|(_, length)| *length))
    };
    let numbered = || {
        let checkpoints =
            listing.artifacts.iter().filter(|artifact| artifact.key.kind == ArtifactKind::Checkpoint);
        checkpoints.filter_map(|artifact| artifact.step.map(|step| (step, &artifact.key)))
    };
    // A save that has not begun is as large as the largest of the others.
    let usual = numbered().filter_map(|(_, key)| length(key)).max().unwrap_or(0);
    let mut by_step: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (step, key) in numbered() {
        let bytes = length(key).unwrap_or(usual);
        let here = match manifest.entries.get(key) {
            Some(_) => bytes,
            None => under_way.get(key).map_or(0, |(have, _)| *have),
        };
        let (whole, left) = by_step.entry(step).or_default();
        *whole += bytes;
        *left += bytes.saturating_sub(here);
    }
    let samples = |(key, entry): (&ArtifactKey, &Entry)| {
        (key.kind == ArtifactKind::Sample && entry.state == EntryState::Present).then_some(entry.size)
    };
    Stock {
        saves: by_step.iter().map(|(step, (_, left))| Save { step: *step, left: *left }).collect(),
        save_bytes: by_step.values().map(|(whole, _)| *whole).max().unwrap_or(0),
        sample_bytes: manifest.entries.iter().filter_map(samples).sum(),
    }
}

/// Reads how the run saves from its mirrored configuration, once for each version of it.
fn saving(dir: &Path, manifest: &Manifest, known: &mut Option<(Sha256Digest, Saving)>) -> Saving {
    let configs = manifest.entries.iter().filter(|(key, _)| key.kind == ArtifactKind::Config);
    let Some((_, entry)) = configs.into_iter().find(|(_, entry)| entry.state == EntryState::Present) else {
        return Saving::default();
    };
    if let Some((sha256, saving)) = known
        && *sha256 == entry.sha256
    {
        return *saving;
    }
    let read = || {
        let mut text = String::new();
        let file = disk::open_regular(&dir.join(entry.path.as_str())).ok()?;
        file.take(CONFIG_BOUND).read_to_string(&mut text).ok()?;
        TrainingConfig::parse(&text).ok()?.saving()
    };
    let saving = read().unwrap_or_default();
    *known = Some((entry.sha256, saving));
    saving
}
