"""A small training run that is killed and started again, in real processes. Run by test_restarts.py.

    python lives.py FOLDER KILLS

This process imports TensorFlow but computes nothing, so it can fork: each life of the run is a fork, killed by SIGKILL at a
random moment (even lives) or while a checkpoint is being written (odd ones). The last life is left alone. Prints one JSON line:
the digest of all final weights and optimizer state, the loss curve, and how each life ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow  # noqa: F401  before the forks

import tfllm
from tfllm.data import causal_lm
from tfllm.tokenizers import ByteTokenizer

STEPS_PER_EPOCH = 4
EPOCHS = 40


def live(folder: Path) -> None:
    """Trains from wherever the run is to its end."""
    tokenizer = ByteTokenizer()
    store = tfllm.data.Store.open(folder / "store", tokenizer)
    config = tfllm.preset("llama-tiny", vocab_size=tokenizer.vocab_size, num_layers=1, dropout=0.1, attention_dropout=0.1)
    model = tfllm.CausalLM(config)
    rates = tfllm.train.schedule("cosine", peak=3e-3, steps=STEPS_PER_EPOCH * EPOCHS, warmup_steps=8)
    model.compile(tfllm.train.adamw(rates), token_bytes=tokenizer.token_bytes())
    run = tfllm.train.Run(folder / "run", model, tokenizer=tokenizer, steps_per_epoch=STEPS_PER_EPOCH, data=store.fingerprint)
    batches = causal_lm(store, sequence_length=32, batch_size=4, start_step=run.step)
    model.fit(
        batches,
        epochs=EPOCHS,
        initial_epoch=run.epoch,
        steps_per_epoch=STEPS_PER_EPOCH,
        callbacks=run.callbacks(),
        verbose=0,
    )
    values = b"".join(np.asarray(variable).tobytes() for variable in [*model.variables, *model.optimizer.variables])
    curve = [[record["step"], record["loss"], record["bits_per_byte"], record["gradient_norm"]] for record in run.history]
    (folder / "result.json").write_text(json.dumps({"digest": hashlib.sha256(values).hexdigest(), "curve": curve}))


def kill_at_a_moment(child: int, folder: Path, chance: random.Random, while_saving: bool) -> str:
    """Waits until the child has done one to three epochs, then a moment or for a half-written checkpoint, and kills it."""
    saved = folder / "run" / "checkpoints"
    goal = len(epochs_seen(saved)) + chance.randint(1, 3)
    seen = epochs_seen(saved)
    while len(seen) < goal:
        seen |= epochs_seen(saved)
        time.sleep(0.001)
    if while_saving:
        while not list(saved.glob(".step-*.partial/model.safetensors")):
            pass
    else:
        time.sleep(chance.uniform(0.0, 0.1))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return "finished before the kill"
    return "killed while saving" if while_saving else "killed"


def epochs_seen(saved: Path) -> set[str]:
    return {path.name for path in saved.glob("step-*")}


def main(folder: Path, kills: int) -> None:
    chance = random.Random(kills)
    ends = []
    for life in range(kills + 1):
        child = os.fork()
        if child == 0:
            keras.backend.clear_session()
            live(folder)
            os._exit(0)
        if life < kills:
            ends.append(kill_at_a_moment(child, folder, chance, while_saving=life % 2 == 1))
        else:
            _, status = os.waitpid(child, 0)
            ends.append(f"left alone, exit code {os.waitstatus_to_exitcode(status)}")
    print(json.dumps(json.loads((folder / "result.json").read_text()) | {"ends": ends}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
