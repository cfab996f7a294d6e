use std::collections::HashSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::model::names::collision_key::CollisionKey;

use super::*;

fn listed(kind: ArtifactKind, url: &str) -> ListedArtifact {
    ListedArtifact { kind, url: SourceUrl::parse(url).unwrap(), sample: None }
}

/// Reads `c`, `y` or `s` (checkpoint, config, sample) and a URL or a path, a line each.
fn listed_in(text: &str) -> Vec<ListedArtifact> {
    let line = |line: &str| {
        let (kind, url) = line.trim().split_once(' ').unwrap();
        let kind = match kind {
            "c" => ArtifactKind::Checkpoint,
            "y" => ArtifactKind::Config,
            _ => ArtifactKind::Sample,
        };
        let host = if url.starts_with("http") { "" } else { "https://h" };
        listed(kind, &format!("{host}{}", url.trim()))
    };
    text.trim().lines().map(line).collect()
}

fn build(job: &str, listed: &[ListedArtifact]) -> Listing {
    Listing::build(Some(job), listed, &|_| None, &[])
}

fn golden(job: &str, text: &str) -> String {
    let listing = build(job, &listed_in(text));
    let step = |artifact: &Artifact| artifact.step.map_or(String::new(), |step| format!(" @{step}"));
    let named = listing.artifacts.iter().map(|artifact| format!("{}{}", artifact.path, step(artifact)));
    named.chain(listing.rejected.iter().map(|file| format!("! {}", file.why))).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_golden(job: &str, text: &str, expected: &str) {
    let expected: Vec<&str> = expected.trim().lines().map(str::trim_start).collect();
    assert_eq!(golden(job, text), expected.join("\n"));
}

#[test]
fn a_job_is_laid_out_as_its_trainer_does() {
    assert_golden(
        "my lora [v2]",
        "c /train/users/7/ai-toolkit/output/my%20lora%20[v2]/my%20lora%20[v2]_000000250.safetensors?sig=1
         c /train/users/7/ai-toolkit/output/my%20lora%20[v2]/my%20lora%20[v2].safetensors
         c /train/users/7/ai-toolkit/output/my%20lora%20[v2]/optimizer.pt
         y /train/users/7/ai-toolkit/output/my%20lora%20[v2]/config.yaml
         s /train/users/7/ai-toolkit/output/my%20lora%20[v2]/samples/1724085406830__000000500_0.jpg",
        "my lora [v2]_000000250.safetensors @250
         my lora [v2].safetensors
         optimizer.pt
         config.yaml
         samples/1724085406830__000000500_0.jpg @500",
    );
    assert_golden(
        "dog_portrait_lora",
        "c /output/dog_portrait_lora_00000100.safetensors
         c /output/dog_portrait_lora_00000200.safetensors
         y /output/resolved_config.yaml
         s /output/samples/sample_1.png",
        "dog_portrait_lora_00000100.safetensors @100
         dog_portrait_lora_00000200.safetensors @200
         resolved_config.yaml
         samples/sample_1.png",
    );
    assert_golden(
        "wan",
        "c /output/wan/wan_000000250_high_noise.safetensors
         c /output/wan/wan_000000250_low_noise.safetensors
         c /output/wan/wan_000000500/transformer/model.safetensors
         c /output/wan/wan_000000500/transformer_2/model.safetensors
         c /output/wan/wan_000000750/transformer/model.safetensors",
        "wan_000000250_high_noise.safetensors @250
         wan_000000250_low_noise.safetensors @250
         wan_000000500/transformer/model.safetensors @500
         wan_000000500/transformer_2/model.safetensors @500
         wan_000000750/transformer/model.safetensors @750",
    );
}

#[test]
fn hostile_names() {
    let long = "n".repeat(300);
    assert_golden(
        "j",
        &format!(
            "c /j/..%2f..%2fetc%2fpasswd
             c /j/%252e%252e%252fetc
             c /j/..%5c..%5cwin.ini
             c /j/a%00b.safetensors
             c /j/CON.png
             c /j/a:b
             c /j/C%3A%5Cx
             c /j/.bashrc
             c /j/-rf
             c /j/~root
             c /j/a%0d%0ab
             c /j/%1b[2J
             c /j/%e2%80%aegpj.exe
             c /j/trailing.
             c /j/trailing%20
             c /j/%20leading
             c /j/%ff%fe.png
             c /j/100%25.png
             c /j/100%2525.png
             c /j/100%.png
             c /j/%F0%9F%90%88.png
             c /j/x~0123abcd.png
             c /j/job.json
             c /j/SHA256sums
             c /j/.rcsync/manifest
             c /j/a.rcsync-part
             c /j/.git/config
             c /j/a//b
             c /j/{long}.safetensors
             s /j/samples/index.html",
        ),
        &format!(
            "__~5ec1f7e7/__~5ec1f7e7/etc/passwd
             %2e%2e%2fetc
             _._.._win~c779783d.ini
             a_b~f55cebc0.safetensors
             _CON~b92d86cf.png
             a_b~6783a31e
             C__x~520186e2
             _bashrc~b7cf3e96
             _rf~686c39ac
             _root~9af33ad6
             a__b~18745f36
             _[2J~05704e8a
             _gpj~3574bc49.exe
             trailing_~44c12a4e
             trailing_~b1635c0a
             _leading~006f90be
             __~a11cde92.png
             100%~3482d021.png
             100%25.png
             100%.png
             🐈.png
             x~0123abcd~d0f057af.png
             job~95518931.json
             SHA256sums~20415441
             _rcsync~1328003d/manifest
             a.rcsync-part~02a96e7f
             _git~4d0a4dff/config
             a/_~e3b0c442/b
             {cut}~1b851c07.safetensors
             samples/index.html",
            cut = "n".repeat(153),
        ),
    );
}

#[test]
fn twins_get_distinct_files() {
    assert_golden(
        "j",
        "s /j/samples/Dog.png
         s /j/samples/dog.png
         s /j/samples/DOG.png
         s /j/samples/caf%c3%a9.png
         s /j/samples/cafe%cc%81.png
         s /j/samples/caf%C3%A9.png
         c /other/a
         c /j/a/b
         c /j/a
         c /j/samples
         c /j/samples/x.png
         s /j/samples/x.png
         y /j/a",
        "samples/Dog~ff00df36.png
         samples/dog~7184f90b.png
         samples/DOG.png
         samples/café~af34ff76.png
         samples/cafe\u{301}~526082bf.png
         samples/café.png
         a~d7cd193b
         a~d7c7e476/b
         a
         samples~467ce6cb
         samples/x.png
         samples/x~4d6d8553.png
         a~8b8fd843",
    );
}

#[test]
fn files_without_names() {
    assert_golden(
        "j",
        "c https://h
         c https://h?a
         c https://h?b
         c /?b
         y //
         s /j/samples/
         s /j/?x",
        "checkpoint_~8a5edab2
         config_~a2c23396
         samples/sample_~8726ba4f
         samples/sample_~930cefcb
         ! https://h/?…: its path has no file name, and is not the only such
         ! https://h/?…: its path has no file name, and is not the only such
         ! https://h/?…: its path has no file name, and is not the only such",
    );
    let mut sample = listed(ArtifactKind::Sample, "https://h/?a");
    sample.sample = Some(Sample { step: Some(500), index: Some(3), ..Sample::default() }.into());
    assert_eq!(build("j", &[sample.clone()]).artifacts[0].path.as_str(), "samples/sample_000000500_3");
    sample.sample = Some(Sample { step: Some(500), ..Sample::default() }.into());
    assert_eq!(build("j", &[sample]).artifacts[0].path.as_str(), "samples/sample_000000500");
}

#[test]
fn one_file_listed_twice_is_one() {
    let mut twice = listed_in(
        "s /j/samples/a.png?sig=1
         s /j/samples/b.png
         s /j/samples/a.png?sig=2
         s http://h/j/samples/b.png
         s https://other/j/samples/a.png
         s https://other:8443/j/samples/a.png
         c /j/samples/a.png",
    );
    let described = Arc::new(Sample { prompt: Some("a dog".into()), ..Sample::default() });
    twice[2].sample = Some(described.clone());
    twice[1].sample = Some(described.clone());
    twice[3].sample = Some(Sample { prompt: Some("a cat".into()), ..Sample::default() }.into());
    let listing = build("j", &twice);
    let keys: Vec<String> = listing.artifacts.iter().map(|artifact| artifact.key.to_string()).collect();
    assert_eq!(
        keys,
        [
            "sample /j/samples/a.png",
            "sample /j/samples/b.png",
            "sample other/j/samples/a.png",
            "sample other:8443/j/samples/a.png",
            "checkpoint /j/samples/a.png",
        ]
    );
    assert_eq!(listing.artifacts[0].url.expose(), "https://h/j/samples/a.png?sig=1");
    assert_eq!(listing.artifacts[0].sample, Some(described.clone()));
    assert_eq!(listing.artifacts[1].sample, Some(described));
    assert!(listing.rejected.is_empty());
}

#[test]
fn known_names_stay_and_taken_ones_are_avoided() {
    let path = |text: &str| RelPath::parse(text).unwrap();
    let listed = listed_in(
        "c /j/A.safetensors
         c /j/a.safetensors
         c /j/b.safetensors
         c /j/c.safetensors",
    );
    // The lower-case twin sorts later, but was here first; another file once had the name of `b`.
    let known = |key: &ArtifactKey| (&*key.path == "/j/a.safetensors").then(|| path("a.safetensors"));
    let taken = [path("a.safetensors"), path("B.safetensors"), path("c.safetensors/d")];
    let listing = Listing::build(Some("j"), &listed, &known, &taken);
    let names: Vec<&str> = listing.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    let suffix = |key: &str| short_hash(key.as_bytes(), 8);
    assert_eq!(
        names,
        [
            format!("A~{}.safetensors", suffix("/j/A.safetensors")).as_str(),
            "a.safetensors",
            &format!("b~{}.safetensors", suffix("/j/b.safetensors")),
            &format!("c~{}.safetensors", suffix("/j/c.safetensors")),
        ]
    );
    // A manifest that gives one path to two keys is not believed twice.
    let listing = Listing::build(Some("j"), &listed[..2], &|_| Some(path("x")), &[]);
    assert_eq!(
        (listing.artifacts[0].path.as_str(), listing.artifacts[1].path.as_str()),
        ("x", "a.safetensors")
    );
}

#[test]
fn a_second_accident_is_survived_and_a_third_reported() {
    let path = |text: String| RelPath::parse(&text).unwrap();
    let suffixed = |digits| path(format!("samples/x~{}.png", short_hash(b"/j/samples/x.png", digits)));
    let listed = listed_in("s /j/samples/x.png?sig=1");
    let mut taken = vec![path("samples/X.png".into()), suffixed(8)];
    let listing = Listing::build(Some("j"), &listed, &|_| None, &taken);
    assert_eq!(listing.artifacts[0].path, suffixed(16));
    taken.push(suffixed(16));
    let listing = Listing::build(Some("j"), &listed, &|_| None, &taken);
    let whys: Vec<String> = listing.rejected.iter().map(|file| file.why.to_string()).collect();
    assert_eq!(whys, ["https://h/j/samples/x.png?…: no free name is left for it"]);
}

#[test]
fn fifty_thousand_files_are_named_at_once() {
    // Every other one is the case twin of the one before it, so half of them need a suffix.
    let name = |number: u32| {
        let sample = if number.is_multiple_of(2) { "A" } else { "a" };
        format!("17240854{:05}__{:09}_{sample}.jpg", number / 2, number / 20 * 100)
    };
    let url = |number| format!("https://h/output/my%20lora/samples/{}?sig=0123456789", name(number));
    let listed: Vec<_> = (0..50_000).map(|number| listed(ArtifactKind::Sample, &url(number))).collect();
    let started = Instant::now();
    let listing = build("my lora", &listed);
    let took = started.elapsed();
    assert_eq!(listing.artifacts.len(), 50_000);
    assert_eq!(
        listing.artifacts.iter().filter(|artifact| artifact.path.as_str().contains('~')).count(),
        25_000
    );
    // Quadratic work would take minutes; the usual quarter of a second may become ten where twenty builds run beside it.
    assert!(took < Duration::from_secs(30), "{took:?}");
}

/// URLs that like to collide.
fn url() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec![
        "a",
        "A",
        "b",
        "",
        "j",
        "samples",
        "Samples",
        "output",
        "%61",
        "a%2fb",
        "..%2f",
        "a~0123abcd",
        "job.json",
        "caf%c3%a9",
        "cafe%cc%81",
        "CON",
        "x_000000250.safetensors",
        "x_000000250",
        "a.",
        "%ff",
    ]);
    let host = prop::sample::select(vec!["h", "g"]);
    (host, prop::collection::vec(segment, 1..4))
        .prop_map(|(host, path)| format!("https://{host}/{}", path.join("/")))
}

proptest! {
    #[test]
    fn every_file_has_its_own_name_whatever_the_order(
        urls in prop::collection::vec((0..3, url()), 1..12),
        rotate in 0_usize..12,
    ) {
        let kinds = [ArtifactKind::Checkpoint, ArtifactKind::Config, ArtifactKind::Sample];
        let mut listed: Vec<_> = urls.iter().map(|(kind, url)| listed(kinds[*kind as usize], url)).collect();
        let listing = build("j", &listed);
        prop_assert!(listing.rejected.is_empty());
        let files: Vec<CollisionKey> = listing.artifacts.iter().map(|artifact| artifact.path.collision_key()).collect();
        prop_assert_eq!(files.iter().collect::<HashSet<_>>().len(), files.len(), "two files of one name");
        for file in &files {
            let inside = format!("{}/", file.as_str());
            prop_assert!(!files.iter().any(|other| other.as_str().starts_with(&inside)), "a file is a folder");
        }
        for artifact in &listing.artifacts {
            prop_assert_eq!(RelPath::parse(artifact.path.as_str()), Ok(artifact.path.clone()));
            if artifact.key.kind == ArtifactKind::Sample {
                prop_assert!(artifact.path.as_str().starts_with("samples/"));
            }
        }
        // The same files in another order, and with the names remembered: nothing changes.
        let by_key = |listing: &Listing| -> HashMap<ArtifactKey, RelPath> {
            listing.artifacts.iter().map(|artifact| (artifact.key.clone(), artifact.path.clone())).collect()
        };
        let names = by_key(&listing);
        let again = Listing::build(Some("j"), &listed, &|key| names.get(key).cloned(), names.values());
        prop_assert_eq!(&names, &by_key(&again));
        if urls.iter().all(|(_, url)| url.starts_with("https://h")) {
            listed.rotate_left(rotate % urls.len());
            prop_assert_eq!(names, by_key(&build("j", &listed)));
        }
    }
}
