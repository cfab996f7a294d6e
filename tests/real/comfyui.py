#!/usr/bin/env python3
"""rcsync's ComfyUI mirror, read by what reads it in real life: ComfyUI's listing and the safetensors package.

Readers list a ComfyUI's LoRA folder in a tight loop, as fast as they can, while a simulated job is mirrored into it, and
while mirrors into a second one are killed half-way, again and again. They open whatever has a model extension, hidden or
not, and check its body against the hash that the trainer wrote into its header. They must never meet a broken file.

    tests/real/comfyui.py [PATH OF rcsync]        default: target/release/rcsync

With COMFYUI=<a checkout of ComfyUI> its own folder_paths.py does the listing; without, its rules as they are written
down here. Needs Python 3.9 with venv; installs the safetensors package into a temporary folder.
Exit code 0: everything held. 77: something that it needs is not to be had; the reason is printed.
"""

import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["safetensors", "numpy"]
EXTENSIONS = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def say(words):
    print(words, flush=True)


class Rules:
    """What ComfyUI's folder_paths.py does (2025-10): a walk through links, all but `.git`, hidden files too; a list is
    kept until the time stamp of a folder in it changes."""

    name = "ComfyUI's rules"

    def __init__(self, root):
        self.root = str(root)
        self.kept = None

    def names(self):
        if self.kept is None or any(self.stamp(folder) != stamp for folder, stamp in self.kept[1].items()):
            self.kept = self.walk()
        return self.kept[0]

    def full_path(self, name):
        path = os.path.join(self.root, name)
        return path if os.path.isfile(path) else None

    @staticmethod
    def stamp(folder):
        try:
            return os.path.getmtime(folder)
        except FileNotFoundError:
            return None

    def walk(self):
        names, folders = [], {self.root: self.stamp(self.root)}
        for folder, inner, files in os.walk(self.root, followlinks=True, topdown=True):
            inner[:] = [name for name in inner if name != ".git"]
            names += [os.path.relpath(os.path.join(folder, name), self.root) for name in files]
            for name in inner:
                path = os.path.join(folder, name)
                folders[path] = self.stamp(path)
        wanted = [name for name in names if os.path.splitext(name)[1].lower() in EXTENSIONS]
        return sorted(wanted), folders


class Own:
    """ComfyUI's own folder_paths.py."""

    name = "ComfyUI's own folder_paths.py"

    def __init__(self, root):
        sys.argv = sys.argv[:1]
        sys.path.insert(0, os.environ["COMFYUI"])
        import folder_paths

        self.paths = folder_paths
        self.paths.folder_names_and_paths["loras"] = ([str(root)], self.paths.supported_pt_extensions)
        self.paths.filename_list_cache.clear()

    def names(self):
        return self.paths.get_filename_list("loras")

    def full_path(self, name):
        return self.paths.get_full_path("loras", name)


class Reader(threading.Thread):
    """Lists and opens, again and again, until it is stopped or meets a broken file."""

    def __init__(self, root, fresh):
        super().__init__(daemon=True)
        lister = Own if "COMFYUI" in os.environ else Rules
        self.lister, self.fresh = lister(root), fresh
        self.ended, self.broken = threading.Event(), []
        self.lists = self.opened = 0
        self.seen = {}

    def run(self):
        while not self.ended.is_set() and not self.broken:
            if self.fresh and isinstance(self.lister, Rules):
                self.lister.kept = None
            for name in self.lister.names():
                path = self.lister.full_path(name)
                if path is None:
                    self.broken.append(f"{name}: listed, but not there")
                    continue
                try:
                    self.open(path)
                except Exception as error:
                    self.broken.append(f"{name}: {type(error).__name__}: {error}")
            self.lists += 1

    def open(self, path):
        from safetensors import deserialize, safe_open

        known = (os.stat(path).st_ino, os.stat(path).st_mtime_ns, os.stat(path).st_size)
        with safe_open(path, framework="numpy") as file:
            told = file.metadata()["sshs_model_hash"]
            count = len(list(file.keys()))
        self.opened += 1
        # The whole body is read once for each file there ever was; its header at every look.
        if self.seen.get(path) == known:
            return
        data = pathlib.Path(path).read_bytes()
        assert len(deserialize(data)) == count
        length = int.from_bytes(data[:8], "little")
        assert hashlib.sha256(data[8 + length :]).hexdigest() == told, "the body is not what the trainer wrote"
        self.seen[path] = known


def reading(root):
    readers = [Reader(root, fresh) for fresh in (True, False)]
    for reader in readers:
        reader.start()
    return readers


def end(readers, at_least):
    time.sleep(0.5)
    for reader in readers:
        reader.ended.set()
        reader.join()
    for reader in readers:
        if reader.broken:
            sys.exit(f"FAILED: {reader.broken[0]}")
        if len(reader.seen) < at_least:
            sys.exit(f"FAILED: a reader saw {len(reader.seen)} files of {at_least}")
    say(f"  {sum(r.lists for r in readers)} lists, {sum(r.opened for r in readers)} files opened, none broken")


def main():
    rcsync = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/rcsync").resolve()
    if not rcsync.exists():
        skip(f"there is no {rcsync}; `cargo build --release` makes one")
    with tempfile.TemporaryDirectory(prefix="rcsync-comfyui-") as work:
        check(rcsync, pathlib.Path(work))
    say("everything held")


def check(rcsync, work):
    venv.create(work / "venv", with_pip=True)
    python = work / "venv/bin/python"
    needs = PACKAGES + (["pyyaml"] if "COMFYUI" in os.environ else [])
    if subprocess.run([python, "-m", "pip", "-q", "install", *needs]).returncode:
        skip("the safetensors package cannot be installed")
    found = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True)
    sys.path.insert(0, found.stdout.strip())

    first, second = work / "first", work / "second"
    for ui in (first, second):
        (ui / "models/loras").mkdir(parents=True)
    say(f"a job is mirrored into ComfyUI; {Own.name if 'COMFYUI' in os.environ else Rules.name} lists it")
    readers = reading(first / "models/loras")
    run = [rcsync, "demo", work / "out", "--comfyui", first, "--output", "json"]
    done = subprocess.run(run, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAILED: {done.stderr}")
    mirrored = [json.loads(line) for line in done.stdout.splitlines()]
    mirrored = [event for event in mirrored if event["event"] == "mirrored"]
    end(readers, len(mirrored))
    pictures = list((first / "models/loras").rglob("*.jpg"))
    say(f"  {len(mirrored)} LoRAs by {mirrored[0]['how']}, {len(pictures)} pictures")

    say("mirrors by copy into another ComfyUI are killed half-way, forty times")
    readers = reading(second / "models/loras")
    run = [rcsync, "mirror", work / "out", "--comfyui", second, "--comfyui-link", "copy", "-q"]
    for number in range(40):
        # A folder of its own each time, so that there is something left to do.
        process = subprocess.Popen([*run, "--comfyui-subdir", f"round-{number}"])
        time.sleep(random.uniform(0.001, 0.03))
        process.kill()
        process.wait()
    subprocess.run(run, check=True)
    end(readers, len(mirrored))
    left = [path for path in second.rglob("*") if path.name.endswith("rcsync-part")]
    if left:
        sys.exit(f"FAILED: left behind: {left}")


main()
