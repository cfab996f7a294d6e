//! Group C: ranges, validators and resumed transfers.
//!
//! Cases C24 to C26 are played beside C11, C21 and C23.

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Case, World, hold_all, ranges};
use super::world::{File, Hosted, MIB, weights, weights_of, yaml};

const HALF: usize = 3 * MIB / 2;

const OLD_DATE: &str = "Mon, 23 Nov 2026 12:00:00 GMT";
/// Less than a minute before the answers' own date.
const YOUNG_DATE: &str = "Tue, 24 Nov 2026 11:59:30 GMT";

/// The first answer breaks in the middle, the second is scripted, the later ones are honest.
fn second(script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> World {
    second_of(weights(1, 3 * MIB), script)
}

fn second_of(file: File, script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> World {
    World::of(vec![Hosted::checkpoint(&file, move |file, ask| match ask.nth {
        0 => file.honest(ask).cut(HALF, End::Close),
        1 => script(file, ask),
        _ => file.honest(ask),
    })])
}

/// The first version breaks in the middle; from then on another one is hosted, served as scripted.
fn replaced(script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> World {
    let (old, new) = (weights(1, 3 * MIB), weights(2, 3 * MIB));
    let served = new.clone();
    World::of(vec![
        Hosted::checkpoint(&old, move |old, ask| match ask.nth {
            0 => old.honest(ask).cut(HALF, End::Close),
            _ => script(&served, ask),
        })
        .only(&new),
    ])
}

fn conditions(asks: &[Ask]) -> Vec<Option<&str>> {
    asks.iter().map(|ask| ask.header("if-range")).collect()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = answers();
    cases.extend(validators());
    cases.extend(digests());
    cases
}

/// Responses to the request that resumes.
fn answers() -> Vec<Case> {
    let range =
        |value: &'static str| second(move |file, ask| file.honest(ask).header("Content-Range", value));
    vec![
        Case::survives("C1", "range ignored: 200 with everything", second(|file, _| file.whole())),
        Case::survives("C1", "range always ignored", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                if ask.nth == 0 { file.whole().cut(HALF, End::Close) } else { file.whole() }
            })])
        }),
        Case::survives(
            "C2",
            "starts earlier than asked",
            second(|file, ask| file.part(ask.starts_at() - 1000, file.len())),
        )
        .resumed()
        .asks(2..=2),
        Case::survives("C2", "starts at zero, as 206", second(|file, _| file.part(0, file.len()))),
        Case::survives(
            "C3",
            "starts later than asked",
            second(|file, ask| file.part(ask.starts_at() + 1, file.len())),
        ),
        Case::survives(
            "C3",
            "bytes of another place under the right label",
            second(|file, ask| {
                let start = ask.starts_at();
                file.honest(ask).body(&file.bytes[start - 1..file.len() - 1])
            }),
        ),
        Case::survives("C4", "another total", range("bytes 1572864-3145900/99999999")),
        Case::survives("C4", "a total of `*`", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                let (start, end) = (ask.starts_at(), file.len() - 1);
                let reply = file.honest(ask);
                if ask.starts_at() >= file.len() {
                    return reply;
                }
                reply.header("Content-Range", &format!("bytes {start}-{end}/*"))
            })])
        }),
        Case::survives(
            "C4",
            "no Content-Range",
            second(|file, ask| file.honest(ask).without("Content-Range")),
        ),
        Case::survives("C4", "a Content-Range that is none", range("bytes */*")),
        Case::survives("C4", "an end before the start", range("bytes 9-2/3145906")),
        Case::survives("C4", "numbers too large for any file", range("bytes 0-18446744073709551615/*")),
        Case::refuses("C4", "206 without Content-Range, always", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                file.honest(ask).without("Content-Range")
            })])
        }),
        Case::survives(
            "C5",
            "multipart",
            second(|file, ask| {
                let start = ask.starts_at();
                let (length, last) = (file.len(), file.len() - 1);
                let mut body = format!(
                    "--THIS\r\nContent-Type: a/b\r\nContent-Range: bytes {start}-{last}/{length}\r\n\r\n"
                )
                .into_bytes();
                body.extend_from_slice(&file.bytes[start..]);
                body.extend_from_slice(b"\r\n--THIS--\r\n");
                Reply::new(206, &body).header("Content-Type", "multipart/byteranges; boundary=THIS")
            }),
        ),
        // Nothing tells where this file ends but the host, once it is asked for more.
        Case::survives("C6", "416, and the file ends where the part does", {
            World::of(vec![Hosted::config(&yaml(), |file, ask| match ask.starts_at() {
                0 => file.whole().chunked(false),
                _ => file.honest(ask),
            })])
        })
        .asks(2..=2)
        .and(|rig, _| {
            let (asks, end) = (rig.host.asks(), rig.world.files[0].truth[0].len());
            if asks[1].starts_at() == end { Ok(()) } else { Err(format!("asked for {}", ranges(&asks))) }
        }),
        Case::survives(
            "C7",
            "416, and a file that is shorter than what is here",
            second(|_, _| Reply::new(416, b"").header("Content-Range", "bytes */1000")),
        ),
        Case::survives("C7", "416 that says nothing", second(|_, _| Reply::new(416, b""))),
        Case::survives("C23", "ranges not accepted, and a break", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                let whole = file.whole().header("Accept-Ranges", "none");
                if ask.nth < 2 { whole.cut(HALF, End::Close) } else { whole }
            })])
        })
        .asks(3..=6),
        refuses_ranges(400).asks(2..=2),
        refuses_ranges(401).asks(2..=2),
        refuses_ranges(403).asks(2..=2),
        refuses_ranges(405).asks(2..=2),
        refuses_ranges(409).asks(2..=2),
        refuses_ranges(416).asks(2..=2),
        refuses_ranges(429).asks(2..=2),
        refuses_ranges(501).asks(2..=2),
        refuses_ranges(503).asks(2..=2),
        Case::survives("C23", "ranges refused, and the plain answer breaks", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                match (ask.header("range"), ask.nth) {
                    (Some(_), _) => Reply::new(403, b"no ranges here"),
                    (None, 1) => file.whole().cut(HALF, End::Close),
                    (None, _) => file.whole(),
                }
            })])
        })
        .asks(3..=6),
        // Nothing of this says that the file is gone.
        never(403),
        never(405),
        never(503),
        Case::survives(
            "C19",
            "the address expires in the middle",
            second(|_, _| Reply::new(403, b"<Error><Code>AccessDenied</Code></Error>")),
        )
        .resumed(),
    ]
}

/// A host that refuses each request that has a range, and serves the same file to a plain one.
fn refuses_ranges(status: u16) -> Case {
    Case::survives("C23", "ranges refused", {
        World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), move |file, ask| {
            match ask.header("range") {
                Some(_) => Reply::new(status, b"no ranges here"),
                None => file.whole(),
            }
        })])
    })
}

/// A host that refuses whatever it is asked.
fn never(status: u16) -> Case {
    Case::refuses("C23", "refused with a range and without", {
        World::of(vec![Hosted::checkpoint(&weights(1, MIB), move |_, _| Reply::new(status, b"no"))])
    })
    .asks(2..=4)
    .and(|rig, run| {
        let plain = rig.host.asks().iter().filter(|ask| ask.header("range").is_none()).count();
        match (run.events("vanished").len(), plain) {
            (0, 1) => Ok(()),
            (gone, plain) => Err(format!("{gone} said to be gone, {plain} requests without a range")),
        }
    })
}

/// Other bytes, or other names for the same.
fn validators() -> Vec<Case> {
    vec![
        Case::survives("C8", "replaced: the host sees If-Range and sends all", replaced(File::honest)),
        Case::survives(
            "C9",
            "replaced: the host ignores If-Range",
            replaced(|new, ask| new.part(ask.starts_at(), new.len())),
        ),
        Case::survives(
            "C9",
            "replaced, and the 206 has no validator",
            replaced(|new, ask| {
                let bare = new.clone().etag("");
                if ask.starts_at() > 0 { bare.part(ask.starts_at(), new.len()) } else { bare.whole() }
            }),
        ),
        Case::survives("C13", "replaced under the same tag", {
            let (old, new) = (weights(1, 3 * MIB).etag("\"same\""), weights(2, 3 * MIB).etag("\"same\""));
            let served = new.clone();
            World::of(vec![
                Hosted::checkpoint(&old, move |old, ask| match ask.nth {
                    0 => old.honest(ask).cut(HALF, End::Close),
                    _ => served.honest(ask),
                })
                .only(&new),
            ])
        }),
        Case::survives("C10", "a weak tag never goes into If-Range", {
            second_of(weights(1, 3 * MIB).etag("W/\"weak\""), File::honest)
        })
        .and(|rig, _| match conditions(&rig.host.asks()).iter().flatten().next() {
            Some(sent) => Err(format!("sent If-Range: {sent}")),
            None => Ok(()),
        }),
        Case::survives("C11", "an old date in place of a tag", {
            second_of(weights(1, 3 * MIB).etag("").modified(OLD_DATE), File::honest)
        })
        .and(|rig, _| {
            let asks = rig.host.asks();
            if conditions(&asks) == [None, Some(OLD_DATE)] { Ok(()) } else { Err(format!("{asks:?}")) }
        }),
        Case::survives("C11", "a young date does not", {
            second_of(weights(1, 3 * MIB).etag("").modified(YOUNG_DATE), File::honest)
        })
        .and(|rig, _| match conditions(&rig.host.asks()).iter().flatten().next() {
            Some(sent) => Err(format!("sent If-Range: {sent}")),
            None => Ok(()),
        }),
        Case::survives("C11", "neither tag nor date: continued over an overlap", {
            second_of(weights(1, 3 * MIB).etag(""), File::honest)
        })
        .asks(2..=2)
        .evidence("trainer-hash")
        .and(|rig, _| {
            let asks = rig.host.asks();
            let overlap = HALF - asks[1].starts_at();
            if (1..=64 << 10).contains(&overlap) { Ok(()) } else { Err(ranges(&asks)) }
        }),
        Case::survives("C11", "neither tag nor date, and it breaks every 900 kB", {
            let file = weights(1, 3 * MIB).etag("");
            World::of(vec![Hosted::checkpoint(&file, |file, ask| file.honest(ask).cut(900_000, End::Close))])
        })
        .asks(4..=5),
        Case::survives("C11", "neither tag nor date, and another version after the break", {
            let (old, new) = (weights(1, 3 * MIB).etag(""), weights(2, 3 * MIB).etag(""));
            let served = new.clone();
            World::of(vec![
                Hosted::checkpoint(&old, move |old, ask| match ask.nth {
                    0 => old.honest(ask).cut(HALF, End::Close),
                    _ => served.honest(ask),
                })
                .only(&new),
            ])
        })
        .asks(3..=4),
        Case::survives("C11", "neither tag nor date, and another version that agrees around the break", {
            let body = |last: u8| {
                let mut body = vec![last; 3 * MIB];
                fastrand::Rng::with_seed(1).fill(&mut body[..3 * MIB - 1000]);
                weights_of(&body).etag("")
            };
            let (old, new) = (body(1), body(2));
            let served = new.clone();
            World::of(vec![
                Hosted::checkpoint(&old, move |old, ask| match ask.nth {
                    0 => old.honest(ask).cut(HALF, End::Close),
                    _ => served.honest(ask),
                })
                .only(&new),
            ])
        })
        .asks(3..=3)
        .evidence("trainer-hash"),
        Case::survives("C11", "neither tag nor date, and ranges come from a replica with another version", {
            let body = |last: u8| {
                let mut body = vec![last; 3 * MIB];
                fastrand::Rng::with_seed(1).fill(&mut body[..3 * MIB - 1000]);
                weights_of(&body).etag("")
            };
            let other = body(2);
            World::of(vec![Hosted::checkpoint(&body(1), move |file, ask| match (ask.starts_at(), ask.nth) {
                (0, 0..3) => file.honest(ask).cut(HALF, End::Close),
                (0, _) => file.honest(ask),
                _ => other.honest(ask),
            })])
        })
        .asks(4..=4)
        .evidence("trainer-hash"),
        Case::survives("C11", "neither tag nor date, and larger than one request", {
            World::of(vec![Hosted::checkpoint(&weights(1, 20 * MIB).etag(""), File::honest)])
        })
        .asks(2..=9),
        Case::survives("C12", "another tag at each replica, the same date", {
            World::of(vec![Hosted::checkpoint(&weights(1, 20 * MIB), |file, ask| {
                file.clone().etag(&format!("\"r{}\"", ask.nth)).modified(OLD_DATE).honest(ask)
            })])
        })
        // Two beginnings before the tags are not believed any more, each with as many ranges as there are connections.
        .asks(2..=80),
        Case::survives("C12", "another tag in each answer, and no date", {
            World::of(vec![Hosted::checkpoint(&weights(1, 20 * MIB), |file, ask| {
                file.clone().etag(&format!("\"r{}\"", ask.nth)).honest(ask)
            })])
        })
        .asks(2..=80),
        Case::refuses("C12", "another tag in each answer, and each one breaks", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                file.clone().etag(&format!("\"r{}\"", ask.nth)).honest(ask).cut(HALF, End::Close)
            })])
        })
        .asks(2..=40),
        Case::survives("C14", "a tag of several MD5s", {
            let file = weights(1, 3 * MIB).etag("\"9b2cf535f27731c974343645a3985328-7\"");
            World::of(vec![Hosted::checkpoint(&file, File::honest)])
        }),
        Case::survives("C14", "a tag that only looks like an MD5", {
            let file = weights(1, 3 * MIB).etag("\"9b2cf535f27731c974343645a3985328\"");
            World::of(vec![Hosted::checkpoint(&file, File::honest)])
        }),
        Case::survives("C20", "segments of two versions", {
            let (old, new) = (weights(1, 36 * MIB), weights(2, 36 * MIB));
            let served = new.clone();
            World::of(vec![
                Hosted::checkpoint(
                    &old,
                    move |old, ask| {
                        if ask.nth == 0 { old.honest(ask) } else { served.honest(ask) }
                    },
                )
                // A client that takes everything with the first response has the old version, whole.
                .or(&new),
            ])
        })
        .and(|rig, _| {
            let asks = rig.host.asks();
            let several = asks.iter().filter(|ask| ask.starts_at() > 0).count();
            if several > 0 { Ok(()) } else { Err(format!("it was never segmented: {}", ranges(&asks))) }
        }),
    ]
}

/// What servers claim of the bytes.
fn digests() -> Vec<Case> {
    use base64::Engine as _;
    use sha2::Digest as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let file = weights(1, MIB);
    let right = encode(&sha2::Sha256::digest(&*file.bytes));
    let wrong = encode(&[7; 32]);
    let world = |headers: Vec<(&'static str, String)>| {
        // Nothing in the file itself proves anything, so that all the weight is on the header.
        World::of(vec![Hosted::checkpoint(&super::world::unhashed_weights(1, MIB), move |file, ask| {
            let mut reply = file.honest(ask);
            for (name, value) in &headers {
                reply = reply.also(name, value);
            }
            reply
        })])
    };
    let unhashed = super::world::unhashed_weights(1, MIB);
    let unhashed_right = encode(&sha2::Sha256::digest(&*unhashed.bytes));
    let dictionary = |value: &str| format!("sha-256=:{value}:");
    vec![
        Case::refuses("C21", "Repr-Digest is wrong", world(vec![("Repr-Digest", dictionary(&wrong))]))
            .prints("SHA-256"),
        Case::survives(
            "C21",
            "Repr-Digest is right",
            world(vec![("Repr-Digest", dictionary(&unhashed_right))]),
        )
        .evidence("digest"),
        Case::refuses("C21", "Content-MD5 is wrong", world(vec![("Content-MD5", encode(&[1; 16]))])),
        Case::refuses(
            "C21",
            "x-goog-hash is wrong",
            world(vec![("x-goog-hash", format!("crc32c={}", encode(&[1; 4])))]),
        ),
        Case::refuses(
            "C21",
            "x-amz-checksum-sha256 is wrong",
            world(vec![("x-amz-checksum-sha256", wrong.clone())]),
        ),
        Case::refuses(
            "C21",
            "x-amz-checksum-crc64nvme is wrong",
            world(vec![("x-amz-checksum-crc64nvme", encode(&[1; 8]))]),
        ),
        Case::refuses("C21", "x-linked-etag is wrong", world(vec![("x-linked-etag", "7".repeat(64))])),
        Case::survives(
            "C21",
            "x-goog-hash of the stored form, which is unpacked on its way",
            world(vec![
                ("x-goog-hash", format!("md5={}", encode(&[1; 16]))),
                ("x-goog-stored-content-encoding", "gzip".to_owned()),
                ("X-GUploader-Response-Body-Transformations", "gunzipped".to_owned()),
            ]),
        )
        .evidence("structure"),
        Case::survives(
            "C21",
            "Content-MD5 of what a proxy transformed",
            world(vec![
                ("Content-MD5", encode(&[1; 16])),
                ("Warning", "214 proxy \"Transformation Applied\"".to_owned()),
            ]),
        )
        .evidence("structure"),
        Case::survives(
            "C21",
            "a checksum of checksums",
            world(vec![
                ("x-amz-checksum-sha256", wrong.clone()),
                ("x-amz-checksum-type", "COMPOSITE".to_owned()),
            ]),
        )
        .evidence("structure"),
        Case::survives("C21", "a digest of a part is no digest of the file", {
            // Two MiB, so that a break leaves something to resume from.
            let file = weights(1, 3 * MIB);
            World::of(vec![Hosted::checkpoint(&file, |file, ask| {
                let start = ask.starts_at();
                let part = sha2::Sha256::digest(&file.bytes[start..]);
                let value = base64::engine::general_purpose::STANDARD.encode(part);
                let reply = file.honest(ask);
                let reply = reply.header("Content-Digest", &format!("sha-256=:{value}:"));
                if ask.nth == 0 { reply.cut(HALF, End::Close) } else { reply }
            })])
        }),
        Case::refuses(
            "C22",
            "two digests that disagree",
            world(vec![("Repr-Digest", dictionary(&unhashed_right)), ("Content-MD5", encode(&[1; 16]))]),
        ),
        Case::survives(
            "C22",
            "algorithms that are unknown",
            world(vec![("Repr-Digest", "sha3-999=:AAAA:, unixsum=:Bw==:".to_owned())]),
        ),
        Case::survives(
            "C22",
            "digests that are none",
            world(vec![
                ("Repr-Digest", "sha-256=:***:, =::,,,;".to_owned()),
                ("Content-MD5", "short".to_owned()),
            ]),
        ),
        Case::survives("C21", "the trainer's own hash beats all", {
            World::of(vec![Hosted::checkpoint(&file, move |file, ask| {
                file.honest(ask).header("Repr-Digest", &format!("sha-256=:{right}:"))
            })])
        })
        .evidence("trainer-hash"),
    ]
}

#[test]
fn group_c_ranges() {
    hold_all(cases());
}
