//! The rules that depend on what the folder is for: captions, clips, sizes, control images.

use crate::model::training_config::{Dataset, TrainingConfig};

use super::{Findings, Stems, media_of};
use crate::decide::datasets::kinds::MediaKind;
use crate::decide::datasets::paths::{Role, dataset_name, dataset_names, roles};
use crate::decide::datasets::report::{Code, Cure};
use crate::decide::datasets::scan::{Caption, Companion, Content, Scan};

/// Below this many pixels on its shorter side a picture is worth a warning: models train on 512 and more.
const SMALL: u32 = 256;

/// What the folder is for.
struct Use<'c> {
    datasets: Vec<&'c Dataset>,
    /// Whether captions are read.
    reads_captions: bool,
    /// Whether `[trigger]` is replaced.
    has_trigger: bool,
}

/// Finds what does not fit.
pub(in crate::decide::datasets) fn against_config(
    scan: &Scan,
    config: Option<&TrainingConfig>,
    companions: &[Companion],
    stems: &Stems<'_>,
    findings: &mut Findings,
) {
    let using = using(scan, config, findings);
    one_stem(stems, findings);
    if using.reads_captions {
        captions(scan, &using, stems, findings);
    }
    for dataset in &using.datasets {
        clips(scan, dataset, findings);
        matched(dataset, companions, stems, findings);
    }
    sizes(scan, &using, findings);
    if !using.datasets.is_empty() && !using.has_trigger {
        triggers(scan, findings);
    }
}

fn using<'c>(scan: &Scan, config: Option<&'c TrainingConfig>, findings: &mut Findings) -> Use<'c> {
    let mut using = Use { datasets: Vec::new(), reads_captions: true, has_trigger: true };
    let Some(config) = config else { return using };
    let roles = roles(config, &scan.name);
    for role in &roles {
        if let Role::Trained { dataset, has_trigger } = role {
            using.datasets.push(dataset);
            using.has_trigger &= has_trigger;
        }
    }
    // Of control images and masks no captions are read.
    using.reads_captions = roles.is_empty() || !using.datasets.is_empty();
    if roles.is_empty() {
        let what = match dataset_names(config).as_slice() {
            [] => format!("the configuration names no dataset, so `{}` is not trained on", scan.name),
            names => format!("the configuration trains on `{}`, not on `{}`", names.join("`, `"), scan.name),
        };
        let cure = Cure::NameInConfig { name: scan.name.clone() };
        findings.add(Code::NotInConfig, ".", what, cure);
    }
    using
}

/// Two media of one stem share one caption.
fn one_stem(stems: &Stems<'_>, findings: &mut Findings) {
    for (stem, names) in stems.media.iter().filter(|(_, names)| names.len() > 1) {
        for name in &names[1..] {
            let what =
                format!("it has the same name before the dot as {}: both would get one caption", names[0]);
            findings.add(
                Code::SameStem,
                name,
                what,
                format!("rename one of them; `{stem}` may be there once"),
            );
        }
    }
}

fn captions(scan: &Scan, using: &Use<'_>, stems: &Stems<'_>, findings: &mut Findings) {
    let ext = scan.caption_ext.as_str();
    let has_words =
        |dataset: &Dataset| dataset.default_caption.as_ref().is_some_and(|it| !it.text.is_empty());
    let has_default = using.datasets.iter().any(|dataset| has_words(dataset));
    let without: Vec<&str> =
        stems.media.keys().copied().filter(|stem| !stems.captions.contains_key(stem)).collect();
    // Captions under another extension: one finding says it better than one for each picture.
    let other_ext = ["txt", "caption", "json"].into_iter().map(|other| format!(".{other}")).find(|other| {
        let has = |stem: &&&str| {
            stems
                .others
                .get(**stem)
                .is_some_and(|names| names.iter().any(|name| name.ends_with(other.as_str())))
        };
        other != ext && !without.is_empty() && without.iter().filter(has).count() * 2 > without.len()
    });
    if let Some(other) = other_ext {
        let what = format!(
            "{} of {} have no `{ext}` beside them, and most have a `{other}`",
            without.len(),
            plural(stems.media.len(), "picture or clip", "pictures and clips")
        );
        let cure = Cure::CaptionExtension { extension: other[1..].to_owned() };
        findings.add(Code::CaptionExtension, ".", what, cure);
        findings.drop_unused(&other, &stems.media);
    } else if !has_default {
        for name in without.iter().filter_map(|stem| stems.media.get(stem)).flatten() {
            let what = format!(
                "there is no caption `{}{ext}`: it is trained without words",
                crate::decide::datasets::kinds::stem(name)
            );
            findings.add(
                Code::NoCaption,
                name,
                what,
                "write one, or set `default_caption`; with a trigger word alone this may be meant",
            );
        }
    }
    for (stem, name) in stems.captions.iter().filter(|(stem, _)| !stems.media.contains_key(*stem)) {
        let what = format!("there is no picture or clip `{stem}.…` for this caption");
        findings.add(Code::NoPicture, name, what, "rename it to the picture's name, or remove it");
    }
}

/// Clips are looked for only where several frames are trained.
fn clips(scan: &Scan, dataset: &Dataset, findings: &mut Findings) {
    if dataset.takes_clips() {
        return;
    }
    let is = |name: &str, kind| MediaKind::of(name) == Some(kind);
    let clips: Vec<&str> =
        scan.files.iter().map(|file| file.name.as_str()).filter(|name| is(name, MediaKind::Clip)).collect();
    for name in &clips {
        let what = "clips are not looked for while `num_frames` is 1";
        findings.add(
            Code::ClipsUnused,
            name,
            what,
            "set `num_frames` (such as 41) for a video model, or remove the clip",
        );
    }
    if !clips.is_empty() && !scan.files.iter().any(|file| is(&file.name, MediaKind::Picture)) {
        let what = "there are only clips, and the configuration has `num_frames: 1`: AI Toolkit finds nothing to train on";
        findings.add(Code::NoMedia, ".", what, "set `num_frames` (such as 41) and train a video model");
    }
}

/// Pictures that are very small, or, where the resolution is known, far below it: with less than a quarter of its pixels
/// they are enlarged to more than double their size.
fn sizes(scan: &Scan, using: &Use<'_>, findings: &mut Findings) {
    // AI Toolkit trains once at each of several resolutions; the smallest one is what a picture has to have.
    let resolution = using.datasets.iter().flat_map(|dataset| &dataset.resolutions).min().copied();
    for file in &scan.files {
        let Some(size) = media_of(file).and_then(|media| media.dimensions) else { continue };
        let pixels = u64::from(size.width) * u64::from(size.height);
        let (is_small, why) = match resolution {
            Some(resolution) => (
                pixels.saturating_mul(4) < resolution.saturating_mul(resolution),
                format!(", and the configuration trains at {resolution}"),
            ),
            None => (size.width.min(size.height) < SMALL, String::new()),
        };
        if is_small {
            let what = format!("it has {} x {} pixels{why}", size.width, size.height);
            findings.add(
                Code::SmallPicture,
                &file.name,
                what,
                "use a larger original; enlarging it adds no detail",
            );
        }
    }
}

fn triggers(scan: &Scan, findings: &mut Findings) {
    for file in &scan.files {
        if matches!(file.content, Content::Caption(Caption::Text { has_trigger: true, .. })) {
            let what = "it has `[trigger]` in it, and the configuration has no `trigger_word` to put there";
            findings.add(
                Code::NoTriggerWord,
                &file.name,
                what,
                "set `trigger_word`, or write the word itself",
            );
        }
    }
}

/// Control images and masks are found by the picture's stem.
fn matched(dataset: &Dataset, companions: &[Companion], stems: &Stems<'_>, findings: &mut Findings) {
    for path in &dataset.companions {
        let name = dataset_name(&path.folder.text);
        let Some(companion) = companions.iter().find(|companion| Some(companion.name.as_str()) == name)
        else {
            continue;
        };
        for (stem, media) in stems.media.iter().filter(|(stem, _)| !companion.stems.contains(**stem)) {
            let what = format!("there is no `{stem}.…` for it in `{}` (`{}`)", companion.name, path.key);
            findings.add(
                Code::NoCompanion,
                media[0],
                what,
                "add one of the same name before the dot, or remove the picture",
            );
        }
        for stem in companion.stems.iter().filter(|stem| !stems.media.contains_key(stem.as_str())) {
            let what = format!("there is no picture or clip of this name for it (`{}`)", path.key);
            findings.add(
                Code::UnusedCompanion,
                &format!("{}/{stem}", companion.name),
                what,
                "rename it to the picture's name, or remove it",
            );
        }
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
