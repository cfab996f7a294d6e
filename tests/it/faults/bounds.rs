//! Group N: bombs, and what they may cost.

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Case, World, hold_all};
use super::transfer::gzip;
use super::world::{File, Hosted, MIB, picture, weights};

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

fn api(reply: impl Fn() -> Reply + Send + Sync + 'static) -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 1000), honest)]).api(move |_, _| Some(reply()))
}

fn host(reply: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), reply)])
}

/// A head of ever more headers.
fn headers_without_end() -> Reply {
    Reply::raw(b"HTTP/1.1 200 OK\r\n")
        .end(End::Endless(b"X-More: and more and more and more\r\n".repeat(1000)))
}

#[test]
fn group_n_bombs() {
    let mut claims_much = (1_u64 << 63).to_le_bytes().to_vec();
    claims_much.extend_from_slice(&[b'{'; 1000]);
    let mut claims_the_most = 90_000_000_u64.to_le_bytes().to_vec();
    claims_the_most.push(b'{');
    let header_without_end = std::sync::Arc::new(claims_the_most);
    let served = header_without_end.clone();
    hold_all(vec![
        Case::new(
            "N1",
            "a list that says it has a gigabyte",
            api(|| Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{").end(End::Hold)),
            76,
            0,
        )
        .prints("longer than"),
        Case::new(
            "N1",
            "a list without end",
            api(|| Reply::json("[").without("Content-Length").end(End::Endless(vec![b' '; 1 << 20]))),
            76,
            0,
        )
        .prints("longer than"),
        Case::new(
            "N1",
            "a compressed bomb",
            api(|| Reply::new(200, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).header("Content-Encoding", "gzip")),
            76,
            0,
        ),
        Case::new(
            "N1",
            "a bomb of 400 MiB",
            {
                let bomb = gzip(&vec![b' '; 400 * MIB]);
                api(move || Reply::new(200, &bomb).header("Content-Encoding", "gzip"))
            },
            76,
            0,
        )
        .prints("longer than")
        .peak(160),
        Case::new(
            "N1",
            "an answer packed in a way that was not asked for",
            api(|| Reply::json("{}").header("Content-Encoding", "br")),
            76,
            0,
        )
        .prints("`br`"),
        Case::new("N2", "the API's head has no end", api(headers_without_end), 76, 0),
        Case::refuses("N2", "the host's head has no end", host(|_, _| headers_without_end())),
        Case::refuses(
            "N2",
            "100,000 headers",
            host(|file, ask| {
                file.honest(ask).before(b"").also("X", &format!("1\r\n{}Y: 1", "A: b\r\n".repeat(100_000)))
            }),
        ),
        Case::refuses(
            "N2",
            "a value of a megabyte",
            host(|file, ask| file.honest(ask).also("X-Large", &"v".repeat(1 << 20))),
        ),
        Case::refuses(
            "N3",
            "a chunk extension without end",
            host(|file, ask| {
                file.honest(ask)
                    .chunked(true)
                    .before_body(b"5;")
                    .map_body(Vec::clear)
                    .end(End::Endless(vec![b'e'; 65_536]))
            }),
        ),
        // The body is whole before its trailers begin, so they can do no harm and are not read.
        Case::survives(
            "N3",
            "trailers without end",
            host(|file, ask| {
                let framed = file.honest(ask).chunked(false);
                framed.end(End::Endless(b"X-Trailer: and more\r\n".repeat(1000)))
            }),
        )
        .published(1),
        Case::refuses("N6", "a header of 2^63 bytes", host(move |_, _| Reply::new(200, &claims_much))),
        Case::refuses("N6", "eight headers of 90 MB at once", {
            let each = |n: usize| {
                let bytes = served.clone();
                let file = weights(1, 10);
                let hosted = Hosted::checkpoint(&file, move |_, _| {
                    let length = 90_000_100;
                    Reply::new(200, &bytes)
                        .without("Content-Length")
                        .also("Content-Length", &length.to_string())
                        .end(End::Endless(vec![b' '; 1 << 20]))
                });
                let name = format!("/output/lora_00000{n}000.safetensors");
                hosted.at(&name, "*")
            };
            World::of((1..9).map(each).collect())
        })
        .arguments(&["--retries", "1"])
        .peak(256),
        Case::refuses("N10", "everything fails", {
            let each = |n: u64| {
                let name = format!("1724085406830__000000250_{n}.png");
                Hosted::sample(&name, &picture(0), |_, _| Reply::new(500, b"no"))
            };
            World::of((0..30).map(each).collect())
        })
        .asks(30..=60),
        Case::survives("N9", "a prompt of ten megabytes", {
            let sample = Hosted::sample("1724085406830__000000250_0.png", &picture(0), honest);
            World::of(vec![sample]).api(|ask, listing| {
                ask.path().ends_with("/result").then(|| {
                    let mut result = listing.result.clone();
                    result["artifacts"]["samples"][0]["prompt"] = "dog \u{1b}[2J ".repeat(1_000_000).into();
                    let images = vec![serde_json::json!("http://127.0.0.1/x.png?secret"); 100_000];
                    result["artifacts"]["samples"][0]["control_image"] = images.into();
                    Reply::json(&result.to_string())
                })
            })
        })
        .and(|rig, _| {
            let length = std::fs::metadata(rig.dir().join("job.json")).map_or(0, |file| file.len());
            if length < 1 << 20 { Ok(()) } else { Err(format!("job.json has {length} bytes")) }
        }),
    ]);
}
