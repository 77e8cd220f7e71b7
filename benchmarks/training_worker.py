"""One contender in its own process: trains by its library's own `fit`, a few steps each time it is told "go".

Enters: the job as JSON in argv[1], then lines on standard input. Leaves: one JSON line on standard output when ready (the model
is built and has taken its first steps), and one a "go".

All contenders get the same rows, the same dropout (0.1 after the embedding, in the attention probabilities and after both
sublayers), AdamW without clipping, tanh-GELU, tied embeddings, and report loss and accuracy. With `job["masked"]` places a
row, encoders learn to fill them; without, decoders learn every next token.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import psutil
import tensorflow as tf

LEARNING_RATE, WEIGHT_DECAY, BETA_1, BETA_2, EPSILON = 1e-4, 0.1, 0.9, 0.95, 1e-8
DROPOUT = 0.1


def main() -> None:
    job = json.loads(sys.argv[1])
    model, to_features = CONTENDERS[job["contender"]](job)
    rows = rows_of(job).map(to_features).prefetch(2)
    # One fit for the whole run: tracing, iterator and buffers are paid for before the first turn.
    model.fit(rows, epochs=1 << 30, steps_per_epoch=job["steps"], callbacks=[Turns(model)], shuffle=False, verbose=0)


def tfllm(job: dict[str, Any]) -> tuple[keras.Model, Callable[..., Any]]:
    from tfllm import CausalLM, MaskedLM, preset
    from tfllm.features import TARGET_IDS, TARGET_PLACES, TARGET_WEIGHTS, TOKEN_IDS
    from tfllm.train import adamw

    names = ("vocab_size", "num_layers", "hidden_size", "num_heads", "ffn_size")
    sizes = {name: job[name] for name in names} | {"max_length": job["sequence_length"]}
    options = dict(dropout=DROPOUT, attention_dropout=DROPOUT)
    if job["masked"]:
        config = preset("bert-mini", **sizes, **options, activation="gelu_tanh")
        model: Any = MaskedLM(config, dtype=job["precision"])
    else:
        model = CausalLM(preset("gpt2", **sizes, **options), dtype=job["precision"])
    optimizer = adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON, clip_norm=None)
    model.compile(optimizer)

    def features(ids: tf.Tensor, places: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {TOKEN_IDS: ids, TARGET_IDS: targets, TARGET_WEIGHTS: weights}
        return found | {TARGET_PLACES: places} if job["masked"] else found

    return model, features


def keras_hub(job: dict[str, Any], *, jit_compile: bool = False, flash: bool | None = None) -> tuple[Any, Callable[..., Any]]:
    import keras_hub

    if flash is not None:
        (keras.config.enable_flash_attention if flash else keras.config.disable_flash_attention)()
    keras.config.set_dtype_policy(job["precision"])
    backbone, task = ("Bert", "BertMaskedLM") if job["masked"] else ("GPT2", "GPT2CausalLM")
    backbone = getattr(keras_hub.models, f"{backbone}Backbone")(
        vocabulary_size=job["vocab_size"],
        num_layers=job["num_layers"],
        num_heads=job["num_heads"],
        hidden_dim=job["hidden_size"],
        intermediate_dim=job["ffn_size"],
        dropout=DROPOUT,
        max_sequence_length=job["sequence_length"],
    )
    model = getattr(keras_hub.models, task)(backbone=backbone, preprocessor=None)
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, WEIGHT_DECAY, BETA_1, BETA_2, EPSILON)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, jit_compile=jit_compile)  # loss and accuracy: the task's own defaults

    def features(ids: tf.Tensor, places: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tuple[Any, ...]:
        found = {"token_ids": ids, "padding_mask": tf.ones_like(ids)}
        if job["masked"]:
            found |= {"segment_ids": tf.zeros_like(ids), "mask_positions": places}
        return found, targets, weights

    return model, features


CONTENDERS: dict[str, Callable[[dict[str, Any]], tuple[keras.Model, Callable[..., Any]]]] = {
    "tfllm": tfllm,
    "keras_hub": keras_hub,
    "keras_hub_xla": lambda job: keras_hub(job, jit_compile=True),
    "keras_hub_no_flash": lambda job: keras_hub(job, flash=False),
}


def rows_of(job: dict[str, Any]) -> tf.data.Dataset:
    """Token ids int32 [B, S], places, targets int32 and weights float32 [B, P] (P = S without `masked`), for ever."""
    length, masked, random = job["sequence_length"], job["masked"], np.random.default_rng(0)
    # Squared, so that some ids are frequent, as in text.
    ids = (random.random((64, length + 1)) ** 2 * job["vocab_size"]).astype(np.int32)
    places = np.tile(np.arange(length, dtype=np.int32), (64, 1))
    if masked:
        places = np.sort(random.permuted(places, axis=1)[:, :masked])
    rows = tf.data.Dataset.from_tensor_slices((ids[:, :-1], places, np.take_along_axis(ids, places + (not masked), 1)))
    rows = rows.repeat().batch(job["batch_size"], drop_remainder=True)
    return rows.map(lambda ids, places, targets: (ids, places, targets, tf.ones_like(targets, tf.float32)))


class Turns(keras.callbacks.Callback):
    """Waits for its turn before each epoch and reports after it."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self._parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch > 0 and sys.stdin.readline().strip() != "go":
            sys.exit()
        self._others = _busy_machine() - _busy_self()
        self._cpu, self._wall = _busy_self(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self._wall
        report = {
            "wall_seconds": seconds,
            "cpu_seconds": _busy_self() - self._cpu,
            "others_cpu_seconds": _busy_machine() - _busy_self() - self._others,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "loss": float(logs["loss"]),
            "parameters": self._parameters,
        }
        print(json.dumps(report), flush=True)


def _busy_self() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _busy_machine() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))


if __name__ == "__main__":
    main()
