"""Text in, a WordPiece vocabulary out: the same text gives the same vocabulary, on any number of cores.

In: chunks of text. Out: pieces and their ids: specials, characters, "##" characters, then joins, the most frequent first.
Source: the trainer of the `tokenizers` library, which joins pairs of pieces by count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from tfllm.tokenizers.bert_character_tables import TextSettings
from tfllm.tokenizers.character_coverage import covering, too_many_characters
from tfllm.tokenizers.wordpiece_files import CONTINUES, SPECIALS, UNK

LEAST_COUNT = 2
"""A join that occurs once says nothing of the language."""


def train_vocabulary(
    chunks: Sequence[str],
    vocab_size: int,
    *,
    text: TextSettings,
    character_coverage: float = 0.9995,
    progress: bool = True,
) -> dict[str, int]:
    """Piece -> id, `vocab_size` of them. Characters beyond `character_coverage` of the text get no piece.

    Raises ValueError for a size that the text cannot fill, or that its characters alone exceed.
    """
    model = Tokenizer(WordPiece(unk_token=UNK))
    model.normalizer, model.pre_tokenizer = text.normalizer(), pre_tokenizers.BertPreTokenizer()
    normal = [model.normalizer.normalize_str(chunk) for chunk in chunks]
    # Left alone, the trainer numbers "##" characters in the order of a hash map that differs from run to run, and ties of
    # count go by number. Characters and "##" characters that it is given keep their order.
    counts = _counts(normal)
    characters = sorted(covering(counts, character_coverage))
    first = [*SPECIALS, *characters, *_continuing(normal, characters)]
    if len(first) > vocab_size:
        rest = "words with rare characters are unknown"
        raise ValueError(too_many_characters(vocab_size, len(first), character_coverage, counts, rest))
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_COUNT,
        special_tokens=first,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=progress,
    )
    model.train_from_iterator(chunks, trainer, length=len(chunks))
    vocabulary = model.get_vocab(with_added_tokens=False)
    if len(vocabulary) < vocab_size:
        raise ValueError(
            f"vocab_size={vocab_size} is invalid: expected at most {len(vocabulary)}, the pieces that the text gives. "
            "Lower it, or give more text."
        )
    return vocabulary


def _counts(normal: Iterable[str]) -> Counter[str]:
    """How often each character but white space occurs."""
    counts = Counter(chain.from_iterable(normal))
    return Counter({character: count for character, count in counts.items() if not character.isspace()})


def _continuing(normal: Iterable[str], characters: Iterable[str]) -> list[str]:
    """ "##" pieces of the characters that stand after another without being words of their own.

    ["ab, 中 c"], "abc,中" -> ["##b"]
    """
    cut = pre_tokenizers.BertPreTokenizer()
    joins = {character for character in characters if len(cut.pre_tokenize_str("a" + character)) == 1}
    after: set[str] = set()
    for text in normal:
        after.update(re.findall(r"(?<=\S)\S", text))
    return [CONTINUES + character for character in sorted(joins & after)]
