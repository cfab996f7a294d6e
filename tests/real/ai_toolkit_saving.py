#!/usr/bin/env python3
"""Saves files with AI Toolkit's own saving code, mirrors them, and checks what rcsync makes of each.

    AITOOLKIT=<a checkout of AI Toolkit> PYTHON=<a Python with torch, diffusers, transformers, peft, optimum-quanto, torchao,
    safetensors, oyaml> tests/real/ai_toolkit_saving.py [PATH OF rcsync]    default: target/release/rcsync

`BaseSDTrainProcess.save` runs unchanged, with small networks in place of a base model: LoRA, LoRA with whole differences,
LoKr in both formats, DoRA, a LoRA with an embedding, embeddings (`.safetensors`, `.pt`), a decorator, Wan 2.2 of two stages
and of one, a merged full model. Packages that only other parts of AI Toolkit need are replaced by empty ones. No GPU.
After each pass `get_latest_save_path` has to name the newest checkpoint. Exit code 0: everything held. 77: something is missing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def check(holds, what):
    print(("ok      " if holds else "FAILED  ") + what, flush=True)
    if not holds:
        check.failed += 1


check.failed = 0


class Empty(types.ModuleType):
    """A package that is not installed: each of its names is an empty class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__getattr__": lambda self, name: None})
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the packages that AI Toolkit's own sources name and that are not installed."""

    def __init__(self, checkout):
        named = set()
        for path in checkout.rglob("*.py"):
            named |= set(re.findall(r"^\s*(?:import|from)\s+([A-Za-z]\w*)", path.read_text(errors="replace"), re.M))
        own = {path.stem for path in checkout.iterdir()}
        # Where these are missing, the code that asks for them does without.
        optional = {name for name in named if name.startswith("flash_attn")} | {"xformers", "triton", "sageattention"}
        self.replaced = {name for name in named - own - optional if importlib.util.find_spec(name) is None}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.replaced:
            return None
        # Other packages ask whether these are there, and do without.
        frame = sys._getframe()
        while "importlib" in frame.f_code.co_filename or frame.f_code.co_filename == __file__ and frame.f_code.co_name == "find_spec":
            frame = frame.f_back
        if "site-packages" in frame.f_code.co_filename:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Empty(spec.name)

    def exec_module(self, module):
        pass


def save_all(root):
    """Runs in PYTHON: saves jobs below `root`, one folder each."""
    checkout = pathlib.Path(os.environ["AITOOLKIT"]).resolve()
    finder = Finder(checkout)
    sys.path.insert(0, str(checkout))
    sys.meta_path.append(finder)
    import diffusers
    import torch

    from jobs.process.BaseSDTrainProcess import BaseSDTrainProcess
    from toolkit.config_modules import NetworkConfig
    from toolkit.embedding import Embedding
    from toolkit.lora_special import LoRASpecialNetwork
    from version import VERSION

    print(f"AI Toolkit {VERSION}, torch {torch.__version__}, diffusers {diffusers.__version__}", flush=True)
    print("replaced:", " ".join(sorted(finder.replaced)), flush=True)
    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = torch.nn.Linear(64, 64)
            self.mlp = torch.nn.Linear(64, 128)
            self.norm = torch.nn.LayerNorm(64)

    def model(kind):
        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                name = "blocks" if "Wan" in kind else "transformer_blocks"
                setattr(self, name, torch.nn.ModuleList([Block(), Block()]))

        Model.__name__ = kind
        return Model()

    class Sd:
        """What the saving code asks of a base model."""

        is_xl = False
        refiner_unet = None
        use_old_lokr_format = False
        network = None

        def get_base_model_version(self):
            return "flux.1"

        def convert_lora_weights_before_save(self, state_dict):
            return state_dict

        def get_transformer_block_names(self):
            return None

    def network(unet, sd, target, **settings):
        config = NetworkConfig(linear=4, linear_alpha=4, **settings)
        net = LoRASpecialNetwork(
            text_encoder=[],
            unet=unet,
            lora_dim=4,
            alpha=4,
            train_text_encoder=False,
            train_unet=True,
            network_config=config,
            network_type=config.type,
            transformer_only=False,
            is_transformer=True,
            target_lin_modules=[target],
            target_conv_modules=[],
            base_model=sd,
            full_if_contains=getattr(config, "full_if_contains", None),
        )
        net.apply_to([], unet, False, True)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter)
        sd.network = net
        return net

    class Encoder:
        """A text encoder with these words alone."""

        def __init__(self, words, size):
            self.table = torch.nn.Embedding(words, size)

        def get_input_embeddings(self):
            return self.table

    def embedding(sd, words=3):
        made = Embedding.__new__(Embedding)
        made.name, made.trigger, made.step, made.sd = "ohwx", "ohwx", 0, sd
        made.placeholder_token_ids = [list(range(words))] * 2
        made.text_encoder_list = [Encoder(words, size) for size in (768, 1280)]
        return made

    def process(name, **parts):
        made = BaseSDTrainProcess.__new__(BaseSDTrainProcess)
        sd = parts.pop("sd", None) or Sd()
        made.__dict__.update(
            accelerator=types.SimpleNamespace(is_main_process=True),
            ema=None,
            save_root=str(root / name),
            job=types.SimpleNamespace(name=name),
            meta=__import__("collections").OrderedDict(),
            sd=sd,
            step_num=0,
            epoch_num=0,
            trigger_word="ohwx",
            adapter=None,
            adapter_config=None,
            is_fine_tuning=False,
            network=None,
            network_config=None,
            named_lora=False,
            embedding=None,
            embed_config=None,
            decorator=None,
            snr_gos=None,
            train_config=types.SimpleNamespace(merge_network_on_save=False, train_unet=True, train_text_encoder=False),
            save_config=types.SimpleNamespace(dtype="float16", save_format="safetensors", max_step_saves_to_keep=4),
            optimizer=torch.optim.AdamW([torch.nn.Parameter(torch.randn(4, 4))]),
            last_save_step=0,
        )
        made.__dict__.update(parts)
        return made

    def run(made):
        for step in (250, 500, None):
            made.step_num = step or 1000
            BaseSDTrainProcess.save(made, step)

    flux = "FluxTransformer2DModel"

    def lora(name, **settings):
        sd = Sd()
        sd.use_old_lokr_format = settings.get("old_lokr_format", False)
        unet = model(flux)
        net = network(unet, sd, flux, **settings)
        made = process(name, sd=sd, network=net, network_config=net.network_config)
        made.__dict__["kept"] = unet
        return made

    run(lora("lora", type="lora"))
    run(lora("lora_full_norms", type="lora", full_if_contains=["norm"]))
    run(lora("lokr", type="lokr", lokr_factor=4))
    run(lora("lokr_old", type="lokr", lokr_full_rank=False, lokr_factor=4, old_lokr_format=True))
    run(lora("dora", type="dora"))
    config = types.SimpleNamespace(trigger="ohwx", save_format="safetensors")
    both = lora("lora_and_embedding", type="lora")
    both.embedding, both.embed_config = embedding(both.sd), config
    run(both)
    alone = process("embedding_alone", embed_config=config)
    alone.embedding = embedding(alone.sd)
    run(alone)
    xl = Sd()
    xl.is_xl = True
    run(process("embedding_sdxl", sd=xl, embedding=embedding(xl), embed_config=config))
    pickled = types.SimpleNamespace(trigger="ohwx", save_format="pt")
    run(process("embedding_pt", embedding=embedding(Sd()), embed_config=pickled))
    try:
        from toolkit.models.decorator import Decorator

        run(process("decorator", decorator=Decorator(num_tokens=4, token_size=64)))
    except ImportError as error:
        print("no decorator:", error)

    # The package itself imports all models, and some of them want a GPU for that.
    package = types.ModuleType("extensions_built_in.diffusion_models")
    package.__path__ = [str(checkout / "extensions_built_in/diffusion_models")]
    sys.modules[package.__name__] = package
    from extensions_built_in.diffusion_models.wan22.wan22_14b_model import Wan2214bModel

    class Wan(Sd):
        save_lora = Wan2214bModel.save_lora
        max_step_saves_to_keep_multiplier = Wan2214bModel.max_step_saves_to_keep_multiplier

        def __init__(self, high, low):
            self.train_high_noise, self.train_low_noise = high, low

        def get_base_model_version(self):
            return "wan_2.2_14b"

    for name, high, low in [("wan_both", True, True), ("wan_high", True, False), ("wan_low", False, True)]:
        sd = Wan(high, low)
        if high and low:
            target = "DualWanTransformer3DModel"

            class Dual(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.transformer_1 = model("WanTransformer3DModel")
                    self.transformer_2 = model("WanTransformer3DModel")

            Dual.__name__ = target
            unet = Dual()
        else:
            target = "WanTransformer3DModel"
            unet = model(target)
        net = network(unet, sd, target, type="lora")
        made = process(name, sd=sd, network=net, network_config=net.network_config)
        made.__dict__["kept"] = unet
        run(made)

    class Whole(Sd):
        def save(self, path, meta, dtype):
            from safetensors.torch import save_file

            save_file({f"blocks.{at}.weight": torch.randn(8, 8).to(dtype) for at in range(4)}, path, metadata=meta)

    run(process("full_model", sd=Whole(), is_fine_tuning=True))


# What is placed in `loras`, what in `embeddings`, and what `--peek` and the placing call each kind of file.
NUMBERS = ["_000000250", "_000000500", ""]
EXPECTED = {
    "lora": {"{}.safetensors": ("LoRA", "loras", 4)},
    "lora_full_norms": {"{}.safetensors": ("LoRA", "loras", 4)},
    "lokr": {"{}.safetensors": ("LoKr", "loras", None)},
    "lokr_old": {"{}.safetensors": ("LoKr", "loras", 4)},
    "dora": {"{}.safetensors": ("DoRA", "loras", 4)},
    "lora_and_embedding": {"{}.safetensors": ("LoRA", "loras", 4), "ohwx{}.safetensors": ("embedding", "embeddings", None)},
    "embedding_alone": {"ohwx{}.safetensors": ("embedding", "embeddings", None)},
    "embedding_sdxl": {"ohwx{}.safetensors": ("embedding", "embeddings", None)},
    "embedding_pt": {"ohwx{}.pt": (None, None, None)},
    "decorator": {"{}.safetensors": ("full model", None, None)},
    "wan_both": {"{}_high_noise.safetensors": ("LoRA", "loras", 4), "{}_low_noise.safetensors": ("LoRA", "loras", 4)},
    "wan_high": {"{}_high_noise.safetensors": ("LoRA", "loras", 4)},
    "wan_low": {"{}_low_noise.safetensors": ("LoRA", "loras", 4)},
    "full_model": {"{}.safetensors": ("full model", None, None)},
}


def expected(job):
    for pattern, fact in EXPECTED[job].items():
        prefix = "" if pattern.startswith("ohwx") else job
        for number in NUMBERS:
            yield prefix + pattern.replace("{}", number), fact


def mirror(rcsync, saved, work):
    import parts

    for job in sorted(path.name for path in saved.iterdir()):
        files = {path.name: path.read_bytes() for path in (saved / job).iterdir() if path.is_file()}
        out, ui = work / job / "out", work / job / "ui"
        for name in ["models/loras", "models/embeddings", "custom_nodes"]:
            (ui / name).mkdir(parents=True)
        base = parts.trainer(files, job)
        env = {"PATH": os.environ["PATH"], "HOME": str(work), "RUNCOMFY_TOKEN": "no-real-token", "RUNCOMFY_TRAINER_API_BASE": base}

        def run(*arguments):
            return subprocess.run([rcsync, *arguments], env=env, capture_output=True, text=True)

        done = run("sync", "j1", out, "--once", "--comfyui", ui, "--comfyui-sidecars", "--comfyui-subdir", ".")
        check(done.returncode == 0, f"{job}: mirrored")
        said = done.stderr
        if done.returncode:
            print(said)
            continue
        rows = json.loads(run("ls", out, "--output", "json").stdout)
        rows = {row["path"]: row for row in (rows if isinstance(rows, list) else rows["files"])}
        peeked = json.loads(run("result", "j1", "--peek", "--output", "json").stdout)
        peeked = {row["path"]: row for row in peeked["artifacts"]}
        for name, (kind, place, rank) in expected(job):
            if not check_file(name, files, rows):
                continue
            peek = peeked[name].get("peek") or {}
            found = {key: peek.get(key) for key in ["kind", "rank", "step", "word"]}
            print(f"        {job}/{name}: {rows[name]['evidence']}, {found}")
            if kind:
                check(found["kind"] == kind, f"{job}/{name}: peeked as {kind}: {found['kind']}")
            if rank:
                check(found["rank"] in (rank, [rank]), f"{job}/{name}: rank {rank}: {found['rank']}")
            for folder in ["loras", "embeddings"]:
                there = (ui / "models" / folder / name).exists()
                check(there == (place == folder), f"{job}/{name}: {'in' if there else 'not in'} {folder}")
        for line in said.splitlines():
            if "not placed" in line:
                print("        " + line)
        latest = parts.latest_save(out, job)
        newest = [str(out / name) for name, _ in expected(job) if "_0000" not in name and name.startswith(job)]
        check(latest in newest or not newest, f"{job}: AI Toolkit resumes from {latest and pathlib.Path(latest).name}")


def check_file(name, files, rows):
    check(name in files, f"saved: {name}")
    if name in files:
        check(name in rows, f"mirrored: {name}")
    return name in files and name in rows


def main():
    if sys.argv[1:2] == ["--save"]:
        return save_all(pathlib.Path(sys.argv[2]))
    rcsync = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/rcsync").resolve()
    if not rcsync.exists():
        skip(f"there is no {rcsync}; `cargo build --release` makes one")
    for name in ["AITOOLKIT", "PYTHON"]:
        if name not in os.environ:
            skip(f"{name} is not set")
    with tempfile.TemporaryDirectory(prefix="rcsync-saving-") as work:
        work = pathlib.Path(work).resolve()
        saved = work / "saved"
        saved.mkdir()
        done = subprocess.run([os.environ["PYTHON"], __file__, "--save", saved], stdout=subprocess.PIPE, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith(("AI Toolkit", "replaced", "no "))]
        print("\n".join(lines))
        if done.returncode:
            print(done.stdout[-2000:])
            sys.exit(1)
        mirror(rcsync, saved, work / "mirrored")
    if check.failed:
        sys.exit(f"{check.failed} failed")
    print("everything held")


main()
