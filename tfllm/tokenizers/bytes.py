"""Bytes as tokens: no assets, 259 ids, nothing is unknown.

In: text. Out: 3 + byte for each UTF-8 byte; 0 pad, 1 eos, 2 unk.
Source: ByT5 (arXiv 2105.13626), whose order of specials this is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfllm.tokenizers.base import (
    EOS_ID,
    PAD_ID,
    SPECIAL_PIECES,
    UNK_ID,
    Description,
    check_ids,
    check_strings,
    check_text,
    check_texts,
    fingerprint_of,
    write_folder,
)
from tfllm.tokenizers.batch_encoding import CallableTokenizer

if TYPE_CHECKING:
    import tensorflow as tf

SPECIALS = len(SPECIAL_PIECES)


class ByteTokenizer(CallableTokenizer):
    """One id a byte.

    "hé\\n" -> UTF-8 68 C3 A9 0A -> [107, 198, 172, 13]
    [1, 107, 198, 13, 1] -> "h\\ufffd\\n" (specials give nothing, C3 without its A9 gives U+FFFD)
    """

    kind = "bytes"
    vocab_size = SPECIALS + 256
    pad_id, eos_id, unk_id, bos_id = PAD_ID, EOS_ID, UNK_ID, EOS_ID
    # No text gives the unknown id, for every byte has its own: so it can hide a token.
    cls_id, sep_id, mask_id = EOS_ID, EOS_ID, UNK_ID
    pair_separators, keeps_spaces = 1, True

    def fingerprint(self) -> str:
        return fingerprint_of(self.kind)

    def encode(self, text: str) -> list[int]:
        return [SPECIALS + byte for byte in check_text(text)]

    def decode(self, ids: Sequence[int]) -> str:
        array = check_ids(ids, self.vocab_size)
        return (array[array >= SPECIALS] - SPECIALS).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        check_texts(texts)
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) + SPECIALS for text in texts]

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """String [B] -> int32 [B, (S)]. Bytes that are no UTF-8 pass as they are."""
        import tensorflow as tf

        texts = check_strings(texts)
        # One buffer for all rows: decode_raw asks for equal lengths, and joined there is one row only.
        flat = tf.io.decode_raw(tf.strings.reduce_join(texts, axis=0), tf.uint8)
        lengths = tf.strings.length(texts, unit="BYTE")
        return tf.RaggedTensor.from_row_lengths(tf.cast(flat, tf.int32) + SPECIALS, lengths, validate=False)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """String [B] -> string [B]: nothing changes."""
        return check_strings(texts)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Int32 [B, (S)] -> string [B]; ICU replaces ill-formed UTF-8 by the same rule as Python's codec."""
        import tensorflow as tf

        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        joined = tf.strings.reduce_join(tf.gather(tf.constant(self.token_byte_strings()), ids), axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")

    def token_bytes(self) -> np.ndarray:
        return np.array([0] * SPECIALS + [1] * 256, np.int32)

    def token_byte_strings(self) -> list[bytes]:
        return [b""] * SPECIALS + [bytes([byte]) for byte in range(256)]

    def word_starts(self) -> np.ndarray:
        return np.array([True] * SPECIALS + [bytes([byte]).isspace() for byte in range(256)])

    def id_to_piece(self, id: int) -> str:
        check_ids([id], self.vocab_size)
        if id < SPECIALS:
            return SPECIAL_PIECES[id]
        byte = id - SPECIALS
        return chr(byte) if 0x20 < byte < 0x7F else f"<0x{byte:02X}>"

    def save(self, folder: str | Path) -> None:
        write_folder(folder, Description(self.kind, self.vocab_size, self.fingerprint()))
