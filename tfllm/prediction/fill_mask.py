"""Predicts the tokens at "[MASK]" in texts, in the graph.

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
    """The most probable tokens for each mask, and the text with the most probable token in each.

        text "Paris is the [MASK] of France."
        -> token ("capital", "center", …), score (0.99, …), text "paris is the capital of france ."

    If the tokenizer has a mask token (BERT's "[MASK]", RoBERTa's "<mask>"), texts must use it; otherwise "[MASK]". A long text
    is read in overlapping windows; a mask is predicted in the window in which it is nearest to the middle.

    Returns:
        `token` string and `score` float32, ragged [B, (masks), 5]; `text` string [B], detokenized.

    Raises:
        ValueError: the tokenizer has no mask.
    """
    if tokenizer.mask_id is None:
        raise ValueError(
            f"tokenizer={type(tokenizer).__name__} is invalid: expected a tokenizer with a mask token ([MASK], <mask>). Give "
            "the tokenizer that the model was trained with."
        )
    ids = _masked(tokenizer, text).with_row_splits_dtype(tf.int64)
    places = tf.cast(tf.where(ids.values == tokenizer.mask_id)[:, 0], tf.int32)
    windows = _windows(ids, places, model.max_length - num_special_tokens(tokenizer, pair=False))
    rows = build_encoder_inputs(windows.ids, tokenizer=tokenizer, max_length=model.max_length)
    count = min(CHOICES, model.config.vocab_size)

    def choices_of(part: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        there = tf.sequence_mask(part.pop("masks"), tf.shape(part[TARGET_PLACES])[1])
        top = tf.math.top_k(tf.nn.softmax(model(part, options=INFERENCE)), count)
        return {"id": tf.boolean_mask(top.indices, there), "score": tf.boolean_mask(top.values, there)}

    # Position 0 is the [CLS] token.
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
    """Parts of texts that contain masks, in the order of the texts."""

    ids: tf.RaggedTensor
    """int32 [N, (S)]."""
    masks: tf.RaggedTensor
    """int32 [N, (masks)]: positions in the window of the masks that are predicted in it. A mask belongs to one window."""


def _windows(ids: tf.RaggedTensor, places: tf.Tensor, room: int) -> _Windows:
    """Windows of at most `room` ids, half a window apart; only those in which a mask is predicted.

        room 4, text 1 2 3 4 M 6 M -> ids 3 4 M 6 | 4 M 6 M, masks 2 | 3

    The last window ends at the end of its text. A mask is predicted in the window in which it is nearest to the middle. A text
    of at most `room` ids is one window. A text without masks has no window.

    Args:
        places: int32 [masks]: positions of the masks in the values of `ids`.
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
    """The token ids of the texts, int32 [B, (S)], with the mask id at each mask."""
    if tokenizer.mask_id != tokenizer.unk_id:
        return tokenizer.tokenize(text)
    # The mask has the id of unknown tokens, which no text gives. So the parts between masks are tokenized, then joined with it.
    parts = tf.strings.split(text, MASK)
    ids = tokenizer.tokenize(parts.values).with_row_splits_dtype(tf.int64)
    closed = tf.concat([ids, tf.fill([ids.nrows(), 1], tokenizer.mask_id)], 1)
    joined = tf.RaggedTensor.from_nested_row_splits(closed.values, [parts.row_splits, closed.row_splits]).merge_dims(1, 2)
    return joined[:, :-1]
