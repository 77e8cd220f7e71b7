"""TensorFlow's contenders of decoding.py: tfllm in Python, its export, KerasHub.

The job names a model of `decoding_models.py`, and what tfllm is to leave out (`without`, `plain.py`). A turn is told how
many rows (`batch`) and how many tokens each gets (`new`), and says which tokens those were, or that the first `pieces` of a
stream are enough. `_bf16` computes in bfloat16 (tfllm under mixed_bfloat16, KerasHub under bfloat16), `_int8` with weights
of 8 bits, `_packed` with matrices that oneDNN has packed, `_fast` with copies of the weights.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
from decoding_models import folder_of, prompts_of
from turns import Run, peak_mb, serve, versions

EXPORT = """
import json, sys, tfllm
model, tokenizer = tfllm.from_huggingface(sys.argv[1], dtype=sys.argv[2])
tfllm.export(model, tokenizer, sys.argv[3], **json.loads(sys.argv[4]))
"""


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    name = job["contender"].partition("@")[0]
    kind, lower = name.removesuffix("_bf16"), name.endswith("_bf16")
    if "without" in job:
        import plain

        plain.leave_out(job["without"])
    run = {
        "tfllm": in_python,
        "tfllm_fast": lambda *told: in_python(*told, form={}),
        "tfllm_fast_packed": lambda *told: in_python(*told, form={"prepack": True}),
        "tfllm_fast_int8": lambda *told: in_python(*told, form={"quantize": "int8"}),
        "tfllm_saved": lambda *told: saved(*told, form={}),
        "tfllm_saved_packed": lambda *told: saved(*told, form={"prepack": True}),
        "tfllm_saved_int8": lambda *told: saved(*told, form={"quantize": "int8"}),
        "keras_hub": keras_hub,
        "keras_hub_xla": lambda *told: keras_hub(*told, jit_compile=True),
    }[kind](job["model"], lower)
    used = versions("tensorflow", *([] if kind.startswith("tfllm_saved") else ["keras", "keras-hub"]))
    return run, {"peak_mb": peak_mb(), "versions": used}


def in_python(model_name: str, lower: bool, *, form: dict[str, Any] | None = None) -> Run:
    """`tfllm.generate`, with a form of what `tfllm.for_inference` makes."""
    import tfllm

    dtype = "mixed_bfloat16" if lower else "float32"
    model, tokenizer = tfllm.from_huggingface(folder_of(model_name) / "huggingface", dtype=dtype)
    if form is not None:
        model = tfllm.for_inference(model, **form)
    texts = prompts_of(model_name).texts

    def run(told: dict[str, Any]) -> dict[str, Any]:
        if "pieces" in told:
            pieces = tfllm.stream(model, tokenizer, texts[0], max_new_tokens=told["new"])
            return {"text": "".join(itertools.islice(pieces, told["pieces"]))}
        found = tfllm.generate(model, tokenizer, texts[: told["batch"]], max_new_tokens=told["new"])
        return {"token_ids": [each.token_ids for each in found]}

    return run


def saved(model_name: str, lower: bool, *, form: dict[str, Any]) -> Run:
    """The signature `generate` of an export, in a process that imports neither tfllm nor Keras, as a server does not."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer

    source, dtype = str(folder_of(model_name) / "huggingface"), "mixed_bfloat16" if lower else "float32"
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-P", "-c", EXPORT, source, dtype, place, json.dumps(form)], check=True)
        loaded = tf.saved_model.load(str(Path(place, "1")))
    texts = prompts_of(model_name).texts
    generate = loaded.signatures["generate"]
    specs = generate.structured_input_signature[1]
    off = {"top_p": 1.0, "repetition_penalty": 1.0}  # 0 turns every other setting off

    def run(told: dict[str, Any]) -> dict[str, Any]:
        values = off | {"max_new_tokens": told["new"]}
        settings = {
            name: tf.fill([told["batch"]], tf.constant(values.get(name, 0), spec.dtype))
            for name, spec in specs.items()
            if name != "prompt"
        }
        answer = generate(prompt=tf.constant(texts[: told["batch"]]), **settings)
        return {"token_ids": answer["token_ids"].numpy().tolist()}

    return run


def keras_hub(model_name: str, lower: bool, *, jit_compile: bool = False) -> Run:
    """`generate` of the task, greedily, on padded ids."""
    import keras_hub
    from decoding_models import config_of

    gpt2 = config_of(model_name).positions == "learned"
    task = keras_hub.models.GPT2CausalLM if gpt2 else keras_hub.models.LlamaCausalLM
    folder = str(folder_of(model_name) / "huggingface")
    model = task.from_preset(folder, preprocessor=None, dtype="bfloat16" if lower else "float32")
    model.compile(sampler="greedy", jit_compile=jit_compile)
    prompts = np.array(prompts_of(model_name).token_ids, np.int32)

    def run(told: dict[str, Any]) -> dict[str, Any]:
        rows = prompts[: told["batch"]]
        room = ((0, 0), (0, told["new"]))
        inputs = {"token_ids": np.pad(rows, room), "padding_mask": np.pad(np.ones_like(rows), room)}
        found = model.generate(inputs, stop_token_ids=None)
        return {"token_ids": np.asarray(found["token_ids"])[:, rows.shape[1] :].tolist()}

    return run


if __name__ == "__main__":
    serve(prepare)
