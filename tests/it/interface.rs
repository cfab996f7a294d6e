//! What users and scripts rely on, held to the letter by the real binary: arguments, streams, codes, documents.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};

use rcsync::simulator::{Fault, JobPlan, Origin, Simulator, SimulatorConfig, What};
use serde_json::Value;

use crate::support::{Bench, code, snapshot, stderr, until};

fn plan() -> JobPlan {
    JobPlan { steps: 1000, keep: 0, checkpoint_bytes: 60_000, picture_side: 48, ..JobPlan::default() }
}

async fn bench() -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(plan());
    Bench::new(simulator, job)
}

async fn finished() -> Bench {
    let bench = bench().await;
    bench.simulator.finish(&bench.job);
    bench
}

async fn mirrored() -> Bench {
    let bench = finished().await;
    assert_eq!(code(&bench.once(&["-q"]).await), 0);
    bench.simulator.clear_requests();
    bench
}

impl Bench {
    /// Runs rcsync with these arguments and variables; `JOB`, `DIR` and `API` are replaced by the bench's own.
    async fn run(&self, arguments: &str, variables: &[(&str, &str)]) -> Output {
        let dir = self.dir();
        let own = |word: &str| {
            word.replace("JOB", self.job.as_str())
                .replace("DIR", dir.to_str().unwrap())
                .replace("API", self.simulator.api_base())
        };
        let words: Vec<String> = arguments.split_whitespace().map(own).collect();
        let mut command = self.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, value) in variables {
            command.env(name, own(value));
        }
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn document(output: &Output) -> Value {
    let text = stdout(output);
    assert_eq!(text.lines().count(), 1, "one document: {text}");
    serde_json::from_str(&text).unwrap()
}

fn events(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sha256(path: &Path) -> String {
    use sha2::Digest as _;
    rcsync::internals::hex(&sha2::Sha256::digest(std::fs::read(path).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_shows_kind_step_size_evidence_sha256_and_path() {
    let bench = mirrored().await;
    let listed = bench.run("ls DIR", &[]).await;
    assert_eq!((code(&listed), stderr(&listed).as_str()), (0, ""));
    let text = stdout(&listed);
    let heading: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["kind", "step", "size", "evidence", "sha256", "path"]);
    let document = document(&bench.run("ls DIR --output json", &[]).await);
    assert_eq!(document["job_id"], bench.job.as_str());
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len(), bench.simulator.hosted(&bench.job).len());
    for file in files {
        let path = bench.dir().join(file["path"].as_str().unwrap());
        let sum = sha256(&path);
        assert_eq!(file["sha256"], sum.as_str());
        assert_eq!(file["size"], path.metadata().unwrap().len());
        assert!(["checkpoint", "sample", "config"].contains(&file["kind"].as_str().unwrap()), "{file}");
        let row = text.lines().find(|line| line.ends_with(file["path"].as_str().unwrap())).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert!(
            cells.contains(&sum.as_str()) && cells.contains(&file["evidence"].as_str().unwrap()),
            "{row}"
        );
    }
    let steps: Vec<u64> = files
        .iter()
        .filter(|file| file["kind"] == "checkpoint")
        .map(|file| file["step"].as_u64().unwrap_or(u64::MAX))
        .collect();
    assert_eq!(steps, [250, 500, 750, u64::MAX], "by step, the final one last");
    assert_eq!(bench.simulator.api_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_what_differs_and_what_is_missing() {
    let bench = mirrored().await;
    let good = bench.run("verify DIR --output json", &[]).await;
    assert_eq!(code(&good), 0);
    assert_eq!(document(&good)["bad"], Value::Array(vec![]));
    let quiet = bench.run("verify DIR -q", &[]).await;
    assert!(code(&quiet) == 0 && quiet.stdout.is_empty() && quiet.stderr.is_empty());
    let checkpoint = bench.dir().join("my_first_lora_000000250.safetensors");
    let mut bytes = std::fs::read(&checkpoint).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&checkpoint, bytes).unwrap();
    std::fs::remove_file(bench.dir().join("config.yaml")).unwrap();
    let bad = bench.run("verify DIR --output json", &[]).await;
    assert_eq!(code(&bad), 1, "{}", stderr(&bad));
    let problems: BTreeSet<String> = document(&bad)["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| format!("{} {}", bad["problem"].as_str().unwrap(), bad["path"].as_str().unwrap()))
        .collect();
    let expected = ["differs my_first_lora_000000250.safetensors", "missing config.yaml"];
    assert_eq!(problems, expected.map(str::to_owned).into());
    let words = bench.run("verify DIR", &[]).await;
    assert!(stdout(&words).contains("missing     config.yaml\n"), "{}", stdout(&words));
    assert_eq!(bench.simulator.api_requests(), 0, "nothing is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_mirrors_nothing_is_66_and_an_empty_mirror_is_none_of_that() {
    let bench = bench().await;
    std::fs::create_dir(bench.dir()).unwrap();
    std::fs::write(bench.dir().join("file"), "").unwrap();
    for command in ["ls", "verify"] {
        for (folder, why) in [
            ("DIR/nowhere", "there is no such folder"),
            ("DIR/file", "it is a file"),
            ("DIR", "nothing was mirrored into it yet"),
        ] {
            let run = bench.run(&format!("{command} {folder}"), &[]).await;
            assert_eq!((code(&run), stdout(&run).as_str()), (66, ""), "{command} {folder}: {}", stderr(&run));
            assert!(stderr(&run).contains(why), "{}", stderr(&run));
        }
    }
    for (folder, why) in [("DIR/nowhere", "there is no such folder"), ("DIR/file", "it is a file")] {
        let run = bench.run(&format!("result JOB --dir {folder}"), &[]).await;
        assert_eq!((code(&run), stdout(&run).as_str()), (66, ""), "{folder}: {}", stderr(&run));
        let named = bench.dir().join(folder.trim_start_matches("DIR/")).display().to_string();
        assert!(stderr(&run).contains(why) && stderr(&run).contains(&named), "{}", stderr(&run));
    }
    let nothing_yet = bench.run("result JOB --dir DIR", &[]).await;
    assert_eq!(code(&nothing_yet), 0, "{}", stderr(&nothing_yet));
    assert_eq!(code(&bench.once(&[]).await), 0, "a job that has nothing yet");
    let listed = bench.run("ls DIR --output json", &[]).await;
    assert_eq!(code(&listed), 0, "{}", stderr(&listed));
    assert_eq!(document(&listed)["job_id"], bench.job.as_str());
    assert_eq!(code(&bench.run("verify DIR", &[]).await), 0);
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    std::fs::remove_dir_all(bench.dir().join(".rcsync")).unwrap();
    let gone = bench.run("ls DIR", &[]).await;
    assert_eq!(code(&gone), 66);
    let way_out = format!("rcsync {} {} --once", bench.job, bench.dir().display());
    assert!(stderr(&gone).contains(&way_out), "{}", stderr(&gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_works_without_a_token_and_never_shows_one() {
    let bench = bench().await;
    let mut command = bench.command(&["doctor"]);
    let without = command.env_remove("RUNCOMFY_TOKEN").output().unwrap();
    assert_eq!(code(&without), 0, "{}", stderr(&without));
    assert!(stdout(&without).contains("PROBLEM: no RunComfy token found"), "{}", stdout(&without));
    assert_eq!(bench.simulator.api_requests(), 0);
    let expired = stdout(&bench.run("doctor", &[("RUNCOMFY_TOKEN", "expired")]).await);
    assert!(expired.contains("api       PROBLEM: ") && expired.contains("make a new token"), "{expired}");
    assert!(expired.contains("clock     agrees with the API's clock"), "{expired}");
    #[cfg(unix)]
    {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -n 100; exec \"$0\" doctor", env!("CARGO_BIN_EXE_rcsync")]);
        let few = stdout(&shell.env_remove("RUNCOMFY_TOKEN").output().unwrap());
        assert!(few.contains("files     PROBLEM: this process may open 100 "), "{few}");
    }
    let config = bench.config("retries = 9\ninterval = '7s'\nwebhook = 'https://h/?key=s3cret'\n");
    let variables = [("RCSYNC_RETRIES", "3"), ("XDG_CONFIG_HOME", config.as_str())];
    for format in ["pretty", "json"] {
        let with = bench.run(&format!("doctor JOB --dir DIR -v --output {format}"), &variables).await;
        assert_eq!(code(&with), 0);
        let text = stdout(&with) + &stderr(&with);
        assert!(!text.contains(bench.simulator.token()) && !text.contains("s3cret"), "{text}");
        assert!(text.contains("RCSYNC_RETRIES") && text.contains("config.toml line 2"), "{text}");
    }
    assert!(!bench.dir().exists(), "a doctor touches nothing");
    bench.simulator.finish(&bench.job);
    let hosts = stdout(&bench.run("doctor JOB", &[]).await);
    assert!(
        hosts.contains("host      127.0.0.1 has 15 files; it answers, with ranges and an ETag"),
        "{hosts}"
    );
    bench.simulator.fault(Fault::always("config.yaml", What::status(403)));
    bench.simulator.fault(Fault::always("safetensors", What::status(403)));
    let refused = stdout(&bench.run("doctor JOB", &[]).await);
    assert!(refused.contains("PROBLEM: 127.0.0.1 has 15 files; it answers HTTP 403"), "{refused}");
    bench.simulator.clear_faults();
    let broken = bench.config("intervall = '5s'\n");
    let broken = bench.run("doctor", &[("XDG_CONFIG_HOME", &broken)]).await;
    assert_eq!(code(&broken), 0);
    assert!(stdout(&broken).contains("did you mean `interval`?"), "{}", stdout(&broken));
}

impl Bench {
    /// Writes a configuration file and returns what `XDG_CONFIG_HOME` has to be.
    fn config(&self, text: &str) -> String {
        use sha2::Digest as _;
        let name = &rcsync::internals::hex(&sha2::Sha256::digest(text))[..8];
        let home = self.dir().with_file_name(name);
        std::fs::create_dir_all(home.join("rcsync")).unwrap();
        std::fs::write(home.join("rcsync/config.toml"), text).unwrap();
        home.to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_be_named_by_its_url_but_never_by_another_origin_s() {
    let bench = bench().await;
    let bare = bench.simulator.api_base().strip_suffix("/prod/v1").unwrap().to_owned();
    let bases = [bench.simulator.api_base().to_owned(), bare.clone(), format!("{bare}/")];
    for base in &bases {
        for job in
            ["JOB", "API/trainers/ai-toolkit/jobs/JOB/status", "API/trainers/ai-toolkit/jobs/JOB/result"]
        {
            let run = bench
                .run(&format!("status {job} --output json"), &[("RUNCOMFY_TRAINER_API_BASE", base)])
                .await;
            assert_eq!(code(&run), 0, "{base} {job}: {}", stderr(&run));
            assert_eq!(document(&run)["job_id"], bench.job.as_str());
        }
    }
    bench.simulator.clear_requests();
    let path = "prod/v1/trainers/ai-toolkit/jobs/JOB/status";
    let long = "x".repeat(129);
    let other_port = format!("http://127.0.0.1:1/{path}");
    let userinfo = bench.simulator.api_base().replacen("://", "://user:pass@", 1);
    let userinfo = format!("{userinfo}/trainers/ai-toolkit/jobs/JOB/status");
    let other_host = format!("https://trainer-api.runcomfy.net/{path}");
    let bad: [&str; 13] = [
        &other_port,
        &other_host,
        &userinfo,
        &long,
        "a/b",
        "..",
        ".",
        "a..b",
        "a\\b",
        "a%2Fb",
        "a\u{1}b",
        "a\u{7f}b",
        "API/datasets/JOB",
    ];
    for job in bad {
        for command in ["", "sync", "status", "result", "doctor", "cancel", "resume"] {
            let run = bench.run(&format!("{command} {job}"), &[]).await;
            assert_eq!((code(&run), stdout(&run).as_str()), (64, ""), "{command} {job}: {}", stderr(&run));
            assert!(!stderr(&run).contains(['\u{1}', '\u{7f}']), "{}", stderr(&run));
        }
    }
    assert_eq!(bench.simulator.requests().len(), 0, "refused before any request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_looked_for_in_this_order() {
    let bench = bench().await;
    let root = bench.dir().with_file_name("tokens");
    let right = bench.simulator.token().to_owned();
    let login = |folder: &str, token: &str| {
        let folder = root.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("{{\"access_token\":\"{token}\",\"expires_at\":1}}");
        std::fs::write(folder.join("token.json"), text).unwrap();
    };
    let place = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let (own, xdg, home, file) = (place("own"), place("xdg"), place("home"), place("file"));
    // From the last place to the first: the right token in one, wrong ones in all later ones.
    let variables = |token: &str| {
        vec![
            ("RUNCOMFY_TOKEN".to_owned(), token.to_owned()),
            ("RUNCOMFY_CONFIG_DIR".to_owned(), own.clone()),
            ("XDG_CONFIG_HOME".to_owned(), xdg.clone()),
            ("HOME".to_owned(), home.clone()),
        ]
    };
    let ask = |token: Option<&str>| {
        let mut command = bench.command(&["status", bench.job.as_str(), "--token-file", &file]);
        command.env_remove("RUNCOMFY_TOKEN");
        command.envs(variables(token.unwrap_or_default()).into_iter().skip(usize::from(token.is_none())));
        code(&command.output().unwrap())
    };
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(&file, format!("{right}\n")).unwrap();
    assert_eq!(ask(None), 0, "--token-file, last");
    for folder in ["home/.config/runcomfy", "xdg/runcomfy", "own"] {
        login(folder, "wrong");
        assert_eq!(ask(None), 77, "{folder} is before what is behind it");
        login(folder, &right);
        assert_eq!(ask(None), 0, "{folder}");
        login(folder, "wrong");
    }
    login("own", &right);
    assert_eq!(ask(Some("wrong")), 77, "the variable is first");
    login("own", "wrong");
    assert_eq!(ask(Some(&right)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_the_plan_and_writes_nothing_at_all() {
    let bench = finished().await;
    let root = bench.dir().parent().unwrap().to_path_buf();
    let before = snapshot(&root);
    let run = bench.run("JOB DIR --dry-run", &[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let hosted = bench.simulator.hosted(&bench.job).len();
    assert_eq!(stdout(&run).lines().count(), hosted, "{}", stdout(&run));
    assert!(stdout(&run).contains("my_first_lora_000000250.safetensors  fetch (new)"), "{}", stdout(&run));
    assert!(!stderr(&run).contains("done"), "nothing was: {}", stderr(&run));
    assert_eq!(snapshot(&root), before);
    assert!(!bench.dir().exists());
    assert_eq!(bench.simulator.artifact_requests(), 0);
    let json = bench.run("JOB DIR --dry-run --output json", &[]).await;
    let reported = events(&json);
    let names: Vec<&str> = reported.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[names.len() - 2], names[names.len() - 1]), ("job", "plan", "done"));
    assert_eq!(reported[names.len() - 2]["fetch"], hosted);
    assert_eq!(reported[names.len() - 1]["exit_code"], 0);
    assert_eq!(code(&bench.once(&["-q"]).await), 0);
    let before = snapshot(&root);
    let again = bench.run("JOB DIR --once --dry-run", &[]).await;
    assert!(
        stdout(&again).lines().all(|line| line.ends_with("keep (here and proven)")),
        "{}",
        stdout(&again)
    );
    assert_eq!(snapshot(&root), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_include_and_exclude_choose() {
    let bench = finished().await;
    for (options, wanted) in [
        ("--only config", &["config.yaml"][..]),
        ("--only checkpoints,config --exclude *_0000*", &["config.yaml", "my_first_lora.safetensors"]),
        ("--include *0250* --only checkpoints", &["my_first_lora_000000250.safetensors"]),
        (
            "--include *.yaml --include *500.safetensors",
            &["config.yaml", "my_first_lora_000000500.safetensors"],
        ),
        (
            "--steps 500..600 --only checkpoints,config",
            &["config.yaml", "my_first_lora_000000500.safetensors"],
        ),
        (
            "--steps final,250 --only checkpoints",
            &["my_first_lora.safetensors", "my_first_lora_000000250.safetensors"],
        ),
        (
            "--last 2 --exclude *.jpg",
            &["config.yaml", "my_first_lora.safetensors", "my_first_lora_000000750.safetensors"],
        ),
    ] {
        let _ = std::fs::remove_dir_all(bench.dir());
        let run = bench.run(&format!("JOB DIR --once {options} --output json"), &[]).await;
        assert_eq!(code(&run), 0, "{options}: {}", stderr(&run));
        let mut got: Vec<String> = events(&run)
            .iter()
            .filter(|event| event["event"] == "published")
            .map(|event| event["path"].as_str().unwrap().to_owned())
            .collect();
        got.sort();
        assert_eq!(got, wanted, "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_not_valid_is_78_and_names_the_place() {
    let bench = bench().await;
    for (text, said) in [
        ("conections = 4", "line 1: unknown key `conections`; did you mean `connections`?"),
        ("\n\nonse = true", "line 3: unknown key `onse`; did you mean `once`?"),
        ("connections = 0", "line 1: `connections`: it has to be a number from 1 to 256"),
        ("interval = 'soon'", "line 1: `interval`: write it like `30s`, `5m` or `1h30m`"),
        ("once = 'yes'", "line 1: `once`: it has to be true or false, not a string"),
        ("once = true\nonce = true", "line 2: "),
        ("[sync]\nonce = true", "line 1: unknown key `sync`"),
        ("this is no TOML", "line 1: "),
        ("token = 'x'", "unknown key `token`"),
    ] {
        let config = bench.config(text);
        for command in ["JOB DIR --once", "status JOB", "result JOB", "ls DIR", "verify DIR"] {
            let run = bench.run(command, &[("XDG_CONFIG_HOME", &config)]).await;
            assert_eq!((code(&run), stdout(&run).as_str()), (78, ""), "{command}: {}", stderr(&run));
            assert!(stderr(&run).contains(said), "{text}: {}", stderr(&run));
        }
    }
    // Where the file is when XDG_CONFIG_HOME is not set.
    let home = bench.dir().with_file_name("home");
    std::fs::create_dir_all(home.join(".config/rcsync")).unwrap();
    std::fs::write(home.join(".config/rcsync/config.toml"), "onse = 1").unwrap();
    let run = bench.run("status JOB", &[("HOME", home.to_str().unwrap())]).await;
    assert_eq!(code(&run), 78);
    assert_eq!(bench.simulator.requests().len(), 0);
}

/// Each option of `sync`, a value for it, and the same value in the configuration file.
const OPTIONS: &[(&str, &str, &str)] = &[
    ("once", "", "true"),
    ("interval", "5s", "'5s'"),
    ("timeout", "1h", "'1h'"),
    ("only", "checkpoints,samples", "['checkpoints', 'samples']"),
    ("include", "*.safetensors", "['*.safetensors']"),
    ("exclude", "*.png", "'*.png'"),
    ("steps", "1500,2000..3000,final", "'1500,2000..3000'"),
    ("last", "2", "2"),
    ("connections", "4", "4"),
    ("limit-rate", "10M", "'10M'"),
    ("retries", "2", "2"),
    ("stall-timeout", "20s", "'20s'"),
    ("dry-run", "", "true"),
    ("min-free", "1M", "'1M'"),
    ("allow-private-hosts", "", "true"),
    ("accept-unproven", "*.safetensors", "['*.safetensors']"),
    ("on-change", "replace", "'replace'"),
    ("auto-resume", "2", "2"),
    ("comfyui", "nowhere", "'nowhere'"),
    ("comfyui-subdir", "{name}", "'{name}'"),
    ("comfyui-keep", "2", "2"),
    ("comfyui-link", "copy", "'copy'"),
    ("comfyui-sidecars", "", "true"),
    ("comfyui-pickles", "", "true"),
    ("comfyui-url", "http://127.0.0.1:1/", "'http://127.0.0.1:1/'"),
    ("keep-last", "2", "2"),
    ("keep-every", "500", "500"),
    ("exec", "true", "'true'"),
    ("exec-done", "true", "'true'"),
    ("hook-timeout", "5s", "5.5"),
    ("metrics-file", "m.prom", "'m.prom'"),
    ("webhook", "http://127.0.0.1:1/", "'http://127.0.0.1:1/'"),
    ("token-file", "token", "'token'"),
    ("output", "json", "'json'"),
    ("progress", "never", "'never'"),
    ("quiet", "", "true"),
    ("verbose", "", "true"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_option_has_a_flag_a_variable_and_a_key() {
    let bench = bench().await;
    for (option, value, in_file) in OPTIONS {
        let flag = if value.is_empty() { format!("--{option}") } else { format!("--{option}={value}") };
        let variable = format!("RCSYNC_{}", option.to_uppercase().replace('-', "_"));
        let config = bench.config(&format!("{option} = {in_file}\n"));
        let underscored = bench.config(&format!("{} = {in_file}\n", option.replace('-', "_")));
        let value = if value.is_empty() { "1" } else { value };
        for (typed, variables) in [
            (flag.as_str(), vec![]),
            ("", vec![(variable.as_str(), value)]),
            ("", vec![("XDG_CONFIG_HOME", config.as_str())]),
            ("", vec![("XDG_CONFIG_HOME", underscored.as_str())]),
        ] {
            let run = bench.run(&format!("JOB DIR --dry-run {typed}"), &variables).await;
            let is_unknown = !matches!(code(&run), 0) && !stderr(&run).contains(option);
            assert!(!is_unknown && code(&run) != 78, "{option} {variables:?}: {}", stderr(&run));
            assert!(!stderr(&run).contains("there is no option"), "{option}: {}", stderr(&run));
        }
        let doctor = bench.run("doctor", &[(&variable, value), ("XDG_CONFIG_HOME", &config)]).await;
        let text = stdout(&doctor);
        assert!(text.contains(&variable) && text.contains("config.toml line 1"), "{option}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_over_variable_over_file() {
    let bench = finished().await;
    let config = bench.config("output = 'json'\nonly = ['samples']\nonce = true\nquiet = true\n");
    let file = ("XDG_CONFIG_HOME", config.as_str());
    let kinds = |output: &Output| -> BTreeSet<String> {
        let is_wanted = |event: &&Value| event["action"] == "fetch (new)";
        let kind = |event: &Value| event["kind"].as_str().map(str::to_owned);
        events(output).iter().filter(is_wanted).filter_map(kind).collect()
    };
    let from_file = bench.run("JOB DIR --dry-run", &[file]).await;
    assert_eq!(kinds(&from_file), ["sample".to_owned()].into());
    let over_it = bench.run("JOB DIR --dry-run", &[file, ("RCSYNC_ONLY", "config")]).await;
    assert_eq!(kinds(&over_it), ["config".to_owned()].into());
    let typed = bench.run("JOB DIR --dry-run --only checkpoints", &[file, ("RCSYNC_ONLY", "config")]).await;
    assert_eq!(kinds(&typed), ["checkpoint".to_owned()].into());
    let words = bench.run("JOB DIR --dry-run --output pretty", &[file]).await;
    assert!(!stdout(&words).starts_with('{'), "{}", stdout(&words));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_events_have_all_their_fields() {
    let bench = finished().await;
    bench.simulator.fault(Fault::once("_000000250.safetensors", What::Cut(30_000)));
    bench.simulator.fault(Fault::always("_000000500.safetensors", What::status(404)));
    let run = bench.once(&["--output", "json"]).await;
    let reported = events(&run);
    assert_eq!(code(&run), 75, "{}", stderr(&run));
    let mut seen = BTreeSet::new();
    for event in &reported {
        let name = event["event"].as_str().unwrap();
        let fields: &[&str] = match name {
            "job" => &["name", "status", "step", "total_steps", "percent"],
            "plan" => &["fetch", "bytes", "present"],
            "started" => &["path", "kind", "step", "size", "resumed_from"],
            "published" => &["path", "kind", "step", "size", "sha256", "evidence", "seconds"],
            "settling" => &["path", "declared", "have"],
            "retrying" => &["path", "cause", "wait_seconds"],
            "vanished" => &["path"],
            "failed" => &["path", "cause"],
            "done" => &["exit_code", "published", "bytes", "present", "failed", "seconds"],
            _ => &[],
        };
        for field in ["time", "job_id"].iter().chain(fields) {
            assert!(event.get(field).is_some(), "{name} has no `{field}`: {event}");
        }
        assert_eq!(event["job_id"], bench.job.as_str());
        let time = event["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        seen.insert(name.to_owned());
    }
    for name in ["job", "plan", "started", "published", "retrying", "done"] {
        assert!(seen.contains(name), "{name} in {seen:?}");
    }
    let done = reported.last().unwrap();
    assert_eq!(
        (&done["event"], &done["exit_code"], &done["failed"]),
        (&"done".into(), &75.into(), &1.into())
    );
    let present = bench.simulator.hosted(&bench.job).len() - 1;
    assert_eq!((&done["published"], &done["present"]), (&present.into(), &present.into()));
    for event in reported.iter().filter(|event| event["event"] == "published") {
        assert_eq!(event["sha256"], sha256(&bench.dir().join(event["path"].as_str().unwrap())).as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_to_stdout_and_talk_to_stderr() {
    let bench = finished().await;
    let loud = bench.once(&[]).await;
    assert!(loud.stdout.is_empty() && stderr(&loud).contains("published  config.yaml"), "{}", stderr(&loud));
    assert!(!stderr(&loud).contains('\u{1b}'), "no paint in a pipe");
    std::fs::remove_dir_all(bench.dir()).unwrap();
    let quiet = bench.once(&["-q"]).await;
    assert!(code(&quiet) == 0 && quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{}", stderr(&quiet));
    std::fs::remove_dir_all(bench.dir()).unwrap();
    let verbose = bench.once(&["-v"]).await;
    assert!(stderr(&verbose).contains("started"), "{}", stderr(&verbose));
    let json = bench.once(&["--output", "json", "-q"]).await;
    assert!(json.stderr.is_empty() && !json.stdout.is_empty());
    for command in ["status JOB", "result JOB", "result JOB --dir DIR", "ls DIR", "verify DIR"] {
        let run = bench.run(&format!("{command} --output json"), &[]).await;
        assert_eq!((code(&run), stderr(&run).as_str()), (0, ""), "{command}");
        assert_eq!(document(&run)["job_id"], bench.job.as_str());
    }
    let lines = bench.run("JOB DIR --once --progress always", &[("NO_COLOR", "1")]).await;
    assert!(!stderr(&lines).contains("\u{1b}[3"), "{}", stderr(&lines));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_what_became_of_the_job() {
    type Ending = fn(&Bench);
    let cases: [(&str, i32, Ending); 5] = [
        ("finished", 0, |bench| bench.simulator.finish(&bench.job)),
        ("failed", 1, |bench| bench.simulator.fail(&bench.job, "out of memory")),
        ("canceled", 1, |bench| assert!(bench.simulator.cancel(&bench.job))),
        ("preempted", 75, |bench| bench.simulator.preempt(&bench.job)),
        ("running", 75, |_| {}),
    ];
    for (name, expected, end) in cases {
        let bench = bench().await;
        bench.simulator.advance_steps(&bench.job, 300);
        end(&bench);
        let timeout = if name == "running" { "1s" } else { "60s" };
        let run = bench.run(&format!("JOB DIR --interval 100ms --timeout {timeout}"), &[]).await;
        assert_eq!(code(&run), expected, "{name}: {}", stderr(&run));
        assert!(
            bench.dir().join("my_first_lora_000000250.safetensors").exists(),
            "{name}: what it made is here"
        );
        let is_told = stderr(&run).contains("stopped following: `--timeout` has passed");
        assert_eq!(is_told, name == "running", "{name}: {}", stderr(&run));
        if name == "failed" {
            assert!(stderr(&run).contains("out of memory"), "{}", stderr(&run));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_away_or_odd_has_its_own_code() {
    let bench = bench().await;
    for (what, expected) in [
        (What::status(500), 69),
        (What::status(503), 69),
        (What::status(401), 77),
        (What::status(403), 77),
        (What::status(422), 65),
        (What::status(429), 75),
        (What::html(), 76),
        (What::Truncated, 76),
        (What::WrongJob, 76),
    ] {
        bench.simulator.fault(Fault::always("/status", what.clone()));
        let run = bench.run("status JOB", &[]).await;
        assert_eq!(code(&run), expected, "{what:?}: {}", stderr(&run));
        assert!(stderr(&run).contains("\nhint: "), "{}", stderr(&run));
        bench.simulator.clear_faults();
    }
    let away = bench.run("status JOB", &[("RUNCOMFY_TRAINER_API_BASE", "http://127.0.0.1:1")]).await;
    assert_eq!(code(&away), 69, "{}", stderr(&away));
    let odd = bench.run("status JOB", &[("RUNCOMFY_TRAINER_API_BASE", "http://example.com/")]).await;
    assert_eq!(code(&odd), 64, "{}", stderr(&odd));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn signals_end_with_130_and_143_and_a_second_rcsync_with_75() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, expected) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let bench = bench().await;
        bench.simulator.advance_steps(&bench.job, 300);
        let dir = bench.dir();
        let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--interval", "100ms"]);
        let running = command.spawn().unwrap();
        while !dir.join("my_first_lora_000000250.safetensors").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let second = bench.once(&[]).await;
        assert_eq!(code(&second), 75, "{}", stderr(&second));
        let pid = running.id().to_string();
        assert!(stderr(&second).contains("is held by another rcsync"), "{}", stderr(&second));
        assert!(stderr(&second).contains(&pid), "says who: {}", stderr(&second));
        kill_process(Pid::from_child(&running), signal).unwrap();
        let ended = running.wait_with_output().unwrap();
        assert_eq!(code(&ended), expected, "{}", stderr(&ended));
        assert!(stderr(&ended).contains("parts are kept"), "{}", stderr(&ended));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_refuses_the_folder_of_another_job_as_a_run_does() {
    let bench = bench().await;
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let other = bench.simulator.add_job(JobPlan::default());
    let dir = bench.dir();
    for more in [&["--once"][..], &["--dry-run"]] {
        let mut arguments = vec![other.as_str(), dir.to_str().unwrap()];
        arguments.extend(more);
        let mut command = bench.command(&arguments);
        let refused = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(code(&refused), 73, "{more:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(bench.job.as_str()), "{}", stderr(&refused));
    }
}

/// Whether this process ignores the hangup of its terminal, which its children inherit.
#[cfg(unix)]
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// H19: a second Ctrl-C ends at once, and a terminal that is closed ends a run like a kill.
#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn a_second_interrupt_ends_at_once_and_a_closed_terminal_costs_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    let bench = bench().await;
    bench.simulator.advance_steps(&bench.job, 300);
    let (dir, hook) = (bench.dir(), bench.dir().with_file_name("hook"));
    let slow = format!("sh -c 'echo $$ > {}; exec sleep 300'", hook.display());
    let arguments = [bench.job.as_str(), dir.to_str().unwrap(), "--interval", "100ms", "--exec-done", &slow];
    let running = bench.command(&arguments).spawn().unwrap();
    let pid = Pid::from_child(&running);
    let file = dir.join("my_first_lora_000000250.safetensors");
    until("a file is here", || file.exists()).await;
    kill_process(pid, Signal::INT).unwrap();
    let number = || std::fs::read_to_string(&hook).ok()?.strip_suffix('\n')?.parse().ok();
    until("the end waits for a hook", || number().is_some()).await;
    kill_process(pid, Signal::INT).unwrap();
    let ended = running.wait_with_output().unwrap();
    assert_eq!(code(&ended), 130, "{}", stderr(&ended));
    // A run that takes its time to end ends its hooks first.
    let hook = Pid::from_raw(number().unwrap()).unwrap();
    kill_process(hook, Signal::KILL).expect("the hook still runs");

    let mut running = bench.command(&arguments[..4]).spawn().unwrap();
    until("it is at work", || dir.join(".rcsync/lock").exists()).await;
    // Under `nohup` nothing ends by it; then the test would wait for ever.
    let hang_up = if ignores_hang_up() { Signal::KILL } else { Signal::HUP };
    kill_process(Pid::from_child(&running), hang_up).unwrap();
    assert_eq!(running.wait().unwrap().code(), None, "the system ends it");
    bench.simulator.finish(&bench.job);
    let rest = bench.once(&[]).await;
    assert_eq!(code(&rest), 0, "{}", stderr(&rest));
    assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
    bench.assert_sums_pass();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_a_quiet_end() {
    let bench = mirrored().await;
    let dir = bench.dir();
    let dir = dir.to_str().unwrap();
    let job = bench.job.as_str();
    for arguments in [
        &["man"][..],
        &["--help"],
        &["completions", "bash"],
        &["ls", dir],
        &["result", job],
        &["verify", dir],
        &[job, dir, "--once", "--output", "json"],
        &[job, dir, "--dry-run"],
    ] {
        let mut running = bench.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(running.stdout.take());
        let ended = running.wait_with_output().unwrap();
        let silent = ended.stderr.is_empty() || arguments.contains(&"--dry-run");
        assert!(
            silent && ended.status.code() < Some(131),
            "{arguments:?} {}: {}",
            ended.status,
            stderr(&ended)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn arguments_that_are_not_text_are_no_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let bench = finished().await;
    let odd = OsStr::from_bytes(b"o\xffdd");
    for at in 0..3 {
        for before in
            [&["status"][..], &["sync"], &["--interval"], &["--token-file"], &[bench.job.as_str(), "out"]]
        {
            let mut command = bench.command(before);
            command.args(std::iter::repeat_n(odd, at + 1));
            let run = command.output().unwrap();
            assert!([64, 77].contains(&code(&run)), "{before:?}: {}", stderr(&run));
            assert!(!stderr(&run).contains("panicked"), "{}", stderr(&run));
        }
    }
    for (name, expected) in
        [("RCSYNC_INTERVAL", 64), ("RUNCOMFY_TOKEN", 77), ("RUNCOMFY_TRAINER_API_BASE", 64)]
    {
        let run = bench.command(&["status", bench.job.as_str()]).env(name, odd).output().unwrap();
        assert_eq!(code(&run), expected, "{name}: {}", stderr(&run));
    }
    let dir = bench.dir().with_file_name(odd);
    let run = bench.command(&[bench.job.as_str()]).arg(&dir).args(["--once", "-q"]).output().unwrap();
    assert_eq!(code(&run), 0, "a folder may be called anything: {}", stderr(&run));
    assert!(dir.join("config.yaml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn help_completions_and_man_pages_need_nothing() {
    let bench = bench().await;
    let config = bench.config("broken");
    let variables = [("XDG_CONFIG_HOME", config.as_str()), ("RUNCOMFY_TOKEN", "")];
    for typed in [
        "--help",
        "-h",
        "--version",
        "help sync",
        "sync --help",
        "completions bash",
        "completions zsh",
        "completions fish",
        "completions powershell",
        "man",
    ] {
        let run = bench.run(typed, &variables).await;
        assert_eq!((code(&run), stderr(&run).as_str()), (0, ""), "{typed}");
        assert!(stdout(&run).contains("rcsync"), "{typed}");
    }
    assert_eq!(bench.simulator.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peek_reads_headers_alone_and_shows_what_to_choose_by() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(JobPlan { checkpoint_bytes: 2_000_000, ..plan() });
    let bench = Bench::new(simulator, job);
    bench.simulator.finish(&bench.job);
    bench.simulator.fault(Fault::once("_000000250.safetensors", What::Cut(5)));
    bench.simulator.fault(Fault::always("_000000500.safetensors", What::IgnoreRange));
    bench.simulator.fault(Fault::always("_000000750.safetensors", What::status(404)));
    let peeked = bench.run("result JOB --peek --output json", &[]).await;
    assert_eq!((code(&peeked), stderr(&peeked).as_str()), (0, ""));
    let read = document(&peeked);
    let row = |path: &str| {
        let rows = read["artifacts"].as_array().unwrap();
        rows.iter().find(|row| row["path"] == path).unwrap().clone()
    };
    for (path, step) in [
        ("my_first_lora_000000250.safetensors", 250),
        ("my_first_lora_000000500.safetensors", 500),
        ("my_first_lora.safetensors", 1000),
    ] {
        let peek = &row(path)["peek"];
        assert_eq!((&peek["step"], &peek["size"]), (&step.into(), &peek["hosted"]), "{path}: {peek}");
        assert!(peek["rank"].as_u64() > Some(0) && peek["dtype"].is_string(), "{path}: {peek}");
        assert!(peek["base_model"].is_string() && peek["trigger_words"].is_array(), "{path}: {peek}");
    }
    let gone = &row("my_first_lora_000000750.safetensors")["peek"];
    assert!(gone["error"].as_str().unwrap().starts_with("the host answered HTTP 404"), "{gone}");
    assert!(row("config.yaml").get("peek").is_none());
    bench.simulator.clear_faults();
    bench.simulator.clear_requests();
    let words = bench.run("result JOB --peek", &[]).await;
    assert!(stdout(&words).starts_with("step     size  rank  dtype"), "{}", stdout(&words));
    let requests = bench.simulator.requests();
    let asked: Vec<_> = requests.iter().filter(|request| request.origin == Origin::Artifacts).collect();
    assert!(
        asked.iter().all(|request| request.body_bytes < 100_000 && !request.had_authorization),
        "{asked:?}"
    );
    assert!((4..=8).contains(&asked.len()), "{asked:?}");
    assert!(!stdout(&words).contains("sig="));
}
