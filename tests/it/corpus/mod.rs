//! Replays the fuzzers' corpora: what they found once, and what they began with. `fuzz/` throws new bytes at the same
//! functions.

mod targets;

use std::path::Path;

#[test]
fn whatever_was_found_once_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> =
            corpora.join(name).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "`{name}` has no corpus");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let played = std::panic::catch_unwind(|| {
                target(&bytes);
                // Every cut of it is an input, too; of long ones some.
                (0..bytes.len()).step_by(bytes.len() / 64 + 1).for_each(|length| target(&bytes[..length]));
            });
            assert!(played.is_ok(), "{name}: {}", file.display());
        }
    }
}
