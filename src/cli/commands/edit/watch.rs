//! `rcsync edit --watch`: check a configuration whenever it is saved, and send it when the job takes it.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::command_error::CommandError;
use crate::decide::jobs::command_rules::{Command, fits};
use crate::edge::system::watch::Watch;
use crate::error::{Error, ExitStatus};

use super::super::super::config::Talk;
use super::super::super::training_file::TrainingFile;
use super::{Push, ensure_same_name};

/// How often a job that does not take an edit yet is looked at: nobody waits at the screen for the end of a training.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);

/// A configuration on its way to the job.
struct Waiting {
    file: TrainingFile,
    /// When to look at the job.
    due: Instant,
    /// What was told last about why it waits.
    told: String,
}

/// Goes on until a signal comes.
pub(super) async fn watch(push: &Push<'_>, path: &Path, force: bool) -> Result<ExitStatus, CommandError> {
    let watch = Watch::file(path);
    let signals = push.signals;
    let mut seen: Option<Result<String, String>> = None;
    let mut waiting: Option<Waiting> = None;
    push.say(&format!("watching {}; Ctrl-C ends it", path.display()));
    loop {
        let read = TrainingFile::read(push.context.world, path);
        let now_seen = match &read {
            Ok(file) => Ok(file.text.clone()),
            Err(error) => Err(error.to_string()),
        };
        if seen.as_ref() != Some(&now_seen) {
            let is_first = seen.replace(now_seen).is_none();
            waiting = match read {
                // A slip in the path is told at once; later, the file may only be gone for a moment.
                Err(error) if is_first => return Err(error),
                Err(CommandError::Library(Error::NoInput(_))) => waiting,
                Err(error) => {
                    push.complain(&error);
                    None
                }
                Ok(file) => approved(push, file, force),
            };
        }
        if let Some(mut next) = waiting.take() {
            waiting = next.send(push, force).await?.then_some(next);
        }
        let Some(()) = signals.unless_ended(watch.changed()).await else { return Ok(signals.status()) };
    }
}

fn approved(push: &Push<'_>, file: TrainingFile, force: bool) -> Option<Waiting> {
    match file.approve(push.context.world, force) {
        Ok(()) => Some(Waiting { file, due: Instant::now(), told: String::new() }),
        Err(error) => {
            push.complain(&error);
            None
        }
    }
}

impl Waiting {
    /// Sends it when it is time and the job takes it; returns whether it still waits.
    async fn send(&mut self, push: &Push<'_>, force: bool) -> Result<bool, CommandError> {
        if Instant::now() < self.due {
            return Ok(true);
        }
        self.due = Instant::now() + BETWEEN_LOOKS;
        // What was sent and then interrupted is told there, so nothing here may be dropped while it is sent.
        let before = match push.signals.unless_ended(push.api.status(push.job)).await {
            None => return Ok(true),
            Some(Ok(before)) => before,
            Some(Err(fault)) if fault.is_transient() => {
                self.tell(push, &format!("the API gives no answer, trying on: {fault}"));
                return Ok(true);
            }
            Some(Err(fault)) => return Err(fault.into()),
        };
        if !fits(Command::Edit, &before.status) {
            self.tell(
                push,
                &format!(
                    "{} is good; job `{}` is {}, and only a job that has ended takes an edit: it is sent as soon as the job ends",
                    self.file.label, push.job, before.status
                ),
            );
            return Ok(true);
        }
        let same_name =
            if force { Ok(()) } else { ensure_same_name(&self.file, push.job, before.name.as_deref()) };
        let sent = match same_name {
            Ok(()) => push.send(&self.file, &before).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            push.complain(&error);
            push.say("it is sent again when it is saved again");
        }
        Ok(false)
    }

    fn tell(&mut self, push: &Push<'_>, message: &str) {
        if self.told != message {
            push.say(message);
            message.clone_into(&mut self.told);
        }
    }
}

impl Push<'_> {
    fn say(&self, message: &str) {
        if self.context.settings.talk > Talk::Quiet {
            self.context.world.err.line(message);
        }
    }

    fn complain(&self, error: &CommandError) {
        self.context.complain(error);
    }
}
