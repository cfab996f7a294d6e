//! A dry run: polls and plans, and reports what a run would do. Writes nothing.

use tokio::time::Instant;

use crate::decide::mirror::plan::{Counts, Situation, plan};
use crate::decide::mirror::poll_interval::Cadence;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::engine::destination::folder::{Folder, Peeked};
use crate::engine::event::{Event, Reporter};
use crate::engine::reported::job_event;
use crate::error::{Error, ExitStatus};
use crate::model::artifact::Artifact;

use super::Mirror;

/// Reports what a run that begins with `snapshot` would do.
pub(super) async fn rehearse(
    mirror: &Mirror,
    reporter: &dyn Reporter,
    snapshot: &JobSnapshot,
    began: Instant,
) -> Result<ExitStatus, Error> {
    reporter.report(&job_event(snapshot));
    let Peeked { manifest, recollections, mut resumes } =
        Folder::peek(&mirror.dir, &mirror.job, &mirror.api.origin()).await?;
    let mut snapshot = snapshot.clone();
    resumes.count(&mut snapshot);
    let listing = Folder::listing_for(&manifest, &recollections, &snapshot);
    let local = Folder::look_at(&mirror.dir, &manifest, &listing).await?;
    for file in snapshot.unreachable(&listing, &mirror.options.selection) {
        reporter.report(&Event::Trouble { notice: file.into() });
    }
    let state = snapshot.state(&listing.artifacts);
    let actions = plan(&Situation {
        listing: &listing,
        manifest: &manifest,
        recollections: &recollections,
        local: &local,
        selection: &mirror.options.selection,
        run: &snapshot.run(),
        reached: snapshot.reached(state),
    });
    for action in &actions {
        let Artifact { key, path, .. } = action.artifact.as_ref();
        let (path, action) = (path.clone(), action.step.planned());
        reporter.report(&Event::Planned { path, kind: key.kind, action });
    }
    let counts = Counts::of(actions.iter().map(|action| &action.step));
    reporter.report(&Event::plan(counts));
    let exit = ExitStatus::Complete;
    reporter.report(&Event::Done {
        exit,
        published: 0,
        bytes: 0,
        present: counts.present,
        failed: 0,
        elapsed: began.elapsed(),
        job_status: Some(snapshot.status.status.clone()),
        next_look: (!state.is_over() || counts.fetch + counts.ask > 0).then_some(Cadence::SHORTEST),
    });
    Ok(exit)
}
