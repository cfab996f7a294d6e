use super::*;

/// Every variant with what a person reads, to the letter.
fn every_error() -> Vec<(Error, ExitStatus, &'static str)> {
    let job = || "abc-1".parse::<JobId>().unwrap();
    let disk = |verb, kind| Error::Disk { verb, path: "out/x.part".into(), source: io::Error::from(kind) };
    let api = Error::Api;
    vec![
        (
            disk("write", io::ErrorKind::StorageFull),
            ExitStatus::Disk,
            "error: could not write `out/x.part`
caused by: no storage space
hint: everything published stays, parts are kept; make room and type the same command again",
        ),
        (
            disk("create", io::ErrorKind::PermissionDenied),
            ExitStatus::CannotCreate,
            "error: could not create `out/x.part`
caused by: permission denied
hint: check who may read and write there, or name another folder: `rcsync <JOB_ID> <DIR>`",
        ),
        (
            disk("create", io::ErrorKind::NotADirectory),
            ExitStatus::CannotCreate,
            "error: could not create `out/x.part`
caused by: not a directory
hint: a file stands where a folder is needed; move it away, or name another folder: `rcsync <JOB_ID> <DIR>`",
        ),
        (
            disk("read", io::ErrorKind::NotFound),
            ExitStatus::Disk,
            "error: could not read `out/x.part`
caused by: entity not found
hint: check the path; nothing was changed",
        ),
        (
            disk("rename", io::ErrorKind::Other),
            ExitStatus::Disk,
            "error: could not rename `out/x.part`
caused by: other error
hint: everything published stays as it was; check the disk, then type the same command again",
        ),
        (
            Error::Output(io::ErrorKind::StorageFull.into()),
            ExitStatus::Disk,
            "error: could not write standard output
caused by: no storage space
hint: the output is lost or cut off, and whatever else the command does is done; make room where the output goes, or send it elsewhere",
        ),
        (
            api(ApiError::NoToken),
            ExitStatus::NoPermission,
            "error: no RunComfy token found
hint: set `RUNCOMFY_TOKEN`, or run `runcomfy login`, or name a file that holds it: `--token-file <PATH>`",
        ),
        (
            api(ApiError::BadToken { origin: "`RUNCOMFY_TOKEN`".into(), why: "it has a line break in it".into() }),
            ExitStatus::NoPermission,
            "error: the RunComfy token from `RUNCOMFY_TOKEN` is not usable: it has a line break in it
hint: put the bare token, on one line, into `RUNCOMFY_TOKEN`",
        ),
        (
            api(ApiError::Unauthorized { status: 401, message: "token expired".into(), code: None }),
            ExitStatus::NoPermission,
            "error: the API refused the token (HTTP 401): token expired
hint: make a new token in your RunComfy profile and set `RUNCOMFY_TOKEN`; `rcsync doctor` shows which one is used",
        ),
        (
            api(ApiError::Unauthorized { status: 403, message: "not in your plan".into(), code: None }),
            ExitStatus::NoPermission,
            "error: the API does not allow this request (HTTP 403): not in your plan
hint: the token may belong to another account than the job, or the account's plan may not include this; `rcsync doctor` shows which token is used",
        ),
        (
            api(ApiError::UnknownJob { job: job(), message: String::new(), code: None }),
            ExitStatus::BadData,
            "error: the API knows no job `abc-1`
hint: check the id, and that the token belongs to the account of the job: `rcsync status abc-1`",
        ),
        (
            api(ApiError::Refused { status: 402, message: "no credit".into(), code: None }),
            ExitStatus::BadData,
            "error: the API refused the request (HTTP 402): no credit
hint: top up the account on the RunComfy site; `rcsync resume <JOB_ID>` then continues a job that stopped for it, and type the same command again for one that was not accepted",
        ),
        (
            api(ApiError::Refused { status: 200, message: "no credit (10001)".into(), code: ErrorCode::new("10001") }),
            ExitStatus::BadData,
            "error: the API refused the request (HTTP 200): no credit (10001)
hint: top up the account on the RunComfy site; `rcsync resume <JOB_ID>` then continues a job that stopped for it, and type the same command again for one that was not accepted",
        ),
        (
            api(ApiError::Refused { status: 404, message: "gone (40401)".into(), code: ErrorCode::new("40401") }),
            ExitStatus::BadData,
            "error: the API refused the request (HTTP 404): gone (40401)
hint: the dataset is unknown, deleted, or of another account; make it again on the RunComfy site under the name that the configuration uses",
        ),
        (
            api(ApiError::Refused { status: 422, message: "bad yaml".into(), code: None }),
            ExitStatus::BadData,
            "error: the API refused the request (HTTP 422): bad yaml
hint: nothing on the disk was changed; what the API said is above",
        ),
        (
            api(ApiError::Busy { status: 429, message: "20 a minute".into(), code: None, retry_after: Some(30) }),
            ExitStatus::TryAgain,
            "error: the API asks to try later (HTTP 429): 20 a minute
hint: everything published stays, parts are kept; type the same command again in 30 s",
        ),
        (
            api(ApiError::Busy { status: 408, message: String::new(), code: None, retry_after: None }),
            ExitStatus::TryAgain,
            "error: the API asks to try later (HTTP 408)
hint: everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Unreachable { origin: "https://h".into(), cause: "connection refused".into() }),
            ExitStatus::Unavailable,
            "error: the API at `https://h` cannot be reached: connection refused
hint: check the network, `HTTPS_PROXY` and `RUNCOMFY_TRAINER_API_BASE` with `rcsync doctor`; everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Untrusted { origin: "https://h".into(), cause: "TLS: the certificate has expired".into() }),
            ExitStatus::Unavailable,
            "error: the API at `https://h` cannot be reached: TLS: the certificate has expired
hint: `SSL_CERT_FILE` names a file with the certificates to trust, a proxy's among them; `rcsync doctor` tries it out; everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Server { status: 503, message: String::new(), code: None, retry_after: None }),
            ExitStatus::Unavailable,
            "error: the API answered HTTP 503
hint: everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Unknown { cause: "the connection ended".into() }),
            ExitStatus::Unavailable,
            "error: it is unknown whether the API accepted the request: the connection ended
hint: look before you send it again, or you may pay twice: your jobs are listed on the RunComfy site, and `rcsync status <JOB_ID>` shows a known one",
        ),
        (
            api(ApiError::Unintelligible { why: "no `status` in `{}`".into() }),
            ExitStatus::Protocol,
            "error: the API's answer could not be understood: no `status` in `{}`
hint: nothing on the disk was changed; check `RUNCOMFY_TRAINER_API_BASE` with `rcsync doctor`, or look for a newer rcsync",
        ),
        (
            api(ApiError::WrongJob { asked: job(), answered: "other".into() }),
            ExitStatus::Protocol,
            "error: the API answered for job `other` when asked for `abc-1`
hint: nothing on the disk was changed; check `RUNCOMFY_TRAINER_API_BASE` with `rcsync doctor`, or look for a newer rcsync",
        ),
        (
            Error::FolderInUse { path: "out".into(), owner: "process 12 on host".into() },
            ExitStatus::TryAgain,
            "error: `out` is held by another rcsync (process 12 on host)
hint: wait for the other one to end, or mirror into another folder: `rcsync <JOB_ID> <DIR>`",
        ),
        (
            Error::DatasetInUse { name: "dog".into() },
            ExitStatus::TryAgain,
            "error: another rcsync sends files into the dataset `dog`
hint: wait for the other one to end; the same command again sends what is missing then",
        ),
        (
            ApiError::UnknownDataset { dataset: "a-1".into(), message: String::new() }.into(),
            ExitStatus::BadData,
            "error: the API knows no dataset `a-1`
hint: `rcsync dataset ls` lists the account's datasets; check that the token belongs to that account",
        ),
        (
            Error::FolderUnfit { path: "out".into(), why: "it mirrors job `xyz`".into() },
            ExitStatus::CannotCreate,
            "error: `out` cannot be used for this job: it mirrors job `xyz`
hint: nothing in it was changed; name another folder: `rcsync <JOB_ID> <DIR>`",
        ),
        (
            Error::Usage("`--retries` wants a number".into()),
            ExitStatus::Usage,
            "error: `--retries` wants a number
hint: `rcsync --help` and `rcsync <COMMAND> --help` say what can be typed",
        ),
        (
            Error::NoInput("config.yaml".into()),
            ExitStatus::NoInput,
            "error: there is no file `config.yaml`
hint: check the path; nothing was sent or changed",
        ),
        (
            Error::NoMirror { path: "out".into(), why: "there is no such folder", job: None },
            ExitStatus::NoInput,
            "error: `out` is no mirror of a job: there is no such folder
hint: name the folder that a job was mirrored into; `rcsync <JOB_ID> out` mirrors one",
        ),
        (
            Error::NoMirror { path: "out".into(), why: "its private folder `.rcsync` is gone", job: Some(job()) },
            ExitStatus::NoInput,
            "error: `out` is no mirror of a job: its private folder `.rcsync` is gone
hint: `rcsync abc-1 out --once` checks what is there and keeps it; nothing is fetched twice",
        ),
        (
            Error::from(BucketError::NoMirror { to: "s3://b/p".into() }),
            ExitStatus::NoInput,
            "error: `s3://b/p` is no mirror of a job: there is no `.rcsync/head.json`
hint: name the prefix that a job was mirrored to; `rcsync <JOB_ID> s3://BUCKET/PREFIX` mirrors one",
        ),
        (
            Error::ForeignPage("out/index.html".into()),
            ExitStatus::CannotCreate,
            "error: `out/index.html` was not written by rcsync, or was edited since, and is left as it is
hint: move it away to get the gallery, and type `rcsync gallery <DIR>` then",
        ),
        (
            Error::NoComfyUi {
                path: "/x".into(),
                looked_for: "there is nothing of this name".into(),
                missing: Some("/x".into()),
            },
            ExitStatus::NoInput,
            "error: `/x` is not a place that ComfyUI reads LoRAs from: there is nothing of this name
hint: name the folder that has `models/loras` in it, as in `--comfyui ~/ComfyUI`; `rcsync doctor` shows where ComfyUI is found here",
        ),
        (
            Error::BadInput("`config.yaml` is not YAML".into()),
            ExitStatus::BadData,
            "error: `config.yaml` is not YAML
hint: correct the input and type the same command again; nothing was changed",
        ),
        (
            Error::Declined {
                why: "job `abc-1` is RUNNING already".into(),
                next: "`rcsync abc-1` mirrors it".into(),
            },
            ExitStatus::BadData,
            "error: job `abc-1` is RUNNING already
hint: `rcsync abc-1` mirrors it",
        ),
        (
            Error::Config("`config.toml` line 3: unknown key `onse`".into()),
            ExitStatus::Config,
            "error: `config.toml` line 3: unknown key `onse`
hint: correct or remove the file; `rcsync doctor` shows which one is read",
        ),
        (
            following(ApiError::Server { status: 503, message: String::new(), code: None, retry_after: None }.into()),
            ExitStatus::Unavailable,
            "error: the API answered HTTP 503
hint: everything published stays, parts are kept; type `rcsync abc-1 out` later",
        ),
        (
            following(ApiError::NoToken.into()),
            ExitStatus::NoPermission,
            "error: no RunComfy token found
hint: set `RUNCOMFY_TOKEN`, or run `runcomfy login`, or name a file that holds it: `--token-file <PATH>`; `rcsync abc-1 out` goes on with the job's mirror",
        ),
    ]
}

fn following(error: Error) -> Error {
    Error::Following { source: error.into(), again: "`rcsync abc-1 out`".into() }
}

#[test]
fn every_message_says_what_happened_and_the_way_out() {
    for (error, status, story) in every_error() {
        assert_eq!(explain(&error), story);
        assert_eq!(error.exit_status(), status, "{error}");
    }
}

#[test]
fn messages_are_fragments_without_a_full_stop() {
    for (error, _, _) in every_error() {
        let text = error.to_string();
        assert!(!text.ends_with('.'), "{text}");
        assert!(!error.hint().is_some_and(|hint| hint.ends_with('.')), "{text}");
    }
}

/// A new variant does not compile here until it has a name, and does not pass until it has a story above.
#[test]
fn no_error_is_left_out() {
    let name = |error: &Error| match error {
        Error::Disk { .. } => "disk",
        Error::Output(_) => "output",
        Error::Api(fault) => match fault {
            ApiError::NoToken => "no token",
            ApiError::BadToken { .. } => "bad token",
            ApiError::Unauthorized { .. } => "unauthorized",
            ApiError::UnknownJob { .. } => "unknown job",
            ApiError::UnknownDataset { .. } => "unknown dataset",
            ApiError::Refused { .. } => "refused",
            ApiError::Busy { .. } => "busy",
            ApiError::Unreachable { .. } => "unreachable",
            ApiError::Untrusted { .. } => "untrusted",
            ApiError::Server { .. } => "server",
            ApiError::Unknown { .. } => "unknown",
            ApiError::Unintelligible { .. } => "unintelligible",
            ApiError::WrongJob { .. } => "wrong job",
        },
        // Each kind of them has its story beside its definition.
        Error::Bucket(_) => "bucket",
        Error::FolderInUse { .. } => "folder in use",
        Error::DatasetInUse { .. } => "dataset in use",
        Error::FolderUnfit { .. } => "folder unfit",
        Error::ForeignPage(_) => "foreign page",
        Error::Usage(_) => "usage",
        Error::NoInput(_) => "no input",
        Error::NoMirror { .. } => "no mirror",
        Error::NoComfyUi { .. } => "no ComfyUI",
        Error::BadInput(_) => "bad input",
        Error::Declined { .. } => "declined",
        Error::Config(_) => "config",
        Error::Following { .. } => "following",
    };
    let told: std::collections::BTreeSet<&str> =
        every_error().iter().map(|(error, ..)| name(error)).collect();
    assert_eq!(told.len(), 28, "{told:?}");
}
