//! Work for connections: each runs as a task of its own, and reports by messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError};

use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::protocol::{Assignment, Ending, Input, RangeEnd, Ticket};
use crate::decide::transfer::scheduler::{FileId, Taken, Work};
use crate::decide::transfer::straggler::Watch;
use crate::decide::transfer::task::{DiskTrouble, DiskTroubleKind, FailureCause, Task};
use crate::edge::system::blocking::blocking;
use crate::engine::transfer::adopt::adopt;
use crate::model::response_head::Head;

use crate::engine::transfer::batch::{self, Terms};
use crate::engine::transfer::carried::Carried;
use crate::engine::transfer::context::send;
use crate::engine::transfer::context::{Context, trouble};
use crate::engine::transfer::coordinator::{Coordinator, Lent};
use crate::engine::transfer::download::{Absorbed, Download};
use crate::engine::transfer::messages::{Found, Message};
use crate::engine::transfer::messages::{Reply, Served};
use crate::engine::transfer::shared_end::SharedEnd;
use crate::engine::transfer::worker::{Fetch, Port};

/// What a task of a connection works on, should it panic.
#[derive(Debug)]
pub(in crate::engine::transfer) enum Holds {
    Range(FileId, Ticket, Taken),
    Batch(Vec<FileId>, Taken),
    Look(FileId, Option<Taken>),
}

impl Coordinator {
    /// Grants work while there is some, and connections that may take it.
    pub(in crate::engine::transfer) fn grant(&mut self) {
        while self.state.outbox.len() < self.most_proven {
            let now = self.now();
            let Some((work, taken)) = self.scheduler.next(now, &mut self.state.slots) else { return };
            match work {
                Work::Look(id) => self.look_at(id, taken),
                Work::Range(id, assignment) => self.lend(id, assignment, taken),
                Work::Split { file, ticket, at } => {
                    if !self.split(file, ticket, at, taken) {
                        // It has taken those bytes already; the next look finds another place.
                        self.scheduler.idle(taken.is_large, !taken.is_cold);
                        return;
                    }
                }
                Work::Batch(ids) => self.lend_batch(ids, taken),
            }
        }
    }

    /// Has a connection look at what is here of a file.
    fn look_at(&mut self, id: FileId, taken: Taken) {
        let Some(slot) = self.state.slots.0.get(&id) else { return self.scheduler.end_look(taken) };
        let Some(state) = &slot.state else { return self.scheduler.end_look(taken) };
        let (context, task, is_left_over) =
            (self.context.clone(), state.task().clone(), state.is_left_over());
        let plain = self.state.habits.get(state.host()) == Some(&Habit::Refuses);
        self.spawn(Holds::Look(id, Some(taken)), async move {
            let found = look_at(&context, &task, is_left_over, plain).await;
            send(&context, Message::LookedAt { id, found: Box::new(found), taken });
        });
    }

    fn split(&mut self, id: FileId, ticket: Ticket, at: u64, taken: Taken) -> bool {
        let cut = self.scheduler.cut();
        let Some(slot) = self.state.slots.0.get_mut(&id) else { return false };
        let ranges = self.state.lent.get(&id).into_iter().flatten();
        let agreed = ranges.into_iter().any(|lent| lent.ticket == ticket && lent.end.lower(at));
        let Some(state) = slot.state.as_mut().filter(|_| agreed) else { return false };
        let Some(assignment) = state.split(ticket, at, &cut) else { return false };
        tracing::debug!(path = %slot.artifact.path, at, "a range is split");
        self.lend(id, assignment, taken);
        true
    }

    /// Has an open connection request what is left of a range that another connection serves; the first to arrive wins.
    pub(in crate::engine::transfer) fn race(&mut self, id: FileId, ticket: Ticket) {
        let cut = self.scheduler.cut();
        let mut ranges = self.state.lent.get_mut(&id).into_iter().flatten();
        let Some(lent) = ranges.find(|lent| lent.ticket == ticket) else { return };
        let Some(state) = self.state.slots.0.get_mut(&id).and_then(|slot| slot.state.as_mut()) else {
            return;
        };
        let is_large = state.task().is_large();
        if !state.may_hurry(ticket) {
            return;
        }
        let Some(taken) = self.scheduler.race(is_large) else { return };
        lent.is_raced = true;
        let rival = lent.end.clone();
        match state.race(ticket, &cut) {
            Some(assignment) => self.lend_beside(id, assignment, taken, Some(&rival)),
            None => self.scheduler.idle(is_large, true),
        }
    }

    fn lend(&mut self, id: FileId, assignment: Assignment, taken: Taken) {
        self.lend_beside(id, assignment, taken, None);
    }

    fn lend_beside(
        &mut self,
        id: FileId,
        assignment: Assignment,
        taken: Taken,
        rival: Option<&Arc<SharedEnd>>,
    ) {
        let (load, crowded) = (self.scheduler.load().all(), self.scheduler.is_crowded());
        let portions = self.context.portions;
        let Some(slot) = self.state.slots.0.get_mut(&id) else {
            return self.scheduler.idle(taken.is_large, !taken.is_cold);
        };
        let artifact = slot.artifact.clone();
        let new = || Arc::new(Download::new(artifact.key.clone(), artifact.path.file_name(), portions));
        let download = slot.download.get_or_insert_with(new).clone();
        let is_raced = rival.is_some();
        let ticket = assignment.ticket;
        let (start, asked_end) = (assignment.range.start, assignment.range.end);
        let end = rival.map_or_else(|| SharedEnd::new(start, asked_end), |rival| rival.beside(asked_end));
        let end = Arc::new(end);
        let watch = Watch::new(self.state.began.elapsed());
        let ranges = self.state.lent.entry(id).or_default();
        ranges.push(Lent { ticket, end: end.clone(), watch, asked_end, is_raced });
        let context = self.context.clone();
        self.spawn(Holds::Range(id, ticket, taken), async move {
            let fetch = Fetch {
                context: &context,
                artifact: &artifact,
                download: &download,
                assignment: &assignment,
                end: &end,
                load,
                crowded,
            };
            let mut port = Remote { context: &context, id, taken };
            let served = fetch.run(&mut port).await;
            send(&context, Message::Served { id, ticket, served, taken });
        });
    }

    fn lend_batch(&mut self, ids: Vec<FileId>, taken: Taken) {
        let slots = &mut self.state.slots.0;
        let carried = |id: &FileId| Some(Carried::new(*id, slots.get_mut(id)?.state.take()?));
        let files: VecDeque<Carried> = ids.iter().filter_map(carried).collect();
        let terms = Terms {
            began: self.state.began,
            cut: self.scheduler.cut(),
            taken,
            load: self.scheduler.load().all(),
            crowded: self.scheduler.is_crowded(),
        };
        let context = self.context.clone();
        self.spawn(Holds::Batch(ids, taken), batch::serve(context, files, terms));
    }

    pub(in crate::engine::transfer) fn spawn(
        &mut self,
        holds: Holds,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.state.tasks.spawn(task).id();
        self.state.holds.insert(id, holds);
    }

    /// A task ended; one that panicked could not report what became of its work.
    pub(in crate::engine::transfer) fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, panicked) = match &ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(holds) = self.state.holds.remove(&id) else { return };
        if !panicked {
            return;
        }
        let trouble = || DiskTrouble { kind: DiskTroubleKind::Other, cause: FailureCause::Defect };
        match holds {
            Holds::Range(id, ticket, taken) => {
                let served = Served {
                    end: RangeEnd::Disk(trouble()),
                    bytes: 0,
                    took: Duration::ZERO,
                    waited: Duration::ZERO,
                };
                self.served(id, ticket, served, taken);
            }
            Holds::Look(id, taken) => {
                if let Some(taken) = taken {
                    self.scheduler.end_look(taken);
                }
                let commands = self.step(id, Input::Disk(trouble()));
                self.perform(id, commands);
            }
            Holds::Batch(ids, taken) => {
                self.scheduler.idle(taken.is_large, false);
                for id in ids {
                    // The states are gone with the task.
                    if self.state.slots.0.get(&id).is_some_and(|slot| slot.state.is_none()) {
                        self.close(id, &Ending::lost());
                    }
                }
            }
        }
    }
}

/// Looks at what is here of a file.
async fn look_at(context: &Arc<Context>, task: &Task, is_left_over: bool, plain: bool) -> Found {
    if task.may_adopt
        && let Some(entry) = adopt(context, &context.dir, task, plain).await
    {
        return Found::Whole(Box::new(entry));
    }
    if !is_left_over {
        return Found::Nothing;
    }
    let (parts, artifact, portions) = (context.parts.clone(), task.artifact.clone(), context.portions);
    let taken = blocking(move || {
        let key = artifact.key.clone();
        let taken = parts.take_over(&key)?;
        Ok(taken.map(|taken| Download::taken_over(key, artifact.path.file_name(), portions, taken)))
    });
    match taken.await {
        Ok(Ok(Some((download, left)))) => Found::Part(Arc::new(download), left),
        Ok(Ok(None)) => Found::Nothing,
        Ok(Err(error)) => Found::Trouble(trouble(&error)),
        Err(gone) => {
            tracing::debug!(path = %task.artifact.path, %gone, "what was left could not be looked at");
            Found::Nothing
        }
    }
}

/// A connection's way to a state that the coordinator has.
struct Remote<'a> {
    context: &'a Context,
    id: FileId,
    taken: Taken,
}

impl Port for Remote<'_> {
    async fn response(&mut self, ticket: Ticket, head: Head, waited: Duration) -> Reply {
        send(self.context, Message::Head { waited, cold: self.taken.is_cold });
        let (reply, answer) = oneshot::channel();
        let head = Box::new(head);
        send(self.context, Message::Response { id: self.id, ticket, head, reply });
        answer.await.unwrap_or(Reply::Drop)
    }

    async fn unpacked(&mut self, ticket: Ticket, length: u64) -> Reply {
        let (reply, answer) = oneshot::channel();
        send(self.context, Message::Unpacked { id: self.id, ticket, length, reply });
        answer.await.unwrap_or(Reply::Drop)
    }

    fn booked(&mut self, ticket: Ticket, absorbed: Absorbed) {
        send(self.context, Message::Booked { id: self.id, ticket, absorbed });
    }
}
