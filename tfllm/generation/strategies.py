"""The ways to continue prompts, behind one call: token by token, or by beam search, as the rules say."""

from __future__ import annotations

from typing import Any

from tfllm.generation import beam, decode
from tfllm.generation.decode import Results
from tfllm.generation.reading import Prompts
from tfllm.generation.rules import Rules
from tfllm.generation.sampling import Settings


def continuations(model: Any, prompts: Prompts, settings: Settings, rules: Rules) -> Results:
    """Continues every prompt to its end.

    Args:
        prompts: P of them.
        settings: n P rows, n continuations a prompt; a beam search wants P.
    """
    if rules.beams is not None:
        return beam.search(model, prompts, settings, rules)
    return decode.results(decode.decode(model, prompts, settings, rules))
