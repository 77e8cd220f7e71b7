"""A run of several workers, or of one, to be killed. Command: python lives.py FOLDER EPOCHS

FOLDER/store holds the tokens. Leaves FOLDER/run; FOLDER/batches/<step>-<replica>: the token ids that a replica learnt from, as
a serialized tensor; and FOLDER/result-<worker>.json: digest of all weights and state, the curve.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

import tfllm

STEPS_PER_EPOCH = 4
KEPT = ("step", "loss", "perplexity", "gradient_norm", "val_loss")


def main(folder: Path, epochs: int) -> None:
    note_batches(folder / "batches")
    strategy = tfllm.train.strategy("auto")
    tokenizer = tfllm.tokenizers.ByteTokenizer()
    settings = tfllm.Pretraining(
        **dict(epochs=epochs, steps_per_epoch=STEPS_PER_EPOCH, batch_size=12, sequence_length=32, learning_rate=3e-3),
        **dict(warmup_steps=8, schedule="constant", validation_steps=1),
    )
    config = tfllm.preset(
        "llama-tiny", vocab_size=tokenizer.vocab_size, num_layers=1, hidden_size=64, dropout=0.1, attention_dropout=0.1
    )
    run = tfllm.pretrain(
        tfllm.data.Store.open(folder / "store", tokenizer),
        tokenizer,
        config=config,
        folder=folder / "run",
        settings=settings,
        strategy=strategy,
        verbose=0,
    )
    values = [np.asarray(variable).tobytes() for variable in [*run.model.variables, *run.model.optimizer.variables]]
    result = {
        "digest": hashlib.sha256(b"".join(values)).hexdigest(),
        "curve": [[record[name] for name in KEPT] for record in run.history],
    }
    worker = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
    (folder / f"result-{worker}.json").write_text(json.dumps(result))


def note_batches(folder: Path) -> None:
    """Lets every training step write down what it learns from."""
    learn = tfllm.CausalLM.train_step  # which brings TensorFlow

    import tensorflow as tf

    def noting(self: tfllm.CausalLM, data: dict[str, tf.Tensor]) -> object:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        name = tf.strings.format("{}-{}", (self.optimizer.iterations.value, replica))
        tf.io.write_file(tf.strings.join([f"{folder}/", name]), tf.io.serialize_tensor(data["token_ids"]))
        return learn(self, data)

    tfllm.CausalLM.train_step = noting


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
