//! The sentences of events: causes and notices in words, with the options that change them.

use std::time::Duration;

use crate::cli::command_error::hint;
use crate::cli::format::files;
use crate::decide::datasets::Cure;
use crate::decide::datasets::push::ready::Difference;
use crate::decide::datasets::push::sending::SendFault;
use crate::decide::mirror::auto_resume::Stopped;
use crate::decide::mirror::plan::Counts;
use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::task::FailureCause;
use crate::decide::transfer::verify::Contradiction;
use crate::engine::datasets::event::{FailedPush, Meanwhile, PushNotice, RetriedPush};
use crate::engine::event::{
    AfterFailure, ComfyNotice, HookEvent, HookKind, HookTrouble, NoStart, NotAdopted, Notice, ResumeReason,
    RetryCause, ServerAnswer,
};
use crate::error::{ApiError, Error, explain_briefly};
use crate::model::comfyui::{AwayFolder, ConfiguredFolder, LoraFolderReason};
use crate::model::dataset;
use crate::model::fault::{Fault, Forbidden};
use crate::model::names::rel_path::RelPath;
use crate::model::units::ByteCount;

/// What is to be done, in numbers.
pub(crate) fn plan(counts: Counts) -> String {
    let Counts { fetch, ask, present } = counts;
    let ask = if ask > 0 { format!(", {ask} to ask about again") } else { String::new() };
    format!("{} to fetch{ask}, {present} here", files(fetch))
}

/// Why a file failed.
pub(crate) fn failure(cause: &FailureCause) -> String {
    match cause {
        FailureCause::Network(cause) => fault(cause),
        FailureCause::Contradicted(Contradiction::Unwritten { .. }) => {
            format!("{cause} (`--accept-unproven` takes it)")
        }
        FailureCause::NoRoom { path, shortage } => {
            format!("could not make room for `{path}`: {}", lacking(shortage))
        }
        _ => cause.to_string(),
    }
}

/// What is wrong with one request for a hosted file.
pub(crate) fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Forbidden { why: Forbidden::Private | Forbidden::PlainHttp, .. } => {
            format!("{fault} (see `--allow-private-hosts`)")
        }
        _ => fault.to_string(),
    }
}

/// Why one try to send a file of a dataset failed.
fn sending(fault: &SendFault) -> String {
    match fault {
        SendFault::Host(fault) => self::fault(fault),
        SendFault::Api(_) | SendFault::Local(_) => fault.to_string(),
    }
}

/// Why a push tries something again.
pub(crate) fn retried_push(RetriedPush { fault, at_a_time }: &RetriedPush) -> String {
    let fewer = at_a_time.map_or_else(String::new, |count| format!("; {count} at a time now"));
    sending(fault) + &fewer
}

/// Why a file of a push, or its dataset, failed.
pub(crate) fn failed_push(cause: &FailedPush) -> String {
    match cause {
        FailedPush::Fault(fault) => sending(fault),
        FailedPush::Meanwhile(Meanwhile::Came) => "it came into the folder while others were sent".to_owned(),
        FailedPush::Meanwhile(Meanwhile::Changed) => "it changed while others were sent".to_owned(),
        FailedPush::Meanwhile(Meanwhile::Went) => "it went from the folder while others were sent".to_owned(),
        FailedPush::Renamed(which) => {
            format!("{which}: rename them to letters, digits, `_` and `-`, and push into a new dataset")
        }
        FailedPush::Refused(why) => why.as_deref().unwrap_or("the API gives no reason").to_owned(),
        FailedPush::Different { status, difference } => {
            format!("it is {status} and not as the folder is: {}", self::difference(difference))
        }
        FailedPush::NotReady { status, waited } => {
            format!("it is still {status} after {} s", waited.as_secs())
        }
    }
}

/// What an inventory has otherwise than a folder, with a few names.
fn difference(Difference { missing, lengths, foreign }: &Difference) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("it lacks {}", dataset::some(missing)));
    }
    if let Some((name, expected, listed)) = lengths.first() {
        let more = dataset::and_more(lengths.len() - 1);
        parts.push(format!("`{name}` has {listed} bytes there and {expected} here{more}"));
    }
    if !foreign.is_empty() {
        parts.push(format!("it has {}, which the folder lacks", dataset::some(foreign)));
    }
    parts.join("; ")
}

/// What users should know of a push.
pub(crate) fn push_notice(notice: &PushNotice) -> String {
    match notice {
        PushNotice::NotRecorded(error) => format!(
            "what is sent cannot be remembered, so that a later push compares names and lengths alone: {}",
            explain_briefly(error)
        ),
        PushNotice::RecordedNoMore(error) => {
            format!("what is sent is remembered no more: {}", explain_briefly(error))
        }
        PushNotice::LeftOut(name) => format!("`{name}` cannot be sent and is left out"),
        PushNotice::OtherNames(names) => {
            format!("the API keeps {} under other names", dataset::some(names))
        }
    }
}

/// Why something is tried again.
pub(crate) fn retry(cause: &RetryCause) -> String {
    match cause {
        RetryCause::Api(fault) => fault.to_string(),
        RetryCause::Store(fault) => fault.to_string(),
        RetryCause::File(cause) => failure(cause),
    }
}

/// Why a job was resumed.
pub(crate) fn resumed(reason: &ResumeReason) -> String {
    match reason {
        ResumeReason::Asked => "as asked".to_owned(),
        ResumeReason::Stopped(at) => stopped(at),
    }
}

/// What a run reports besides progress and failed files.
pub(crate) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::UnusableRow(row) => row.to_string(),
        Notice::Unfetchable { kind, why } => format!("a listed {kind} cannot be fetched: {why}"),
        Notice::NothingChosen { offered } => format!(
            "none of the {offered} files that the job offers is chosen: see `--only`, `--include`, `--exclude`, `--steps`, `--last`"
        ),
        Notice::NothingMatches { patterns, offered } => format!(
            "none of the {offered} files that the job offers matches `--include {}`",
            patterns.join("`, nor `--include ")
        ),
        Notice::Failed(error) => explain_briefly(error),
        Notice::JobFailed(error) => with_hint(error),
        Notice::JobHeld(error) => format!("{}: skipped until it is free", explain_briefly(error)),
        Notice::Pruned { path, bucket } => {
            let place = if *bucket { "there" } else { "here" };
            format!("`{path}` is removed {place}, as newer ones are kept")
        }
        Notice::TimedOut => "stopped following: `--timeout` has passed".to_owned(),
        Notice::Late(late) => format!(
            "the link is too slow for step {}: the trainer deletes it in about {}, it needs {}",
            late.step,
            roughly(late.goes_in),
            roughly(late.needs)
        ),
        Notice::DiskWillFill(full) => format!(
            "the disk will be full at about step {}: the run will still make {}, and there is room for {}",
            full.at_step,
            ByteCount(full.needs),
            ByteCount(full.room)
        ),
        Notice::WillResume { stopped: at, after, attempt, most } => {
            format!("{}; it is resumed in {} s ({attempt} of {most})", stopped(at), after.as_secs_f64())
        }
        Notice::LeftAlone { job, stopped: at, times } => {
            let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
            format!(
                "{}; it was resumed {times} already and is left alone; `rcsync resume {job} --follow` continues it",
                stopped(at)
            )
        }
        Notice::ResumeUnknown(fault) => {
            let cause = match fault {
                ApiError::Unknown { cause } => cause.to_string(),
                ApiError::Unintelligible { why } => why.to_string(),
                other => other.to_string(),
            };
            format!("it is unknown whether the API resumed the job ({cause}): looking")
        }
        Notice::NotResumed(fault) => format!("the job could not be resumed: {fault}"),
        Notice::ManifestDamaged => {
            "the manifest was damaged and was put aside; files that are here are checked and kept".to_owned()
        }
        Notice::VersionGone(path) => {
            format!("`{path}` is gone: it was an older version, is no longer hosted, and is forgotten")
        }
        Notice::NotAdopted { paths, more, why } => {
            let (has, stays) = match (paths.as_slice(), more) {
                ([_], 0) => ("has", "it stays as it is, and is not listed, verified or pruned"),
                _ => ("have", "they stay as they are, and are not listed, verified or pruned"),
            };
            let what = match why {
                NotAdopted::Differs => format!("{has} other bytes than `job.json` and `SHA256SUMS` record"),
                NotAdopted::Unrecorded => format!("{has} no record of rcsync's"),
                NotAdopted::Unreadable => "cannot be read".to_owned(),
            };
            let again = if *why == NotAdopted::Unreadable { "; the next run tries again" } else { "" };
            format!("{} {what}: {stays}{again}", some(paths, *more))
        }
        Notice::KeptEdited { path, kept } => {
            format!("`{path}` had been changed here; its bytes are kept as `{kept}`")
        }
        Notice::KeptOlder { path, kept } => {
            format!("`{path}` has new bytes; the old ones are kept as `{kept}`")
        }
        Notice::NameTaken { wanted, path } => {
            format!("`{wanted}` is not known to be rcsync's and stays as it is; the job's file is `{path}`")
        }
        Notice::NoRoom { path, shortage } => {
            format!("no room for `{path}`: {}; waiting until there is", lacking(shortage))
        }
        Notice::DiskFull(cause) => format!("{}; waiting until there is room", failure(cause)),
        Notice::Hook { hook, what } => format!("`{}` {}", option(*hook), of_hook(what)),
        Notice::NoGallery(error @ Error::ForeignPage(_)) => format!("no gallery: {}", with_hint(error)),
        Notice::NoGallery(error) => {
            format!("no gallery this time: {}; the mirrored files are unchanged", explain_briefly(error))
        }
        Notice::HeadDamaged => {
            "`.rcsync/head.json` is damaged and put aside; files are adopted by their hash".to_owned()
        }
        Notice::WaitingForLease { to, holder } => {
            format!("`{to}` is held by another rcsync ({holder}): waiting")
        }
        Notice::LeaseNotFreed(error) => format!("the lease could not be freed: {}", explain_briefly(error)),
        Notice::ComfyUi(notice) => of_comfyui(notice),
    }
}

/// What to do about a finding.
pub(crate) fn cure(cure: &Cure) -> String {
    match cure {
        Cure::Text(text) => text.clone(),
        Cure::Rename { suggestion, in_config: true } => format!(
            "rename the folder, or name it with `--name {suggestion}`, and write that into `folder_path`"
        ),
        Cure::Rename { suggestion, in_config: false } => {
            format!("rename the folder, or name the dataset with `--name {suggestion}`")
        }
        Cure::MoveUp { folder } => {
            format!("move its files into the folder itself, or leave it out with `--exclude '{folder}/*'`")
        }
        Cure::MoveAway => "move it away, or leave it out with `--exclude`".to_owned(),
        Cure::NameInConfig { name } => {
            format!("write `folder_path: /app/ai-toolkit/datasets/{name}`, or name the dataset with `--name`")
        }
        Cure::CaptionExtension { extension } => {
            format!("write `caption_ext: {extension}` into the dataset (and check with `--caption-ext`)")
        }
    }
}

/// The option that a hook was given with.
pub(crate) const fn option(hook: HookKind) -> &'static str {
    match hook {
        HookKind::Exec => "--exec",
        HookKind::ExecDone => "--exec-done",
        HookKind::Webhook => "--webhook",
    }
}

fn of_hook(what: &HookTrouble) -> String {
    match what {
        HookTrouble::NotStarted(NoStart::Journal(error)) => {
            format!("is skipped in this run: {}", explain_briefly(error))
        }
        HookTrouble::NotStarted(NoStart::Thread(error)) => format!("is skipped in this run: {error}"),
        HookTrouble::Broken(cause) => {
            format!("is skipped for the rest of this run: {cause}; the next run delivers what it missed")
        }
        HookTrouble::Failed { about, cause, next } => {
            let about = match about {
                HookEvent::Published(path) => format!("`{path}`"),
                HookEvent::Stalled => "a job without progress".to_owned(),
                HookEvent::Done => "the end of the run".to_owned(),
            };
            let next = match next {
                AfterFailure::Again => "the file is safe, and the hook is tried again".to_owned(),
                AfterFailure::GivenUp { tries } => format!("given up after {tries} tries, the file is safe"),
                AfterFailure::Unused => "it is skipped for the rest of this run".to_owned(),
            };
            format!("failed for {about}: {cause}; {next}")
        }
        HookTrouble::FailedAtEnd(cause) => format!("failed at the end of the run: {cause}"),
        HookTrouble::FailureNotRecorded(error) => {
            format!("failed, which could not be recorded: {}", explain_briefly(error))
        }
        HookTrouble::SuccessNotRecorded(error) => {
            format!("ran, but this could not be recorded, so it will run again: {}", explain_briefly(error))
        }
    }
}

fn of_comfyui(notice: &ComfyNotice) -> String {
    match notice {
        ComfyNotice::Folder { path, why } => {
            format!("LoRAs go to `{}`: {}", path.display(), lora_folder(why))
        }
        ComfyNotice::Incomplete { error, again } => {
            let again = if *again { "; it is tried again" } else { "" };
            format!("not everything could be placed in ComfyUI: {}{again}", explain_briefly(error))
        }
        ComfyNotice::Unsettled { files } => {
            let files = if *files == 1 { "1 LoRA file is" } else { &format!("{files} LoRA files are") };
            format!("{files} not placed in ComfyUI: the bytes here are not those that were published")
        }
        ComfyNotice::ChangedInBucket(path) => format!(
            "`{path}` is not placed in ComfyUI: the bytes in the bucket are not those that were published"
        ),
        ComfyNotice::NotALora { path, kind } => {
            format!("`{path}` is not placed in ComfyUI: by its header it holds no LoRA ({kind})")
        }
        ComfyNotice::NoFolderForEmbedding(path) => format!(
            "`{path}` is not placed in ComfyUI: it is an embedding, and there is no folder `embeddings` beside that of the LoRAs"
        ),
        ComfyNotice::HalfOfPair(path) => {
            format!("`{path}` is not placed in ComfyUI: it is half of a pair, and the other half is not here")
        }
        ComfyNotice::Withdrawn(path) => {
            format!("`{path}` was moved, renamed or deleted in ComfyUI: it is not placed again")
        }
        ComfyNotice::NameTaken { name, at } => {
            format!("`{name}` is not placed: ComfyUI has something else at `{at}`, and it stays")
        }
        ComfyNotice::NameTooLong { name } => {
            format!("`{name}` is not placed: its name is too long for a folder in ComfyUI")
        }
        ComfyNotice::Removed(path) => format!("`{path}` is removed from ComfyUI, as `--comfyui-keep` says"),
        ComfyNotice::NotRemoved(error) => format!("it stays for now: {}", explain_briefly(error)),
        ComfyNotice::LeftBeside { lora, names, more } => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let more = if *more > 0 { format!(" and {more} more") } else { String::new() };
            format!("beside `{lora}` there stays what rcsync did not write: {}{more}", names.join(", "))
        }
        ComfyNotice::Server { origin, answer } => of_server(origin, answer),
    }
}

/// Why LoRAs go to a folder.
pub(crate) fn lora_folder(why: &LoraFolderReason) -> String {
    match why {
        LoraFolderReason::Named => "the folder itself, as it was named".to_owned(),
        LoraFolderReason::LoraFolder => "it is a loras folder itself".to_owned(),
        LoraFolderReason::ModelsFolder => "the loras folder of the models folder there".to_owned(),
        LoraFolderReason::OtherProgram => "the LoRA folder of the program there".to_owned(),
        LoraFolderReason::ComfyUi { away: default } => {
            format!("the loras folder of the ComfyUI there{}", away(default.as_ref()))
        }
        LoraFolderReason::ComfyUiAlone(fault) => format!("the loras folder of the ComfyUI there; {fault}"),
        LoraFolderReason::ExtraPaths(ConfiguredFolder { place, is_default, away: default }) => {
            let what = if *is_default { "the default for loras" } else { "`loras`" };
            format!("{what} in {place}{}", away(default.as_ref()))
        }
        LoraFolderReason::PathsFile(ConfiguredFolder { place, is_default, away: default }) => {
            let marked = if *is_default { ", marked as default" } else { "" };
            format!("`loras` of {place}{marked}{}", away(default.as_ref()))
        }
    }
}

fn away(default: Option<&AwayFolder>) -> String {
    default.map_or_else(String::new, |AwayFolder { path, place }| {
        format!("; `{}` would come before it, and is not there ({place})", path.display())
    })
}

fn of_server(origin: &str, answer: &ServerAnswer) -> String {
    match answer {
        ServerAnswer::None { why } => {
            format!("ComfyUI at {origin} was not asked whether it lists the new LoRAs: {why}")
        }
        ServerAnswer::Listed(new) => {
            let what = match new.as_slice() {
                [only] => format!("`{only}`"),
                many => format!("all {} new LoRAs", many.len()),
            };
            format!("ComfyUI at {origin} lists {what}; press `r` there to see it in the nodes")
        }
        ServerAnswer::Unlisted { path, root, roots } => {
            let roots: Vec<String> = roots.iter().map(|root| format!("`{root}`")).collect();
            let reads =
                if roots.is_empty() { String::new() } else { format!("; it reads {}", roots.join(", ")) };
            let root = root.display();
            format!("ComfyUI at {origin} does not list `{path}`: it does not read `{root}`{reads}")
        }
        ServerAnswer::Shadowed { path, by } => format!(
            "ComfyUI at {origin} lists `{path}`, but takes the file of that name in `{}`, which it searches first",
            by.display()
        ),
    }
}

/// The first of some files, and how many more there are.
fn some(paths: &[RelPath], more: usize) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// An error in one line, with the way out.
fn with_hint(error: &Error) -> String {
    format!("{}; {}", explain_briefly(error), hint(error))
}

fn lacking(shortage: &Shortage) -> String {
    format!("{shortage} (`--min-free`)")
}

fn stopped(at: &Stopped) -> String {
    match (at.step, at.total_steps) {
        (Some(step), Some(total)) => format!("the job stopped at step {step} of {total} without an error"),
        _ => "the job stopped before its last step without an error".to_owned(),
    }
}

fn roughly(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..100 => format!("{seconds} s"),
        seconds @ ..6000 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1800) / 3600),
    }
}

#[cfg(test)]
mod tests;
