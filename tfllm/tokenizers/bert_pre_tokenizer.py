"""BERT's splitting of text into words, in the graph: cleaning, lower case, no accents, punctuation and ideographs as words.

In: string [B]. Out: `Words`. Core ops only; all Unicode tables come from `bert_character_tables`.
Source: Devlin et al. 2018 (arXiv 1810.04805), as `tokenizers` has it: BertNormalizer, then BertPreTokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfllm.tokenizers.bert_character_tables import (
    ALONE,
    CODES,
    COUNT,
    MARK,
    PAGE,
    RESULT,
    STARTS,
    Tables,
    TextSettings,
    tables_of,
)

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Words:
    """Texts as chunks (between white space), each distinct chunk as words.

    ["New-York new New-York", ""], lower-cased -> words "new" "-" "york" "new", characters 3 1 4 3, chunk_splits 0 3 4,
    chunks 0 1 0, text_splits 0 3 3
    """

    words: tf.Tensor
    """string [W]."""
    characters: tf.Tensor
    """int64 [W]: characters of each word."""
    chunk_splits: tf.Tensor
    """int64 [U+1]: where in `words` each of the U distinct chunks begins and ends."""
    chunks: tf.Tensor
    """int32 [N]: which distinct chunk each chunk of the texts is."""
    text_splits: tf.Tensor
    """int64 [B+1]: where in `chunks` each text begins and ends."""


@dataclass(frozen=True)
class _Results:
    values: tf.Tensor
    """int32 [R]: code points, and ALONE."""
    splits: tf.Tensor
    """int64 [U+1]: where each chunk begins and ends."""


def words_of(texts: tf.Tensor, settings: TextSettings | None) -> Words:
    """Valid UTF-8 string [B] -> `Words`. settings: None where the texts are `normalized` already.

    A chunk is worked on once, however often the texts have it: half a megabyte of running text says it all four times.
    """
    import tensorflow as tf

    tables = tables_of(settings)
    beyond_ascii = "".join(space for space in tables.spaces if not space.isascii())
    places, chunks, shape = tf.raw_ops.StringSplit(
        input=tf.strings.regex_replace(texts, f"[{beyond_ascii}]", " ") if beyond_ascii else texts,
        delimiter="".join(filter(str.isascii, tables.spaces)),
        skip_empty=True,
    )
    distinct, which = tf.unique(chunks)
    results = _results(tf.strings.unicode_decode(distinct, "UTF-8", errors="replace"), tables)
    size = tf.size(results.values)
    alone = _has(results.values, ALONE)
    after_alone = tf.concat([[False], alone], 0)[:-1]
    begins = (_begins(results.splits, size) > 0) | alone | after_alone
    word_splits = tf.concat([tf.where(begins)[:, 0], [tf.cast(size, tf.int64)]], 0)
    codes = tf.bitwise.bitwise_and(results.values, RESULT)
    words_before = tf.concat([[0], tf.cumsum(tf.cast(begins, tf.int64))], 0)
    return Words(
        words=tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(codes, word_splits, validate=False), "UTF-8"),
        characters=word_splits[1:] - word_splits[:-1],
        chunk_splits=tf.gather(words_before, results.splits),
        chunks=which,
        text_splits=tf.RaggedTensor.from_value_rowids(which, places[:, 0], nrows=shape[0], validate=False).row_splits,
    )


def normalized(texts: tf.Tensor, settings: TextSettings) -> tf.Tensor:
    """Valid UTF-8 string [B] -> string [B]: cleaned, with spaces around ideographs, lower-cased, without accents.

    "Új\\t中" -> "uj  中 "
    """
    import tensorflow as tf

    tables = tables_of(settings)
    texts = tf.strings.regex_replace(texts, f"[{tables.spaces}]", " ")
    if tables.ideographs:
        texts = tf.strings.regex_replace(texts, f"[{tables.ideographs}]", r" \0 ")
    results = _results(tf.strings.unicode_decode(texts, "UTF-8"), tables)
    codes = tf.bitwise.bitwise_and(results.values, RESULT)
    return tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(codes, results.splits, validate=False), "UTF-8")


def _results(decoded: tf.RaggedTensor, tables: Tables) -> _Results:
    """Code points int32 [U, (S)] -> what becomes of them."""
    import tensorflow as tf

    codes = decoded.values
    page = tf.gather(tables.pages, codes // PAGE)
    rules = codes + tf.gather(tables.rules, page + codes % PAGE)
    rows = _rows_of(decoded.row_splits, tf.size(codes))
    count = tf.bitwise.bitwise_and(tf.bitwise.right_shift(rules, COUNT), 7)
    begin = tf.bitwise.bitwise_and(rules, RESULT + ALONE)
    # One op leaves out what has no result and lays out what has several.
    splits, values = tf.raw_ops.RaggedRange(starts=begin, limits=begin + count, deltas=tf.ones_like(begin))
    place = tf.bitwise.bitwise_and(values, RESULT) - CODES
    values = tf.where(place < 0, values, tf.gather(tables.results, tf.maximum(place, 0)))
    if len(tables.marks):
        values = tf.cond(
            tf.reduce_any(_has(rules, MARK)),
            lambda: _reordered(values, _rows_of(splits, tf.size(values)), rows, rules, tables),
            lambda: values,
        )
    return _Results(values, tf.gather(splits, decoded.row_splits))


def _reordered(values: tf.Tensor, owners: tf.Tensor, rows: tf.Tensor, rules: tf.Tensor, tables: Tables) -> tf.Tensor:
    """Results int32 [R] with marks in canonical order: by class, within runs that nothing but marks is in.

    owners int32 [R]: the character that each result comes from; rows, rules int32 [S]: of each character.
    """
    import tensorflow as tf

    run = tf.cast(rows, tf.int64) + tf.cumsum(tf.cast(_has(rules, STARTS), tf.int64))
    place = tf.minimum(tf.searchsorted(tables.marks, values), len(tables.marks) - 1)
    is_mark = tf.equal(tf.gather(tables.marks, place), values)
    classes = tf.where(is_mark, tf.gather(tables.mark_classes, place), 0)
    keys = 256 * tf.gather(run, owners) + tf.cast(classes, tf.int64)
    return tf.gather(values, tf.argsort(keys, stable=True))


def _has(values: tf.Tensor, bit: int) -> tf.Tensor:
    """Int32 [R] -> bool [R]."""
    import tensorflow as tf

    return tf.not_equal(tf.bitwise.bitwise_and(values, bit), 0)


def _begins(splits: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Row splits int64 [U+1] of R = `size` values -> int32 [R]: how many rows begin at each value, empty ones too.

    0 2 2 3, 3 -> 1 0 2
    """
    import tensorflow as tf

    # Empty rows at the end begin after the last value.
    return tf.scatter_nd(splits[:-1, tf.newaxis], tf.ones_like(splits[:-1], tf.int32), [size + 1])[:-1]


def _rows_of(splits: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Row splits int64 [U+1] of R = `size` values -> int32 [R], each value's row.

    0 2 2 3, 3 -> 0 0 2. `RaggedTensor.value_rowids` would make a mask of rows x longest row on its way.
    """
    import tensorflow as tf

    return tf.cumsum(_begins(splits, size)) - 1
