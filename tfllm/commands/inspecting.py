"""What a folder is, and whether an export keeps its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from tfllm.commands.arguments import Folder, is_huggingface
from tfllm.commands.corpus import print_manifest
from tfllm.config import ModelConfig
from tfllm.presets import preset as named_preset
from tfllm.presets import preset_names


def check(folder: Folder) -> None:
    """Verify that an export keeps its contract, and run each signature once. Exit code 1 where it does not.

    Args:
        folder: Of an export, or of one version of it.
    """
    import tfllm

    report = tfllm.check(folder)
    print(report)
    raise SystemExit(0 if report.ok else 1)


def info(thing: Annotated[str, tyro.conf.Positional] = "") -> None:
    """Say what a preset, a run, a model folder (Hugging Face's, too) or a token store is. Without a name: list the presets.

    Args:
        thing: Name of a preset, or a folder.
    """
    folder = Path(thing)
    if not thing:
        width = max(map(len, preset_names()))
        for name in preset_names():
            print(f"{name:{width}} {named_preset(name).num_parameters():>15,} parameters")
    elif thing in preset_names():
        print(json.dumps(named_preset(thing).to_dict(), indent=2))
    elif (folder / "manifest.json").is_file():
        from tfllm.data import Store

        print_manifest(Store.open(folder).manifest)
    elif (folder / "config.json").is_file():
        _print_model(folder)
    else:
        raise ValueError(f"{thing!r} is neither a preset ({', '.join(preset_names())}) nor a run, model or store folder")


def _print_model(folder: Path) -> None:
    from tfllm.train.runs.checkpoints import latest_checkpoint, read_state

    path = folder / "config.json"
    if is_huggingface(path):
        from tfllm.interop.configs import read_config

        config = read_config(json.loads(path.read_text()))
    else:
        config = ModelConfig.load(path)
    print(json.dumps(config.to_dict(), indent=2))
    print(f"{config.num_parameters():,} parameters")
    newest = latest_checkpoint(folder)
    if newest is not None:
        history = read_state(newest)["history"]
        print(f"newest checkpoint: {newest}")
        print(json.dumps(history[-1], indent=2) if history else "no epoch finished yet")
