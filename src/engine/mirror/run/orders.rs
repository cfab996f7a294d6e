//! The plan of a pass, and the tasks that transfers get for it.

use std::sync::Arc;

use crate::decide::mirror::plan::{Action, FetchReason, Situation, Step, asked_stamp, plan};
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::task::Task;
use crate::error::Error;
use crate::model::listing::Listing;

use super::Run;

/// What a pass plans with: what the job offers, the state that it is in, and the number of the listing.
pub(super) struct Offer<'a> {
    pub(super) snapshot: &'a JobSnapshot,
    pub(super) listing: &'a Listing,
    pub(super) state: RunState,
    pub(super) generation: u64,
}

impl Run {
    /// Decides what to do with each listed file.
    pub(super) async fn plan(&self, offer: &Offer<'_>) -> Result<Vec<Action>, Error> {
        let local = self.folder.look_around(offer.listing).await?;
        let store = self.folder.lock();
        let actions = plan(&Situation {
            listing: offer.listing,
            manifest: store.manifest(),
            recollections: &self.folder.recollections,
            local: &local,
            selection: &self.mirror.options.selection,
            run: &offer.snapshot.run(),
            reached: offer.snapshot.reached(offer.state),
        });
        for action in &actions {
            tracing::debug!(path = %action.artifact.path, step = %action.step, "planned");
        }
        Ok(actions)
    }

    /// Makes tasks of actions that fetch.
    pub(super) fn tasks<'a>(
        &self,
        offer: &Offer<'_>,
        actions: impl IntoIterator<Item = &'a Action>,
    ) -> Vec<Task> {
        let run = offer.snapshot.run().into();
        let fetched = actions.into_iter().filter(|action| matches!(action.step, Step::Fetch(_)));
        fetched.map(|action| self.task(offer, action, &run)).collect()
    }

    fn task(&self, offer: &Offer<'_>, action: &Action, run: &Arc<str>) -> Task {
        let store = self.folder.lock();
        let manifest = store.manifest();
        let key = &action.artifact.key;
        let recheck = match &action.step {
            Step::Fetch(FetchReason::Recheck(revision)) => Some(Box::new(revision.clone())),
            _ => None,
        };
        Task {
            artifact: action.artifact.clone(),
            recheck,
            is_damaged: action.step == Step::Fetch(FetchReason::Damaged),
            may_adopt: action.step == Step::Fetch(FetchReason::Unproven),
            entry: manifest.entries.get(key).cloned().map(Box::new),
            doubt: manifest.doubts.get(key).cloned().map(Box::new),
            half_of_pair: action.artifact.pair_half(offer.snapshot.name()).is_some(),
            run_may_write: !offer.state.is_over(),
            cut_off: offer.state.is_cut_off(),
            run: asked_stamp(run, &action.artifact, offer.listing),
            generation: offer.generation,
        }
    }
}
