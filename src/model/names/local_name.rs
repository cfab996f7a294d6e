//! From a hosted file's URL path to the name that the trainer gave it, and what that name says.
//!
//! A trainer writes everything of a job into `output/<job name>/`; the host shows that folder at the end of
//! some path of its own. What follows the job's folder is the name that a local trainer would look for.

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

use crate::model::artifact::kind::ArtifactKind;
use crate::model::names::component::split_extension;

use super::rel_path::RelPath;

/// Where the trainer keeps its jobs' folders.
const OUTPUT: &str = "output";

/// Where the trainer keeps a job's samples, inside the job's folder.
pub(crate) const SAMPLES: &str = "samples";

/// No training has ten million steps. Eight digits that say so are a date.
const MAX_STEP: u64 = 9_999_999;

/// Returns the local path that belongs to a URL's path, or `None` where that names no file.
pub(crate) fn local_path(kind: ArtifactKind, url_path: &str, job_name: Option<&str>) -> Option<RelPath> {
    let segments = segments(url_path.strip_prefix('/').unwrap_or(url_path));
    let inside_job = job_name.and_then(|name| after_job_folder(&segments, name));
    let own = match (kind, inside_job) {
        (ArtifactKind::Checkpoint | ArtifactKind::Config, inside) => {
            inside.unwrap_or_else(|| last(&segments))
        }
        (ArtifactKind::Sample, Some(inside)) => match inside.split_first() {
            Some((first, rest)) if names_something(rest) && is_named(first, SAMPLES) => rest,
            _ => inside,
        },
        (ArtifactKind::Sample, None) => after_last(&segments, SAMPLES).unwrap_or_else(|| last(&segments)),
    };
    if !names_something(own) {
        return None;
    }
    match kind {
        ArtifactKind::Checkpoint | ArtifactKind::Config => RelPath::from_remote(own),
        ArtifactKind::Sample => RelPath::from_remote(&[&[SAMPLES], own].concat()),
    }
}

/// Returns the training step that a checkpoint's name, or a folder on the way to it, ends in:
/// `<name>_000000250.safetensors`, `<name>_000000250_high_noise.safetensors`, `<name>_000000250/…`.
pub(crate) fn checkpoint_step(url_path: &str, job_name: Option<&str>) -> Option<u64> {
    let segments = segments(url_path);
    let (file, folders) = segments.split_last()?;
    let file = decoded(file);
    let in_folder = |folder: &&str| step_at_end(&decoded(folder), job_name);
    step_at_end(split_extension(&file).0, job_name).or_else(|| {
        // Without the job's folder it is unknown where the host's own folders end.
        let inside = job_name.and_then(|name| after_job_folder(&segments, name)).map_or(1, <[&str]>::len);
        folders.iter().rev().take(inside - 1).find_map(in_folder)
    })
}

/// Returns the step and the prompt's number in a sample's name, `<milliseconds>__<step>_<number>.<extension>`.
pub(crate) fn sample_step(url_path: &str) -> Option<(u64, u64)> {
    let file = decoded(last_segment(url_path));
    let (_, numbers) = split_extension(&file).0.rsplit_once("__")?;
    let (step, number) = numbers.split_once('_')?;
    let read =
        |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    Some((read(step)?, read(number)?))
}

/// Returns when a sample was done by the trainer's clock, in milliseconds since 1970: what its name begins with.
pub(crate) fn sample_time(url_path: &str) -> Option<i64> {
    let file = decoded(last_segment(url_path));
    let (time, _) = file.split_once("__")?;
    // Thirteen digits end in the year 2286; fewer are no time that a sample was drawn at.
    (time.len() == 13 && time.bytes().all(|byte| byte.is_ascii_digit())).then(|| time.parse().ok())?
}

/// Returns the segments of a URL's path. A slash that is percent-encoded separates too: object stores hand out keys with their
/// slashes encoded, and no file name of a trainer has one in it. Encoded twice it is part of a name.
pub(crate) fn segments(url_path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let mut rest = url_path;
    while let Some((at, length)) = separator(rest) {
        segments.push(&rest[..at]);
        rest = &rest[at + length..];
    }
    segments.push(rest);
    segments
}

/// Returns the last segment of a URL's path.
pub(crate) fn last_segment(url_path: &str) -> &str {
    let mut rest = url_path;
    while let Some((at, length)) = separator(rest) {
        rest = &rest[at + length..];
    }
    rest
}

/// Returns where the first separator is, and its length.
fn separator(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    memchr::memchr2_iter(b'/', b'%', bytes).find_map(|at| match bytes[at] {
        b'/' => Some((at, 1)),
        _ => bytes.get(at..at + 3).is_some_and(|code| code.eq_ignore_ascii_case(b"%2f")).then_some((at, 3)),
    })
}

/// Returns the trainer's own name for a file: the last segment, decoded. Text for comparing, never for a disk.
pub(crate) fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Whether a percent-encoded segment spells `name`, in whatever normalisation.
pub(crate) fn is_named(segment: &str, name: &str) -> bool {
    segment == name
        || percent_decode_str(segment)
            .decode_utf8()
            .is_ok_and(|text| text == name || (!name.is_ascii() && text.nfc().eq(name.nfc())))
}

/// Returns what follows the job's folder: the first folder of that name inside `output`, else the last one.
///
/// A job may be called `output`, `samples` or `transformer`, like folders before and after its own.
fn after_job_folder<'a, 'b>(segments: &'a [&'b str], name: &str) -> Option<&'a [&'b str]> {
    if name.is_empty() {
        return None;
    }
    let is_in_output =
        |at: &usize| at.checked_sub(1).is_some_and(|before| is_named(segments[before], OUTPUT));
    let mut inside_output = None;
    let mut anywhere = None;
    for at in (0..segments.len()).filter(|at| is_named(segments[*at], name)) {
        if names_something(&segments[at + 1..]) {
            anywhere = Some(at);
            inside_output = inside_output.or_else(|| Some(at).filter(is_in_output));
        }
    }
    inside_output.or(anywhere).map(|at| &segments[at + 1..])
}

fn after_last<'a, 'b>(segments: &'a [&'b str], name: &str) -> Option<&'a [&'b str]> {
    let folder = segments.iter().rposition(|segment| is_named(segment, name))?;
    Some(&segments[folder + 1..]).filter(|rest| names_something(rest))
}

fn last<'a, 'b>(segments: &'a [&'b str]) -> &'a [&'b str] {
    &segments[segments.len().saturating_sub(1)..]
}

/// Whether the last segment is a name; a path that ends in `/` is a folder's.
fn names_something(segments: &[&str]) -> bool {
    segments.last().is_some_and(|name| !name.is_empty())
}

fn step_at_end(stem: &str, job_name: Option<&str>) -> Option<u64> {
    let after_name = job_name.filter(|name| !name.is_empty()).and_then(|name| stem.strip_prefix(name));
    // The job's own name may end in digits, so they count for less where it cannot be distinguished from the rest.
    // The trainer pads to nine digits; the API's documentation shows eight.
    let (text, least_digits) = after_name.map_or((stem, 8), |rest| (rest, 6));
    let is_step = |piece: &&str| {
        (least_digits..=12).contains(&piece.len()) && piece.bytes().all(|byte| byte.is_ascii_digit())
    };
    let digits = text.split('_').skip(1).filter(is_step).last()?;
    digits.parse().ok().filter(|step| *step <= MAX_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_folder_is_found_among_its_namesakes() {
        use ArtifactKind::{Checkpoint, Config, Sample};
        for (kind, job, url_path, local) in [
            (
                Checkpoint,
                "foo",
                "/u/7/ai-toolkit/output/foo/foo_000000250.safetensors",
                "foo_000000250.safetensors",
            ),
            (
                Checkpoint,
                "foo",
                "/o/foo/foo_000000250/transformer/a.safetensors",
                "foo_000000250/transformer/a.safetensors",
            ),
            (
                Checkpoint,
                "transformer",
                "/output/transformer/transformer_1/transformer/a.b",
                "transformer_1/transformer/a.b",
            ),
            (Checkpoint, "foo", "/output/foo/foo/transformer/a.safetensors", "foo/transformer/a.safetensors"),
            (Checkpoint, "foo", "/cdn/foo/output/foo/a.safetensors", "a.safetensors"),
            (Checkpoint, "output", "/ai-toolkit/output/output/output.safetensors", "output.safetensors"),
            (
                Checkpoint,
                "samples",
                "/output/samples/samples_000000250.safetensors",
                "samples_000000250.safetensors",
            ),
            (Checkpoint, "foo", "/trainers/x9/foo", "foo"),
            (Checkpoint, "foo", "/trainers/x9/foo.safetensors", "foo.safetensors"),
            (
                Checkpoint,
                "my lora é",
                "/output/my%20lora%20e%cc%81/my%20lora.safetensors",
                "my lora.safetensors",
            ),
            (Checkpoint, "", "/a//b.safetensors", "b.safetensors"),
            (Checkpoint, "foo", "/output/foo/samples/a.safetensors", "samples/a.safetensors"),
            (Config, "foo", "/output/resolved_config.yaml", "resolved_config.yaml"),
            (Config, "foo", "/output/foo/config.yaml", "config.yaml"),
            (Sample, "foo", "/output/foo/samples/1__000000500_0.jpg", "samples/1__000000500_0.jpg"),
            (Sample, "foo", "/output/foo/samples/samples/x.jpg", "samples/samples/x.jpg"),
            (Sample, "samples", "/output/samples/samples/x.jpg", "samples/x.jpg"),
            (Sample, "samples", "/cdn/samples/samples/x.jpg", "samples/x.jpg"),
            (Sample, "foo", "/output/foo/other/x.jpg", "samples/other/x.jpg"),
            (Sample, "foo", "/output/foo/samples", "samples/samples"),
            (Sample, "foo", "/a/samples/b/samples/c/x.jpg", "samples/c/x.jpg"),
            (Sample, "foo", "/a/b/x.jpg", "samples/x.jpg"),
            (
                Checkpoint,
                "foo",
                "/o/train%2Fusers%2Fx%2Foutput%2ffoo%2Ffoo_000000250.safetensors",
                "foo_000000250.safetensors",
            ),
            (Checkpoint, "foo", "/o/output%2Ffoo%2Ffoo_000000250%2Fvae%2Fa.b", "foo_000000250/vae/a.b"),
            (Sample, "foo", "/o/output%2Ffoo%2Fsamples%2F1__000000500_0.jpg", "samples/1__000000500_0.jpg"),
            (Config, "foo", "/o/output%2Ffoo%2Fconfig.yaml", "config.yaml"),
            (Checkpoint, "foo", "/output/foo/a%252Fb.pt", "a%2Fb.pt"),
        ] {
            let path = local_path(kind, url_path, Some(job));
            assert_eq!(path.as_ref().map(RelPath::as_str), Some(local), "{kind} {job} {url_path}");
        }
        for no_file in ["/", "//", "/output/foo/", "/a/samples/", "/output%2Ffoo%2F", "/%2F"] {
            assert_eq!(local_path(Sample, no_file, Some("foo")), None, "{no_file}");
            assert_eq!(local_path(Checkpoint, no_file, None), None, "{no_file}");
        }
    }

    #[test]
    fn steps_in_names() {
        for (job, url_path, step) in [
            ("x", "/output/x/x_000000250.safetensors", Some(250)),
            ("x", "/output/x/x_000000000.safetensors", Some(0)),
            ("x", "/output/x/x_000000250_high_noise.safetensors", Some(250)),
            ("x", "/output/x/x_LoRA_000000250.safetensors", Some(250)),
            ("x", "/output/x/x_000250.safetensors", Some(250)),
            ("x", "/output/x/x_000000250/transformer/a-00001-of-00002.safetensors", Some(250)),
            ("x", "/output/x/CRITIC_x_000000250.safetensors", Some(250)),
            ("x", "/output/x/trigger_000000250.pt", Some(250)),
            ("", "/output/dog_portrait_lora_00000100.safetensors", Some(100)),
            ("my lora", "/output/my%20lora/my%20lora%5f000000250.safetensors", Some(250)),
            ("my_lora_20260101", "/output/my_lora_20260101.safetensors", None),
            ("my_lora_20260101", "/o/my_lora_20260101/my_lora_20260101_000000250.safetensors", Some(250)),
            ("my_lora_00000100", "/o/my_lora_00000100/my_lora_00000100.safetensors", None),
            ("my_lora_00000100", "/o/my_lora_00000100/my_lora_00000100/vae/a.safetensors", None),
            ("", "/output/my_lora_20260101.safetensors", None),
            ("", "/output_000000777/x.safetensors", None),
            ("x", "/output/x/x.safetensors", None),
            ("x", "/output/x/optimizer.pt", None),
            ("x", "/o/output%2Fx%2Fx_000000250.safetensors", Some(250)),
            ("x", "/o/output%2fx%2Fx_000000250%2Ftransformer%2Fa.safetensors", Some(250)),
            ("x", "/output/x/x_1234567890123.safetensors", None),
            ("x", "/output/x/000000250.safetensors", None),
        ] {
            assert_eq!(
                checkpoint_step(url_path, Some(job).filter(|job| !job.is_empty())),
                step,
                "{job} {url_path}"
            );
        }
        for (url_path, step) in [
            ("/samples/1724085406830__000000500_0.jpg", Some((500, 0))),
            ("/samples/1724085406830__000000500_10.webp", Some((500, 10))),
            ("/samples/a__b__000002000_3", Some((2000, 3))),
            ("/o/samples%2F1724085406830__000000500_3.jpg", Some((500, 3))),
            ("/samples/x__5_.jpg", None),
            ("/samples/x__5_99999999999999999999.jpg", None),
            ("/samples/x_000000500_0.jpg", None),
            ("/", None),
        ] {
            assert_eq!(sample_step(url_path), step, "{url_path}");
        }
        for (url_path, time) in [
            ("/samples/1724085406830__000000500_0.jpg", Some(1_724_085_406_830)),
            ("/samples/172408540683x__000000500_0.jpg", None),
            ("/o/samples%2F1724085406830__000000500_0.jpg", Some(1_724_085_406_830)),
            ("/samples/1__000000500_0.jpg", None),
            ("/samples/1724085406830.jpg", None),
        ] {
            assert_eq!(sample_time(url_path), time, "{url_path}");
        }
    }
}
