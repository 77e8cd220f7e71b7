"""A cache of words: each distinct word is encoded once by the `tokenizers` library, and then looked up.

In: texts, a function that splits each into words, and a tokenizer of the `tokenizers` library. Out: ids int32 [S] of each text.
The ids of a text must be the ids of its words, one after another; each tokenizer that uses the cache says why they are. A text
with an added token counts as one word, because the library looks for added tokens before it splits. Running text repeats its
words. Splitting and looking up run in Python's own C code (`re.findall`, `dict`), in a tenth of the library's time. Text that
seldom repeats a word (identifiers, base64, Chinese without spaces) goes to the library as a whole: a sample of each block
decides.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from threading import Lock
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer

from tfllm.tokenizers.added_tokens import Finder
from tfllm.tokenizers.base import arrays, blocks, flat, unflat

TEXT_COST = 12
"""What the library spends on a text, however short, in characters that it encodes meanwhile."""
FEW = 1 << 13
"""Up to this cost the library alone is as fast, and answers before anything is built."""
ALONE = 1 << 11
"""Up to so many characters it takes longer to hand texts over to the library's threads than to encode them."""
BLOCK_CHARACTERS = 1 << 20
"""Cut at once: a word is an object of some sixty bytes."""
MOST_WORDS, MOST_CHARACTERS = 1 << 18, 1 << 24
"""Above either all is forgotten, and what is common soon known again. A hundred megabytes."""
SAMPLE_CHARACTERS, SAMPLE_EVERY, SAMPLE_TEXTS = 1 << 9, 31, 4
"""A block's sample: of every 31st text, of 4 at least, so many characters of every 31 times as many."""
NEW_SHARE = 0.25
"""Words pay where new ones have no more than this share of the texts' characters, and what the texts cost besides."""
SEPARATOR, JOINED = "\U0010ffff", 64
"""Between new words, of which so many are encoded as one text; a character that Unicode will never assign."""


class WordCache:
    """The ids of words that were met before.

    words "a" "b" "a", ids of "a" 5, of "b" 7 8  ->  5 7 8 5

    Args:
        cut: texts to the words of each.
        whole: gives a tokenizer of the library; asked for when it is needed.
        spec: its `tokenizer.json`.
        finder: of what the library looks for in a text before it cuts.
    """

    def __init__(
        self,
        cut: Callable[[Sequence[str]], list[list[str]]],
        whole: Callable[[], Tokenizer],
        spec: Mapping[str, Any],
        finder: Finder,
    ):
        self._cut, self._whole, self._finder = cut, whole, finder
        self._added = [token["content"] for token in spec["added_tokens"]]
        self._parted, self._separator = _with_separator(spec)
        self._known = _Known()
        self._lock = Lock()

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Int32 [S] a text."""
        if sum(map(len, texts)) + TEXT_COST * len(texts) <= FEW:
            return arrays(_ids(self._whole(), texts))
        return [ids for block in blocks(texts, BLOCK_CHARACTERS) for ids in self._block(block)]

    def _block(self, texts: Sequence[str]) -> list[np.ndarray]:
        with self._lock:
            if self._pays(texts):
                return self._by_words(self._words(texts))
        return arrays(_ids(self._whole(), texts))

    def _pays(self, texts: Sequence[str]) -> bool:
        """Are most words known, or said again and again? A sample tells; its words are known from then on.

        Without that, none would ever be where each block is short. New words grow with the text by a power of its length
        (Heaps' law), which half of the sample tells beside all of it: running text pays though its sample says few words twice.
        """
        chosen = texts[:: max(1, min(SAMPLE_EVERY, len(texts) // SAMPLE_TEXTS))]
        steps = [range(0, len(text), SAMPLE_CHARACTERS * SAMPLE_EVERY) for text in chosen]
        sample = [text[at : at + SAMPLE_CHARACTERS] for text, places in zip(chosen, steps, strict=True) for at in places]
        words = self._cut(sample)
        half, new = self._new_characters([some[: len(some) // 2] for some in words]), self._new_characters(words)
        self._numbers(words)
        length = sum(map(len, texts))
        power = math.log2(new / half) if new > half > 0 else 1.0
        expected = new * (length / max(1, sum(map(len, sample)))) ** min(1.0, power)
        return expected <= NEW_SHARE * length + TEXT_COST * len(texts)

    def _new_characters(self, words: Sequence[Sequence[str]]) -> int:
        """Of the words that are not known yet, each once."""
        return sum(map(len, set(chain.from_iterable(words)).difference(self._known)))

    def _by_words(self, words: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Int32 [S] a text, of the words of each."""
        which, known = self._numbers(words)
        counts = np.fromiter(map(len, words), np.int64, len(words))
        ids, starts, lengths = known.tables()
        lengths = lengths[which]
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts[which] - bounds[:-1], lengths) + np.arange(bounds[-1])
        return unflat(ids[places], np.diff(bounds[np.concatenate([[0], np.cumsum(counts)])]))

    def _numbers(self, words: Sequence[Sequence[str]]) -> tuple[np.ndarray, _Known]:
        """The number of each word, int64 [W], and what is known now, the new ones too."""
        known, self._known = self._known, _Known()  # again the old one when all of it has ids: an interrupt may come anywhere
        which = np.fromiter(map(known.__getitem__, chain.from_iterable(words)), np.int64)
        if known.new:
            known.learn(*self._encode(known.new))
        if len(known) <= MOST_WORDS and known.characters <= MOST_CHARACTERS:
            self._known = known
        return which, known

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        words = self._cut(texts)
        for place in self._finder.holding(texts):
            words[place] = [texts[place]]
        return words

    def _encode(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """All ids, int32 [N], and how many of each word, int64 [W]. Many words go as one text: its making costs three words."""
        joined = [SEPARATOR.join(words[start : start + JOINED]) for start in range(0, len(words), JOINED)]
        if any(SEPARATOR in text for text in (*words, *self._added)):
            return flat(_ids(self._whole(), words))
        ids, _ = flat([[*row, self._separator] for row in _ids(self._parted, joined)])
        ends = np.flatnonzero(ids == self._separator)
        return np.delete(ids, ends), np.diff(ends, prepend=-1) - 1


def _with_separator(spec: Mapping[str, Any]) -> tuple[Tokenizer, int]:
    """The tokenizer with one more special token, and its id.

    Where the vocabulary has all tokens it gets that one, too, for the library would give an id in use where ids are left out.
    Else the library numbers the tokens, and this one as the last.
    """
    vocabulary, added = spec["model"]["vocab"], spec["added_tokens"]
    id = 1 + max([*vocabulary.values(), *(token["id"] for token in added)])
    named = {SEPARATOR: id} if all(token["content"] in vocabulary for token in added) else {}
    parted = Tokenizer.from_str(json.dumps({**spec, "model": {**spec["model"], "vocab": vocabulary | named}}))
    parted.add_special_tokens([AddedToken(SEPARATOR, normalized=False)])
    assert parted.token_to_id(SEPARATOR) == id
    return parted, id


def _ids(library: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    if sum(map(len, texts)) <= ALONE:
        return [library.encode(text, add_special_tokens=False).ids for text in texts]
    return [encoding.ids for encoding in library.encode_batch_fast(list(texts), add_special_tokens=False)]


class _Known(dict[str, int]):
    """Word -> its number, in the order they were met; a word that is asked for is known from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []
        self.characters = 0
        # Arrays that grow in place: a few new words among a hundred thousand must not copy them all.
        self._ids, self._starts, self._lengths = array("i"), array("q"), array("q")

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        self.new.append(word)
        return number

    def learn(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """The ids of the new words."""
        self._starts.frombytes((len(self._ids) + np.cumsum(lengths) - lengths).tobytes())
        self._lengths.frombytes(lengths.tobytes())
        self._ids.frombytes(ids.tobytes())
        self.characters += sum(map(len, self.new))
        self.new.clear()

    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids of all words, int32 [N]; where each word's begin, and how many they are, int64 [W]. Views: not to be kept."""
        return np.frombuffer(self._ids, np.int32), np.frombuffer(self._starts, np.int64), np.frombuffer(self._lengths, np.int64)
