use std::time::Duration;

use crate::cli::process::fake;
use crate::cli::values::Format;
use crate::engine::options::OnChange;
use crate::model::artifact::ArtifactKind;
use crate::model::units::ByteCount;

use super::*;

fn from_file(text: &'static str) -> Result<Layer, String> {
    thread_local! { static TEXT: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") } }
    TEXT.set(text);
    let (mut world, ..) = fake::world(&[]);
    world.read_file = |_| Ok(TEXT.get().to_owned());
    file(&world, Path::new("config.toml")).map_err(|error| error.to_string())
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Layer, String> {
    environment(&fake::world(variables).0).map_err(|error| error.to_string())
}

#[test]
fn every_option_has_a_variable() {
    let layer = from_variables(&[
        ("RCSYNC_ONCE", "yes"),
        ("RCSYNC_DRY_RUN", "0"),
        ("RCSYNC_INTERVAL", "5m"),
        ("RCSYNC_ONLY", "checkpoints,sample"),
        ("RCSYNC_INCLUDE", "*.{png,jpg}, a*"),
        ("RCSYNC_LIMIT_RATE", "10M"),
        ("RCSYNC_ON_CHANGE", "replace"),
        ("RCSYNC_AUTO_RESUME", "true"),
        ("RCSYNC_OUTPUT", "json"),
        ("RCSYNC_TOKEN_FILE", "/t"),
        ("RCSYNC_WEBHOOK", "https://h/?key=s3cret"),
        ("RCSYNC_RETRIES", ""),
    ])
    .unwrap();
    assert!(layer.sync.once && layer.sync.no_dry_run && !layer.sync.dry_run);
    assert_eq!(layer.sync.interval, Some(Duration::from_secs(300)));
    assert_eq!(layer.sync.only, [ArtifactKind::Checkpoint, ArtifactKind::Sample]);
    assert_eq!(layer.sync.include, ["*.{png,jpg}", "a*"]);
    assert_eq!(layer.sync.limit_rate, Some(ByteCount(10 << 20)));
    assert_eq!(layer.sync.on_change, Some(OnChange::Replace));
    assert_eq!(layer.sync.auto_resume, Some(3));
    assert_eq!(layer.global.output, Some(Format::Json));
    assert_eq!(layer.global.token_file.as_deref(), Some(Path::new("/t")));
    assert_eq!(layer.sync.retries, None);
    assert!(!format!("{:?}", layer.settings).contains("s3cret"));
}

#[test]
fn a_bad_variable_is_named() {
    for (name, value, message) in [
        (
            "RCSYNC_ONCE",
            "perhaps",
            "the environment variable `RCSYNC_ONCE` is `perhaps`: it has to be one of 1, 0, true, false, yes, no",
        ),
        (
            "RCSYNC_INTERVAL",
            "soon",
            "the environment variable `RCSYNC_INTERVAL` is `soon`: write it like `30s`, `5m` or `1h30m`",
        ),
        (
            "RCSYNC_ONLY",
            "weights",
            "the environment variable `RCSYNC_ONLY` is `weights`: it has to be one of checkpoints, samples, config",
        ),
        (
            "RCSYNC_CONNECTIONS",
            "0",
            "the environment variable `RCSYNC_CONNECTIONS` is `0`: it has to be a number from 1 to 256",
        ),
    ] {
        assert_eq!(from_variables(&[(name, value)]).unwrap_err(), message);
    }
}

#[test]
fn numbers_of_auto_resume() {
    for (value, count) in [("1", 1), ("0", 0), ("7", 7), ("yes", 3), ("no", 0)] {
        assert_eq!(
            from_variables(&[("RCSYNC_AUTO_RESUME", value)]).unwrap().sync.auto_resume,
            Some(count),
            "{value}"
        );
    }
}

#[test]
fn the_file_sets_the_same_in_toml() {
    let layer = from_file(
        "# mine\nonce = true\ninterval = 90\nstall_timeout = '1m'\nonly = ['config']\ninclude = '*.png'\nauto-resume = true\nquiet = false\n",
    )
    .unwrap();
    assert!(layer.sync.once && layer.global.no_quiet);
    assert_eq!(layer.sync.interval, Some(Duration::from_secs(90)));
    assert_eq!(layer.sync.stall_timeout, Some(Duration::from_secs(60)));
    assert_eq!(layer.sync.only, [ArtifactKind::Config]);
    assert_eq!(layer.sync.include, ["*.png"]);
    assert_eq!(layer.sync.auto_resume, Some(3));
    let origins: Vec<_> = layer.settings.iter().map(|setting| setting.origin.as_str()).collect();
    assert!(origins.contains(&"config.toml line 4"), "{origins:?}");
}

#[test]
fn a_bad_line_is_named() {
    for (text, message) in [
        ("\nonse = true", "`config.toml` line 2: unknown key `onse`; did you mean `once`?"),
        ("no-once = true", "`config.toml` line 1: unknown key `no-once`"),
        ("token = 'x'", "`config.toml` line 1: unknown key `token`"),
        ("once = 'yes'", "`config.toml` line 1: `once`: it has to be true or false, not a string"),
        (
            "interval = true",
            "`config.toml` line 1: `interval`: it has to be a string or a number, not a boolean",
        ),
        ("interval = 'x'", "`config.toml` line 1: `interval`: write it like `30s`, `5m` or `1h30m`"),
        ("include = [1]", "`config.toml` line 1: `include`: it has to be a list of strings"),
        ("dry-run = true\ndry_run = true", "`config.toml` line 2: `dry-run` is given twice"),
    ] {
        assert_eq!(from_file(text).unwrap_err(), message);
    }
    assert!(from_file("once = tru").unwrap_err().starts_with("`config.toml` line 1: "));
}

#[test]
fn the_file_is_looked_for_in_the_folders_of_xdg() {
    let path = |variables: &[(&str, &str)]| file_path(&fake::world(variables).0);
    if cfg!(unix) {
        assert_eq!(path(&[("XDG_CONFIG_HOME", "/c"), ("HOME", "/h")]), Some("/c/rcsync/config.toml".into()));
        assert_eq!(
            path(&[("XDG_CONFIG_HOME", "c"), ("HOME", "/h")]),
            Some("/h/.config/rcsync/config.toml".into())
        );
    }
    assert_eq!(path(&[]), None);
}

#[test]
fn a_value_is_shown_without_what_may_be_secret() {
    for (name, value, shown) in [
        ("RCSYNC_COMFYUI_URL", "ftp://me:s3cret@h/?key=s3cret", "`ftp://…@h/?…`"),
        ("RCSYNC_HOOK_TIMEOUT", "https://h/?key=s3cret", "`https://h/?…`"),
    ] {
        let error = from_variables(&[(name, value)]).unwrap_err();
        assert!(error.contains(shown) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_pattern_is_shown_as_it_is() {
    let layer = from_variables(&[("RCSYNC_EXCLUDE", "*_0000?????.safetensors")]).unwrap();
    assert_eq!(layer.settings[0].value, "*_0000?????.safetensors");
}

#[test]
fn what_is_taken_back_is_taken_back_alone() {
    let layer = from_variables(&[("RCSYNC_QUIET", "1"), ("RCSYNC_VERBOSE", "0")]).unwrap();
    assert!(layer.global.quiet && layer.global.verbose == 0);
    let layer = from_file("verbose = true\nquiet = false\n").unwrap();
    assert!(layer.global.verbose == 1 && !layer.global.quiet);
}

#[test]
fn one_source_names_one_way_to_prune() {
    let error = from_variables(&[("RCSYNC_KEEP_LAST", "2"), ("RCSYNC_KEEP_EVERY", "500")]).unwrap_err();
    assert!(error.contains("cannot be had together with `keep-last` (RCSYNC_KEEP_LAST)"), "{error}");
    let error = from_file("keep-every = 500\nkeep-last = 2\n").unwrap_err();
    assert!(error.contains("line 2: `keep-last`: it cannot be had together with `keep-every`"), "{error}");
}

#[test]
fn numbers_are_taken_as_they_are_written() {
    let layer = from_file("interval = 0.5\nretries = 2\n").unwrap();
    assert_eq!(layer.sync.interval, Some(Duration::from_millis(500)));
    let error = from_file("retries = 0x10\n").unwrap_err();
    assert!(error.ends_with("write the number with decimal digits"), "{error}");
}
