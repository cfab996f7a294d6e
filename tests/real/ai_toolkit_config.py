#!/usr/bin/env python3
"""Compares what `rcsync submit --dry-run` says of configurations with what AI Toolkit's own reader makes of them.

    tests/real/ai_toolkit_config.py PROGRAM AI_TOOLKIT

PROGRAM is rcsync, AI_TOOLKIT a checkout of ostris/ai-toolkit. Needs PyYAML; of AI Toolkit `toolkit/config.py` and
`jobs/BaseJob.py` are run, which need no GPU. What AI Toolkit refuses rcsync has to refuse with 65; of the
configurations that are right, and of those that `rcsync init` writes, both have to say so.
"""

import importlib.util
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import types

GOOD = """\
job: extension
config:
  name: dog
  process:
    - type: sd_trainer
      training_folder: /app/ai-toolkit/output
      datasets:
        - folder_path: /app/ai-toolkit/datasets/dog
meta:
  name: "[name]"
"""

NAMES = """2024 2024_01 0x1F 0x_ 017 08 0b1 0b_ 0o17 1_ 1:30 1:60 -190:20:30 12:30.5 1. .5 ._ 1e5 1E-4 1e 2e+3 .inf -.INF
.nan .NaN on Off NO yes y n true TRUE tRue ~ null Null NULL nil = << 2024-01-31 2024-1-3 2024-13-45
2024-01-31T12:30:00 2024-01-31t1:00:00.5Z v1.0 1.0.0 1-2 _1 1__2 + - . .. dog größe !!str|2024 !!int|7 !|7 !!null|x !!float|1
"2024" 'on' "a\\tb" 'it''s' !dog|x !!binary|AP8= &a|dog &größe|dog [dog] {a:|b} |-""".split()

LINES = """x:|2024-01-31
x:|=
x:|<<
<<:|3
x:|!dog|barks
x:|!!set|{a,|b}
x:|!!python/tuple|[1,|2]
x:|!!omap|[a:|1]
x:|!!timestamp|2024-01-31
x:|!!bool|maybe
x:|!!str|[a]
x:\tdog
x:|dog\t#|c
x:|"a\tb"
x:|a\tb
#|a\tb
#|${HOME_OF_NOBODY}
x:|"${HOME_OF_NOBODY}"
x:|${}
x:|$5
?|[a]
?|{a:|b}
[a]:|b
x:|[&q|1,|&q|2]
x:|&größe|1
x:|&q|[*q]
x:|a\u2028b
x:|"a\u2028b"
#|a\u2028b
x:|"\u0007"
x:|\u007f
2024-01-31:|x
on:|x
null:|x
x:|[1,|2,]
x:|{a,|b}
x:|'it''s'
x:|08
x:|a:b
x:|[http://a/b]
x:|"\\/"
x:|%a
x:|@a
x:|`a`
x:|-|a""".split("\n")

EDITS = [
    ("job: extension\n", ""), ("job: extension", "job: extention"), ("job: extension", "job: [extension]"),
    ("job: extension", "job:"), ("  name: dog\n", ""), ("- type: sd_trainer\n      training", "- training"),
    ("    - type", "      type"), ("type: sd_trainer", "type: 7"), ("type: sd_trainer", "type: [a]"),
    ("type: sd_trainer", "type:"), ("    - type: sd_trainer", "    - dog\n    - type: sd_trainer"),
    ("name: dog", "name: 'a \"dog\"'"), ("name: dog", "name: 'a \\dog'"),
]


def reader(root):
    """Returns AI Toolkit's get_config and its BaseJob; its `oyaml` is PyYAML with ordered dictionaries."""
    import yaml

    sys.modules.setdefault("oyaml", yaml)
    paths = types.ModuleType("toolkit.paths")
    paths.TOOLKIT_ROOT = str(root)
    process = types.ModuleType("jobs.process")
    process.BaseProcess = object
    sys.modules.update({
        "toolkit": types.ModuleType("toolkit"), "toolkit.paths": paths, "jobs": types.ModuleType("jobs"),
        "jobs.process": process,
    })
    loaded = []
    for name in ["toolkit/config.py", "jobs/BaseJob.py"]:
        spec = importlib.util.spec_from_file_location(name.replace("/", "_"), root / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded.append(module)
    return loaded[0].get_config, loaded[1].BaseJob


def main():
    program, root = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    get_config, base_job = reader(root)
    trainers = {"sd_trainer": lambda *_: None, "diffusion_trainer": lambda *_: None}

    def theirs(path):
        try:
            config = get_config(str(path))
            if config["job"] not in ["extract", "train", "mod", "generate", "extension"]:
                raise ValueError("unknown job")
            job = base_job(config)
            job.load_processes(trainers)
            os.path.join("/", job.name)
            return None
        except Exception as error:  # Whatever it is: the training has ended.
            return f"{type(error).__name__}: {error}"

    texts = {"good": GOOD}
    for name in NAMES:
        texts[f"name: {name}"] = GOOD.replace("name: dog", "name: " + name.replace("|", " "))
    for line in LINES:
        line = line.replace("|", " ")
        texts[repr(line)] = GOOD.replace("meta:", f"      {line}\nmeta:")
    for old, new in EDITS:
        texts[f"{old!r} -> {new!r}"] = GOOD.replace(old, new)
    rng = random.Random(7)
    for at in range(int(os.environ.get("RANDOM_NAMES", "200"))):
        name = "".join(rng.choice("0123456789_:.-+eExbT Zon~=") for _ in range(rng.randint(1, 9)))
        texts[f"random {at}: {name!r}"] = GOOD.replace("name: dog", f"name: {name}")
    worse = stricter = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "pictures").mkdir()
        (folder / "pictures" / "a.jpg").write_bytes(b"")
        environment = {"RUNCOMFY_TOKEN": "x", "HOME": str(folder), "PATH": os.environ["PATH"]}

        def run(*arguments):
            done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=folder, env=environment)
            return done.returncode, done.stderr.strip()

        models = run("init", "x", "--dataset", "pictures", "--model", "none")[1].split("one of ")[1].splitlines()[0].split("; ")[0]
        for model in models.split(", "):
            code, said = run("init", model, "--dataset", "pictures", "--model", model, "--trigger", "d0gx")
            assert code == 0, said
            texts[f"init --model {model}"] = (folder / f"{model}.yaml").read_text()
        path = folder / "config.yaml"
        for what, text in texts.items():
            path.write_text(text)
            refused = theirs(path)
            code, said = run("submit", str(path), "--gpu-type", "H100", "--dry-run")
            if refused and code == 0:
                worse += 1
                print(f"AI TOOLKIT ALONE REFUSES {what}: {refused.splitlines()[0]}")
            elif not refused and code != 0:
                stricter += 1
                print(f"rcsync alone refuses {what}: {said.splitlines()[0].partition('yaml`: ')[2]}")
            if what.startswith(("good", "init")):
                assert not refused and code == 0, (what, refused, said)
    print(f"{len(texts)} configurations: {worse} that AI Toolkit alone refuses, {stricter} that rcsync alone refuses")
    sys.exit(1 if worse else 0)


main()
