#!/usr/bin/env python3
"""What rcsync placed, judged by a real ComfyUI server on CPU, ComfyUI's own reader of extra_model_paths.yaml, and AI Toolkit's
own rule of what it resumes from.

    COMFYUI=<a checkout of ComfyUI> PYTHON=<a Python with its requirements> [AITOOLKIT=<a checkout of AI Toolkit>] \\
        tests/real/comfyui_server.py [PATH OF rcsync]        default: target/release/rcsync

Checks: one stage of Wan 2.2 is placed, listed and patches a model; an embedding is listed as one; a full model is not
placed; the animated preview is served; a sidecar does not change what is listed; every text of the table of
extra_model_paths.yaml gives the order that ComfyUI's reader gives now; the newest checkpoint is what AI Toolkit resumes from.
Exit code 0: everything held. 77: something that it needs is not to be had; the reason is printed.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request

from parts import latest_save, trainer

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "tests/it/comfy/fixtures"
TABLE = ROOT / "src/edge/comfyui/fixtures/extra_model_paths.json"
PORT = 18188


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def check(holds, what):
    print(("ok      " if holds else "FAILED  ") + what, flush=True)
    if not holds:
        sys.exit(1)


def ask(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=30) as answer:
        return answer.read(), answer.headers.get("Content-Type")


def python(comfyui, code, *arguments, env=None):
    run = [os.environ["PYTHON"], "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(run, cwd=comfyui, capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode:
        print(done.stderr[-2000:])
    return done


def server(comfyui, work, rcsync):
    read = lambda name: (FILES / name).read_bytes()
    stages = ["wan_one_stage_000000250_high_noise.safetensors", "wan_one_stage_high_noise.safetensors"]
    base = trainer(
        {
            "my_lora_000000250_high_noise.safetensors": read(stages[0]),
            "my_lora_high_noise.safetensors": read(stages[1]),
            "ohwx_000000250.safetensors": read("embedding_000000250.safetensors"),
            "my_lora_full_000000250.safetensors": read("full_model_000000250.safetensors"),
            "samples/1724085406830__000000250_0.webp": read("animated_sample.webp"),
            "samples/1724085406831__000000500_0.webp": read("animated_sample.webp"),
        }
    )
    ui, out = work / "ui", work / "out"
    for name in ["models/loras", "models/embeddings", "custom_nodes", "input", "output", "temp", "user"]:
        (ui / name).mkdir(parents=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "RUNCOMFY_TOKEN": "no-real-token", "RUNCOMFY_TRAINER_API_BASE": base}
    run = [rcsync, "sync", "j1", out, "--once", "--comfyui", ui, "--comfyui-sidecars"]
    done = subprocess.run(run, env=env, capture_output=True, text=True)
    print(textwrap.indent(done.stderr, "        "))
    check(done.returncode == 0, "a job is mirrored into ComfyUI")
    log = open(work / "log", "w")
    arguments = ["main.py", "--cpu", "--port", str(PORT), "--base-directory", ui, "--disable-all-custom-nodes"]
    process = subprocess.Popen([os.environ["PYTHON"], *map(str, arguments)], cwd=comfyui, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                stats = json.loads(ask("/system_stats")[0])
                break
            except OSError:
                if process.poll() is not None:
                    skip("ComfyUI does not start: " + (work / "log").read_text()[-500:])
                time.sleep(1)
        else:
            skip("ComfyUI does not answer within two minutes")
        print("        ComfyUI", stats["system"].get("comfyui_version"), "torch", stats["system"].get("pytorch_version"))
        listed = json.loads(ask("/models/loras")[0])
        names = ["my_lora/my_lora_000000250_high_noise.safetensors", "my_lora/my_lora_high_noise.safetensors"]
        check(sorted(listed) == names, f"it lists both saves of one stage as LoRAs, and nothing else: {listed}")
        words = json.loads(ask("/embeddings")[0])
        check(words == ["my_lora/ohwx_000000250"], f"it lists the embedding: {words}")
        picture, kind = ask(f"/experiment/models/preview/loras/0/{names[0]}")
        check(kind == "image/webp" and picture[8:12] == b"WEBP", "it serves the animated preview")
    finally:
        process.terminate()
        process.wait()
    patches = python(
        comfyui,
        """
        import sys
        sys.argv, path = ["x", "--cpu"], sys.argv[1]
        import comfy.options
        comfy.options.enable_args_parsing()
        import comfy.lora, comfy.utils, comfy.lora_convert
        file = comfy.lora_convert.convert_lora(comfy.utils.load_torch_file(path))
        keys = {k[: -len(".lora_A.weight")]: k for k in file if k.endswith(".lora_A.weight")}
        print(len(keys), len(comfy.lora.load_lora(file, {key: key for key in keys})))
        """,
        ui / "models/loras" / names[1],
    )
    last = patches.stdout.strip().splitlines()[-1:] or [""]
    pairs = last[0].split()
    check(len(pairs) == 2 and pairs[0] == pairs[1] != "0", f"its loader makes a patch of each pair of tensors: {last[0]}")
    return out


def table(comfyui, work):
    """ComfyUI's own reader, asked anew, beside what the table of the unit test says."""
    cases = json.loads(TABLE.read_text())
    for at, case in enumerate(cases):
        root = work / f"case{at}"
        for name in [*case["dirs"], "ui/models/loras", "home"]:
            (root / name).mkdir(parents=True, exist_ok=True)
        fill = lambda text: text.replace("{{", "{").replace("}}", "}").replace("{R}", str(root))
        yaml = root / "ui/extra_model_paths.yaml"
        yaml.write_bytes(fill(case["text"]).encode())
        env = {"HOME": str(root / "home"), **{key: fill(value) for key, value in case["env"].items()}}
        case["run"] = (str(yaml), str(root), env)
    asked = python(
        comfyui,
        """
        import json, os, sys
        cases, sys.argv = json.load(open(sys.argv[1])), ["x"]
        import folder_paths
        from utils.extra_config import load_extra_path_config
        answers = []
        for yaml, root, env in cases:
            os.environ.update(env)
            own = os.path.join(root, "ui", "models", "loras")
            folder_paths.folder_names_and_paths["loras"] = ([own], set())
            try:
                load_extra_path_config(yaml)
                refused = False
            except BaseException:
                refused = True
            answers.append([refused, [p.replace(root, "R") for p in folder_paths.folder_names_and_paths["loras"][0]]])
            for key in env:
                os.environ.pop(key)
        print(json.dumps(answers))
        """,
        _cases(work, cases),
    )
    check(asked.returncode == 0, "ComfyUI's reader answers")
    answers = json.loads(asked.stdout.strip().splitlines()[-1])
    differ = [
        case["name"]
        for case, (refused, order) in zip(cases, answers)
        if refused != case["comfyui_refuses"] or (not refused and order != case["comfyui_order"])
    ]
    check(not differ, f"{len(cases)} texts have the order of the table {differ or ''}")


def _cases(work, cases):
    path = work / "cases.json"
    path.write_text(json.dumps([case["run"] for case in cases]))
    return path


def resumes(out):
    latest = latest_save(out, "my_lora")
    check(latest == str(out / "my_lora_high_noise.safetensors"), f"AI Toolkit resumes from the final save: {latest}")


def main():
    rcsync = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/rcsync").resolve()
    if not rcsync.exists():
        skip(f"there is no {rcsync}; `cargo build --release` makes one")
    for name in ["COMFYUI", "PYTHON"]:
        if name not in os.environ:
            skip(f"{name} is not set")
    comfyui = pathlib.Path(os.environ["COMFYUI"]).resolve()
    with tempfile.TemporaryDirectory(prefix="rcsync-comfyui-") as work:
        work = pathlib.Path(work).resolve()
        out = server(comfyui, work, rcsync)
        if "AITOOLKIT" in os.environ:
            resumes(out)
        table(comfyui, work)
    print("everything held")


main()
