//! What stores answer, over real connections to a store that answers by a script.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::error::Unanswered;
#[cfg(unix)]
use crate::model::hook_fault::Ending;
use crate::model::transport_fault::TransportFault;

/// One answer: the status line's rest, headers, body.
type Script = Box<dyn FnMut(&str) -> (&'static str, &'static str, String) + Send>;

/// A store on loopback that answers each request by a script, which sees the request's head.
async fn store(mut script: Script) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let head = loop {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.unwrap();
                text.extend_from_slice(&buffer[..count]);
                let all = String::from_utf8_lossy(&text).into_owned();
                if let Some((head, body)) = all.split_once("\r\n\r\n") {
                    let lower = head.to_ascii_lowercase();
                    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                        break head.to_owned();
                    }
                }
                assert!(count > 0, "{all}");
            };
            let (status, headers, body) = script(&head);
            heard.lock().unwrap().push(head);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, asked)
}

fn cloud(endpoint: &str, more: &[(&str, &str)]) -> Cloud {
    let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "SECRET")];
    let keys = if more.iter().any(|(name, _)| *name == "AWS_CONFIG_FILE") { &[][..] } else { &keys[..] };
    let variables: Vec<(String, String)> = [("AWS_ENDPOINT_URL", endpoint), ("AWS_REGION", "us-east-1")]
        .iter()
        .chain(keys)
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let variable =
        |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    Cloud::with(&BucketUrl::parse("s3://b/p").unwrap().unwrap(), Dialect::default(), &variable).unwrap()
}

fn refusal(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

async fn put(cloud: &Cloud) -> Result<Put, StoreFault> {
    cloud.put("a.txt", Bytes::from_static(b"hello"), When::New, About::default()).await
}

#[tokio::test]
async fn each_refusal_of_a_store_has_one_meaning() {
    let denied = |status, message: &str| StoreFault::Denied {
        status,
        permission: "writing objects",
        message: message.to_owned(),
    };
    let busy = |seconds: Option<u64>| StoreFault::Busy {
        status: 503,
        retry_after: seconds.map(Duration::from_secs),
    };
    let elsewhere = |region: &str| StoreFault::WrongRegion { region: Some(region.to_owned()) };
    let rows = [
        (
            "another region",
            "301 Moved",
            "x-amz-bucket-region: eu-west-1\r\n",
            refusal("PermanentRedirect", "x"),
            elsewhere("eu-west-1"),
        ),
        (
            "another region, by its signature",
            "400 Bad",
            "",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>".to_owned(),
            elsewhere("eu-north-1"),
        ),
        ("no bucket", "404 Not Found", "", refusal("NoSuchBucket", "none"), StoreFault::NoBucket),
        (
            "no permission",
            "403 Forbidden",
            "",
            refusal("AccessDenied", "no"),
            denied(403, "AccessDenied: no"),
        ),
        (
            "a clock that is off",
            "403 Forbidden",
            "",
            refusal("RequestTimeTooSkewed", "x"),
            denied(403, "this machine's clock is off by more than a quarter of an hour"),
        ),
        ("slow down", "503 Slow Down", "Retry-After: 7\r\n", refusal("SlowDown", "x"), busy(Some(7))),
        ("slow down without a wish", "503 Slow Down", "", refusal("SlowDown", "x"), busy(None)),
        (
            "a fault of the store",
            "500 Oops",
            "",
            String::new(),
            StoreFault::Unknown { cause: Unanswered::Status(500) },
        ),
        (
            "keys that expired and cannot be renewed",
            "400 Bad",
            "",
            refusal("ExpiredToken", "gone"),
            denied(
                400,
                "ExpiredToken: gone; keys in the environment cannot be renewed while rcsync runs, those of a profile's `credential_process`, of a web identity and of a role are",
            ),
        ),
        (
            "bytes that were changed on the way",
            "400 Bad",
            "",
            refusal("BadDigest", "The checksum did not match"),
            StoreFault::Refused { status: 400, message: "BadDigest: The checksum did not match".to_owned() },
        ),
    ];
    for (name, status, headers, body, expected) in rows {
        let (endpoint, _) = store(Box::new(move |_| (status, headers, body.clone()))).await;
        assert_eq!(put(&cloud(&endpoint, &[])).await, Err(expected), "{name}");
    }
    let (endpoint, _) = store(Box::new(|_| ("404 Not Found", "", refusal("NoSuchUpload", "gone")))).await;
    let (cloud, upload) = (cloud(&endpoint, &[]), UploadId("u".to_owned()));
    let part = cloud.part("a.bin", &upload, 0, Bytes::from_static(b"x")).await;
    assert_eq!(part, Err(StoreFault::NoUpload), "a rule of the bucket removed it");
    let taken = |status| store(Box::new(move |_| (status, "", refusal("PreconditionFailed", "x"))));
    let (endpoint, _) = taken("412 Precondition Failed").await;
    assert_eq!(put(&self::cloud(&endpoint, &[])).await, Ok(Put::Refused));
}

#[tokio::test]
async fn a_store_without_a_checksum_is_asked_with_an_older_one_and_then_without() {
    let unknown = |header: &'static str| {
        move |head: &str| {
            head.to_ascii_lowercase().contains(header).then(|| {
                (
                    "400 Bad",
                    "",
                    refusal("InvalidArgument", &format!("Unsupported header '{header}'; checksum")),
                )
            })
        }
    };
    let good = || ("200 OK", "ETag: \"tag\"\r\n", String::new());
    let crc = unknown("x-amz-checksum-crc64nvme");
    let (endpoint, asked) = store(Box::new(move |head| crc(head).unwrap_or_else(good))).await;
    let cloud = cloud(&endpoint, &[]);
    // The first request learns it, and is sent again by the caller as any other that a store was too busy for.
    assert!(put(&cloud).await.unwrap_err().is_transient());
    assert_eq!(put(&cloud).await, Ok(Put::Done(Tag::new("tag", None))));
    assert_eq!(put(&cloud).await, Ok(Put::Done(Tag::new("tag", None))));
    let heads: Vec<String> = asked.lock().unwrap().iter().map(|head| head.to_ascii_lowercase()).collect();
    assert!(heads[0].contains("x-amz-checksum-crc64nvme"), "{heads:?}");
    assert!(heads[1..].iter().all(|head| head.contains("x-amz-checksum-sha256")), "{heads:?}");
    let any = unknown("x-amz-checksum-");
    let (endpoint, asked) = store(Box::new(move |head| any(head).unwrap_or_else(good))).await;
    let cloud = self::cloud(&endpoint, &[]);
    for _ in 0..2 {
        assert!(put(&cloud).await.unwrap_err().is_transient());
    }
    assert_eq!(put(&cloud).await, Ok(Put::Done(Tag::new("tag", None))));
    assert!(!asked.lock().unwrap()[2].to_ascii_lowercase().contains("x-amz-checksum-"));
}

#[tokio::test]
async fn a_store_that_takes_no_connection_is_reported_as_that() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let cause = Unanswered::Connect(TransportFault::Refused);
    assert_eq!(put(&cloud(&endpoint, &[])).await, Err(StoreFault::Unknown { cause }));
}

/// The crate wraps the fault of our source of credentials in an error of its own.
#[cfg(unix)]
#[tokio::test]
async fn a_program_without_credentials_keeps_its_fault() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    std::fs::write(&config, "[default]\ncredential_process = false\n").unwrap();
    let none = dir.path().join("none");
    let variables = [
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_SHARED_CREDENTIALS_FILE", none.to_str().unwrap()),
    ];
    let (endpoint, _) = store(Box::new(|_| ("200 OK", "", String::new()))).await;
    let why = NoCredentials::Failed { program: "false".to_owned(), ending: Ending::Code(1) };
    assert_eq!(put(&cloud(&endpoint, &variables)).await, Err(StoreFault::Credentials(why)));
}

#[cfg(unix)]
#[tokio::test]
async fn credentials_that_expire_are_had_anew_from_their_program() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let write = |id: &str| {
        let text = format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"SECRET"}}"#);
        std::fs::write(&keys, text).unwrap();
    };
    write("OLD");
    let config = dir.path().join("config");
    let process = format!("[default]\ncredential_process = cat {}\n", keys.display());
    std::fs::write(&config, process).unwrap();
    let expired = |head: &str| {
        if head.contains("Credential=NEW/") {
            return ("200 OK", "ETag: \"tag\"\r\n", String::new());
        }
        ("400 Bad", "", refusal("ExpiredToken", "The provided token has expired."))
    };
    let (endpoint, _) = store(Box::new(expired)).await;
    let config = config.to_str().unwrap();
    let none = dir.path().join("none");
    let variables = [("AWS_CONFIG_FILE", config), ("AWS_SHARED_CREDENTIALS_FILE", none.to_str().unwrap())];
    let cloud = cloud(&endpoint, &variables);
    // In the middle of a long run they expire, and the program has new ones.
    let refused = put(&cloud).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    write("NEW");
    assert_eq!(put(&cloud).await, Ok(Put::Done(Tag::new("tag", None))));
    // Where the program has none that work, that is reported, and not tried for ever.
    write("OTHER");
    let cloud = self::cloud(&endpoint, &variables);
    assert!(put(&cloud).await.unwrap_err().is_transient());
    let refused = put(&cloud).await.unwrap_err();
    assert!(
        matches!(&refused, StoreFault::Denied { message, .. } if message.starts_with("ExpiredToken")),
        "{refused:?}"
    );
}
