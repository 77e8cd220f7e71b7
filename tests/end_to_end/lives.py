"""A small training run that is killed and started again, in real processes. Run by test_restarts.py.

    python lives.py KIND FOLDER KILLS

KIND is "causal", or "masked": hidden tokens and next sentences. This process imports TensorFlow but computes nothing, so it can
fork: each life of the run is a fork, killed by SIGKILL at a random moment (even lives) or while a checkpoint is being written
(odd ones). The last life is left alone. Prints one JSON line: the digest of all final weights and optimizer state, the loss
curve, and how each life ended.
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

import numpy as np

import tfllm
from tfllm import pretraining  # noqa: F401  with TensorFlow, before the forks

STEPS_PER_EPOCH = 4
EPOCHS = 40


def live(kind: str, folder: Path) -> None:
    """Trains from wherever the run is to its end."""
    tokenizer = tfllm.tokenizers.ByteTokenizer()
    store = tfllm.data.Store.open(folder / "store", tokenizer)
    settings = tfllm.Pretraining(
        **dict(epochs=EPOCHS, steps_per_epoch=STEPS_PER_EPOCH, batch_size=4, sequence_length=32, learning_rate=3e-3),
        **dict(warmup_steps=8, pairs="nsp" if kind == "masked" else "none", validation_steps=1, samples_every=20),
    )
    sizes = dict(vocab_size=tokenizer.vocab_size, num_layers=1, hidden_size=64, dropout=0.1, attention_dropout=0.1)
    config = tfllm.preset("bert-tiny" if kind == "masked" else "llama-tiny", **sizes)
    where: dict = dict(config=config, folder=folder / "run", settings=settings)
    run = tfllm.pretrain(store, tokenizer, **where, prompts=["The 7th sheep"], verbose=0)
    model = run.model
    values = b"".join(np.asarray(variable).tobytes() for variable in [*model.variables, *model.optimizer.variables])
    curve = [[record[name] for name in ("step", "loss", "perplexity", "gradient_norm", "val_loss")] for record in run.history]
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


def main(kind: str, folder: Path, kills: int) -> None:
    chance = random.Random(kills)
    ends = []
    for life in range(kills + 1):
        child = os.fork()
        if child == 0:
            import keras

            keras.backend.clear_session()
            live(kind, folder)
            os._exit(0)
        if life < kills:
            ends.append(kill_at_a_moment(child, folder, chance, while_saving=life % 2 == 1))
        else:
            _, status = os.waitpid(child, 0)
            ends.append(f"left alone, exit code {os.waitstatus_to_exitcode(status)}")
    print(json.dumps(json.loads((folder / "result.json").read_text()) | {"ends": ends}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
