//! `rcsync <JOB_ID> [DEST]` is `rcsync sync <JOB_ID> [DEST]`, and `--auto-resume [N]` may have a space before its number: both
//! are part of the interface, and the parser knows neither.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use super::args::Cli;
use super::suggest;
use crate::cli::command_error::CommandError;

/// Returns the arguments for the parser; the first one is the program's name.
pub(crate) fn expand(typed: Vec<OsString>) -> Result<Vec<OsString>, CommandError> {
    let (mut arguments, after) = split_at_dashes(typed);
    join_auto_resume(&mut arguments);
    let program = Cli::command();
    let first = first_positional(&arguments, &program).cloned().or_else(|| after.get(1).cloned());
    let asks_about_itself =
        arguments.iter().any(|word| ["-h", "--help", "-V", "--version"].iter().any(|known| word == known));
    let add_sync = match first {
        Some(word) => !is_command(&program, &word) && not_a_typo(&program, &word)?,
        None => arguments.len() > 1 && !asks_about_itself,
    };
    if add_sync {
        arguments.insert(1.min(arguments.len()), "sync".into());
    }
    arguments.extend(after);
    Ok(arguments)
}

/// Splits before `--`: what follows it is never an option.
fn split_at_dashes(mut typed: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let at = typed.iter().position(|word| word == "--").unwrap_or(typed.len());
    let after = typed.split_off(at);
    (typed, after)
}

/// `--auto-resume 5` becomes `--auto-resume=5`: a bare `--auto-resume` before a job must not take the job for its number, so
/// the parser wants the `=`. Longer digits are a job.
fn join_auto_resume(arguments: &mut Vec<OsString>) {
    let is_count =
        |word: &str| (1..=4).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
    let Some(at) = arguments.iter().position(|word| word == "--auto-resume") else { return };
    let Some(count) = arguments.get(at + 1).and_then(|word| word.to_str()).filter(|word| is_count(word))
    else {
        return;
    };
    let joined = format!("--auto-resume={count}");
    arguments.splice(at..=at + 1, [joined.into()]);
}

fn first_positional<'a>(arguments: &'a [OsString], program: &clap::Command) -> Option<&'a OsString> {
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str().and_then(|word| word.strip_prefix("--")) {
            Some(option) => {
                if !option.contains('=') && wants_value(program, option) {
                    words.next();
                }
            }
            // No short option takes a value (a test holds that), so a cluster of them is one word.
            None if word.len() > 1 && word.as_encoded_bytes().starts_with(b"-") => {}
            None => return Some(word),
        }
    }
    None
}

fn wants_value(program: &clap::Command, option: &str) -> bool {
    let sync = program.find_subcommand("sync");
    let mut options = program.get_arguments().chain(sync.into_iter().flat_map(clap::Command::get_arguments));
    options.any(|known| {
        known.get_long() == Some(option)
            && known.get_action().takes_values()
            && !known.is_require_equals_set()
    })
}

fn is_command(program: &clap::Command, word: &OsStr) -> bool {
    word == "help" || program.get_subcommands().any(|command| command.get_name() == word)
}

/// Names of commands in other programs, for the hint. A job id is none of these words.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["download", "pull", "fetch", "get", "follow", "watch", "clone", "copy"], "sync"),
    (&["list", "dir", "show", "files"], "ls"),
    (&["check", "fsck", "validate"], "verify"),
    (&["info", "progress", "state"], "status"),
    (&["results", "artifacts", "outputs"], "result"),
    (&["stop", "kill", "abort"], "cancel"),
    (&["create", "start", "train", "run", "new"], "submit"),
    (&["restart", "continue", "retry"], "resume"),
    (&["completion"], "completions"),
];

/// Whether `word` may be a job; an error when it is nearly the name of a command.
fn not_a_typo(program: &clap::Command, word: &OsStr) -> Result<bool, CommandError> {
    let Some(word) = word.to_str().filter(|word| word.chars().all(char::is_alphabetic)) else {
        return Ok(true);
    };
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    let elsewhere = ELSEWHERE.iter().find(|(words, _)| words.contains(&word)).map(|(_, command)| *command);
    match elsewhere.or_else(|| suggest::nearest(word, commands.map(clap::Command::get_name))) {
        None => Ok(true),
        Some(command) => Err(CommandError::misused(
            format!(
                "there is no command `{word}`; did you mean `{command}`? (a job really called {word}: `rcsync sync {word}`)"
            ),
            format!("`rcsync {command} --help` lists what it takes; `rcsync --help` lists the commands"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(typed: &str) -> Result<String, String> {
        let words = std::iter::once("rcsync").chain(typed.split_whitespace()).map(OsString::from).collect();
        let words = expand(words).map_err(|error| error.to_string())?;
        Ok(words[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_word_sync_may_be_left_away() {
        for (typed, meant) in [
            ("abc-1", "sync abc-1"),
            ("abc-1 out", "sync abc-1 out"),
            ("--once abc-1 out", "sync --once abc-1 out"),
            ("--interval 5s abc-1", "sync --interval 5s abc-1"),
            ("--interval=5s -qv abc-1", "sync --interval=5s -qv abc-1"),
            ("--interval status abc-1", "sync --interval status abc-1"),
            ("-- -odd", "sync -- -odd"),
            ("https://host/x/status", "sync https://host/x/status"),
            ("--auto-resume abc-1", "sync --auto-resume abc-1"),
            ("--auto-resume 5 abc-1", "sync --auto-resume=5 abc-1"),
            ("--auto-resume 12345 out", "sync --auto-resume 12345 out"),
            ("--once", "sync --once"),
            ("status abc-1", "status abc-1"),
            ("-q status abc-1", "-q status abc-1"),
            ("--output json ls out", "--output json ls out"),
            ("help sync", "help sync"),
            ("submit x.yaml", "submit x.yaml"),
            ("sync status", "sync status"),
            ("--help", "--help"),
            ("-V", "-V"),
            ("", ""),
            ("exit-2", "sync exit-2"),
            ("submit --follow c.yaml", "submit --follow c.yaml"),
            ("training", "sync training"),
        ] {
            assert_eq!(expanded(typed).as_deref(), Ok(meant), "{typed}");
        }
    }

    #[test]
    fn a_slip_in_a_command_is_no_job() {
        for (typed, command) in [
            ("list x", "ls"),
            ("download abc", "sync"),
            ("stop abc", "cancel"),
            ("statsu abc", "status"),
            ("resutl", "result"),
            ("veriyf x", "verify"),
            ("sl x", "ls"),
        ] {
            let error = expanded(typed).unwrap_err();
            assert!(error.contains(&format!("did you mean `{command}`?")), "{error}");
        }
    }

    #[test]
    fn no_short_option_takes_a_value() {
        let program = Cli::command();
        let sync = program.find_subcommand("sync").unwrap();
        for option in program.get_arguments().chain(sync.get_arguments()) {
            assert!(option.get_short().is_none() || !option.get_action().takes_values(), "{option}");
        }
    }
}
