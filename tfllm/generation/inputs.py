"""What `generate` and `stream` read: prompts and configs are checked against the model, and prompts become token ids.

Input: prompts, configs, the model, its tokenizer. Output: one config for each prompt, and `Prompts`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.generation.config import PER_ROW, GenerationConfig, config_of
from tfllm.generation.drafting import check_draft_model
from tfllm.generation.model_steps import Prompts, is_on_mesh
from tfllm.generation.setting import invalid, settings_of
from tfllm.models.base import check_tokenizer
from tfllm.tokenizers import Tokenizer


def as_texts(prompts: str | Sequence[str]) -> list[str]:
    """One prompt or several, as a list.

    Raises:
        ValueError: one is not a string.
    """
    if isinstance(prompts, str):
        return [prompts]
    texts: list[Any] = list(prompts) if isinstance(prompts, Iterable) and not isinstance(prompts, Mapping) else [prompts]
    if not all(isinstance(text, str) for text in texts):
        raise invalid("prompts", prompts, "a string or a list of strings", 'Give texts: prompts=["def main("].')
    return texts


def config_of_each(
    texts: Sequence[str], config: GenerationConfig | Sequence[GenerationConfig] | None, overrides: dict[str, Any]
) -> list[GenerationConfig]:
    """One config for each text.

    Raises:
        ValueError: there is another number of configs than of texts, or the configs differ in a setting that is one for the
            whole batch.
    """
    if not isinstance(config, Sequence):
        return [config_of(config, overrides)] * len(texts)
    if len(config) != len(texts):
        raise ValueError(
            f"config is invalid: expected one config, or one for each of the {len(texts)} prompts, got {len(config)}. Give a "
            f"list of {len(texts)} configs."
        )
    configs = [config_of(each, overrides) for each in config]
    # A contrastive search has the same number of candidates for each row.
    own = [each.name for each in PER_ROW if each.name != "top_k" or not configs[0].penalty_alpha]
    for each in settings_of(GenerationConfig):
        if each.name not in own and len({getattr(config, each.name) for config in configs}) > 1:
            raise ValueError(
                f"config is invalid: expected the same {each.name} for all prompts of a call. Call generate once for each "
                f"value. Prompts of one call may differ in {', '.join(own)}."
            )
    return configs


def check_inputs(model: Any, tokenizer: Tokenizer, configs: Sequence[GenerationConfig], draft_model: Any) -> None:
    """Warns of settings without effect.

    Raises:
        ValueError: the model cannot generate as the configs say, or the tokenizer or the draft model does not fit.
    """
    if not model.config.causal:
        raise ValueError(f"model is invalid: expected a CausalLM, got a {type(model).__name__}. Use tfllm.predict for it.")
    check_tokenizer(model, tokenizer)
    for config in configs:
        cuts = [each for each in ("top_k", "top_p", "min_p") if getattr(config, each) != getattr(GenerationConfig, each)]
        if config.temperature == 0 and not config.searches and cuts:
            given = " and ".join(f"{name}={getattr(config, name)}" for name in cuts)
            warnings.warn(f"{given} has no effect with temperature=0. Give temperature=1.0 to draw.", stacklevel=3)
            break
    config = configs[0]
    if is_on_mesh(model):
        for name, off in (("num_beams", 1), ("penalty_alpha", 0), ("num_draft_tokens", 0)):
            if (given := getattr(config, name)) != off:
                raise invalid(
                    name, given, f"{off} for a model on a mesh", f"Leave {name} out, or load the model on one device."
                )
    if draft_model is not None:
        check_draft_model(draft_model, model, tokenizer, config)


def tokenized(model: Any, tokenizer: Tokenizer, texts: Sequence[str], configs: Sequence[GenerationConfig]) -> Prompts:
    """["ab", ""] -> token_ids [[1, 100, 101], [1, 0, 0]], lengths [3, 1] (bytes as tokens).

    Raises:
        ValueError: prompt and continuation are longer than learned positions reach.
    """
    rows = [[tokenizer.bos_id, *ids] for ids in tokenizer.encode_batch(texts)]
    if model.config.positions == "learned":
        for text, row, config in zip(texts, rows, configs, strict=True):
            _check_length(text, len(row), config.max_new_tokens, model.config.max_length)
    padded = np.full([len(rows), max(map(len, rows))], tokenizer.pad_id, np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return Prompts(tf.constant(padded), tf.constant([len(row) for row in rows], tf.int32))


def _check_length(text: str, length: int, max_new_tokens: int, limit: int) -> None:
    if length + max_new_tokens > limit:
        room = limit - length
        shorter = f"Shorten the prompt, or give max_new_tokens={room} or less." if room > 0 else "Shorten the prompt."
        raise ValueError(
            f"max_new_tokens={max_new_tokens} is invalid: expected at most {max(room, 0)}, for the model's learned positions "
            f"end at max_length={limit} and the prompt {text[:40]!r}… has {length} tokens with its separator. {shorter}"
        )
