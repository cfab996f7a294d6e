use super::*;

/// A library user matches on values, and a program gets them as JSON.
#[test]
fn errors_are_values() {
    let full = || Error::Disk { verb: "write", path: "x".into(), source: io::ErrorKind::StorageFull.into() };
    assert_eq!(full(), full().clone());
    assert_ne!(
        full(),
        Error::Disk { verb: "read", path: "x".into(), source: io::ErrorKind::StorageFull.into() }
    );
    assert_eq!(
        serde_json::to_string(&full()).unwrap(),
        r#"{"disk":{"verb":"write","path":"x","source":"no storage space"}}"#
    );
    let api =
        Error::Api(ApiError::Busy { status: 429, message: String::new(), code: None, retry_after: Some(3) });
    assert_eq!(
        serde_json::to_string(&api).unwrap(),
        r#"{"api":{"busy":{"status":429,"message":"","code":null,"retry_after":3}}}"#
    );
    assert_eq!(explain_briefly(&full()), "could not write `x`: no storage space");
}

#[test]
fn a_cause_is_reported_once() {
    let tls = Error::from(TlsFault::NoClock);
    assert_eq!(explain_briefly(&tls), "TLS: this machine's clock cannot be read");
    let list = Error::from(BadInput::ListTooLarge("l".into()));
    assert_eq!(explain_briefly(&list), "`l` is too large for a list of jobs");
    assert_eq!(serde_json::to_string(&tls).unwrap(), r#"{"surroundings":{"tls":"no_clock"}}"#);
}

#[test]
fn what_a_disk_refuses_decides_the_code() {
    let code =
        |verb, kind: io::ErrorKind| Error::Disk { verb, path: "x".into(), source: kind.into() }.exit_status();
    assert_eq!(code("write", io::ErrorKind::StorageFull), ExitStatus::Disk);
    assert_eq!(code("create", io::ErrorKind::StorageFull), ExitStatus::Disk);
    assert_eq!(code("create", io::ErrorKind::NotFound), ExitStatus::CannotCreate);
    assert_eq!(code("write", io::ErrorKind::PermissionDenied), ExitStatus::CannotCreate);
    assert_eq!(code("read", io::ErrorKind::NotFound), ExitStatus::Disk);
}
