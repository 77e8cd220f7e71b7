"""The batch vocabulary: the name, dtype and meaning of every tensor that travels from data to model.

A batch is a `dict` from these names to tensors. Shapes are written in one legend throughout the package:

    B rows of a batch          N query heads             D width of the model (hidden_size)
    S query positions          K key and value heads     F width inside the feed-forward layer
    T key positions            H width of a head         V entries of the vocabulary
    P masked places of a row   C classes

A packed row of two short documents and one padding place (separator id 1, sequence length 8):

    token_ids       1  41  17   9   1  33   8   0
    target_ids     41  17   9   1  33   8   1   0
    target_weights  1   1   1   1   1   1   1   0
    segment_ids     1   1   1   1   2   2   2   0
    positions       0   1   2   3   0   1   2   0
"""

from __future__ import annotations

TOKEN_IDS = "token_ids"
"""int32 [B, S]: what the model reads."""

POSITIONS = "positions"
"""int32 [B, S], optional: place of each token in its document, from 0, rising along the row. Left out: 0 … S-1."""

SEGMENT_IDS = "segment_ids"
"""int32 [B, S], optional: which document of the row a token belongs to, from 1; 0 is padding. Left out: all 1."""

TARGET_IDS = "target_ids"
"""int32 [B, S]: what the model should predict at each place."""

TARGET_WEIGHTS = "target_weights"
"""float32 [B, S]: how much each target counts; 0 is not counted."""

TYPE_IDS = "type_ids"
"""int32 [B, S], optional: 0 for the first text of a row, 1 for the second. Left out: all 0."""

TARGET_PLACES = "target_places"
"""int32 [B, P], masked language models: where in the row the targets are; ids and weights then have P columns."""

PAIR_LABELS = "pair_labels"
"""int32 [B]: 0 where the second text follows the first (Devlin et al. 2018), 1 where it does not."""

LABELS = "labels"
"""What a row is: int32 [B], a class; float32 [B, C], 1 for each class that holds; float32 [B], a number."""

ROW_WEIGHTS = "row_weights"
"""float32 [B], optional: how much each row counts; 0 is padding. Left out: all 1."""

TEXT_NUMBERS = "text_numbers"
"""int32 [B], optional: which text a row is, in pairs for embeddings; equal texts have equal numbers. Left out: all differ."""

SPAN_STARTS = "span_starts"
"""int32 [B]: place of the answer's first token; 0 where the row holds no answer."""

SPAN_ENDS = "span_ends"
"""int32 [B]: place of the answer's last token; 0 where the row holds no answer."""

ANSWER_PLACES = "answer_places"
"""int32 [B, S]: 1 where an answer may begin or end, and at place 0, which says that there is none."""

ROW = "row"
"""int32 [B], put in where a batch is shared out: each row's place in the batch of all replicas."""

DROPOUT_SEED = "dropout_seed"
"""int32 [B], put in by the training step: the seed of every dropout mask of a row in this forward pass."""
