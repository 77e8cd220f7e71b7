"""How many ids of one text or of two fit into a row: the special ids of a row, and truncation by "longest first".

The same arithmetic on Python integers (`tokenizer(…)`) and on tensors (`tfllm.data.encoder_inputs`).
Source: `num_special_tokens_to_add` and the truncation strategy "longest_first" of Hugging Face's `tokenizers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfllm.tokenizers.base import Tokenizer


def num_special_tokens(tokenizer: Tokenizer, *, pair: bool) -> int:
    """The number of special ids in a row: 2 for one text; for two texts 3 (BERT) or 4 (RoBERTa)."""
    return 2 + tokenizer.pair_separators if pair else 2


def truncate_longest_first(
    first: Any, second: Any, budget: int, *, minimum: Callable[..., Any] = min, maximum: Callable[..., Any] = max
) -> tuple[Any, Any]:
    """The lengths that two texts keep, so that their sum is at most `budget`.

    Only the longer text is cut while that is enough. Otherwise each keeps half, and the longer one the odd id.

        lengths 3 9, budget 8 -> 3 5      9 3 -> 5 3      9 7, budget 7 -> 4 3      7 7, budget 7 -> 3 4

    Args:
        first, second: lengths, int or integer tensors of one shape.
        budget: ids for both texts together, without special ids.
        minimum, maximum: `tf.minimum` and `tf.maximum` where the lengths are tensors.

    Returns:
        Two lengths, of the type of `first`.
    """
    is_longer = minimum(maximum(first - second, 0), 1)
    kept = minimum(first, maximum(budget - second, budget // 2 + budget % 2 * is_longer))
    return kept, minimum(second, budget - kept)


def text_budget(tokenizer: Tokenizer, max_length: int, *, pair: bool) -> int:
    """The ids that a row of `max_length` ids has for text, its special ids subtracted.

    Raises:
        ValueError: no id is left for text.
    """
    specials = num_special_tokens(tokenizer, pair=pair)
    if max_length <= specials:
        raise ValueError(
            f"max_length={max_length} is invalid: expected at least {specials + 1}, "
            f"for {specials} tokens of each row are special. Give a larger max_length."
        )
    return max_length - specials
