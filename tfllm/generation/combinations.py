"""Which settings of generation go together, and which do not.

Input: a `GenerationConfig` whose single values are valid. Output: nothing, or a ValueError that names the setting to change.
Importing this module does not import TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfllm.generation.setting import invalid

if TYPE_CHECKING:
    from tfllm.generation.config import GenerationConfig

_CONSTRAINTS = ("choices", "regex", "json_schema")


def check_combinations(config: GenerationConfig) -> None:
    """Raises ValueError unless all settings of the config can hold together."""
    _check_lengths(config)
    _check_constraint(config)
    _check_beam_search(config)
    _check_contrastive_search(config)
    if config.num_draft_tokens and config.searches:
        raise invalid(
            "num_draft_tokens",
            config.num_draft_tokens,
            "0 with num_beams or penalty_alpha, because a draft continues one text and a search follows several",
            "Leave num_draft_tokens out.",
        )
    if config.num_sequences > 1 and config.temperature == 0 and config.num_beams == 1:
        raise invalid(
            "num_sequences",
            config.num_sequences,
            "1 with temperature=0, because greedy search would give the same text several times",
            f"Give temperature=1.0 to draw, or num_beams={config.num_sequences} to search, or leave num_sequences out.",
        )


def _check_lengths(config: GenerationConfig) -> None:
    if config.min_new_tokens > config.max_new_tokens:
        raise invalid(
            "min_new_tokens",
            config.min_new_tokens,
            f"at most max_new_tokens={config.max_new_tokens}",
            "Lower min_new_tokens, or raise max_new_tokens.",
        )


def _check_constraint(config: GenerationConfig) -> None:
    given = [name for name in _CONSTRAINTS if getattr(config, name)]
    if len(given) > 1:
        first, second = given[:2]
        raise invalid(
            second,
            getattr(config, second),
            f"no value with {first}, because each of {', '.join(_CONSTRAINTS)} alone says what the continuation may be",
            f"Give {' or '.join(given)}.",
        )


def _check_beam_search(config: GenerationConfig) -> None:
    if config.num_beams == 1:
        _check_values(
            config, "without a beam search", "Leave {name} out, or give num_beams.", num_beam_groups=1, diversity_penalty=0
        )
        return
    groups = config.num_beam_groups
    if config.num_beams % groups:
        raise invalid(
            "num_beams",
            config.num_beams,
            f"a multiple of num_beam_groups={groups}",
            f"Give num_beams={groups * (config.num_beams // groups + 1)}.",
        )
    if config.num_sequences > config.num_beams:
        raise invalid(
            "num_sequences",
            config.num_sequences,
            f"at most num_beams={config.num_beams}",
            "Lower num_sequences, or raise num_beams.",
        )
    reason = "with num_beams, because a beam search draws nothing and returns whole texts"
    _check_values(config, reason, "Leave {name} out.", temperature=0, top_log_probs=0)


def _check_contrastive_search(config: GenerationConfig) -> None:
    if config.penalty_alpha == 0:
        return
    if config.top_k < 2:
        raise invalid(
            "top_k", config.top_k, "at least 2 with penalty_alpha, the number of candidates of each step", "Give top_k=4."
        )
    reason = "with penalty_alpha, because a contrastive search draws nothing and follows one text"
    _check_values(config, reason, "Leave {name} out.", temperature=0, num_beams=1, num_sequences=1)


def _check_values(config: GenerationConfig, reason: str, advice: str, **wanted: int) -> None:
    """Raises ValueError unless each of these settings has the value that turns it off."""
    for name, value in wanted.items():
        if (given := getattr(config, name)) != value:
            raise invalid(name, given, f"{value} {reason}", advice.format(name=name))
