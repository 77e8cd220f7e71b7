"""WordPiece, id for id as the original BERT tokenizer takes text, in Python and in the graph.

In: a vocabulary (`vocab.txt`, `tokenizer.json`, or trained). Out: ids; spaces, accents and case are lost where BERT loses them.
Source: Devlin et al. 2018 (arXiv 1810.04805); longest match in linear time: Song et al. 2020 (arXiv 2012.15524), as TensorFlow
Text's op does it. Python goes through the `tokenizers` library, in bulk word by word (`word_cache`). What is served goes
through the graph.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

from tfllm.tokenizers import added_tokens_graph
from tfllm.tokenizers.added_tokens import AddedToken, Finder
from tfllm.tokenizers.base import Description, check_ids, check_strings, check_text, check_texts, fingerprint_of, write_folder
from tfllm.tokenizers.batch_encoding import CallableTokenizer
from tfllm.tokenizers.bert_character_tables import TextSettings
from tfllm.tokenizers.bert_pre_tokenizer import normalized, words_of
from tfllm.tokenizers.word_cache import WordCache
from tfllm.tokenizers.wordpiece_files import (
    CLS,
    CONTINUES,
    MASK,
    PAD,
    SEP,
    canonical,
    parse_model,
    read_folder,
    read_model,
    with_specials,
)
from tfllm.tokenizers.wordpiece_training import train_vocabulary

if TYPE_CHECKING:
    import tensorflow as tf

UNKNOWN = "\x01"
"""A word that is unknown. The cleaning deletes it, so no text has it."""
IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff"
"""The common ones of those that BERT sets apart."""


class WordPieceTokenizer(CallableTokenizer):
    """BERT's tokenizer.

    "Unaffable, héllo!" -> pieces ["una", "##ffa", "##ble", ",", "hello", "!"] (the vocabulary decides which) -> ids
    ids -> "unaffable , hello !"
    """

    kind = "wordpiece"
    pair_separators, keeps_spaces = 1, False

    def __init__(self, asset: bytes) -> None:
        """Asset: a `tokenizer.json` as `canonical` writes it. Other ones: `from_file`."""
        self._asset, self._model = asset, parse_model(asset)
        self._native: Any = tokenizers.Tokenizer.from_str(asset.decode())
        self._fingerprint = fingerprint_of(self.kind, self._asset)
        self._patterns = self._model.patterns()
        ids = self._model.ids()
        self.vocab_size = max(ids.values()) + 1
        self.pad_id, self.unk_id = ids[PAD], ids[self._model.unk]
        self.cls_id, self.sep_id, self.mask_id = ids[CLS], ids[SEP], ids.get(MASK)
        self.bos_id = self.eos_id = self.sep_id
        self._pieces = [""] * self.vocab_size
        for piece, id in ids.items():
            self._pieces[id] = piece

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_cjk: bool = True,
    ) -> WordPieceTokenizer:
        """From `vocab.txt`, from Hugging Face's `tokenizer.json`, or from a folder with either.

        A `tokenizer.json` is read with its own settings, a folder with those of its files, also what they name as added tokens.

        lowercase: as the checkpoint was trained ("uncased").
        strip_accents: None means as `lowercase`, which is BERT's rule.
        split_cjk: ideographs are words of their own.

        Raises FileNotFoundError; ValueError that names what the file lacks or what in it is not supported.
        """
        if Path(path).is_dir():
            return cls(canonical(read_folder(Path(path))))
        text = TextSettings(lowercase, lowercase if strip_accents is None else strip_accents, split_cjk)
        return cls(canonical(read_model(path, text)))

    @classmethod
    def trained(
        cls,
        chunks: Sequence[str],
        vocab_size: int,
        *,
        lowercase: bool = True,
        character_coverage: float = 0.9995,
        progress: bool = True,
    ) -> WordPieceTokenizer:
        """On chunks of text; `tfllm.tokenizers.train(kind="wordpiece")` reads files and calls this."""
        text = TextSettings(lowercase, strip_accents=lowercase, split_cjk=True)
        vocabulary = train_vocabulary(chunks, vocab_size, text=text, character_coverage=character_coverage, progress=progress)
        return cls(canonical(with_specials(vocabulary, text)))

    def __getstate__(self) -> bytes:
        return self._asset

    def __setstate__(self, asset: bytes) -> None:
        self.__init__(asset)  # type: ignore[misc]

    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, text: str) -> list[int]:
        check_text(text)
        return self._native.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        check_texts(texts)
        return self._word_cache.encode_batch(texts)

    @cached_property
    def _word_cache(self) -> WordCache:
        """Cuts where BERT cuts whatever stands beside: at these white spaces, at ASCII punctuation, and around ideographs.

        "don't (中文)" -> "don" "'" "t" "(" "中" "文" ")"

        The cleaning changes none of these, and no marks are put in order across them. Where BERT cuts besides, the library cuts
        inside the word.
        """
        alone = re.escape(string.punctuation) + (IDEOGRAPHS if self._model.text.split_cjk else "")
        words = re.compile(rf"[{alone}]|[^ \t\n\r{alone}]+").findall
        normalizer = self._model.text.normalizer()

        def inside_a_word(token: AddedToken) -> bool:
            """So the library finds it there."""
            forms = (token.content, normalizer.normalize_str(token.content))
            return not token.single_word and all(words(form) == [form] for form in forms)

        sought = [token for token in self._model.added if not inside_a_word(token)]
        raw, normal = ([token.content for token in sought if token.normalized == wanted] for wanted in (False, True))
        finder = Finder(raw, normal, normalizer)
        return WordCache(lambda texts: list(map(words, texts)), lambda: self._native, json.loads(self._asset), finder)

    def decode(self, ids: Sequence[int]) -> str:
        """Words with spaces between. A piece that continues nothing keeps its "##"."""
        pieces = [self._pieces[id] for id in check_ids(ids, self.vocab_size) if self._is_text[id]]
        glued = (piece.removeprefix(CONTINUES) if piece.startswith(CONTINUES) else f" {piece}" for piece in pieces[1:])
        return "".join((*pieces[:1], *glued))

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """String [B] -> int32 [B, (S)]. Bytes that are no UTF-8 become U+FFFD first, which BERT deletes."""
        import tensorflow as tf

        settings = self._model.text
        looked_at_normalized = bool(self._patterns.normal)
        return added_tokens_graph.tokenize(
            tf.strings.unicode_transcode(check_strings(texts), "UTF-8", "UTF-8", errors="replace"),
            self._patterns,
            normalize=lambda texts: normalized(texts, settings) if looked_at_normalized else texts,
            between=lambda texts: self._between(texts, None if looked_at_normalized else settings),
        )

    def _between(self, texts: tf.Tensor, settings: TextSettings | None) -> tf.RaggedTensor:
        """String [B] without added tokens -> int32 [B, (S)]. settings: None where the texts are normalized already."""
        import tensorflow as tf
        from tensorflow_text.python.ops import fast_wordpiece_tokenizer as text_ops

        matcher = _matcher(self._asset)
        words = words_of(texts, settings)
        too_long = words.characters > self._model.max_characters
        _, places, splits, _, _ = text_ops.gen_fast_wordpiece_tokenizer.fast_wordpiece_tokenize_with_offsets(
            input_values=tf.where(too_long, UNKNOWN, words.words),
            wp_model=matcher.model,
        )
        ids = tf.gather(matcher.ids, places)
        of_chunk = tf.RaggedTensor.from_row_splits(ids, tf.gather(splits, words.chunk_splits), validate=False)
        of_chunks = tf.gather(of_chunk, words.chunks)
        splits = tf.gather(of_chunks.row_splits, words.text_splits)
        return tf.RaggedTensor.from_row_splits(of_chunks.values, splits, validate=False)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """String [B] -> string [B]: the words without what is between them. "L'Été" -> "l'ete"."""
        import tensorflow as tf

        words = words_of(check_strings(texts), self._model.text)
        chunks = tf.RaggedTensor.from_row_splits(words.words, words.chunk_splits, validate=False)
        chunks = tf.gather(tf.strings.reduce_join(chunks, axis=-1), words.chunks)
        return tf.strings.reduce_join(tf.RaggedTensor.from_row_splits(chunks, words.text_splits, validate=False), axis=-1)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Int32 [B, (S)] -> string [B]."""
        import tensorflow as tf

        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        ids = tf.ragged.boolean_mask(ids, tf.gather(tf.constant(self._is_text), ids))
        glued = [piece.removeprefix(CONTINUES) if piece.startswith(CONTINUES) else f" {piece}" for piece in self._pieces]
        first = tf.gather(tf.constant(self._pieces), ids[:, :1])
        rest = tf.gather(tf.constant(glued), ids[:, 1:])
        return tf.strings.reduce_join(tf.concat([first, rest], axis=1), axis=-1)

    @cached_property
    def _is_text(self) -> np.ndarray:
        """Bool [V]: does the id decode to anything? Specials do not, nor ids without a piece."""
        return np.array([bool(piece) and piece not in self._model.specials() for piece in self._pieces])

    def token_bytes(self) -> np.ndarray:
        """Int32 [V]: bytes of each piece without its "##". White space has no ids, so sums leave it out."""
        sizes = [len(piece.removeprefix(CONTINUES).encode()) for piece in self._pieces]
        return np.where(self._is_text, sizes, 0).astype(np.int32)

    def token_byte_strings(self) -> list[bytes]:
        raise ValueError("WordPiece puts spaces between words that are in no piece: its ids cannot be joined byte by byte")

    def word_starts(self) -> np.ndarray:
        return np.array([not piece.startswith(CONTINUES) for piece in self._pieces])

    def id_to_piece(self, id: int) -> str:
        check_ids([id], self.vocab_size)
        piece = self._pieces[id] or f"<{id}>"
        return re.sub(r"[\s\x00-\x1f\x7f-\x9f]", lambda match: match[0].encode("unicode_escape").decode(), piece)

    def save(self, folder: str | Path) -> None:
        asset = f"{self.kind}-{self.fingerprint()[:12]}.model"
        write_folder(folder, Description(self.kind, self.vocab_size, self.fingerprint(), asset), self._asset)


@dataclass(frozen=True)
class _Matcher:
    """TensorFlow Text's model, uint8 [M], and the id of each of its places, int32 [P]."""

    model: np.ndarray
    ids: np.ndarray


@lru_cache
def _matcher(asset: bytes) -> _Matcher:
    """Built where it is used, once a process: a constant of the graph, so any function exports without tracking it."""
    from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as builder

    model = parse_model(asset)
    # A piece of nothing but "##" matches no text, and the builder refuses it.
    ids = {piece: id for piece, id in model.vocabulary.items() if piece not in ("", CONTINUES)}
    ids[UNKNOWN] = model.ids()[model.unk]
    no_limit = 1 << 30  # its own limit counts bytes, BERT's characters
    built = builder.build_fast_wordpiece_model(list(ids), no_limit, CONTINUES, UNKNOWN, True, False)
    return _Matcher(np.frombuffer(bytes(built), np.uint8), np.array(list(ids.values()), np.int32))
