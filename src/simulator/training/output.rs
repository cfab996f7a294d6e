//! What a run puts on the host: saves, pairs, samples, and what it deletes again.

use std::sync::Arc;

use crate::model::artifact::{ArtifactKind, Sample};
use crate::simulator::files::content::{Content, Recipe};
use crate::simulator::files::noise;
use crate::simulator::files::pictures::Picture;
use crate::simulator::files::weights::Weights;
use crate::simulator::hosted_files::{Hosted, Written};
use crate::simulator::plan::{Family, Writes};

use super::{Coming, Pending, Training};

impl Training {
    pub(super) fn save(&mut self, step: u64, stem: String) {
        self.saves += 1;
        match self.plan.family {
            Family::Flux => self.put_weights(step, &stem, &stem, None),
            Family::Wan22 => {
                self.save_half(step, &stem, true);
                self.pending.push(Pending { wait: 1, what: Coming::LowNoise { step, stem } });
            }
        }
        if self.plan.optimizer {
            let seed = noise::derive(self.seed, &format!("optimizer {}", self.saves));
            let content = Content::new(Recipe::Noise { seed, length: self.plan.checkpoint_bytes });
            // Of such a file nothing tells whether it is whole; one that has its length before its bytes is played by none.
            let growing = self.plan.writes == Writes::Growing && self.plan.write_steps > 0;
            let write_steps = self.plan.write_steps;
            self.put(ArtifactKind::Checkpoint, "optimizer.pt".to_owned(), content, |hosted| {
                if growing {
                    hosted.style = Writes::Growing;
                    hosted.written = Written::Part { done: 0, of: write_steps, abandoned: false };
                }
            });
        }
        self.clean_up();
    }

    pub(super) fn save_half(&mut self, step: u64, stem: &str, high: bool) {
        let seed_of = |half: &str| self.weights_seed(&format!("{stem}_{half}"));
        let (high_seed, low_seed) = (seed_of("high_noise"), seed_of("low_noise"));
        let (half, partner) =
            if high { ("high_noise", (low_seed, false)) } else { ("low_noise", (high_seed, true)) };
        self.put_weights(step, stem, &format!("{stem}_{half}"), Some(partner));
        self.clean_up();
    }

    /// A later run trains on from other random numbers: it never writes the bytes of an earlier one.
    pub(super) fn weights_seed(&self, stem: &str) -> u64 {
        noise::derive(self.seed, &format!("{stem} run {}", self.runs))
    }

    pub(super) fn put_weights(&mut self, step: u64, stem: &str, file: &str, partner: Option<(u64, bool)>) {
        let content = Content::new(Recipe::Weights(Weights {
            name: self.plan.name.clone(),
            step,
            family: self.plan.family,
            seed: self.weights_seed(file),
            partner,
            bytes: self.plan.checkpoint_bytes,
            hash: self.plan.trainer_hash,
        }));
        // The trainer's rule deletes what begins with `{name}_`: the final file is spared, a final pair is not.
        let save = (stem != self.plan.name || partner.is_some()).then_some(self.saves);
        let (style, write_steps) = (self.plan.writes, self.plan.write_steps);
        self.put(ArtifactKind::Checkpoint, format!("{file}.safetensors"), content, |hosted| {
            hosted.step = Some(step);
            hosted.save = save;
            hosted.style = style;
            if style != Writes::Atomic && write_steps > 0 {
                hosted.written = Written::Part { done: 0, of: write_steps, abandoned: false };
            }
        });
    }

    /// The trainer deletes old saves after a new one is whole.
    pub(super) fn clean_up(&mut self) {
        let half_a_pair = self.pending.iter().any(|coming| matches!(coming.what, Coming::LowNoise { .. }));
        if self.plan.keep > 0 && !half_a_pair && !self.shelf.is_writing() {
            self.shelf.keep_newest_saves(self.plan.keep, self.plan.list_deleted);
        }
    }

    pub(super) fn draw_samples(&mut self, step: u64) {
        for index in 0..self.plan.prompts.len() {
            let wait = self.plan.sample_steps.saturating_mul(index as u64);
            if wait == 0 {
                self.draw_sample(step, index);
            } else {
                self.pending.push(Pending { wait, what: Coming::Sample { step, index } });
            }
        }
    }

    pub(super) fn draw_sample(&mut self, step: u64, index: usize) {
        // An edit may have taken prompts away; then there is nothing to draw.
        let Some(prompt) = self.plan.prompts.get(index).cloned() else { return };
        let number = index as u64;
        let seed = noise::derive(self.seed, &format!("sample {step} {index} run {}", self.runs));
        // Each picture takes a few seconds and is named by the moment it was done.
        let drawn_ms = self.times.now + i64::try_from(number * 2750 + seed % 1000).unwrap_or(0);
        let format = self.plan.sample_format;
        let path = format!("samples/{drawn_ms}__{step:09}_{index}.{}", format.extension());
        let content = Content::new(Recipe::Picture(Picture {
            seed,
            subject: noise::derive(self.seed, &prompt),
            step,
            total: self.plan.steps,
            prompt: prompt.clone(),
            format,
            side: self.plan.picture_side,
        }));
        let sample = Sample {
            index: Some(number + 1),
            media: Some("image".to_owned()),
            step: Some(step),
            seed: Some(self.plan.sample_seed.wrapping_add(number).to_string()),
            prompt: Some(prompt),
            control_images: Vec::new(),
        };
        self.put(ArtifactKind::Sample, path, content, |hosted| {
            hosted.step = Some(step);
            hosted.sample = Some(sample);
        });
    }

    pub(super) fn put(
        &mut self,
        kind: ArtifactKind,
        path: String,
        content: Arc<Content>,
        detail: impl FnOnce(&mut Hosted),
    ) {
        let mut hosted = Hosted::whole(kind, path, &self.folder, content, self.times.now);
        detail(&mut hosted);
        self.shelf.put(hosted);
    }
}
