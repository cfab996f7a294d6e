//! What the owner of a ComfyUI moved, renamed or deleted there is not placed again, unless that is asked for.

use std::fs;

use super::{Stage, plan};
use crate::support::{code, snapshot, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_comfyui_is_not_placed_again_until_it_is_asked_for() {
    let stage = Stage::finished(plan()).await;
    assert_eq!(code(&stage.mirror(&["--comfyui-sidecars"]).await), 0);
    let all = stage.placed();
    let folder = stage.loras().join("my_first_lora");
    let name = |step: &str| folder.join(format!("my_first_lora_{step}.safetensors"));
    fs::remove_file(name("000000250")).unwrap();
    fs::rename(name("000000500"), folder.join("best.safetensors")).unwrap();
    fs::create_dir(stage.loras().join("mine")).unwrap();
    fs::rename(name("000000750"), stage.loras().join("mine/x.safetensors")).unwrap();
    fs::remove_file(folder.join("my_first_lora.jpg")).unwrap();
    fs::remove_file(folder.join("my_first_lora.civitai.info")).unwrap();
    let before = snapshot(&stage.ui());
    let run = stage.mirror(&["--comfyui-sidecars"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let words =
        "`my_first_lora/my_first_lora_000000250.safetensors` was moved, renamed or deleted in ComfyUI";
    assert!(stderr(&run).contains(words), "{}", stderr(&run));
    assert_eq!(snapshot(&stage.ui()), before);
    // That is reported once, by `sync` too, and a pass with nothing new changes nothing.
    let before = (snapshot(&stage.ui()), snapshot(&stage.bench.dir()));
    for run in [stage.mirror(&["--comfyui-sidecars"]).await, stage.once(&["--comfyui-sidecars"]).await] {
        assert_eq!((code(&run), stderr(&run).as_str()), (0, ""));
    }
    assert_eq!((snapshot(&stage.ui()), snapshot(&stage.bench.dir())), before);
    // Asked for: all of it is there again, beside what its owner made of it.
    let run = stage.mirror(&["--comfyui-sidecars", "--again"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let placed = stage.placed();
    assert!(all.iter().all(|path| placed.contains(path)), "{placed:?}");
    assert!(placed.contains(&"mine/x.safetensors".to_owned()));
    // A new checkpoint is placed whatever became of the old ones.
    fs::remove_dir_all(&folder).unwrap();
    let bench = &stage.bench;
    bench.simulator.rewrite(&bench.job, "my_first_lora.safetensors");
    bench.simulator.resume(&bench.job);
    bench.simulator.finish(&bench.job);
    let run = stage.once(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(folder.join("my_first_lora.safetensors").exists());
}
