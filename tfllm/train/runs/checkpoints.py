"""Checkpoints: a model folder and the state of training, written completely or not at all.

Input: a `Snapshot`, taken between two steps; it is written while training goes on. Output:

    checkpoints/step-00000400/
        config.json  task.json  model.safetensors  tokenizer/     the model, as `tfllm.load` reads it
        optimizer.safetensors                          every variable of the optimizer, its step count among them
        state.json                                     step, metrics, history, settings, and the sha256 of each file

A checkpoint is written to a temporary folder (`.step-….partial`), flushed to the disk, then renamed. An old one is renamed
before it is removed. So a folder named `step-…` is complete, whenever the process was killed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import tokenizers
from tfllm.config import ModelConfig
from tfllm.files import lock_folder, publish_folder, sync, write_atomically
from tfllm.presets import preset_names
from tfllm.tokenizers import Tokenizer
from tfllm.train.runs import weights

STATE = "state.json"
TASK = "task.json"


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints below a run's folder, oldest first. Folders with other names are ignored."""
    found = [path for path in (folder / "checkpoints").glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]
    return sorted((path for path in found if path.is_dir()), key=step_of)


def lock_run_folder(folder: Path) -> None:
    """Keeps other processes from training in a run's folder, as long as this one lives: they would remove its checkpoints.

    Raises:
        BlockingIOError: another process trains there.
        OSError: the file system has no locks.
    """
    try:
        lock_folder(folder)
    except BlockingIOError as error:
        raise BlockingIOError(f"another process trains in {folder}: wait for it, or choose another folder") from error


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below a run's folder; None if there is none."""
    return next(reversed(checkpoints(folder)), None)


def model_folder(folder: str | Path) -> Path:
    """The folder with the weights: `folder` itself, or its newest checkpoint if it is a run's.

    Raises:
        FileNotFoundError: it is neither.
    """
    folder = Path(folder)
    if not folder.is_dir():
        known = " but the name of an architecture (tfllm.preset), without weights" if str(folder) in preset_names() else ""
        raise FileNotFoundError(
            f"{folder} is not a folder{known}, and nothing is downloaded: give the path of a model, a checkpoint or a run"
        )
    found = folder if (folder / "model.safetensors").is_file() else latest_checkpoint(folder)
    if found is None:
        hint = "; it is an export, which tf.saved_model.load reads" if (folder / "saved_model.pb").is_file() else ""
        if list(folder.glob("pytorch_model*.bin*")) or list(folder.glob("model-*-of-*.safetensors")):
            hint = f"; tfllm.from_huggingface({str(folder)!r}) reads Hugging Face's folders"
        raise FileNotFoundError(f"{folder} holds no model.safetensors, and no checkpoint yet{hint}")
    return found


@dataclass(frozen=True)
class Snapshot:
    """A copy of a model's state, which does not change when the model does."""

    config: ModelConfig
    task: dict[str, Any]
    tokenizer: Tokenizer
    model: dict[str, np.ndarray]
    """Values of the variables by name."""
    optimizer: dict[str, np.ndarray]

    @classmethod
    def of(cls, model: Any, tokenizer: Tokenizer, *, optimizer: bool = False) -> Snapshot:
        """Copies a model's state, with its optimizer's if `optimizer`."""
        state = weights.copy_values(model.optimizer.variables) if optimizer else {}
        return cls(model.config, _task_description(model), tokenizer, weights.copy_values(model.variables), state)


def write_model(snapshot: Snapshot, folder: Path) -> None:
    """Writes `config.json`, `task.json`, `model.safetensors` and `tokenizer/` into an existing folder."""
    snapshot.config.save(folder / "config.json")
    (folder / TASK).write_text(json.dumps(snapshot.task, indent=2, ensure_ascii=False) + "\n")
    weights.write(folder / "model.safetensors", snapshot.model)
    snapshot.tokenizer.save(folder / "tokenizer")


def replace_model(snapshot: Snapshot, folder: Path) -> None:
    """Writes a model folder in the place of an older one. A reader finds the old or the new one, or, for a moment, none."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed: the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    with publish_folder(folder, durable=True, replace=True) as partial:
        write_model(snapshot, partial)


def read_task(folder: Path) -> dict[str, Any]:
    """The `task.json` of a model folder. Folders without one are older and hold a causal language model.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / TASK
    if not path.is_file():
        return {"task": "causal_lm"}
    try:
        task = json.loads(path.read_text())
        if not isinstance(task["task"], str):
            raise TypeError(f"task is {task['task']!r:.60}, no string")
        return task
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): restore it from a copy") from error


def task_differences(folder: Path, model: Any) -> list[str]:
    """The differences between the task of a model folder and a model's own."""
    there, here = read_task(folder), _task_description(model)
    return [f"{name} was {there.get(name)}, is {here.get(name)}" for name in here | there if there.get(name) != here.get(name)]


def _task_description(model: Any) -> dict[str, Any]:
    return json.loads(json.dumps({"task": model.task} | model.settings()))


def write_checkpoint(snapshot: Snapshot, *, folder: Path, state: dict[str, Any]) -> None:
    """Writes the checkpoint of `state["step"]` below a run's folder.

    Args:
        snapshot: includes the optimizer's state.
        folder: the run's.
        state: the contents of `state.json`; checksums of the files are added.

    Raises:
        OSError: the disk is full or the folder not writable; earlier checkpoints are untouched.
    """
    path = folder / "checkpoints" / checkpoint_name(state["step"])
    if path.exists():  # an earlier try failed after the rename
        sync(path.parent)
        return
    _remove_leftovers(path.parent)
    try:
        with publish_folder(path, durable=True) as partial:
            write_model(snapshot, partial)
            weights.write(partial / "optimizer.safetensors", snapshot.optimizer)
            files = sorted(file for file in partial.rglob("*") if file.is_file())
            checksums = {file.relative_to(partial).as_posix(): _sha256(file) for file in files}
            (partial / STATE).write_text(state_text(state | {"sha256": checksums}))
    except OSError as error:
        message = f"could not write the checkpoint {path}; earlier ones are untouched: {error}"
        raise OSError(error.errno, message) if error.errno else OSError(message) from error


def write_history(history: list[dict[str, Any]], folder: Path) -> None:
    """Writes the epochs' records into the `state.json` of a checkpoint."""
    state = read_state(folder) | {"history": history}
    write_atomically(folder / STATE, [state_text(state).encode()], durable=True)


def read_checkpoint(model: Any, folder: Path) -> dict[str, Any]:
    """Assigns every variable of the model and its optimizer, or none if a file is damaged. Returns the state.

    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged, or does not fit the model; the message names it.
    """
    state = read_state(folder)
    for name, expected in state["sha256"].items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: restore it, or remove {folder} to go on from the one before")
        if _sha256(path) != expected:
            raise ValueError(f"{path} is damaged (sha256 differs from {STATE}'s): remove {folder} to go on from the one before")
    values = weights.read_matching(folder / "model.safetensors", model.variables)
    values += weights.read_matching(folder / "optimizer.safetensors", model.optimizer.variables)
    weights.assign(values)
    return state


def load_initial_weights(model: Any, tokenizer: Tokenizer, source: Path) -> None:
    """Assigns the weights of a model folder as a model's first weights.

    Raises:
        ValueError: they are another model's, or were trained with another tokenizer.
    """
    may_differ = {"remat", "dropout", "attention_dropout", "initializer_range"}
    changed = ModelConfig.load(source / "config.json").differences(model.config, but_for=may_differ)
    if changed:
        raise ValueError(f"{source} holds the weights of another model: {'; '.join(changed)}")
    theirs = tokenizers.load(source / "tokenizer").fingerprint()
    if theirs != tokenizer.fingerprint():
        raise ValueError(f"{source} was trained with another tokenizer ({theirs[:12]}…): load that one")
    weights.read(source / "model.safetensors", model.variables)


def read_state(folder: Path) -> dict[str, Any]:
    """The `state.json` of a checkpoint.

    Raises:
        FileNotFoundError, ValueError: it is missing or damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: this is not a checkpoint of a run; remove {folder} to go on without it")
    try:
        state = json.loads(path.read_text())
        if not {"step", "sha256", "metrics", "history", "settings", "checksum"} <= state.keys():
            raise ValueError("parts of it are missing")
        if state.pop("checksum") != _checksum(state):
            raise ValueError("it was changed since it was written")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove {folder} to go on from the one before") from error
    return state


def state_text(state: dict[str, Any]) -> str:
    """The text of `state.json`, with a checksum of its contents."""
    return json.dumps(state | {"checksum": _checksum(state)}, indent=2) + "\n"


def _checksum(state: dict[str, Any]) -> str:
    # Through JSON first, which makes lists of tuples and strings of keys.
    return hashlib.sha256(json.dumps(json.loads(json.dumps(state)), sort_keys=True).encode()).hexdigest()


def prune_checkpoints(folder: Path, keep: int, *, keep_every_steps: int | None = None) -> None:
    """Removes the oldest checkpoints of a run, so that the newest `keep` stay, and those at multiples of `keep_every_steps`."""
    for path in checkpoints(folder)[:-keep]:
        if keep_every_steps is not None and step_of(path) % keep_every_steps == 0:
            continue
        doomed = path.with_name(f".{path.name}.removed")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)  # files that another process still reads may stay until the next time


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
