"""What every tokenizer is: text in, ids out and back, the same in Python, in bulk and inside a TensorFlow graph.

In: a folder with `tokenizer.json` (kind, vocab_size, fingerprint, asset) and at most one asset beside it.
Out: the `Tokenizer` protocol, the special ids, and the reading and writing of such folders.
Source: the order of the specials is ByT5's (arXiv 2105.13626); one separator opens and closes a document, as GPT-2's does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tfllm.corpus.surrogates import lone_surrogate
from tfllm.files import write_atomically

if TYPE_CHECKING:
    import tensorflow as tf

PAD_ID = 0
EOS_ID = 1
UNK_ID = 2
SPECIAL_PIECES = ("<pad>", "<eos>", "<unk>")
DESCRIPTION_FILE = "tokenizer.json"


class Tokenizer(Protocol):
    """Text to ids and back. `B` texts, `S` ids of a text, `V` vocabulary.

    >>> ByteTokenizer().encode("hé")
    [107, 198, 172]
    """

    kind: str
    vocab_size: int
    pad_id: int
    eos_id: int
    unk_id: int
    bos_id: int
    cls_id: int
    """Opens a row of an encoder."""
    sep_id: int
    """Closes each text of an encoder's row."""
    pair_separators: int
    """How many `sep_id` stand between two texts: 1 in BERT, 2 in RoBERTa."""
    keeps_spaces: bool
    """Pieces carry the spaces before them: a word alone and the same word in a text have other ids."""

    @property
    def mask_id(self) -> int | None:
        """Stands for a hidden token; None: there is none. Where every byte has an id: the unknown id, which no text gives."""

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> dict[str, Any]:
        """Texts as a batch with special tokens and padding: `model(tokenizer(texts, padding=True))` (see `batch_encoding`)."""

    def fingerprint(self) -> str:
        """sha256 (hex) of the kind and the assets: equal fingerprints mean equal ids for every text."""

    def encode(self, text: str) -> list[int]:
        """Ids [S] of `text`, no specials added. ValueError for text that UTF-8 cannot write (lone surrogates)."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids [S]: specials give nothing, ill-formed UTF-8 gives U+FFFD. ValueError for an unknown id."""

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each text as int32 [S], by the fastest native path and on all cores."""

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """`decode` of each row."""

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """In graph: string [B] -> int32 [B, (S)], the ids of `encode`. Exports without being tracked."""

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """In graph: string [B] -> string [B], as pieces spell it: "Été" -> "ete" where case and accents are lost."""

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """In graph: int32 [B, (S)] -> string [B], valid UTF-8, the text of `decode`."""

    def token_bytes(self) -> np.ndarray:
        """int32 [V]: UTF-8 bytes each id stands for, 0 for specials. `token_bytes()[ids].sum()` is the text's size."""

    def token_byte_strings(self) -> list[bytes]:
        """The UTF-8 bytes of each id, none for specials: joined, those of a text's ids are the text.

        ValueError where a text is more than its pieces joined (WordPiece).
        """

    def word_starts(self) -> np.ndarray:
        """bool [V]: does a word begin with this id? Specials count as words of their own."""

    def id_to_piece(self, id: int) -> str:
        """A printable name of one id, for pictures and logs. Not an inverse of anything."""

    def save(self, folder: str | Path) -> None:
        """Writes `tokenizer.json` and the assets to `folder`; interrupted, it leaves what was there before."""


@dataclass(frozen=True)
class Description:
    """What `tokenizer.json` says. `asset` is the file beside it, or None."""

    kind: str
    vocab_size: int
    fingerprint: str
    asset: str | None = None


def fingerprint_of(kind: str, asset: bytes = b"") -> str:
    """sha256 (hex) of the kind and the asset."""
    return hashlib.sha256(kind.encode() + b"\0" + asset).hexdigest()


def check_text(text: Any) -> bytes:
    """UTF-8 bytes of `text`, or an error that says where it cannot be written."""
    if not isinstance(text, str):
        ways = (
            "Decode bytes from UTF-8 first"
            if isinstance(text, bytes)
            else "Give each text as one string, and second texts in text_pair"
        )
        raise TypeError(f"A text is {text!r:.60}: expected str, got {type(text).__name__}. {ways}.")
    if problem := lone_surrogate(text):
        raise ValueError(f"{problem}. Read the source as UTF-8 with errors='replace', or remove the character.")
    return text.encode()


def check_texts(texts: Sequence[str]) -> None:
    """`check_text` of each, in two calls."""
    if isinstance(texts, str):
        raise TypeError("texts is invalid: expected a sequence of strings, got one string. Give [text].")
    try:
        "".join(texts).encode()
    except (TypeError, UnicodeEncodeError):
        for text in texts:
            check_text(text)
        raise


def blocks(texts: Sequence[str], characters: int) -> Iterator[Sequence[str]]:
    """Texts in order, in runs of about so many characters.

    "abc" "d" "e", 3  ->  "abc" | "d" "e"
    """
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= characters or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def flat(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All ids int32 [N], and how many of each row int64 [B]: one array is made sooner than one a row.

    [5, 6] [] [7]  ->  5 6 7, 2 0 1
    """
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int32, lengths.sum()), lengths


def unflat(ids: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """The rows that `flat` was given, as views.

    5 6 7, 2 0 1  ->  [5, 6] [] [7]
    """
    return [ids[start:end] for start, end in pairwise([0, *np.cumsum(lengths).tolist()])]


def arrays(rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Int32 [S] a row; many short ones are cut out of one array."""
    if len(rows) > 64 and sum(map(len, rows)) < 64 * len(rows):
        return unflat(*flat(rows))
    return [np.fromiter(row, np.int32, len(row)) for row in rows]


def check_ids(ids: Any, vocab_size: int) -> np.ndarray:
    """Ids as int64 [S], or an error that names the first that is not in the vocabulary."""
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"ids of shape {array.shape} and dtype {array.dtype} are invalid: expected one row of integers.")
    outside = (array < 0) | (array >= vocab_size)
    if outside.any():
        raise ValueError(
            f"The id {array[outside][0]} is not in the vocabulary: expected 0 to {vocab_size - 1}. Give ids of this tokenizer."
        )
    return array.astype(np.int64)


def check_strings(texts: tf.Tensor) -> tf.Tensor:
    """`texts` as string [B], or an error that says what came."""
    import tensorflow as tf

    texts = tf.convert_to_tensor(texts)
    if texts.dtype != tf.string or texts.shape.rank not in (None, 1):
        raise ValueError(
            f"texts of dtype {texts.dtype.name} and shape {texts.shape} are invalid: expected string [B]. Reshape to [-1]."
        )
    return tf.ensure_shape(texts, [None])


def write_folder(folder: str | Path, description: Description, asset: bytes = b"") -> None:
    """Asset first, its hash in its name; then `tokenizer.json`, whose renaming is the switch; then old assets go."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if description.asset:
        write_atomically(folder / description.asset, [asset], durable=True)
    text = json.dumps(asdict(description), indent=1) + "\n"
    write_atomically(folder / DESCRIPTION_FILE, [text.encode()], durable=True)
    for old in folder.glob(f"{description.kind}-*.model"):
        if old.name != description.asset:
            old.unlink()


def read_description(folder: str | Path) -> Description:
    """`tokenizer.json` of a folder, or an error that says what is there instead."""
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(
            f"{folder} is a file, and no tokenizer.json: give the folder that it is in, with all files of its tokenizer "
            "(vocab.txt; or vocab.json and merges.txt). SentencePiece's own models are not read"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give one that `tokenizer.save` wrote, or Hugging Face's")
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"{folder} is no tokenizer folder: it has no {DESCRIPTION_FILE} (it holds {there})")
    try:
        fields = json.loads(path.read_bytes())
        return Description(fields["kind"], fields["vocab_size"], fields["fingerprint"], fields.get("asset"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is corrupt ({error!r}): save the tokenizer again") from error


def read_asset(folder: str | Path, description: Description) -> bytes:
    """The asset's bytes, proven to be those that were saved."""
    content = b""
    path = Path(folder) / (description.asset or DESCRIPTION_FILE)
    if description.asset:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, though {DESCRIPTION_FILE} names it: copy the whole folder")
        content = path.read_bytes()
    found = fingerprint_of(description.kind, content)
    if found != description.fingerprint:
        raise ValueError(
            f"{path} is not what was saved: its fingerprint is {found[:16]}…, {DESCRIPTION_FILE} says "
            f"{description.fingerprint[:16]}…. Copy the folder again, or train the tokenizer again"
        )
    return content
