"""Trains, saves and generates on meshes and on one device, and writes what happened: run by test_tensor_parallel.py.

Command: python meshes.py STORE OUT CASE [CASE …]

A case is JSON; its layout is "one" device or a mesh's sizes, "2x2". Leaves OUT/<place of the case>.json: losses, scores, texts;
and OUT/<place>.npz: every variable of model and optimizer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cases
import numpy as np
import tensorflow as tf
from cases import TOKENIZER, Noting

import tfllm

SIZES = cases.SIZES | dict(num_heads=4)


def main(store: Path, out: Path, told: list[dict[str, Any]]) -> None:
    largest = tfllm.train.strategy("tensor_parallel", mesh=(2, 2))  # the processor is split once
    layouts = {"one": tf.distribute.get_strategy(), "2x2": largest}
    tokens = tfllm.data.Store.open(store, TOKENIZER)
    for number, case in enumerate(told):
        layout = case["layout"]
        if layout not in layouts:
            data, model = map(int, layout.split("x"))
            layouts[layout] = tfllm.train.strategy("tensor_parallel", mesh=(data, model))
        do = {"pretrain": resumed, "finetune": finetuned, "break": broken}.get(case.get("do", ""), trained)
        said, variables = do(layouts[layout], tokens, case)
        np.savez(out / f"{number}.npz", **{variable.path: np.asarray(variable) for variable in variables})
        (out / f"{number}.json").write_text(json.dumps(said))


def trained(strategy: tf.distribute.Strategy, store: Any, case: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    cases.SIZES = SIZES | case.get("sizes", {})
    optimizer = getattr(tfllm.train, case.get("optimizer", "adamw"))
    with strategy.scope():
        model = cases.make_model(case)
        model.compile(
            optimizer(1e-3, weight_decay=1.0, **case.get("settings", {})),
            gradient_accumulation=case.get("gradient_accumulation", 1),
        )
    training, validation = cases.make_data(case, store)
    note = Noting()
    model.fit(training, steps_per_epoch=case.get("steps", 20), verbose=0, callbacks=[note])
    scores = model.evaluate(validation, verbose=0, return_dict=True)
    said: dict[str, Any] = {
        "losses": note.losses,
        "scores": {name: float(value) for name, value in scores.items()},
        "predicted": float(np.abs(model.predict(training.take(1), verbose=0)).sum()),
        "bytes": held(model, strategy),
    }
    if case.get("generate"):
        settings = dict(temperature=0.8, top_k=20, repetition_penalty=1.1, seed=3, num_sequences=2)
        answers = tfllm.generate(model, TOKENIZER, ["The 4", "It was not"], max_new_tokens=12, **settings)
        said["texts"] = [answer.token_ids for answer in answers]
    if case.get("stream"):
        said["stopped"] = tfllm.generate(model, TOKENIZER, "The", max_new_tokens=12, stop=["e"])[0].text
        said["streamed"] = "".join(tfllm.stream(model, TOKENIZER, "The", max_new_tokens=12))
    return said, [*model.variables, *model.optimizer.variables]


def resumed(strategy: tf.distribute.Strategy, store: Any, case: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A run that begins, or goes on, here."""
    config = tfllm.preset("llama-tiny", **SIZES | dict(vocab_size=TOKENIZER.vocab_size, dropout=0.1))
    settings = tfllm.Pretraining(
        **dict(epochs=case["epochs"], steps_per_epoch=4, batch_size=8, sequence_length=24, validation_steps=1),
        **dict(warmup_steps=2, schedule="constant"),
    )
    run = tfllm.pretrain(
        store,
        TOKENIZER,
        config=config,
        folder=Path(case["folder"]),
        settings=settings,
        prompts=["The 4"],
        strategy=strategy,
        verbose=0,
    )
    curve = [[record[name] for name in ("step", "loss", "gradient_norm", "val_loss")] for record in run.history]
    return {"curve": curve}, [*run.model.variables, *run.model.optimizer.variables]


def finetuned(strategy: tf.distribute.Strategy, store: Any, case: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A classifier by one call, scores of its own after each epoch."""
    records = [{"text": "sheep " * (i % 5 + 1), "label": "many" if i % 5 > 2 else "few"} for i in range(64)]
    rows = tfllm.data.text_classification(records, TOKENIZER, max_length=32)
    with strategy.scope():
        model = tfllm.TextClassifier(tfllm.preset("bert-tiny", **SIZES), labels=rows.labels)
    settings = tfllm.Finetuning(epochs=2, batch_size=16, learning_rate=1e-3)
    run = tfllm.finetune(model, rows, rows, folder=case["folder"], settings=settings, verbose=0)
    names = ("step", "loss", "val_loss", "val_accuracy", "val_macro_f1")
    try:
        tfllm.predict(model, TOKENIZER, "sheep")
        predicts = ""
    except ValueError as error:
        predicts = str(error)
    said = {"curve": [[record[name] for name in names] for record in run.history], "predicts": predicts}
    return said, list(model.variables)


def broken(strategy: tf.distribute.Strategy, store: Any, case: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Ids that are their own targets, then a weight that is no number."""
    with strategy.scope():
        model = cases.make_model({"task": "causal"})
        model.compile(tfllm.train.adamw(1e-3))
    try:
        model.fit(np.ones((4, 8), np.int32), np.ones((4, 8), np.int32), verbose=0)
        copied = ""
    except ValueError as error:
        copied = str(error)
    first = model.trainable_variables[0]
    first.assign(np.full(first.shape, np.nan, np.float32))
    training, _ = cases.make_data({"task": "causal"}, store)
    try:
        model.fit(training, steps_per_epoch=3, verbose=0)
        said = ""
    except tfllm.train.NonFiniteError as error:
        said = str(error)
    return {"said": said, "copied": copied}, []


def held(model: Any, strategy: tf.distribute.Strategy) -> int:
    """Bytes of weights and slots on the first device."""
    variables = [variable.value for variable in [*model.variables, *model.optimizer.variables]]
    if hasattr(strategy, "mesh"):
        return sum(variable.local_bytes() for variable in variables)
    return sum(int(np.prod(variable.shape)) * variable.dtype.size for variable in variables)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [json.loads(case) for case in sys.argv[3:]])
