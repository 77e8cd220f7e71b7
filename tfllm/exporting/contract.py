"""What an export promises, as data: its signatures, and a request for each. `docs/serving-contract.md` says it in words.

Importing this imports no TensorFlow.
"""

from __future__ import annotations

from typing import NamedTuple

EXTRA_FOLDER = "assets.extra"
WARM_UP_FILE = "tf_serving_warmup_requests"
"""The name TensorFlow Serving looks for in `EXTRA_FOLDER`."""
DESCRIPTION_FILE = "tfllm.json"


class Field(NamedTuple):
    """A tensor of a signature: its dtype's name and its letters, all of them dynamic."""

    dtype: str
    shape: str


class Signature(NamedTuple):
    """Names and tensors. Outputs that are strings must not end in `_bytes`: TensorFlow Serving would write them in base64."""

    inputs: dict[str, Field]
    outputs: dict[str, Field]


_TEXT = Field("string", "B")
_WHOLE = Field("int32", "B")
_REAL = Field("float32", "B")
_IDS = Field("int32", "BS")

SETTINGS = {
    "max_new_tokens": _WHOLE,
    "temperature": _REAL,
    "top_k": _WHOLE,
    "top_p": _REAL,
    "min_p": _REAL,
    "repetition_penalty": _REAL,
    "seed": _WHOLE,
}

SIGNATURES = {
    "serving_default": Signature({"prompt": _TEXT}, {"text": _TEXT}),
    "generate": Signature(
        {"prompt": _TEXT} | SETTINGS,
        {"text": _TEXT, "token_ids": _IDS, "log_probs": Field("float32", "BS"), "num_tokens": _WHOLE},
    ),
    "score": Signature({"text": _TEXT}, {"log_prob": _REAL, "num_tokens": _WHOLE, "num_bytes": _WHOLE}),
    "tokenize": Signature({"text": _TEXT}, {"token_ids": _IDS, "num_tokens": _WHOLE}),
    "detokenize": Signature({"token_ids": _IDS, "num_tokens": _WHOLE}, {"text": _TEXT}),
}

REQUESTS: dict[str, dict[str, list]] = {
    "serving_default": {"prompt": ["The"]},
    "generate": {
        "prompt": ["", "def "],
        "max_new_tokens": [4, 3],
        "temperature": [0.0, 1.0],
        "top_k": [0, 40],
        "top_p": [1.0, 0.9],
        "min_p": [0.0, 0.05],
        "repetition_penalty": [1.0, 1.1],
        "seed": [0, 1],
    },
    "score": {"text": ["", "naïve 中文\n"]},
    "tokenize": {"text": ["", "naïve 中文\n"]},
    "detokenize": {"token_ids": [[0, 0], [5, 6]], "num_tokens": [0, 2]},
}
"""One small request a signature: warm-up of a server, and the run of `check`."""
