"""The log-probability of whole texts: one function of string tensors, for `tfllm.score` and for exports.

Input: a causal model, its tokenizer, texts. Output: log p of each text and of each of its tokens, in nats.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.features import SEGMENT_IDS, TOKEN_IDS
from tfllm.generation.model_steps import is_on_mesh
from tfllm.generation.setting import Setting, integer
from tfllm.layers.call_options import INFERENCE
from tfllm.models import folder
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.models.inference import InferenceModel, computing_model
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.base import check_texts
from tfllm.train.losses import token_log_probs


class Scores(NamedTuple):
    """Log-probabilities of B texts. L is the number of tokens of the longest text, or more."""

    log_prob: tf.Tensor
    """float32 [B]: of all tokens and of the separator that ends the text, in nats."""
    num_tokens: tf.Tensor
    """int32 [B]: the number of tokens scored, with the closing separator."""
    token_log_probs: tf.Tensor
    """float32 [B, L]: of each token; 0 after the end of a text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextScore:
    """How probable a model finds one text."""

    text: str
    log_prob: float
    """In nats, of all tokens and of the separator that ends the text."""
    num_tokens: int
    """The number of tokens scored, with the closing separator."""
    num_bytes: int
    """The length of the text in UTF-8."""
    token_ids: list[int] | None = None
    """With `per_token`: the tokens scored, the closing separator last."""
    token_log_probs: list[float] | None = None
    """With `per_token`: log p of each, in nats. Their sum is `log_prob`."""

    @property
    def perplexity(self) -> float:
        """exp of the mean of -log p over the tokens. Comparable only for the same tokenizer."""
        return float(np.exp(-self.log_prob / self.num_tokens))

    @property
    def bits_per_byte(self) -> float:
        """-log2 p divided by the number of bytes. Comparable for all tokenizers. NaN for the empty text."""
        return -self.log_prob / math.log(2) / self.num_bytes if self.num_bytes else math.nan


_BATCH_SIZE = Setting("batch_size", 16, integer(1), "Texts at a time.")
_TRACED: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
"""By model, then by the tokenizer's fingerprint."""


def score(
    model: LanguageModel | InferenceModel | str | Path,
    tokenizer: Tokenizer | str | Path,
    texts: str | Sequence[str],
    *,
    per_token: bool = False,
    batch_size: int = 16,
) -> list[TextScore]:
    """The log-probability of each text under a causal model. The export's `score` is the same function.

    >>> [found] = tfllm.score(model, tokenizer, ["def main():"], per_token=True)
    >>> found.log_prob, found.num_tokens, found.bits_per_byte

    A text is scored as a whole document: a separator stands before it and after it, and the last one is scored too. A text
    longer than the model's `max_length` is read in windows (`scores_of`).

    Args:
        model: a decoder, the result of `tfllm.for_inference`, or the path of a folder, which each call loads again.
        tokenizer: the model's tokenizer, or the path of its folder.
        texts: one string or several.
        per_token: also return the log-probability of each token.
        batch_size: the number of texts in a batch. Texts of similar length are batched together.

    Returns:
        One record for each text, in the order of the texts.

    Raises:
        TypeError: a text is not a string, `model` is not a model, or `tokenizer` is not a tokenizer.
        ValueError: the model is an encoder, or on a mesh; the tokenizer is not the model's; `batch_size` is below 1.
    """
    model, tokenizer = folder.get_both(model, tokenizer)
    _check_model(model, tokenizer)
    texts = [texts] if isinstance(texts, str) else list(texts)
    check_texts(texts)
    batch_size = _BATCH_SIZE.convert(batch_size)
    found: dict[int, TextScore] = {}
    by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for begin in range(0, len(texts), batch_size):
        places = by_length[begin : begin + batch_size]
        batch = [texts[place] for place in places]
        scores = _function(model, tokenizer)(tf.constant([text.encode() for text in batch], tf.string))
        ids = tokenizer.encode_batch(batch) if per_token else [None] * len(batch)
        for row, (place, text_ids) in enumerate(zip(places, ids, strict=True)):
            count = int(scores.num_tokens[row])
            found[place] = TextScore(
                text=texts[place],
                log_prob=float(scores.log_prob[row]),
                num_tokens=count,
                num_bytes=len(texts[place].encode()),
                token_ids=None if text_ids is None else [*text_ids.tolist(), tokenizer.eos_id],
                token_log_probs=scores.token_log_probs[row, :count].numpy().tolist() if per_token else None,
            )
    return [found[place] for place in range(len(texts))]


def scores_of(model: Any, tokenizer: Tokenizer, texts: tf.Tensor) -> Scores:
    """log p of each text as a whole document, with a separator before it and after it.

    A text of more than `max_length` tokens is read in windows of `max_length`, each half a window after the last. The first
    window scores all its tokens, the others their second half. So each token is scored once, with at least half a window
    before it. With a window of 4 (`o` is read, `x` is read and scored):

        x x x x
            o o x x
                o o x x

    Args:
        texts: string [B].
    """
    ids = tokenizer.tokenize(texts)
    opening, closing = (tf.fill([tf.size(texts), 1], id) for id in (tokenizer.bos_id, tokenizer.eos_id))
    read = tf.concat([opening, ids], 1).to_tensor(tokenizer.pad_id)
    targets = tf.concat([ids, closing], 1).to_tensor(tokenizer.pad_id)
    lengths = tf.cast(ids.row_lengths(), tf.int32) + 1
    longest = tf.shape(read)[1]
    width, stride = tf.minimum(longest, model.config.max_length), max(1, model.config.max_length // 2)
    behind = (width - longest) % stride
    read, targets = (tf.pad(each, [[0, 0], [0, behind]]) for each in (read, targets))

    def window(start: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        part = slice(start, start + width)
        there = (start + tf.range(width))[None] < lengths[:, None]
        features = {TOKEN_IDS: read[:, part], SEGMENT_IDS: tf.cast(there, tf.int32)}
        found = model.stack(features, options=INFERENCE)
        first = tf.where(start == 0, 0, width - stride)
        log_probs = token_log_probs(
            tf.reshape(found.last_hidden_state[:, first:], [-1, model.config.hidden_size]),
            partial(model.logits, options=INFERENCE),
            targets=tf.reshape(targets[:, start + first : start + width], [-1]),
            vocab_size=model.config.vocab_size,
        )
        counted = there[:, first:]
        log_probs = tf.where(counted, tf.reshape(log_probs, tf.shape(counted)), 0.0)
        return start + stride, done.write(start // stride, tf.transpose(log_probs))

    windows = 1 + (longest + behind - width) // stride
    by_place = tf.TensorArray(tf.float32, size=windows, infer_shape=False, element_shape=[None, None])
    start, loop = tf.constant(0), {"parallel_iterations": 1}
    _, by_place = tf.while_loop(lambda start, _: start < windows * stride, window, [start, by_place], **loop)
    log_probs = tf.transpose(by_place.concat())
    return Scores(tf.reduce_sum(log_probs, 1), lengths, log_probs)


def _check_model(model: Any, tokenizer: Tokenizer) -> None:
    if not model.config.causal:
        raise ValueError(
            f"model is invalid: expected a CausalLM, got a {type(model).__name__}, which gives no probability of a whole text. "
            "Give a decoder. (The pseudo-log-likelihood of a masked model, arXiv 1910.14659, is not computed.)"
        )
    if is_on_mesh(model):
        raise ValueError("model is invalid: expected a model on one device, got one on a mesh. Save it and load it outside.")
    check_tokenizer(model, tokenizer)


def _function(model: Any, tokenizer: Tokenizer) -> Callable[[tf.Tensor], Scores]:
    """Traced once a model and tokenizer."""
    traced, key = _TRACED.setdefault(model, {}), tokenizer.fingerprint()
    if key not in traced:
        held = weakref.ref(model)  # else neither could go

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def function(texts: tf.Tensor) -> Scores:
            return scores_of(computing_model(held()), tokenizer, texts)

        traced[key] = function
    return traced[key]
