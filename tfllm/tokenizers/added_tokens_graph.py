"""Added tokens found in a TensorFlow graph, core ops only, as the `tokenizers` library finds them (`added_tokens`).

In: string [B], `Patterns`, and the tokenization of what is between the tokens. Out: int32 [B, (S)].
A text becomes parts, a token or the text between two, each a row of its own: so nothing composes, merges or looks ahead across
a token.

    "the [E1]cat", [E1] 12 -> parts "the " "" "cat", ids -1 12 -1 -> 5 12 6
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfllm.tokenizers.added_tokens import FEW, WHITE_SPACE, AddedToken, Patterns, word_characters

if TYPE_CHECKING:
    import tensorflow as tf

FENCE = b"\xff"
"""Around each token. No UTF-8 has it."""


@dataclass(frozen=True)
class Parts:
    """Texts as parts. texts: string [P], "" for a token. ids: int32 [P], the token's, -1 for text. splits: int64 [B+1]."""

    texts: tf.Tensor
    ids: tf.Tensor
    splits: tf.Tensor


def tokenize(
    texts: tf.Tensor,
    patterns: Patterns,
    *,
    normalize: Callable[[tf.Tensor], tf.Tensor],
    between: Callable[[tf.Tensor], tf.RaggedTensor],
) -> tf.RaggedTensor:
    """Valid UTF-8 string [B] -> int32 [B, (S)].

    Args:
        texts: string [B].
        patterns: the tokens.
        normalize: string [N] -> string [N].
        between: normalized string [N] -> int32 [N, (S)].
    """
    import tensorflow as tf

    if not patterns.raw and not patterns.normal:
        return between(normalize(texts))
    parts = parts_of(texts, patterns, normalize)
    ids = between(parts.texts)
    # Behind the rows of text come those of tokens, one id each; then every part takes its own.
    is_token = parts.ids >= 0
    tokens = tf.gather(parts.ids, tf.where(is_token)[:, 0])
    ends = ids.row_splits[-1] + tf.range(1, tf.size(tokens, tf.int64) + 1)
    rows = tf.RaggedTensor.from_row_splits(
        tf.concat([ids.values, tokens], 0), tf.concat([ids.row_splits, ends], 0), validate=False
    )
    count = tf.size(parts.ids, tf.int64)
    which = tf.where(is_token, count - 1 + tf.cumsum(tf.cast(is_token, tf.int64)), tf.range(count))
    ids = tf.gather(rows, which)
    return tf.RaggedTensor.from_row_splits(ids.values, tf.gather(ids.row_splits, parts.splits), validate=False)


def parts_of(texts: tf.Tensor, patterns: Patterns, normalize: Callable[[tf.Tensor], tf.Tensor]) -> Parts:
    """Valid UTF-8 string [B] as parts, text normalized."""
    import tensorflow as tf

    rows = tf.size(texts, tf.int64)
    parts = Parts(texts, tf.fill([rows], -1), tf.range(rows + 1))
    if patterns.raw:
        parts = _cut(texts, patterns.raw)
    normal = normalize(parts.texts)
    if not patterns.normal:
        return Parts(normal, parts.ids, parts.splits)
    inner = _cut(normal, patterns.normal)
    outer_ids = tf.repeat(parts.ids, inner.splits[1:] - inner.splits[:-1])
    return Parts(inner.texts, tf.maximum(inner.ids, outer_ids), tf.gather(inner.splits, parts.splits))


def _cut(texts: tf.Tensor, patterns: Mapping[str, AddedToken]) -> Parts:
    import tensorflow as tf

    tokens = list(patterns.values())
    # RE2 takes the first alternative that fits.
    longest_first = sorted(patterns, key=lambda content: (-len(content), content))
    fenced = tf.strings.regex_replace(texts, "|".join(map(escaped, longest_first)), FENCE + rb"\0" + FENCE)
    split = _Split.of(fenced)
    which = place_of(split.values, list(patterns))
    if any(token.single_word for token in tokens):
        kept = split.is_token & ~(_flags(which, [token.single_word for token in tokens]) & _beside_words(split))
        fenced = tf.where(kept, FENCE + split.values + FENCE, split.values)
        split = _Split.of(
            tf.strings.reduce_join(tf.RaggedTensor.from_row_splits(fenced, split.splits, validate=False), axis=-1)
        )
        which = place_of(split.values, list(patterns))
    between = split.values
    for strips, step, pattern in (
        ([token.lstrip for token in tokens], -1, rf"[{WHITE_SPACE}]+\z"),
        ([token.rstrip for token in tokens], 1, rf"\A[{WHITE_SPACE}]+"),
    ):
        if any(strips):  # every row begins and ends with text: a token's neighbours are of its own row
            taken = tf.roll(split.is_token & _flags(which, strips), step, 0)
            between = tf.where(taken, tf.strings.regex_replace(between, pattern, ""), between)
    ids = tf.gather(tf.constant([token.id for token in tokens]), which)
    return Parts(tf.where(split.is_token, "", between), tf.where(split.is_token, ids, -1), split.splits)


def _flags(which: tf.Tensor, flags: Sequence[bool]) -> tf.Tensor:
    import tensorflow as tf

    return tf.gather(tf.constant(flags), which)


@dataclass(frozen=True)
class _Split:
    """Fenced texts as parts.

    "the \xff[E1]\xffcat" -> values "the " "[E1]" "cat", place 0 1 2 (in its text, odd for tokens), splits 0 3
    """

    values: tf.Tensor
    place: tf.Tensor
    splits: tf.Tensor

    @classmethod
    def of(cls, fenced: tf.Tensor) -> _Split:
        import tensorflow as tf

        places, values, _ = tf.raw_ops.StringSplitV2(input=fenced, sep=FENCE)
        starts = tf.where(places[:, 1] == 0)[:, 0]
        return cls(values, places[:, 1], tf.concat([starts, [tf.size(values, tf.int64)]], 0))

    @property
    def is_token(self) -> tf.Tensor:
        return self.place % 2 == 1


def _beside_words(split: _Split) -> tf.Tensor:
    """Bool [P]: does a character of a word stand right before or behind this token?"""
    import tensorflow as tf

    word = f"[{word_characters()}]"
    ends, begins = (tf.strings.regex_full_match(split.values, pattern) for pattern in (f"(?s:.*){word}", f"{word}(?s:.*)"))
    empty = split.values == ""
    # Where nothing is between two tokens, it is the other token.
    other_before = (split.place >= 3) & tf.roll(empty, 1, 0) & tf.roll(ends, 2, 0)
    other_behind = (tf.roll(split.place, -2, 0) == split.place + 2) & tf.roll(empty, -1, 0) & tf.roll(begins, -2, 0)
    return tf.roll(ends, 1, 0) | other_before | tf.roll(begins, -1, 0) | other_behind


def place_of(strings: tf.Tensor, known: Sequence[str]) -> tf.Tensor:
    """String [N] -> int32 [N]: its place in `known`, any for others. Many by sorted hashes: a table would need tracking."""
    import tensorflow as tf

    if len(known) <= FEW:
        return tf.argmax(tf.cast(strings[:, tf.newaxis] == tf.constant(known), tf.int32), axis=1, output_type=tf.int32)
    hashes = tf.strings.to_hash_bucket_fast(tf.constant([each.encode() for each in known]), 1 << 62)
    order = tf.argsort(hashes)
    place = tf.searchsorted(tf.gather(hashes, order), tf.strings.to_hash_bucket_fast(strings, 1 << 62))
    return tf.gather(order, tf.minimum(place, len(known) - 1))


def escaped(literal: str) -> str:
    """An RE2 pattern for `literal` itself."""
    return "".join(rf"\x{{{ord(character):x}}}" for character in literal)
