"""Byte-level BPE in a TensorFlow graph: core and TensorFlow Text ops, no tables to track, the ids of `tokenizers`.

In: string [B], a `GraphModel`. Out: int32 [B, (S)].
Added tokens are found first (`added_tokens_graph`). What is between is cut by its split pattern (`split_patterns`), its words
are written in GPT-2's letters (one a byte), each distinct word of the batch is merged once, by SentencePiece's BPE in C++
(`byte_bpe_merges`), and the words' ids are laid in a row.
Source: BPE (arXiv 1508.07909), GPT-2 (Radford et al. 2019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfllm.tokenizers import added_tokens_graph
from tfllm.tokenizers.added_tokens import Patterns
from tfllm.tokenizers.byte_bpe_merges import byte_letters, private_letter
from tfllm.tokenizers.split_patterns import LAST_SPACES, SPACES, SplitPattern, character_classes

if TYPE_CHECKING:
    import tensorflow as tf

# Marks and compositions younger than the Unicode version of the Rust crate that normalizes in `tokenizers`, which leaves them
# alone, as ICU in TensorFlow Text does not. Found by normalizing every code point in both, alone and beside ten marks.
YOUNG_MARKS = (
    r"[\x{7fd}\x{897}-\x{89f}\x{8ca}-\x{8d3}\x{9fe}\x{c3c}\x{d3b}-\x{d3c}\x{eba}\x{1715}\x{1abf}-\x{1ace}\x{1df6}-\x{1dfa}\x{a82c}"
    r"\x{105c9}\x{105d2}\x{105da}\x{105e4}\x{10d24}-\x{10d27}\x{10d69}-\x{10d6d}\x{10eab}-\x{10eac}\x{10efd}-\x{10eff}"
    r"\x{10f46}-\x{10f50}\x{10f82}-\x{10f85}\x{11070}\x{1133b}\x{11382}-\x{11391}\x{113b8}-\x{113d0}\x{1145e}\x{11839}-\x{1183a}"
    r"\x{11930}-\x{1193e}\x{11943}\x{119e0}\x{11a34}\x{11a47}\x{11a99}\x{11d42}-\x{11d45}\x{11d97}\x{11f41}-\x{11f42}"
    r"\x{1611e}-\x{1612f}\x{16d63}-\x{16d6a}\x{16ff0}-\x{16ff1}\x{1e08f}\x{1e130}-\x{1e136}\x{1e2ae}\x{1e2ec}-\x{1e2ef}"
    r"\x{1e4ec}-\x{1e4ef}\x{1e5ee}-\x{1e5ef}]"
)


@dataclass(frozen=True)
class GraphModel:
    """What the graph needs.

    sentencepiece: model proto. whole_words: words that are looked up, not merged, to their ids. missing: letters of no piece.
    """

    sentencepiece: bytes
    pattern: SplitPattern
    nfc: bool
    patterns: Patterns
    whole_words: Mapping[str, int]
    missing: str = ""


def tokenize(texts: tf.Tensor, model: GraphModel) -> tf.RaggedTensor:
    """String [B] -> int32 [B, (S)]. Bytes that are no UTF-8 become U+FFFD first."""
    return added_tokens_graph.tokenize(
        valid(texts),
        model.patterns,
        normalize=lambda texts: normalize(texts, model.nfc),
        between=lambda texts: _between(texts, model),
    )


def valid(texts: tf.Tensor) -> tf.Tensor:
    """String [B] -> string [B], of UTF-8."""
    import tensorflow as tf

    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")


def normalize(texts: tf.Tensor, nfc: bool) -> tf.Tensor:
    """Valid UTF-8 string [B], in NFC where wanted, as in `tokenizers`: nothing composes across characters it does not know."""
    import tensorflow as tf

    if not nfc:
        return texts
    import tensorflow_text

    # FF is no UTF-8.
    parts = tf.strings.split(tf.strings.regex_replace(texts, YOUNG_MARKS, b"\xff\\0\xff"), b"\xff")
    return tf.strings.reduce_join(tensorflow_text.normalize_utf8(parts, "NFC"), axis=-1)


def _between(texts: tf.Tensor, model: GraphModel) -> tf.RaggedTensor:
    """Valid UTF-8 string [B], normalized, without added tokens -> int32 [B, (S)]."""
    import tensorflow as tf

    words = split(texts, model.pattern)
    distinct, places = tf.unique(words.values, out_idx=tf.int64)
    ids = tf.gather(_merge(distinct, model), places)
    return tf.RaggedTensor.from_row_splits(ids.values, tf.gather(ids.row_splits, words.row_splits), validate=False)


def split(texts: tf.Tensor, pattern: SplitPattern) -> tf.RaggedTensor:
    """Valid UTF-8 string [B] -> string [B, (words)], in GPT-2's letters: "a dog" -> ["a", "Ġdog"]."""
    import tensorflow as tf

    points = tf.strings.unicode_decode(texts, "UTF-8")
    values = points.values
    cut = tf.strings.regex_replace(_class_strings(points, pattern), pattern.classes, r"\0|")
    cut_flat = tf.io.decode_raw(tf.strings.reduce_join(cut, axis=0), tf.uint8)
    # The n-th cut stands behind its word and n other cuts.
    ends = tf.where(cut_flat == ord("|"))[:, 0]
    ends -= tf.range(tf.size(ends, out_type=tf.int64))
    counts = tf.cast(tf.strings.length(cut), tf.int64) - points.row_lengths()

    sizes = 1 + sum(tf.cast(values >= least, tf.int64) for least in (0x80, 0x800, 0x10000))
    sizes_before = tf.concat([[0], tf.cumsum(sizes)], 0)
    splits = tf.concat([[0], tf.gather(sizes_before, ends)], 0)
    flat = tf.io.decode_raw(tf.strings.reduce_join(texts, axis=0), tf.uint8)
    letters = tf.gather(tf.constant([ord(letter) for letter in byte_letters()]), tf.cast(flat, tf.int32))
    words = tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(letters, splits, validate=False), "UTF-8")
    return tf.RaggedTensor.from_row_lengths(words, counts, validate=False)


def _class_strings(points: tf.RaggedTensor, pattern: SplitPattern) -> tf.Tensor:
    """Code points int32 [B, (characters)] -> string [B] of class letters."""
    import tensorflow as tf

    last = np.arange(256, dtype=np.int32)
    last[[ord(letter) for letter in SPACES]] = [ord(letter) for letter in LAST_SPACES]
    ends_run = np.ones(256, bool)
    ends_run[[ord(letter) for letter in SPACES + ("0" if pattern.digits_alone else "")]] = False

    classes = tf.cast(tf.gather(tf.constant(character_classes(pattern)), points.values), tf.int32)
    rows = points.value_rowids()
    followed = tf.gather(tf.constant(ends_run), classes[1:]) & (rows[1:] == rows[:-1])
    followed = tf.concat([followed, tf.zeros_like(classes[:1], tf.bool)], 0)
    classes = tf.where(followed, tf.gather(tf.constant(last), classes), classes)
    return tf.strings.unicode_encode(points.with_values(classes), "UTF-8")


def _merge(words: tf.Tensor, model: GraphModel) -> tf.RaggedTensor:
    """Words string [N] in GPT-2's letters -> int32 [N, (ids)]."""
    import tensorflow as tf
    from tensorflow_text.python.ops import sentencepiece_tokenizer as text_ops

    if model.whole_words:
        words = _look_up(words, model.whole_words)
    if model.missing:
        words = tf.strings.regex_replace(words, f"[{model.missing}]", "")
    ops = text_ops.gen_sentencepiece_tokenizer
    # The shared name lets all functions of a process parse the model once.
    name = f"tfllm_{hashlib.sha256(model.sentencepiece).hexdigest()}"
    handle: Any = ops.sentencepiece_op(model=model.sentencepiece, shared_name=name)
    settings = {"nbest_size": 0, "alpha": 1.0, "add_bos": False, "add_eos": False, "reverse": False, "out_type": tf.int32}
    ids, splits = ops.sentencepiece_tokenize_op(handle, words, **settings)[:2]
    return tf.RaggedTensor.from_row_splits(ids, tf.cast(splits, tf.int64), validate=False)


def _look_up(words: tf.Tensor, whole_words: Mapping[str, int]) -> tf.Tensor:
    """Words, those of the dictionary as their private letter."""
    import tensorflow as tf

    known = list(whole_words)
    place = added_tokens_graph.place_of(words, known)
    letters = tf.constant([private_letter(id).encode() for id in whole_words.values()])
    return tf.where(tf.gather(tf.constant(known), place) == words, tf.gather(letters, place), words)
