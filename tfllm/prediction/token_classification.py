"""Predicts the entities of texts, or a label for each word, in the graph.

In: string [B]. Out: for each entity or word its text, label, first and last character, and probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfllm.data.encoder_inputs import build_encoder_inputs
from tfllm.layers.call_options import INFERENCE
from tfllm.prediction.batched_map import map_batches
from tfllm.text.tags import is_iob2
from tfllm.text.words import Words, split_words, valid_utf8, word_pieces
from tfllm.tokenizers import Tokenizer


@dataclass(frozen=True)
class Tags:
    """The predictions for all words of all texts, [words] each."""

    label: tf.Tensor
    """int32: number of the most probable label."""
    score: tf.Tensor
    """float32: its probability."""


def tag_words(model: Any, tokenizer: Tokenizer, text: tf.Tensor) -> dict[str, Any]:
    """The entities if the labels are IOB2 tags, else all words; ragged [B, (entities)] each.

        labels O B-PER I-PER B-LOC I-LOC, text "Ada Byron, London" tagged B-PER I-PER O B-LOC
        -> text "Ada Byron" "London", label "PER" "LOC", start 0 11, end 9 17, score: the lowest of its words
        labels NOUN VERB, text "Birds sing" -> text "Birds" "sing", label "NOUN" "VERB", start 0 6, end 5 10

    Offsets count characters, like those of a Python `str`; invalid UTF-8 counts as U+FFFD. A long text is split between words
    into several rows.
    """
    text = valid_utf8(text)
    words = split_words(text, keep_spaces=tokenizer.keeps_spaces)
    found = _entities(words, _tags(model, tokenizer, words), model.labels)
    row = found["start"].value_rowids()
    lengths = found["end"].values - found["start"].values
    strings = tf.strings.substr(tf.gather(text, row), found["start"].values, lengths, unit="UTF8_CHAR")
    return {"text": found["start"].with_values(strings)} | found


def _tags(model: Any, tokenizer: Tokenizer, words: Words) -> Tags:
    pieces = word_pieces(words.strings, tokenizer, model.max_length)
    rows = build_encoder_inputs(pieces.ids, tokenizer=tokenizer, max_length=model.max_length)

    def tags_of(part: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(part, options=INFERENCE))
        return {"label": tf.argmax(probabilities, -1, output_type=tf.int32), "score": tf.reduce_max(probabilities, -1)}

    specs = {"label": tf.TensorSpec([None, None], tf.int32), "score": tf.TensorSpec([None, None], tf.float32)}
    tags = map_batches(tags_of, rows, specs)
    # Position 0 is the [CLS] token. Rows are in the order of their texts, so the words' first tokens are in the order of words.
    place = tf.cast(tf.ragged.range(pieces.ids.row_lengths()).values, tf.int32) + 1
    places = tf.stack([tf.cast(pieces.ids.value_rowids(), tf.int32), place], 1)
    of_words = tf.boolean_mask(places, pieces.firsts.values)
    return Tags(tf.gather_nd(tags["label"], of_words), tf.gather_nd(tags["score"], of_words))


def _entities(words: Words, tags: Tags, labels: tuple[str, ...]) -> dict[str, tf.RaggedTensor]:
    """Joins words into entities: a new one begins at B-, or at I- if the word before is of another kind. "O" is no entity."""
    bio = is_iob2(labels)
    kinds = sorted({label[2:] for label in labels if label != "O"}) if bio else list(labels)
    kind_of = [kinds.index(label[2:]) if bio and label != "O" else -1 if bio else i for i, label in enumerate(labels)]
    kind = tf.gather(tf.constant(kind_of), tags.label)
    begins = tf.gather(tf.constant([not bio or label.startswith("B-") for label in labels]), tags.label)
    text = words.starts.value_rowids()
    kind_before = tf.concat([[-1], kind[:-1]], 0)[: tf.size(kind)]
    new_text = tf.concat([[True], text[1:] != text[:-1]], 0)[: tf.size(kind)]
    inside = kind >= 0
    opens = inside & (begins | new_text | (kind_before != kind))
    entity = tf.boolean_mask(tf.cumsum(tf.cast(opens, tf.int32)) - 1, inside)
    count = tf.reduce_sum(tf.cast(opens, tf.int32))

    def by_text(values: tf.Tensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_value_rowids(
            values, tf.boolean_mask(text, opens), nrows=words.starts.nrows(), validate=False
        )

    return {
        "label": by_text(tf.gather(tf.constant(kinds), tf.boolean_mask(kind, opens))),
        "start": by_text(tf.boolean_mask(words.starts.values, opens)),
        "end": by_text(tf.math.unsorted_segment_max(tf.boolean_mask(words.ends.values, inside), entity, count)),
        "score": by_text(tf.math.unsorted_segment_min(tf.boolean_mask(tags.score, inside), entity, count)),
    }
