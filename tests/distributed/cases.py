"""Trains small models under a strategy, one after the other, and writes what happened: run by test_strategies.py.

Command: python cases.py STRATEGY DEVICES STORE OUT CASE [CASE …]

A case is JSON. Leaves OUT/<place of the case>-<task index>.json: each step's loss, the epochs, the validation's scores, and
of the weights their norms and a digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

import tfllm
from tfllm.layers import fused
from tfllm.tokenizers import ByteTokenizer
from tfllm.train.distribution import strategies

TOKENIZER = ByteTokenizer()
SIZES = dict(vocab_size=TOKENIZER.vocab_size, num_layers=1, hidden_size=32, ffn_size=64, num_heads=2, max_length=64)
BATCH = 24
"""Rows: for 6 replicas, two micro-batches each."""
MIN_ELEMENTS = fused.MIN_ELEMENTS


def main(kind: str, devices: int, store: Path, out: Path, cases: list[dict[str, Any]]) -> None:
    strategy = make_strategy(kind, devices)
    resolver = strategy.cluster_resolver
    worker = 0 if resolver is None else resolver.task_id
    if strategy.num_replicas_in_sync > 1:
        refusals(strategy)
    if kind == "mirrored":
        single_batches(strategy)
    for number, case in enumerate(cases):
        (out / f"{number}-{worker}.json").write_text(
            json.dumps(trained(strategy, tfllm.data.Store.open(store, TOKENIZER), case))
        )
    strategies.barrier(strategy)


def make_strategy(kind: str, devices: int) -> tf.distribute.Strategy:
    if kind != "multi_worker":
        return strategies.strategy(kind, devices=devices)
    # MultiWorkerMirroredStrategy takes one processor a process; with several it does what it does with several GPUs.
    cpus = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
    CollectiveAllReduceExtended._initialize_local_devices = lambda self, resolver, worker: (
        tuple(f"{worker}/device:CPU:{i}" for i in range(devices)),
        "CPU",
    )
    return strategies.strategy(kind)


def refusals(strategy: tf.distribute.Strategy) -> None:
    """What would give another run than one device's."""
    for task, optimizer, options, said in (
        ("causal", lambda: keras.optimizers.SGD(global_clipnorm=0.1), {}, "clips the gradient of each replica, not their sum"),
        ("embedding", lambda: tfllm.train.adamw(1e-3), {"jit_compile": True}, "texts are compared over all"),
    ):
        try:
            with strategy.scope():
                make_model({"task": task}).compile(optimizer(), **options)
        except ValueError as error:
            assert said in str(error), error
        else:
            raise AssertionError(f"not refused: {said}")


def single_batches(strategy: tf.distribute.Strategy) -> None:
    """`…_on_batch` and arrays are one device's, with dropout."""
    random = np.random.default_rng(0)
    ids, labels, said = random.integers(3, 200, (12, 8)), random.integers(0, 2, 12), []
    for scope in (tf.distribute.get_strategy(), strategy):
        with scope.scope():
            model = make_model({"task": "classification", "dropout": 0.3})
            model.compile("sgd")
        found = [*model.train_on_batch(ids, labels), *model.test_on_batch(ids, labels)]
        predicted = model.predict_on_batch(ids)
        assert predicted.shape == (12, 2), predicted.shape
        history = model.fit(ids, labels, batch_size=12, shuffle=False, verbose=0, class_weight={0: 2.0}).history
        said.append([*found, *predicted.ravel(), *history["loss"], *history["gradient_norm"]])
    np.testing.assert_allclose(*said, rtol=1e-4)


class Noting(keras.callbacks.Callback):
    """The loss of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = (0.0, 0.0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = self.model.metrics[0].sums()
        self.losses.append((now[0] - self._before[0]) / (now[1] - self._before[1]))
        self._before = now


def trained(strategy: tf.distribute.Strategy, store: Any, case: dict[str, Any]) -> dict[str, Any]:
    steps = case.get("steps", 20)
    fused.MIN_ELEMENTS = 0 if case.get("compiled") else MIN_ELEMENTS
    with strategy.scope():
        model = make_model(case)
        model.compile(
            tfllm.train.adamw(1e-3),
            **{name: case[name] for name in ("gradient_accumulation", "steps_per_execution", "jit_compile") if name in case},
        )
    training, validation = make_data(case, store)
    note = Noting()
    history = model.fit(
        training, validation_data=validation, epochs=2, steps_per_epoch=steps // 2, verbose=0, callbacks=[note]
    ).history
    scores = model.evaluate(validation, verbose=0, return_dict=True)
    predicted = model.predict(validation, verbose=0)
    values = [np.asarray(variable) for variable in model.trainable_variables]
    return {
        "losses": note.losses,
        "predicted": np.linalg.norm(predicted.reshape(len(predicted), -1), axis=1).tolist(),
        "history": history,
        "scores": {name: float(value) for name, value in scores.items()},
        "norms": [float(np.linalg.norm(value)) for value in values],
        "digest": hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest(),
    }


def make_model(case: dict[str, Any]) -> Any:
    rates = dict(dropout=case.get("dropout", 0.0), attention_dropout=case.get("dropout", 0.0))
    options = dict(dtype=case.get("dtype", "float32"))
    if case["task"] == "causal":
        return tfllm.CausalLM(tfllm.preset("llama-tiny", **SIZES | rates), **options)
    encoder = tfllm.preset("bert-tiny", **SIZES | rates)
    if case["task"] == "masked":
        return tfllm.MaskedLM(encoder, next_sentence=True, **options)
    if case["task"] == "embedding":
        return tfllm.TextEmbedder(encoder, **options)
    return tfllm.TextClassifier(encoder, labels=["few", "many"], **options)


def make_data(case: dict[str, Any], store: Any) -> tuple[Any, Any]:
    if case["task"] == "classification":
        return classified(case)
    if case["task"] == "embedding":
        rows = tfllm.data.text_pairs(
            [{"text": f"the {i}th sheep", "text_pair": f"number {i % 9} of the flock"} for i in range(31)],
            TOKENIZER,
            max_length=32,
        )
        return rows.batches(BATCH), rows.batches(BATCH, shuffle=False, repeat=False)
    if case["task"] == "causal" and case.get("own_pipeline"):
        ids = tf.random.stateless_uniform([BATCH + 1, 25], [1, 2], 3, TOKENIZER.vocab_size, tf.int32)
        rows = {"token_ids": ids[:, :-1], "target_ids": ids[:, 1:], "target_weights": tf.ones([BATCH + 1, 24])}
        own = tf.data.Dataset.from_tensor_slices(rows).batch(BATCH)  # whose last batch has no row for some replicas
        return own.repeat(), own
    if case["task"] == "causal":
        rows = dict(sequence_length=24, batch_size=BATCH)
        training = tfllm.data.causal_lm(store, **rows)
        validation = tfllm.data.causal_lm(store, **rows, split="validation", repeat=False)
    else:
        rows = dict(sequence_length=24, batch_size=BATCH, pairs="nsp")
        training = tfllm.data.masked_lm(store, TOKENIZER, **rows)
        validation = tfllm.data.masked_lm(store, TOKENIZER, **rows, split="validation", repeat=False)
    return training, validation.take(3)


def classified(case: dict[str, Any]) -> tuple[Any, Any]:
    """A user's own tf.data pipeline from strings, whose last batch is short; or tfllm's."""
    texts = [f"{'sheep ' * (i % 4 + 1)}went over {i} fences{' and so on' * (i % 7 // 4)}" for i in range(100)]
    labels = ["few" if i % 4 < 2 else "many" for i in range(100)]
    records = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    rows = tfllm.data.text_classification(records, TOKENIZER, max_length=64)
    if not case.get("own_pipeline"):
        return rows.batches(BATCH), rows.batches(BATCH, shuffle=False, repeat=False)

    def tokenized(text: Any, label: Any) -> dict[str, Any]:
        ids = TOKENIZER.tokenize(text)[:, :30].to_tensor(shape=[None, 30])
        if case.get("tuples"):
            return ids, label
        return {"token_ids": ids, "segment_ids": tf.cast(ids > 0, tf.int32), "labels": label, "text": text}

    classes = [0 if label == "few" else 1 for label in labels]
    own = tf.data.Dataset.from_tensor_slices((texts, classes)).batch(BATCH).map(tokenized)
    return own.repeat(), own


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), [json.loads(case) for case in sys.argv[5:]])
