"""What an export answers, beside `predict` and beside the C program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from c_program import serve

import tfllm
from tfllm.exporting.contract import contract_of
from tfllm.exporting.signatures import contract_name_of
from tfllm.prediction.answers import inputs_of


def assert_python_says_the_same(model: Any, tokenizer: Any, folder: Path, asked: Sequence[list[str]]) -> None:
    """Strings and counts the same; numbers to 1e-5."""
    answered = {name: plain(value) for name, value in served(model, folder, asked).items()}
    counts = answered.pop("count", None)
    predicted = tfllm.predict(model, tokenizer, *asked, batch_size=len(asked[0]))
    for i, expected in enumerate(predicted):
        for name, value in expected.items():
            found = answered[name][i]
            found = found[: counts[i]] if counts and isinstance(found, list) else found
            if name in ("score", "probabilities", "value", "embedding"):
                np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
            else:
                assert found == value, name
    assert set(answered) == set(expected)


def assert_c_says_the_same(program: Path, model: Any, folder: Path, asked: Sequence[list[str]]) -> None:
    """Strings byte for byte; numbers to the last places, for C prints nine digits."""
    outputs = list(contract_of(contract_name_of(model)).signatures["serving_default"].outputs)
    found = serve(program, folder, dict(zip(inputs_of(model), asked, strict=True)), *outputs)
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    answered, rest = served(model, folder, asked), found.stdout
    for name in outputs:
        for element in answered[name].numpy().ravel():
            line, _, rest = rest.partition(b"\n")
            if answered[name].dtype == tf.string:
                assert rest[: int(line)] == element, name
                rest = rest[int(line) :]
            else:
                np.testing.assert_allclose(float(line), element, rtol=1e-5, atol=1e-6)
    assert rest == b""


def served(model: Any, folder: Path, asked: Sequence[list[str]]) -> dict[str, tf.Tensor]:
    loaded = tf.saved_model.load(str(folder))
    return loaded.signatures["serving_default"](**dict(zip(inputs_of(model), map(tf.constant, asked), strict=True)))


def plain(value: tf.Tensor) -> list:
    def decoded(each):
        return [decoded(inner) for inner in each] if isinstance(each, list) else each.decode()

    return decoded(value.numpy().tolist()) if value.dtype == tf.string else value.numpy().tolist()
