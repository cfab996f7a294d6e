//! Secrets and terminals: a canary token and a canary signature are looked for in every byte of every output, file and
//! foreign request, at the highest verbosity; and nothing from outside paints the terminal.

use std::sync::Arc;

use serde_json::json;

use super::host::{Ask, Host};
use super::reply::Reply;
use super::rig::{Rig, World};
use super::world::{File, Hosted, JOB, SIGNATURE, TOKEN, picture, weights, yaml};

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

/// A job in which everything that comes from outside holds a secret or a trick.
fn hostile() -> World {
    let mut world = World::of(vec![
        Hosted::checkpoint(&weights(1, 10_000), honest)
            .at("/output/lora/e%1b%5b31mvil%e2%80%ae_000000250.safetensors", "*"),
        Hosted::sample("1724085406830__000000250_0.png", &picture(0), honest),
        Hosted::sample("1724085406830__000000250_1.png", &picture(1), |_, ask| {
            // The host repeats the address that it was asked for, signature and all.
            let target = &ask.target;
            Reply::new(418, format!("<S>{SIGNATURE}</S> \u{1b}[31m{target} \u{9b}2J").as_bytes())
        }),
        Hosted::config(&yaml(), honest),
    ]);
    world.files[2].truth.clear();
    world.api(|ask, listing| {
        let trick = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2066}evil";
        let name = ask.path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut answer = if name == "status" { listing.status.clone() } else { listing.result.clone() };
        answer["name"] = json!(format!("lora{trick}"));
        answer["error"] = json!(format!("{trick} Bearer {TOKEN} http://h/x?sig={SIGNATURE}"));
        if let Some(samples) = answer["artifacts"]["samples"].as_array_mut() {
            for sample in samples {
                sample["prompt"] = json!(format!("a dog {trick} <script>alert(1)</script>"));
                sample["type"] = json!(trick);
            }
        }
        matches!(name.as_str(), "status" | "result").then(|| Reply::json(&answer.to_string()))
    })
}

/// What a terminal would act upon: controls but for line ends, C1, and marks that turn the reading direction.
fn tricks(text: &str) -> Option<char> {
    let acts = |c: &char| {
        (c.is_control() && !"\n".contains(*c))
            || ('\u{202a}'..='\u{202e}').contains(c)
            || ('\u{2066}'..='\u{2069}').contains(c)
    };
    text.chars().find(acts)
}

/// O5: whatever is printed, in whatever form, holds no secret and nothing that a terminal acts upon.
#[test]
fn secrets_and_tricks_stay_where_they_are() {
    let rig = Rig::new(hostile());
    let dir = rig.dir();
    let dir = dir.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &[JOB, dir, "--once", "--dry-run", "-v"],
        &[JOB, dir, "--once", "--retries", "2", "-v"],
        &[JOB, dir, "--once", "--retries", "2", "-vv"],
        &[JOB, dir, "--once", "--retries", "2", "--output", "json"],
        &[JOB, dir, "--once", "--retries", "1", "-q"],
        &[JOB, dir, "--once", "--retries", "1", "--progress", "always"],
        &["status", JOB],
        &["status", JOB, "--output", "json"],
        &["result", JOB, "--dir", dir],
        &["result", JOB, "--output", "json"],
        &["ls", dir],
        &["ls", dir, "--output", "json"],
        &["verify", dir],
        &["gallery", dir],
        &["doctor", JOB, "--dir", dir],
        &["cancel", JOB],
    ];
    for arguments in commands {
        let mut command = rig.command(arguments);
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        let run = rig.run(command);
        rig.promises(&run).unwrap_or_else(|why| panic!("{arguments:?}: {why}"));
        let text = [&run.stdout, &run.stderr, run.log.as_bytes()].concat();
        let text = String::from_utf8(text).unwrap();
        // Bars are painted by rcsync itself, with escapes of its own.
        if !arguments.contains(&"always") {
            assert_eq!(tricks(&text), None, "{arguments:?}: {text}");
        }
    }
}

/// The environment of a hook, where this version has hooks, and the body of a webhook.
#[test]
fn hooks_get_no_secret() {
    let rig = Rig::new(World::of(vec![Hosted::checkpoint(&weights(1, 10_000), honest)]));
    let help = rig.run(rig.command(&["sync", "--help"]));
    if !help.output().contains("--exec") {
        println!("skipped: this version has no hooks");
        return;
    }
    let heard = Host::start(Arc::new(|_| Reply::new(200, b"")));
    let webhook = format!("http://127.0.0.1:{}/hook", heard.port());
    let run = rig.once(&["--exec", "sh -c 'env > ../hook-environment'", "--webhook", &webhook]);
    rig.promises(&run).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.output());
    let reported =
        crate::support::snapshot(rig.root()).into_keys().any(|path| path.ends_with("hook-environment"));
    assert!(reported, "the hook did not run: {}", run.output());
    for ask in heard.asks() {
        assert!(!format!("{ask:?}").contains(TOKEN), "the webhook was sent the token");
    }
}
