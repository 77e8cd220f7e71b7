"""Byte tokenizers with the specials of encoders, for the tests of labelled data: ids of text are 10 + byte."""

import numpy as np
import tensorflow as tf

from tfllm.tokenizers import ByteTokenizer


class BertLike(ByteTokenizer):
    """Words without their spaces, one separator."""

    vocab_size = 10 + 256
    pad_id, cls_id, sep_id, unk_id = 0, 1, 2, 3
    keeps_spaces = False

    def encode(self, text):
        return [7 + id for id in super().encode(text)]

    def encode_batch(self, texts):
        return [7 + row for row in super().encode_batch(texts)]

    def tokenize(self, texts):
        return super().tokenize(texts) + 7


class RobertaLike(BertLike):
    """Spaces kept, two separators."""

    pair_separators = 2
    keeps_spaces = True


class Deaf(BertLike):
    """Makes nothing of "x", as WordPiece does of characters it cleans away."""

    def tokenize(self, texts):
        return super().tokenize(tf.strings.regex_replace(texts, "x", ""))


def letters(ids):
    """ids [S] -> text, specials as [ ] | _ for cls, sep, unknown and pad."""
    return "".join({0: "_", 1: "[", 2: "]", 3: "?"}.get(int(id), chr(max(int(id) - 10, 0))) for id in np.asarray(ids))
