use std::time::Duration;

use super::*;
use crate::error::{
    BucketError, Condition, NoCredentials, NoMirror, OddAnswer, StoreRefusal, TokenFault, Unanswered, Unfit,
    UnfitPrefix, UnknownOutcome,
};
use crate::model::comfyui::{NoLoraFolder, PathsFault, PathsRefusal};
use crate::model::destination::Destination;
use crate::model::fault::LocalFault;
use crate::model::tls_fault::TlsFault;
use crate::model::transport_fault::TransportFault;

/// Each error with what a user reads, to the letter.
fn every_error() -> Vec<(CommandError, ExitStatus, &'static str)> {
    let job = || "abc-1".parse::<JobId>().unwrap();
    let disk = |verb, kind: io::ErrorKind| {
        CommandError::from(Error::Disk { verb, path: "out/x.part".into(), source: kind.into() })
    };
    let api = CommandError::from;
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
hint: check who may read and write there, or name another place",
        ),
        (
            disk("create", io::ErrorKind::NotADirectory),
            ExitStatus::CannotCreate,
            "error: could not create `out/x.part`
caused by: not a directory
hint: a file is where a folder is needed; move it away, or name another folder",
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
            CommandError::Output(io::ErrorKind::StorageFull.into()),
            ExitStatus::Disk,
            "error: could not write standard output
caused by: no storage space
hint: the output is lost or cut off, and everything else that the command does is done; make room where the output goes, or send it elsewhere",
        ),
        (
            api(ApiError::NoToken),
            ExitStatus::NoPermission,
            "error: no RunComfy token found
hint: set `RUNCOMFY_TOKEN`, or run `runcomfy login`, or name a file that holds it: `--token-file <PATH>`",
        ),
        (
            api(ApiError::BadToken { origin: "`RUNCOMFY_TOKEN`".into(), why: TokenFault::LineBreak }),
            ExitStatus::NoPermission,
            "error: the RunComfy token from `RUNCOMFY_TOKEN` is not usable: it has a line break in it
hint: put the bare token, on one line, into `RUNCOMFY_TOKEN`",
        ),
        (
            api(ApiError::Unauthorized { status: 401, message: "token expired".into(), code: None }),
            ExitStatus::NoPermission,
            "error: the API refused the token (HTTP 401): token expired
hint: make a new token in your RunComfy profile; `rcsync doctor` shows where the refused one is from, and `RUNCOMFY_TOKEN` has precedence over files",
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
hint: check the id on the RunComfy site, and that the token belongs to the account of the job; `rcsync doctor` shows which token is used",
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
            api(ApiError::Unreachable { origin: "https://h".into(), cause: TransportFault::Refused }),
            ExitStatus::Unavailable,
            "error: the API at `https://h` cannot be reached: connection refused
hint: check the network, `HTTPS_PROXY` and `RUNCOMFY_TRAINER_API_BASE`; `rcsync doctor` tries them out; everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Untrusted { origin: "https://h".into(), cause: TlsFault::NoCertificate }),
            ExitStatus::Unavailable,
            "error: the API at `https://h` cannot be reached: TLS: the server presents no certificate
hint: `SSL_CERT_FILE` names a file with the certificates to trust, a proxy's among them; `rcsync doctor` tries it out; everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Server { status: 503, message: String::new(), code: None, retry_after: None }),
            ExitStatus::Unavailable,
            "error: the API answered HTTP 503
hint: everything published stays, parts are kept; type the same command again later",
        ),
        (
            api(ApiError::Unknown { cause: UnknownOutcome::Transport(TransportFault::ClosedEarly) }),
            ExitStatus::Unavailable,
            "error: it is unknown whether the API accepted the request: the connection was closed before the answer was complete
hint: look before you send it again, or you may pay twice: your jobs are listed on the RunComfy site, and `rcsync status <JOB_ID>` shows a known one",
        ),
        (
            api(ApiError::Unintelligible { why: OddAnswer::Lacks { fields: &["status", "id"], excerpt: Some("{}".into()) } }),
            ExitStatus::Protocol,
            "error: the API's answer could not be understood: it has neither `status` nor `id`: `{}`
hint: nothing on the disk was changed; check `RUNCOMFY_TRAINER_API_BASE`, or look for a newer rcsync; `rcsync doctor` shows what is used",
        ),
        (
            api(ApiError::WrongJob { asked: job(), answered: "other".into() }),
            ExitStatus::Protocol,
            "error: the API answered for job `other` when asked for `abc-1`
hint: nothing on the disk was changed; check `RUNCOMFY_TRAINER_API_BASE`, or look for a newer rcsync; `rcsync doctor` shows what is used",
        ),
        (
            Error::FolderInUse { path: "out".into(), owner: "process 12 on host".into() }.into(),
            ExitStatus::TryAgain,
            "error: `out` is held by another rcsync (process 12 on host)
hint: wait for the other one to end, or mirror into another folder: `rcsync <JOB_ID> <DIR>`",
        ),
        (
            Error::DatasetInUse { name: "dog".into() }.into(),
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
            Error::FolderUnfit { path: "out".into(), why: Unfit::OtherJob("xyz".parse().unwrap()) }.into(),
            ExitStatus::CannotCreate,
            "error: `out` cannot be used for this job: it mirrors job `xyz`
hint: nothing in it was changed; name another folder: `rcsync <JOB_ID> <DIR>`",
        ),
        (
            CommandError::Usage("`--retries` wants a number".into()),
            ExitStatus::Usage,
            "error: `--retries` wants a number
hint: `rcsync --help` and `rcsync <COMMAND> --help` list what can be typed",
        ),
        (
            CommandError::variable("`RUNCOMFY_TRAINER_API_BASE`: it is not an absolute URL"),
            ExitStatus::Usage,
            "error: `RUNCOMFY_TRAINER_API_BASE`: it is not an absolute URL
hint: correct or unset it; `rcsync doctor` lists all settings",
        ),
        (
            Error::Settings("`--webhook`: write an address".into()).into(),
            ExitStatus::Usage,
            "error: `--webhook`: write an address
hint: `rcsync --help` and `rcsync <COMMAND> --help` list what can be typed",
        ),
        (
            Error::NoInput("config.yaml".into()).into(),
            ExitStatus::NoInput,
            "error: there is no file or folder `config.yaml`
hint: check the path; nothing was sent or changed",
        ),
        (
            Error::NoMirror { path: "out".into(), why: NoMirror::Missing, job: None }.into(),
            ExitStatus::NoInput,
            "error: `out` is no mirror of a job: there is no such folder
hint: name the folder that a job was mirrored into; `rcsync <JOB_ID> out` mirrors one",
        ),
        (
            Error::NoMirror { path: "out".into(), why: NoMirror::NoManifest, job: Some(job()) }.into(),
            ExitStatus::NoInput,
            "error: `out` is no mirror of a job: its private folder `.rcsync` is gone
hint: `rcsync abc-1 out --once` checks what is there and keeps it; nothing is fetched twice",
        ),
        (
            Error::NoMirror { path: "out".into(), why: NoMirror::Damaged, job: Some(job()) }.into(),
            ExitStatus::BadData,
            "error: `out` is no mirror of a job: its manifest `.rcsync/manifest.json` is damaged
hint: `rcsync abc-1 out --once` checks what is there and keeps it; nothing is fetched twice",
        ),
        (
            CommandError::from(BucketError::NoMirror { to: "s3://b/p".into() }),
            ExitStatus::NoInput,
            "error: `s3://b/p` is no mirror of a job: there is no `.rcsync/head.json`
hint: name the prefix that a job was mirrored to; `rcsync <JOB_ID> s3://BUCKET/PREFIX` mirrors one",
        ),
        (
            Error::ForeignPage("out/index.html".into()).into(),
            ExitStatus::CannotCreate,
            "error: `out/index.html` was not written by rcsync, or was edited since, and is left as it is
hint: move it away to get the gallery, and type `rcsync gallery <DIR>` then",
        ),
        (
            Error::NoComfyUi { path: "/x".into(), why: NoLoraFolder::Missing.into(), missing: None }.into(),
            ExitStatus::NoInput,
            "error: `/x` is not a place that ComfyUI reads LoRAs from: there is nothing of this name
hint: name the folder that has `models/loras` in it, as in `--comfyui ~/ComfyUI`; `rcsync doctor` shows where ComfyUI is found here",
        ),
        (
            Error::Paths(PathsFault::Refused { path: "/ui/paths.yaml".into(), why: PathsRefusal::NoSections }).into(),
            ExitStatus::BadData,
            "error: `/ui/paths.yaml` is passed over, since ComfyUI does not start with it: it has no sections
hint: correct the input and type the same command again; nothing was changed",
        ),
        (
            CommandError::BadInput("`config.yaml` is not YAML".into()),
            ExitStatus::BadData,
            "error: `config.yaml` is not YAML
hint: correct the input and type the same command again; nothing was changed",
        ),
        (
            CommandError::Declined {
                why: "job `abc-1` is RUNNING already".into(),
                next: "`rcsync abc-1` mirrors it".into(),
            },
            ExitStatus::BadData,
            "error: job `abc-1` is RUNNING already
hint: `rcsync abc-1` mirrors it",
        ),
        (
            CommandError::Config("`config.toml` line 3: unknown key `onse`".into()),
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
hint: set `RUNCOMFY_TOKEN`, or run `runcomfy login`, or name a file that holds it: `--token-file <PATH>`; `rcsync abc-1 out` continues the job's mirror",
        ),
        (
            Error::NameTaken { name: "dog".parse().unwrap(), fault: ApiError::Refused { status: 409, message: "taken".into(), code: None } }.into(),
            ExitStatus::BadData,
            "error: the name `dog` is taken, and the account's list has no such dataset (the API refused the request (HTTP 409): taken)
hint: nothing was sent; push under another name with `--name`",
        ),
        (
            Error::ForeignFiles { name: "dog".into(), foreign: vec!["a.jpg".into(), "b.jpg".into()] }.into(),
            ExitStatus::BadData,
            "error: the dataset `dog` has 2 files that the folder lacks: `a.jpg`, `b.jpg`
hint: nothing was deleted; `rcsync dataset rm dog` deletes the whole dataset, so that the same command again makes it anew; or push under another name with `--name`",
        ),
        (
            Error::Storage(Fault::Stalled { after: Duration::from_secs(30) }).into(),
            ExitStatus::BadData,
            "error: the storage of the API cannot be used: no data for 30 s
hint: what was accepted stays; the same command again sends the rest",
        ),
        (
            Error::Unsent(LocalFault::Changed).into(),
            ExitStatus::BadData,
            "error: it changed while it was sent
hint: what was accepted stays; the same command again checks the folder anew and sends the rest",
        ),
        (
            Error::from(Destination::parse("ftp://h/x".into()).unwrap_err()).into(),
            ExitStatus::Usage,
            "error: `ftp://…` is no bucket: a destination is a folder, or begins with \
    `s3://`, `gs://` or `az://`; a folder of this name is typed with `./` before it
hint: name a folder, or a bucket such as `s3://BUCKET/PREFIX`; `rcsync help buckets` has examples",
        ),
        (
            Error::ReplaceInBucket.into(),
            ExitStatus::Usage,
            "error: changed files can be replaced in a folder alone: in a bucket a name means one sequence of bytes for ever
hint: leave `--on-change replace` out, or mirror into a folder",
        ),
        (
            Error::from(TlsFault::NoRoots { path: "roots.pem".into() }).into(),
            ExitStatus::Config,
            "error: TLS: `SSL_CERT_FILE` names `roots.pem`, which holds no certificate in PEM format
hint: correct or unset the variable that names it; `rcsync doctor` shows what is used",
        ),
        (
            Error::from(BadInput::NoFolder("out".into())).into(),
            ExitStatus::BadData,
            "error: `out` is not a folder
hint: correct the input and type the same command again; nothing was changed",
        ),
        (
            CommandError::FolderTaken { path: "out".into(), job: job() },
            ExitStatus::CannotCreate,
            "error: `out` cannot be used for this job: it mirrors job `abc-1`, and nothing was submitted
hint: nothing in it was changed; name another folder: `rcsync <JOB_ID> <DIR>`",
        ),
    ]
}

fn following(error: CommandError) -> CommandError {
    CommandError::Following { error: error.into(), again: "`rcsync abc-1 out`".into() }
}

#[test]
fn every_message_has_what_happened_and_the_way_out() {
    for (error, status, story) in every_error() {
        assert_eq!(error.explain(), story);
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

#[test]
fn causes_are_in_the_line_of_a_program_once() {
    let disk = || {
        CommandError::from(Error::Disk {
            verb: "read",
            path: "x".into(),
            source: io::ErrorKind::NotFound.into(),
        })
    };
    assert_eq!(disk().explain_briefly(), "could not read `x`: entity not found");
    assert_eq!(following(disk()).explain_briefly(), "could not read `x`: entity not found");
}

/// A hint that names the command which has just failed leads nowhere.
#[test]
fn no_hint_leads_in_a_circle() {
    for (error, ..) in every_error() {
        let hint = error.hint().unwrap();
        let in_doctor = error.hint_in("doctor");
        assert!(in_doctor.as_ref().is_none_or(|hint| !hint.contains("`rcsync doctor")), "{in_doctor:?}");
        // One for which nothing is left has its message elsewhere.
        assert!(in_doctor.is_some(), "{hint}");
        // These are typed first of all, and each of them fails with most of these errors.
        for command in ["status", "result", "sync", "submit"] {
            assert!(!hint.contains(&format!("`rcsync {command} abc-1")), "{hint}");
        }
    }
    let unreachable = ApiError::Unreachable { origin: "https://h".into(), cause: TransportFault::Refused };
    assert_eq!(
        CommandError::from(unreachable).hint_in("doctor").unwrap(),
        "check the network, `HTTPS_PROXY` and `RUNCOMFY_TRAINER_API_BASE`; everything published stays, parts are kept; type the same command again later"
    );
}

/// What the library calls back for ends with the code of the command line.
#[test]
fn an_error_keeps_its_code_in_the_library() {
    for (error, status, _) in every_error() {
        let text = error.to_string();
        let library = error.into_library();
        assert_eq!(library.exit_status(), status, "{text}: {library}");
    }
}

/// A new variant does not compile here until it has a name, and does not pass until it has a story above.
#[test]
fn no_error_is_left_out() {
    let library = |error: &Error| match error {
        Error::Disk { .. } => "disk",
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
        // Each kind of them has its test below.
        Error::Bucket(_) => "bucket",
        Error::FolderInUse { .. } => "folder in use",
        Error::DatasetInUse { .. } => "dataset in use",
        Error::FolderUnfit { .. } => "folder unfit",
        Error::ForeignPage(_) => "foreign page",
        Error::NoInput(_) => "no input",
        Error::NoMirror { .. } => "no mirror",
        Error::NoComfyUi { .. } => "no ComfyUI",
        Error::Paths(_) => "paths",
        Error::BadInput(_) => "bad input",
        Error::Unsent(_) => "unsent",
        Error::Storage(_) => "storage",
        Error::NameTaken { .. } => "name taken",
        Error::ForeignFiles { .. } => "foreign files",
        Error::Destination(_) => "destination",
        Error::ReplaceInBucket => "replace in bucket",
        Error::Settings(_) => "settings",
        Error::Surroundings(_) => "surroundings",
    };
    let name = |error: &CommandError| match error {
        CommandError::Library(error) => library(error),
        CommandError::Output(_) => "output",
        CommandError::Usage(_) => "usage",
        CommandError::Misused { .. } => "misused",
        CommandError::BadInput(_) => "bad input of a command",
        CommandError::Declined { .. } => "declined",
        CommandError::Config(_) => "config",
        CommandError::FolderTaken { .. } => "folder taken",
        CommandError::Following { .. } => "following",
    };
    let named: std::collections::BTreeSet<&str> =
        every_error().iter().map(|(error, ..)| name(error)).collect();
    assert_eq!(named.len(), 40, "{named:?}");
}

#[test]
fn refused_credentials_are_those_of_the_store() {
    let to = || "s3://b/p".to_owned();
    let denied = BucketError::Denied {
        to: to(),
        store: "S3",
        permission: "s3:PutObject",
        status: 403,
        message: "AccessDenied".to_owned(),
    };
    for fault in
        [BucketError::NoCredentials { to: to(), store: "S3", why: NoCredentials::NothingSet }, denied]
    {
        assert!(of_bucket(&fault).contains("the RunComfy token is not involved"), "{fault}");
    }
    for fault in [
        BucketError::NoBucket { to: to() },
        BucketError::Held { to: to(), owner: "7".to_owned() },
        BucketError::TakenOver { to: to(), owner: "7".to_owned() },
        BucketError::IgnoresConditions { to: to(), which: Condition::OneWriter },
        BucketError::Unfit { to: to(), why: UnfitPrefix::DamagedHead },
        BucketError::WrongRegion { to: to(), region: None },
        BucketError::Away { to: to(), cause: Unanswered::JobTimeOver },
        BucketError::Refused { verb: "write", object: to(), cause: StoreRefusal::NoUpload },
    ] {
        let hint = of_bucket(&fault);
        assert!(!hint.is_empty() && !hint.ends_with('.'), "{hint}");
    }
}
