"""Automata over tokens: for each state, the allowed tokens and the states that they lead to.

Input: choices, a regular expression or a JSON schema, and a tokenizer. Output: an `Automaton` of arrays. `constraints.py`
follows it in the graph. `outlines-core` compiles regular expressions (Willard and Louf 2023; the extra `constrained`).

    choices "ab", "ac" (bytes as tokens: 100 101 and 100 102, the separator 1)

    state  0     1        2  3        row_splits  0 1 3 4 5
    ids    100   101 102  1  1        ids         100 101 102 1 1
    next   1     2   3    2  3        next        1 2 3 2 3
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tfllm.generation.config import GenerationConfig
from tfllm.generation.schemas import check_schema
from tfllm.generation.setting import invalid
from tfllm.generation.spelling import encode_text
from tfllm.tokenizers import Tokenizer

# Added to the end of every expression, and given to the library as the text of the separator. Without it, outlines-core 0.2.14
# matches only "a" with "a(bc)?" and drops the transition from "a" to "abc". It is a noncharacter: no text contains it.
_END = "\U0010ffff"


class Automaton(NamedTuple):
    """Q states, of which state 0 is the first, and E transitions, sorted by state. Arrays here, tensors in the graph."""

    row_splits: Any
    """int32 [Q + 1]: where the transitions of each state begin."""
    ids: Any
    """int32 [E]: the allowed tokens."""
    next: Any
    """int32 [E]: the states that they lead to; after the separator, any."""


def automaton_of(config: GenerationConfig, tokenizer: Tokenizer) -> Automaton | None:
    """The automaton of the config's `choices`, `regex` or `json_schema`; None if it has none of them.

    Raises:
        ValueError: the expression or schema cannot be compiled, or the tokenizer has no tokens for it.
        ModuleNotFoundError: `outlines-core` is needed and not installed.
    """
    if config.choices:
        return of_choices(config.choices, tokenizer)
    if not (config.regex or config.json_schema):
        return None
    pattern = config.regex or pattern_of(config.json_schema)
    return _of_pattern(pattern, _Hashed(tokenizer))


def of_choices(texts: Sequence[str], tokenizer: Tokenizer) -> Automaton:
    """The automaton that accepts one of the texts, as the tokenizer encodes it, followed by the separator.

    Raises:
        ValueError: the tokenizer has no tokens for a text, or the same tokens for two texts.
    """
    states: list[dict[int, int]] = [{}]
    of_ids: dict[tuple[int, ...], str] = {}
    for text in texts:
        at, ids = 0, encode_text(text, tokenizer, "choices")
        if (other := of_ids.setdefault(tuple(ids), text)) != text:
            raise invalid("choices", (other, text), "texts that the tokenizer can tell apart", f"Leave {text!r} out.")
        for token in ids:
            if token not in states[at]:
                states[at][token] = len(states)
                states.append({})
            at = states[at][token]
        states[at][tokenizer.eos_id] = at
    return _table(states)


def of_pattern(pattern: str, tokenizer: Tokenizer) -> Automaton:
    """The automaton that accepts every tokenization of every text that matches the whole expression, followed by the separator.

    The syntax is that of Rust's `regex`, without look-around and backreferences. A `^` at the beginning and a `$` at the end
    are removed, because the whole text is matched anyway. They are not allowed elsewhere.
    """
    core, surfaces = _core(), tokenizer.token_byte_strings()
    pattern = re.sub(r"^\^|(?<!\\)((?:\\\\)*)\$$", r"\1", pattern)
    tokens: dict[bytes, list[int]] = {_END.encode(): [tokenizer.eos_id]}
    for token, surface in enumerate(surfaces):
        if surface and token != tokenizer.eos_id:
            tokens.setdefault(surface, []).append(token)
    try:
        # The library's own end token must be none of our tokens. It is never used.
        index = core.Index(f"(?:{pattern}){_END}", core.Vocabulary(len(surfaces), tokens))
    except ValueError as error:
        expected = f"a regular expression in the syntax of Rust's regex ({error})"
        advice = "Write it without look-around, without backreferences, and without ^ and $ inside."
        raise invalid("regex", pattern, expected, advice) from error
    final = index.get_final_states()
    # The separator ends the text, and no other token does. Elsewhere the added character would match ".".
    moves = {
        state: {token: after for token, after in row.items() if (token == tokenizer.eos_id) == (after in final)}
        for state, row in index.get_transitions().items()
    }
    live = _live(moves, tokenizer.eos_id)
    if index.get_initial_state() not in live:
        raise invalid("regex", pattern, "an expression that some text of this tokenizer matches", "Allow other characters.")
    return _table(_from(index.get_initial_state(), moves, live, tokenizer.eos_id))


def _live(moves: Mapping[int, Mapping[int, int]], eos_id: int) -> set[int]:
    """The states from which the separator can be reached. From other states a row could not end."""
    live = {state for state, row in moves.items() if eos_id in row}
    successors = {state: set(row.values()) for state, row in moves.items()}
    while more := {state for state, after in successors.items() if state not in live and after & live}:
        live |= more
    return live


def _from(first: int, moves: Mapping[int, Mapping[int, int]], live: set[int], eos_id: int) -> list[dict[int, int]]:
    """The live states that can be reached, numbered in the order in which they are found. The separator changes no state."""
    numbers, queue, found = {first: 0}, [first], []
    for state in queue:
        row = {}
        for token, after in moves.get(state, {}).items():
            if token == eos_id:
                row[token] = numbers[state]
            elif after in live:
                if after not in numbers:
                    numbers[after] = len(numbers)
                    queue.append(after)
                row[token] = numbers[after]
        found.append(row)
    return found


def pattern_of(schema: str) -> str:
    """The regular expression that matches the JSON texts of a schema, with at most one space between elements."""
    check_schema(schema)
    from_schema = _core().json_schema.build_regex_from_schema
    try:
        return from_schema(schema)
    except ValueError as error:
        expected = f"a schema that can become a regular expression ({error})"
        raise invalid("json_schema", json.loads(schema), expected, "Change it, or give regex=…") from error


def _table(states: Sequence[Mapping[int, int]]) -> Automaton:
    """[{7: 1}, {8: 2, 1: 1}, {}] -> row_splits 0 1 3 3, ids 7 1 8, next 1 1 2: tokens rise within a state."""
    rows = [sorted(moves.items()) for moves in states]
    edges = np.array([edge for row in rows for edge in row], np.int32).reshape(-1, 2)
    splits = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return Automaton(splits, edges[:, 0], edges[:, 1])


class _Hashed:
    """A tokenizer that is hashed by its fingerprint, as a cache key: compiling takes seconds with a large vocabulary."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer, self.key = tokenizer, tokenizer.fingerprint()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.key == other.key


@lru_cache(maxsize=8)
def _of_pattern(pattern: str, hashed: _Hashed) -> Automaton:
    return of_pattern(pattern, hashed.tokenizer)


def _core() -> Any:
    try:
        import outlines_core
        import outlines_core.json_schema
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "regex and json_schema need outlines-core, which is not installed. Install it: pip install 'tfllm[constrained]', "
            "or '.[constrained]' in a clone. choices=… needs no library."
        ) from error
    return outlines_core
