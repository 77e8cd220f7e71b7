"""Settings that all rows of a call share: stop strings, biases, bad words, constraints, the kind of search.

Input: a `GenerationConfig` and the tokenizer. Output: `SharedSettings`, a nested structure. Its tensors are inputs of the
graph, so other stop strings or biases need no new graph. Parts that are None are off and cost nothing in the graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.generation.automata import Automaton, automaton_of
from tfllm.generation.config import GenerationConfig
from tfllm.generation.setting import invalid
from tfllm.generation.spelling import encode_text
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.base import EOS_ID

ANY_TOKEN = -1
"""Padding before the tokens of a bad word, so that all have the same length."""
# The number of tokens in which stop strings are looked for is a power of two from here on, so that few functions are traced.
_LEAST_WINDOW = 16


class Stop(NamedTuple):
    """Where stop strings are looked for."""

    pattern: tf.Tensor
    """string []: matches the first stop string and everything after it (`stop_pattern`)."""
    window: int
    """How many of the last tokens are decoded at each step: at least the number of bytes of the longest stop string."""
    detokenize: Callable[[tf.RaggedTensor], tf.Tensor]


class Beams(NamedTuple):
    """A beam search."""

    size: int
    """Running continuations of each prompt, in all groups together."""
    groups: int
    kept: int
    """Continuations of each prompt that are returned."""
    early_stopping: bool | str
    length_penalty: tf.Tensor
    """float32 []."""
    diversity_penalty: tf.Tensor
    """float32 []."""


class Contrast(NamedTuple):
    """A contrastive search."""

    candidates: int
    alpha: tf.Tensor
    """float32 []: the weight of similarity to earlier tokens, against probability."""


class Drafts(NamedTuple):
    """Speculative decoding."""

    num_tokens: int
    """K: the most tokens drafted at once."""
    ngram_size: int
    """N: the most tokens that prompt lookup looks for."""


class SharedSettings(NamedTuple):
    """A nested structure of tensors, of numbers that are part of the graph, and of None for parts that are off."""

    eos_id: int = EOS_ID
    """The separator that closes a document. It ends a row."""
    bos_id: int = EOS_ID
    """The token at the beginning of every prompt."""
    top_log_probs: int = 0
    """K: the number of alternatives kept for each step."""
    stop: Stop | None = None
    bias: tf.Tensor | None = None
    """float32 [V], added to the scores."""
    bad_words: tf.Tensor | None = None
    """int32 [N, L]: one sequence of tokens in each row of the tensor, with `ANY_TOKEN` as padding before it."""
    automaton: Automaton | None = None
    """What the continuation may be: `choices`, `regex` or `json_schema`."""
    beams: Beams | None = None
    contrast: Contrast | None = None
    drafts: Drafts | None = None


ALL_OFF = SharedSettings()


def shared_settings_of(config: GenerationConfig, tokenizer: Tokenizer) -> SharedSettings:
    """The settings of `config` that all rows share.

    Raises:
        ValueError: a setting names a token that the tokenizer does not have, or an expression that cannot be followed.
        ModuleNotFoundError: `regex` or `json_schema` is set, and outlines-core is not installed.
    """
    if config.top_log_probs > tokenizer.vocab_size:
        expected = f"at most the {tokenizer.vocab_size} tokens of the vocabulary"
        raise invalid("top_log_probs", config.top_log_probs, expected, "Lower top_log_probs.")
    return SharedSettings(
        eos_id=tokenizer.eos_id,
        bos_id=tokenizer.bos_id,
        top_log_probs=config.top_log_probs,
        stop=_stop(config.stop, tokenizer),
        bias=_bias(config.logit_bias, tokenizer.vocab_size),
        bad_words=_bad_words(config.bad_words, tokenizer),
        automaton=_automaton(config, tokenizer),
        beams=_beams(config),
        contrast=_contrast(config, tokenizer.vocab_size),
        drafts=Drafts(config.num_draft_tokens, config.max_matching_ngram_size) if config.num_draft_tokens else None,
    )


def _automaton(config: GenerationConfig, tokenizer: Tokenizer) -> Automaton | None:
    found = automaton_of(config, tokenizer)
    return None if found is None else Automaton(*map(tf.constant, found))


def _beams(config: GenerationConfig) -> Beams | None:
    if config.num_beams == 1:
        return None
    return Beams(
        size=config.num_beams,
        groups=config.num_beam_groups,
        kept=config.num_sequences,
        early_stopping=config.early_stopping,
        length_penalty=tf.constant(config.length_penalty),
        diversity_penalty=tf.constant(config.diversity_penalty),
    )


def _contrast(config: GenerationConfig, vocabulary: int) -> Contrast | None:
    if config.penalty_alpha == 0:
        return None
    return Contrast(min(config.top_k, vocabulary), tf.constant(config.penalty_alpha))


def stop_pattern(texts: Sequence[str]) -> str:
    """The regular expression whose match is cut from the text.

    >>> stop_pattern(["\\n\\n", "."])
    '(?s)(?:\\\\\\n\\\\\\n|\\\\.).*'
    """
    return "(?s)(?:" + "|".join(re.escape(text) for text in texts) + ").*"


def _stop(texts: Sequence[str], tokenizer: Tokenizer) -> Stop | None:
    if not texts:
        return None
    longest = max(len(text.encode()) for text in texts)
    window = max(_LEAST_WINDOW, 1 << (longest - 1).bit_length())
    return Stop(tf.constant(stop_pattern(texts)), window, tokenizer.detokenize)


def _bias(pairs: Sequence[tuple[int, float]], vocabulary: int) -> tf.Tensor | None:
    """((2, -1.5),), 4 -> [0.0, 0.0, -1.5, 0.0]."""
    if not pairs:
        return None
    dense = np.zeros([vocabulary], np.float32)
    for token, value in pairs:
        if token >= vocabulary:
            expected = f"token ids from 0 to {vocabulary - 1}"
            raise invalid("logit_bias", dict(pairs), expected, f"Leave the token id {token} out.")
        dense[token] = value
    return tf.constant(dense)


def _bad_words(words: Sequence[str], tokenizer: Tokenizer) -> tf.Tensor | None:
    """Each word as it is tokenized at the beginning of a text and after a space.

    ["ab", "c"] -> [[100, 101], [35, 100, 101], [102], [35, 102]] -> [[-1, 100, 101], [35, 100, 101], [-1, -1, 102], …]
    (bytes as tokens, where the second and fourth sequence are needless)
    """
    if not words:
        return None
    found = {tuple(encode_text(text, tokenizer, "bad_words")): None for word in words for text in (word, f" {word}")}
    # A sequence that ends with another one is never completed.
    needed = [ids for ids in found if not any(ids != end and ids[-len(end) :] == end for end in found)]
    longest = max(map(len, needed))
    return tf.constant([[ANY_TOKEN] * (longest - len(ids)) + list(ids) for ids in needed], tf.int32)
