"""Batches for a masked language model, from token stores. A batch is a function of (seed, step) (rows.py).

step -> draws -> rows -> [CLS] text [SEP], or [CLS] A [SEP] B [SEP] (sentence_pairs.py) -> some tokens masked (masking.py)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tensorflow as tf

from tfllm import features, tokenizers
from tfllm.data.batching import masking, packing, rows, shuffle_order
from tfllm.data.batching.batches import Batches
from tfllm.data.batching.sentence_pairs import PAIR_KINDS, PairKind, Windows, check_documents, draw_pairs
from tfllm.data.encoder_inputs import build_encoder_inputs
from tfllm.data.store import Store
from tfllm.deprecation import renamed_arguments
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import num_special_tokens

MASKS = -(2 << 40)
"""Sets the keys of masks apart from all others."""


@renamed_arguments(
    {"mask_share": "mask_rate", "short_share": "short_seq_prob"}, values={"pairs": {"next": "nsp", "order": "sop"}}
)
def masked_lm(
    stores: rows.Stores,
    tokenizer: Tokenizer | str | Path,
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    split: str = "train",
    mask_rate: float = 0.15,
    unit: masking.Unit = "token",
    pairs: Literal["none", "nsp", "sop"] = "none",
    short_seq_prob: float = 0.1,
    document_masks: bool = False,
    shuffle: bool = True,
    repeat: bool = True,
) -> Batches:
    """Batches of rows with hidden tokens for an encoder, from step `start_step` on.

        shard 1 71 104 105 74 1 68 69 102 1; cls 259, sep 260, mask 261, two separators between texts
        S = 6, B = 2, mask_rate=0.3, shuffle=False
        -> step 0: token_ids 259 1 71 261 105 260 | 259 74 1 261 69 260
                   target_places 3 0 | 3 0, target_ids 104 0 | 68 0, target_weights 1 0 | 1 0
        the same with repeat=False
        -> step 0: the same, and segment_ids 1 1 1 1 1 1 | 1 1 1 1 1 1
           step 1: token_ids 259 102 260 0 0 0 | 0 0 0 0 0 0, segment_ids 1 1 1 0 0 0 | 0 0 0 0 0 0
                   target_places 1 0 | 0 0, target_ids 102 0 | 0 0, target_weights 1 0 | 0 0
        S = 8, pairs="sop", repeat=False, the rest as before
        -> step 0: token_ids 259 104 105 261 260 260 71 260 | 259 261 260 260 68 69 260 0
                   type_ids    0   0   0   0   0   0  1   1 |   0   0   0   0  1  1   1 0
                   segment_ids 1   1   1   1   1   1  1   1 |   1   1   1   1  1  1   1 0
                   target_places 3 0 0 | 1 0 0, target_ids 74 0 0 | 102 0 0, target_weights 1 0 0 | 1 0 0
                   pair_labels 1 | 1 (both swapped), row_weights 1 | 1

    Training without pairs: an epoch takes every row of every shard once, as `causal_lm` does. Pairs: in an epoch every
    document of two ids or more is covered by windows, and each window is a row (sentence_pairs.py). So with pairs="sop" and
    short_seq_prob=0 every id of every such document is read in every epoch. What a shortened row leaves out, and with "nsp" the
    end of the window where another document's text stands, waits for a later epoch, whose windows begin elsewhere.

    Evaluation (repeat=False): every row once, in full length; the last batch is padded with rows of weight 0. The dataset's
    cardinality says how many steps are left.

    Args:
        stores: one store (or the path of its folder), or {store: weight}: shares of the rows (shuffle_order.py).
        tokenizer: the one the stores were made with, or the path of its folder; it must have a mask.
        sequence_length: S, [CLS] and [SEP] included.
        batch_size: B, over all replicas.
        seed: 0 to 2**32 - 1.
        start_step: the first step; any costs the same.
        split: "train" or "validation".
        mask_rate: of the tokens that are no specials, what is to be predicted; P is the whole number from S * mask_rate up.
        unit: what is hidden together: "token", "word" (all its pieces) or "span" (1 to 10 words) (masking.py).
        pairs: "none"; "nsp", next-sentence prediction: half of the second texts are from another document; or "sop",
            sentence-order prediction: half of the pairs are swapped.
        short_seq_prob: of the pairs in training, how many are shorter than they could be.
        document_masks: documents that share a row do not see each other: adds POSITIONS. For rows without pairs.
        shuffle: rows in a random order, another each epoch; else in the order of the store.
        repeat: for ever, or once, which is for evaluation: masks and pairs are then the same in every pass.

    Returns:
        Dicts of TOKEN_IDS int32 [B, S]; TARGET_PLACES, TARGET_IDS int32 [B, P], TARGET_WEIGHTS float32 [B, P];
        SEGMENT_IDS int32 [B, S], but for training rows without pairs or document masks, which are full;
        with `document_masks` POSITIONS int32 [B, S]; with pairs TYPE_IDS int32 [B, S], PAIR_LABELS int32 [B], and in
        evaluation ROW_WEIGHTS float32 [B].

    Raises:
        ValueError: a setting is out of range, or the tokenizer has no mask.
        StoreError: no document in the split, too few or too short ones, or another tokenizer's store.
    """
    tokenizer = tokenizers.get(tokenizer)
    weights = rows.store_weights(stores, repeat=repeat)
    rows.check({"batch_size": batch_size, "seed": seed, "start_step": start_step})
    _check(tokenizer, sequence_length, unit, pairs, document_masks, {"mask_rate": mask_rate, "short_seq_prob": short_seq_prob})
    vocabulary = masking.Vocabulary.of(tokenizer)
    for store in weights:
        store.check_tokenizer(tokenizer)
    shards = rows.Shards.open(weights, split)
    source = _Source(weights, split, shards, tokenizer, sequence_length, seed, shuffle, repeat)
    layout = _single(source, document_masks) if pairs == "none" else _paired(source, pairs, short_seq_prob if repeat else 0.0)

    def batch(draw: tf.Tensor) -> dict[str, tf.Tensor]:
        texts = layout.texts(rows.sample_rows(draw, layout.epoch, shards, seed=seed, shuffle=shuffle), draw)
        key = shuffle_order.random_keys(seed, draw, tf.constant(MASKS, tf.int64))
        return texts | masking.mask_tokens(texts[features.TOKEN_IDS], key, vocabulary, share=mask_rate, unit=unit)

    return rows.dataset(batch, layout.epoch, batch_size=batch_size, start_step=start_step, repeat=repeat)


@dataclass(frozen=True)
class _Source:
    """What rows of both kinds are made from."""

    weights: Mapping[Store, float]
    split: str
    shards: rows.Shards
    tokenizer: Tokenizer
    length: int
    seed: int
    shuffle: bool
    repeat: bool


@dataclass(frozen=True)
class _Layout:
    epoch: rows.Rows
    texts: Callable[[rows.SampledRows, tf.Tensor], dict[str, tf.Tensor]]
    """Rows drawn, and the draws int64 [B], to all features but the targets."""


def _single(source: _Source, document_masks: bool) -> _Layout:
    """[CLS] text [SEP]: S - 2 places of a shard's ring, the separators between its documents among them."""
    shards, room = source.shards, source.length - num_special_tokens(source.tokenizer, pair=False)
    by_shard = [
        packing.ring_rows(length, room) if source.repeat else packing.strided_rows(length, room, room)
        for length in shards.lengths
    ]
    epoch = rows.rows_of_shards(source.weights, source.split, by_shard, shards, room)

    def texts(taken: rows.SampledRows, draw: tf.Tensor) -> dict[str, tf.Tensor]:
        spots = rows.locate_rows(
            taken, epoch, shards, seed=source.seed, shuffle=source.shuffle, step=room, once=not source.repeat
        )
        if source.repeat:
            places = packing.ring_places(spots.start, spots.ring, room - 1)
            count = tf.fill(tf.shape(draw), tf.constant(room, tf.int64))
        else:
            places = tf.minimum(spots.start[:, None] + tf.range(room, dtype=tf.int64), spots.ring[:, None] - 1)
            count = tf.where(spots.row >= 0, tf.minimum(spots.ring - spots.start, room), 0)
        result = _framed(source, [shards.read(spots.shard, places)], [count])
        if document_masks:
            used = tf.reduce_sum(result[features.SEGMENT_IDS], axis=1)
            result |= packing.framed_masks(result[features.TOKEN_IDS], shards.separator_id, used)
        elif source.repeat:
            del result[features.SEGMENT_IDS]
        del result[features.TYPE_IDS]
        return result

    return _Layout(epoch, texts)


def _paired(source: _Source, kind: PairKind, short_seq_prob: float) -> _Layout:
    """[CLS] A [SEP] B [SEP]."""
    shards, room = source.shards, source.length - num_special_tokens(source.tokenizer, pair=True)
    windows = Windows.of(shards, room)
    check_documents(source.weights, windows, kind, source.split)
    epoch = rows.Rows.of(shards, windows.by_shard)

    def texts(taken: rows.SampledRows, draw: tf.Tensor) -> dict[str, tf.Tensor]:
        pair = draw_pairs(
            kind, draw, taken, windows, epoch, seed=source.seed, shuffle=source.shuffle, short_seq_prob=short_seq_prob
        )
        there = tf.fill(tf.shape(draw), True) if source.repeat else taken.epoch == 0
        both = pair.first.concat(pair.second)
        column = tf.minimum(tf.range(room - 1, dtype=tf.int64), both.length[:, None] - 1)
        ids = shards.read(both.shard, both.start[:, None] + column)
        counts = [tf.where(there, span.length, 0) for span in (pair.first, pair.second)]
        result = _framed(source, tf.split(ids, 2), counts)
        result[features.PAIR_LABELS] = tf.cast(pair.label & there, tf.int32)
        if not source.repeat:
            result[features.ROW_WEIGHTS] = tf.cast(there, tf.float32)
        return result

    return _Layout(epoch, texts)


def _framed(source: _Source, ids: Sequence[tf.Tensor], counts: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """TOKEN_IDS, SEGMENT_IDS, TYPE_IDS int32 [B, S] of one text or two: the first `counts` int64 [B] of `ids` int32 [B, n].

    A row with nothing is a row of padding.
    """
    texts = [tf.RaggedTensor.from_tensor(text, lengths=count) for text, count in zip(ids, counts, strict=True)]
    result = build_encoder_inputs(*texts, tokenizer=source.tokenizer, max_length=source.length, multiple=source.length)
    shape = [ids[0].shape[0], source.length]
    result = {name: tf.ensure_shape(value, shape) for name, value in result.items()}
    if not source.repeat:
        there = counts[0][:, None] > 0
        empty = {features.TOKEN_IDS: source.tokenizer.pad_id, features.SEGMENT_IDS: 0, features.TYPE_IDS: 0}
        result = {name: tf.where(there, value, empty[name]) for name, value in result.items()}
    return result


def _check(
    tokenizer: Tokenizer, sequence_length: int, unit: str, pairs: str, document_masks: bool, shares: Mapping[str, float]
) -> None:
    least = num_special_tokens(tokenizer, pair=pairs != "none") + (1 if pairs == "none" else 2)
    rows.check({"sequence_length": sequence_length}, sequence_length=rows.Range(least, masking.STREAM - 1))
    for name, value, accepted in (("unit", unit, masking.UNITS), ("pairs", pairs, ("none", *PAIR_KINDS))):
        if value not in accepted:
            raise ValueError(f"{name}={value!r} is invalid: expected one of {', '.join(map(repr, accepted))}.")
    for name, share in shares.items():
        if not 0 <= share < 1 or (name == "mask_rate" and share == 0):
            least_share = "above 0" if name == "mask_rate" else "from 0"
            raise ValueError(f"{name}={share!r} is invalid: expected a number {least_share} and below 1.")
    if document_masks and pairs != "none":
        raise ValueError(
            f"document_masks=True is invalid: expected False with pairs={pairs!r}, whose two texts attend to each other. Give "
            "pairs='none' or document_masks=False."
        )
