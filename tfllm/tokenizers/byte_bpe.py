"""Byte-level BPE, as GPT-2, RoBERTa, Llama-3 and Qwen have it: every text has ids and comes back as it was (Qwen's: in NFC).

In: Hugging Face's files (`ByteBPETokenizer.from_file`), or text (`tfllm.tokenizers.train(…, kind="byte_bpe")`).
Out: ids, equal in the `tokenizers` library and in the graph (`byte_bpe_graph`).
Source: GPT-2 (Radford et al. 2019), "Input Representation".

Special tokens spelt out in a text ("<|endoftext|>", "</s>") are plain text, in Python and in the graph: who writes the text
does not end the document. The one exception is "<mask>" where the vocabulary has it, as RoBERTa's does, for fill-mask.
Added tokens that are not special ("<num>", "<think>", new words) are found in text (`added_tokens`), and decode to themselves.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers
from tokenizers.normalizers import NFC

from tfllm.tokenizers import byte_bpe_files, byte_bpe_graph
from tfllm.tokenizers.added_tokens import AddedToken, Finder, patterns_of
from tfllm.tokenizers.base import (
    SPECIAL_PIECES,
    Description,
    check_ids,
    check_strings,
    check_text,
    check_texts,
    fingerprint_of,
    write_folder,
)
from tfllm.tokenizers.batch_encoding import CallableTokenizer
from tfllm.tokenizers.byte_bpe_files import MASK, Vocabulary
from tfllm.tokenizers.byte_bpe_graph import GraphModel
from tfllm.tokenizers.byte_bpe_merges import byte_letters, merge_places, sentencepiece_model
from tfllm.tokenizers.split_patterns import LLAMA3, cutter
from tfllm.tokenizers.word_cache import WordCache

if TYPE_CHECKING:
    import tensorflow as tf

END_NAMES = ("<eos>", "</s>", "<|endoftext|>", "<|end_of_text|>")
NEVER_IN_UTF8 = (0xC0, 0xC1, *range(0xF5, 0x100))
PAD_NAMES = ("<pad>", "<|finetune_right_pad_id|>")


class ByteBPETokenizer(CallableTokenizer):
    """A vocabulary of byte-level pieces and the merges that lead to them.

    GPT-2: "It's  10%\\n" -> ["It", "'s", "Ġ", "Ġ10", "%", "Ċ"] -> [1026, 338, 220, 838, 4, 198] -> the same text

    eos and bos close and open a document: </s>, <|endoftext|> or <|end_of_text|>, and <|begin_of_text|> where there is one.
    """

    kind = "byte_bpe"
    keeps_spaces = True

    def __init__(self, asset: bytes):
        self._asset = asset
        self._fingerprint = fingerprint_of(self.kind, asset)
        self._vocabulary = vocabulary = byte_bpe_files.parse(asset, f"the {self.kind} asset")
        added = {token.content: token.id for token in vocabulary.added}
        ends = [added[name] for name in END_NAMES if name in added]
        if not ends:
            raise ValueError(f"no added token ends a document; accepted: one of {', '.join(END_NAMES)}. There are: {[*added]}")
        self.vocab_size = max(*vocabulary.pieces.values(), *added.values()) + 1
        self.eos_id = self.sep_id = ends[0]
        self.bos_id = added.get("<|begin_of_text|>", self.eos_id)
        self.cls_id = added.get("<s>", self.bos_id)
        self.pad_id = next((added[name] for name in PAD_NAMES if name in added), self.eos_id)
        self.unk_id = added.get("<unk>", self.eos_id)
        self.mask_id = added.get(MASK, added.get("<unk>"))
        self.pair_separators = 2 if "<s>" in added else 1
        self._patterns = patterns_of(vocabulary.found, NFC().normalize_str if vocabulary.nfc else str)

    @classmethod
    def from_file(cls, path: str | Path) -> ByteBPETokenizer:
        """From Hugging Face's `tokenizer.json`, or a folder with it, or with `vocab.json` and `merges.txt`.

        Raises ValueError that names what cannot be carried over: another model, normalizer, split pattern, …
        Warns where bytes that texts can have are in no piece.
        """
        vocabulary = byte_bpe_files.read(path)
        lost = ", ".join(f"0x{byte:02X}" for byte in vocabulary.missing if byte not in NEVER_IN_UTF8)
        if lost:
            warnings.warn(
                f"{path} has no piece for the bytes {lost}: what a text has of them gets no ids, here as in `tokenizers`",
                stacklevel=2,
            )
        return cls(vocabulary.canonical())

    @classmethod
    def trained(cls, texts: Iterable[str], vocab_size: int, *, progress: bool = True) -> ByteBPETokenizer:
        """Trains with Llama-3's split pattern; ids 0, 1, 2 are the specials, then the 256 bytes, then merges as found.

        Raises ValueError where specials and bytes alone are more than `vocab_size`, or the text gives fewer pieces.
        """
        least = len(SPECIAL_PIECES) + len(byte_letters())
        if vocab_size < least:
            raise ValueError(
                f"vocab_size={vocab_size} is invalid: expected at least {least} (special tokens, 256 bytes). Raise it."
            )
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=list(SPECIAL_PIECES),
            initial_alphabet=list(byte_letters()),
            show_progress=progress,
        )
        untrained = Vocabulary({letter: byte for byte, letter in enumerate(byte_letters())}, (), (), LLAMA3)
        native = tokenizers.Tokenizer.from_str(json.dumps(untrained.hugging_face()))
        native.train_from_iterator(texts, trainer)
        model = json.loads(native.to_str())["model"]
        if len(model["vocab"]) < vocab_size:
            raise ValueError(
                f"vocab_size={vocab_size} is invalid: expected at most {len(model['vocab'])}, the pieces that the text gives. "
                "Lower it, or give more text."
            )
        pieces = {piece: id for piece, id in model["vocab"].items() if piece not in SPECIAL_PIECES}
        specials = [AddedToken(id, piece) for id, piece in enumerate(SPECIAL_PIECES)]
        return cls(Vocabulary(pieces, model["merges"], specials, LLAMA3).canonical())

    def __reduce__(self) -> tuple[type[ByteBPETokenizer], tuple[bytes]]:
        return type(self), (self._asset,)

    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, text: str) -> list[int]:
        check_text(text)
        return self._native.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._decode(check_ids(ids, self.vocab_size))

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        check_texts(texts)
        return self._word_cache.encode_batch(texts)

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """String [B] -> int32 [B, (S)]. Bytes that are no UTF-8 become U+FFFD first."""
        return byte_bpe_graph.tokenize(check_strings(texts), self._graph_model)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """String [B] -> string [B]: in NFC where the tokenizer composes accents, else as it was."""
        return byte_bpe_graph.normalize(byte_bpe_graph.valid(check_strings(texts)), self._vocabulary.nfc)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Int32 [B, (S)] -> string [B]; ICU replaces ill-formed UTF-8 by the same rule as Python's codec."""
        import tensorflow as tf

        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        joined = tf.strings.reduce_join(tf.gather(tf.constant(self._surfaces), ids), axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")

    def token_bytes(self) -> np.ndarray:
        return np.array([len(surface) for surface in self._surfaces], np.int32)

    def token_byte_strings(self) -> list[bytes]:
        return list(self._surfaces)

    def word_starts(self) -> np.ndarray:
        texts = (surface.decode(errors="replace") for surface in self._surfaces)
        return np.array([not text or text[0].isspace() for text in texts])

    def id_to_piece(self, id: int) -> str:
        """The piece in GPT-2's letters: " x\\n" -> "ĠxĊ"."""
        check_ids([id], self.vocab_size)
        return self._names[id] or ""

    def save(self, folder: str | Path) -> None:
        asset = f"{self.kind}-{self.fingerprint()[:12]}.model"
        write_folder(folder, Description(self.kind, self.vocab_size, self.fingerprint(), asset), self._asset)

    def _decode(self, ids: np.ndarray) -> str:
        surfaces = self._surfaces
        return b"".join([surfaces[id] for id in ids.tolist()]).decode(errors="replace")

    @cached_property
    def _names(self) -> list[str | None]:
        names: list[str | None] = [None] * self.vocab_size
        for piece, id in self._vocabulary.pieces.items():
            names[id] = piece
        for token in self._vocabulary.added:
            names[token.id] = token.content
        return names

    @cached_property
    def _surfaces(self) -> list[bytes]:
        """What each id decodes to: specials to nothing, added tokens to their spelling, pieces to their bytes."""
        bytes_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        surfaces = [b""] * self.vocab_size
        for piece, id in self._vocabulary.pieces.items():
            known = all(letter in bytes_of for letter in piece)
            surfaces[id] = bytes(bytes_of[letter] for letter in piece) if known else piece.encode()
        for token in self._vocabulary.added:
            surfaces[token.id] = b"" if token.special else token.content.encode()
        return surfaces

    @cached_property
    def _native(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(json.dumps(self._spec()))

    def _spec(self) -> dict[str, Any]:
        """What `tokenizers` reads, told of no token that is not looked for in text. Left alone, it would number them anew."""
        spec, found = self._vocabulary.hugging_face(), self._vocabulary.found
        spec["added_tokens"] = [asdict(token) for token in found]
        spec["model"]["vocab"] |= {token.content: token.id for token in found}
        return spec

    @cached_property
    def _word_cache(self) -> WordCache:
        contents = [token.content for token in self._vocabulary.found]
        finder = Finder(contents, contents, NFC()) if self._vocabulary.nfc else Finder(contents)
        return WordCache(self._cut, lambda: self._native, self._spec(), finder)

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        """Words as the library merges them. Alone it cuts them no further: the pattern finds them again, NFC leaves them."""
        if self._vocabulary.nfc:
            composed = NFC().normalize_str
            texts = [text if text.isascii() else composed(text) for text in texts]
        return cutter(self._vocabulary.pattern)(texts)

    @cached_property
    def _graph_model(self) -> GraphModel:
        vocabulary = self._vocabulary
        merged = merge_places(vocabulary.pieces, vocabulary.merges)
        model = sentencepiece_model(self._names, merged)
        letters = set(byte_letters())
        missing = "".join(byte_letters()[byte] for byte in vocabulary.missing)
        unmerged = {piece: id for piece, id in vocabulary.pieces.items() if piece not in merged and piece not in letters}
        whole_words = unmerged if vocabulary.ignore_merges else {}
        return GraphModel(model, vocabulary.pattern, vocabulary.nfc, self._patterns, whole_words, missing)
