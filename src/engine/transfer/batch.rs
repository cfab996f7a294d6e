//! Small files, granted to a connection in a batch: it carries each from its request to its proof, stepping the file's
//! state itself, and reports several at once, so that a file costs no hand-over between tasks.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::protocol::{Command, Input, Phase, Ticket};
use crate::decide::transfer::ranges::Cut;
use crate::decide::transfer::scheduler::Taken;
use crate::decide::transfer::write_place::WritePlace;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::clock;
use crate::engine::event::Event;
use crate::model::artifact::Artifact;
use crate::model::response_head::Head;

use super::carried::Carried;
use super::context::{Context, send, trouble};
use super::download::{Absorbed, Download};
use super::messages::{Message, Reply};
use super::shared_end::SharedEnd;
use super::worker::{Fetch, Port};

/// Files that are done are reported after this long, and at the batch's end.
const REPORT_AFTER: Duration = Duration::from_millis(10);

/// A file that takes longer than this does not hold up the rest of its batch: others take what has not begun, and what is done
/// is reported.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(250);

/// How a batch is served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) began: Instant,
    pub(super) cut: Cut,
    pub(super) taken: Taken,
    pub(super) load: usize,
    pub(super) crowded: bool,
}

/// Carries files one after the other.
pub(super) async fn serve(context: Arc<Context>, mut files: VecDeque<Carried>, mut terms: Terms) {
    let mut done: Vec<Carried> = Vec::new();
    let mut since = Instant::now();
    while let Some(mut file) = files.pop_front() {
        if context.cancel.is_cancelled() {
            files.push_front(file);
            break;
        }
        {
            let carrying = carry(&context, &mut file, &terms);
            tokio::pin!(carrying);
            tokio::select! {
                biased;
                () = &mut carrying => {}
                () = tokio::time::sleep(GIVE_BACK_AFTER), if !(files.is_empty() && done.is_empty()) => {
                    send(&context, Message::Returned(files.drain(..).collect()));
                    send(&context, Message::Carried { files: std::mem::take(&mut done), taken: None });
                    carrying.await;
                }
            }
        }
        // The next request is on a connection that exists.
        terms.taken.is_cold = false;
        if done.is_empty() {
            since = Instant::now();
        }
        done.push(file);
        if since.elapsed() >= REPORT_AFTER {
            send(&context, Message::Carried { files: std::mem::take(&mut done), taken: None });
        }
    }
    if !files.is_empty() {
        send(&context, Message::Returned(files.into()));
    }
    send(&context, Message::Carried { files: done, taken: Some(terms.taken) });
}

/// Carries one file as far as it goes without anything that only the coordinator can do.
async fn carry(context: &Arc<Context>, file: &mut Carried, terms: &Terms) {
    let artifact = file.state.task().artifact.clone();
    let now = terms.began.elapsed();
    let commands = file.state.step(now, Input::Begun(None));
    file.commands.extend(commands);
    let download = Arc::new(Download::new(artifact.key.clone(), artifact.path.file_name(), context.portions));
    file.download = Some(download.clone());
    // More than once only for a request that delivered no byte, and is sent in another form.
    while file.commands.is_empty() && file.state.have() == 0 && !context.cancel.is_cancelled() {
        let Some(assignment) = file.state.assign(&terms.cut) else { return };
        let end = Arc::new(SharedEnd::new(assignment.range.start, assignment.range.end));
        let fetch = Fetch {
            context,
            artifact: &artifact,
            download: &download,
            assignment: &assignment,
            end: &end,
            load: terms.load,
            crowded: terms.crowded,
        };
        let mut port = Own { context, artifact: &artifact, file, end: &end, download: &download, terms };
        let served = fetch.run(&mut port).await;
        if context.cancel.is_cancelled() {
            return;
        }
        step(
            context,
            &artifact,
            &download,
            file,
            terms,
            Input::RangeEnded { ticket: assignment.ticket, end: served.end },
        );
    }
    if *file.state.phase() == Phase::Verifying {
        verify(context, &artifact, &download, file, terms).await;
    }
}

async fn verify(
    context: &Arc<Context>,
    artifact: &Artifact,
    download: &Arc<Download>,
    file: &mut Carried,
    terms: &Terms,
) {
    file.commands.retain(|command| *command != Command::Verify);
    let place = context.write_place(download.length().unwrap_or(u64::MAX), download.is_small());
    let finished = match place {
        WritePlace::OnTheSpot => download.finish(&context.parts),
        WritePlace::Elsewhere => {
            let (download, context) = (download.clone(), context.clone());
            let finishing = blocking(move || download.finish(&context.parts)).await;
            finishing.map_err(lost("verify", Path::new(artifact.path.as_str()))).unwrap_or_else(Err)
        }
    };
    let input = match finished {
        Ok(Some((received, part))) => {
            file.part = Some(part);
            Input::Hashed { received: Box::new(received), unix_ms: clock::unix_ms() }
        }
        Ok(None) => return,
        Err(error) => Input::Disk(trouble(&error)),
    };
    step(context, artifact, download, file, terms, input);
}

/// Steps the file's state; what only the coordinator can do is kept for it.
fn step(
    context: &Context,
    artifact: &Artifact,
    download: &Download,
    file: &mut Carried,
    terms: &Terms,
    input: Input,
) {
    file.state.know_run(context.may_run_write());
    for command in file.state.step(terms.began.elapsed(), input) {
        match command {
            Command::Learned(known) => download.learn(known),
            Command::Habit(habit) => file.habit = Some(habit),
            Command::Report(report) if file.commands.is_empty() => context.report(artifact, report),
            command => file.commands.push(command),
        }
    }
}

/// A connection's way to a state that it carries itself.
struct Own<'a> {
    context: &'a Arc<Context>,
    artifact: &'a Artifact,
    file: &'a mut Carried,
    end: &'a SharedEnd,
    download: &'a Download,
    terms: &'a Terms,
}

impl Own<'_> {
    fn step(&mut self, input: Input) {
        step(self.context, self.artifact, self.download, self.file, self.terms, input);
    }

    /// Takes out the order that a response was answered with.
    fn reply(&mut self) -> Reply {
        let is_reply = |command: &Command| {
            matches!(
                command,
                Command::Receive { .. }
                    | Command::ReadRefusal { .. }
                    | Command::Unpack { .. }
                    | Command::Drop { .. }
            )
        };
        let Some(at) = self.file.commands.iter().position(is_reply) else { return Reply::Drop };
        match self.file.commands.remove(at) {
            Command::Receive { skip, take, end, lacks, .. } => {
                self.end.set(end);
                Reply::Receive { skip, take, lacks }
            }
            Command::ReadRefusal { .. } => Reply::ReadRefusal,
            Command::Unpack { .. } => Reply::Unpack,
            _ => Reply::Drop,
        }
    }
}

impl Port for Own<'_> {
    async fn response(&mut self, ticket: Ticket, head: Head, waited: Duration) -> Reply {
        if self.terms.taken.is_cold && !std::mem::replace(&mut self.file.has_cold_head, true) {
            send(self.context, Message::Head { waited, cold: true });
        } else {
            self.file.waited.push(waited);
        }
        self.step(Input::Response { ticket, head });
        self.reply()
    }

    async fn unpacked(&mut self, ticket: Ticket, length: u64) -> Reply {
        self.step(Input::Unpacked { ticket, length });
        self.reply()
    }

    fn booked(&mut self, ticket: Ticket, absorbed: Absorbed) {
        let Absorbed { count, declared, hopeless, .. } = absorbed;
        self.step(Input::Booked { ticket, count, declared, hopeless });
        self.context.emit(&Event::Received {
            path: self.artifact.path.clone(),
            have: self.file.state.have(),
            size: self.file.state.length(),
        });
        let is_dropped = self.file.commands.iter().any(|command| matches!(command, Command::Drop { .. }));
        if is_dropped || *self.file.state.phase() == Phase::Ended {
            self.end.stop();
        }
    }
}
