use std::path::PathBuf;

use proptest::prelude::*;

use crate::decide::datasets::scan::Dimensions;
use crate::decide::datasets::{Severity, Subfolder};
use crate::model::digest::Sha256Digest;

use super::*;

/// A picture, clip or sound that is whole, and a caption that has words: by the name.
fn file(name: &str) -> ScannedFile {
    let content = match MediaKind::of(name) {
        Some(kind) => Content::Media(Media {
            kind,
            state: MediaState::Whole,
            dimensions: (kind == MediaKind::Picture).then_some(Dimensions { width: 1024, height: 768 }),
            is_really: None,
        }),
        None if name.ends_with(".txt") => Content::Caption(words(false, false, false)),
        None => Content::Other,
    };
    let path = PathBuf::from(name);
    ScannedFile { name: name.to_owned(), path, size: 10, modified: None, sha256: None, content }
}

fn words(is_blank: bool, has_trigger: bool, has_mark: bool) -> Caption {
    Caption::Text { is_blank, has_trigger, has_mark }
}

fn scan(names: &[&str]) -> Scan {
    let files = names.iter().map(|name| file(name)).collect();
    Scan { folder: "dog".into(), name: "dog".into(), caption_ext: ".txt".into(), files, ..Scan::default() }
}

fn with(names: &[&str], at: usize, content: Content) -> Scan {
    let mut scan = scan(names);
    scan.files[at].content = content;
    scan
}

fn broken(state: MediaState) -> Content {
    Content::Media(Media { kind: MediaKind::Picture, state, dimensions: None, is_really: None })
}

fn sized(width: u32, height: u32) -> Content {
    let dimensions = Some(Dimensions { width, height });
    Content::Media(Media { kind: MediaKind::Picture, state: MediaState::Whole, dimensions, is_really: None })
}

fn config(lines: &str) -> TrainingConfig {
    let text = format!(
        "job: extension\nconfig:\n  name: x\n  process:\n  - type: sd_trainer\n    datasets:\n    - folder_path: /app/ai-toolkit/datasets/dog\n{lines}"
    );
    TrainingConfig::parse(&text).unwrap()
}

fn found(report: &Report) -> Vec<(Code, &str)> {
    report.findings.iter().map(|finding| (finding.code, finding.path.as_str())).collect()
}

#[test]
fn a_folder_of_pictures_with_captions_is_right() {
    let report = check(&scan(&["a.jpg", "a.txt", "b.b.PNG", "b.b.txt", "c.mp4", "c.txt"]), None);
    assert_eq!(found(&report), []);
    let Counts { pictures, clips, captions, files, bytes, .. } = report.counts;
    assert_eq!((pictures, clips, captions, files, bytes), (2, 1, 3, 6, 60));
}

#[test]
fn each_thing_that_is_wrong_is_one_finding() {
    const PAIR: [&str; 2] = ["a.jpg", "a.txt"];
    for (scan, expected) in [
        (scan(&[]), (Code::NoMedia, ".")),
        (with(&PAIR, 0, broken(MediaState::Empty)), (Code::EmptyMedia, "a.jpg")),
        (with(&PAIR, 0, broken(MediaState::Broken("cut".into()))), (Code::BrokenMedia, "a.jpg")),
        (with(&PAIR, 0, Content::NoFile), (Code::Unreadable, "a.jpg")),
        (with(&PAIR, 0, Content::Unreadable("no".into())), (Code::Unreadable, "a.jpg")),
        (with(&PAIR, 0, Content::NameNotUtf8), (Code::NameEncoding, "a.jpg")),
        (with(&PAIR, 0, sized(2000, 200)), (Code::SmallPicture, "a.jpg")),
        (
            with(&PAIR, 1, Content::Caption(Caption::NotUtf8 { offset: 5, byte: 0x92, is_utf16: false })),
            (Code::CaptionEncoding, "a.txt"),
        ),
        (with(&PAIR, 1, Content::Caption(Caption::NotJson("no".into()))), (Code::CaptionJson, "a.txt")),
        (with(&PAIR, 1, Content::Caption(words(true, false, false))), (Code::BlankCaption, "a.txt")),
        (with(&PAIR, 1, Content::Caption(words(false, false, true))), (Code::CaptionMark, "a.txt")),
        (scan(&["a.jpg", "a.png", "a.txt"]), (Code::SameStem, "a.png")),
        (scan(&["A.jpg", "A.txt", "b.jpg", "b.txt", "a.jpg", "a.txt"]), (Code::SameName, "a.jpg")),
        (scan(&["a.jpg"]), (Code::NoCaption, "a.jpg")),
        (scan(&["a.jpg", "a.txt", "b.txt"]), (Code::NoPicture, "b.txt")),
        (scan(&["a.jpg", "a.txt", "b.HEIC"]), (Code::UnusedKind, "b.HEIC")),
        (scan(&["a.jpg", "a.txt", "notes.docx"]), (Code::UnusedKind, "notes.docx")),
        (scan(&["a b.jpg", "a b.txt"]), (Code::OddName, "a b.jpg")),
        (scan(&["🐶.jpg", "🐶.txt"]), (Code::OddName, "🐶.jpg")),
    ] {
        let report = check(&scan, None);
        let of_it: Vec<_> = found(&report).into_iter().filter(|(code, _)| *code == expected.0).collect();
        assert_eq!(of_it.first(), Some(&expected), "{:?}", found(&report));
        let finding = report.findings.iter().find(|it| it.code == expected.0).unwrap();
        assert!(!finding.what.is_empty() && finding.cure != Cure::Text(String::new()), "{finding:?}");
        assert_eq!(report.errors() > 0, finding.severity() == Severity::Error, "{:?}", found(&report));
    }
}

#[test]
fn two_names_that_differ_in_case_or_form_alone_are_one_name() {
    for (first, second) in
        [("Dog.JPG", "dog.jpg"), ("gr\u{f6}.jpg", "gro\u{308}.jpg"), ("STRASSE.png", "straße.png")]
    {
        let report = check(&scan(&[first, second]), None);
        let same: Vec<_> = report.findings.iter().filter(|it| it.code == Code::SameName).collect();
        assert_eq!(same.len(), 1, "{first} {second}: {:?}", found(&report));
        assert!(same[0].path == second && same[0].what.contains(first), "{:?}", same[0]);
    }
}

#[test]
fn folders_in_the_folder_are_refused_with_what_is_in_them() {
    let below = Subfolder { path: "raw".into(), files: vec!["a.jpg".into(), "z.jpg".into()] };
    let scan = Scan { subfolders: vec![below], ..scan(&["a.jpg", "a.txt"]) };
    let report = check(&scan, None);
    assert_eq!(found(&report), [(Code::SameName, "raw/a.jpg"), (Code::Subfolder, "raw")]);
    assert!(report.findings[1].what.contains("2 files"));
    let only = Scan { files: Vec::new(), ..scan };
    assert_eq!(found(&check(&only, None)), [(Code::NoMedia, "."), (Code::Subfolder, "raw")]);
}

#[test]
fn a_folder_of_a_phones_pictures_has_one_error_and_a_cure() {
    let report = check(&scan(&["IMG_1.HEIC", "IMG_2.HEIC", "IMG_3.heic", "IMG_3.gif"]), None);
    let errors: Vec<_> = report.findings.iter().filter(|it| it.severity() == Severity::Error).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].what.contains("3 HEIC"), "{}", errors[0].what);
    assert!(
        matches!(&errors[0].cure, Cure::Text(cure) if cure.contains("convert them to JPEG")),
        "{:?}",
        errors[0].cure
    );
}

#[test]
fn the_datasets_name_is_part_of_the_check() {
    for (name, is_right) in
        [("dog", true), ("Dog_1-a", true), ("my dog", false), ("größe", false), ("", false), (".x", false)]
    {
        let report = check(&Scan { name: name.into(), ..scan(&["a.jpg", "a.txt"]) }, None);
        assert_eq!(found(&report).contains(&(Code::DatasetName, ".")), !is_right, "{name}");
        assert!(is_safe_name(&safe_name(name)), "{name}");
    }
    assert_eq!(safe_name("my dog's photos (2)"), "my-dog-s-photos-2");
}

#[test]
fn the_same_bytes_twice_are_reported_with_the_first() {
    let mut scan = scan(&["a.jpg", "b.jpg", "c.jpg", "d.jpg", "a.txt", "b.txt", "c.txt", "d.txt"]);
    for at in [0, 2, 3, 4, 5] {
        scan.files[at].sha256 = Some(Sha256Digest::new([7; 32]));
    }
    let report = check(&scan, None);
    assert_eq!(
        found(&report),
        [(Code::SameBytes, "c.jpg"), (Code::SameBytes, "d.jpg")],
        "captions may be equal"
    );
    assert!(report.findings[0].what.contains("a.jpg"));
}

#[test]
fn captions_under_another_extension_are_one_finding() {
    let names = ["a.jpg", "a.caption", "b.jpg", "b.caption", "c.jpg"];
    assert_eq!(found(&check(&scan(&names), None)), [(Code::CaptionExtension, ".")]);
    let mut right = Scan { caption_ext: ".caption".into(), ..scan(&names) };
    for at in [1, 3] {
        right.files[at].content = Content::Caption(words(false, false, false));
    }
    assert_eq!(found(&check(&right, None)), [(Code::NoCaption, "c.jpg")]);
    // On the trainer's disk the case of an extension counts.
    assert_eq!(
        found(&check(&scan(&["a.jpg", "a.TXT"]), None)),
        [(Code::CaptionExtension, "a.TXT"), (Code::NoCaption, "a.jpg")]
    );
}

#[test]
fn the_configuration_decides_what_fits() {
    let clip = ["a.jpg", "a.txt", "c.mp4", "c.txt"];
    let trigger = with(&["a.jpg", "a.txt"], 1, Content::Caption(words(false, true, false)));
    let small = with(&["a.jpg", "a.txt"], 0, sized(500, 500));
    let other = Scan { name: "cat".into(), ..scan(&["a.jpg", "a.txt"]) };
    for (scan, lines, expected) in [
        (scan(&clip), "", vec![(Code::ClipsUnused, "c.mp4")]),
        (scan(&clip), "      num_frames: 41\n", vec![]),
        (scan(&clip), "      auto_frame_count: true\n", vec![]),
        (scan(&clip[2..]), "", vec![(Code::NoMedia, "."), (Code::ClipsUnused, "c.mp4")]),
        (trigger.clone(), "", vec![(Code::NoTriggerWord, "a.txt")]),
        (trigger.clone(), "      trigger_word: d0gx\n", vec![]),
        (trigger, "    trigger_word: d0gx\n", vec![]),
        (small.clone(), "      resolution: 1024\n", vec![(Code::SmallPicture, "a.jpg")]),
        (small.clone(), "      resolution: [512, 1024]\n", vec![]),
        (small, "", vec![]),
        (scan(&["a.jpg"]), "      default_caption: a dog\n", vec![]),
        (scan(&["a.jpg"]), "      default_caption: ''\n", vec![(Code::NoCaption, "a.jpg")]),
        (other, "", vec![(Code::NotInConfig, ".")]),
    ] {
        let report = check(&scan, Some(&config(lines)));
        assert_eq!(found(&report), expected, "{lines}");
    }
}

#[test]
fn control_images_and_masks_are_matched_by_the_name_before_the_dot() {
    let config = config(
        "      control_path: /app/ai-toolkit/datasets/dog_control\n      mask_path: /app/ai-toolkit/datasets/masks\n",
    );
    let scan = scan(&["a.jpg", "a.txt", "b.jpg", "b.txt"]);
    let companion = |name: &str, stems: &[&str]| Companion {
        name: name.to_owned(),
        stems: stems.iter().map(|stem| (*stem).to_owned()).collect(),
    };
    assert_eq!(found(&check_with(&scan, Some(&config), &[companion("dog_control", &["a", "b"])])), []);
    let report = check_with(
        &scan,
        Some(&config),
        &[companion("dog_control", &["a", "x"]), companion("masks", &["b", "a"])],
    );
    assert_eq!(found(&report), [(Code::NoCompanion, "b.jpg"), (Code::UnusedCompanion, "dog_control/x")]);
    // The folder of control images itself needs no captions.
    let controls = Scan { name: "dog_control".into(), ..self::scan(&["a.png"]) };
    assert_eq!(found(&check(&controls, Some(&config))), []);
}

fn any_content() -> impl Strategy<Value = Content> {
    let kind = prop_oneof![Just(MediaKind::Picture), Just(MediaKind::Clip), Just(MediaKind::Sound)];
    let state = prop_oneof![
        Just(MediaState::Whole),
        Just(MediaState::Unchecked),
        Just(MediaState::Empty),
        "\\PC{1,8}".prop_map(MediaState::Broken)
    ];
    let size = proptest::option::of(
        (any::<u32>(), any::<u32>()).prop_map(|(width, height)| Dimensions { width, height }),
    );
    let media = (kind, state, size).prop_map(|(kind, state, dimensions)| {
        Content::Media(Media { kind, state, dimensions, is_really: Some("PNG") })
    });
    let caption =
        prop_oneof![
            (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c)| words(a, b, c)),
            (any::<u64>(), any::<u8>(), any::<bool>())
                .prop_map(|(offset, byte, is_utf16)| Caption::NotUtf8 { offset, byte, is_utf16 }),
            "\\PC{0,8}".prop_map(Caption::NotJson)
        ];
    prop_oneof![
        media,
        caption.prop_map(Content::Caption),
        Just(Content::Other),
        Just(Content::NoFile),
        Just(Content::NameNotUtf8),
        "\\PC{0,8}".prop_map(Content::Unreadable)
    ]
}

proptest! {
    #[test]
    fn no_folder_is_too_odd(
        named in proptest::collection::vec(("\\PC{0,6}(\\.(jpg|PNG|txt|mp4|heic|caption|json|))?", any::<u64>(), any_content()), 0..12),
        subfolders in proptest::collection::vec(("\\PC{0,6}", proptest::collection::vec("\\PC{0,6}", 0..3)), 0..3),
        name in "\\PC{0,8}",
        caption_ext in "\\.?\\PC{0,4}",
        lines in prop_oneof![Just(""), Just("      control_path: /app/ai-toolkit/datasets/dog\n      resolution: [0, 18446744073709551615]\n")],
    ) {
        let file = |(name, size, content): (String, u64, Content)| {
            let sha256 = Some(Sha256Digest::new([(size % 3) as u8; 32]));
            ScannedFile { path: PathBuf::from(&name), name, size, modified: None, sha256, content }
        };
        let files = named.into_iter().map(file).collect();
        let subfolders = subfolders.into_iter().map(|(path, files)| Subfolder { path, files }).collect();
        let scan = Scan { folder: PathBuf::new(), name, caption_ext, files, subfolders, skipped: 0 };
        let trained = Scan { name: "dog".into(), ..scan.clone() };
        for (scan, config) in [(&scan, None), (&scan, Some(config(lines))), (&trained, Some(config(lines)))] {
            let report = check_with(scan, config.as_ref(), &[trained.companion()]);
            prop_assert!(report.findings.windows(2).all(|two| two[0].severity() <= two[1].severity()));
            prop_assert!(report.findings.iter().all(|finding| !finding.what.is_empty() && finding.cure != Cure::Text(String::new())));
            prop_assert_eq!(report.errors() + report.warnings(), report.findings.len());
        }
    }
}
