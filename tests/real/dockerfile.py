#!/usr/bin/env python3
"""Follows the steps of examples/docker/Dockerfile without an engine: each stage is a folder.

    tests/real/dockerfile.py [PROGRAM]

With PROGRAM (seconds; CI does this) the build is checked instead of made, and PROGRAM is taken for what it would have
made. Without, the release build is made. Either way the last stage is a folder with the libraries that the program
asks for, nothing else of this machine, and the program is run there as the user, in the place and by the entry point
that the file names. Needs root for that (chroot), and says so where it is not to be had.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

REPO = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = REPO / "examples/docker/Dockerfile"


def instructions(text):
    """Yields (word, rest) of each instruction, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


class Stage:
    def __init__(self, image, root):
        self.image, self.root = image, root
        self.workdir, self.user, self.entrypoint = "/", "0", []

    def path(self, inside):
        return self.root / os.path.normpath(os.path.join(self.workdir, inside)).lstrip("/")


def copy(rest, stage, stages):
    words = shlex.split(rest)
    source = REPO
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, to = words
    for name in names:
        origin = source / name.lstrip("/")
        if source == REPO:
            # What an engine would see: the files of the repository, not what was built beside them.
            tracked = subprocess.run(["git", "ls-files", "--error-unmatch", name], cwd=REPO, capture_output=True)
            assert tracked.returncode == 0, f"COPY {name}: not a file of this repository"
        target = stage.path(to)
        if to.endswith("/") and not origin.is_dir():
            target = target / origin.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, dirs_exist_ok=True)
        else:
            shutil.copy(origin, target)


def build(command, stage, program):
    """The build, by this machine's toolchain: the file's own command, or a check and PROGRAM in its place."""
    environment = dict(os.environ)
    if program is None:
        environment["CARGO_TARGET_DIR"] = str(stage.path("target"))
    else:
        environment["CARGO_TARGET_DIR"] = str(REPO / "target")
        command = command.replace("cargo build --release", "cargo check --quiet")
    subprocess.run(["sh", "-ec", command], cwd=stage.path("."), env=environment, check=True)
    if program is not None:
        made = stage.path("target/release/rcsync")
        made.parent.mkdir(parents=True)
        shutil.copy(program, made)


def run(command, stage):
    """A step of the last stage. What an engine's image has, this folder has not: the few programs are told apart."""
    for step in command.split("&&"):
        words = shlex.split(step)
        match words:
            case ["apt-get", *rest]:
                if "ca-certificates" in rest:
                    certificates = pathlib.Path("etc/ssl/certs/ca-certificates.crt")
                    if ("/" / certificates).exists():
                        (stage.root / certificates).parent.mkdir(parents=True)
                        shutil.copy("/" / certificates, stage.root / certificates)
            case ["rm", "-rf", "/var/lib/apt/lists/*"]:
                pass
            case ["install", "--directory", owner, folder] if owner.startswith("--owner="):
                stage.path(folder).mkdir(parents=True)
                os.chown(stage.path(folder), int(owner.removeprefix("--owner=")), 0)
            case _:
                sys.exit(f"RUN {step.strip()}: this script does not know that step; teach it")


def libraries(program, root):
    """Copies what the loader would look for, as the image's own libraries."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def start(stage, *arguments):
    """Runs the entry point in the stage as its user, and returns what it printed."""

    def enter():
        os.chroot(stage.root)
        os.chdir(stage.workdir)
        os.setgroups([])
        os.setgid(int(stage.user))
        os.setuid(int(stage.user))

    program = "/usr/local/bin/" + stage.entrypoint[0]
    assert (stage.root / program.lstrip("/")).is_file(), f"ENTRYPOINT: there is no {program}"
    words = [program, *stage.entrypoint[1:], *arguments]
    ended = subprocess.run(words, preexec_fn=enter, env={}, capture_output=True, text=True)
    assert ended.returncode == 0, f"{shlex.join(words)} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout.strip()


def main():
    program = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    if os.geteuid() != 0 or shutil.which("chroot") is None:
        print("passed over: the Dockerfile (chroot needs root)")
        return
    with tempfile.TemporaryDirectory() as work:
        stages, stage = {}, None
        for word, rest in instructions(DOCKERFILE.read_text()):
            match word:
                case "FROM":
                    image, _, name = rest.partition(" AS ")
                    root = pathlib.Path(work, f"stage-{len(stages)}")
                    root.mkdir()
                    stage = stages[name or "last"] = Stage(image, root)
                case "WORKDIR":
                    stage.workdir = os.path.join(stage.workdir, rest)
                    stage.path(".").mkdir(parents=True, exist_ok=True)
                case "COPY":
                    copy(rest, stage, stages)
                case "RUN" if rest.startswith("cargo "):
                    build(rest, stage, program)
                case "RUN":
                    run(rest, stage)
                case "USER":
                    stage.user = rest
                case "ENTRYPOINT":
                    stage.entrypoint = json.loads(rest)
                case "VOLUME":
                    pass
                case _:
                    sys.exit(f"{word}: this script does not know that instruction; teach it")
        libraries(stage.root / "usr/local/bin/rcsync", stage.root)
        owner = stage.path(".").stat().st_uid
        assert str(owner) == stage.user, f"{stage.workdir} is {owner}'s, and {stage.user} is to write there"
        said = start(stage, "--version")
        if program is None:
            start(stage, "demo", "demo", "--quiet")
            assert stage.path("demo/SHA256SUMS").is_file()
            said += ", and its demo"
        print(f"Dockerfile: every step was followed; as user {stage.user} in {stage.workdir}: {said}")


if __name__ == "__main__":
    main()
