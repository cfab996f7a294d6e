//! `rcsync man`: the manual page, with the options of `sync` on it.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::cli::process::Process;
use crate::error::{Error, ExitStatus};

use super::super::args::Cli;
use super::super::suggest;

pub(super) fn run(world: &Process, command: Option<&str>) -> Result<ExitStatus, CommandError> {
    let page = match command {
        None => page(),
        Some(name) => page_of(name)?,
    };
    let page =
        page.map_err(|source| Error::Disk { verb: "write", path: "rcsync.1".into(), source: source.into() })?;
    world.out.write(&page);
    Ok(ExitStatus::Complete)
}

/// Returns the page of one command.
fn page_of(name: &str) -> Result<io::Result<String>, CommandError> {
    let mut program = Cli::command();
    program.build();
    let visible = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    let Some(command) = program.get_subcommands().filter(visible).find(|command| command.get_name() == name)
    else {
        let near =
            suggest::nearest(name, program.get_subcommands().filter(visible).map(clap::Command::get_name));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let why = format!("there is no command `{}`{near}", shown(name));
        return Err(CommandError::misused(why, "`rcsync --help` lists the commands"));
    };
    let mut page = Vec::new();
    let written = Man::new(command.clone()).title(format!("rcsync-{name}")).render(&mut page);
    Ok(written.map(|()| String::from_utf8_lossy(&page).into_owned()))
}

fn page() -> io::Result<String> {
    let mut program = Cli::command();
    program.build();
    let sync = program.find_subcommand("sync").cloned().unwrap_or_default();
    let (whole, sync) = (Man::new(program), Man::new(sync));
    let (mut page, mut options) = (Vec::new(), Vec::new());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_subcommands_section(&mut page)?;
    sync.render_options_section(&mut options)?;
    page.extend(
        String::from_utf8_lossy(&options).replacen(".SH OPTIONS", ".SH OPTIONS OF SYNC", 1).into_bytes(),
    );
    whole.render_extra_section(&mut page)?;
    whole.render_version_section(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for command in Cli::command().get_subcommands() {
        // It refers to no page of a single command: those may not be installed.
        let name = command.get_name();
        page = page.replace(&format!("rcsync\\-{name}(1)"), &format!("\\fBrcsync {name}\\fR"));
    }
    Ok(page.replace("rcsync\\-help(1)", "\\fBrcsync help\\fR"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_command_has_a_page() {
        for command in ["sync", "ls", "verify", "result", "doctor", "completions"] {
            let page = super::page_of(command).unwrap().unwrap();
            assert!(page.contains(&format!(".TH rcsync-{command} 1")), "{page}");
            assert!(page.contains(".SH NAME") && page.contains(".SH OPTIONS"), "{page}");
        }
        let error = super::page_of("resutl").unwrap_err().to_string();
        assert_eq!(error, "there is no command `resutl`; did you mean `result`?");
    }

    #[test]
    fn the_page_has_what_a_reader_looks_for() {
        let page = super::page().unwrap();
        for part in [
            ".TH rcsync 1",
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH OPTIONS OF SYNC",
            "stall\\-timeout",
            "webhook",
            "fBrcsync verify",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
