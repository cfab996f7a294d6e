//! What holds for every format.

use proptest::prelude::*;

use super::samples::{WHOLE, check, check_in_chunks, whole};
use super::*;
use crate::model::bad_format::BadFormat;

fn broken(format: Format, bytes: &[u8]) -> (String, bool) {
    match check(format, bytes) {
        Verdict::Broken(defect) => (defect.to_string(), defect.is_truncation()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_format_follows_from_the_name() {
    assert_eq!(Format::of("a.b.SafeTensors"), Format::Safetensors);
    assert_eq!(Format::of("1724085406830__000000500_0.JPG"), Format::Jpeg);
    assert_eq!(Format::of("config.yml"), Format::Yaml);
    for other in ["optimizer.pt", "png", "a.png.part", "", "a.", "x.ogg"] {
        assert_eq!(Format::of(other), Format::Unknown, "{other}");
    }
}

#[test]
fn whole_files_are_whole() {
    for (name, bytes) in WHOLE {
        assert_eq!(check(Format::of(name), bytes), Verdict::Whole, "{name}");
    }
}

#[test]
fn a_format_is_recognised_by_its_bytes_whatever_the_name() {
    for (name, bytes) in WHOLE {
        for other in ["a.png", "a.webp", "a.mp4", "a.wav", "a.bin", "a"] {
            let by_name_alone = ["safetensors", "yaml"].iter().any(|end| name.ends_with(end));
            let verdict = check(Format::of(other), bytes);
            assert!(verdict == Verdict::Whole || by_name_alone, "{name} as {other}: {verdict:?}");
        }
    }
    let picture = whole("image.png");
    assert!(
        matches!(check(Format::Safetensors, picture), Verdict::Broken(_)),
        "no loader takes it under that name"
    );
}

#[test]
fn a_cut_file_is_unfinished_wherever_it_is_cut() {
    for (name, bytes) in WHOLE {
        for length in 0..bytes.len() {
            let verdict = check(Format::of(name), &bytes[..length]);
            // Where a fragment ends, a video of fragments may end too.
            let at_fragment = name == "fragmented.mp4" && verdict == Verdict::Plausible;
            // So may sound end where a page does, as not every encoder marks the last one.
            let at_page = name.ends_with(".ogg") && verdict == Verdict::Plausible;
            // The name decides nothing, and too few bytes are here to decide it.
            let is_unknown = length < sniff::ENOUGH && verdict == Verdict::Unchecked;
            assert!(
                verdict.is_unfinished() || at_fragment || at_page || is_unknown,
                "{name} at {length}: {verdict:?}"
            );
        }
    }
}

#[test]
fn a_longer_file_is_not_whole() {
    for (name, bytes) in WHOLE {
        for more in [&b"\0"[..], b"x", &[0; 4096], bytes] {
            let verdict = check(Format::of(name), &[bytes, more].concat());
            assert_ne!(verdict, Verdict::Whole, "{name} and {} bytes", more.len());
        }
    }
}

#[test]
fn a_file_of_full_length_whose_rest_is_not_written_yet_is_unfinished() {
    for (name, bytes) in WHOLE {
        let zeros = vec![0; 2 * bytes.len().max(UNWRITTEN as usize)];
        let is_known_by_name = Format::of(name) != Format::Unknown && !name.ends_with(".mp3");
        assert!(check(Format::of(name), &zeros).is_unfinished() || !is_known_by_name, "{name}");
        let mut half = zeros;
        half[..bytes.len() / 2].copy_from_slice(&bytes[..bytes.len() / 2]);
        let verdict = check(Format::of(name), &half);
        // What lies in the middle of a body cannot be distinguished from zeros that belong there: only its hash can.
        let is_known_by_name = is_known_by_name && !name.ends_with(".safetensors");
        assert!(verdict.is_unfinished() || !is_known_by_name, "{name}: {verdict:?}");
        assert_ne!(verdict, Verdict::Whole, "{name}");
        // The length alone proves nothing either.
        let mut full = bytes.to_vec();
        if full.len() > 2 * UNWRITTEN as usize && !is_known_by_name && !name.ends_with(".safetensors") {
            let from = full.len() - UNWRITTEN as usize;
            full[from..].fill(0);
            assert_ne!(check(Format::of(name), &full), Verdict::Whole, "{name}");
        }
    }
}

#[test]
fn an_error_page_is_called_by_its_name_under_any_name() {
    let html = "it is an HTML page";
    let xml = "it is an XML error document";
    for name in
        ["a.safetensors", "a.png", "a.jpg", "a.webp", "a.wav", "a.gif", "a.mp4", "a.yaml", "optimizer.pt"]
    {
        let format = Format::of(name);
        assert_eq!(broken(format, b"<!DOCTYPE html><p>502"), (html.to_owned(), false), "{name}");
        assert_eq!(broken(format, b"\xef\xbb\xbf\r\n <HTML>"), (html.to_owned(), false), "{name}");
        let denied = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code></Error>";
        assert_eq!(broken(format, denied), (xml.to_owned(), false), "{name}");
        assert_eq!(broken(format, b"<Error><Code>Gone"), (xml.to_owned(), false), "{name}");
        assert_eq!(broken(format, b""), ("it is empty".to_owned(), true), "{name}");
    }
    assert_eq!(check(Format::of("page.html"), b"<!doctype html>"), Verdict::Unchecked);
    assert_eq!(check(Format::of("optimizer.pt"), b"\x80\x02}q\x00."), Verdict::Unchecked, "an older kind");
}

#[test]
fn a_wrong_beginning_is_quoted_however_it_came() {
    for sizes in [&[1_usize][..], &[3], &[usize::MAX]] {
        let verdict = check_in_chunks(Format::Png, b"{\"error_code\":\n40401}, and more", sizes);
        let begins = "{\"error_code\":\\x0a4".to_owned();
        let kind = BadFormat::OtherBeginning { begins, expected: "a PNG signature" };
        assert_eq!(verdict, Verdict::Broken(Defect::of(kind)));
    }
}

#[test]
fn a_file_of_which_only_a_part_was_fed_proves_nothing() {
    let mut checker = Checker::new(Format::Png);
    checker.feed(whole("image.png"));
    let verdict = checker.finish(1_000_000);
    assert!(verdict.is_unfinished(), "{verdict:?}");
}

#[test]
fn trailing_zeros_are_counted_over_chunks() {
    let mut checker = Checker::new(Format::Unknown);
    for (chunk, zeros) in [
        (&b"ab\0"[..], 1),
        (&[0; 200], 201),
        (b"", 201),
        (b"x", 0),
        (&[[1; 100], [0; 100]].concat(), 100),
        (b"\0", 101),
    ] {
        checker.feed(chunk);
        assert_eq!(checker.trailing_zeros(), zeros);
    }
}

#[test]
fn a_defect_is_bounded_and_harmless_to_a_terminal() {
    let defect = Defect::new(&"\u{1b}[2Jx\n".repeat(1000));
    assert_eq!(defect.to_string().chars().count(), 300);
    assert!(!defect.to_string().contains(char::is_control));
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_the_chunks(
        sample in 0..WHOLE.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        more in prop::collection::vec(any::<u8>(), 0..40),
        sizes in prop::collection::vec(1_usize..400, 1..8),
    ) {
        let (name, bytes) = WHOLE[sample];
        let mut bytes = bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(more);
        let format = Format::of(name);
        let verdict = check(format, &bytes);
        prop_assert_eq!(&check_in_chunks(format, &bytes, &[1]), &verdict, "{}", name);
        prop_assert_eq!(&check_in_chunks(format, &bytes, &sizes), &verdict, "{}", name);
    }

    #[test]
    fn noise_is_never_whole(noise in prop::collection::vec(any::<u8>(), 0..600), sample in 0..WHOLE.len(), kept in 0_usize..60) {
        let (name, bytes) = WHOLE[sample];
        let mut file = bytes[..kept.min(bytes.len() - 1)].to_vec();
        file.extend(noise);
        if file.starts_with(bytes) || name.ends_with(".safetensors") {
            return Ok(());
        }
        let verdict = check(Format::of(name), &file);
        // An MP4, WAV or WebP only has to add up, which noise behind a head of just this length may do.
        prop_assert!(verdict != Verdict::Whole || name.ends_with(".wav") || name.ends_with(".webp"), "{}: {:?}", name, verdict);
    }
}
