#!/usr/bin/env python3
"""LoRA Manager's own code reads the sidecars that rcsync wrote.

    LORA_MANAGER=<a checkout of willmiao/ComfyUI-Lora-Manager> tests/real/lora_manager.py FOLDER

FOLDER is a LoRA folder that `rcsync … --comfyui … --comfyui-sidecars` has filled. `ModelScanner._process_model_file` runs
unchanged on each `.safetensors`, with LoRA Manager's settings and caches left out. It has to take name, base model, words and
hash from the `.civitai.info`, find the preview, and write a `.metadata.json` of its own.
"""

import asyncio
import hashlib
import importlib
import json
import os
import pathlib
import sys
import types


def package(name, path=None):
    module = types.ModuleType(name)
    if path:
        module.__path__ = [str(path)]
    sys.modules[name] = module
    return module


class Nothing(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__getattr__": lambda self, name: None})


def main():
    checkout = pathlib.Path(os.environ["LORA_MANAGER"]).resolve()
    folder = pathlib.Path(sys.argv[1]).resolve()
    # The package itself starts the plugin inside of ComfyUI.
    package("py", checkout / "py")
    package("py.services", checkout / "py/services")
    package("py.utils", checkout / "py/utils")
    for name in ["piexif", "natsort"]:
        sys.modules[name] = Nothing(name)
    for name in ["config", "services.service_registry", "services.websocket_manager", "services.persistent_model_cache"]:
        sys.modules[f"py.{name}"] = Nothing(name)
    for name in ["settings_manager", "pending_delete_service", "model_lifecycle_service", "cache_health_monitor"]:
        sys.modules[f"py.services.{name}"] = Nothing(name)
    sys.modules["py.services.pending_delete_service"].PENDING_DELETE_DIR_NAME = ".pending"
    scanner = importlib.import_module("py.services.model_scanner")
    models = importlib.import_module("py.utils.models")

    class Scanner:
        model_class = models.LoraMetadata
        _hash_index = _excluded_models = None

        def adjust_metadata(self, metadata, file_path, root_path):
            return metadata

        def _build_cache_entry(self, metadata, folder):
            return {"sha256": metadata.sha256, "autov3": metadata.autov3, "folder": folder}

        async def _create_default_metadata(self, path):
            raise SystemExit(f"FAILED  {path}: its .civitai.info was not taken")

    failed = 0
    for path in sorted(folder.rglob("*.safetensors")):
        process = scanner.ModelScanner._process_model_file
        found = asyncio.run(process(Scanner(), str(path), str(folder), excluded_models=[]))
        data = json.loads(path.with_suffix(".metadata.json").read_text())
        info = json.loads(path.with_suffix(".civitai.info").read_text())
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        facts = {
            "hash": data["sha256"] == sha256 and found["sha256"] == sha256,
            "words": data["civitai"].get("trainedWords") == info.get("trainedWords"),
            "base model": bool(data["base_model"]) and data["base_model"] != "Unknown",
            "preview": any(path.with_suffix(end).exists() for end in [".png", ".jpg", ".webp"]) == bool(data["preview_url"]),
            "size": data["size"] // 1024 == path.stat().st_size // 1024,
        }
        wrong = [fact for fact, holds in facts.items() if not holds]
        failed += bool(wrong)
        shown = f"{data['model_name']}, {data['base_model']}, {data['civitai'].get('trainedWords')}"
        print(("FAILED  " if wrong else "ok      ") + f"{path.name}: {shown} {wrong or ''}")
    sys.exit(1 if failed else 0)


main()
