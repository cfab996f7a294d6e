//! Groups A and D: an API that misbehaves, tokens that are refused, and addresses that expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::host::{Ask, Host};
use super::reply::{End, Reply};
use super::rig::{Case, Listing, Rig, World, hold_all};
use super::world::{File, Hosted, JOB, MIB, SIGNATURE, TOKEN, picture, weights};

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

fn checkpoint() -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 100_000), honest)])
}

/// An API of which the first answer to each question is another one.
fn once(reply: impl Fn(&Ask, &Listing) -> Reply + Send + Sync + 'static) -> World {
    checkpoint().api(move |ask, listing| (ask.nth == 0).then(|| reply(ask, listing)))
}

fn always(reply: impl Fn(&Ask, &Listing) -> Reply + Send + Sync + 'static) -> World {
    checkpoint().api(move |ask, listing| Some(reply(ask, listing)))
}

/// The honest answer, as text.
fn text(ask: &Ask, listing: &Listing) -> String {
    let value = if ask.path().ends_with("/status") { &listing.status } else { &listing.result };
    value.to_string()
}

/// A listing in which something was changed; the status stays as it is.
fn listed(change: impl Fn(&mut Value) + Send + Sync + 'static) -> World {
    checkpoint().api(move |ask, listing| {
        ask.path().ends_with("/result").then(|| {
            let mut result = listing.result.clone();
            change(&mut result);
            Reply::json(&result.to_string())
        })
    })
}

fn outages() -> Vec<Case> {
    let mut cases = vec![
        Case::survives("A1", "502 once", once(|_, _| Reply::new(502, b"bad gateway"))),
        Case::new("A1", "500 for ever", always(|_, _| Reply::new(500, b"oh")), 69, 0).prints("HTTP 500").and(
            |_, run| match run.events("retrying").len() {
                1 => Ok(()),
                count => Err(format!("an outage was reported {count} times")),
            },
        ),
        Case::survives("A1", "reset once", once(|_, _| Reply::raw(b"").end(End::Reset))),
        Case::survives(
            "A1",
            "cut once",
            once(|ask, listing| {
                let reply = Reply::json(&text(ask, listing));
                reply.cut(20, End::Close)
            }),
        ),
        Case::survives("A2", "429 with a wish", once(|_, _| Reply::new(429, b"").header("Retry-After", "1")))
            .and(|_, run| match run.events("retrying").first().map(|event| event["wait_seconds"].as_f64()) {
                Some(Some(wait)) if wait >= 1.0 => Ok(()),
                other => Err(format!("it waited {other:?}")),
            }),
        Case::survives(
            "A3",
            "429 with a wait that cannot be read",
            once(|_, _| Reply::new(429, b"").header("Retry-After", "soon")),
        ),
        Case::new(
            "A3",
            "429 with a wish for ten years",
            always(|_, _| Reply::new(429, b"").header("Retry-After", "315360000")),
            75,
            0,
        ),
        Case::survives("A4", "a sign-in page once", once(|_, _| Reply::html(200))),
        Case::new("A4", "a sign-in page for ever", always(|_, _| Reply::html(200)), 76, 0)
            .prints("HTML page"),
        Case::survives(
            "A5",
            "a byte order mark",
            checkpoint().api(|ask, listing| Some(Reply::json(&format!("\u{feff}{}", text(ask, listing))))),
        ),
    ];
    let trailing =
        |ask: &Ask, listing: &Listing| Reply::json(&format!("{}<!-- cached -->", text(ask, listing)));
    cases.push(Case::survives("A5", "something behind the answer, once", once(trailing)));
    cases.push(Case::new("A5", "something behind the answer", always(trailing), 76, 0));
    let broken: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("half of it", br#"{"id":"job-0001","sta"#),
        ("UTF-16", b"\xff\xfe{\0}\0"),
        ("not UTF-8", b"{\"id\":\"\xff\xfe\"}"),
        ("a list", b"[]"),
        ("a text", b"\"ok\""),
    ];
    for (about, body) in broken {
        cases.push(Case::survives("A5", about, once(move |_, _| Reply::new(200, body))));
        // Garbled text within a valid answer costs that text alone; the rest is no answer at all.
        if about != "not UTF-8" {
            cases.push(Case::new("A5", about, always(move |_, _| Reply::new(200, body)), 76, 0));
        }
    }
    cases
}

fn meanings() -> Vec<Case> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        Case::survives("A6", "new fields, a new status, a new type", {
            let mut world = checkpoint();
            world.status = "DEFRAGMENTING";
            world.api(|ask, listing| {
                let mut answer: Value = serde_json::from_str(&text(ask, listing)).unwrap();
                answer["colour"] = json!({ "of": ["the", 1e300, null] });
                Some(Reply::json(&answer.to_string()))
            })
        })
        .prints("DEFRAGMENTING"),
        Case::new(
            "A7",
            "entries that are none cost themselves alone",
            listed(|result| {
                let list = result["artifacts"]["checkpoints"].as_array_mut().unwrap();
                list.extend([json!(null), json!({}), json!({ "path": 7 }), json!({ "path": "" }), json!([])]);
                result["artifacts"]["samples"] = json!("none yet");
            }),
            0,
            1,
        ),
        Case::survives(
            "A7",
            "an object for a list",
            listed(|result| {
                let only = result["artifacts"]["checkpoints"][0].clone();
                result["artifacts"]["checkpoints"] = only;
            }),
        ),
        Case::survives(
            "A7",
            "numbers as texts",
            checkpoint().api(|ask, listing| {
                let mut answer: Value = serde_json::from_str(&text(ask, listing)).unwrap();
                if ask.path().ends_with("/status") {
                    answer["progress"] = json!({ "current_step": "1000", "total_steps": "1000" });
                }
                Some(Reply::json(&answer.to_string()))
            }),
        )
        .prints("1000"),
        Case::new("A7", "no artifacts at all", listed(|result| result["artifacts"] = Value::Null), 0, 0),
        Case::survives(
            "A8",
            "one address twice",
            listed(|result| {
                let list = result["artifacts"]["checkpoints"].as_array_mut().unwrap();
                list.push(list[0].clone());
            }),
        )
        .asks(1..=1),
        Case::survives("A9", "two files of one name", {
            let other = weights(2, 50_000);
            World::of(vec![
                Hosted::checkpoint(&weights(1, 100_000), honest).at("/output/a/x.safetensors", "*"),
                Hosted::checkpoint(&other, honest).at("/output/b/x.safetensors", "*"),
            ])
        }),
        Case::new(
            "A12",
            "an answer about another job",
            always(|ask, listing| Reply::json(&text(ask, listing).replace(JOB, "job-0002"))),
            76,
            0,
        )
        .prints("job-0002")
        .and(|rig, _| match rig.dir().exists() {
            true => Err("a folder was made for it".to_owned()),
            false => Ok(()),
        }),
        Case::new("A13", "an unknown job", always(|_, _| Reply::new(404, b"{}")), 65, 0).prints("job-0001"),
        Case::new("A13", "another account's job", always(|_, _| Reply::new(403, b"{}")), 77, 0),
        Case::survives("A19", "a nest of 100,000 lists, once", once(move |_, _| Reply::json(&deep))),
        Case::survives(
            "A19",
            "odd values in good places",
            checkpoint().api(|ask, listing| {
                let answer = text(ask, listing);
                let odd = r#"{"odd":[1e400,-0,"\ud800"],"odd":2,"#;
                Some(Reply::json(&answer.replacen('{', odd, 1)))
            }),
        ),
    ]
}

fn tokens() -> Vec<Case> {
    vec![
        Case::new("D2", "401", always(|_, _| Reply::new(401, br#"{"message":"who?"}"#)), 77, 0)
            .prints("who?")
            .and(|rig, _| match rig.api.asks().len() {
                // Status and result are asked for at once.
                1 | 2 => Ok(()),
                count => Err(format!("{count} requests with a refused token")),
            }),
        Case::new(
            "D2",
            "an answer that repeats the token",
            always(|ask, _| {
                Reply::new(400, format!("bad: {}", ask.header("authorization").unwrap_or("-")).as_bytes())
            }),
            65,
            0,
        ),
        Case::new(
            "D2",
            "an API that redirects elsewhere",
            always(|_, _| Reply::new(302, b"").header("Location", "http://127.0.0.1:9/steal?it=now")),
            65,
            0,
        ),
    ]
}

/// Addresses that work for a while: each listing signs anew, and only the newest signature (and no request beyond
/// `uses` of it) is served.
fn expiring(files: Vec<(Hosted, File)>, uses: usize, bend: fn(Reply) -> Reply) -> World {
    let (generation, used) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let served = files.into_iter().map(|(mut hosted, file)| {
        let (generation, used) = (generation.clone(), used.clone());
        hosted.script = Arc::new(move |ask: &Ask| {
            let newest = format!("gen={}", generation.load(Ordering::SeqCst));
            if !ask.target.ends_with(&newest) || used.fetch_add(1, Ordering::SeqCst) >= uses {
                return Reply::new(403, b"<Error><Message>Request has expired</Message></Error>");
            }
            bend(file.honest(ask))
        });
        hosted
    });
    World::of(served.collect()).api(move |ask, listing| {
        ask.path().ends_with("/result").then(|| {
            let next = generation.fetch_add(1, Ordering::SeqCst) + 1;
            used.store(0, Ordering::SeqCst);
            let signed = format!("{SIGNATURE}&gen={next}");
            Reply::json(&listing.result.to_string().replace(SIGNATURE, &signed))
        })
    })
}

fn links() -> Vec<Case> {
    let pictures = |count: u64| {
        let each = |n| {
            let file = picture(n);
            (Hosted::sample(&format!("1724085406830__000000250_{n}.png"), &file, honest), file)
        };
        (0..count).map(each).collect::<Vec<_>>()
    };
    let large = weights(1, 5 * MIB);
    vec![
        Case::survives("D4", "addresses expire in the queue", expiring(pictures(12), 5, |reply| reply))
            .arguments(&["--retries", "6"])
            .asks(12..=60),
        Case::survives("D5", "each address serves one request, and each breaks", {
            expiring(vec![(Hosted::checkpoint(&large, honest), large.clone())], 1, |reply| {
                reply.cut(2 * MIB, End::Close)
            })
        })
        .resumed()
        // Several connections may use an address that serves one of them: three or more waves of up to four.
        .asks(3..=20),
        Case::new(
            "D6",
            "403 for ever on one of three",
            {
                let mut files: Vec<Hosted> = pictures(2).into_iter().map(|(hosted, _)| hosted).collect();
                files.push(Hosted::checkpoint(&weights(1, 1000), |_, _| Reply::new(403, b"no")));
                World::of(files)
            },
            75,
            2,
        )
        .prints("403")
        .asks(4..=8),
        Case::survives("D8", "signed paths and queries arrive byte for byte", {
            let path = "/out%70ut/a+b%2Bc%20d%2Fe%c3%A9;v=1,2'(x)*~!@:$&=.safetensors";
            World::of(vec![Hosted::checkpoint(&weights(1, 1000), honest).at(path, "*")]).api(
                |ask, listing| {
                    let signed = format!("{SIGNATURE}+a%2Bb%2f/?x[]=|y&&z=");
                    let result = listing.result.to_string().replace(SIGNATURE, &signed);
                    ask.path().ends_with("/result").then(|| Reply::json(&result))
                },
            )
        })
        .and(|rig, _| {
            let expected = format!("{}?sig={SIGNATURE}+a%2Bb%2f/?x[]=|y&&z=", rig.world.files[0].path);
            let target = rig.host.asks()[0].target.clone();
            if target == expected { Ok(()) } else { Err(format!("asked for {target}")) }
        }),
        Case::survives("D8", "spaces and other letters in a listed address", {
            let path = "/output/my lora é✓.safetensors";
            World::of(vec![Hosted::checkpoint(&weights(1, 1000), honest).at(path, "my lora é✓.safetensors")])
        }),
        Case::new(
            "D10",
            "404 between the list and the request",
            {
                let mut files: Vec<Hosted> = pictures(2).into_iter().map(|(hosted, _)| hosted).collect();
                files.push(Hosted::checkpoint(&weights(1, 1000), |_, _| Reply::new(404, b"")));
                World::of(files)
            },
            75,
            2,
        )
        .prints("vanished")
        .asks(4..=5),
        Case::refuses("D10", "410", {
            World::of(vec![Hosted::checkpoint(&weights(1, 1000), |_, _| Reply::new(410, b""))])
        })
        .prints("vanished"),
        Case::refuses("D10", "two hundred listed files that are all gone", {
            let each = |n: u64| {
                let name = format!("1724085406830__000000250_{n}.png");
                Hosted::sample(&name, &picture(0), |_, _| Reply::new(404, b""))
            };
            World::of((0..200).map(each).collect())
        })
        .asks(400..=400)
        .and(|rig, _| match rig.api.asks().len() {
            0..=8 => Ok(()),
            count => Err(format!("the API was asked {count} times")),
        }),
        Case::survives("A2", "a host that is busy, and says for how long", {
            World::of(vec![Hosted::checkpoint(&weights(1, 1000), |file, ask| match ask.nth {
                0 => Reply::new(429, b"").header("Retry-After", "1"),
                1 => Reply::new(503, b"").header("Retry-After", "Tue, 24 Nov 1996 12:00:00 GMT"),
                _ => file.honest(ask),
            })])
        })
        .arguments(&["--retries", "3"])
        .and(|_, run| {
            match run.events("retrying").first().map(|event| event["wait_seconds"].as_f64()) {
                Some(Some(wait)) if wait >= 1.0 => Ok(()),
                other => Err(format!("it waited {other:?}")),
            }
        }),
    ]
}

#[test]
fn group_a_outages() {
    hold_all(outages());
}

#[test]
fn group_a_meanings() {
    hold_all(meanings());
}

#[test]
fn group_d_tokens_and_links() {
    let mut cases = tokens();
    cases.extend(links());
    hold_all(cases);
}

/// D1: what cannot be a token is not sent, and nothing else is either.
#[test]
fn d1_unusable_tokens_send_nothing() {
    for token in [None, Some(""), Some("two words"), Some("line\nbreak"), Some("naïve")] {
        let rig = Rig::new(checkpoint());
        let run = rig.once_with(&[], |command| {
            command.env_remove("RUNCOMFY_TOKEN");
            token.map(|token| command.env("RUNCOMFY_TOKEN", token));
        });
        assert_eq!(run.code, Some(77), "D1 {token:?}: {}", run.output());
        assert_eq!(rig.api.asks().len(), 0, "D1 {token:?}");
    }
}

/// A10, A11: a new signature, or a new host for the same path, is no new file.
#[test]
fn a10_a11_signed_anew_is_the_same_file() {
    let poll = Arc::new(AtomicUsize::new(0));
    let count = poll.clone();
    let rig = Rig::new(checkpoint().api(move |ask, listing| {
        ask.path().ends_with("/result").then(|| {
            let next = count.fetch_add(1, Ordering::SeqCst);
            let mut text = listing.result.to_string().replace(SIGNATURE, &format!("{SIGNATURE}{next}"));
            if next == 2 {
                text = text.replace("http://127.0.0.1:", "http://localhost:");
            }
            Reply::json(&text)
        })
    }));
    for pass in 0..3 {
        let run = rig.once(&[]);
        rig.promises(&run).unwrap();
        assert_eq!((run.code, rig.host.asks().len()), (Some(0), 1), "pass {pass}: {}", run.output());
    }
    assert_eq!(poll.load(Ordering::SeqCst), 3);
}

/// A13: what is here stays when the job is gone or the account is another one.
#[test]
fn a13_a_lost_job_loses_nothing() {
    let gone = Arc::new(AtomicUsize::new(0));
    let status = gone.clone();
    let rig = Rig::new(checkpoint().api(move |_, _| match status.load(Ordering::SeqCst) {
        0 => None,
        status => Some(Reply::new(u16::try_from(status).unwrap(), b"{}")),
    }));
    assert_eq!(rig.once(&[]).code, Some(0));
    let before = crate::support::snapshot(&rig.dir());
    for (status, code) in [(404, 65), (403, 77), (401, 77), (500, 69)] {
        gone.store(status, Ordering::SeqCst);
        assert_eq!(rig.once(&[]).code, Some(code));
        assert_eq!(crate::support::snapshot(&rig.dir()), before, "A13 HTTP {status}");
    }
}

/// A1: a run without an API takes no longer than `--timeout`.
#[test]
fn a1_a_timeout_holds_while_the_api_is_away() {
    let looks = AtomicUsize::new(0);
    let mut world = checkpoint();
    world.status = "RUNNING";
    world.progress = (250, 1000);
    let rig = Rig::new(world.api(move |_, _| match looks.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => None,
        _ => Some(Reply::new(502, b"away")),
    }));
    let dir = rig.dir();
    let arguments = ["job-0001", dir.to_str().unwrap(), "--interval", "1s", "--timeout", "3s"];
    let began = std::time::Instant::now();
    let run = rig.run(rig.command(&arguments));
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(75), 1), "{}", run.output());
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
}

/// A16, A17: a list that lags behind the status is waited for.
#[test]
fn a16_a17_files_that_are_listed_after_the_end() {
    for (about, looks) in [("A17", 1), ("A16", 4)] {
        let rig = Rig::new(checkpoint().api(move |ask, listing| {
            let late = ask.path().ends_with("/result") && ask.nth < looks;
            late.then(|| {
                let mut result = listing.result.clone();
                result["artifacts"] = Value::Null;
                if about == "A16" {
                    result["status"] = json!("RUNNING");
                }
                Reply::json(&result.to_string())
            })
        }));
        let run = rig.follow(&[]);
        rig.promises(&run).unwrap();
        assert_eq!((run.code, rig.published().len()), (Some(0), 1), "{about}: {}", run.output());
    }
}

/// A18: addresses of the API in its own answers are not followed.
#[test]
fn a18_foreign_addresses_in_answers_are_ignored() {
    let evil = Arc::new(Host::start(Arc::new(|_| Reply::new(200, b"{}"))));
    let port = evil.port();
    let rig = Rig::new(checkpoint().api(move |ask, listing| {
        let mut answer: Value = serde_json::from_str(&text(ask, listing)).unwrap();
        for name in ["status_url", "result_url", "cancel_url"] {
            answer[name] = json!(format!("http://127.0.0.1:{port}/{name}"));
        }
        Some(Reply::json(&answer.to_string()))
    }));
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    assert_eq!((run.code, evil.asks().len()), (Some(0), 0), "{}", run.output());
}

/// E12: whatever way the API points to, the token is not sent there, not even to another port of the same host.
#[test]
fn e12_a_redirect_of_the_api_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let other = Host::start(Arc::new(|_| Reply::new(200, b"{}")));
        let port = other.port();
        let rig = Rig::new(checkpoint().api(move |ask, _| {
            let place = format!("http://127.0.0.1:{port}{}", ask.target);
            Some(Reply::new(status, b"").header("Location", &place))
        }));
        let run = rig.once(&[]);
        rig.promises(&run).unwrap();
        assert_eq!((run.code, other.asks().len()), (Some(65), 0), "{status}: {}", run.output());
    }
}

/// D12: a token that is replaced in its file while rcsync runs is taken up at the next refusal.
#[test]
fn d12_a_renewed_token_is_taken_up() {
    let mut world = checkpoint();
    world.status = "RUNNING";
    let looks = Arc::new(AtomicUsize::new(0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).unwrap();
    let (renewed, second) = (path.clone(), folder.path().join("second"));
    std::fs::write(&second, "second-token").unwrap();
    let rig = Rig::new(world.api(move |ask, listing| {
        let valid = if looks.load(Ordering::SeqCst) < 2 { TOKEN } else { "second-token" };
        if valid != TOKEN {
            // Whole, and once: status and result are requested at the same time, and the file is read again after each refusal.
            let _ = std::fs::rename(&second, &renewed);
        }
        if ask.header("authorization") != Some(&format!("Bearer {valid}")) {
            return Some(Reply::new(401, b"{}"));
        }
        let mut answer: Value = serde_json::from_str(&text(ask, listing)).unwrap();
        if ask.path().ends_with("/status") {
            looks.fetch_add(1, Ordering::SeqCst);
        }
        let over = looks.load(Ordering::SeqCst) > 3;
        answer["status"] = json!(if over { "STOPPED" } else { "RUNNING" });
        Some(Reply::json(&answer.to_string()))
    }));
    let run = rig.follow_with(&["--token-file", path.to_str().unwrap()], |command| {
        command.env_remove("RUNCOMFY_TOKEN");
    });
    rig.promises(&run).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.output());
}

/// D3: a token that is refused after hours ends the run with 77, but not before what is under way is here.
#[test]
fn d3_a_token_refused_later_loses_nothing() {
    let mut world = World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
        file.honest(ask).drip(MIB, std::time::Duration::from_millis(900))
    })]);
    world.status = "RUNNING";
    let rig = Rig::new(world.api(|ask, _| (ask.nth > 0).then(|| Reply::new(401, b"{}"))));
    let run = rig.follow(&[]);
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(77), 1), "{}", run.output());
}

/// I3: time stamps of any kind, or none, cost nothing: they are shown and kept as they came.
#[test]
fn i3_time_stamps_of_any_kind() {
    let stamps = [
        json!("2026-01-31T12:03:10"),
        json!("2026-01-31T12:03:10.143086"),
        json!("2026-01-31T12:03:10Z"),
        json!("2026-01-31T12:03:10+09:00"),
        json!("31 January, after lunch"),
        json!("9999-99-99T99:99:99"),
        json!(""),
        json!(1_769_860_990),
        json!(null),
        json!({}),
    ];
    let case = |stamp: Value| {
        let about: &'static str = Box::leak(stamp.to_string().into_boxed_str());
        let text = stamp.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let world = checkpoint().api(move |ask, listing| {
            let mut answer = match ask.path().rsplit('/').next() {
                Some("status") => listing.status.clone(),
                _ => listing.result.clone(),
            };
            for name in ["created_at", "started_at", "finished_at"] {
                answer[name] = stamp.clone();
            }
            Some(Reply::json(&answer.to_string()))
        });
        Case::survives("I3", about, world).and(move |rig, _| {
            let job =
                std::fs::read_to_string(rig.dir().join("job.json")).map_err(|error| error.to_string())?;
            match &text {
                Some(text) if !job.contains(text.as_str()) => Err(format!("`{text}` is not kept: {job}")),
                _ => Ok(()),
            }?;
            let asked = rig.host.asks().len();
            let again = rig.once(&[]);
            let idle = again.code == Some(0) && rig.host.asks().len() == asked;
            if idle { Ok(()) } else { Err(format!("a second pass is not idle: {}", again.output())) }
        })
    };
    hold_all(stamps.into_iter().map(case).collect());
}
