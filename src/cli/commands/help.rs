//! `rcsync help`: what a command takes, or the beginning of a page of the documentation.

use clap::CommandFactory;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::cli::process::Process;
use crate::error::ExitStatus;

use super::super::args::Cli;
use super::super::backend;
use super::super::config::Settings;
use super::super::suggest;
use super::super::topics::{TOPICS, Topic};

pub(super) fn run(world: &Process, words: &[String]) -> Result<ExitStatus, CommandError> {
    if let [word] = words
        && let Some(topic) = Topic::find(word)
    {
        world.out.write(&topic.show(usize::from(world.out.columns()).min(100)));
        return Ok(ExitStatus::Complete);
    }
    let mut program = Cli::command();
    program.build();
    let mut command = &mut program;
    for word in words {
        if command.find_subcommand(word).is_none() {
            return Err(unknown(word, command));
        }
        command = command.find_subcommand_mut(word).ok_or_else(|| CommandError::Usage(String::new()))?;
    }
    let text = command.render_long_help();
    let colours = world.colours(&world.out);
    world.out.write(&if colours { text.ansi().to_string() } else { text.to_string() });
    Ok(ExitStatus::Complete)
}

fn unknown(word: &str, command: &clap::Command) -> CommandError {
    let commands =
        command.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let near = suggest::nearest(word, commands.chain(TOPICS.iter().map(|topic| topic.name)));
    let near = near.map_or_else(
        || {
            let names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
            format!("; the topics are {}", names.join(", "))
        },
        |near| format!("; did you mean `{near}`?"),
    );
    let why = format!("there is no command or topic `{}`{near}", shown(word));
    CommandError::misused(why, "`rcsync help` lists both")
}

/// What to do next, for a terminal on which `rcsync` alone was typed.
pub(crate) fn first_steps(world: &Process) -> String {
    let settings = Settings::settle(world, Default::default(), Default::default()).unwrap_or_default();
    let token = match backend::token_origin(world, &settings) {
        Ok(_) => String::new(),
        Err(_) => "  export RUNCOMFY_TOKEN=…           your token; or: runcomfy login\n".to_owned(),
    };
    format!(
        "\
rcsync mirrors a RunComfy AI Toolkit training job to this machine while it trains.

Next:
  rcsync demo                       see it work: no account, no network
{token}  rcsync doctor                     check token, network, disk and ComfyUI
  rcsync <JOB_ID> ~/loras/dog       mirror that job until it ends

`rcsync --help` lists all commands; `rcsync help mirroring` explains mirrors.
"
    )
}
