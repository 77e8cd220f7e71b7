"""A list of merges as a SentencePiece model, which merges the same in a TensorFlow graph.

In: pieces in GPT-2's letters (one a byte) and pairs of them, the first pair before all others. Out: a model proto.

Why SentencePiece merges as `tokenizers` does. `tokenizers` merges listed pairs, the first of the list before others, leftmost
before others; SentencePiece any two neighbours whose join is one of its pieces, by the join's score, then leftmost. What
happens inside a stretch of neighbours that nothing outside has merged into is what happens to that stretch alone. So if two
pieces ever stand side by side in a text, they do so when `tokenizers` encodes their join alone. That run has one state of two
pieces at most: where it ends in the join itself, that state is the pair merged last. Hence: a piece that encodes alone to
itself comes of one pair only, whichever others are listed, and SentencePiece gets it with that pair's place as its score; a
piece that does not never comes of merging, and is kept from it. Any list of merges is carried over like this.
Source: BPE (arXiv 1508.07909), SentencePiece (arXiv 1808.06226).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import inf

from tokenizers import Tokenizer, models

Pair = tuple[str, str]


@lru_cache(maxsize=1)
def byte_letters() -> str:
    """GPT-2's letter for each byte: printable ones as they are, the others from U+0100 on. Byte 0x20 -> "Ġ"."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in shown else next(others)) for byte in range(256))


def private_letter(id: int) -> str:
    """Stands for an id that no merge gives; GPT-2's own letters end at U+0143."""
    return chr(0x10000 + id)


def merge_places(pieces: Mapping[str, int], merges: Sequence[Pair]) -> dict[str, int]:
    """Pieces that merging leads to -> the place in the list of the pair that does.

    ["a b", "ab c", "b c", "a bc"] -> ab 0, abc 1, bc 2: "a bc" never comes up, for "ab" is merged before "bc"
    ["b c", "a b", "ab c"] -> bc 0, ab 1: "abc" alone ends as "a bc", so "ab c" never comes up
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    listed = defaultdict(list)
    for (left, right), rank in ranks.items():
        listed[left + right].append(rank)
    # One call for all pieces: a word that is a piece must not be looked up, so `ignore_merges` stays off.
    alone = Tokenizer(models.BPE(vocab=dict(pieces), merges=list(merges)))
    joins = list(listed)
    reached = [join for join, row in zip(joins, alone.encode_batch_fast(joins), strict=True) if row.ids == [pieces[join]]]
    return {join: _place(join, listed[join], ranks) for join in reached}


def _place(join: str, places: list[int], ranks: Mapping[Pair, int]) -> int:
    # Vocabularies made from tiktoken's list every pair of a piece in a row: any of the row orders it as well.
    return places[0] if places[-1] - places[0] == len(places) - 1 else ranks[_last_pair(join, ranks)]


def _last_pair(piece: str, ranks: Mapping[Pair, int]) -> Pair:
    """The pair that merging `piece` alone ends with."""
    parts = list(piece)
    while len(parts) > 2:
        _, place = min((ranks.get(pair, inf), place) for place, pair in enumerate(pairwise(parts)))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def sentencepiece_model(pieces: Sequence[str | None], places: Mapping[str, int]) -> bytes:
    """A SentencePiece BPE model whose ids are those of `pieces`.

    places: a piece -> the place of its merge in the list. Pieces of more than one letter that are not in it are never merged.

    ["a", "b", "ab", "<eos>"], {"ab": 0} -> a 0, b 0, ab -0, U+10003 0, and an unknown piece that nothing gives
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    letters = set(byte_letters())
    for id, piece in enumerate(pieces):
        place = places.get(piece, 0) if piece else 0
        named = piece is not None and (piece in letters or piece in places)
        proto.pieces.add(piece=piece if named else private_letter(id), score=-place)
    proto.pieces.add(piece="<unknown>", score=0, type=sentencepiece_model_pb2.ModelProto.SentencePiece.UNKNOWN)
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    proto.trainer_spec.unk_id = len(pieces)
    proto.trainer_spec.treat_whitespace_as_suffix = False
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = False
    return proto.SerializeToString(deterministic=True)
