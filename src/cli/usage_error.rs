//! What the parser did not understand, in the form of all other messages.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::command_error::CommandError;
use crate::cli::format::shown_value;

use super::args::Cli;
use super::suggest;

/// Options of other programs that people type here, and what they mean.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["--json", "-o", "--format"], "`--output json`"),
    (&["-j", "--jobs", "--parallel", "--concurrency", "--transfers", "--max-workers"], "`--connections <N>`"),
    (&["--bwlimit", "--rate", "--limit", "--max-rate"], "`--limit-rate <RATE>`"),
    (&["-n", "--dryrun", "--simulate"], "`--dry-run`"),
    (&["--silent", "-s", "--no-progress"], "`--quiet`"),
    (
        &["--token", "--api-key", "--key", "--auth"],
        "the environment variable `RUNCOMFY_TOKEN`, or a file named by `--token-file <PATH>`: every user of this machine can \
         see arguments",
    ),
];

/// The same for `sync`.
const OF_SYNC: &[(&[&str], &str)] = &[
    (
        &["--dir", "-d", "--local-dir", "--output-dir", "--to", "-O"],
        "the folder as a word of its own: `rcsync <JOB_ID> <DIR>`",
    ),
    (&["--follow", "--watch", "-f", "-w"], "nothing: without `--once`, rcsync follows the job to its end"),
    (&["--resume", "--continue", "-c"], "nothing: what an earlier run has fetched is never fetched again"),
    (&["--checksum", "--check"], "nothing: every file is verified; `rcsync verify <DIR>` reads all again"),
];

/// Returns a parser's complaint as one of ours.
pub(crate) fn reported(error: &clap::Error) -> CommandError {
    let why = sentence(error);
    match found(error) {
        Some((command, _)) => {
            CommandError::misused(why, format!("`rcsync {command} --help` lists what can be typed"))
        }
        None => CommandError::Usage(why),
    }
}

fn sentence(error: &clap::Error) -> String {
    let invalid = || text(error, ContextKind::InvalidArg).unwrap_or_default();
    let usage = || usage(error).map_or_else(String::new, |usage| format!("; the form is `{usage}`"));
    match error.kind() {
        ErrorKind::UnknownArgument => unknown(error, &invalid(), &usage()),
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = text(error, ContextKind::SuggestedSubcommand);
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            format!("there is no command `{word}`{near}")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = texts(error, ContextKind::InvalidArg);
            let verb = if missing.len() == 1 { "is" } else { "are" };
            // A command that wants one of two options has neither in its form; then the form as typed has it.
            let own = usage();
            if let Some(missing) = missing.first()
                && typed_usage(error).is_some_and(|typed| typed.contains("--follow"))
            {
                return format!(
                    "`{missing}` is missing{own}; the word after `--follow` is its folder, so write `{missing}` before it"
                );
            }
            let is_named = missing.iter().all(|missing| own.contains(missing.as_str()));
            let form = if is_named {
                own
            } else {
                typed_usage(error).map_or(own, |form| format!("; the form is `{form}`"))
            };
            format!("`{}` {verb} missing{form}", missing.join("` and `"))
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!("`{}`: {why}", with_value(&invalid(), &value(error)))
        }
        ErrorKind::InvalidValue if value(error).is_empty() => {
            format!("`{}` needs a value{}", invalid(), one_of(error))
        }
        ErrorKind::InvalidValue => {
            let near = text(error, ContextKind::SuggestedValue);
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            format!("`{}`{}{near}", with_value(&invalid(), &value(error)), one_of(error))
        }
        ErrorKind::ArgumentConflict => {
            let other = texts(error, ContextKind::PriorArg).join("`, `");
            // Words where a command of `fleet` could be typed.
            if invalid().is_empty() {
                return format!("there is one word too many{}", usage());
            }
            if other == invalid() {
                return format!("`{}` is given twice", bare_option(&other));
            }
            format!("`{}` and `{other}` cannot be had together", invalid())
        }
        ErrorKind::TooManyValues if !invalid().contains('<') => {
            format!("`{}` is a switch and takes no value", invalid())
        }
        ErrorKind::NoEquals => format!("`{}` wants its value behind a `=`", invalid()),
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            format!("`{}` has too many values, or too few{}", invalid(), usage())
        }
        ErrorKind::InvalidUtf8 => {
            format!("an argument that has to be text is not UTF-8{}", usage())
        }
        // Other errors keep the parser's own words.
        other => other.as_str().unwrap_or("the command line could not be understood").to_owned(),
    }
}

fn unknown(error: &clap::Error, word: &str, usage: &str) -> String {
    if !word.starts_with('-') {
        return format!("`{word}` is one word too many{usage}");
    }
    let command = command(error);
    let of_sync = if command.as_deref() == Some("sync") { OF_SYNC } else { &[] };
    if let Some((_, meant)) = ELSEWHERE.iter().chain(of_sync).find(|(words, _)| words.contains(&word)) {
        return format!("there is no option `{word}`; what you want is {meant}");
    }
    if ["submit", "resume"].iter().any(|known| command.as_deref() == Some(known))
        && ["--watch", "-w", "-f"].contains(&word)
    {
        return format!("there is no option `{word}`; what you want is `--follow`");
    }
    if let Some(command) = command_with(word) {
        return format!("there is no option `{word}` here; it is one of `rcsync {command}`{usage}");
    }
    let near = text(error, ContextKind::SuggestedArg);
    let near =
        near.map_or_else(|| usage.to_owned(), |near| format!("; did you mean `{}`?", bare_option(&near)));
    format!("there is no option `{word}`{near}")
}

/// Returns the command that has this option: one who types it knows what it does, but not where.
fn command_with(option: &str) -> Option<String> {
    let long = option.strip_prefix("--")?;
    let program = Cli::command();
    let has = |command: &&clap::Command| {
        let mut arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
        !command.is_hide_set() && arguments.any(|argument| argument.get_long() == Some(long))
    };
    program.get_subcommands().find(has).map(|command| command.get_name().to_owned())
}

/// Takes the value's name away: `--interval <DURATION>` is typed `--interval`.
fn bare_option(argument: &str) -> &str {
    argument.split([' ', '=', '[']).next().unwrap_or(argument)
}

/// `--timeout <DURATION>` with the value that was typed: `--timeout 0`; a positional keeps its name.
fn with_value(argument: &str, value: &str) -> String {
    if argument.starts_with('-') {
        format!("{} {value}", bare_option(argument))
    } else {
        format!("{argument}: {value}")
    }
}

fn one_of(error: &clap::Error) -> String {
    let valid = texts(error, ContextKind::ValidValue);
    let near = suggest::nearest(&value(error), valid.iter().map(String::as_str));
    match near {
        Some(near) if text(error, ContextKind::SuggestedValue).is_none() => {
            format!(": it has to be one of {}; did you mean `{near}`?", valid.join(", "))
        }
        _ if valid.is_empty() => String::new(),
        _ => format!(": it has to be one of {}", valid.join(", ")),
    }
}

fn value(error: &clap::Error) -> String {
    text(error, ContextKind::InvalidValue).unwrap_or_default()
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    texts(error, kind).into_iter().next()
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        // Words that were typed may hold an address.
        Some(ContextValue::String(text)) => vec![shown_value(text)],
        Some(ContextValue::Strings(texts)) => texts.iter().map(|text| shown_value(text)).collect(),
        _ => Vec::new(),
    }
}

/// Returns the form with the options that were typed, on one line.
fn typed_usage(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::StyledStr(typed)) = error.get(ContextKind::Usage) else { return None };
    one_line(&typed.to_string())
}

/// Returns the command that was typed.
fn command(error: &clap::Error) -> Option<String> {
    typed_usage(error)?.split_whitespace().nth(1).map(str::to_owned)
}

/// Returns the command's own form as the help shows it, on one line: `rcsync ls <DIR>`.
fn usage(error: &clap::Error) -> Option<String> {
    one_line(&found(error)?.1.render_usage().to_string())
}

/// Returns the command that was typed, by its words; `fleet add` and `dataset push` are commands of their own.
fn found(error: &clap::Error) -> Option<(String, clap::Command)> {
    let typed = typed_usage(error)?;
    let mut command = Cli::command();
    command.build();
    let mut path = Vec::new();
    for word in typed.split_whitespace().skip(1) {
        let Some(inner) = command.find_subcommand(word).cloned() else { break };
        command = inner;
        path.push(word);
    }
    (!path.is_empty()).then(|| (path.join(" "), command))
}

fn one_line(usage: &str) -> Option<String> {
    Some(usage.trim().strip_prefix("Usage:")?.lines().next()?.trim().replace("[OPTIONS] ", ""))
}
