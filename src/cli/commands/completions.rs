//! `rcsync completions`: a script for a shell.
//!
//! The parser's library writes it. What it does not know is added afterwards: that `rcsync JOB` means `sync`, that hidden
//! options are no offer, where a word is a folder, and where it is a job, a step or a file of a mirror here. Tests try the
//! scripts in the shells themselves.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::process::Process;
use crate::error::ExitStatus;

use super::super::args::Cli;
use super::super::topics::TOPICS;

pub(super) fn run(world: &Process, shell: Shell) -> ExitStatus {
    world.out.write(&script(shell));
    ExitStatus::Complete
}

fn script(shell: Shell) -> String {
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "rcsync", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<&str> = shown.map(clap::Command::get_name).collect();
    let commands = names.join(" ");
    let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    let topics = topics.join(" ");
    match shell {
        Shell::Bash => {
            BASH.replace("COMMANDS", &commands).replace("TOPICS", &topics)
                + &script
                    .replace("complete -F _rcsync ", "complete -F _rcsync_of_job ")
                    // Names of files from here go into the command line without quotes; those that readline finds itself,
                    // where nothing is offered, are quoted.
                    .replace(r#"COMPREPLY=($(compgen -f "${cur}"))"#, "COMPREPLY=()")
        }
        Shell::Zsh => without_taking_back(&script).replacen(
            "_rcsync() {\n",
            &ZSH.replace("COMMANDS", &commands).replace("TOPICS", &topics),
            1,
        ),
        Shell::Fish => {
            // Before an option has got its value, there is no command yet.
            let script = without_taking_back(&script)
                .replacen("2>/dev/null\n    or return\n", "2>/dev/null\n    or return 0\n", 1)
                .replacen(
                    "    contains -- $cmd[1] $argv\n",
                    "    # A word that is no command is a job, to be mirrored.\n    contains -- $cmd[1] COMMANDS; \
                     or set cmd[1] sync\n    contains -- $cmd[1] $argv\n",
                    1,
                );
            (script + FISH).replace("COMMANDS", &commands).replace("TOPICS", &topics)
        }
        _ => without_taking_back(&script),
    }
}

/// Leaves out the hidden options, which take back what a variable or the configuration file sets. Every script but
/// bash's has a line for each.
fn without_taking_back(script: &str) -> String {
    let offers = |line: &&str| ["'--no-", "-l no-", "cand --no-"].iter().any(|form| line.contains(form));
    script.split_inclusive('\n').filter(|line| !offers(line)).collect()
}

/// Around the library's function: a job is a `sync`, files are found where no dash was typed, and rcsync itself is asked for the
/// words of mirrors.
const BASH: &str = r#"_rcsync_of_job() {
    local words=("${COMP_WORDS[@]}") at=$COMP_CWORD word offers=()
    if ((at > 1)) && [[ ${words[1]} != -* && " COMMANDS " != *" ${words[1]} "* ]]; then
        words=("${words[0]}" sync "${words[@]:1}")
        ((at += 1))
    fi
    local kind= offered=
    case ${words[at - 1]} in
        --steps) kind=steps ;;
        --include | --exclude | --accept-unproven) kind=files ;;
    esac
    if [[ -z $kind ]] && ((at == 2)) && [[ $2 != -* && " sync status result cancel resume edit doctor " == *" ${words[1]} "* ]]; then
        kind=jobs
    fi
    [[ -n $kind ]] && offered=$("$1" __offer $kind 2>/dev/null)
    [[ ${words[1]} == help ]] && ((at == 2)) && offered="COMMANDS TOPICS"
    if [[ -n $offered ]]; then
        # `compgen -W` would expand the words, and so run what a name holds.
        COMPREPLY=()
        while IFS= read -r word; do
            [[ $word == "$2"* ]] && COMPREPLY+=("$word")
        done <<<"${offered// /$'\n'}"
        return
    fi
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$at
    _rcsync "$1" "$2" "$3"
    for word in "${COMPREPLY[@]}"; do
        [[ $word == --no-* || ($word == -* && $2 != -*) ]] || offers+=("$word")
    done
    COMPREPLY=("${offers[@]}")
}

"#;

/// At the beginning of the library's function.
const ZSH: &str = r#"_rcsync() {
    # A word that is no command is a job, to be mirrored.
    if (( CURRENT > 2 )) && [[ $words[2] != -* && " COMMANDS " != *" $words[2] "* ]]; then
        words=($words[1] sync "${(@)words[2,-1]}")
        (( CURRENT += 1 ))
    fi
    local kind=""
    case $words[CURRENT-1] in
        --steps) kind=steps ;;
        --include|--exclude|--accept-unproven) kind=files ;;
    esac
    if [[ -z $kind ]] && (( CURRENT == 3 )) && [[ $words[3] != -* && " sync status result cancel resume edit doctor " == *" $words[2] "* ]]; then
        kind=jobs
    fi
    local -a offered
    [[ -n $kind ]] && offered=(${(f)"$($words[1] __offer $kind 2>/dev/null)"})
    (( CURRENT == 3 )) && [[ $words[2] == help ]] && offered=(COMMANDS TOPICS)
    if (( $#offered )); then
        compadd -a offered
        return
    fi
"#;

/// Words that are no options.
const FISH: &str = r#"complete -c rcsync -n "__fish_rcsync_using_subcommand ls verify prune mirror gallery" -f -a "(__fish_complete_directories)"
complete -c rcsync -n "__fish_rcsync_using_subcommand completions" -f -a "bash elvish fish powershell zsh"
complete -c rcsync -n "__fish_rcsync_using_subcommand man" -f -a "COMMANDS"
complete -c rcsync -n "__fish_rcsync_using_subcommand help" -f -a "COMMANDS TOPICS"
function __rcsync_wants_job
    set -l words (commandline -opc)
    test (count $words) -eq 2; and contains -- $words[2] sync status result cancel resume edit doctor
end
complete -c rcsync -n __rcsync_wants_job -f -a "(rcsync __offer jobs 2>/dev/null)"
complete -c rcsync -n "__fish_rcsync_using_subcommand sync submit resume fleet" -l steps -r -f -a "(rcsync __offer steps 2>/dev/null)"
for option in include exclude accept-unproven
    complete -c rcsync -n "__fish_rcsync_using_subcommand sync submit resume fleet" -l $option -r -f -a "(rcsync __offer files 2>/dev/null)"
end
"#;
