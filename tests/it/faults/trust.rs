//! Group E: TLS, redirects, and addresses that lead elsewhere.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

use super::host::{Ask, Host, Secure, Stream};
use super::reply::{End, Reply};
use super::rig::{Case, Rig, Run, World, hold_all};
use super::world::{File, Hosted, MIB, unhashed_weights, weights};

const HALF: usize = 3 * MIB / 2;

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

/// An authority of our own, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Returns TLS with a certificate for `name`, valid in these years.
    fn serve(&self, name: &str, from: i32, to: i32) -> Secure {
        self.serve_with(name, from, to, &[])
    }

    /// The same, with these protocols above TLS, the best first.
    fn serve_speaking(&self, name: &str, protocols: &[&str]) -> Secure {
        self.serve_with(name, 2020, 2090, protocols)
    }

    fn serve_with(&self, name: &str, from: i32, to: i32, protocols: &[&str]) -> Secure {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        serving(certificate.der().clone(), key, protocols)
    }
}

/// A certificate as `openssl req -x509` makes it: of an authority, presented by the server itself.
fn self_signed(name: &str) -> (Secure, String) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (serving(certificate.der().clone(), key, &[]), certificate.pem())
}

/// Returns TLS with this certificate.
fn serving(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>, protocols: &[&str]) -> Secure {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    Arc::new(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        Some(Box::new(rustls::StreamOwned::new(connection, stream)) as Box<dyn Stream>)
    })
}

/// A server that answers any greeting with these bytes.
fn blurting(bytes: &'static [u8]) -> Secure {
    Arc::new(move |mut stream| {
        let mut greeting = [0; 512];
        let _ = std::io::Read::read(&mut stream, &mut greeting);
        let _ = stream.write_all(bytes);
        std::thread::sleep(Duration::from_millis(200));
        None
    })
}

fn over_tls(secure: Secure, script: impl Fn(&File, &Ask) -> Reply + Send + Sync + 'static) -> World {
    let mut world = World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), script)]);
    world.secure = Some(secure);
    "https://localhost:{port}".clone_into(&mut world.origin);
    world
}

/// Runs a world whose authority is named by `SSL_CERT_FILE`.
fn run(world: World, roots: &str) -> (Rig, Run) {
    let rig = Rig::new(world);
    let path = rig.root().join("roots.pem");
    std::fs::write(&path, roots).unwrap();
    let run = rig.once_with(&[], |command| {
        command.env("SSL_CERT_FILE", &path);
    });
    rig.promises(&run).unwrap();
    (rig, run)
}

/// E1, E2, E3, E4, E7: who is trusted, and who is not.
#[test]
fn group_e_tls() {
    let ours = Authority::new("ours");
    let theirs = Authority::new("theirs");
    let old_hello: &[u8] = &[
        0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3,
        4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 0, 0xc0, 0x2f, 0,
    ];
    let redirect = |_: &File, _: &Ask| Reply::new(302, b"").header("Location", "http://localhost:9/x");
    let cut_once = |file: &File, ask: &Ask| match ask.nth {
        0 => file.honest(ask).cut(HALF, End::Close),
        _ => file.honest(ask),
    };
    let unsized_cut = |file: &File, _: &Ask| file.whole().unsized_body().cut(HALF, End::Close);
    let good = || ours.serve("localhost", 2020, 2090);
    let rows: Vec<(&str, World, i32, &str)> = vec![
        ("E4 a private authority in SSL_CERT_FILE", over_tls(good(), honest), 0, ""),
        ("E1 expired", over_tls(ours.serve("localhost", 2010, 2020), honest), 75, "expired"),
        ("E1 not valid yet", over_tls(ours.serve("localhost", 2080, 2090), honest), 75, "not valid yet"),
        (
            "E1 another host's",
            over_tls(ours.serve("example.com", 2020, 2090), honest),
            75,
            "another host name",
        ),
        (
            "E1 an unknown authority",
            over_tls(theirs.serve("localhost", 2020, 2090), honest),
            75,
            "not trusted here",
        ),
        ("E2 TLS 1.1 at most", over_tls(blurting(old_hello), honest), 75, "localhost"),
        ("E2 an alert", over_tls(blurting(&[0x15, 3, 1, 0, 2, 2, 70]), honest), 75, "localhost"),
        ("E3 cut without a farewell", over_tls(good(), cut_once), 0, ""),
        ("E3 no length, cut without a farewell", over_tls(good(), unsized_cut), 75, ""),
        ("E7 from https to http", over_tls(good(), redirect), 75, "https to http"),
    ];
    for (about, world, code, says) in rows {
        let (rig, run) = run(world, &ours.pem);
        assert_eq!(run.code, Some(code), "{about}: {}", run.output());
        assert!(run.output().to_lowercase().contains(&says.to_lowercase()), "{about}: {}", run.output());
        if about.starts_with("E1") || about.starts_with("E7") {
            // No later try can do better, so there is none.
            assert_eq!(run.events("retrying").len(), 0, "{about}: {}", run.output());
            assert!(rig.host.asks().len() <= 1, "{about}");
        }
    }
}

/// B12, N4: HTTP/2 is never spoken, neither where a server would choose it first nor where it begins with it unasked; so
/// none of its floods and resets can come.
#[test]
fn b12_n4_http_2_is_never_spoken() {
    let ours = Authority::new("ours");
    let both = over_tls(ours.serve_speaking("localhost", &["h2", "http/1.1"]), honest);
    let (rig, spoken) = run(both, &ours.pem);
    assert_eq!(spoken.code, Some(0), "{}", spoken.output());
    for ask in rig.host.asks() {
        assert_eq!(ask.method, "GET", "no preface of HTTP/2");
        assert!(ask.header("upgrade").is_none() && ask.header("http2-settings").is_none());
    }
    // A server that knows nothing else cannot be spoken with: the handshake fails, and that is all.
    let (rig, run) = run(over_tls(ours.serve_speaking("localhost", &["h2"]), honest), &ours.pem);
    assert_eq!((run.code, rig.host.asks().len()), (Some(75), 0), "{}", run.output());
    // SETTINGS, a flood of them, and resets, where an answer is due.
    let flood = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 1, 0, 0, 0, 8].repeat(10_000);
    hold_all(vec![Case::refuses("B12, N4", "frames of HTTP/2 instead of an answer", {
        World::of(vec![Hosted::checkpoint(&weights(1, 1000), move |_, _| Reply::raw(&flood))])
    })]);
}

/// E1: a certificate that the library refuses is refused in words, with the way out: for the files, and for the API.
/// P13: the words for it.
#[test]
fn e1_a_refused_self_signed_certificate_has_the_way_to_make_one() {
    let (secure, pem) = self_signed("localhost");
    let (rig, run) = run(over_tls(secure.clone(), honest), &pem);
    assert_eq!(run.code, Some(75), "{}", run.output());
    let cause = run.events("failed")[0]["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("basicConstraints=CA:FALSE") && !cause.contains("Other"), "{cause}");
    let api = Host::start_with(Arc::new(|_| Reply::new(500, b"")), Some(secure));
    let mut command = rig.command(&["status", "job-0001"]);
    command
        .env("SSL_CERT_FILE", rig.root().join("roots.pem"))
        .env("RUNCOMFY_TRAINER_API_BASE", format!("https://localhost:{}", api.port()));
    let run = rig.run(command);
    assert_eq!(run.code, Some(69), "{}", run.output());
    assert!(run.output().contains("basicConstraints=CA:FALSE"), "{}", run.output());
    assert!(!run.output().contains("check the network"), "{}", run.output());
}

/// E4: a file of authorities that cannot be read is named, instead of "unknown issuer".
#[test]
fn e4_a_bad_file_of_authorities_is_named() {
    let ours = Authority::new("ours");
    let rig = Rig::new(over_tls(ours.serve("localhost", 2020, 2090), honest));
    let run = rig.once_with(&[], |command| {
        command.env("SSL_CERT_FILE", "/no/such/roots.pem");
    });
    rig.promises(&run).unwrap();
    assert!(
        run.code != Some(0) && run.output().contains("/no/such/roots.pem"),
        "{:?}: {}",
        run.code,
        run.output()
    );
}

fn redirecting(location: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), move |_, ask| location(ask))])
}

fn to(location: &str) -> Reply {
    Reply::new(302, b"moved").header("Location", location).header("Set-Cookie", "session=1; Path=/")
}

#[test]
fn group_e_redirects() {
    let mut cases = vec![
        Case::refuses("E6", "a loop", redirecting(|ask| to(&ask.target))).asks(2..=12),
        Case::refuses("E6", "no Location", redirecting(|_| Reply::new(302, b"moved"))).asks(1..=1),
        Case::refuses("E6", "a Location in other letters", redirecting(|_| to("/output/l\u{f6}ra\u{2713}")))
            .asks(1..=4),
        Case::refuses("E6", "a Location that is none", redirecting(|_| to("http://[::1/"))),
        Case::survives("E6", "a relative one, and a loop that ends", {
            World::of(vec![Hosted::checkpoint(&weights(1, 3 * MIB), |file, ask| {
                if ask.nth < 5 { to("../output/lora_000000250.safetensors?again") } else { file.honest(ask) }
            })])
        }),
        Case::refuses(
            "N5",
            "a redirect with a body without end, to nowhere",
            redirecting(|_| to("/nowhere").without("Content-Length").end(End::Endless(vec![b'x'; 65_536]))),
        ),
    ];
    for scheme in ["file:///etc/passwd", "ftp://localhost/x", "data:,x", "javascript:alert(1)"] {
        cases.push(Case::refuses("E8", scheme, redirecting(move |_| to(scheme))).asks(1..=1));
    }
    hold_all(cases);
}

/// E8, E11: addresses in the list that are none.
#[test]
fn group_e_listed_addresses() {
    let listing = |address: &'static str| {
        World::of(vec![Hosted::checkpoint(&weights(1, 1000), honest)]).api(move |ask, listing| {
            ask.path().ends_with("/result").then(|| {
                let mut result = listing.result.clone();
                let list = result["artifacts"]["checkpoints"].as_array_mut().unwrap();
                list.push(json!({ "path": address }));
                Reply::json(&result.to_string())
            })
        })
    };
    let addresses = [
        "file:///etc/passwd",
        "ftp://localhost/x.safetensors",
        "data:application/octet-stream,x",
        "javascript:alert(1)",
        "http://user:canary-password@localhost/x.safetensors",
        "//localhost/x.safetensors",
        "C:\\x.safetensors",
        "/etc/passwd",
    ];
    let case = |address| {
        Case::new("E8, E11", address, listing(address), 75, 1)
            .asks(1..=1)
            .prints("a listed checkpoint cannot be fetched")
            .and(|_, run| {
                let leaked = run.output().contains("canary-password");
                if leaked { Err(format!("the password is shown: {}", run.output())) } else { Ok(()) }
            })
    };
    hold_all(addresses.into_iter().map(case).collect());
}

/// E12, E13: another origin gets the range, and nothing that is secret.
#[test]
fn e12_e13_another_origin_gets_nothing() {
    for login_page in [false, true] {
        let file = weights(1, 3 * MIB);
        let served = file.clone();
        let other = Host::start(Arc::new(move |ask| match (login_page, ask.nth) {
            (true, _) => Reply::html(200).header("Set-Cookie", "a=b"),
            (false, 0) => served.honest(ask).cut(HALF, End::Close).header("Set-Cookie", "a=b"),
            (false, _) => served.honest(ask),
        }));
        let location = format!("http://localhost:{}/elsewhere", other.port());
        let world = redirecting(move |_| to(&location));
        let rig =
            Rig::new(World { files: vec![Hosted { truth: vec![file], ..world.files[0].clone() }], ..world });
        let run = rig.once(&[]);
        rig.promises(&run).unwrap();
        assert_eq!(run.code, Some(if login_page { 75 } else { 0 }), "{}", run.output());
        let asks = other.asks();
        for ask in &asks {
            for secret in ["authorization", "cookie", "referer"] {
                assert!(ask.header(secret).is_none(), "E12: {secret} went to another origin");
            }
            assert!(ask.header("range").is_some(), "E12: the range got lost");
        }
        if !login_page {
            assert!(asks.iter().any(|ask| ask.header("if-range").is_some()), "E12: If-Range got lost");
        }
    }
    // Without a hash of its own the file must be proven by its structure alone; nothing else changes.
    hold_all(vec![Case::survives("E12", "a plain file", {
        World::of(vec![Hosted::checkpoint(&unhashed_weights(1, 1000), honest)])
    })]);
}
