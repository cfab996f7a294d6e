//! The artifact host: ranges, validators, links, digests.

use std::time::Duration;

use base64::Engine as _;

use super::{get, result, send, sha256, small, start, start_with, url_of, urls};
use crate::model::artifact::ArtifactKind;
use crate::model::digest::hex;
use crate::simulator::{
    HostOptions, Origin, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob, TrainerHash,
    Validators,
};

/// A host with one file of the digits 0 to 9.
async fn digits(host: HostOptions) -> (Simulator, String) {
    let simulator = start_with(SimulatorConfig { host, ..SimulatorConfig::default() }).await;
    let bytes = StaticBytes::Exact("0123456789".into());
    let files = vec![StaticFile::new(ArtifactKind::Checkpoint, "digits.pt", bytes)];
    let job = simulator.add_static_job(StaticJob { files, ..StaticJob::default() });
    let url = url_of(&simulator, &job, "digits").await;
    (simulator, url)
}

#[tokio::test]
async fn single_ranges_are_served() {
    let (_simulator, url) = digits(HostOptions::default()).await;
    for (range, status, body, content_range) in [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=3-5", 206, "345", "bytes 3-5/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=5-3", 200, "0123456789", ""),
        ("bytes=1-2,4-5", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let answer = get(&url, &[("range", range)]).await;
        assert_eq!((answer.status, answer.header("content-range")), (status, content_range), "{range}");
        assert_eq!(answer.body, body.as_bytes(), "{range}");
        assert_eq!(answer.header("content-length"), body.len().to_string(), "{range}");
    }
}

#[tokio::test]
async fn conditions_are_kept() {
    let (_simulator, url) = digits(HostOptions::default()).await;
    let plain = get(&url, &[]).await;
    let (etag, modified) = (plain.header("etag"), plain.header("last-modified"));
    assert!(etag.starts_with('"') && etag.ends_with("-a\""), "{etag}");
    let range = ("range", "bytes=1-1");
    for (if_range, status) in
        [(etag, 206), (modified, 206), ("\"other\"", 200), ("Sat, 01 Jan 2000 00:00:00 GMT", 200)]
    {
        assert_eq!(get(&url, &[range, ("if-range", if_range)]).await.status, status, "{if_range}");
    }
    let not_modified = get(&url, &[("if-none-match", etag)]).await;
    assert_eq!((not_modified.status, not_modified.body.len()), (304, 0));
    assert_eq!(not_modified.header("etag"), etag);
    assert_eq!(get(&url, &[("if-none-match", "\"other\", W/\"more\"")]).await.status, 200);
}

#[tokio::test]
async fn head_has_the_length_and_sends_nothing() {
    let (simulator, url) = digits(HostOptions::default()).await;
    let answer = send(super::client().head(&url)).await.expect("an answer");
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "10", 0));
    assert_eq!(simulator.artifact_bytes(), 0);
    assert_eq!(send(super::client().post(&url)).await.expect("an answer").status, 405);
}

#[tokio::test]
async fn weak_tags_and_none() {
    let with = |validators| HostOptions { validators, ..HostOptions::default() };
    let range = ("range", "bytes=1-1");
    let (_simulator, url) = digits(with(Validators::Weak)).await;
    let etag = get(&url, &[]).await.header("etag").to_owned();
    assert!(etag.starts_with("W/\""));
    assert_eq!(get(&url, &[range, ("if-range", &etag)]).await.status, 200);

    let (_simulator, url) = digits(with(Validators::None)).await;
    let answer = get(&url, &[]).await;
    assert_eq!((answer.header("etag"), answer.header("last-modified")), ("", ""));

    let (_simulator, url) = digits(with(Validators::Changing)).await;
    assert_ne!(get(&url, &[]).await.header("etag"), get(&url, &[]).await.header("etag"));

    let (_simulator, url) = digits(with(Validators::Md5)).await;
    let md5 = hex(&<md5::Md5 as md5::Digest>::digest(b"0123456789"));
    assert_eq!(get(&url, &[]).await.header("etag"), format!("\"{md5}\""));
}

#[tokio::test]
async fn a_host_without_ranges_sends_all() {
    let (_simulator, url) = digits(HostOptions { ranges: false, ..HostOptions::default() }).await;
    let answer = get(&url, &[("range", "bytes=1-1")]).await;
    assert_eq!((answer.status, answer.body.len(), answer.header("accept-ranges")), (200, 10, ""));
}

#[tokio::test]
async fn digests_are_sent_where_asked_for() {
    let host = HostOptions { repr_digest: true, crc32c: true, linked_etag: true, ..HostOptions::default() };
    let (_simulator, url) = digits(host).await;
    let answer = get(&url, &[("range", "bytes=0-1")]).await;
    let digest = sha256(b"0123456789");
    assert_eq!(answer.header("x-linked-etag"), format!("\"{digest}\""));
    let bytes = crate::model::digest::unhex(&digest).expect("hex");
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    assert_eq!(answer.header("repr-digest"), format!("sha-256=:{encoded}:"));
    let crc = crc_fast::crc32_iscsi(b"0123456789").to_be_bytes();
    let encoded = base64::engine::general_purpose::STANDARD.encode(crc);
    assert_eq!(answer.header("x-amz-checksum-crc32c"), encoded);
}

#[tokio::test]
async fn links_expire_and_new_ones_work() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    simulator.advance_steps(&job, 10);
    let old = url_of(&simulator, &job, "dog_000000010").await;
    assert_eq!(get(&old, &[]).await.status, 200);
    let bare = old.split('?').next().expect("a path");
    assert_eq!(get(bare, &[]).await.status, 403);
    simulator.expire_links();
    let refused = get(&old, &[]).await;
    assert_eq!(refused.status, 403);
    assert!(String::from_utf8_lossy(&refused.body).contains("Request has expired"));
    let new = url_of(&simulator, &job, "dog_000000010").await;
    assert_ne!(new, old);
    assert_eq!(get(&new, &[]).await.status, 200);

    simulator.set_host(|host| host.link_lifetime = Some(Duration::ZERO));
    let dead = url_of(&simulator, &job, "dog_000000010").await;
    assert_eq!(get(&dead, &[]).await.status, 403);
    simulator.set_host(|host| host.signed = false);
    let plain = url_of(&simulator, &job, "dog_000000010").await;
    assert!(!plain.contains('?'));
    assert_eq!(get(&plain, &[]).await.status, 200);
}

#[tokio::test]
async fn a_token_on_the_wrong_origin_is_refused_and_seen() {
    let (simulator, url) = digits(HostOptions::default()).await;
    let answer = get(&url, &[("authorization", "Bearer secret")]).await;
    assert_eq!(answer.status, 400);
    let last = simulator.requests().pop().expect("a request");
    assert!(last.origin == Origin::Artifacts && last.had_authorization && last.status == 400);
    assert!(!format!("{last:?}").contains("secret"));
    assert_ne!(simulator.api_base().split("/prod").next(), Some(simulator.artifact_origin()));
}

#[tokio::test]
async fn requests_are_counted() {
    let (simulator, url) = digits(HostOptions::default()).await;
    simulator.clear_requests();
    get(&url, &[("range", "bytes=2-4")]).await;
    get(&url, &[]).await;
    assert_eq!(
        (simulator.api_requests(), simulator.artifact_requests(), simulator.artifact_bytes()),
        (0, 2, 13)
    );
    let first = &simulator.requests()[0];
    assert_eq!((first.range.as_deref(), first.body_bytes, first.status), (Some("bytes=2-4"), 3, 206));
    assert_eq!(first.method, "GET");
}

#[tokio::test]
async fn names_are_encoded_and_hostile_ones_listed_as_they_are() {
    let simulator = start().await;
    let nice = StaticFile::new(ArtifactKind::Checkpoint, "größe [1] %.pt", StaticBytes::Noise { length: 5 });
    let bad = |raw: &str| {
        StaticFile::new(ArtifactKind::Sample, raw, StaticBytes::Noise { length: 7 }).listed_as(raw)
    };
    let files =
        vec![nice, bad("/train/a/../../etc/passwd"), bad("/x/..%2f..%2fy.jpg"), bad("http://10.0.0.1/z")];
    let job = simulator.add_static_job(StaticJob { files, ..StaticJob::default() });
    let urls = urls(&simulator, &job).await;
    assert!(urls[0].contains("/gr%C3%B6%C3%9Fe%20%5B1%5D%20%25.pt?sig="), "{}", urls[0]);
    assert_eq!(get(&urls[0], &[]).await.body.len(), 5);
    assert!(urls[1].contains("/train/a/../../etc/passwd?sig="));
    assert_eq!(get(&urls[1], &[]).await.body.len(), 7);
    assert_eq!(get(&urls[2], &[]).await.body.len(), 7);
    assert_eq!(urls[3], "http://10.0.0.1/z");
}

#[tokio::test]
async fn a_huge_file_is_served_from_anywhere_without_being_held() {
    let simulator = start().await;
    const HUGE: u64 = 1 << 40;
    let weights = StaticBytes::Weights { bytes: HUGE, step: 5, hash: TrainerHash::Missing };
    let files = vec![
        StaticFile::new(ArtifactKind::Checkpoint, "huge.pt", StaticBytes::Noise { length: HUGE }),
        StaticFile::new(ArtifactKind::Checkpoint, "huge.safetensors", weights),
        StaticFile::new(ArtifactKind::Checkpoint, "gone.pt", StaticBytes::Gone),
    ];
    let job = simulator.add_static_job(StaticJob { files, ..StaticJob::default() });
    let url = url_of(&simulator, &job, "huge.pt").await;
    let end = get(&url, &[("range", "bytes=1099511627766-")]).await;
    assert_eq!(
        (end.body.len(), end.header("content-range")),
        (10, "bytes 1099511627766-1099511627775/1099511627776")
    );
    let wider = get(&url, &[("range", "bytes=-13")]).await;
    assert_eq!(wider.body[3..], end.body);
    let url = url_of(&simulator, &job, "huge.safetensors").await;
    assert_eq!(get(&url, &[("range", "bytes=900000000000-900000000009")]).await.body.len(), 10);
    assert_eq!(get(&url_of(&simulator, &job, "gone").await, &[]).await.status, 404);
}

#[tokio::test]
async fn long_lists_and_replaced_lists() {
    let simulator = start().await;
    let file = |kind, path| StaticFile::new(kind, path, StaticBytes::Noise { length: 3 });
    let mut files: Vec<StaticFile> =
        (0..100).map(|number| file(ArtifactKind::Checkpoint, format!("x_{number:09}.pt"))).collect();
    files.extend((0..2000).map(|number| file(ArtifactKind::Sample, format!("samples/{number}.jpg"))));
    let job = simulator.add_static_job(StaticJob { files: files.clone(), ..StaticJob::default() });
    assert_eq!(urls(&simulator, &job).await.len(), 2100);
    simulator.replace_static_job(&job, StaticJob { files: files[..5].to_vec(), ..StaticJob::default() });
    assert_eq!(urls(&simulator, &job).await.len(), 5);
    assert_eq!(result(&simulator, &job).await["status"], "STOPPED");
}

#[tokio::test]
async fn a_throttled_answer_takes_its_time() {
    let (simulator, url) = digits(HostOptions::default()).await;
    simulator.set_host(|host| host.throttle = Some(100));
    let began = std::time::Instant::now();
    assert_eq!(get(&url, &[]).await.body.len(), 10);
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
}
