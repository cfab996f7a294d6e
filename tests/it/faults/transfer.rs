//! Group B: what happens to HTTP bodies on their way.

use std::io::Write as _;
use std::time::Duration;

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Case, World, hold_all};
use super::world::{File, Hosted, MIB, picture, unhashed_weights, weights, yaml};

/// A file as a store serves it that was given it packed.
fn packed(file: &File) -> Reply {
    let stamp = file.etag.clone().unwrap_or_default();
    Reply::new(200, &gzip(&file.bytes)).header("Content-Encoding", "gzip").header("ETag", &stamp)
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The host serves ranges, and refuses the second request so.
fn once(status: u16) -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), move |file, ask| match ask.nth {
        0 => file.honest(ask).cut(MIB, End::Close),
        1 => Reply::new(status, b"not now"),
        _ => file.honest(ask),
    })])
}

/// A world of one checkpoint of three MiB.
fn checkpoint(script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), script)])
}

/// The first answer is bent, the later ones are honest.
fn first(bend: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> World {
    checkpoint(move |file, ask| {
        let honest = file.honest(ask);
        if ask.nth == 0 { bend(honest) } else { honest }
    })
}

/// Every answer is bent.
fn always(bend: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> World {
    checkpoint(move |file, ask| bend(file.honest(ask)))
}

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

const HALF: usize = 3 * MIB / 2;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = connections();
    cases.extend(endings());
    cases.extend(framing());
    cases.extend(bodies());
    cases
}

/// Connections that cannot be made, or not for long.
fn connections() -> Vec<Case> {
    let at = |origin: &str| {
        let mut world = checkpoint(honest);
        origin.clone_into(&mut world.origin);
        world
    };
    // No process listens on the port of a listener that is gone.
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    vec![
        Case::refuses("B1", "connection refused", at(&format!("http://{refused}")))
            .prints("refused")
            .asks(0..=0),
        Case::refuses("B1", "no such host", at("http://no-such-host.invalid")).prints("no-such-host.invalid"),
        Case::new(
            "B1",
            "one host refuses, the other one serves",
            {
                let dead = Hosted::sample("1724085406830__000000250_0.png", &picture(0), honest);
                let mut world = checkpoint(honest);
                world.files.push(dead);
                world.api(move |ask, listing| {
                    ask.path().ends_with("/result").then(|| {
                        let mut result = listing.result.clone();
                        let path = format!("http://{refused}/output/samples/1724085406830__000000250_0.png");
                        result["artifacts"]["samples"][0]["path"] = path.into();
                        Reply::json(&result.to_string())
                    })
                })
            },
            75,
            1,
        )
        .prints("refused")
        .asks(1..=2),
        Case::survives("B20", "the first of the host's addresses is dead", at("http://localhost:{port}")),
        Case::survives("B13", "a connection that closes after each answer, unannounced", {
            let files = (0..12).map(|n| {
                Hosted::sample(&format!("1724085406830__000000250_{n}.png"), &picture(n), |file, ask| {
                    file.honest(ask).end(End::Close)
                })
            });
            World::of(files.collect())
        }),
        Case::survives("B13", "a connection that is reset after each answer", {
            let files = (0..12).map(|n| {
                Hosted::sample(&format!("1724085406830__000000250_{n}.png"), &picture(n), |file, ask| {
                    if ask.nth == 0 { file.honest(ask).end(End::Reset) } else { file.honest(ask) }
                })
            });
            World::of(files.collect())
        }),
        Case::survives("B3", "reset before any byte", first(|_| Reply::raw(b"").end(End::Reset))),
        Case::survives("B4", "closed before any byte", first(|_| Reply::raw(b""))),
    ]
}

/// Bodies that do not end as announced.
fn endings() -> Vec<Case> {
    vec![
        Case::survives("B3", "reset in the middle", first(|reply| reply.cut(HALF, End::Reset))),
        Case::survives("B4", "closed in the middle", first(|reply| reply.cut(HALF, End::Close))).resumed(),
        Case::refuses(
            "B4",
            "closed one byte early, always",
            checkpoint(|file, ask| {
                let reply = file.honest(ask);
                let length = file.len() - ask.starts_at();
                reply.cut(length.saturating_sub(1), End::Close)
            }),
        ),
        Case::survives(
            "B4",
            "closed every 300 kB",
            checkpoint(|file, ask| file.honest(ask).cut(300_000, End::Close)),
        )
        .resumed()
        .asks(10..=14),
        Case::survives(
            "B5",
            "chunks without the last one",
            first(|reply| reply.cut(HALF, End::Close).chunked(false)),
        ),
        Case::survives(
            "B5",
            "a chunk size that is none",
            first(|reply| {
                reply.chunked(true).map_body(Vec::clear).end(End::Close).before_body(b"xyz\r\nabc\r\n")
            }),
        ),
        Case::survives(
            "B6",
            "no length; the format proves it whole",
            always(|reply| reply.start("HTTP/1.1 200 OK").without("Content-Range").unsized_body()),
        )
        .evidence("trainer-hash"),
        Case::refuses(
            "B6",
            "no length, cut, the whole time",
            always(|reply| {
                reply.start("HTTP/1.1 200 OK").without("Content-Range").unsized_body().cut(HALF, End::Close)
            }),
        )
        .prints("settling"),
        Case::survives("B7", "a stall in the middle", first(|reply| reply.cut(HALF, End::Hold))).resumed(),
        Case::survives("B7", "a stall before the head", first(|_| Reply::raw(b"").end(End::Hold))),
        Case::survives(
            "B7",
            "a stall within the head",
            first(|_| Reply::raw(b"HTTP/1.1 206 Partial Content\r\nContent-").end(End::Hold)),
        ),
        Case::survives(
            "B9",
            "more bytes than announced, with no end",
            first(|reply| reply.chunked(true).end(End::Endless(vec![7; 65_536]))),
        )
        .asks(1..=3),
        Case::survives(
            "B9",
            "a 206 whose body is longer than its range",
            first(|reply| reply.chunked(true).map_body(|body| body.extend_from_slice(&[9; 100_000]))),
        ),
        Case::refuses(
            "B9",
            "an endless body of no announced length",
            always(|reply| {
                reply
                    .start("HTTP/1.1 200 OK")
                    .without("Content-Range")
                    .unsized_body()
                    .end(End::Endless(vec![7; 65_536]))
            }),
        ),
    ]
}

/// Heads that contradict themselves, or are none.
fn framing() -> Vec<Case> {
    vec![
        Case::refuses("B10", "two lengths that differ", always(|reply| reply.also("Content-Length", "17"))),
        Case::survives(
            "B10",
            "two lengths that differ, once",
            first(|reply| reply.also("Content-Length", "17")),
        ),
        Case::survives(
            "B10",
            "a length beside chunks, and wrong",
            first(|reply| reply.chunked(true).also("Content-Length", "17")),
        ),
        Case::survives(
            "B10",
            "a length that is no number",
            first(|reply| reply.without("Content-Length").also("Content-Length", "-5").end(End::Close)),
        ),
        Case::survives(
            "B14",
            "fifty early hints",
            always(|reply| {
                reply.before("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(50).as_bytes())
            }),
        ),
        Case::survives(
            "B14",
            "early hints without end, once",
            first(|_| {
                Reply::raw(b"")
                    .end(End::Endless(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(50)))
            }),
        ),
        Case::survives(
            "B14",
            "HTTP/1.0 that closes",
            always(|reply| reply.start("HTTP/1.0 200 OK").without("Content-Range").unsized_body()),
        )
        .and(|_, _| Ok(())),
        Case::refuses("B14", "HTTP/0.9", checkpoint(|file, _| Reply::raw(&file.bytes))),
        Case::refuses("B14", "another protocol", checkpoint(|_, _| Reply::raw(b"SSH-2.0-OpenSSH_9.2\r\n"))),
    ]
}

/// Bodies that are not what was asked for.
fn bodies() -> Vec<Case> {
    let flipped = |bytes: &mut Vec<u8>| {
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
    };
    let error_page = |status: u16| {
        let xml = b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";
        Reply::new(status, xml).header("Content-Type", "application/xml")
    };
    vec![
        Case::refuses(
            "B11",
            "gzip though identity was asked",
            always(|reply| reply.header("Content-Encoding", "gzip")),
        ),
        Case::refuses(
            "B11",
            "a checkpoint stored packed",
            World::of(vec![Hosted::checkpoint(&weights(1, MIB), |file, _| packed(file))]),
        )
        .prints("Content-Encoding"),
        Case::survives("B11", "a configuration stored packed", {
            World::of(vec![Hosted::config(&yaml(), |file, _| packed(file))])
        })
        .asks(1..=1)
        .evidence("structure"),
        Case::survives("B11", "a packed configuration that breaks once", {
            World::of(vec![Hosted::config(&yaml(), |file, ask| {
                if ask.nth == 0 { packed(file).cut(20, End::Close) } else { packed(file) }
            })])
        })
        .asks(2..=2),
        Case::refuses("B11", "a packed configuration that cannot be unpacked", {
            World::of(vec![Hosted::config(&yaml(), |file, _| packed(file).map_body(|body| body[20] ^= 0xff))])
        })
        .prints("cannot be unpacked"),
        Case::refuses("B11", "a packed configuration that unpacks to 400 MiB", {
            let bomb = gzip(&vec![b' '; 400 * MIB]);
            World::of(vec![Hosted::config(&yaml(), move |_, _| {
                Reply::new(200, &bomb).header("Content-Encoding", "gzip")
            })])
        })
        .prints("longer than any configuration")
        .peak(64),
        Case::survives("B11", "a word of the store's own upload protocol", {
            World::of(vec![Hosted::checkpoint(&weights(1, MIB), |file, ask| {
                file.honest(ask).header("Content-Encoding", "aws-chunked")
            })])
        }),
        Case::survives("B11", "brotli once", first(|reply| reply.header("Content-Encoding", "br"))),
        Case::survives("B17", "409 once", once(409)),
        Case::survives("B17", "421 once", once(421)),
        Case::survives("B17", "423 once", once(423)),
        Case::survives("B17", "a status that only some CDN knows, once", once(499)),
        Case::survives("B15", "one bit wrong, once", first(move |reply| reply.map_body(flipped))),
        Case::refuses("B15", "one bit wrong, always", always(move |reply| reply.map_body(flipped)))
            .prints("hashes to"),
        Case::refuses("B15", "a picture with one bit wrong", {
            World::of(vec![Hosted::sample("1724085406830__000000250_0.png", &picture(1), |file, ask| {
                file.honest(ask).map_body(|body| body[60] ^= 4)
            })])
        }),
        Case::refuses("B16", "an error page under 200", always(move |_| error_page(200))),
        Case::refuses("B16", "an error page under 200, for a picture", {
            World::of(vec![Hosted::sample("1724085406830__000000250_0.png", &picture(1), move |_, _| {
                error_page(200)
            })])
        }),
        Case::refuses("B16", "a sign-in page under 200, for the configuration", {
            World::of(vec![Hosted::config(&yaml(), |_, _| Reply::html(200))])
        }),
        Case::refuses("B17", "204", always(|_| Reply::new(204, b"").without("Content-Length"))),
        Case::refuses("B17", "205", always(|_| Reply::new(205, b""))),
        Case::refuses(
            "B17",
            "304 though nothing was asked",
            always(|_| Reply::new(304, b"").without("Content-Length")),
        ),
        Case::refuses("B17", "202 with a body", always(|reply| reply.status(202))),
        Case::refuses("B18", "an empty file", always(|_| Reply::new(200, b""))),
        Case::refuses(
            "B18",
            "an empty file, as an unsatisfied range",
            always(|_| Reply::new(416, b"").header("Content-Range", "bytes */0")),
        ),
        Case::survives("B2", "a slow start", first(|reply| reply.drip(MIB, Duration::from_millis(300)))),
        Case::survives("B6", "chunks, and no hash to prove it", {
            World::of(vec![Hosted::checkpoint(&unhashed_weights(3, MIB), |file, ask| {
                file.honest(ask).chunked(true)
            })])
        })
        .evidence("structure"),
    ]
}

#[test]
fn group_b_transfers() {
    hold_all(cases());
}

/// A host whose queue of connections is full lets new ones hang: the connection's own time-out must end them.
#[test]
fn b2_a_host_that_swallows_connections() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let queued: Vec<_> = (0..4)
        .map(|_| {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            filler
        })
        .collect();
    let mut world = checkpoint(honest);
    world.origin = format!("http://{address}");
    hold_all(vec![Case::refuses("B2", "SYN into a black hole", world).arguments(&["--retries", "1"])]);
    drop(queued);
}

/// B19: asked through a proxy that refuses to connect to a host of https, nothing gets past it.
#[test]
fn b19_a_proxy_that_refuses_to_connect() {
    let proxy =
        super::host::Host::start(std::sync::Arc::new(|_| Reply::new(403, b"not there").end(End::Close)));
    let mut world = checkpoint(honest);
    "https://localhost:{port}".clone_into(&mut world.origin);
    let rig = super::rig::Rig::new(world);
    let run = rig.once_with(&[], |command| {
        let address = format!("http://127.0.0.1:{}", proxy.port());
        command.env("HTTPS_PROXY", &address).env("https_proxy", &address);
    });
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(75), 0), "{}", run.output());
    assert!(proxy.asks().iter().all(|ask| ask.method == "CONNECT"), "{:?}", proxy.asks());
    assert!(!proxy.asks().is_empty() && rig.host.asks().is_empty());
}

/// B19: through a SOCKS proxy, which gets the name and resolves it.
#[test]
fn b19_a_proxy_that_speaks_socks() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let rig = super::rig::Rig::new({
        let mut world = checkpoint(honest);
        "http://trainer.test:{port}".clone_into(&mut world.origin);
        world
    });
    let host = rig.host.port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || socks(client.unwrap(), host));
        }
    });
    let run = rig.once_with(&[], |command| {
        command.env("ALL_PROXY", format!("socks5h://{address}")).env("NO_PROXY", "127.0.0.1");
    });
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(0), 1), "{}", run.output());
}

/// Serves one client of a SOCKS 5 proxy that knows one name.
fn socks(mut client: std::net::TcpStream, port: u16) -> std::io::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut head = [0; 2];
    client.read_exact(&mut head)?;
    client.read_exact(&mut vec![0; usize::from(head[1])])?;
    client.write_all(&[5, 0])?;
    let mut ask = [0; 5];
    client.read_exact(&mut ask)?;
    let mut name = vec![0; usize::from(ask[4]) + 2];
    client.read_exact(&mut name)?;
    let known = ask[..4] == [5, 1, 0, 3] && name.starts_with(b"trainer.test");
    client.write_all(&[5, u8::from(!known), 0, 1, 127, 0, 0, 1, 0, 0])?;
    let mut host = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let (mut back, mut to) = (host.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut back, &mut to));
    std::io::copy(&mut client, &mut host).map(drop)
}

/// B19: asked through a proxy that refuses, the message says so.
#[test]
fn b19_a_proxy_that_refuses() {
    let proxy = super::host::Host::start(std::sync::Arc::new(|_| Reply::new(407, b"who are you?")));
    for (no_proxy, code) in [("", 75), ("127.0.0.1", 0)] {
        let rig = super::rig::Rig::new(checkpoint(honest));
        let run = rig.once_with(&[], |command| {
            let address = format!("http://127.0.0.1:{}", proxy.port());
            command.env("HTTP_PROXY", &address).env("http_proxy", &address).env("NO_PROXY", no_proxy);
        });
        rig.promises(&run).unwrap();
        assert_eq!(run.code, Some(code), "B19 with NO_PROXY={no_proxy}: {}", run.output());
        if code == 75 {
            assert!(run.output().contains("407"), "{}", run.output());
            assert_eq!(rig.host.asks().len(), 0);
        }
    }
}
