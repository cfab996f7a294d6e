//! The whole front door on arguments and variables, without a process.

use crate::cli::process::fake;

use super::*;

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn ran_with(variables: &[(&str, &str)], typed: &str) -> Ran {
    let (world, out, err) = fake::world(variables);
    let words = std::iter::once("rcsync").chain(typed.split_whitespace()).map(OsString::from).collect();
    let code = run(words, &world).code();
    Ran { code, out: out.text(), err: err.text() }
}

fn ran(typed: &str) -> Ran {
    ran_with(&[("RUNCOMFY_TOKEN", "t0ken")], typed)
}

#[test]
fn usage_errors_name_the_cause_and_end_with_64() {
    for (typed, part) in [
        ("sync", "`<JOB_ID>` is missing; the form is `rcsync sync <JOB_ID> [DEST]`"),
        ("ls", "`<DIR>` is missing; the form is `rcsync ls <DIR>`"),
        ("abc-1 --json", "there is no option `--json`; what you want is `--output json`"),
        ("abc-1 --jobs=4", "there is no option `--jobs`; what you want is `--connections <N>`"),
        ("abc-1 --dir out", "`rcsync <JOB_ID> <DIR>`"),
        ("abc-1 --watch", "`--watch`; what you want is nothing: without `--once`, rcsync follows"),
        ("submit x.yaml --gpu-type H100 --watch", "`--watch`; what you want is `--follow`"),
        ("ls out --watch", "`--watch` here; it is one of `rcsync mirror`; the form is `rcsync ls <DIR>`"),
        ("edit abc-1 c.yaml --watch", "`--watch` here; it is one of `rcsync mirror`"),
        ("https://example.org/x?token=t0ken", "`https://example.org/x?…`"),
        ("status example.org/x?token=t0ken", "`example.org/x?…`"),
        ("status abc-1 https://h/x?sig=t0ken", "`https://h/x?…` is one word too many"),
        ("abc-1 --comfyui-url http://me:t0ken@h:x/", "`--comfyui-url http://…@h:x/`"),
        ("abc-1 --comfyui-url me:t0ken@h:x", "`--comfyui-url …@h:x`"),
        ("abc-1 --webhok=https://h/?key=t0ken", "there is no option `--webhok`; did you mean `--webhook`?"),
        ("dataset https://h/x?sig=t0ken", "there is no command `https://h/x?…`"),
        (
            "abc-1 --only checkpoint,smples",
            "`--only smples`: it has to be one of checkpoints, samples, config; did you mean `samples`?",
        ),
        ("abc-1 --interval", "`--interval <DURATION>` needs a value"),
        ("abc-1 --steps 3000..2000", "`--steps 3000..2000`: write steps and ranges with commas between them"),
        ("abc-1 --last 0", "`--last 0`: write a whole number above 0"),
        ("demo --limit 3", "`--limit-rate <RATE>`"),
        ("demo a b", "`b` is one word too many; the form is `rcsync demo [DIR]`"),
        ("abc-1 --once=yes", "`--once` is a switch and takes no value"),
        ("abc-1 --retries many", "`--retries many`: write a whole number, such as `3`"),
        ("abc-1 --auto-resume=some", "`--auto-resume some`: write a whole number, such as `3`"),
        ("simulate --listen here", "`--listen here`: write an address with a port, such as `127.0.0.1:8080`"),
        ("help sycn", "there is no command or topic `sycn`; did you mean `sync`?"),
        ("help datsets", "there is no command or topic `datsets`; did you mean `datasets`?"),
        ("help klingon", "there is no command or topic `klingon`; the topics are mirroring, cron, comfyui,"),
        ("abc-1 --lease 30s", "`--lease` has no meaning for a folder: it is for a bucket as DEST"),
        ("abc-1 out --sole-writer", "`--sole-writer` has no meaning for a folder"),
        ("fleet jobs.txt out/{id} --part-size 8M", "`--part-size` has no meaning for a folder"),
        ("demo gcs://x", "`gcs://…` is a URL, and `demo` writes into a folder of this machine"),
        ("demo gcs:/x", "`gcs://…` is a URL, and `demo` writes into a folder of this machine"),
        ("demo s3:/b", "`s3://…` is a URL, and `demo` writes into a folder of this machine"),
        (
            "abc-1 s3:/b/{name}",
            "`s3:/b/{name}` is no bucket: two slashes follow the colon, as in `s3://b/{name}`",
        ),
        (
            "fleet jobs.txt gs:/b/{id}",
            "`gs:/b/{id}` is no bucket: two slashes follow the colon, as in `gs://b/{id}`",
        ),
        ("ls az:c/p", "`az:c/p` is no bucket: two slashes follow the colon, as in `az://c/p`"),
        ("demo s3://b/p", "`s3://…` is a URL, and `demo` writes into a folder of this machine"),
        (
            "result abc-1 --dir s3://b/p?sig=t0ken",
            "`s3://…` is a URL, and `result --dir` compares with a folder",
        ),
        ("dataset check s3://b/p", "`s3://…` is a URL, and a dataset is made of a folder"),
        ("dataset push https://h/p", "`https://…` is a URL, and a dataset is made of a folder"),
        ("init dog --dataset gs://b/p", "`gs://…` is a URL, and a dataset is made of a folder"),
        ("abc-1 --comfyui s3://b/p", "`s3://…` is a URL, and `--comfyui` names a folder"),
        ("abc-1 out more", "`more` is one word too many; the form is `rcsync sync <JOB_ID> [DEST]`"),
        ("abc-1 --onse", "there is no option `--onse`; did you mean `--once`?"),
        ("abc-1 --interval soon", "error: `--interval soon`: write it like `30s`, `5m` or `1h30m`"),
        ("abc-1 --connections 300", "`--connections 300`: it has to be a number from 1 to 256"),
        ("abc-1 --limit-rate fast", "`--limit-rate fast`: not a size"),
        ("abc-1 --only weights", "`--only weights`: it has to be one of checkpoints, samples, config"),
        ("abc-1 --include [", "`[` is not a valid pattern"),
        ("abc-1 --exec 'x", "`--exec`: a quote in it has no end"),
        ("abc-1 --webhook t0ken", "`--webhook`: write an address such as `https://example.com/hook`\n"),
        (
            "abc-1 --webhook https://",
            "`--webhook`: write an address such as `https://example.com/hook` (empty host)",
        ),
        (
            "abc-1 --webhook ftp://h/t0ken",
            "`https://example.com/hook`, with `https://` or `http://` in front",
        ),
        (
            "abc-1 loras/{nmae}",
            "DEST `loras/{nmae}`: of what is in braces, only `{id}` and `{name}` are known, and not `{nmae}`; did you mean `{name}`?",
        ),
        ("sync abc-1 s3://b/{job_id}/x", "and not `{job_id}`; did you mean `{id}`?"),
        ("resume abc-1 --follow out/{name}/{NAME}", "and not `{NAME}`; did you mean `{name}`?"),
        ("submit x.yaml --follow {step}", "are known, and not `{step}`\n"),
        ("fleet jobs.txt out/{nmae}", "and not `{nmae}`; did you mean `{name}`?"),
        ("fleet add abc-1 out/{nam}", "and not `{nam}`; did you mean `{name}`?"),
        ("abc-1 --comfyui-subdir ../x", "`--comfyui-subdir ../x`: it has to be a relative folder"),
        ("abc-1 --comfyui-url ftp://h", "write it like `http://127.0.0.1:8188`"),
        ("mirror out", "`--comfyui <PATH>`"),
        ("statsu abc", "did you mean `status`? (a job really called statsu: `rcsync sync statsu`)"),
        (
            "--token t0ken abc-1",
            "there is no option `--token`; what you want is the environment variable `RUNCOMFY_TOKEN`",
        ),
        (
            "abc-1 --token=t0ken",
            "there is no option `--token`; what you want is the environment variable `RUNCOMFY_TOKEN`",
        ),
        ("status abc-1 --token t0ken", "`--token-file <PATH>`"),
        (
            "submit --follow c.yaml",
            "the word after `--follow` is its folder, so write `<CONFIG.yaml>` before it",
        ),
        ("resume --follow abc-1", "the word after `--follow` is its folder, so write `<JOB_ID>` before it"),
        ("a/b", "not a job id"),
        ("status ..", "not a job id"),
        ("submit x.yaml --gpu-type A100", "it has to be one of ADA_80_PLUS, HOPPER_141"),
        ("submit x.yaml --gpu-type H100 --gpu-count 2", "it has to be one of 1, 8"),
        ("submit x.yaml --gpu-type h200 --gpu-count 8", "8 GPUs are only available with ADA_80_PLUS (H100)"),
        ("submit x.yaml --gpu-type H100 --once", "`sync`'s options do nothing here without `--follow`"),
        ("resume abc-1 --auto-resume", "`sync`'s options do nothing here without `--follow`"),
        ("submit", "<CONFIG.yaml>"),
        ("edit abc-1", "<CONFIG.yaml>"),
        ("prune out", "--keep-last"),
        ("prune out --keep-last 0", "`--keep-last 0`: write a whole number above 0"),
        ("abc-1 --comfyui-keep three", "`--comfyui-keep three`: write a whole number, such as `3`"),
        ("prune out --keep-every x", "`--keep-every x`: write a number of steps above 0"),
        ("submit x.yaml --gpu-type H100 --gpu-type H200", "`--gpu-type` is given twice"),
        ("prune out --keep-last 2 --keep-every 500", "--keep-every"),
        (
            "fleet add abc-1",
            "`<JOB_ID> <DEST>...` has too many values, or too few; the form is `rcsync fleet add <JOB_ID>… <DEST>`",
        ),
        (
            "fleet jobs out/{id} more",
            "there is one word too many; the form is `rcsync fleet <JOBS|-> <DEST>`",
        ),
        ("dataset status a b", "`b` is one word too many; the form is `rcsync dataset status <NAME|ID>`"),
        ("sync abc-1 gcs://b/p", "`gcs://…` is no bucket"),
        ("completions klingon", "`<SHELL>: klingon`: it has to be one of bash"),
    ] {
        let Ran { code, out, err } = ran(typed);
        assert_eq!((code, out.as_str()), (64, ""), "{typed}: {err}");
        assert!(err.starts_with("error: ") && err.contains(part), "{typed}: {err}");
        assert!(!err.contains("t0ken"), "{err}");
    }
}

#[test]
fn nothing_typed_shows_the_help_and_is_an_error() {
    let Ran { code, out, err } = ran("");
    assert_eq!((code, out.as_str()), (64, ""));
    assert!(err.contains("Usage: rcsync"), "{err}");
}

#[test]
fn nothing_typed_on_a_terminal_shows_what_to_do_next() {
    for (token, is_named) in [("", true), ("t0ken", false)] {
        let (mut world, out, err) = fake::world(&[("RUNCOMFY_TOKEN", token)]);
        world.err = err.terminal();
        assert_eq!(run(vec!["rcsync".into()], &world), ExitStatus::Usage);
        let text = err.text();
        assert_eq!((text.contains("export RUNCOMFY_TOKEN"), out.text().as_str()), (is_named, ""), "{text}");
        // What it names can be typed.
        for command in
            ["rcsync demo", "rcsync doctor", "rcsync <JOB_ID> ~/loras/dog", "rcsync help mirroring"]
        {
            assert!(text.contains(command), "{command}: {text}");
        }
        assert!(text.lines().count() < 12 && text.lines().all(|line| line.chars().count() <= 82), "{text}");
    }
}

#[test]
fn a_variable_for_buckets_does_not_end_a_mirror_into_a_folder() {
    let Ran { code, err, .. } = ran_with(&[("RCSYNC_LEASE", "30s")], "abc-1 out");
    assert_eq!(code, 77, "{err}");
    assert!(err.contains("`RUNCOMFY_TOKEN`") && err.contains("`--token-file <PATH>`"), "{err}");
}

/// The same the other way round: what is set for folders is not used for a bucket.
#[cfg(feature = "buckets")]
#[test]
fn a_variable_for_folders_does_not_end_a_mirror_into_a_bucket() {
    let variables = [
        ("RCSYNC_MIN_FREE", "1G"),
        ("RCSYNC_ON_CHANGE", "replace"),
        ("RCSYNC_COMFYUI", "/no/such/folder"),
        ("RCSYNC_COMFYUI_KEEP", "3"),
    ];
    for typed in ["abc-1 s3://b/p", "fleet jobs.txt s3://b/{id}"] {
        let Ran { code, err, .. } = ran_with(&variables, typed);
        assert_eq!(code, 77, "{typed}: {err}");
        assert!(err.contains("no RunComfy token found"), "{typed}: {err}");
    }
    for (typed, name) in [
        ("abc-1 s3://b/p --min-free 1G", "--min-free"),
        ("abc-1 s3://b/p --on-change replace", "--on-change replace"),
        ("fleet jobs.txt s3://b/{id} --comfyui /no/such/folder", "--comfyui"),
        ("abc-1 s3://b/p --comfyui-subdir x", "--comfyui-subdir"),
        ("abc-1 s3://b/p --comfyui-keep 3", "--comfyui-keep"),
        ("abc-1 s3://b/p --comfyui-link copy", "--comfyui-link"),
        ("abc-1 s3://b/p --comfyui-sidecars", "--comfyui-sidecars"),
        ("abc-1 s3://b/p --comfyui-pickles", "--comfyui-pickles"),
        ("fleet jobs.txt s3://b/{id} --comfyui-url http://127.0.0.1:8188", "--comfyui-url"),
    ] {
        let Ran { code, err, .. } = ran_with(&variables, typed);
        assert_eq!(code, 64, "{typed}: {err}");
        assert!(err.contains(&format!("`{name}` has no meaning for a bucket")), "{typed}: {err}");
    }
    let variables = [("RCSYNC_LEASE", "30s")];
    let Ran { code, err, .. } = ran_with(&variables, "abc-1 out --lease 30s");
    assert!(
        code == 64 && err.contains("`--lease` has no meaning for a folder"),
        "what is typed as well: {err}"
    );
}

#[cfg(feature = "buckets")]
#[test]
fn a_fleet_into_a_bucket_takes_what_only_buckets_have() {
    let Ran { code, err, .. } = ran_with(&[], "fleet jobs.txt s3://b/{id} --lease 30s --part-size 8M");
    assert_eq!(code, 77, "{err}");
    assert!(!err.contains("has no meaning"), "{err}");
}

#[test]
fn help_has_topics_and_commands() {
    for (typed, part) in [
        ("help mirroring", "last seen status and every artifact"),
        ("help exit-codes", "75            try again"),
        ("help cron", "--once"),
        ("help dataset push", "Usage: rcsync dataset push"),
        ("help sync", "Usage: rcsync sync"),
        ("help", "Topics (`rcsync help TOPIC`)"),
    ] {
        let Ran { code, out, err } = ran(typed);
        assert_eq!((code, err.as_str()), (0, ""), "{typed}");
        assert!(out.contains(part), "{typed}: {out}");
    }
}

/// On the smallest terminal that is usual.
#[test]
fn no_help_is_wider_than_80_columns() {
    fn look_at(command: &mut clap::Command) -> usize {
        let text = command.render_long_help().to_string();
        for line in text.lines() {
            assert!(format::columns(line) <= 80, "{}: {line}", command.get_name());
        }
        let shown = command.get_subcommands_mut().filter(|command| !command.is_hide_set());
        1 + shown.map(look_at).sum::<usize>()
    }
    let mut program = <Cli as clap::CommandFactory>::command().term_width(80);
    program.build();
    assert!(look_at(&mut program) > 25);
}

#[test]
fn help_and_version_are_what_was_asked_for() {
    for typed in ["--help", "-h", "help", "help sync", "sync --help", "verify -h", "--version", "-V"] {
        let Ran { code, out, err } = ran(typed);
        assert_eq!((code, err.as_str()), (0, ""), "{typed}");
        assert!(out.contains("rcsync"), "{typed}: {out}");
    }
    assert!(ran("--help").out.contains("rcsync demo"), "examples");
    assert!(ran("sync --help").out.contains("--comfyui <PATH>"));
}

#[test]
fn a_bad_variable_ends_every_command_with_64() {
    let Ran { code, err, .. } = ran_with(&[("RCSYNC_TIMEOUT", "-5s")], "status abc-1");
    assert_eq!(code, 64);
    assert_eq!(
        err,
        "error: the environment variable `RCSYNC_TIMEOUT` is `-5s`: write it like `30s`, `5m` or `1h30m`\n\
        hint: correct or unset it; `rcsync doctor` lists all settings\n"
    );
}

#[test]
#[cfg(unix)]
fn a_bad_file_ends_with_78() {
    let (mut world, _, err) = fake::world(&[("HOME", "/h")]);
    world.read_file = |_| Ok("conections = 4".to_owned());
    let words = ["rcsync", "status", "abc-1"].map(OsString::from).to_vec();
    assert_eq!(run(words, &world), ExitStatus::Config);
    assert_eq!(
        err.text(),
        "error: `/h/.config/rcsync/config.toml` line 1: unknown key `conections`; did you mean `connections`?\n\
        hint: correct or remove the file; `rcsync doctor` shows which one is read\n"
    );
}

#[test]
fn a_folder_that_is_not_there_ends_with_66() {
    for typed in ["ls /no/such/folder", "verify /no/such/folder", "gallery /no/such/folder"] {
        let Ran { code, err, .. } = ran(typed);
        assert_eq!(code, 66, "{typed}");
        assert!(
            err.starts_with("error: `/no/such/folder` is no mirror of a job: there is no such folder\n"),
            "{err}"
        );
    }
}

/// A script that reads standard output gets one JSON object, whatever went wrong.
#[test]
fn a_failure_before_any_request_is_json_too() {
    let document = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for (typed, variables, expected, exit) in [
        ("status abc-1", &[][..], "no RunComfy token found", 77),
        ("result abc-1", &[], "no RunComfy token found", 77),
        ("ls /no/such/folder", &[], "`/no/such/folder` is no mirror of a job: there is no such folder", 66),
        (
            "verify /no/such/folder",
            &[],
            "`/no/such/folder` is no mirror of a job: there is no such folder",
            66,
        ),
        ("fleet add abc-1 out/{id}/{name}/x s3://", &[], "DEST", 64),
        ("submit /no/such/file.yaml", &[], "there is no file or folder `/no/such/file.yaml`", 66),
        ("status abc-1", &[("RCSYNC_TIMEOUT", "-5s")], "`RCSYNC_TIMEOUT`", 64),
    ] {
        let Ran { code, out, err } = ran_with(variables, &format!("{typed} --output json"));
        assert_eq!(code, exit, "{typed}: {err}");
        let document = document(&out);
        assert!(document["error"].as_str().unwrap().contains(expected), "{typed}: {out}");
        assert_eq!(document["exit_code"], exit, "{typed}: {out}");
    }
}

/// Where events are expected, the failure is one.
#[test]
fn a_failure_before_the_first_event_is_an_event() {
    for (typed, job) in [
        ("abc-1 out", Some("abc-1")),
        ("resume abc-1 --follow", Some("abc-1")),
        ("mirror /no/such/folder --comfyui /no/such/ui", None),
        ("fleet jobs out/{id}", None),
        ("submit /no/such/file.yaml --follow", None),
        ("dataset push /no/such/folder", None),
    ] {
        let Ran { code, out, err } = ran_with(&[], &format!("{typed} --output json"));
        let event: serde_json::Value =
            serde_json::from_str(&out).unwrap_or_else(|_| panic!("{typed}: {out} {err}"));
        assert_eq!(
            (event["event"].as_str(), event["job_id"].as_str()),
            (Some("error"), job),
            "{typed}: {out}"
        );
        assert_eq!(event["exit_code"], code, "{typed}: {out}");
        let message = event["message"].as_str().unwrap();
        assert!(
            err.contains(&format!("error: {}", message.split(": ").next().unwrap())),
            "{typed}: {out} {err}"
        );
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{typed}: {out}");
    }
}

#[test]
fn a_dataset_folder_that_is_not_there_is_no_file() {
    let Ran { code, err, .. } = ran("dataset check /no/such/folder");
    assert_eq!(code, 66);
    assert!(err.starts_with("error: there is no file or folder `/no/such/folder`\n"), "{err}");
}

#[test]
fn scripts_for_shells() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let Ran { code, out, .. } = ran(&format!("completions {shell}"));
        assert_eq!(code, 0);
        assert!(out.contains("rcsync") && out.contains("verify"), "{shell}");
    }
}
