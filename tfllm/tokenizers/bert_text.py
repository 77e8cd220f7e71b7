"""Text to words as BERT cuts them, inside a graph: cleaned, lower-cased, without accents, punctuation and ideographs alone.

In: string [B]. Out: `Words`. Only core ops, and no table of TensorFlow's: what becomes of each code point is asked of the
`tokenizers` library once a process, so its Unicode tables are the only ones. The parts of BERT's normalization go character by
character but for one, the order of combining marks (`_reordered`).
Source: Devlin et al. 2018 (arXiv 1810.04805), as `tokenizers` carries it: BertNormalizer, then BertPreTokenizer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import normalizers, pre_tokenizers

if TYPE_CHECKING:
    import tensorflow as tf

LITERAL = "\x01"
"""Stands before a special token that was found in the text. The cleaning deletes it, so no other word has it."""

CODES = 0x110000
PAGE = 256
ASKED = (range(0x40000), range(0xE0000, 0xE1000))
PRIVATE = (slice(0xF0000, 0xFFFFE), slice(0x100000, 0x10FFFE))
"""Deleted. All else that is not asked is not assigned, and stays as it is: asking, too, would take a second more."""
# A rule is added to its code point. The sum: bits 0-20 the place of the first result (from CODES on: of a row of results).
ALONE = 1 << 21  # a word of its own
COUNT = 22  # bits 22-24: how many results
MARK = 1 << 25  # a result is a combining mark that stays
STARTS = 1 << 26  # marks are not ordered across it
RESULT = ALONE - 1
HIGHEST = "\u0345"
"""The mark of the highest combining class, 240, and the only one of it."""


@dataclass(frozen=True)
class TextSettings:
    """What BERT's checkpoints differ in. Ideographs stand alone with `split_cjk`."""

    lowercase: bool
    strip_accents: bool
    split_cjk: bool

    def normalizer(self) -> Any:
        return normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.split_cjk,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )


@dataclass(frozen=True)
class Tables:
    """What becomes of each code point: the rule of code point c is `pages[page_of[c // PAGE], c % PAGE]`."""

    page_of: np.ndarray
    pages: np.ndarray
    results: np.ndarray
    """int32 [R]: code points (and ALONE) of rules with several results, row after row."""
    marks: np.ndarray
    """int32 [M], ascending: combining marks that stay."""
    mark_classes: np.ndarray
    """int32 [M]: their canonical combining classes."""
    spaces: str


@dataclass(frozen=True)
class Words:
    """Texts as chunks (between white space), each distinct chunk as words.

    "New-York new New-York", lower-cased -> words "new" "-" "york" "new", chunk_splits 0 3 4, chunks 0 1 0, text_splits 0 3
    """

    words: tf.Tensor
    """string [W]; special tokens begin with LITERAL."""
    characters: tf.Tensor
    """int64 [W]: characters of each word."""
    chunk_splits: tf.Tensor
    """int64 [U+1]: where in `words` each of the U distinct chunks begins and ends."""
    chunks: tf.Tensor
    """int32 [N]: which distinct chunk each chunk of the texts is."""
    text_splits: tf.Tensor
    """int64 [B+1]: where in `chunks` each text begins and ends."""


def words_of(texts: tf.Tensor, settings: TextSettings, specials: Sequence[str]) -> Words:
    """String [B] -> `Words`. Bytes that are no UTF-8 become U+FFFD, which the cleaning deletes.

    A chunk is worked on once, however often the texts have it: running text has four times as many.
    """
    import tensorflow as tf

    tables = tables_of(settings)
    plain = "".join(filter(str.isascii, tables.spaces))
    texts = tf.strings.regex_replace(texts, f"[{tables.spaces.replace(plain, '')}]", " ")
    if specials:
        texts = tf.strings.regex_replace(texts, LITERAL, "\x02")
        # RE2 takes the first alternative that fits: the longest, as `tokenizers` does.
        longest_first = sorted(specials, key=lambda text: (-len(text), text))
        texts = tf.strings.regex_replace(texts, "|".join(map(re.escape, longest_first)), rf" {LITERAL}\0 ")
    places, chunks, shape = tf.raw_ops.StringSplit(input=texts, delimiter=plain, skip_empty=True)
    distinct, which = tf.unique(chunks)
    text_splits = tf.RaggedTensor.from_value_rowids(which, places[:, 0], nrows=shape[0], validate=False).row_splits
    decoded = tf.strings.unicode_decode(distinct, "UTF-8", errors="replace")
    values, splits = _normalized(decoded, tables, settings)
    alone = tf.not_equal(tf.bitwise.bitwise_and(values, ALONE), 0)
    after_alone = tf.concat([[False], alone[:-1]], 0)[: tf.size(alone)]
    begins = (_begins(splits, tf.size(values)) > 0) | alone | after_alone
    word_splits = tf.concat([tf.where(begins)[:, 0], [tf.size(values, tf.int64)]], 0)
    codes = tf.bitwise.bitwise_and(values, RESULT)
    return Words(
        words=tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(codes, word_splits, validate=False), "UTF-8"),
        characters=word_splits[1:] - word_splits[:-1],
        chunk_splits=tf.gather(tf.concat([[0], tf.cumsum(tf.cast(begins, tf.int64))], 0), splits),
        chunks=which,
        text_splits=text_splits,
    )


def _normalized(decoded: tf.RaggedTensor, tables: Tables, settings: TextSettings) -> tuple[tf.Tensor, tf.Tensor]:
    """Code points int32 [U, (S)] -> results (with ALONE) int32 [R] and row splits int64 [U+1]."""
    import tensorflow as tf

    codes = decoded.values
    rules = codes + tf.gather_nd(tables.pages, tf.stack([tf.gather(tables.page_of, codes // PAGE), codes % PAGE], axis=-1))
    rows = _rows_of(decoded.row_splits, tf.size(codes))
    literal = tf.equal(tf.gather(tf.concat([codes, [0]], 0), decoded.row_starts()), ord(LITERAL))
    rules = tf.where(tf.gather(literal, rows), codes + (1 << COUNT) + STARTS, rules)
    first = tf.bitwise.bitwise_and(rules, RESULT)
    count = tf.bitwise.bitwise_and(tf.bitwise.right_shift(rules, COUNT), 7)
    # One op drops what has no result and lays out what has several.
    begin = first + tf.bitwise.bitwise_and(rules, ALONE)
    splits, values = tf.raw_ops.RaggedRange(starts=begin, limits=begin + count, deltas=tf.ones_like(begin))
    row = tf.bitwise.bitwise_and(values, RESULT) - CODES
    values = tf.where(row < 0, values, tf.gather(tables.results, tf.maximum(row, 0)))
    if settings.strip_accents:
        values = tf.cond(
            tf.reduce_any(tf.not_equal(tf.bitwise.bitwise_and(rules, MARK), 0)),
            lambda: _reordered(values, splits, rules, rows, tables),
            lambda: values,
        )
    return values, tf.gather(splits, decoded.row_splits)


def _begins(splits: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Row splits int64 [U+1] of [R] values -> int32 [R]: how many rows begin at each value, empty ones too."""
    import tensorflow as tf

    # Empty rows at the end begin after the last value.
    return tf.scatter_nd(splits[:-1, tf.newaxis], tf.ones_like(splits[:-1], tf.int32), [size + 1])[:-1]


def _rows_of(splits: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Int32 [R]: the row of each value. `RaggedTensor.value_rowids` makes a mask of rows x longest row on its way."""
    import tensorflow as tf

    return tf.cumsum(_begins(splits, size)) - 1


def _reordered(values: tf.Tensor, splits: tf.Tensor, rules: tf.Tensor, rows: tf.Tensor, tables: Tables) -> tf.Tensor:
    """Results int32 [R] with marks in canonical order, which is that of their classes, between characters that are none."""
    import tensorflow as tf

    starts = tf.cast(tf.not_equal(tf.bitwise.bitwise_and(rules, STARTS), 0), tf.int64)
    run = tf.cast(rows, tf.int64) + tf.cumsum(starts)
    owner = _rows_of(splits, tf.size(values))
    place = tf.minimum(tf.searchsorted(tables.marks, values), len(tables.marks) - 1)
    is_mark = tf.equal(tf.gather(tables.marks, place), values)
    classes = tf.where(is_mark, tf.gather(tables.mark_classes, place), 0)
    keys = 256 * tf.gather(run, owner) + tf.cast(classes, tf.int64)
    return tf.gather(values, tf.argsort(keys, stable=True))


@lru_cache
def tables_of(settings: TextSettings) -> Tables:
    """Every code point alone through `tokenizers`: half a second, once a process."""
    # A bar comes back as it is, and from nothing else.
    characters = [chr(code) for code in chain(*ASKED) if not 0xD800 <= code < 0xE000 and code != ord("|")]
    outputs = _each(settings.normalizer(), characters)
    changed = {before: after for before, after in zip(characters, outputs, strict=True) if before != after}
    seen = {*characters, "|"}.difference(changed).union(*changed.values())
    punctuation, first_marks = _punctuation(seen), _marks()
    marks = sorted(first_marks & seen) if settings.strip_accents else []
    rules, results = np.full(CODES, (1 << COUNT) + STARTS, np.int32), [0]
    for private in PRIVATE:
        rules[private] = 0
    for character, output in changed.items():
        result = output.strip(" ")  # an ideograph comes back between spaces
        first = ord(result) if len(result) == 1 else CODES + len(results)
        if len(result) > 1:
            results += map(ord, result)
        alone = ALONE if result != output else 0
        rules[ord(character)] = (first - ord(character) + (len(result) << COUNT) + STARTS + alone) if result else 0
    # What is stripped as an accent has parted marks before; what was cleaned away was not there.
    deleted = [character for character, output in changed.items() if not output]
    kept = zip(deleted, _each(TextSettings(False, False, False).normalizer(), deleted), strict=True)
    rules[[ord(character) for character, cleaned in kept if cleaned]] = STARTS
    for bit, those in ((ALONE, punctuation), (MARK, set(marks))):
        rules[[ord(character) for character in those if character not in changed]] += bit
        rules[[ord(character) for character, output in changed.items() if not those.isdisjoint(output)]] += bit
    rules[[ord(mark) for mark in first_marks]] &= ~STARTS
    pages, page_of = np.unique(rules.reshape(-1, PAGE), axis=0, return_inverse=True)
    return Tables(
        page_of=page_of.reshape(-1).astype(np.int32),
        pages=pages,
        results=np.array(results, np.int32),
        marks=np.array([ord(mark) for mark in marks], np.int32),
        mark_classes=np.array([unicodedata.combining(mark) for mark in marks], np.int32),
        spaces=" " + "".join(character for character, output in changed.items() if output == " "),
    )


def _each(normalizer: Any, texts: Iterable[str]) -> list[str]:
    """`normalizer` on each text, many in one call."""
    texts = list(texts)
    joined = ("|".join(texts[start : start + 4096]) for start in range(0, len(texts), 4096))
    return [output for some in joined for output in normalizer.normalize_str(some).split("|")]


def _punctuation(characters: Iterable[str]) -> set[str]:
    """Those that BERT sets apart. What Unicode has not assigned is none, so most of the code points need not be asked."""
    cut = pre_tokenizers.BertPreTokenizer()
    assigned = sorted(character for character in characters if unicodedata.category(character) != "Cn")
    joined = ("a" + "a".join(assigned[start : start + 4096]) + "a" for start in range(0, len(assigned), 4096))
    return {piece for some in joined for piece, _ in cut.pre_tokenize_str(some) if len(piece) == 1} - {"a"}


def _marks() -> set[str]:
    """Characters whose decomposition begins with a mark that is put in order: they go before a mark of a higher class."""
    candidates = [chr(code) for code in chain(*ASKED) if unicodedata.category(chr(code))[0] == "M"]
    outputs = _each(normalizers.NFD(), ("a" + HIGHEST + mark for mark in candidates))
    return {mark for mark, output in zip(candidates, outputs, strict=True) if output[1] != HIGHEST} | {HIGHEST}
