"""Texts, images and token embeddings for TensorBoard.

Input: functions that return texts and images, and the model. Output: event files, and the projector's text files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.features import TOKEN_IDS
from tfllm.tokenizers import Tokenizer
from tfllm.train.callbacks.images import attention_image
from tfllm.train.callbacks.tensorboard import TensorBoard
from tfllm.train.distribution.tensor_parallel import TensorParallel

MOST_PROJECTED = 10_000
MOST_ATTENTION_TOKENS = 48
STEPS_BETWEEN = 500
"""Default distance between two sets of samples, in training steps. A set takes about a second."""


class Samples(keras.callbacks.Callback):
    """Shows texts and images after some epochs and after the last.

    It comes after the callback that saves the run: an error in an image must not lose an epoch.

    Args:
        board: the callback that writes the curves; samples go to its event files.
        tokenizer: gives the tokens' names.
        sample: returns texts to show; of the first, the attention is shown as an image, too.
        images: returns images to show, uint8 [height, width, 4].
        every: epochs between two sets; by default as many as have `STEPS_BETWEEN` steps.
    """

    def __init__(
        self,
        board: TensorBoard,
        *,
        tokenizer: Tokenizer,
        sample: Callable[[], list[str]] | None = None,
        images: Callable[[], dict[str, np.ndarray]] | None = None,
        every: int | None = None,
    ):
        super().__init__()
        if every is not None and every < 1:
            raise ValueError(f"samples_every={every} is invalid: expected at least 1 epoch, or None for the default")
        self._board, self._tokenizer, self._every = board, tokenizer, every
        self._sample, self._images = sample, images

    def on_train_begin(self, logs: Any = None) -> None:
        step = self._step()
        if step and step % self.params["steps"] == 0 and not self.model.fit_status.steps_to_skip:
            self._show(step)  # the process was killed between the epoch's record and its images

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._step() % self.params["steps"] == 0:
            self._show(self._step())

    def on_train_end(self, logs: Any = None) -> None:
        self._project_embeddings()

    def _step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _show(self, step: int) -> None:
        """Writes the samples that are due after `step` and not there yet."""
        epoch = step // self.params["steps"]
        every = self._every or math.ceil(STEPS_BETWEEN / self.params["steps"])
        if epoch % every and epoch < self.params["epochs"] and not self.model.stop_training:
            return
        board = self._board
        if self._sample and ("sample_0", step) not in board.shown["train"]:
            texts = self._sample()
            # On a mesh a layer cannot be called by itself.
            seen = texts[:1] if not isinstance(self.model.distribute_strategy, TensorParallel) else []
            drawn = [image for text in seen for image in self._attention(text).items()]
            with board.train.as_default():
                for name, image in drawn:
                    tf.summary.image(name, image[None], step=step)
                for i, text in reversed(list(enumerate(texts))):  # the first text is written last: where it is there, all are
                    tf.summary.text(f"sample_{i}", f"```\n{text}\n```", step=step)
        if self._images and not board.has_images(step):
            with board.validation.as_default():
                for name, image in self._images().items():
                    tf.summary.image(name, image[None], step=step)
        board.flush()

    def _attention(self, text: str) -> dict[str, np.ndarray]:
        """Images of the attention of the first and the last block, for a text."""
        ids = [self._tokenizer.bos_id, *self._tokenizer.encode(text)][
            : min(MOST_ATTENTION_TOKENS, self.model.config.max_length)
        ]
        names = [self._tokenizer.id_to_piece(token) for token in ids]
        maps = self.model({TOKEN_IDS: tf.constant([ids])}, output_attentions=True).attentions
        return {
            f"attention_block_{layer}": attention_image(np.asarray(tf.cast(maps[layer][0], tf.float32)), names)
            for layer in sorted({0, len(maps) - 1})
        }

    def _project_embeddings(self) -> None:
        """Writes the first rows of the embedding table as the projector's text files."""
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
        with tf.io.gfile.GFile(f"{self._board.folder}/train/{name}", "w") as file:
            file.write(text)
