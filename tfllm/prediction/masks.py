"""What may stand where a text says "[MASK]"; in the graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.data.framing import frame
from tfllm.features import SEGMENT_IDS, TARGET_PLACES, TOKEN_IDS
from tfllm.tokenizers import Tokenizer

MASK = "[MASK]"
CHOICES = 5


def fill_masks(model: Any, tokenizer: Tokenizer, text: tf.Tensor) -> dict[str, Any]:
    """The most probable tokens of each hidden place, and the text with the best.

        text "Paris is the [MASK] of France."
        -> token ("capital", "center", …), score (0.99, …), text "paris is the capital of france ."

    Where a tokenizer has a mask of its own (BERT's "[MASK]", RoBERTa's "<mask>"), texts say that one.

    Returns:
        `token` string and `score` float32, ragged [B, (masks), 5]; `text` string [B], put together from ids again.

    Raises:
        ValueError: the tokenizer has no mask.
    """
    if tokenizer.mask_id is None:
        raise ValueError("the tokenizer has no token for a hidden place ([MASK], <mask>): no text can ask for one")
    rows = frame(_masked(tokenizer, text), tokenizer=tokenizer, max_length=model.max_length)
    hidden = rows[TOKEN_IDS] == tokenizer.mask_id
    places = tf.where(hidden)
    by_row = tf.RaggedTensor.from_value_rowids(tf.cast(places[:, 1], tf.int32), places[:, 0], nrows=tf.size(text, tf.int64))
    targets = by_row.to_tensor()
    scores = tf.nn.softmax(model(rows | {TARGET_PLACES: targets}))
    top = tf.math.top_k(scores, min(CHOICES, model.config.vocab_size))
    there = tf.sequence_mask(by_row.row_lengths(), tf.shape(targets)[1])
    filled = tf.tensor_scatter_nd_update(rows[TOKEN_IDS], places, tf.boolean_mask(top.indices[..., 0], there))
    names = tf.constant([tokenizer.id_to_piece(id) for id in range(tokenizer.vocab_size)])

    def by_mask(values: tf.Tensor) -> tf.RaggedTensor:
        return by_row.with_values(tf.boolean_mask(values, there))

    lengths = tf.reduce_sum(rows[SEGMENT_IDS], 1)
    return {
        "token": by_mask(tf.gather(names, top.indices)),
        "score": by_mask(top.values),
        "text": tokenizer.detokenize(tf.RaggedTensor.from_tensor(filled, lengths=lengths)),
    }


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
