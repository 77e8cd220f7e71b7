"""Tokenizers for the tests of data; a module of its own, so that worker processes can import it."""

import os
import time

import numpy as np

from tfllm.tokenizers import ByteTokenizer


class Other(ByteTokenizer):
    """Another tokenizer as far as a store can tell."""

    def fingerprint(self):
        return "0" * 64


class Slow(ByteTokenizer):
    """Leaves time to be killed in."""

    def encode_batch(self, texts):
        time.sleep(0.2)
        return super().encode_batch(texts)


class Wide(ByteTokenizer):
    """More ids than uint16 holds."""

    vocab_size = 70_000

    def encode_batch(self, texts):
        return [row + 69_000 for row in super().encode_batch(texts)]


class Broken(ByteTokenizer):
    """Gives the separator for text."""

    def encode_batch(self, texts):
        return [np.ones(1, np.int32) for _ in texts]


class SpaceMark(ByteTokenizer):
    """Loses U+2581, as SentencePiece's own escaping does."""

    def decode(self, ids):
        return super().decode(ids).replace("\u2581", " ")


def die(chunk, work):
    os.abort()


class Framed(ByteTokenizer):
    """Specials of its own and two separators between texts; a word begins with each capital letter (id 68 to 93)."""

    vocab_size, cls_id, sep_id, mask_id, pair_separators = 262, 259, 260, 261, 2

    def fingerprint(self):
        return "1" * 64

    def token_bytes(self):
        return np.append(super().token_bytes(), [0, 0, 0]).astype(np.int32)

    def word_starts(self):
        ids = np.arange(self.vocab_size)
        return (ids < 3) | (ids > 258) | ((ids > 67) & (ids < 94))


class Maskless(ByteTokenizer):
    """As GPT-2's, without a mask."""

    mask_id = None
