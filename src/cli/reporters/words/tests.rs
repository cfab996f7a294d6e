use super::*;
use crate::decide::mirror::disk_forecast::Full;
use crate::decide::mirror::eviction_forecast::Late;
use crate::error::{OddAnswer, UnknownOutcome};
use crate::model::artifact::ArtifactKind;
use crate::model::comfyui::{NoList, PathsFault, PathsPlace, PathsRefusal};
use crate::model::dataset::DatasetStatus;
use crate::model::fault::LocalFault;
use crate::model::hook_fault::{Ending, HookFault};
use crate::model::names::rel_path::RelPath;
use crate::model::source_url::SourceUrlError;
use crate::model::tls_fault::TlsFault;
use crate::model::transport_fault::TransportFault;
use crate::model::unusable::{Unfetchable, UnusableRow};

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

#[test]
fn causes_name_the_options_that_change_them() {
    let host = || "h".to_owned();
    for (cause, expected) in [
        (
            FailureCause::Network(Fault::Forbidden { host: host(), why: Forbidden::Private }),
            "`h` is refused: it is an address in a private network (see `--allow-private-hosts`)",
        ),
        (
            FailureCause::Network(Fault::Forbidden { host: host(), why: Forbidden::UserName }),
            "`h` is refused: its address has a user name in it",
        ),
        (
            FailureCause::Contradicted(Contradiction::Unwritten { zeros: 4096 }),
            "it ends with 4096 zero bytes, like one that was not written to its end (`--accept-unproven` takes it)",
        ),
        (
            FailureCause::NoRoom {
                path: path("a.bin"),
                shortage: Shortage { wanted: 2 << 30, free: 3 << 29, floor: 1 << 30 },
            },
            "could not make room for `a.bin`: it needs 2.0 GiB more, the disk has 1.5 GiB, and 1.0 GiB of that stays free (`--min-free`)",
        ),
        (
            FailureCause::Disk(Error::Disk {
                verb: "write",
                path: "a.bin".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            }),
            "could not write `a.bin`: no storage space",
        ),
    ] {
        assert_eq!(failure(&cause), expected);
    }
}

#[test]
fn a_push_names_the_options_too() {
    let refused = || Fault::Forbidden { host: "h".to_owned(), why: Forbidden::Private };
    let expected = "`h` is refused: it is an address in a private network (see `--allow-private-hosts`)";
    assert_eq!(retried_push(&RetriedPush::after(refused())), expected);
    assert_eq!(failed_push(&FailedPush::Fault(refused().into())), expected);
    let fault = SendFault::Local(LocalFault::Changed);
    assert_eq!(
        retried_push(&RetriedPush { fault, at_a_time: Some(2) }),
        "it changed while it was sent; 2 at a time now"
    );
    let waited = Duration::from_secs(60);
    assert_eq!(
        failed_push(&FailedPush::NotReady { status: DatasetStatus::Uploading, waited }),
        "it is still UPLOADING after 60 s"
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let difference = Difference {
        missing: names(&["a", "b", "c", "d"]),
        lengths: vec![("e".to_owned(), 2, 1)],
        foreign: names(&["f"]),
    };
    assert_eq!(
        failed_push(&FailedPush::Different { status: DatasetStatus::Ready, difference }),
        "it is READY and not as the folder is: it lacks `a`, `b`, `c` and 1 more; `e` has 1 bytes there and 2 here; it has `f`, which the folder lacks"
    );
    let refused = |why: Option<&str>| failed_push(&FailedPush::Refused(why.map(str::to_owned)));
    assert_eq!(refused(Some("no captions")), "no captions");
    assert_eq!(refused(None), "the API gives no reason");
}

#[test]
fn patterns_that_nothing_matches_are_named() {
    let patterns = vec!["samplse/*".to_owned(), "*.png".to_owned()];
    assert_eq!(
        notice(&Notice::NothingMatches { patterns, offered: 12 }),
        "none of the 12 files that the job offers matches `--include samplse/*`, nor `--include *.png`"
    );
}

#[test]
fn forecasts_are_rough() {
    let late = Late { step: 500, goes_in: Duration::from_secs(239), needs: Duration::from_secs(421) };
    assert_eq!(
        notice(&Notice::Late(late)),
        "the link is too slow for step 500: the trainer deletes it in about 4 min, it needs 7 min"
    );
    let late = Late { goes_in: Duration::from_secs(50), needs: Duration::from_secs(9000), ..late };
    assert!(notice(&Notice::Late(late)).ends_with("in about 50 s, it needs 3 h"));
    let full = Full { at_step: 1400, needs: 38 << 30, room: 20 << 30 };
    assert_eq!(
        notice(&Notice::DiskWillFill(full)),
        "the disk will be full at about step 1400: the run will still make 38.0 GiB, and there is room for 20.0 GiB"
    );
}

#[test]
fn a_job_that_stopped() {
    let stopped = Stopped { step: Some(700), total_steps: Some(2000) };
    let after = Duration::from_secs(5);
    assert_eq!(
        notice(&Notice::WillResume { stopped, after, attempt: 1, most: 2 }),
        "the job stopped at step 700 of 2000 without an error; it is resumed in 5 s (1 of 2)"
    );
    assert_eq!(
        notice(&Notice::LeftAlone { job: "abc-1".parse().unwrap(), stopped, times: 2 }),
        "the job stopped at step 700 of 2000 without an error; it was resumed 2 times already and is left alone; `rcsync resume abc-1 --follow` continues it"
    );
}

#[test]
fn a_resumption_of_which_nothing_is_known() {
    let cause = || TransportFault::TimedOut { after: Duration::from_secs(30) };
    for fault in [
        ApiError::Unknown { cause: UnknownOutcome::Transport(cause()) },
        ApiError::Unintelligible { why: OddAnswer::Transport(cause()) },
    ] {
        assert_eq!(
            notice(&Notice::ResumeUnknown(fault)),
            "it is unknown whether the API resumed the job (timed out after 30 s): looking"
        );
    }
}

#[test]
fn a_hook_that_fails() {
    let failed = |next| {
        let about = HookEvent::Published(path("a.bin"));
        let cause = HookFault::Failed { ending: Ending::Code(3), output: String::new() };
        let what = HookTrouble::Failed { about, cause, next };
        notice(&Notice::Hook { hook: HookKind::Exec, what })
    };
    assert_eq!(
        failed(AfterFailure::Again),
        "`--exec` failed for `a.bin`: it ended with code 3; the file is safe, and the hook is tried again"
    );
    assert_eq!(
        failed(AfterFailure::GivenUp { tries: 3 }),
        "`--exec` failed for `a.bin`: it ended with code 3; given up after 3 tries, the file is safe"
    );
}

#[test]
fn what_a_running_comfyui_answers() {
    let sentence = |answer| {
        let origin = "http://127.0.0.1:8188".to_owned();
        notice(&Notice::ComfyUi(ComfyNotice::Server { origin, answer }))
    };
    let dog = || path("dog/dog.safetensors");
    assert_eq!(
        sentence(ServerAnswer::Listed(vec![dog()])),
        "ComfyUI at http://127.0.0.1:8188 lists `dog/dog.safetensors`; press `r` there to see it in the nodes"
    );
    let roots = vec!["/big/loras".to_owned(), "/ui/models/loras".to_owned()];
    assert_eq!(
        sentence(ServerAnswer::Unlisted { path: dog(), root: "/ui/models/loras".into(), roots }),
        "ComfyUI at http://127.0.0.1:8188 does not list `dog/dog.safetensors`: it does not read `/ui/models/loras`; it reads `/big/loras`, `/ui/models/loras`"
    );
    assert_eq!(
        sentence(ServerAnswer::Shadowed { path: dog(), by: "/big/loras".into() }),
        "ComfyUI at http://127.0.0.1:8188 lists `dog/dog.safetensors`, but takes the file of that name in `/big/loras`, which it searches first"
    );
}

#[test]
fn what_cannot_be_asked_or_fetched_has_its_cause() {
    let origin = || "http://127.0.0.1:8188".to_owned();
    for (why, expected) in [
        (
            NoList::NoClient(TlsFault::NoClient("there are no certificates".to_owned())),
            "TLS: there are no certificates (`SSL_CERT_FILE` can name a file with certificates)",
        ),
        (NoList::TimedOut { after: Duration::from_secs(5) }, "it does not answer within 5 s"),
        (NoList::Unreachable, "no program answers there"),
        (NoList::Interrupted, "the answer broke off"),
        (NoList::Status { status: 404, path: "models/loras" }, "it answered HTTP 404 to `/models/loras`"),
        (NoList::TooLong, "its answer is too long"),
        (NoList::Foreign { path: "models/loras" }, "its answer to `/models/loras` is not that of a ComfyUI"),
    ] {
        let answer = ServerAnswer::None { why };
        assert_eq!(
            notice(&Notice::ComfyUi(ComfyNotice::Server { origin: origin(), answer })),
            format!(
                "ComfyUI at http://127.0.0.1:8188 was not asked whether it lists the new LoRAs: {expected}"
            )
        );
    }
    let why = Unfetchable::Address { place: "checkpoints[5]".to_owned(), fault: SourceUrlError::NotAbsolute };
    assert_eq!(
        notice(&Notice::Unfetchable { kind: ArtifactKind::Checkpoint, why }),
        "a listed checkpoint cannot be fetched: `checkpoints[5]`: the URL is not absolute"
    );
    assert_eq!(notice(&Notice::UnusableRow(UnusableRow::More { count: 7 })), "and 7 more");
}

#[test]
fn why_loras_go_to_a_folder() {
    let file = || std::path::PathBuf::from("/ui/paths.yaml");
    let place = |line| PathsPlace { file: file(), section: Some(("big".to_owned(), line)) };
    let away = || Some(AwayFolder { path: "/away".into(), place: place(5) });
    let configured = |is_default, away| ConfiguredFolder { place: place(4), is_default, away };
    let fault = PathsFault::Refused { path: file(), why: PathsRefusal::NoSections };
    for (why, expected) in [
        (LoraFolderReason::Named, "the folder itself, as it was named"),
        (LoraFolderReason::LoraFolder, "it is a loras folder itself"),
        (LoraFolderReason::ModelsFolder, "the loras folder of the models folder there"),
        (LoraFolderReason::OtherProgram, "the LoRA folder of the program there"),
        (LoraFolderReason::ComfyUi { away: None }, "the loras folder of the ComfyUI there"),
        (
            LoraFolderReason::ComfyUi { away: away() },
            "the loras folder of the ComfyUI there; `/away` would come before it, and is not there (section `big` in line 5 of `/ui/paths.yaml`)",
        ),
        (
            LoraFolderReason::ComfyUiAlone(fault),
            "the loras folder of the ComfyUI there; `/ui/paths.yaml` is passed over, since ComfyUI does not start with it: it has no sections",
        ),
        (
            LoraFolderReason::ExtraPaths(configured(true, None)),
            "the default for loras in section `big` in line 4 of `/ui/paths.yaml`",
        ),
        (
            LoraFolderReason::ExtraPaths(configured(false, None)),
            "`loras` in section `big` in line 4 of `/ui/paths.yaml`",
        ),
        (
            LoraFolderReason::PathsFile(configured(true, away())),
            "`loras` of section `big` in line 4 of `/ui/paths.yaml`, marked as default; `/away` would come before it, and is not there (section `big` in line 5 of `/ui/paths.yaml`)",
        ),
    ] {
        assert_eq!(lora_folder(&why), expected);
    }
}

#[test]
fn a_page_that_rcsync_did_not_write_has_a_way_out() {
    let foreign = notice(&Notice::NoGallery(Error::ForeignPage("out/index.html".into())));
    assert!(
        foreign.starts_with("no gallery: `out/index.html`") && foreign.contains("rcsync gallery"),
        "{foreign}"
    );
}
