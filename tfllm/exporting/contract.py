"""What an export promises, as data: its signatures, and a request for each. `docs/serving-contract.md` says it in words.

Importing this imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfllm.generation.config import PER_ROW

EXTRA_FOLDER = "assets.extra"
WARM_UP_FILE = "tf_serving_warmup_requests"
"""The name TensorFlow Serving looks for in `EXTRA_FOLDER`."""
DESCRIPTION_FILE = "tfllm.json"


class Field(NamedTuple):
    """A tensor of a signature: its dtype's name and its letters; an input's are all dynamic."""

    dtype: str
    shape: str


class Signature(NamedTuple):
    """Names and tensors. Outputs that are strings must not end in `_bytes`: TensorFlow Serving would write them in base64."""

    inputs: dict[str, Field]
    outputs: dict[str, Field]


class Contract(NamedTuple):
    """Signatures by name, and one small request for each: warm-up of a server, and the run of `check`."""

    signatures: dict[str, Signature]
    requests: dict[str, dict[str, list]]


def versions(folder: Path) -> list[int]:
    """The numbers of the version folders in `folder`, sorted."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


_TEXT = Field("string", "B")
_WHOLE = Field("int32", "B")
_REAL = Field("float32", "B")
_IDS = Field("int32", "BS")
_SAMPLES = ["", "naïve 中文\n"]

SETTINGS = {each.name: Field(each.number.dtype, "B") for each in PER_ROW}
"""Inputs of `generate`: the settings of which each row may have its own value."""

_CAUSAL_LM = Contract(
    {
        "serving_default": Signature({"prompt": _TEXT}, {"text": _TEXT}),
        "generate": Signature(
            {"prompt": _TEXT} | SETTINGS,
            {"text": _TEXT, "token_ids": _IDS, "log_probs": Field("float32", "BS"), "num_tokens": _WHOLE},
        ),
        "score": Signature({"text": _TEXT}, {"log_prob": _REAL, "num_tokens": _WHOLE, "num_bytes": _WHOLE}),
        "tokenize": Signature({"text": _TEXT}, {"token_ids": _IDS, "num_tokens": _WHOLE}),
        "detokenize": Signature({"token_ids": _IDS, "num_tokens": _WHOLE}, {"text": _TEXT}),
    },
    {
        "serving_default": {"prompt": ["The", ""]},
        "generate": {"prompt": ["", "def "]} | {each.name: list(each.sample_rows) for each in PER_ROW},
        "score": {"text": _SAMPLES},
        "tokenize": {"text": _SAMPLES},
        "detokenize": {"token_ids": [[0, 0], [5, 6]], "num_tokens": [0, 2]},
    },
)


def _predicting(inputs: dict[str, list], outputs: dict[str, Field]) -> Contract:
    """One signature, "serving_default", that takes strings."""
    return Contract({"serving_default": Signature(dict.fromkeys(inputs, _TEXT), outputs)}, {"serving_default": inputs})


_TEXTS = {"text": _SAMPLES}
_PAIRS = {"text": _SAMPLES, "text_pair": ["yes", ""]}
_CLASSES = {"label": _TEXT, "score": _REAL, "labels": Field("string", "BC"), "probabilities": Field("float32", "BC")}
_VALUE = {"value": _REAL}
_ENTITIES = {
    "text": Field("string", "BE"),
    "label": Field("string", "BE"),
    "start": Field("int32", "BE"),
    "end": Field("int32", "BE"),
    "score": Field("float32", "BE"),
    "count": _WHOLE,
}

CONTRACTS = {
    "causal_lm": _CAUSAL_LM,
    "masked_lm": _predicting(
        {"text": ["", "one [MASK] two"]},
        {"token": Field("string", "BMK"), "score": Field("float32", "BMK"), "text": _TEXT, "count": _WHOLE},
    ),
    "text_classifier": _predicting(_TEXTS, _CLASSES),
    "text_classifier of pairs": _predicting(_PAIRS, _CLASSES),
    "text_regressor": _predicting(_TEXTS, _VALUE),
    "text_regressor of pairs": _predicting(_PAIRS, _VALUE),
    "text_embedder": _predicting(_TEXTS, {"embedding": Field("float32", "BD")}),
    "token_classifier": _predicting(_TEXTS, _ENTITIES),
    "question_answerer": _predicting(
        {"question": ["Who?", ""], "context": ["It was Ada.", ""]},
        {"answer": _TEXT, "start": _WHOLE, "end": _WHOLE, "score": _REAL},
    ),
}
"""By the name in `tfllm.json`: the model's task, and whether it reads pairs. Rows of answers are padded behind `count`."""


def contract_of(name: str, generation: Mapping[str, Any] | None = None) -> Contract:
    """The contract of that name, with what the generation config of a causal model's export adds or takes away.

    Args:
        name: a key of `CONTRACTS`.
        generation: `GenerationConfig.to_dict()`, as `tfllm.json` has it. An export that was written before a setting existed
            does not name it here, and does not take it.

    Raises:
        KeyError: there is no such contract.
    """
    contract = CONTRACTS[name]
    if name != "causal_lm" or generation is None:
        return contract
    searches = generation.get("num_beams", 1) > 1 or generation.get("penalty_alpha")
    taken = {each.name for each in PER_ROW if each.name in generation and not (searches and each.only_for_draws)}
    inputs, outputs = contract.signatures["generate"]
    inputs = {name: field for name, field in inputs.items() if name in taken or name not in SETTINGS}
    if generation.get("top_log_probs"):
        outputs = outputs | {"top_token_ids": Field("int32", "BSK"), "top_log_probs": Field("float32", "BSK")}
    if generation.get("num_beams", 1) > 1:
        outputs = outputs | {"score": _REAL}
    if generation.get("num_draft_tokens"):
        outputs = outputs | {"num_draft_tokens": _WHOLE, "num_accepted_tokens": _WHOLE}
    request = {name: values for name, values in contract.requests["generate"].items() if name in inputs}
    return Contract(contract.signatures | {"generate": Signature(inputs, outputs)}, contract.requests | {"generate": request})
