//! Misbehaviour on cue, as a client sees it.

use std::time::Duration;

use super::{client, get, send, start, url_of};
use crate::model::artifact::ArtifactKind;
use crate::simulator::{Fault, Simulator, StaticBytes, StaticFile, StaticJob, TrainerHash, What, Writes};

const LENGTH: u64 = 3_000_000;

async fn noise() -> (Simulator, String, Vec<u8>) {
    let simulator = start().await;
    let bytes = StaticBytes::Noise { length: LENGTH };
    let files = vec![StaticFile::new(ArtifactKind::Checkpoint, "noise.pt", bytes)];
    let job = simulator.add_static_job(StaticJob { files, ..StaticJob::default() });
    let url = url_of(&simulator, &job, "noise").await;
    let right = get(&url, &[]).await.body;
    assert_eq!(right.len() as u64, LENGTH);
    (simulator, url, right)
}

#[tokio::test]
async fn other_answers_come_as_planned() {
    let (simulator, url, right) = noise().await;
    simulator.fault(Fault::once("noise", What::retry_after(503, "7")));
    simulator.fault(Fault::once("noise", What::html()));
    let busy = get(&url, &[]).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, "7"));
    let page = get(&url, &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(get(&url, &[]).await.body == right);
    simulator.fault(Fault::once("noise", What::redirect(url.replace("noise.pt", "elsewhere.pt"))));
    assert_eq!(get(&url, &[]).await.status, 403, "a signature is good for its own path alone");
}

#[tokio::test]
async fn a_half_file_can_stay_for_ever() {
    let (simulator, url, right) = noise().await;
    let job = simulator.add_job(super::small());
    simulator.finish(&job);
    simulator.set_written(&job, "dog.safetensors", Writes::Growing, 1, 3);
    let half = get(&url_of(&simulator, &job, "dog.safetensors").await, &[]).await;
    assert_eq!(half.body.len() as u64, simulator.truth(&job)["dog.safetensors"][0].bytes / 2);
    assert!(get(&url, &[]).await.body == right);
    simulator.shutdown().await;
    assert!(send(client().get(&url)).await.is_err());
}

#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes() {
    let (simulator, url, right) = noise().await;
    for bytes in [0, 1, 100_000, 2_999_999] {
        simulator.fault(Fault::once("noise", What::Cut(bytes)));
        let cut = get(&url, &[]).await;
        assert!(!cut.whole && cut.header("content-length") == "3000000");
        assert_eq!(cut.body.len() as u64, bytes);
        assert!(right.starts_with(&cut.body));
    }
    simulator.fault(Fault::once("noise", What::EndEarly(5000)));
    let short = get(&url, &[]).await;
    assert!(short.whole && short.headers.get("content-length").is_none());
    assert_eq!(short.body.len(), 5000);
    simulator.fault(Fault::once("noise", What::Drop));
    assert!(send(client().get(&url)).await.is_err());
    assert_eq!(simulator.requests().last().map(|request| request.status), Some(0));
}

#[tokio::test]
async fn a_stall_keeps_the_connection_open() {
    let (simulator, url, _) = noise().await;
    simulator.fault(Fault::once("noise", What::Stall(10_000)));
    let mut response = client().get(&url).send().await.expect("an answer");
    let mut got = 0;
    while got < 10_000 {
        got += response.chunk().await.expect("bytes").map_or(0, |chunk| chunk.len());
    }
    assert_eq!(got, 10_000);
    let more = tokio::time::timeout(Duration::from_millis(50), response.chunk()).await;
    assert!(more.is_err(), "nothing more comes");
    simulator.clear_requests();
    simulator.fault(Fault::always("noise", What::Stall(1)).times(2));
    let both = (client().get(&url).send().await, client().get(&url).send().await);
    drop(both);
    get(&url, &[]).await;
    assert!((2..=3).contains(&simulator.peak_transfers()), "both, and the third where they linger");
}

#[tokio::test]
async fn ranges_can_be_ignored_misnamed_and_moved() {
    let (simulator, url, right) = noise().await;
    let range = [("range", "bytes=1000-1999")];
    simulator.fault(Fault::once("noise", What::IgnoreRange));
    let whole = get(&url, &range).await;
    assert_eq!((whole.status, whole.body.len()), (200, right.len()));
    for (what, content_range) in [
        (What::WrongStart(5), "bytes 1005-2004/3000005"),
        (What::WrongTotal(5), "bytes 1000-1999/3000005"),
        (What::NoContentRange, ""),
    ] {
        simulator.fault(Fault::once("noise", what));
        let lie = get(&url, &range).await;
        assert_eq!((lie.status, lie.header("content-range")), (206, content_range));
        assert_eq!(lie.body, right[1000..2000]);
    }
    simulator.fault(Fault::once("noise", What::EarlierStart(100)));
    let wider = get(&url, &range).await;
    assert_eq!((wider.status, wider.header("content-range")), (206, "bytes 900-1999/3000000"));
    assert_eq!(wider.body, right[900..2000]);
}

#[tokio::test]
async fn bytes_can_be_wrong() {
    let (simulator, url, right) = noise().await;
    simulator.fault(Fault::once("noise", What::FlipByte(1234)));
    let flipped = get(&url, &[]).await.body;
    let wrong: Vec<usize> = (0..right.len()).filter(|at| flipped[*at] != right[*at]).collect();
    assert_eq!(wrong, [1234]);
    simulator.fault(Fault::once("noise", What::GzipHeader));
    assert_eq!(get(&url, &[]).await.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn another_version_comes_from_a_certain_request_on() {
    let simulator = start().await;
    let bytes = StaticBytes::Weights { bytes: 100_000, step: 5, hash: TrainerHash::Right };
    let files = vec![StaticFile::new(ArtifactKind::Checkpoint, "w.safetensors", bytes)];
    let job = simulator.add_static_job(StaticJob { files, ..StaticJob::default() });
    let url = url_of(&simulator, &job, "w.").await;
    simulator.fault(Fault::always("w.safetensors", What::OtherBytes).after(1));
    let (one, two, three) = (get(&url, &[]).await, get(&url, &[]).await, get(&url, &[]).await);
    assert_eq!(one.body.len(), two.body.len());
    assert!(one.body != two.body && two.body == three.body);
    assert!(one.header("etag") != two.header("etag") && two.header("etag") == three.header("etag"));
    safetensors::SafeTensors::deserialize(&two.body).expect("as valid as the first");
    let served: Vec<String> = [&one, &two].map(|answer| super::sha256(&answer.body)).into();
    let truth = simulator.truth(&job);
    let known: Vec<String> =
        truth["w.safetensors"].iter().map(|version| version.sha256.to_string()).collect();
    assert_eq!(known, served);
}

#[tokio::test]
async fn a_rewrite_is_another_version_and_part_of_the_truth() {
    let (simulator, url, right) = noise().await;
    let job = simulator.add_job(super::small());
    simulator.finish(&job);
    simulator.rewrite(&job, "dog.safetensors");
    assert_eq!(simulator.truth(&job)["dog.safetensors"].len(), 2);
    simulator.overwrite(&job, "dog.safetensors", &b"rubbish"[..]);
    let now = get(&url_of(&simulator, &job, "dog.safetensors").await, &[]).await;
    assert_eq!(now.body, b"rubbish");
    simulator.delete(&job, "dog.safetensors", false);
    assert!(!simulator.hosted(&job).contains(&"dog.safetensors".to_owned()));
    assert!(get(&url, &[]).await.body == right);
}
