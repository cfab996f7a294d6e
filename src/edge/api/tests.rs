use std::path::PathBuf;
use std::sync::Mutex as StdMutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::error_code::ErrorCode;
use crate::model::job::JobStatus;
use crate::model::tls_fault::TlsFault;

/// What the server does with one connection, after it has read one request.
#[derive(Debug, Clone)]
enum Step {
    /// Sends these bytes and hangs up.
    Say(Vec<u8>),
    /// Sends nothing and waits for the client to leave.
    BeSilent,
    /// Sends these bytes and waits for the client to leave.
    SayAndWait(Vec<u8>),
    /// Writes a file before it answers: the user logs in again.
    Renew(PathBuf, &'static str, Vec<u8>),
}

/// A server that does one step a connection and keeps what it was asked.
struct Server {
    origin: String,
    requests: Arc<StdMutex<Vec<String>>>,
}

impl Server {
    async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(StdMutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for step in steps {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                perform(step, &mut stream).await;
            }
        });
        Self { origin, requests }
    }

    async fn saying(status: &str, body: &str) -> Self {
        Self::start(vec![Step::Say(answer(status, body))]).await
    }

    fn client(&self) -> ApiClient {
        self.client_with(TokenSource::fixed("t0k3n"), Limits::default())
    }

    fn client_with(&self, tokens: TokenSource, limits: Limits) -> ApiClient {
        ApiClient::new(self.origin.parse().unwrap(), tokens, limits).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn perform(step: Step, stream: &mut TcpStream) {
    match step {
        Step::Say(bytes) => stream.write_all(&bytes).await.unwrap(),
        Step::BeSilent => wait_for_leave(stream).await,
        Step::SayAndWait(bytes) => {
            stream.write_all(&bytes).await.unwrap();
            wait_for_leave(stream).await;
        }
        Step::Renew(path, text, bytes) => {
            std::fs::write(path, text).unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    }
}

async fn wait_for_leave(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |digits| digits.parse().unwrap()) {
                return text.into_owned();
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    answer_with(status, "", body)
}

fn answer_with(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

fn job() -> JobId {
    "job-1".parse().unwrap()
}

fn submission() -> SubmitRequest {
    SubmitRequest {
        config: "job: x\n".to_owned(),
        gpu_type: "HOPPER_141".parse().unwrap(),
        gpu_count: None,
        gpu_id: None,
    }
}

const RUNNING: &str = r#"{"id":"job-1","status":"RUNNING"}"#;

#[tokio::test]
async fn a_look_as_documented() {
    let server = Server::saying("200 OK", RUNNING).await;
    assert_eq!(server.client().status(&job()).await.unwrap().status, JobStatus::Running);
    let host = server.origin.strip_prefix("http://").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        server.requests(),
        [format!(
            "GET /prod/v1/trainers/ai-toolkit/jobs/job-1/status HTTP/1.1\r\nauthorization: Bearer t0k3n\r\n\
             accept: application/json\r\naccept-encoding: gzip\r\nuser-agent: rcsync/{version}\r\nhost: {host}\r\n\r\n"
        )]
    );
}

#[tokio::test]
async fn requests_that_change_something_as_documented() {
    let accepted = r#"{"id":"job-1","name":"x","status":"CANCELED"}"#;
    let server = Server::start(vec![Step::Say(answer("200 OK", accepted)); 4]).await;
    let client = server.client();
    assert_eq!(client.submit(&submission()).await.unwrap().id, job());
    assert_eq!(client.cancel(&job()).await.unwrap().status, Some(JobStatus::Canceled));
    client.resume(&job()).await.unwrap();
    client.edit(&job(), "a: \"b\"\n").await.unwrap();
    let expected = [
        ("", r#"{"config_file_format":"yaml","config_file":"job: x\n","gpu_type":"HOPPER_141"}"#),
        ("/job-1/cancel", ""),
        ("/job-1/resume", "{}"),
        ("/job-1/edit", r#"{"config_file_format":"yaml","config_file":"a: \"b\"\n"}"#),
    ];
    for (request, (path, body)) in server.requests().iter().zip(expected) {
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("POST /prod/v1/trainers/ai-toolkit/jobs{path} HTTP/1.1\r\n")),
            "{head}"
        );
        assert_eq!(sent, body);
        assert_eq!(head.contains("content-type: application/json\r\n"), !body.is_empty(), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn statuses_become_faults() {
    let body = r#"{"error_code":49951,"error_message":"why"}"#;
    let message = || "why (49951)".to_owned();
    let code = || ErrorCode::new("49951");
    for (status, headers, fault) in [
        ("401 X", "", ApiError::Unauthorized { status: 401, message: message(), code: code() }),
        ("403 X", "", ApiError::Unauthorized { status: 403, message: message(), code: code() }),
        ("404 X", "", ApiError::UnknownJob { job: job(), message: message(), code: code() }),
        ("422 X", "", ApiError::Refused { status: 422, message: message(), code: code() }),
        (
            "429 X",
            "Retry-After: 7\r\n",
            ApiError::Busy { status: 429, message: message(), code: code(), retry_after: Some(7) },
        ),
        (
            "429 X",
            "Retry-After: 99999\r\n",
            ApiError::Busy { status: 429, message: message(), code: code(), retry_after: Some(900) },
        ),
        (
            "408 X",
            "Retry-After: soon\r\n",
            ApiError::Busy { status: 408, message: message(), code: code(), retry_after: None },
        ),
        (
            "429 X",
            "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            ApiError::Busy { status: 429, message: message(), code: code(), retry_after: Some(0) },
        ),
        (
            "503 X",
            "Retry-After: 3\r\n",
            ApiError::Server { status: 503, message: message(), code: code(), retry_after: Some(3) },
        ),
        ("502 X", "", ApiError::Server { status: 502, message: message(), code: code(), retry_after: None }),
    ] {
        let server = Server::start(vec![Step::Say(answer_with(status, headers, body))]).await;
        assert_eq!(server.client().result(&job()).await.unwrap_err(), fault, "{status} {headers}");
    }
}

#[tokio::test]
async fn answers_that_are_none() {
    for (body, fault) in [
        ("<html>Sign in</html>", "an HTML page instead of JSON: `Sign in`"),
        ("", "an empty answer instead of JSON"),
        ("{\"id\":\"job-1\"", "the JSON ends too early"),
    ] {
        let server = Server::saying("200 OK", body).await;
        let said = server.client().status(&job()).await.unwrap_err();
        assert!(
            matches!(&said, ApiError::Unintelligible { why } if why.to_string().contains(fault)),
            "{said:?}"
        );
    }
    let server = Server::saying("200 OK", r#"{"error_code":40451,"error_message":"no"}"#).await;
    assert!(matches!(server.client().status(&job()).await, Err(ApiError::UnknownJob { .. })));
    let server = Server::saying("200 OK", r#"{"id":"job-2","status":"RUNNING"}"#).await;
    assert!(matches!(server.client().status(&job()).await, Err(ApiError::WrongJob { .. })));
    for empty in [answer("204 No Content", ""), answer_with("200 OK", "Content-Encoding: gzip\r\n", "")] {
        let server = Server::start(vec![Step::Say(empty)]).await;
        assert_eq!(server.client().cancel(&job()).await, Ok(ChangeAnswer::default()));
    }
}

#[tokio::test]
async fn the_token_follows_no_redirect() {
    let thief = Server::start(vec![Step::Say(answer("200 OK", RUNNING)); 2]).await;
    for status in ["301 X", "302 X", "307 X", "308 X"] {
        let location = format!("Location: {}/x?sig=s3cret\r\n", thief.origin);
        let server = Server::start(vec![Step::Say(answer_with(status, &location, ""))]).await;
        let fault = server.client().status(&job()).await.unwrap_err();
        let ApiError::Refused { message, .. } = &fault else { panic!("{fault:?}") };
        assert!(message.contains(&thief.origin) && !message.contains("s3cret"), "{message}");
    }
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn a_renewed_token_is_tried_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let tokens = TokenSource::new(|_| None, None, Some(path.clone()));
    let refusal = || answer("401 X", "{}");
    let server = Server::start(vec![
        Step::Renew(path.clone(), "new", refusal()),
        Step::Say(answer("200 OK", RUNNING)),
        Step::Say(refusal()),
        // A refusal that comes under HTTP 200 counts as well.
        Step::Renew(path.clone(), "newest", answer("200 OK", r#"{"error_code":40101}"#)),
        Step::Say(refusal()),
        Step::Renew(path, "a b", refusal()),
    ])
    .await;
    let client = server.client_with(tokens, Limits::default());
    assert!(client.status(&job()).await.is_ok());
    for _ in 0..3 {
        assert!(matches!(client.status(&job()).await, Err(ApiError::Unauthorized { .. })));
    }
    let sent: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.split("Bearer ").nth(1).unwrap().split('\r').next().unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["old", "new", "new", "new", "newest", "newest"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = Server::start(vec![]).await;
    let client = server.client_with(TokenSource::new(|_| None, None, None), Limits::default());
    assert_eq!(client.status(&job()).await, Err(ApiError::NoToken));
    let client = server.client_with(TokenSource::fixed("a\nb"), Limits::default());
    assert!(matches!(client.status(&job()).await, Err(ApiError::BadToken { .. })));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_answer_that_repeats_the_token_is_blackened() {
    for status in ["200 OK", "400 X", "502 X"] {
        let server = Server::saying(status, "you sent: Bearer t0k3n, thanks").await;
        let fault = server.client().status(&job()).await.unwrap_err();
        assert!(format!("{fault:?}").contains("Bearer …, thanks"), "{fault:?}");
    }
}

#[tokio::test]
async fn answers_are_bounded() {
    let limits = Limits { answer: ByteCount(40), ..Limits::default() };
    let long = format!("{RUNNING}{}", " ".repeat(40));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n21\r\n{RUNNING}\r\n20\r\n{}\r\n0\r\n\r\n",
        " ".repeat(32)
    );
    for bytes in [answer("200 OK", &long), chunked.into_bytes()] {
        let server = Server::start(vec![Step::Say(bytes)]).await;
        let client = server.client_with(TokenSource::fixed("t"), limits);
        let why = OddAnswer::TooLong { most: 40 };
        assert_eq!(client.status(&job()).await, Err(ApiError::Unintelligible { why }));
    }
    let server = Server::saying("200 OK", RUNNING).await;
    assert!(server.client_with(TokenSource::fixed("t"), limits).status(&job()).await.is_ok());
    // A refusal without end is read no further than its message.
    let endless =
        format!("HTTP/1.1 500 X\r\nContent-Length: 999999999\r\n\r\n{}", "x".repeat(REFUSAL_BYTES + 1));
    let server = Server::start(vec![Step::SayAndWait(endless.into_bytes())]).await;
    assert!(matches!(server.client().status(&job()).await, Err(ApiError::Server { status: 500, .. })));
}

#[tokio::test]
async fn heads_are_bounded() {
    for headers in ["X: y\r\n".repeat(200), format!("X: {}\r\n", "y".repeat(1 << 20))] {
        let step = Step::SayAndWait(answer_with("200 OK", &headers, RUNNING));
        let server = Server::start(vec![step]).await;
        let fault = server.client().status(&job()).await.unwrap_err();
        let why = OddAnswer::Transport(TransportFault::NotHttp);
        assert_eq!(fault, ApiError::Unintelligible { why });
        assert!(fault.to_string().contains("head is too large"), "{fault}");
    }
}

#[tokio::test]
async fn a_lost_request_is_known_as_sent_or_not() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"id\"".to_vec();
    let limits = Limits { total: Duration::from_millis(80), ..Limits::default() };
    let late = TransportFault::TimedOut { after: limits.total };
    for (step, cause) in [
        (Step::Say(vec![]), TransportFault::ClosedEarly),
        (Step::Say(cut.clone()), TransportFault::ClosedEarly),
        (Step::BeSilent, late.clone()),
        (Step::SayAndWait(cut), late),
    ] {
        let server = Server::start(vec![step.clone(), step.clone()]).await;
        let client = server.client_with(TokenSource::fixed("t"), limits);
        let unreachable = ApiError::Unreachable { origin: server.origin.clone(), cause: cause.clone() };
        assert_eq!(client.status(&job()).await, Err(unreachable), "{step:?}");
        let cause = UnknownOutcome::Transport(cause);
        assert_eq!(client.submit(&submission()).await, Err(ApiError::Unknown { cause }), "{step:?}");
    }
    let server = Server::saying("504 X", "").await;
    let cause = UnknownOutcome::Server { status: 504, message: String::new() };
    assert_eq!(server.client().submit(&submission()).await, Err(ApiError::Unknown { cause }));
}

#[tokio::test]
async fn a_closed_port_is_surely_not_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = ApiClient::new(origin.parse().unwrap(), TokenSource::fixed("t"), Limits::default()).unwrap();
    let fault = ApiError::Unreachable { origin, cause: TransportFault::Refused };
    assert_eq!(client.submit(&submission()).await, Err(fault.clone()));
    assert_eq!(client.status(&job()).await, Err(fault));
}

#[tokio::test]
async fn what_is_no_tls_is_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&answer("400 X", "this is plain http")).await.unwrap();
        let mut heard = Vec::new();
        while stream.read_buf(&mut heard).await.is_ok_and(|count| count > 0) {}
        heard
    });
    let client =
        ApiClient::new(origin.parse().unwrap(), TokenSource::fixed("t0k3n"), Limits::default()).unwrap();
    let fault = client.submit(&submission()).await.unwrap_err();
    assert!(matches!(&fault, ApiError::Untrusted { cause: TlsFault::NoTls, .. }), "{fault:?}");
    assert!(!String::from_utf8_lossy(&server.await.unwrap()).contains("t0k3n"));
}
