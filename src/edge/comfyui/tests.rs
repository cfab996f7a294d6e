use std::fs;

use super::*;

fn folders(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        fs::create_dir_all(root.path().join(name)).unwrap();
    }
    root
}

fn variable(name: &str) -> Option<OsString> {
    (name == "MODELS").then(|| "m".into())
}

fn found(path: &Path, home: Option<&Path>) -> Result<LoraFolder, Error> {
    find(path, &Surroundings { variable: &variable, home: home.map(Path::to_path_buf) })
}

#[test]
fn every_kind_of_folder_leads_to_its_loras() {
    for (there, named, expected) in [
        (vec!["models/loras"], "", "models/loras"),
        (vec!["models", "custom_nodes"], "", "models/loras"),
        (vec!["models/checkpoints"], "", "models/loras"),
        (vec!["ComfyUI/models/loras", "python_embeded"], "", "ComfyUI/models/loras"),
        (vec!["x/models/loras"], "x/models", "x/models/loras"),
        (vec!["x/models/vae"], "x/models", "x/models/loras"),
        (vec!["shared/loras", "shared/vae"], "shared", "shared/loras"),
        (vec!["any/loras"], "any/loras", "any/loras"),
        (vec!["forge/models/Lora"], "forge/models/Lora", "forge/models/Lora"),
        // Other programs, by their roots.
        (vec!["forge/models/Lora", "forge/models/Stable-diffusion"], "forge", "forge/models/Lora"),
        (vec!["swarm/Models/Lora", "swarm/src", "swarm/Models/controlnet"], "swarm", "swarm/Models/Lora"),
        (vec!["sm/Data/Models/Lora", "sm/Data/Packages/ComfyUI"], "sm", "sm/Data/Models/Lora"),
        (vec!["sm/Data/Models/Lora"], "sm/Data", "sm/Data/Models/Lora"),
        (vec!["sm/Data/Models/Lora"], "sm/Data/Models", "sm/Data/Models/Lora"),
        // A folder that several programs share.
        (vec!["models/checkpoints", "models/Lora"], "", "models/Lora"),
        // ComfyUI itself reads `loras` alone.
        (vec!["models/Lora", "custom_nodes"], "", "models/loras"),
        // Whatever else is named is taken as it is.
        (vec!["mine/x"], "mine", "mine"),
        (vec!["project/models/my_net"], "project", "project"),
        (vec!["empty"], "empty", "empty"),
    ] {
        let root = folders(&there);
        let folder = found(&root.path().join(named), None).unwrap();
        assert_eq!(folder.path, root.path().join(expected), "{there:?} {named}");
    }
    let root = folders(&["models/loras"]);
    assert_eq!(found(Path::new("~"), Some(root.path())).unwrap().path, root.path().join("models/loras"));
}

#[test]
fn every_folder_has_its_reason() {
    for (there, named, why) in [
        (vec!["mine/x"], "mine", LoraFolderReason::Named),
        (vec!["any/loras"], "any/loras", LoraFolderReason::LoraFolder),
        (vec!["shared/loras", "shared/vae"], "shared", LoraFolderReason::ModelsFolder),
        (vec!["x/models/vae"], "x/models", LoraFolderReason::ModelsFolder),
        (vec!["forge/models/Lora", "forge/models/Stable-diffusion"], "forge", LoraFolderReason::OtherProgram),
        (vec!["models/loras"], "", LoraFolderReason::ComfyUi { away: None }),
    ] {
        let root = folders(&there);
        assert_eq!(found(&root.path().join(named), None).unwrap().why, why, "{there:?} {named}");
    }
}

#[test]
fn what_is_refused_has_a_reason_and_what_to_name() {
    let root = folders(&["a1111/models/Stable-diffusion", "swarm/Models/controlnet", "bare"]);
    fs::write(root.path().join("file.txt"), "x").unwrap();
    fs::write(root.path().join("swarm/launch-linux.sh"), "x").unwrap();
    fs::write(root.path().join("bare/folder_paths.py"), "x").unwrap();
    for (name, words) in [
        ("a1111", "models of another program, and no folder `Lora`; start that program once"),
        ("swarm", "models of another program"),
        ("a1111/models", "models of another program"),
        ("bare", "a ComfyUI without a folder `models`; name the folder that has it"),
        ("file.txt", "it is a file, and no configuration of paths (`.yaml`); name a folder"),
        ("nothing", "there is nothing of this name"),
    ] {
        let error = found(&root.path().join(name), None).unwrap_err();
        assert_eq!(error.exit_status().code(), 66, "{name}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    let all = || walk(root.path());
    assert_eq!(
        all().iter().filter(|path| path.to_lowercase().contains("lora")).count(),
        0,
        "nothing is made"
    );
}

fn walk(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let with_inner = |path: PathBuf| {
        let inner = if path.is_dir() { walk(&path) } else { Vec::new() };
        std::iter::once(path.display().to_string()).chain(inner).collect::<Vec<_>>()
    };
    entries.flat_map(with_inner).collect()
}

#[test]
fn embeddings_go_to_the_folder_of_the_same_installation() {
    for (there, named, expected) in [
        (vec!["models/loras", "models/embeddings"], "", Some("models/embeddings")),
        (vec!["models/loras"], "", None),
        (vec!["models/loras", "models/embeddings"], "models/loras", Some("models/embeddings")),
        (vec!["a1111/models/Lora", "a1111/embeddings"], "a1111", Some("a1111/embeddings")),
        (vec!["swarm/Models/Lora", "swarm/Models/Embeddings"], "swarm", Some("swarm/Models/Embeddings")),
        (vec!["mine", "embeddings"], "mine", None),
    ] {
        let root = folders(&there);
        let folder = found(&root.path().join(named), None).unwrap();
        assert_eq!(folder.embeddings, expected.map(|path| root.path().join(path)), "{there:?} {named}");
    }
    let root = folders(&["ui/models/loras", "ui/models/embeddings", "big/loras", "big/words"]);
    let ui = root.path().join("ui");
    let yaml = "big:\n  base_path: ../big\n  is_default: true\n  loras: loras\n  embeddings: words\n";
    fs::write(ui.join("extra_model_paths.yaml"), yaml).unwrap();
    assert_eq!(found(&ui, None).unwrap().embeddings, Some(root.path().join("big/words")));
}

#[test]
fn comfy_desktop_is_found_by_its_files() {
    let root = folders(&["app", "base/models/loras", "base/models/embeddings", "other/loras"]);
    let base = root.path().join("base");
    let file = |name: &str, text: &str| {
        fs::write(root.path().join("app").join(name), text.replace("{B}", base.to_str().unwrap())).unwrap();
        let found = found(&root.path().join("app").join(name), None).map(|folder| folder.path);
        fs::remove_file(root.path().join("app").join(name)).unwrap();
        found.map_err(|error| error.to_string())
    };
    let old = "comfyui_desktop:\n  is_default: \"true\"\n  custom_nodes: custom_nodes/\n  download_model_base: models\n  base_path: {B}\n";
    let loras = Ok(base.join("models/loras"));
    assert_eq!(file("extra_models_config.yaml", old), loras);
    assert_eq!(file("renamed.yaml", old), loras);
    let with_own = format!("{old}mine:\n  loras: ../other/loras\n");
    assert_eq!(file("extra_models_config.yaml", &with_own), loras, "its own folder is searched first");
    let new = "comfyui:\n  base_path: {B}\n  is_default: true\n  checkpoints: models/checkpoints\n";
    assert_eq!(file("shared_model_paths.yaml", new), loras);
    fs::write(root.path().join("app/shared_model_paths.yaml"), new.replace("{B}", base.to_str().unwrap()))
        .unwrap();
    let folder = found(&root.path().join("app"), None).unwrap();
    assert_eq!(
        (folder.path, folder.embeddings),
        (base.join("models/loras"), Some(base.join("models/embeddings")))
    );
}

/// Texts of users' kinds, each with the answers of ComfyUI's own reader.
#[test]
#[cfg(unix)]
fn each_text_leads_to_the_folder_that_comfyui_searches_first() {
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        text: String,
        dirs: Vec<String>,
        env: std::collections::BTreeMap<String, String>,
        comfyui_refuses: bool,
        comfyui_order: Vec<String>,
        root: String,
        yaml: String,
    }
    // In these the table has a folder that its own list of folders has not got: the reader made it there. What is right
    // is the first that is there.
    let made = ["default-folder-missing", "block-trailing-blanks-last", "block-comment-inside"];
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/extra_model_paths.json")).unwrap();
    assert_eq!(cases.len(), 56);
    for case in cases {
        let root = folders(&["ui/models/loras", "home"]);
        let root = fs::canonicalize(root.path()).map(|path| (path, root)).unwrap();
        let fill =
            |text: &str| text.replace("{{", "{").replace("}}", "}").replace("{R}", root.0.to_str().unwrap());
        for folder in &case.dirs {
            fs::create_dir_all(root.0.join(folder)).unwrap();
        }
        let ui = root.0.join("ui");
        let yaml = ui.join("extra_model_paths.yaml");
        fs::write(&yaml, fill(&case.text)).unwrap();
        let variable = |name: &str| case.env.get(name).map(|value| OsString::from(fill(value)));
        let around = Surroundings { variable: &variable, home: Some(root.0.join("home")) };
        let short = |path: &Path| {
            let below = path.strip_prefix(&root.0).unwrap().to_str().unwrap();
            format!("R/{below}").trim_end_matches('/').to_owned()
        };
        let chosen = |path: &Path| find(path, &around).map(|folder| short(&folder.path));
        assert_eq!(chosen(&ui).unwrap(), case.root, "{}: the ComfyUI", case.name);
        let expected = if made.contains(&case.name.as_str()) { &case.root } else { &case.yaml };
        match chosen(&yaml) {
            Ok(path) => assert_eq!(&path, expected, "{}: the file", case.name),
            Err(error) => {
                assert_eq!(*expected, "", "{}: {error}", case.name);
                let code = if case.comfyui_refuses { 65 } else { 66 };
                assert_eq!(error.exit_status().code(), code, "{}: {error}", case.name);
            }
        }
        let order = ExtraPaths::read(&yaml, &around)
            .map(|paths| paths.folders("loras", Some(&ui.join("models/loras"))));
        assert_eq!(order.is_err(), case.comfyui_refuses, "{}", case.name);
        if let Ok(order) = order {
            let order: Vec<_> = order.iter().map(|folder| short_of(&folder.path, &root.0)).collect();
            assert_eq!(order, case.comfyui_order, "{}", case.name);
        }
    }
}

/// The path with `R` in the place of the root, also where it is inside of a name.
#[cfg(unix)]
fn short_of(path: &Path, root: &Path) -> String {
    path.to_str().unwrap().replace(root.to_str().unwrap(), "R")
}

#[test]
fn a_default_that_is_away_does_not_stop_the_placing_and_is_named() {
    let root = folders(&["ui/models/loras", "near"]);
    let ui = root.path().join("ui");
    let yaml = ui.join("extra_model_paths.yaml");
    let text = "big:\n  is_default: true\n  loras: |\n    ../near\n    /nowhere/at/all\n";
    fs::write(&yaml, text).unwrap();
    for named in [&ui, &yaml] {
        let folder = found(named, None).unwrap();
        assert_eq!(folder.path, root.path().join("near"));
        let place = |line| PathsPlace { file: yaml.clone(), section: Some(("big".to_owned(), line)) };
        let away = Some(AwayFolder { path: "/nowhere/at/all".into(), place: place(5) });
        let configured = ConfiguredFolder { place: place(4), is_default: true, away };
        let why = match named == &ui {
            true => LoraFolderReason::ExtraPaths(configured),
            false => LoraFolderReason::PathsFile(configured),
        };
        assert_eq!(folder.why, why);
    }
    fs::write(&yaml, "big:\n  is_default: true\n  loras: /nowhere/at/all\n").unwrap();
    let folder = found(&ui, None).unwrap();
    assert_eq!(folder.path, ui.join("models/loras"));
    let place = PathsPlace { file: yaml.clone(), section: Some(("big".to_owned(), 3)) };
    let away = Some(AwayFolder { path: "/nowhere/at/all".into(), place });
    assert_eq!(folder.why, LoraFolderReason::ComfyUi { away });
    // One that is no default and does not exist is passed over in silence.
    fs::write(&yaml, "gone:\n  loras: gone/x\nnear:\n  loras: ../near\n").unwrap();
    let place = PathsPlace { file: yaml.clone(), section: Some(("near".to_owned(), 4)) };
    let configured = ConfiguredFolder { place, is_default: false, away: None };
    assert_eq!(found(&yaml, None).unwrap().why, LoraFolderReason::PathsFile(configured));
    fs::write(&yaml, "big:\n  loras:\tx\n").unwrap();
    let folder = found(&ui, None).unwrap();
    assert_eq!(folder.path, ui.join("models/loras"));
    let LoraFolderReason::ComfyUiAlone(fault) = folder.why else { panic!("{:?}", folder.why) };
    let words = format!("`{}` is passed over, since ComfyUI does not start with it: ", yaml.display());
    assert!(fault.to_string().starts_with(&words) && fault.to_string().contains("line 2"), "{fault}");
}

#[test]
fn extra_paths_as_comfyui_reads_them() {
    let yaml = |there: &[&str], text: &str| {
        let root = folders(there);
        let path = root.path().join("extra_model_paths.yaml");
        fs::write(&path, text).unwrap();
        let path = found(&path, Some(root.path())).map(|folder| folder.path);
        path.map(|path| path.strip_prefix(root.path()).unwrap().to_string_lossy().into_owned())
            .map_err(|error| error.to_string())
    };
    let is = |there: &[&str], text: &str, expected: &str| {
        assert_eq!(yaml(there, text).as_deref(), Ok(expected), "{text}");
    };
    is(&["a/l"], "x:\n  base_path: a\n  loras: l\n", "a/l");
    is(&["a/l"], "# comment\nempty:\nother:\n  vae: v\nx:\n  loras: a/./b/../l/\n", "a/l");
    is(&["a/l"], "x:\n  base_path: ~/a\n  loras: l\n", "a/l");
    is(&["m/l"], "x:\n  base_path: $MODELS\n  loras: l\n", "m/l");
    is(&["xm/l"], "x:\n  base_path: x${MODELS}\n  loras: l\n", "xm/l");
    is(&["$NOT_SET/l"], "x:\n  base_path: $NOT_SET\n  loras: l\n", "$NOT_SET/l");
    is(&["Lora", "Lyco"], "a111:\n  loras: |\n    Lora\n    Lyco\n", "Lora");
    // The first that is there; one that is not is made only where nothing else is.
    is(&["b"], "a:\n  loras: gone/x\nb:\n  loras: b\n", "b");
    is(&["m"], "a:\n  base_path: m\n  loras: loras\n", "m/loras");
    // Marked as default: in front, the last of several first.
    is(&["a", "b"], "a:\n  loras: a\nb:\n  is_default: true\n  loras: b\n", "b");
    is(&["a", "b"], "a:\n  is_default: 'true'\n  loras: a\nb:\n  is_default: yes\n  loras: b\n", "b");
    is(&["a", "b"], "a:\n  loras: a\nb:\n  is_default: false\n  loras: b\n", "a");
    for (text, words) in [
        ("", "it has no sections"),
        ("x:\n  vae: v\n", "no section of it has a key `loras`"),
        (
            "x:\n  base_path: /nowhere/at/all\n  loras: l\n",
            "the loras folder `/nowhere/at/all/l` is not there (section `x` in line 3 of",
        ),
        ("just text", "it has no sections"),
        ("x: [1, 2]\n", "section `x` is not"),
        ("a: &a [*a, *a]\n", "ComfyUI does not start with it"),
    ] {
        let error = yaml(&[], text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_default_folder_beside_a_root_comes_before_its_own() {
    let root = folders(&["ui/models/loras", "big/loras"]);
    let yaml = root.path().join("ui/extra_model_paths.yaml");
    fs::write(&yaml, "big:\n  base_path: ../big\n  loras: loras\n").unwrap();
    let ui = root.path().join("ui");
    assert_eq!(found(&ui, None).unwrap().path, ui.join("models/loras"));
    fs::write(&yaml, "big:\n  base_path: ../big\n  is_default: true\n  loras: loras\n").unwrap();
    let folder = found(&ui, None).unwrap();
    assert_eq!(folder.path, root.path().join("big/loras"));
    let place = PathsPlace { file: yaml, section: Some(("big".to_owned(), 4)) };
    let configured = ConfiguredFolder { place, is_default: true, away: None };
    assert_eq!(folder.why, LoraFolderReason::ExtraPaths(configured));
}

#[test]
fn usual_places_need_a_home() {
    let places = |home: Option<&str>| {
        usual_places(&Surroundings { variable: &|_| None, home: home.map(PathBuf::from) })
    };
    assert!(places(None).is_empty());
    assert!(places(Some("/h")).contains(&("comfy-cli", "/h/comfy/ComfyUI".into())));
}
