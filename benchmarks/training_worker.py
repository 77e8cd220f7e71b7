"""tfllm or KerasHub in its own process: trains by its library's own `fit`, a few steps each turn.

The job is a shape's name, `changes` of it, a precision, steps a turn, and what tfllm is to leave out (`without`,
`plain.py`). All contenders get the same rows, the same dropout, AdamW without clipping, tanh-GELU, tied embeddings, and
report loss and accuracy.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from shapes import BETA_1, BETA_2, DROPOUT, EPSILON, LEARNING_RATE, SHAPES, WEIGHT_DECAY, Shape, rows_of
from turns import Meter, decline, peak_mb, say, turns, versions

Made = tuple[keras.Model, Callable[..., Any]]
"""A compiled model, and what makes its features of ids, places, targets and weights."""


def main() -> None:
    job = json.loads(sys.argv[1])
    shape = dataclasses.replace(SHAPES[job["shape"]], **job.get("changes", {}))
    try:
        if "without" in job:
            import plain

            plain.leave_out(job["without"])
        model, to_features = CONTENDERS[job["contender"].partition("@")[0]](shape, job["precision"])
        rows = batches(shape).map(to_features).prefetch(2)
        # One fit for the whole run: tracing, iterator and buffers are paid for before the first turn.
        model.fit(rows, epochs=1 << 30, steps_per_epoch=job["steps"], callbacks=[Turns(model)], shuffle=False, verbose=0)
    except Exception as error:
        decline(error)


def tfllm(shape: Shape, precision: str, *, remat: bool = False) -> Made:
    from tfllm import CausalLM, MaskedLM
    from tfllm.features import TARGET_IDS, TARGET_PLACES, TARGET_WEIGHTS, TOKEN_IDS
    from tfllm.train import adamw

    model = (MaskedLM if shape.masked else CausalLM)(shape.config(remat=remat), dtype=precision)
    model.compile(
        adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON, clip_norm=None)
    )

    def features(ids: tf.Tensor, places: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {TOKEN_IDS: ids, TARGET_IDS: targets, TARGET_WEIGHTS: weights}
        return found | {TARGET_PLACES: places} if shape.masked else found

    return model, features


def keras_hub(shape: Shape, precision: str, *, jit_compile: bool = False, flash: bool | None = None) -> Made:
    import keras_hub

    if flash is not None:
        (keras.config.enable_flash_attention if flash else keras.config.disable_flash_attention)()
    keras.config.set_dtype_policy(precision)
    backbone, task = ("Bert", "BertMaskedLM") if shape.masked else ("GPT2", "GPT2CausalLM")
    backbone = getattr(keras_hub.models, f"{backbone}Backbone")(
        vocabulary_size=shape.vocab_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        hidden_dim=shape.hidden_size,
        intermediate_dim=shape.ffn_size,
        dropout=DROPOUT,
        max_sequence_length=shape.sequence_length,
    )
    model = getattr(keras_hub.models, task)(backbone=backbone, preprocessor=None)
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, WEIGHT_DECAY, BETA_1, BETA_2, EPSILON)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, jit_compile=jit_compile)  # loss and accuracy: the task's own defaults

    def features(ids: tf.Tensor, places: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tuple[Any, ...]:
        found = {"token_ids": ids, "padding_mask": tf.ones_like(ids)}
        if shape.masked:
            found |= {"segment_ids": tf.zeros_like(ids), "mask_positions": places}
        return found, targets, weights

    return model, features


CONTENDERS: dict[str, Callable[[Shape, str], Made]] = {
    "tfllm": tfllm,
    "tfllm_remat": lambda *job: tfllm(*job, remat=True),
    "keras_hub": keras_hub,
    "keras_hub_xla": lambda *job: keras_hub(*job, jit_compile=True),
    "keras_hub_no_flash": lambda *job: keras_hub(*job, flash=False),
}


def batches(shape: Shape) -> tf.data.Dataset:
    """Token ids int32 [B, S], places, targets int32 and weights float32 [B, P], for ever."""
    rows = tf.data.Dataset.from_tensor_slices(tuple(rows_of(shape))).repeat().batch(shape.batch_size, drop_remainder=True)
    return rows.map(lambda ids, places, targets: (ids, places, targets, tf.ones_like(targets, tf.float32)))


class Turns(keras.callbacks.Callback):
    """Waits for its turn before each epoch but the first, and reports after it."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self._told, self._meter, self._first_step_at = turns(), Meter(), 0.0
        self._parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._first_step_at = self._first_step_at or time.time()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch > 0:
            if next(self._told, None) is None:
                sys.exit()
            self._meter = Meter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch > 0:
            say(self._meter.report() | {"loss": float(logs["loss"])})
            return
        used = versions("tensorflow", "keras", "keras-hub")
        facts = {"parameters": self._parameters, "first_step_at": self._first_step_at, "peak_mb": peak_mb()}
        say(facts | {"versions": used})


if __name__ == "__main__":
    main()
