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
    ] {
        let root = folders(&there);
        let folder = found(&root.path().join(named), None).unwrap();
        assert_eq!(folder.path, root.path().join(expected), "{there:?} {named}");
        assert!(!folder.why.is_empty());
    }
    let root = folders(&["models/loras"]);
    assert_eq!(found(Path::new("~"), Some(root.path())).unwrap().path, root.path().join("models/loras"));
}

#[test]
fn what_is_none_says_what_was_looked_for() {
    let root = folders(&["project/models/my_net", "empty"]);
    fs::write(root.path().join("file.txt"), "x").unwrap();
    for (name, words) in [
        ("project", "looked for `models/loras`"),
        ("empty", "looked for `models/loras`"),
        ("file.txt", "looked for `models/loras`"),
        ("nothing", "there is nothing of this name"),
    ] {
        let error = found(&root.path().join(name), None).unwrap_err();
        assert_eq!(error.exit_status().code(), 66, "{name}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!root.path().join(name).join("loras").exists());
    }
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
        ("", "no section of it has a key `loras`"),
        ("x:\n  vae: v\n", "no section of it has a key `loras`"),
        (
            "x:\n  base_path: /nowhere/at/all\n  loras: l\n",
            "its loras folder `/nowhere/at/all/l` is not there",
        ),
        ("just text", "not what ComfyUI reads"),
        ("x: [1, 2]\n", "not what ComfyUI reads"),
        ("a: &a [*a, *a]\n", "cannot be understood"),
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
    assert!(
        folder.why.contains("default") && folder.why.contains("extra_model_paths.yaml"),
        "{}",
        folder.why
    );
}

#[test]
fn usual_places_need_a_home() {
    let places = |home: Option<&str>| {
        usual_places(&Surroundings { variable: &|_| None, home: home.map(PathBuf::from) })
    };
    assert!(places(None).is_empty());
    assert!(places(Some("/h")).contains(&("comfy-cli", "/h/comfy/ComfyUI".into())));
}
