//! A whole file: published, doubted, or left for later.

use crate::decide::bucket::head::Line;
use crate::decide::transfer::settle::{Read, Settled, settled};
use crate::decide::transfer::suspect::{Doubted, SECOND_LOOK, doubted};
use crate::decide::transfer::task::FailureCause;
use crate::decide::transfer::verify::{
    Contradiction, Expectation, Judgement, Received, Verified, judge, recognise,
};
use crate::edge::system::clock;
use crate::engine::event::{Event, RetryCause};
use crate::error::Error;
use crate::model::manifest::{Doubt, Entry};
use crate::model::revision::Revision;

use super::super::create::{Origin, Stored, create_small};
use super::super::prune;
use super::super::upload::Unpublished;
use super::{Content, Ending, File, Known, Order, Shared, Stopped, Whole};

impl File {
    /// Weighs a whole file, and publishes it; `None`: it is read again.
    pub(super) async fn weigh(&self, whole: Whole) -> Result<Option<Ending>, Stopped> {
        let Whole { received, known, content } = whole;
        let order = &self.order;
        let doubt = self.story().doubt.clone();
        let expected = Expectation {
            length: known.length,
            claims: &known.claims,
            half_of_pair: order.half_of_pair,
            accept_unproven: self.shared.options.selection.accepts_unproven(&order.artifact.path),
            read_before: doubt.as_ref().filter(|_| !order.cut_off).map(|doubt| doubt.sha256),
        };
        let before = order.entry.as_ref();
        let before = before.and_then(|entry| recognise(&received, entry.sha256, entry.evidence));
        let judgement = match (judge(&received, &expected), before) {
            (Judgement::Proven(verified), None) if !self.is_settled(&verified, &known).await? => {
                discard(content).await;
                return Ok(Some(self.settling(Some(received.size), received.size)));
            }
            (Judgement::Proven(verified), _) | (_, Some(verified)) => Judgement::Proven(verified),
            (other, None) => other,
        };
        match judgement {
            Judgement::Proven(verified) => self.publish(content, verified, known).await,
            Judgement::Unfinished { declared, have } => {
                discard(content).await;
                Ok(Some(self.settling(declared, have)))
            }
            Judgement::Contradicted(why) => {
                discard(content).await;
                self.doubt(&received, &known, &why).await
            }
        }
    }

    /// Whether a proven file may be published now. While the training may still write, one that only its length speaks for
    /// waits for a second, equal look, which may be another worker's.
    async fn is_settled(&self, verified: &Verified, known: &Known) -> Result<bool, Error> {
        let Order { doubt, run_may_write, artifact, .. } = &self.order;
        let sha256 = verified.sha256();
        let read = Read { sha256, revision: &known.revision, now: clock::unix_ms() };
        let before = doubt.as_ref().and_then(|doubt| Some((doubt.sha256, doubt.first_look?)));
        match settled(verified.evidence(), *run_may_write, read, before) {
            Settled::Publish => return Ok(true),
            Settled::TooSoon => {}
            Settled::First(look) => {
                // No revision: the second look has to read the bytes.
                let revision = Revision::default();
                let (after_end, read_twice, first_look) = (false, false, Some(look));
                let doubt = Doubt { sha256, revision, after_end, read_twice, first_look };
                let line = Line::Doubt { key: artifact.key.clone(), doubt };
                self.shared.head.claim(vec![line]).await?;
            }
        }
        Ok(false)
    }

    async fn publish(
        &self,
        content: Content,
        verified: Verified,
        known: Known,
    ) -> Result<Option<Ending>, Stopped> {
        let Shared { store, head, .. } = self.shared.as_ref();
        let artifact = &self.order.artifact;
        let stored = match content {
            Content::Small(bytes, _memory) => {
                create_small(store, &artifact.path, bytes, verified, &head.known()).await?
            }
            Content::Uploaded(upload, parts) => match upload.publish(parts, verified).await {
                Ok(stored) => stored,
                Err(Unpublished::Error(error)) => return Err(error.into()),
                Err(Unpublished::Taken) => {
                    self.story().may_be_direct = false;
                    return Ok(None);
                }
                Err(Unpublished::Gone) => return Err(Stopped::UploadGone),
            },
        };
        self.claim(stored, known.revision).await?;
        Ok(Some(Ending::Published))
    }

    async fn claim(&self, stored: Stored, revision: Revision) -> Result<(), Error> {
        let head = &self.shared.head;
        let artifact = &self.order.artifact;
        let origin = Origin {
            key: artifact.key.clone(),
            step: artifact.step,
            revision,
            run: self.order.run.clone(),
            keeps_older: self.order.recheck.is_some(),
        };
        let lines = stored.claim(origin, &head.known());
        let replaced: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Retire { path, tag: Some(tag) } => Some((path.clone(), tag.clone())),
                _ => None,
            })
            .collect();
        head.claim(lines).await?;
        prune::delete_retired(&self.shared.store, head, &replaced).await?;
        self.tell(&Event::Published {
            path: stored.path().clone(),
            kind: artifact.key.kind,
            step: artifact.step,
            size: stored.verified().size(),
            sha256: stored.verified().sha256(),
            evidence: stored.verified().evidence(),
            elapsed: self.began.elapsed(),
        });
        Ok(())
    }

    async fn doubt(
        &self,
        received: &Received,
        known: &Known,
        why: &Contradiction,
    ) -> Result<Option<Ending>, Stopped> {
        let order = &self.order;
        let revision = match why {
            Contradiction::Unwritten { .. } => Revision::default(),
            _ => known.revision.clone(),
        };
        let next = doubted(received.sha256, self.story().doubt.as_ref(), order.run_may_write);
        let read_twice = next == Doubted::Condemned;
        let doubt = Doubt {
            sha256: received.sha256,
            revision,
            after_end: !order.run_may_write,
            read_twice,
            first_look: None,
        };
        let line = Line::Doubt { key: order.artifact.key.clone(), doubt: doubt.clone() };
        self.shared.head.claim(vec![line]).await?;
        match next {
            Doubted::Condemned => Ok(Some(self.failed(FailureCause::Contradicted(why.clone())))),
            Doubted::SecondLook => {
                let path = Some(order.artifact.path.clone());
                self.tell(&Event::Retrying {
                    path,
                    cause: RetryCause::File(FailureCause::Contradicted(why.clone())),
                    wait: SECOND_LOOK,
                });
                // The bytes are wanted again even if the host reports no change.
                self.story().doubt = Some(Doubt { revision: Revision::default(), ..doubt });
                tokio::time::sleep(SECOND_LOOK).await;
                Ok(None)
            }
            Doubted::Settling => {
                let have = received.size - received.trailing_zeros;
                Ok(Some(self.settling(Some(received.size), have)))
            }
        }
    }

    /// The host reports no change since what is known, which is there, or was doubted. `None`: read it all the same.
    pub(super) async fn unchanged(&self, revision: &Revision) -> Option<Ending> {
        let order = &self.order;
        let doubt = self.story().doubt.clone();
        match (&order.recheck, &order.entry, doubt) {
            (Some(_), Some(entry), _) => {
                let head = &self.shared.head;
                let tag = head.known().tags.get(&entry.path).cloned();
                let entry = Entry { run: order.run.clone(), ..entry.clone() };
                let line = Line::Know { key: order.artifact.key.clone(), entry, tag };
                Some(match head.claim(vec![line]).await {
                    Ok(()) => Ending::Known,
                    Err(error) => Ending::Fatal(error),
                })
            }
            (_, _, Some(doubt)) if !order.run_may_write && doubt.read_twice => {
                Some(self.failed(FailureCause::StillContradicted))
            }
            (_, _, Some(_)) if order.run_may_write => {
                Some(self.settling(revision.length, revision.length.unwrap_or_default()))
            }
            _ => {
                let mut story = self.story();
                if let Some(doubt) = &mut story.doubt {
                    doubt.revision = Revision::default();
                    doubt.after_end = true;
                }
                None
            }
        }
    }
}

/// Drops what is not published.
async fn discard(content: Content) {
    if let Content::Uploaded(upload, _) = content {
        upload.abort().await;
    }
}
