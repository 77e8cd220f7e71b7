"""SentencePiece, lossless: every valid string comes back as it was, U+2581 and the spellings of special pieces included.

In: a SentencePiece model whose pieces hold real spaces (see `lossless`). Out: ids, equal in the `sentencepiece` library and in
TensorFlow Text's op.
Source: SentencePiece (arXiv 1808.06226), unigram (arXiv 1804.10959), BPE (arXiv 1508.07909).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import sentencepiece

from tfllm.tokenizers.base import (
    EOS_ID,
    PAD_ID,
    SPECIAL_PIECES,
    UNK_ID,
    Description,
    arrays,
    blocks,
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

SPACE_MARK = "\u2581"
BLOCK_CHARACTERS = 1 << 22
"""Encoded at once: lists of ids take some tens of bytes a character."""
MANY = 4000
"""Texts in any order keep all threads busy."""
FEW_CHARACTERS = 1 << 14
"""Up to here a loop is done before threads are made; the library makes them for one, too."""


def lossless(model: bytes, marks: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The same model with real spaces in its pieces, and other marks of the training text replaced as well.

    SentencePiece writes a space as U+2581 and every U+2581 back as a space, so text with a real U+2581 is lost. With
    `escape_whitespaces` off, spaces stay spaces, and U+2581 is a character without a piece: three byte pieces.

    pieces ["▁the", "▁▁", "):\\ue000"], {"\\ue000": "\\n"} -> [" the", "  ", "):\\n"]
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    table = str.maketrans({SPACE_MARK: " ", **marks})
    for piece in proto.pieces:
        piece.piece = piece.piece.translate(table)
    proto.normalizer_spec.escape_whitespaces = False
    # Specials decode to nothing; SentencePiece's own default is " ⁇ ".
    proto.trainer_spec.unk_surface = ""
    return proto.SerializeToString(deterministic=True)


class SentencePieceTokenizer(CallableTokenizer):
    """A trained SentencePiece model (unigram or BPE) with byte fallback.

    "  x = 1\\n" -> pieces ["  ", "x", " =", " 1", "\\n"] (which pieces, the training text decides) -> ids -> the same text
    """

    kind = "sentencepiece"
    pad_id, eos_id, unk_id, bos_id = PAD_ID, EOS_ID, UNK_ID, EOS_ID
    # No text gives the unknown id, for every byte has its own: so it can hide a token.
    cls_id, sep_id, mask_id = EOS_ID, EOS_ID, UNK_ID
    pair_separators, keeps_spaces = 1, True

    def __init__(self, model: bytes) -> None:
        self._load(model)
        self._check()

    def _load(self, model: bytes) -> None:
        self._model = model
        self._native: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size = int(self._native.vocab_size())
        self._fingerprint = fingerprint_of(self.kind, model)

    def _check(self) -> None:
        """A model that would lose text, or has its specials elsewhere, is refused here and not found out in training."""
        native = self._native
        ids = (native.pad_id(), native.eos_id(), native.unk_id(), native.bos_id())
        if ids != (PAD_ID, EOS_ID, UNK_ID, -1):
            raise ValueError(f"the model's pad, eos, unk, bos ids are {ids}; accepted: 0, 1, 2, -1. Train it with tfllm")
        probe = " a  \u2581\t\r\n\0\U0010ffff</s><0x0A> "
        if native.decode(native.encode(probe)) != probe:
            raise ValueError("the model does not give text back as it was; accepted: models that `tfllm.tokenizers.train` made")

    def __getstate__(self) -> bytes:
        return self._model

    def __setstate__(self, model: bytes) -> None:
        self._load(model)

    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, text: str) -> list[int]:
        check_text(text)
        return self._native.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._native.decode(check_ids(ids, self.vocab_size).tolist())

    def encode_batch(self, texts: Sequence[str], *, threads: int | None = None) -> list[np.ndarray]:
        """Int32 [S] a text. The native call holds the interpreter lock: bulk work uses processes, with `threads=1` in each."""
        check_texts(texts)
        threads = threads or len(os.sched_getaffinity(0))
        return [ids for block in blocks(texts, BLOCK_CHARACTERS) for ids in self._block(block, min(threads, len(block)))]

    def _block(self, texts: Sequence[str], threads: int) -> list[np.ndarray]:
        if sum(map(len, texts)) <= FEW_CHARACTERS:
            return arrays([self._native.encode(text) for text in texts])
        if threads == 1 or len(texts) > MANY:
            return arrays(self._native.encode(list(texts), num_threads=threads))
        # By falling length: of N threads each takes every N-th text, so they end together, as they do where texts are many.
        order = np.argsort([-len(text) for text in texts], kind="stable").tolist()
        rows = arrays(self._native.encode([texts[place] for place in order], num_threads=threads))
        return [rows[place] for place in np.argsort(order).tolist()]

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        if not len(rows):
            return []
        return self._native.decode([check_ids(row, self.vocab_size).tolist() for row in rows])

    def _graph(self) -> tuple[Any, Any]:
        """TensorFlow Text's ops and the model's resource, made where it is used: so any function exports without tracking it.

        The shared name lets all functions of a process parse the model once.
        """
        from tensorflow_text.python.ops import sentencepiece_tokenizer as text_ops

        ops = text_ops.gen_sentencepiece_tokenizer
        return ops, ops.sentencepiece_op(model=self._model, shared_name=f"tfllm_{self.fingerprint()}")

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """String [B] -> int32 [B, (S)]. Bytes that are no UTF-8 become U+FFFD first."""
        import tensorflow as tf

        texts = check_strings(texts)
        ops, handle = self._graph()
        ids, splits = ops.sentencepiece_tokenize_op(
            handle,
            texts,
            nbest_size=0,
            alpha=1.0,
            add_bos=False,
            add_eos=False,
            reverse=False,
            out_type=tf.int32,
        )[:2]
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """String [B] -> string [B]: nothing changes."""
        return check_strings(texts)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Int32 [B, (S)] -> string [B]."""
        import tensorflow as tf

        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        ops, handle = self._graph()
        return ops.sentencepiece_detokenize_op(handle, ids.values, ids.row_splits, add_bos=False, add_eos=False, reverse=False)

    def token_bytes(self) -> np.ndarray:
        native = self._native
        return np.array(
            [
                1 if native.is_byte(id) else 0 if id < len(SPECIAL_PIECES) else len(native.id_to_piece(id).encode())
                for id in range(self.vocab_size)
            ],
            np.int32,
        )

    def token_byte_strings(self) -> list[bytes]:
        """Byte pieces are spelled "<0x0A>"."""
        native = self._native
        pieces = [b""] * len(SPECIAL_PIECES)
        for id in range(len(SPECIAL_PIECES), self.vocab_size):
            piece = native.id_to_piece(id)
            pieces.append(bytes([int(piece[3:-1], 16)]) if native.is_byte(id) else piece.encode())
        return pieces

    def word_starts(self) -> np.ndarray:
        pieces = (self._native.id_to_piece(id) for id in range(len(SPECIAL_PIECES), self.vocab_size))
        return np.array([True] * len(SPECIAL_PIECES) + [piece[:1].isspace() for piece in pieces])

    def id_to_piece(self, id: int) -> str:
        """Spaces as U+2581, other white space and controls escaped: "  x" -> "▁▁x", "\\n" -> "\\\\n"."""
        check_ids([id], self.vocab_size)
        piece = self._native.id_to_piece(int(id)).replace(" ", SPACE_MARK)
        return re.sub(
            r"[^\S\u2581]|[\x00-\x1f\x7f-\x9f]",
            lambda match: match[0].encode("unicode_escape").decode(),
            piece,
        )

    def save(self, folder: str | Path) -> None:
        asset = f"{self.kind}-{self.fingerprint()[:12]}.model"
        write_folder(folder, Description(self.kind, self.vocab_size, self.fingerprint(), asset), self._model)
