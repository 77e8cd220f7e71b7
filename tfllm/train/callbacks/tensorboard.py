"""What TensorBoard shows of a run.

Scalars every few steps (each the mean over those steps), validation at the end of each epoch, text samples, a picture of
attention, the token embeddings with their names in the projector, and the run's config.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.features import TOKEN_IDS
from tfllm.tokenizers import Tokenizer
from tfllm.train.callbacks.pictures import attention_picture
from tfllm.train.distribution.tensor_parallel import TensorParallel
from tfllm.train.metrics import Ratio

MOST_PROJECTED = 10_000
MOST_ATTENTION_TOKENS = 48


class TensorBoard(keras.callbacks.Callback):
    """Writes event files.

    Args:
        folder: where to, a path or an address (gs://…); below it `train` and `validation`.
        tokenizer: names the tokens.
        sample: texts to show at the end of each epoch; the first is also drawn as an attention picture.
        pictures: pictures to show at the end of each epoch, uint8 [height, width, 4].
        every: steps between two points of a curve.
    """

    def __init__(
        self,
        folder: str,
        *,
        tokenizer: Tokenizer,
        sample: Callable[[], list[str]] | None = None,
        pictures: Callable[[], dict[str, np.ndarray]] | None = None,
        every: int = 10,
    ):
        super().__init__()
        self._folder, self._tokenizer, self._every = folder, tokenizer, every
        self._sample, self._pictures = sample, pictures
        self._before: dict[str, tuple[Ratio, float, float]] = {}
        self._written = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._train = tf.summary.create_file_writer(f"{self._folder}/train")
        self._validation = tf.summary.create_file_writer(f"{self._folder}/validation")
        with self._train.as_default():
            config = json.dumps(self.model.config.to_dict(), indent=2)
            tf.summary.text("config", f"```\n{config}\n```", step=0)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = self._sums()
        self._written = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = int(self.model.optimizer.iterations.numpy())
        last = batch + 1 == self.params["steps"]
        if step == self._written or (step // self._every == self._written // self._every and not last):
            return
        sums = self._sums()
        with self._train.as_default():
            for name, (metric, total, weight) in sums.items():
                _, total_before, weight_before = self._before[name]
                if weight > weight_before:
                    ratio = tf.constant((total - total_before) / (weight - weight_before), tf.float64)
                    tf.summary.scalar(name, metric.value_of(ratio), step=step)
            tf.summary.scalar("learning_rate", float(np.asarray(self.model.optimizer.learning_rate)), step=step)
        self._before, self._written = sums, step

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        step, logs = int(self.model.optimizer.iterations.numpy()), logs or {}
        with self._train.as_default():
            for name, value in logs.items():
                if name.endswith(("_per_second", "_utilisation")):
                    tf.summary.scalar(name, value, step=step)
            texts = self._sample() if self._sample else []
            for i, text in enumerate(texts):
                tf.summary.text(f"sample_{i}", f"```\n{text}\n```", step=step)
            # On a mesh no layer is called by itself.
            if texts and not isinstance(self.model.distribute_strategy, TensorParallel):
                self._draw_attention(texts[0], step)
        with self._validation.as_default():
            for name, value in logs.items():
                if name.startswith("val_"):
                    tf.summary.scalar(name.removeprefix("val_"), value, step=step)
            for name, picture in (self._pictures() if self._pictures else {}).items():
                tf.summary.image(name, picture[None], step=step)
        self._train.flush()
        self._validation.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._project_embeddings()
        self._train.close()
        self._validation.close()

    def _sums(self) -> dict[str, tuple[Ratio, float, float]]:
        return {metric.name: (metric, *metric.sums()) for metric in self.model.metrics}

    def _draw_attention(self, text: str, step: int) -> None:
        ids = [self._tokenizer.bos_id, *self._tokenizer.encode(text)][
            : min(MOST_ATTENTION_TOKENS, self.model.config.max_length)
        ]
        names = [self._tokenizer.id_to_piece(token) for token in ids]
        for layer in sorted({0, self.model.config.num_layers - 1}):
            heads = self.model.stack.attention_map({TOKEN_IDS: tf.constant([ids])}, layer)[0]
            picture = attention_picture(np.asarray(heads), names)
            tf.summary.image(f"attention_block_{layer}", picture[None], step=step)

    def _project_embeddings(self) -> None:
        """The first rows of the embedding table, as the projector's text files."""
        table = np.asarray(self.model.stack.token_embedding.embeddings)[:MOST_PROJECTED]
        names = [json.dumps(self._tokenizer.id_to_piece(i), ensure_ascii=False)[1:-1] for i in range(len(table))]
        self._write("embeddings.tsv", "".join("\t".join(f"{value:.5g}" for value in row) + "\n" for row in table))
        self._write("tokens.tsv", "\n".join(names) + "\n")
        self._write(
            "projector_config.pbtxt",
            'embeddings {\n  tensor_name: "token_embedding"\n'
            '  tensor_path: "embeddings.tsv"\n  metadata_path: "tokens.tsv"\n}\n',
        )

    def _write(self, name: str, text: str) -> None:
        with tf.io.gfile.GFile(f"{self._folder}/train/{name}", "w") as file:
            file.write(text)
