//! Forecasts, reported in time: saves that the link will not deliver, and a disk that will be full.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::time::Instant;

use crate::decide::mirror::disk_forecast::{Course, forecast};
use crate::decide::mirror::eviction_forecast::{Race, late};
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::mirror::stock::stock;
use crate::edge::system::blocking::blocking;
use crate::edge::system::disk;
use crate::engine::event::{Event, Notice};
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::listing::Listing;
use crate::model::manifest::{EntryState, Manifest};
use crate::model::training_config::{Saving, TrainingConfig};

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
    reported_late: BTreeSet<u64>,
    reported_full: bool,
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
        let manifest = self.folder.lock().manifest().clone();
        let saving = self.saving(&manifest).await;
        let stock = stock(&under_way, &manifest, listing);
        let Some(save_every) = saving.save_every.filter(|every| *every > 0) else { return };
        if let (Some(seconds_a_step), Some(rate)) = (self.cadence.seconds_a_step(), self.outlook.rate) {
            let keep = saving.keep.unwrap_or(KEPT_BY_DEFAULT);
            let saves = &stock.saves;
            let late = late(&Race { saves, step, steps, save_every, keep, seconds_a_step, rate });
            self.transfers.set_hurry(!late.is_empty());
            for save in late {
                if self.outlook.reported_late.insert(save.step) {
                    self.reporter.report(&Event::Notice { notice: Notice::Late(save) });
                }
            }
        }
        // Where the free space is unknown, there is no forecast.
        let Ok(Some(free)) = self.transfers.room_above_floor().await else { return };
        let course = Course {
            step,
            steps,
            save_every,
            save_bytes: stock.save_bytes,
            sample_bytes: stock.sample_bytes,
            room: free.saturating_sub(stock.missing()),
        };
        let full = forecast(&course);
        // Reported again only after it was better in between.
        let is_reported = std::mem::replace(&mut self.outlook.reported_full, full.is_some());
        if let Some(full) = full.filter(|_| !is_reported) {
            self.reporter.report(&Event::Notice { notice: Notice::DiskWillFill(full) });
        }
    }

    /// Reads how the run saves from its mirrored configuration, once for each version of it.
    async fn saving(&mut self, manifest: &Manifest) -> Saving {
        let mut configs = manifest.entries.iter().filter(|(key, _)| key.kind == ArtifactKind::Config);
        let Some((_, entry)) = configs.find(|(_, entry)| entry.state == EntryState::Present) else {
            return Saving::default();
        };
        if let Some((sha256, saving)) = &self.outlook.saving
            && *sha256 == entry.sha256
        {
            return *saving;
        }
        let path = entry.path.to_path(&self.mirror.dir);
        // Without it there is no forecast of saves.
        let saving = blocking(move || read_saving(&path)).await.ok().flatten().unwrap_or_default();
        self.outlook.saving = Some((entry.sha256, saving));
        saving
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
        #[expect(clippy::cast_precision_loss, reason = "a rate does not need the last bit")]
        let rate = came as f64 / elapsed;
        self.outlook.rate = Some(self.outlook.rate.map_or(rate, |known| f64::midpoint(known, rate)));
    }
}

fn read_saving(config: &Path) -> Option<Saving> {
    TrainingConfig::parse(&disk::read_text(config, CONFIG_BOUND).ok()?).ok()?.saving()
}
