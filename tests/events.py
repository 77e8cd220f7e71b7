"""Event files as their readers see them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TIMED = ("_per_second", "_utilisation", "session_start_info")
"""Tags whose values are other ones in each run."""


def points(logs: Path | str) -> dict[str, dict[int, Any]]:
    """Each tag's values by step, of all folders: {"train/loss": {10: 5.5, 20: 5.1}, …}.

    No step may come twice for who reads all records, and TensorBoard's own reader must see the same steps in the same order.
    Of texts and pictures the value is a digest; of what is timed it is None.
    """
    found: dict[str, dict[int, Any]] = {}
    for folder in ("", "train/", "validation/"):
        there: dict[str, dict[int, Any]] = {}
        for path in sorted(tf.io.gfile.glob(f"{logs}/{folder}events.*")):
            for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    steps = there.setdefault(value.tag, {})
                    assert event.step not in steps, f"{value.tag} has step {event.step} twice"
                    steps[event.step] = None if value.tag.endswith(TIMED) else _said(value.tensor)
        if "://" not in str(logs):
            _assert_tensorboard_sees(f"{logs}/{folder}", {tag: list(steps) for tag, steps in there.items()})
        found |= {folder + tag: steps for tag, steps in there.items()}
    return found


def _said(tensor: Any) -> float | str:
    value = tf.make_ndarray(tensor)
    if value.dtype == object:
        return hashlib.sha256(b"".join(value.ravel())).hexdigest()
    return float(value)


def _assert_tensorboard_sees(folder: str, expected: dict[str, list[int]]) -> None:
    seen = EventAccumulator(folder, size_guidance={"tensors": 0}).Reload()
    steps = {tag: [event.step for event in seen.Tensors(tag)] for tag in seen.Tags()["tensors"]}
    assert steps == expected
    assert all(each == sorted(each) for each in steps.values()), "steps go back"
