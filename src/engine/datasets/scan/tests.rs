use std::io::Write as _;
use std::sync::atomic::AtomicU32;

use crate::decide::datasets::{Caption, Code, MediaState, check};

use super::*;

const JPEG: &[u8] = include_bytes!("../../../decide/formats/fixtures/baseline.jpg");
const PNG: &[u8] = include_bytes!("../../../decide/formats/fixtures/image.png");
const MP4: &[u8] = include_bytes!("../../../decide/formats/fixtures/plain.mp4");

fn on(_: ScanProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn scanned(folder: &tempfile::TempDir, options: &ScanOptions) -> Scan {
    scan(folder.path(), options, &on).unwrap().unwrap()
}

fn named(name: &str) -> ScanOptions {
    ScanOptions { name: Some(name.to_owned()), ..ScanOptions::default() }
}

fn state_of<'s>(scan: &'s Scan, name: &str) -> &'s Content {
    &scan.files.iter().find(|file| file.name == name).unwrap().content
}

fn is_broken(scan: &Scan, name: &str, why: &str) -> bool {
    match state_of(scan, name) {
        Content::Media(media) => matches!(&media.state, MediaState::Broken(said) if said.contains(why)),
        _ => false,
    }
}

#[test]
fn every_file_is_judged_by_its_bytes() {
    let heic: &[u8] = include_bytes!("../../../decide/formats/fixtures/image.heic");
    let film: &[u8] = include_bytes!("../../../decide/formats/fixtures/video.mkv");
    let song: &[u8] = include_bytes!("../../../decide/formats/fixtures/sine.flac");
    let folder = folder(&[
        ("whole.jpg", JPEG),
        ("whole.txt", b"a dog"),
        ("cut.jpg", &JPEG[..JPEG.len() - 2]),
        ("empty.png", b""),
        ("png.jpg", PNG),
        ("clip.mp4", MP4),
        ("cut.mp4", &MP4[..MP4.len() / 2]),
        ("clip.jpg", MP4),
        ("heic.jpg", heic),
        ("film.mkv", film),
        ("cut.mkv", &film[..film.len() / 2]),
        ("song.flac", song),
        ("cut.flac", &song[..song.len() / 2]),
        ("page.webp", b"<!DOCTYPE html><html>"),
        ("text.mkv", b"not a clip"),
        ("quote.txt", b"a dog\x92s tail"),
        ("IMG.HEIC", heic),
        (".DS_Store", b"x"),
        (".aitk_size.json", b"{}"),
        ("Thumbs.db", b"x"),
        ("_latent_cache/a.safetensors", b"x"),
        ("raw/whole.jpg", JPEG),
    ]);
    let scan = scanned(&folder, &named("dog"));
    assert_eq!((scan.name.as_str(), scan.files.len(), scan.skipped), ("dog", 17, 4));
    assert_eq!(scan.subfolders, [Subfolder { path: "raw".into(), files: vec!["whole.jpg".into()] }]);
    for whole in ["whole.jpg", "clip.mp4", "png.jpg", "film.mkv", "song.flac"] {
        assert!(
            matches!(state_of(&scan, whole), Content::Media(media) if media.state == MediaState::Whole),
            "{whole}"
        );
    }
    for (name, why) in [
        ("cut.jpg", "ends"),
        ("cut.mp4", "ends"),
        ("cut.mkv", "cut off"),
        ("cut.flac", "ends"),
        ("clip.jpg", "its bytes are MP4"),
        ("heic.jpg", "its bytes are HEIC"),
        ("page.webp", "an HTML page"),
        ("text.mkv", "of no format of clips"),
    ] {
        assert!(is_broken(&scan, name, why), "{name}: {:?}", state_of(&scan, name));
    }
    let Content::Media(png) = state_of(&scan, "png.jpg") else { panic!() };
    assert_eq!(png.is_really, Some("PNG"));
    assert_eq!(
        *state_of(&scan, "quote.txt"),
        Content::Caption(Caption::NotUtf8 { offset: 5, byte: 0x92, is_utf16: false })
    );
    assert_eq!(*state_of(&scan, "IMG.HEIC"), Content::Other);
}

#[test]
fn only_what_is_equal_is_hashed() {
    let mut other = JPEG.to_vec();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    let folder = folder(&[
        ("a.jpg", JPEG),
        ("b.jpg", JPEG),
        ("c.png", PNG),
        ("same_length.jpg", &other),
        ("a.txt", b"x"),
        ("b.txt", b"x"),
    ]);
    let scan = scanned(&folder, &named("dog"));
    let with_hash = scan.files.iter().filter(|file| file.sha256.is_some());
    let hashed: Vec<&str> = with_hash.map(|file| file.name.as_str()).collect();
    assert_eq!(hashed, ["a.jpg", "b.jpg"]);
    let report = check(&scan, None);
    assert!(report.findings.iter().any(|finding| finding.code == Code::SameBytes && finding.path == "b.jpg"));
}

#[test]
fn patterns_choose_files_and_folders_of_which_nothing_is_left_are_none() {
    let folder = folder(&[("a.jpg", JPEG), ("b.png", PNG), ("raw/x.jpg", JPEG), ("raw/deep/y.jpg", JPEG)]);
    let files = FilePatterns::new(&[], &["raw/*".to_owned(), "*.png".to_owned()]).unwrap();
    let scan = scanned(&folder, &ScanOptions { files, ..named("dog") });
    assert_eq!((scan.files.len(), scan.subfolders.len()), (1, 0));
    let scan = scanned(&folder, &named("dog"));
    let paths: Vec<&str> = scan.subfolders.iter().map(|folder| folder.path.as_str()).collect();
    assert_eq!(paths, ["raw", "raw/deep"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_no_part_of_the_answer() {
    let folder = folder(&[("a.jpg", JPEG)]);
    let path = folder.path().join("a.jpg");
    let grow = |_| {
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        ControlFlow::Continue(())
    };
    let scan = scan(folder.path(), &named("dog"), &grow).unwrap().unwrap();
    assert_eq!(*state_of(&scan, "a.jpg"), Content::Unreadable("it changed while it was read".to_owned()));
}

#[test]
fn a_scan_ends_when_it_is_asked_to() {
    let names: Vec<String> = (0..100).map(|at| format!("{at}.jpg")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), JPEG)).collect();
    let folder = folder(&files);
    let calls = AtomicU32::new(0);
    let stop = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Break(())
    };
    assert_eq!(scan(folder.path(), &named("dog"), &stop).unwrap(), None);
    assert!(calls.into_inner() <= 2 * MAX_THREADS as u32, "each thread ends at its next call");
}

#[test]
fn progress_reaches_the_end() {
    let folder = folder(&[("a.jpg", JPEG), ("b.png", PNG)]);
    let last = Mutex::new(ScanProgress::default());
    let note = |progress: ScanProgress| {
        let mut last = last.lock().unwrap();
        if progress.files >= last.files && progress.bytes >= last.bytes {
            *last = progress;
        }
        ControlFlow::Continue(())
    };
    scan(folder.path(), &named("dog"), &note).unwrap();
    let last = last.into_inner().unwrap();
    assert_eq!((last.files, last.bytes), (last.of_files, last.of_bytes));
    assert_eq!(last.of_bytes, (JPEG.len() + PNG.len()) as u64);
}

#[test]
fn a_folder_that_cannot_be_listed_is_an_error() {
    let folder = folder(&[("a.jpg", JPEG)]);
    let code = |path: &Path| scan(path, &ScanOptions::default(), &on).unwrap_err().exit_status().code();
    assert_eq!(code(&folder.path().join("nothing")), 66);
    assert_eq!(code(&folder.path().join("a.jpg")), 65);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_nothing_but_regular_files_is_opened() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[("real/a.jpg", JPEG)]);
    let (inside, real) = (folder.path().join("dog"), folder.path().join("real"));
    fs::create_dir(&inside).unwrap();
    symlink(real.join("a.jpg"), inside.join("a.jpg")).unwrap();
    symlink(real.join("gone.jpg"), inside.join("gone.jpg")).unwrap();
    symlink(&real, inside.join("folder")).unwrap();
    symlink(&inside, inside.join("loop")).unwrap();
    let fifo = inside.join("pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let scan = scan(&inside, &ScanOptions::default(), &on).unwrap().unwrap();
    assert_eq!(scan.name, "dog");
    assert!(matches!(state_of(&scan, "a.jpg"), Content::Media(media) if media.state == MediaState::Whole));
    assert_eq!(*state_of(&scan, "gone.jpg"), Content::NoFile);
    assert_eq!(*state_of(&scan, "pipe.jpg"), Content::NoFile);
    let paths: Vec<&str> = scan.subfolders.iter().map(|folder| folder.path.as_str()).collect();
    assert_eq!(paths, ["folder", "loop"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_text_is_a_finding() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = folder(&[]);
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"gr\xf6.jpg")), JPEG).unwrap();
    let scan = scanned(&folder, &named("dog"));
    assert_eq!(scan.files[0].content, Content::NameNotUtf8);
    let report = check(&scan, None);
    assert!(report.findings.iter().any(|finding| finding.code == Code::NameEncoding));
}
