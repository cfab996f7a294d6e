//! The completion scripts in the shells themselves. A shell that is not installed is reported and skipped.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::skip;

/// What is typed, what has to be offered, and what must not be.
const TYPED: &[(&str, &[&str], &[&str])] = &[
    ("rcsync s", &["sync", "submit", "status", "simulate"], &["result", "somewhere/"]),
    ("rcsync --output ", &["pretty", "json"], &["sync", "some.yaml"]),
    ("rcsync --output j", &["json"], &["pretty"]),
    ("rcsync ls ", &["somewhere"], &["--quiet", "sync"]),
    ("rcsync ls some", &["somewhere"], &[]),
    ("rcsync submit so", &["some.yaml"], &[]),
    ("rcsync sync JOB --comfyui-link ", &["auto", "reflink", "hardlink", "copy"], &["some.yaml"]),
    ("rcsync sync JOB --comfyui so", &["somewhere"], &[]),
    ("rcsync sync JOB --on-ch", &["--on-change"], &[]),
    ("rcsync sync JOB --no", &[], &["--no-once"]),
    ("rcsync sync JOB --only ", &["checkpoints", "samples", "config"], &[]),
    ("rcsync submit some.yaml --gpu-type ", &["ADA_80_PLUS", "HOPPER_141"], &[]),
    ("rcsync verify somewhere --r", &["--repair"], &[]),
    ("rcsync completions ", &["bash", "fish", "powershell", "zsh"], &["some.yaml"]),
    // A job is a `sync`.
    ("rcsync 5b9b8e8e --comfyui-li", &["--comfyui-link"], &[]),
    ("rcsync 5b9b8e8e somewhere --on-change ", &["keep", "replace"], &[]),
    ("rcsync 5b9b8e8e some", &["somewhere"], &["status"]),
    // What is in the mirrors here.
    ("rcsync status ", &[JOB], &["somewhere", "some.yaml"]),
    ("rcsync sync c84", &[JOB], &[]),
    ("rcsync edit ", &[JOB], &["some.yaml"]),
    ("rcsync edit JOB so", &["some.yaml"], &[JOB]),
    ("rcsync sync JOB --steps ", &["250", "500"], &["some.yaml"]),
    ("rcsync 5b9b8e8e --exclude my_", &["my_first_lora_000000500.safetensors"], &["some.yaml"]),
    ("rcsync verify mi", &["mirrored"], &[]),
    ("rcsync help mi", &["mirror", "mirroring"], &["mirrored"]),
];

/// The job of the mirror in `tests/golden`.
const JOB: &str = "c84e9641-ef29-4d71-a9fa-01fe98fe5143";

/// Tries everything in one shell: `script` gets what is typed as its argument and prints what is offered.
fn offers_fit(shell: &str, script: &str) {
    if !is_there(shell) {
        return skip(&format!("there is no {shell}"));
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("somewhere")).unwrap();
    std::fs::write(root.path().join("some.yaml"), "").unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/0.1.0-99e9458");
    crate::support::copy_folder(&golden, &root.path().join("mirrored"));
    write_script(shell, root.path());
    for (typed, wanted, unwanted) in TYPED {
        let offered = run(shell, script, typed, root.path());
        let has =
            |word: &&&str| offered.split_whitespace().any(|offer| offer.trim_end_matches('/') == **word);
        let missing: Vec<_> = wanted.iter().filter(|word| !has(word)).collect();
        let odd: Vec<_> = unwanted.iter().filter(has).collect();
        assert!(
            missing.is_empty() && odd.is_empty(),
            "{shell}: `{typed}`: no {missing:?}, but {odd:?}: {offered}"
        );
    }
}

fn is_there(shell: &str) -> bool {
    Command::new(shell).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Writes the completion script. zsh finds functions by the names of files.
fn write_script(shell: &str, folder: &Path) {
    let written = Command::new(env!("CARGO_BIN_EXE_rcsync")).args(["completions", shell]).output().unwrap();
    assert!(written.status.success());
    std::fs::write(folder.join("_rcsync"), written.stdout).unwrap();
}

/// The folder of the program that is tested.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rcsync")).parent().unwrap()
}

fn run(shell: &str, script: &str, typed: &str, folder: &Path) -> String {
    run_with(shell, script, typed, folder, built())
}

/// The scripts ask the program for the words of mirrors: the one in this folder.
fn run_with(shell: &str, script: &str, typed: &str, folder: &Path, program: &Path) -> String {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(program.to_path_buf()).chain(std::env::split_paths(&others));
    let path = std::env::join_paths(path).unwrap();
    let output = Command::new(shell)
        .args(if shell == "bash" { &["--norc", "--noprofile"][..] } else { &[] })
        .args(["-c", script])
        .args((shell != "fish").then_some(shell))
        .arg(typed)
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder)
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{shell}: `{typed}`: {} {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What readline does: the words so far to the function that was registered, and names of files, quoted, where it has none.
const BASH: &str = r#"
    . ./_rcsync
    [[ $(complete -p rcsync) == "complete -o bashdefault -o default -o nosort -F "* ]] || exit 9
    function=$(complete -p rcsync); function=${function##*-F }; function=${function% rcsync}
    read -r -a COMP_WORDS <<<"$1"
    [[ $1 == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$1 COMP_POINT=${#1}
    word=${COMP_WORDS[COMP_CWORD]}
    "$function" rcsync "$word" "${COMP_WORDS[COMP_CWORD - 1]}"
    ((${#COMPREPLY[@]})) || mapfile -t COMPREPLY < <(compgen -f -- "$word" | while read -r name; do printf '%q\n' "$name"; done)
    printf '%s\n' "${COMPREPLY[@]}"
"#;

const FISH: &str = r"
    source ./_rcsync
    complete -C $argv[1] | string split -f 1 \t
    true
";

/// A shell in a terminal of its own, in which the key is pressed: what it completes is what it shows. Keys may come before
/// the shell reads them one by one; so the terminal must not take the one that empties the line for itself.
const ZSH: &str = r#"
    zmodload zsh/zpty || exit 9
    zpty shell zsh -f -i
    zpty -w shell "PS1=; stty -echo kill undef; fpath=($PWD \$fpath); autoload -U compinit; compinit -u -d $PWD/dump; LISTMAX=9999"
    zpty -w shell "zstyle ':completion:*' insert-tab false"
    zpty -w shell "offers() { compadd() { local -a hits; builtin compadd -O hits \"\$@\"; print -rl -- \$hits >> $PWD/offers; builtin compadd \"\$@\" }; _main_complete }"
    zpty -w shell "zle -C offers complete-word offers; bindkey '^T' offers; print re''ady"
    zpty -r -m shell line '*ready*'
    zpty -w -n shell "$1"$'\x14'
    zpty -w -n shell $'\x15'"print ov''er"$'\n'
    zpty -r -m shell line '*over*'
    zpty -d shell
    cat $PWD/offers 2>/dev/null; rm -f $PWD/offers
"#;

/// What a shell would run if it took a name for text of its own. The first two have no white space, at which words are split, and
/// which no id of a job may have.
#[cfg(unix)]
const HOSTILE: [&str; 3] = ["$(touch${IFS}pwned)", "`touch${IFS}pwned`", "$(touch pwned)"];

/// Whether one of them is in an offer as it is: without quotes, whole or up to a space at which it was split.
#[cfg(unix)]
fn is_hostile(offer: &str) -> bool {
    HOSTILE.iter().any(|name| offer.contains(name)) || offer.contains("$(touch")
}

/// Names of jobs, files and folders come from elsewhere: nothing in them is run, and none that a shell would run is offered.
#[cfg(unix)]
fn names_are_not_run(shell: &str, script: &str) {
    if !is_there(shell) {
        return skip(&format!("there is no {shell}"));
    }
    let root = tempfile::tempdir().unwrap();
    write_script(shell, root.path());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/0.1.0-99e9458");
    for (at, name) in HOSTILE.iter().enumerate() {
        std::fs::create_dir(root.path().join(name)).unwrap();
        let mirror = root.path().join(format!("mirror-{at}"));
        crate::support::copy_folder(&golden, &mirror);
        let job = if name.contains(' ') { "c84e" } else { name };
        rename_all(&mirror, job, name);
        // Were a planted mirror not read, nothing of it would be offered, and nothing be tested.
        let listed = Command::new(env!("CARGO_BIN_EXE_rcsync")).arg("ls").arg(&mirror).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(listed.status.success() && text.contains(name) && text.contains(job), "{name}: {text}");
    }
    // The program may be another version than the script: then the script alone keeps them from being run.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("words"), HOSTILE.join("\n") + "\nplain\n").unwrap();
    let program = format!("#!/bin/sh\ncat '{}'\n", other.path().join("words").display());
    std::fs::write(other.path().join("rcsync"), program).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(other.path().join("rcsync"), executable).unwrap();
    // What is offered there: words of the program, or names of files, which zsh and fish quote themselves.
    for (typed, asks_program) in [
        ("rcsync status ", true),
        ("rcsync sync JOB --include ", true),
        ("rcsync sync JOB --steps ", true),
        ("rcsync ls ", false),
        ("rcsync sync JOB --connections ", false),
        ("rcsync dataset push --name ", false),
    ] {
        for program in [built(), other.path()] {
            let offered = run_with(shell, script, typed, root.path(), program);
            assert!(!root.path().join("pwned").exists(), "{shell}: `{typed}` ran a name: {offered}");
            let has_to_be = (asks_program && program == built()) || (!asks_program && shell == "bash");
            assert!(!has_to_be || !is_hostile(&offered), "{shell}: `{typed}` offers {offered}");
        }
    }
}

/// Gives the job of a mirror, and its files, other names in its records.
#[cfg(unix)]
fn rename_all(mirror: &Path, job: &str, name: &str) {
    for record in ["manifest.json", "journal.jsonl"] {
        let path = mirror.join(".rcsync").join(record);
        let sealed = |line: &str| {
            let Some((_, body)) = line.split_once(r#""body":"#) else { return line.to_owned() };
            let body = body[..body.len() - 1].replace(JOB, job).replace("my_first_lora_", name);
            let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body.as_bytes());
            format!(r#"{{"crc32":"{sum:08x}","body":{body}}}"#)
        };
        let text: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(sealed).collect();
        std::fs::write(&path, text.join("\n") + "\n").unwrap();
    }
}

#[test]
fn in_bash() {
    offers_fit("bash", BASH);
    #[cfg(unix)]
    names_are_not_run("bash", BASH);
}

#[test]
fn in_fish() {
    offers_fit("fish", FISH);
    #[cfg(unix)]
    names_are_not_run("fish", FISH);
}

#[test]
fn in_zsh() {
    offers_fit("zsh", ZSH);
    #[cfg(unix)]
    names_are_not_run("zsh", ZSH);
}
