"""Predictions for "[MASK]" in a text, in the graph.

In: string [B]. Out: for each mask of each text the most probable tokens and their probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfllm.data.encoder_inputs import build_encoder_inputs
from tfllm.features import TARGET_PLACES
from tfllm.layers.call_options import INFERENCE
from tfllm.prediction.batched_map import map_batches
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import num_special_tokens

MASK = "[MASK]"
CHOICES = 5


def fill_masks(model: Any, tokenizer: Tokenizer, text: tf.Tensor) -> dict[str, Any]:
    """The most probable tokens of each hidden place, and the text with the best.

        text "Paris is the [MASK] of France."
        -> token ("capital", "center", …), score (0.99, …), text "paris is the capital of france ."

    Where a tokenizer has a mask of its own (BERT's "[MASK]", RoBERTa's "<mask>"), texts say that one. A text too long is read
    in windows, each mask in the one that shows most beside it.

    Returns:
        `token` string and `score` float32, ragged [B, (masks), 5]; `text` string [B], put together from ids again.

    Raises:
        ValueError: the tokenizer has no mask.
    """
    if tokenizer.mask_id is None:
        raise ValueError("the tokenizer has no token for a hidden place ([MASK], <mask>): no text can ask for one")
    ids = _masked(tokenizer, text).with_row_splits_dtype(tf.int64)
    places = tf.cast(tf.where(ids.values == tokenizer.mask_id)[:, 0], tf.int32)
    windows = _windows(ids, places, model.max_length - num_special_tokens(tokenizer, pair=False))
    rows = build_encoder_inputs(windows.ids, tokenizer=tokenizer, max_length=model.max_length)
    count = min(CHOICES, model.config.vocab_size)

    def choices_of(part: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        there = tf.sequence_mask(part.pop("masks"), tf.shape(part[TARGET_PLACES])[1])
        top = tf.math.top_k(tf.nn.softmax(model(part, options=INFERENCE)), count)
        return {"id": tf.boolean_mask(top.indices, there), "score": tf.boolean_mask(top.values, there)}

    # Place 0 is the [CLS].
    targets = {TARGET_PLACES: (windows.masks + 1).to_tensor(), "masks": windows.masks.row_lengths()}
    specs = {"id": tf.TensorSpec([None, count], tf.int32), "score": tf.TensorSpec([None, count], tf.float32)}
    top = map_batches(choices_of, rows | targets, specs)
    filled = tf.tensor_scatter_nd_update(ids.values, places[:, None], top["id"][:, 0])
    names = tf.constant([tokenizer.id_to_piece(id) for id in range(tokenizer.vocab_size)])

    def by_text(values: tf.Tensor) -> tf.RaggedTensor:
        text = tf.gather(ids.value_rowids(), places)
        return tf.RaggedTensor.from_value_rowids(values, text, nrows=ids.nrows(), validate=False)

    return {
        "token": by_text(tf.gather(names, top["id"])),
        "score": by_text(top["score"]),
        "text": tokenizer.detokenize(ids.with_values(filled)),
    }


@dataclass(frozen=True)
class _Windows:
    """Parts of texts that hold masks, in order."""

    ids: tf.RaggedTensor
    """int32 [N, (S)]."""
    masks: tf.RaggedTensor
    """int32 [N, (masks)]: places in the window of those that are answered there; each mask is answered in one window."""


def _windows(ids: tf.RaggedTensor, places: tf.Tensor, room: int) -> _Windows:
    """Windows of `room` ids at most, half a window apart, the last ending with its text; those that there are masks for.

        room 4, text 1 2 3 4 M 6 M -> ids 3 4 M 6 | 4 M 6 M, masks 2 | 3

    A mask is answered where it stands nearest to the middle. A text that fits is one window; one without masks is none.

    Args:
        places: int32 [masks], in the values of `ids`.
    """
    step = max(room // 2, 1)
    text = tf.gather(ids.value_rowids(), places)
    first, length = (tf.cast(tf.gather(each, text), tf.int32) for each in (ids.row_starts(), ids.row_lengths()))
    place = places - first
    most = tf.maximum(length - room, 0)
    start = tf.minimum(tf.maximum(place - room // 4, 0) // step * step, most)
    # Masks of one text and one start share a window.
    opens = tf.concat([[True], (text[1:] != text[:-1]) | (start[1:] != start[:-1])], 0)[: tf.size(text)]
    window = tf.cumsum(tf.cast(opens, tf.int32)) - 1
    starts, begins, sizes = (tf.boolean_mask(each, opens) for each in (start, first, tf.minimum(length, room)))
    shown = tf.ragged.range(begins + starts, begins + starts + sizes)
    return _Windows(
        ids=shown.with_values(tf.gather(ids.values, shown.values)),
        masks=tf.RaggedTensor.from_value_rowids(place - start, window, nrows=tf.size(starts), validate=False),
    )


def _masked(tokenizer: Tokenizer, text: tf.Tensor) -> tf.RaggedTensor:
    """int32 [B, (S)], with the mask's id where the text says so."""
    if tokenizer.mask_id != tokenizer.unk_id:
        return tokenizer.tokenize(text)
    # The unknown id is the mask, which no text gives: what stands between the masks is tokenized, and the id put between.
    parts = tf.strings.split(text, MASK)
    ids = tokenizer.tokenize(parts.values).with_row_splits_dtype(tf.int64)
    closed = tf.concat([ids, tf.fill([ids.nrows(), 1], tokenizer.mask_id)], 1)
    joined = tf.RaggedTensor.from_nested_row_splits(closed.values, [parts.row_splits, closed.row_splits]).merge_dims(1, 2)
    return joined[:, :-1]
