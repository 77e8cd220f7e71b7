"""What an export promises, as data: its signatures, and a request for each. `docs/serving-contract.md` says it in words.

Importing this imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

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

SETTINGS = {
    "max_new_tokens": _WHOLE,
    "min_new_tokens": _WHOLE,
    "repetition_penalty": _REAL,
    "frequency_penalty": _REAL,
    "presence_penalty": _REAL,
    "no_repeat_ngram_size": _WHOLE,
    "temperature": _REAL,
    "top_k": _WHOLE,
    "top_p": _REAL,
    "min_p": _REAL,
    "seed": _WHOLE,
}

OF_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "seed")
"""Settings that an export does not take whose config searches and draws nothing."""

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
        "generate": {
            "prompt": ["", "def "],
            "max_new_tokens": [4, 3],
            "min_new_tokens": [0, 1],
            "repetition_penalty": [1.0, 1.1],
            "frequency_penalty": [0.0, 0.1],
            "presence_penalty": [0.0, 0.1],
            "no_repeat_ngram_size": [0, 3],
            "temperature": [0.0, 1.0],
            "top_k": [0, 40],
            "top_p": [1.0, 0.9],
            "min_p": [0.0, 0.05],
            "seed": [0, 1],
        },
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
        generation: `GenerationConfig.to_dict()`, as `tfllm.json` has it.

    Raises:
        KeyError: there is no such contract.
    """
    contract, said = CONTRACTS[name], generation or {}
    if name != "causal_lm":
        return contract
    inputs, outputs = contract.signatures["generate"]
    if said.get("top_log_probs"):
        outputs = outputs | {"top_token_ids": Field("int32", "BSK"), "top_log_probs": Field("float32", "BSK")}
    if said.get("num_beams", 1) > 1:
        outputs = outputs | {"score": _REAL}
    if said.get("num_draft_tokens"):
        outputs = outputs | {"num_draft_tokens": _WHOLE, "num_accepted_tokens": _WHOLE}
    if said.get("num_beams", 1) > 1 or said.get("penalty_alpha"):
        inputs = {field: each for field, each in inputs.items() if field not in OF_SAMPLING}
    request = {field: values for field, values in contract.requests["generate"].items() if field in inputs}
    return Contract(contract.signatures | {"generate": Signature(inputs, outputs)}, contract.requests | {"generate": request})
