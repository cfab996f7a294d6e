//! What states order is performed here, in order.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::protocol::{Command, Commands, Ending, Ticket};
use crate::decide::transfer::scheduler::FileId;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::commit_queue::{Finished, ToCommit};
use crate::error::explain_briefly;
use crate::model::artifact::Artifact;

use crate::engine::transfer::context::send;
use crate::engine::transfer::context::trouble;
use crate::engine::transfer::coordinator::Coordinator;
use crate::engine::transfer::coordinator::grants::Holds;
use crate::engine::transfer::download::Download;
use crate::engine::transfer::messages::Reply;
use crate::engine::transfer::messages::{Message, Whole};

impl Coordinator {
    /// Performs what a response is answered with, and answers.
    pub(in crate::engine::transfer) fn reply(
        &mut self,
        id: FileId,
        ticket: Ticket,
        commands: Commands,
        reply: oneshot::Sender<Reply>,
    ) {
        let mut answer = Reply::Drop;
        let mut rest = Commands::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Receive { skip, take, end, lacks, .. } => {
                    let mut ranges = self.state.lent.get(&id).into_iter().flatten();
                    if let Some(lent) = ranges.find(|lent| lent.ticket == ticket) {
                        lent.end.set(end);
                    }
                    answer = Reply::Receive { skip, take, lacks };
                }
                Command::ReadRefusal { .. } => answer = Reply::ReadRefusal,
                Command::Unpack { .. } => answer = Reply::Unpack,
                command => rest.push(command),
            }
        }
        self.perform(id, rest);
        // A connection that is gone was stopped.
        let _ = reply.send(answer);
    }

    /// Performs commands, in order.
    pub(in crate::engine::transfer) fn perform(&mut self, id: FileId, commands: Commands) {
        for command in commands {
            self.perform_one(id, command);
        }
    }

    pub(in crate::engine::transfer) fn perform_one(&mut self, id: FileId, command: Command) {
        let Some(slot) = self.state.slots.0.get_mut(&id) else { return };
        let artifact = slot.artifact.clone();
        let portions = self.context.portions;
        match command {
            Command::Learned(known) => {
                let new =
                    || Arc::new(Download::new(artifact.key.clone(), artifact.path.file_name(), portions));
                slot.download.get_or_insert_with(new).learn(known);
            }
            Command::Habit(habit) => {
                let host = slot.state.as_ref().map(|state| state.host().to_owned());
                if let Some(host) = host {
                    self.know_habit(&host, habit);
                }
            }
            Command::Drop { ticket } => {
                let ranges = self.state.lent.get(&id).into_iter().flatten();
                ranges.filter(|lent| lent.ticket == ticket).for_each(|lent| lent.end.stop());
            }
            Command::Abandon => {
                if let Some(download) = slot.download.take()
                    && let Err(error) = download.abandon()
                {
                    tracing::debug!(path = %artifact.path, error = %explain_briefly(&error), "a part could not be removed");
                }
                self.stop_connections(id);
            }
            // A download begins with the first range that is lent.
            Command::Restart => slot.download = None,
            Command::RefreshLink { newer_than, gone } => self.refresh_link(id, &artifact, newer_than, gone),
            Command::PauseHost { status, wait } => {
                if let Some(state) = &slot.state {
                    self.context.gates.close(state.host(), status, wait);
                }
            }
            Command::SlowDown => self.scheduler.push_back(self.now()),
            Command::NoteBreak => self.scheduler.note_break(self.now()),
            Command::Verify => self.verify(id),
            Command::Publish(verified) => {
                let (Some(state), Some(part), Some(download)) =
                    (&slot.state, slot.part.take(), &slot.download)
                else {
                    return;
                };
                let finished = Finished {
                    task: state.task().clone(),
                    part,
                    verified,
                    revision: state.known().revision.clone().unwrap_or_default(),
                    elapsed: download.began().elapsed(),
                };
                self.hand_over(ToCommit::Publish(Box::new(finished)));
            }
            Command::Adopt(entry) => self.hand_over(ToCommit::Adopt(artifact.key.clone(), entry)),
            Command::NoteUnchanged => {
                let Some(state) = &slot.state else { return };
                let run = state.task().run.clone();
                let (key, path) = (artifact.key.clone(), artifact.path.clone());
                self.hand_over(ToCommit::Unchanged(key, path, run));
            }
            Command::NoteDoubt(doubt) => {
                self.state.outbox.push_back(ToCommit::Doubt(artifact.key.clone(), doubt));
            }
            Command::ReleaseSpace => self.context.room.give_back(&artifact.key),
            Command::Report(report) => self.context.report(&artifact, report),
            Command::End(ending) => self.close(id, &ending),
            // The scheduler read it off the state's phase.
            Command::WaitUntil(_) => {}
            // Answers to a connection.
            Command::Receive { .. } | Command::ReadRefusal { .. } | Command::Unpack { .. } => {}
        }
    }

    /// Has the committer commit something of a file that it reports on.
    fn hand_over(&mut self, item: ToCommit) {
        self.state.handed_over += 1;
        self.state.outbox.push_back(item);
    }

    /// Remembers what a host does with ranges, for every file that is on it.
    pub(in crate::engine::transfer) fn know_habit(&mut self, host: &str, habit: Habit) {
        if self.state.habits.insert(host.to_owned(), habit) == Some(habit) {
            return;
        }
        for slot in self.state.slots.0.values_mut() {
            if let Some(state) = slot.state.as_mut().filter(|state| state.host() == host) {
                state.know_habit(habit);
            }
        }
    }

    /// Shows a file that may have moved what its host does with ranges.
    pub(in crate::engine::transfer) fn show_habit(&mut self, id: FileId) {
        let habits = &self.state.habits;
        if let Some(state) = self.state.slots.0.get_mut(&id).and_then(|slot| slot.state.as_mut()) {
            state.know_habit(habits.get(state.host()).copied().unwrap_or_default());
        }
    }

    pub(in crate::engine::transfer) fn refresh_link(
        &mut self,
        id: FileId,
        artifact: &Arc<Artifact>,
        newer_than: u64,
        gone: bool,
    ) {
        let (context, relister, artifact) = (self.context.clone(), self.relister.clone(), artifact.clone());
        self.spawn(Holds::Look(id, None), async move {
            let refreshed = tokio::select! {
                biased;
                () = context.cancel.cancelled() => return,
                refreshed = relister.newer_than(newer_than, &artifact.key, gone) => refreshed,
            };
            send(&context, Message::Link { id, refreshed });
        });
    }

    /// Completes the hashes of a file, beside everything else.
    pub(in crate::engine::transfer) fn verify(&mut self, id: FileId) {
        let Some(slot) = self.state.slots.0.get(&id) else { return };
        let Some(download) = slot.download.clone() else { return };
        let (context, artifact) = (self.context.clone(), slot.artifact.clone());
        self.spawn(Holds::Look(id, None), async move {
            let parts = context.parts.clone();
            let finished = blocking(move || download.finish(&parts)).await;
            let finished =
                finished.map_err(lost("verify", Path::new(artifact.path.as_str()))).unwrap_or_else(Err);
            let result = match finished {
                Ok(finished) => {
                    Ok(finished.map(|(received, part)| Whole { received: Box::new(received), part }))
                }
                Err(error) => Err(trouble(&error)),
            };
            send(&context, Message::Hashed { id, result });
        });
    }

    /// Stops the connections that still serve a file, whatever they wait for.
    fn stop_connections(&self, id: FileId) {
        self.state.lent.get(&id).into_iter().flatten().for_each(|lent| lent.end.stop());
    }

    /// Ends a file; what arrived stays for the next try, as far as the disk still takes the record.
    pub(in crate::engine::transfer) fn close(&mut self, id: FileId, ending: &Ending) {
        let Some(slot) = self.state.slots.0.remove(&id) else { return };
        self.stop_connections(id);
        let key = &slot.artifact.key;
        self.state.by_key.remove(key);
        match ending {
            Ending::Here => {
                self.state.summary.missing.remove(key);
            }
            Ending::Missing { why, .. } => {
                if let Some(download) = &slot.download
                    && let Err(error) = download.retire()
                {
                    tracing::debug!(path = %slot.artifact.path, error = %explain_briefly(&error), "a part's record could not be written");
                }
                self.leftovers.insert(key.fingerprint());
                self.state.summary.missing.insert(key.clone(), why.clone());
            }
        }
        self.scheduler.close(self.now(), id, key, ending);
    }
}
