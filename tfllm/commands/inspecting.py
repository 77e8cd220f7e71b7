"""`tfllm check` and `tfllm info`: verify an export, and print what a folder or a preset is."""

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
    """Verify that an export keeps its contract, and run each signature once. The exit code is 1 if it does not.

    Args:
        folder: Folder of an export, or of one version.
    """
    import tfllm

    report = tfllm.check(folder)
    print(report)
    raise SystemExit(0 if report.ok else 1)


def info(thing: Annotated[str, tyro.conf.Positional] = "") -> None:
    """Describe a preset, a run, a model folder (also of Hugging Face) or a token store. Without a name, list the presets.

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
        raise ValueError(
            f"thing={thing!r} is invalid: expected a folder of a run, a model or a store, or one of the presets "
            f"{', '.join(preset_names())}."
        )


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
